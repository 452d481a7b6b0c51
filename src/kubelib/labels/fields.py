"""Field selectors: equality and inequality on a few fields that each kind offers."""

import functools
from collections.abc import Mapping

import attrs


@attrs.frozen
class FieldRequirement:
    """``field=value`` or, negated, ``field!=value``."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{_escape(self.value)}"


@attrs.frozen
class FieldSelector:
    """A set of requirements on fields, all of which must hold."""

    requirements: tuple[FieldRequirement, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether the selector matches every object."""
        return not self.requirements

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Return whether `fields` meet all requirements; a field that is not there counts as empty."""
        return all((fields.get(r.field, "") == r.value) is not r.negated for r in self.requirements)

    def exact(self, field: str) -> str | None:
        """Return the value that `field` must have, or None if it is not fixed."""
        for requirement in self.requirements:
            if requirement.field == field and not requirement.negated:
                return requirement.value
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERY_FIELD = FieldSelector()


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(text: str) -> str:
    value = ""
    escaped = False
    for character in text:
        if escaped:
            if character not in "\\,=":
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{character}")
            value += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in ",=":
            raise ValueError(f"invalid field selector: unescaped {character!r} in {text!r}")
        else:
            value += character
    if escaped:
        raise ValueError("invalid field selector: the text ends in a backslash")
    return value


def _split_terms(text: str) -> list[str]:
    terms, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == ",":
            terms.append(text[start:at])
            start = at + 1
        at += 1
    terms.append(text[start:])
    return [term for term in terms if term]


@functools.lru_cache(maxsize=1024)
def parse_field_selector(text: str) -> FieldSelector:
    """Return the field selector that `text` denotes. Raises ValueError with Kubernetes' message.

    >>> str(parse_field_selector("metadata.name=web,status.phase!=Running"))
    'metadata.name=web,status.phase!=Running'
    """
    requirements = []
    for term in _split_terms(text):
        at = 0
        while at < len(term):
            if term[at] == "\\":
                at += 2
                continue
            for operator in ("!=", "==", "="):
                if term.startswith(operator, at):
                    value = _unescape(term[at + len(operator) :])
                    requirements.append(FieldRequirement(term[:at].strip(), value, operator == "!="))
                    break
            else:
                at += 1
                continue
            break
        else:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
    return FieldSelector(tuple(requirements))
