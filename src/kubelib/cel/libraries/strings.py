"""The library of texts: looking, cutting, joining, quoting, and ``format``."""

import math
from typing import Any

from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.libraries.standard import plain_double, shown_double
from kubelib.cel.library import Library
from kubelib.cel.values import Duration, Timestamp, TypeName, Uint, kind_of, type_name

STRINGS = Library()
_declare, _add = STRINGS.declare, STRINGS.add
_ASCII_LOWER = {code: code + 32 for code in range(65, 91)}
_ASCII_UPPER = {code: code - 32 for code in range(97, 123)}
_MOST_PRECISION = 1000


@_declare("string.charAt(int) string")
def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise EvaluationError(f"index out of range: {at}")
    return text[at : at + 1]


@_declare("string.indexOf(string) int", cost=costs.traversal, estimate=costs.first_traversed)
def _index_of(text: str, wanted: str) -> int:
    return text.find(wanted)


@_declare("string.indexOf(string, int) int", cost=costs.traversal, estimate=costs.first_traversed)
def _index_from(text: str, wanted: str, start: int) -> int:
    if not wanted:
        return start
    if start < 0:
        raise EvaluationError(f"index out of range: {start}")
    return text.find(wanted, start) if start < len(text) else -1


@_declare("string.lastIndexOf(string) int", cost=costs.traversal, estimate=costs.first_traversed)
def _last_index_of(text: str, wanted: str) -> int:
    return text.rfind(wanted)


@_declare("string.lastIndexOf(string, int) int", cost=costs.traversal, estimate=costs.first_traversed)
def _last_index_to(text: str, wanted: str, last: int) -> int:
    if not wanted:
        return last
    if last < 0:
        raise EvaluationError(f"index out of range: {last}")
    return text.rfind(wanted, 0, last + len(wanted))


_add(
    "string.lowerAscii() string",
    lambda text: text.translate(_ASCII_LOWER),
    cost=costs.traversal,
    estimate=costs.first_traversed_same_size,
)
_add(
    "string.upperAscii() string",
    lambda text: text.translate(_ASCII_UPPER),
    cost=costs.traversal,
    estimate=costs.first_traversed_same_size,
)
_add(
    "string.trim() string",
    lambda text: text.strip(
        " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
    ),
    cost=costs.traversal,
    estimate=costs.first_traversed_same_size,
)
_add(
    "string.reverse() string",
    lambda text: text[::-1],
    cost=costs.traversal,
    estimate=costs.first_traversed_same_size,
)


@_declare("string.replace(string, string) string", cost=costs.double_traversal, estimate=costs.replaced)
def _replace(text: str, old: str, new: str) -> str:
    return _replace_some(text, old, new, -1)


@_declare("string.replace(string, string, int) string", cost=costs.double_traversal, estimate=costs.replaced)
def _replace_some(text: str, old: str, new: str, most: int) -> str:
    count = len(text) + 1 if not old else text.count(old)
    if most >= 0:
        count = min(count, most)
    if len(text) + count * (len(new) - len(old)) > 10_000_000:
        raise EvaluationError("the text would become larger than 10000000")
    return text.replace(old, new, most if most >= 0 else -1)


@_declare("string.split(string) list(string)", cost=costs.double_traversal, estimate=costs.split_up)
def _split(text: str, by: str) -> list[str]:
    return text.split(by) if by else list(text)


@_declare("string.split(string, int) list(string)", cost=costs.double_traversal, estimate=costs.split_up)
def _split_some(text: str, by: str, most: int) -> list[str]:
    if most == 0:
        return []
    if most == 1:
        return [text]
    if by:
        return text.split(by, most - 1 if most > 0 else -1)
    letters = list(text)
    return letters if most < 0 or len(letters) <= most else [*letters[: most - 1], text[most - 1 :]]


@_declare("string.substring(int) string", cost=costs.traversal, estimate=costs.first_traversed_same_size)
def _substring_from(text: str, start: int) -> str:
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text[start:]


@_declare("string.substring(int, int) string", cost=costs.traversal, estimate=costs.first_traversed_same_size)
def _substring(text: str, start: int, end: int) -> str:
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for at in (start, end):
        if not 0 <= at <= len(text):
            raise EvaluationError(f"index out of range: {at}")
    return text[start:end]


@_declare("list(string).join() string", cost=costs.result_traversal, estimate=costs.texts_joined)
def _join(texts: list[str]) -> str:
    return _join_with(texts, "")


@_declare("list(string).join(string) string", cost=costs.result_traversal, estimate=costs.texts_joined)
def _join_with(texts: list[str], between: str) -> str:
    if any(text.__class__ is not str for text in texts):
        raise EvaluationError("no such overload")
    if sum(map(len, texts)) + len(texts) * len(between) > 10_000_000:
        raise EvaluationError("the text would become larger than 10000000")
    return between.join(texts)


_QUOTED = str.maketrans(
    dict(
        zip(
            '\a\b\f\n\r\t\v\\"', ("\\a", "\\b", "\\f", "\\n", "\\r", "\\t", "\\v", "\\\\", '\\"'), strict=True
        )
    )
)


