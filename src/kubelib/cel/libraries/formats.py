"""Kubernetes' library of named formats: ``format.dns1123Label().validate(text)``."""

import base64
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
from kubelib.labels.validation import (
    is_dns1035_label,
    is_dns1123_label,
    is_dns1123_subdomain,
    is_label_value,
    is_qualified_name,
)

FORMAT = types.opaque("kubernetes.NamedFormat")
Check = Callable[[str], list[str]]


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
    "dns1123Label": is_dns1123_label,
    "dns1123Subdomain": is_dns1123_subdomain,
    "dns1035Label": is_dns1035_label,
    "qualifiedName": is_qualified_name,
    "dns1123LabelPrefix": _prefixed(is_dns1123_label),
    "dns1123SubdomainPrefix": _prefixed(is_dns1123_subdomain),
    "dns1035LabelPrefix": _prefixed(is_dns1035_label),
    "labelValue": is_label_value,
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
