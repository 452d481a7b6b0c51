"""What is wrong with a value by a schema, in the words of Kubernetes' validator (kube-openapi)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.structural.formats import FORMATS
from kubelib.api.structural.patterns import compile_pattern
from kubelib.api.validation.problems import (
    invalid,
    not_supported,
    quote,
    required,
    too_long,
    too_many,
    type_invalid,
)

Validate = Callable[[Any, str, list[Problem]], None]
"""Adds to the list what is wrong with a value that is found at a path."""

_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
NOWHERE = "<nil>"
"""How Kubernetes names the place of what is wrong with a combination of schemas."""


def _child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def same(a: Any, b: Any) -> bool:
    """Return whether two JSON values are the same: true is not 1, and 1 is 1.0."""
    if type(a) is bool or type(b) is bool:
        return a is b
    if type(a) is dict and type(b) is dict:
        return a.keys() == b.keys() and all(same(value, b[name]) for name, value in a.items())
    if type(a) is list and type(b) is list:
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def go_float(number: float) -> str:
    """Return a number as Go prints a float64: whole ones without a point."""
    if number == 0:
        return "0"
    exponent = math.floor(math.log10(abs(number)))
    if exponent < -4 or exponent >= 21:
        mantissa, _, power = repr(float(number)).partition("e")
        if not power:
            digits = f"{number:e}"
            mantissa, _, power = digits.partition("e")
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa.removesuffix('.0')}e{int(power):+03d}"
    return repr(float(number)).removesuffix(".0") if exponent < 16 else f"{number:.0f}"


class Validator:
    """A schema, compiled: call it with a value, its path and a list for the problems."""

    __slots__ = ("_checks", "_each", "_extra", "_keys", "_ordered", "_properties", "_schema")

    def __init__(self, schema: Tree) -> None:
        self._checks: tuple[Validate, ...] = tuple(_checks(schema))
        self._properties: Mapping[str, Validator] = {
            name: Validator(inner) for name, inner in (schema.get("properties") or {}).items()
        }
        extra, items = schema.get("additionalProperties"), schema.get("items")
        self._extra = Validator(extra) if isinstance(extra, dict) else None
        self._each = Validator(items) if isinstance(items, dict) else None
        self._keys: tuple[str, ...] = (
            tuple(schema.get("x-kubernetes-list-map-keys") or ())
            if schema.get("x-kubernetes-list-type") == "map"
            else ()
        )
        self._schema = schema
        inner = (*self._properties.values(), *filter(None, (self._extra, self._each)))
        self._ordered: bool = not self._keys and all(validate._ordered for validate in inner)

    def __call__(self, value: Any, path: str, problems: list[Problem]) -> None:
        """Add what is wrong."""
        for check in self._checks:
            check(value, path, problems)
        if type(value) is dict:
            properties, extra = self._properties, self._extra
            for name, validate in properties.items():
                if name in value:
                    validate(value[name], f"{path}.{name}" if path else name, problems)
            if extra is not None:
                for name, member in value.items():
                    if name not in properties:
                        extra(member, f"{path}.{name}" if path else name, problems)
        elif type(value) is list and self._each is not None:
            each = self._each
            for number, item in enumerate(value):
                each(item, f"{path}[{number}]", problems)

    def update(self, value: Any, old: Any, path: str, problems: list[Problem]) -> None:
        """Add what is wrong with a value and was not there already: what has not changed is tolerated."""
        if self._unchanged(value, old):
            return
        for check in self._checks:
            check(value, path, problems)
        if type(value) is dict:
            before = old if type(old) is dict else {}
            for name, member in value.items():
                validate = self._properties.get(name) or self._extra
                if validate is None:
                    continue
                if name in before:
                    validate.update(member, before[name], _child(path, name), problems)
                else:
                    validate(member, _child(path, name), problems)
        elif type(value) is list and self._each is not None:
            known = self._known(old)
            for number, item in enumerate(value):
                at = f"{path}[{number}]"
                if known is not None and (key := self._key(item)) in known:
                    self._each.update(item, known[key], at, problems)
                else:
                    self._each(item, at, problems)

    def _unchanged(self, value: Any, old: Any) -> bool:
        """Return whether a value is as it was. Items that are known by their keys may have changed their order."""
        if self._ordered:
            return same(value, old)
        if type(value) is dict and type(old) is dict and value.keys() == old.keys():
            return all(self._unchanged_member(name, member, old[name]) for name, member in value.items())
        known = self._known(old)
        if known is None or type(value) is not list:
            return same(value, old)
        if len(value) != len(old):
            return False
        each = self._each
        return all(
            (key := self._key(item)) in known
            and (same(item, known[key]) if each is None else each._unchanged(item, known[key]))
            for item in value
        )

    def _unchanged_member(self, name: str, member: Any, old: Any) -> bool:
        validate = self._properties.get(name) or self._extra
        return same(member, old) if validate is None else validate._unchanged(member, old)

    def _key(self, item: Any) -> str:
        return encode_json([item.get(key) for key in self._keys]).decode() if type(item) is dict else ""

    def _known(self, old: Any) -> dict[str, Any] | None:
        if not self._keys or type(old) is not list:
            return None
        return {self._key(item): item for item in old if type(item) is dict}


def _checks(schema: Tree) -> list[Validate]:
    """Return the checks of a value itself, in the order in which Kubernetes makes them."""
    checks: list[Validate] = []
    if schema.get("type") or schema.get("x-kubernetes-int-or-string"):
        checks.append(_type_check(schema))
    checks += _junctions(schema)
    if any(schema.get(name) is not None for name in ("maxLength", "minLength")) or schema.get("pattern"):
        checks.append(_text_check(schema))
    if schema.get("format") in FORMATS:
        checks.append(_format_check(schema["format"]))
    if any(schema.get(name) is not None for name in ("maximum", "minimum", "multipleOf")) or schema.get(
        "format"
    ) in ("int32", "int64"):
        checks.append(_number_check(schema))
    if schema.get("minItems") is not None or schema.get("maxItems") is not None:
        checks.append(_list_check(schema))
    if schema.get("enum"):
        checks.append(_enum_check(schema))
    if (
        schema.get("required")
        or schema.get("minProperties") is not None
        or schema.get("maxProperties") is not None
    ):
        checks.append(_object_check(schema))
    return checks


def _type_check(schema: Tree) -> Validate:
    wanted = ("integer", "string") if schema.get("x-kubernetes-int-or-string") else (schema["type"],)
    nullable = bool(schema.get("nullable"))
    text = ",".join(wanted)
    integer, number = "integer" in wanted, "number" in wanted
    accepted = {cls for cls, name in _TYPES.items() if name in wanted} | ({int} if number else set())

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        cls = type(value)
        if cls in accepted or (value is None and nullable):
            return
        if integer and cls is float and value.is_integer():
            return
        found = _TYPES.get(cls, "object")
        problems.append(type_invalid(path, found, f"{path} in body must be of type {text}: {quote(found)}"))

    return check


def _text_check(schema: Tree) -> Validate:
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    search = compile_pattern(pattern) if pattern else None

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        if type(value) is not str:
            return
        if longest is not None and len(value) > longest:
            problems.append(too_long(path, longest))
        elif shortest is not None and len(value) < shortest:
            problems.append(invalid(path, value, f"{path} in body should be at least {shortest} chars long"))
        elif search is not None and not search(value):
            problems.append(invalid(path, value, f"{path} in body should match '{pattern}'"))

    return check


def _format_check(name: str) -> Validate:
    has_form = FORMATS[name]

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        if type(value) is str and not has_form(value):
            detail = f"{path} in body must be of type {name}: {quote(value)}"
            problems.append(type_invalid(path, value, detail))

    return check


_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def _number_check(schema: Tree) -> Validate:
    most, least, step = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    below, above = bool(schema.get("exclusiveMaximum")), bool(schema.get("exclusiveMinimum"))
    format = schema.get("format") or ""
    bounds = _RANGES.get(format)

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        cls = type(value)
        if cls is not int and cls is not float:
            return
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            detail = f"Checked value must be of type {schema.get('type') or 'number'} with format {format} in {path}"
            problems.append(Problem("FieldValueInvalid", NOWHERE, f'Invalid value: "": {detail}'))
        if step is not None and not _is_multiple(value, step):
            detail = f"{path} in body should be a multiple of {_shown(cls, step)}"
            problems.append(invalid(path, value, detail))
        if most is not None:
            limit = int(most) if cls is int else most
            if value > limit or (below and value == limit):
                words = "less than" if below else "less than or equal to"
                problems.append(invalid(path, value, f"{path} in body should be {words} {_shown(cls, most)}"))
        if least is not None:
            limit = int(least) if cls is int else least
            if value < limit or (above and value == limit):
                words = "greater than" if above else "greater than or equal to"
                problems.append(
                    invalid(path, value, f"{path} in body should be {words} {_shown(cls, least)}")
                )

    return check


def _shown(cls: type[Any], number: float) -> str:
    return str(int(number)) if cls is int else go_float(number)


def _is_multiple(value: float, step: float) -> bool:
    if step <= 0:
        return True
    if type(value) is int and float(step).is_integer():
        return value % int(step) == 0
    quotient = value / step
    return abs(quotient - round(quotient)) < 1e-9 * max(1.0, abs(quotient))


def _list_check(schema: Tree) -> Validate:
    fewest, most = schema.get("minItems"), schema.get("maxItems")

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        if type(value) is not list:
            return
        if fewest is not None and len(value) < fewest:
            detail = f"{path} in body should have at least {fewest} items"
            problems.append(invalid(path, len(value), detail))
        if most is not None and len(value) > most:
            problems.append(too_many(path, len(value), most))

    return check


def _enum_check(schema: Tree) -> Validate:
    allowed = schema["enum"]
    texts = frozenset(value for value in allowed if type(value) is str)
    shown = [value if isinstance(value, str) else encode_json(value).decode() for value in allowed]
    nullable = bool(schema.get("nullable"))

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        if (value in texts) if type(value) is str else any(same(value, other) for other in allowed):
            return
        if value is None and nullable:
            return
        problems.append(not_supported(path, value, shown))

    return check


def _object_check(schema: Tree) -> Validate:
    needed = tuple(schema.get("required") or ())
    fewest, most = schema.get("minProperties"), schema.get("maxProperties")

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        if type(value) is not dict:
            return
        if fewest is not None and len(value) < fewest:
            detail = f"{path} in body should have at least {fewest} properties"
            problems.append(invalid(path, fewest, detail))
        elif most is not None and len(value) > most:
            problems.append(too_many(path, len(value), most))
        else:
            problems += [required(_child(path, name)) for name in needed if name not in value]

    return check


def _junctions(schema: Tree) -> list[Validate]:
    """Return the checks of combinations: any of, one of, all of, not."""
    checks: list[Validate] = []
    if schema.get("anyOf"):
        checks.append(_any_of([Validator(inner) for inner in schema["anyOf"]]))
    if schema.get("oneOf"):
        checks.append(_one_of([Validator(inner) for inner in schema["oneOf"]]))
    if schema.get("allOf"):
        checks.append(_all_of([Validator(inner) for inner in schema["allOf"]]))
    if isinstance(schema.get("not"), dict):
        checks.append(_not(Validator(schema["not"])))
    return checks


def _combined(path: str, detail: str) -> Problem:
    return Problem("FieldValueInvalid", NOWHERE, f'Invalid value: "": {quote(path)} {detail}')


def _tried(choices: list[Validator], value: Any, path: str) -> list[list[Problem]]:
    results = []
    for validate in choices:
        found: list[Problem] = []
        validate(value, path, found)
        results.append(found)
    return results


def _any_of(choices: list[Validator]) -> Validate:
    def check(value: Any, path: str, problems: list[Problem]) -> None:
        best: list[Problem] | None = None
        for validate in choices:
            found: list[Problem] = []
            validate(value, path, found)
            if not found:
                return
            best = found if best is None else best
        problems.append(_combined(path, "must validate at least one schema (anyOf)"))
        problems += best or ()

    return check


def _one_of(choices: list[Validator]) -> Validate:
    def check(value: Any, path: str, problems: list[Problem]) -> None:
        results = _tried(choices, value, path)
        valid = sum(not found for found in results)
        if valid == 1:
            return
        why = "Found none valid" if not valid else f"Found {valid} valid alternatives"
        problems.append(_combined(path, f"must validate one and only one schema (oneOf). {why}"))
        if not valid:
            problems += results[0]

    return check


def _all_of(parts: list[Validator]) -> Validate:
    def check(value: Any, path: str, problems: list[Problem]) -> None:
        results = _tried(parts, value, path)
        failed = [found for found in results if found]
        if not failed:
            return
        for found in failed:
            problems += found
        none = ". None validated" if len(failed) == len(parts) else ""
        problems.append(_combined(path, f"must validate all the schemas (allOf){none}"))

    return check


def _not(validator: Validator) -> Validate:
    def check(value: Any, path: str, problems: list[Problem]) -> None:
        found: list[Problem] = []
        validator(value, path, found)
        if not found:
            problems.append(_combined(path, "must not validate the schema (not)"))

    return check