@_declare("strings.quote(string) string", cost=costs.traversal, estimate=costs.first_traversed)
def _quote(text: str) -> str:
    return f'"{text.translate(_QUOTED)}"'


# format


@_declare("string.format(list(dyn)) string", cost=costs.result_traversal, estimate=costs.formatted)
def _format(template: str, values: list[Any]) -> str:
    out: list[str] = []
    at = used = length = 0
    while (percent := template.find("%", at)) >= 0:
        out.append(template[at:percent])
        at = percent + 1
        if template[at : at + 1] == "%":
            out.append("%")
            at += 1
            continue
        precision, at = _precision(template, at)
        clause = template[at : at + 1]
        at += 1
        if not clause:
            raise EvaluationError("unexpected end of string")
        if used >= len(values):
            raise EvaluationError(f"index {used} out of range")
        try:
            out.append(_clause(clause, values[used], precision))
        except EvaluationError as error:
            raise EvaluationError(f"error during formatting: {error}") from None
        used += 1
        length += len(out[-1])
        if length > 10_000_000:
            raise EvaluationError("the text would become larger than 10000000")
    out.append(template[at:])
    return "".join(out)


def _precision(template: str, at: int) -> tuple[int, int]:
    if template[at : at + 1] != ".":
        return -1, at
    end = at + 1
    while template[end : end + 1].isdigit() and end - at < 10:
        end += 1
    digits = template[at + 1 : end]
    if not digits:
        raise EvaluationError("error while parsing precision: could not convert precision to integer")
    if int(digits) > _MOST_PRECISION:
        raise EvaluationError(f"precision must not exceed {_MOST_PRECISION}")
    return int(digits), end


def _clause(clause: str, value: Any, precision: int) -> str:
    cls = value.__class__
    match clause:
        case "s":
            return shown(value)
        case "d":
            if cls in (int, Uint):
                return str(int(value))
            if cls is float and not math.isfinite(value):
                return shown(value)
            raise EvaluationError(
                f"decimal clause can only be used on integers, was given {type_name(value)}"
            )
        case "f":
            if cls in (int, Uint, float):
                return _non_finite(value) or f"{value:.{6 if precision < 0 else precision}f}"
            raise EvaluationError(
                f"fixed-point clause can only be used on doubles, was given {type_name(value)}"
            )
        case "e":
            if cls in (int, Uint, float):
                return _non_finite(value) or f"{value:.{6 if precision < 0 else precision}e}"
            raise EvaluationError(
                f"scientific clause can only be used on doubles, was given {type_name(value)}"
            )
        case "b":
            if cls is bool:
                return "1" if value else "0"
            if cls in (int, Uint):
                return f"{int(value):b}"
            raise EvaluationError(
                f"only integers and bools can be formatted as binary, was given {type_name(value)}"
            )
        case "x" | "X":
            if cls in (int, Uint):
                return f"{int(value):{clause}}"
            if cls in (str, bytes):
                digits = (value.encode() if cls is str else value).hex()
                return digits.upper() if clause == "X" else str(digits)
            raise EvaluationError(
                f"only integers, byte buffers, and strings can be formatted as hex, was given {type_name(value)}"
            )
        case "o":
            if cls in (int, Uint):
                return f"{int(value):o}"
            raise EvaluationError(f"octal clause can only be used on integers, was given {type_name(value)}")
    raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{clause}"')


def _non_finite(value: float) -> str:
    return (
        ""
        if math.isfinite(value)
        else {"NaN": "NaN", "+Inf": "Infinity", "-Inf": "-Infinity"}[shown_double(value)]
    )


def shown(value: Any, *, depth: int = 0) -> str:
    """Return a value as ``%s`` shows it. Raises EvaluationError for what cannot be shown."""
    cls = value.__class__
    if cls is str:
        return value  # type: ignore[no-any-return]  # its class says so
    if cls is bool:
        return "true" if value else "false"
    if value is None:
        return "null"
    if cls in (int, Uint):
        return str(int(value))
    if cls is float:
        return _non_finite(value) or plain_double(value)
    if cls is bytes:
        return str(value.decode(errors="replace"))
    if cls in (Duration, Timestamp):
        return str(value)
    if cls is TypeName:
        return str(value.name)
    if depth > 50:
        raise EvaluationError("value is nested too deeply to be shown")
    if cls is list:
        return f"[{', '.join(shown(element, depth=depth + 1) for element in value)}]"
    if kind_of(value) == "map":
        pairs = [(shown(k, depth=depth + 1), shown(v, depth=depth + 1)) for k, v in value.items()]
        return f"{{{', '.join(f'{k}: {v}' for k, v in sorted(pairs))}}}"
    raise EvaluationError(
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, "
        f"and timestamps, was given {type_name(value)}"
    )


@_declare("jsonpatch.escapeKey(string) string", cost=costs.traversal, estimate=costs.first_traversed)
def _escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
