"""JSON patch (RFC 6902), as Kubernetes' library carries it out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubelib.api.checking import json_type
from kubelib.api.codec import copied, encode_json
from kubelib.api.errors import BadRequest, Invalid, RequestEntityTooLarge

MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024
"""How many bytes of JSON ``copy`` may add in all: a copy of a copy doubles, ten thousand fill any memory."""


def _no_patch(value: Any, expected: str) -> BadRequest:
    return BadRequest(f"json: cannot unmarshal {json_type(value)} into Go value of type jsonpatch.{expected}")


_WHERE = {
    "add": 'add operation does not apply: doc is missing path: "{}"',
    "remove": 'remove operation does not apply: doc is missing path: "{}"',
    "replace": "replace operation does not apply: doc is missing path: {}",
    "test": "test operation does not apply: is missing path: {}",
    "move": "move operation does not apply: doc is missing from path: {}",
    "move to": "move operation does not apply: doc is missing destination path: {}",
    "copy": "copy operation does not apply: doc is missing from path: {}",
    "copy to": "copy operation does not apply: doc is missing destination path: {}",
}
"""What is said of each use of a path where nothing could hold what it names."""
_WRONG = {
    "add": "error in add for path: '{}'",
    "remove": "error in remove for path: '{}'",
    "replace": "error in remove for path: '{}'",  # the library's own slip
    "test": "error in test for path: '{}'",
    "move": "error in move for path: '{}'",
    "move to": "error in move for path: '{}'",
    "copy": "error in copy for from: '{}'",
    "copy to": "error while adding value during copy",
}
"""What is said before the reason, of each use of a path whose end does not fit."""


def _place(tree: Any, path: Any, verb: str) -> tuple[Any, str]:
    """Return what holds the place that a pointer names, and its name or index there. Null holds nothing."""
    if not isinstance(path, str):
        raise Invalid(f"{verb.split()[0]} operation failed to decode path: missing value")
    _, *parts = path.split("/")
    if not parts:
        raise _missing(verb, path)
    *above, last = (part.replace("~1", "/").replace("~0", "~") for part in parts)
    for part in above:
        if isinstance(tree, dict):
            tree = tree.get(part)
        elif isinstance(tree, list):
            tree = tree[_index(part, len(tree))]
        if not isinstance(tree, dict | list):
            raise _missing(verb, path)
    return tree, last


def _missing(verb: str, path: str) -> Invalid:
    return Invalid(f"{_WHERE[verb].format(path)}: missing value")


@contextmanager
def _told(verb: str, path: Any) -> Iterator[None]:
    """Say which operation, and where, it is that does not fit. Raises Invalid."""
    try:
        yield
    except Invalid as error:
        raise Invalid(f"{_WRONG[verb].format(path)}: {error.message}") from None


def _index(part: str, length: int) -> int:
    """Return an index into a list; negative ones count from its end, as Kubernetes allows though RFC 6902 does not."""
    digits = part[1:] if part[:1] in ("-", "+") else part
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise Invalid(f"value was not a proper array index: {part!r}")
    number = int(part)
    if not -length <= number < length:
        raise Invalid(f"Unable to access invalid index: {number}: invalid index referenced")
    return number % length


def _get(parent: Any, name: str) -> Any:
    """Return what is at a place; null for what an object does not have."""
    return parent.get(name) if isinstance(parent, dict) else parent[_index(name, len(parent))]


def _set(parent: Any, name: str, value: Any) -> None:
    parent[name if isinstance(parent, dict) else _index(name, len(parent))] = value


def _add(parent: Any, name: str, value: Any) -> None:
    if isinstance(parent, dict):
        parent[name] = value
    else:
        parent.insert(len(parent) if name == "-" else _index(name, len(parent) + 1), value)


def _remove(parent: Any, name: str) -> None:
    if isinstance(parent, list):
        del parent[_index(name, len(parent))]
    elif name in parent:
        del parent[name]
    else:
        raise Invalid(f"Unable to remove nonexistent key: {name}: missing value")


def _same(a: Any, b: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def apply_json_patch(tree: Any, operations: Any) -> Any:
    """Return `tree` with all operations carried out as Kubernetes does it; `tree` itself is not changed.

    It is less strict than RFC 6902: what is replaced in an object need not be there, what is not there is null when it is tested
    or copied, a value that is left out is null, negative indices count from the end. The whole document can only be
    replaced and tested. Raises `BadRequest` for what is not a patch, `RequestEntityTooLarge` for too many operations, and
    `Invalid`, in the library's words, for a patch that does not fit the document (a failed test).
    """
    if not isinstance(operations, list):
        raise _no_patch(operations, "Patch")
    if len(operations) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            "Request entity too large: The allowed maximum operations in a JSON patch is"
            f" {MAX_OPERATIONS}, got {len(operations)}"
        )
    tree = copied(tree)
    added = 0
    for operation in operations:
        if not isinstance(operation, dict):
            raise _no_patch(operation, "Operation")
        verb, path, value = operation.get("op"), operation.get("path"), operation.get("value")
        match verb:
            case "replace" | "test" if path == "":
                tree = _whole(tree, str(verb), value)
            case "add" | "remove" | "replace":
                parent, name = _place(tree, path, verb)
                with _told(verb, path):
                    if verb == "remove":
                        _remove(parent, name)
                    else:
                        (_add if verb == "add" else _set)(parent, name, copied(value))
            case "test":
                if not _same(_read(tree, path, "test"), value):
                    raise Invalid(f"testing value {path} failed: test failed")
            case "move":
                source = operation.get("from")
                moved = _read(tree, source, "move")
                with _told("move", path):
                    _remove(*_place(tree, source, "move"))
                _put(tree, path, "move to", moved)
            case "copy":
                found = _read(tree, operation.get("from"), "copy")
                added += len(encode_json(found))
                if added > MAX_COPIED:
                    raise Invalid(
                        "Unable to complete the copy, the accumulated size increase of copy is"
                        f" {added}, exceeding the limit {MAX_COPIED}"
                    )
                _put(tree, path, "copy to", copied(found))
            case _:
                raise Invalid(f"Unexpected kind: {verb}")
    return tree


def _read(tree: Any, path: Any, verb: str) -> Any:
    place = _place(tree, path, verb)
    with _told(verb, path):
        return _get(*place)


def _put(tree: Any, path: Any, verb: str, value: Any) -> None:
    place = _place(tree, path, verb)
    with _told(verb, path):
        _add(*place, value)


def _whole(tree: Any, verb: str, value: Any) -> Any:
    """Replace or test a document as a whole."""
    if verb == "replace":
        if not isinstance(value, dict | list):
            raise Invalid("replace operation value must be object or array")
        return copied(value)
    if not _same(tree, value):
        raise Invalid("testing value  failed: test failed")
    return tree
