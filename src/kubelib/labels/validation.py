"""Checks of names, label keys and label values: each returns the messages that Kubernetes gives, none if all is well."""

import re

_DNS1123_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS1123_SUBDOMAIN = _DNS1123_LABEL + r"(\." + _DNS1123_LABEL + ")*"
_DNS1035_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"

_match_label = re.compile(_DNS1123_LABEL).fullmatch
_match_subdomain = re.compile(_DNS1123_SUBDOMAIN).fullmatch
_match_1035 = re.compile(_DNS1035_LABEL).fullmatch
_match_qualified = re.compile(_QUALIFIED).fullmatch
_match_value = re.compile(_LABEL_VALUE).fullmatch


def too_long(value: str, most: int) -> list[str]:
    """Check the length of a text in bytes."""
    return [f"must be no more than {most} bytes"] if len(value.encode(errors="replace")) > most else []


def _regex(message: str, pattern: str, *examples: str) -> str:
    given = ",  or ".join(f"'{example}'" for example in examples)
    return f"{message} (e.g. {given}, regex used for validation is '{pattern}')"


def is_dns1123_label(value: str) -> list[str]:
    """Check a name such as a namespace's: lower case, digits and ``-``, at most 63 characters."""
    problems = too_long(value, 63)
    if _match_label(value):
        return problems
    if _match_subdomain(value):
        problems.append("must not contain dots")
    else:
        problems.append(
            _regex(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start"
                " and end with an alphanumeric character",
                _DNS1123_LABEL, "my-name", "123-abc",
            )
        )  # fmt: skip
    return problems


def is_dns1123_subdomain(value: str) -> list[str]:
    """Check a name such as a Pod's: labels joined by dots, at most 253 characters."""
    problems = too_long(value, 253)
    if not _match_subdomain(value):
        problems.append(
            _regex(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and"
                " must start and end with an alphanumeric character",
                _DNS1123_SUBDOMAIN, "example.com",
            )
        )  # fmt: skip
    return problems


def is_dns1035_label(value: str) -> list[str]:
    """Check a name such as a Service's: a label that begins with a letter."""
    problems = too_long(value, 63)
    if not _match_1035(value):
        problems.append(
            _regex(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic"
                " character, and end with an alphanumeric character",
                _DNS1035_LABEL, "my-name", "abc-123",
            )
        )  # fmt: skip
    return problems


def is_qualified_name(value: str) -> list[str]:
    """Check a label key: ``[prefix/]name``, the prefix a DNS subdomain, the name at most 63 bytes."""
    prefix, slash, name = value.rpartition("/")
    problems = []
    if value.count("/") > 1:
        return [
            "a qualified name "
            + _regex(
                "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                _QUALIFIED, "MyName", "my.name", "123-abc",
            )
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]  # fmt: skip
    if slash:
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {message}" for message in is_dns1123_subdomain(prefix)]
    if not name:
        problems.append("name part must be non-empty")
    problems += [f"name part {message}" for message in too_long(name, 63)]
    if not _match_qualified(name):
        problems.append(
            "name part "
            + _regex(
                "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                _QUALIFIED, "MyName", "my.name", "123-abc",
            )
        )  # fmt: skip
    return problems


def is_label_value(value: str) -> list[str]:
    """Check a label value: empty, or at most 63 alphanumeric characters, ``-``, ``_`` and ``.`` within."""
    problems = too_long(value, 63)
    if not _match_value(value):
        problems.append(
            _regex(
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must"
                " start and end with an alphanumeric character",
                _LABEL_VALUE, "MyValue", "my_value", "12345",
            )
        )  # fmt: skip
    return problems
