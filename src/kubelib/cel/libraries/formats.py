"""Kubernetes' library of named formats: ``format.dns1123Label().validate(text)``."""

import base64
import re
import uuid
from collections.abc import Callable
from datetime import date
from typing import ClassVar

import attrs

from kubelib.cel import types
from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries.urls import parse as parse_url
from kubelib.cel.library import Library
from kubelib.cel.types import Type
from kubelib.cel.values import NONE, Opaque, Optional, parse_timestamp
from kubelib.labels.validation import is_dns1035_label

FORMAT = types.opaque("kubernetes.NamedFormat")
Check = Callable[[str], list[str]]

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_QUALIFIED = (
    "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
_NAME = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)


def _label(text: str) -> list[str]:
    problems = [] if len(text) <= 63 else ["must be no more than 63 characters"]
    if _LABEL.fullmatch(text) is None:
        problems.append(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
            "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        )
    return problems


def _subdomain(text: str) -> list[str]:
    problems = [] if len(text) <= 253 else ["must be no more than 253 characters"]
    if _SUBDOMAIN.fullmatch(text) is None:
        problems.append(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
            "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    return problems


def _label_value(text: str) -> list[str]:
    problems = [] if len(text) <= 63 else ["must be no more than 63 characters"]
    if text and _NAME.fullmatch(text) is None:
        problems.append(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
            "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
            "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )
    return problems


def _qualified(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    problems: list[str] = []
    if slash:
        if "/" in prefix:
            return [_QUALIFIED]
        problems += [
            f"prefix part {problem}" for problem in (_subdomain(prefix) if prefix else ["must be non-empty"])
        ]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 characters")
    if _NAME.fullmatch(name) is None:
        problems.append(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
            "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )
    return problems


def _prefixed(check: Check) -> Check:
    """Return the rule of a prefix: a hyphen at its end is no mistake, since something follows."""
    return lambda text: check(f"{text[:-1]}a" if text.endswith("-") else text)


def _uri(text: str) -> list[str]:
    return [] if parse_url(text) is not None else ["invalid URI"]


def _uuid(text: str) -> list[str]:
    try:
        uuid.UUID(text)
    except ValueError:
        return ["does not match the UUID format"]
    return [] if len(text) == 36 else ["does not match the UUID format"]


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return ["invalid base64"]
    return []


def _date(text: str) -> list[str]:
    try:
        date.fromisoformat(text)
    except ValueError:
        return ["invalid date"]
    return [] if len(text) == 10 else ["invalid date"]


def _datetime(text: str) -> list[str]:
    try:
        parse_timestamp(text)
    except (ValueError, EvaluationError):
        return ["invalid datetime"]
    return []


CHECKS: dict[str, Check] = {
    "dns1123Label": _label,
    "dns1123Subdomain": _subdomain,
    "dns1035Label": lambda text: list(is_dns1035_label(text)),
    "qualifiedName": _qualified,
    "dns1123LabelPrefix": _prefixed(_label),
    "dns1123SubdomainPrefix": _prefixed(_subdomain),
    "dns1035LabelPrefix": _prefixed(lambda text: list(is_dns1035_label(text))),
    "labelValue": _label_value,
    "uri": _uri,
    "uuid": _uuid,
    "byte": _byte,
    "date": _date,
    "datetime": _datetime,
}


@attrs.frozen
class NamedFormat(Opaque):
    """A format that texts can be checked by."""

    cel_type: ClassVar[Type] = FORMAT
    name: str


FORMATS = Library()
FORMATS.types["kubernetes.NamedFormat"] = FORMAT


def _constant(name: str) -> Callable[[], NamedFormat]:
    made = NamedFormat(name)
    return lambda: made


for _name in CHECKS:
    FORMATS.add(f"format.{_name}() kubernetes.NamedFormat", _constant(_name))


@FORMATS.declare("format.named(string) optional(kubernetes.NamedFormat)")
def _named(name: str) -> Optional:
    return Optional(present=True, value=NamedFormat(name)) if name in CHECKS else NONE


@FORMATS.declare(
    "kubernetes.NamedFormat.validate(string) optional(list(string))",
    cost=lambda result, wanted, text: 1 + len(text) // 10,
)
def _validate(wanted: NamedFormat, text: str) -> Optional:
    problems = CHECKS[wanted.name](text)
    return Optional(present=True, value=problems) if problems else NONE
