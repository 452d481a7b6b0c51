"""JSON patch (RFC 6902)."""

from typing import Any

from kubelib.api.codec import copied, encode_json
from kubelib.api.errors import BadRequest, Invalid

MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024
"""How many bytes of JSON ``copy`` may add in all: a copy of a copy doubles, ten thousand fill any memory."""


def _refused(why: str) -> Invalid:
    return Invalid(f"the server rejected our request due to an error in our request: {why}")


def _pointer(path: Any) -> list[str]:
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise BadRequest(f"json patch: {path!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _index(part: str, length: int, *, insert: bool) -> int:
    if part == "-" and insert:
        return length
    if not part.isascii() or not part.isdigit() or len(part) > 18 or (len(part) > 1 and part[0] == "0"):
        raise _refused(f"json patch: {part!r} is not the index of a list")
    number = int(part)
    if number > length or (number == length and not insert):
        raise _refused(f"json patch: there is no item {part} in the list")
    return number


def _get(tree: Any, parts: list[str], path: str) -> Any:
    for part in parts:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list):
            tree = tree[_index(part, len(tree), insert=False)]
        else:
            raise _refused(f"json patch: there is nothing at {path!r}")
    return tree


def _add(tree: Any, parts: list[str], path: str, value: Any) -> Any:
    if not parts:
        return value
    parent = _get(tree, parts[:-1], path)
    if isinstance(parent, dict):
        parent[parts[-1]] = value
    elif isinstance(parent, list):
        parent.insert(_index(parts[-1], len(parent), insert=True), value)
    else:
        raise _refused(f"json patch: nothing can be added at {path!r}")
    return tree


def _remove(tree: Any, parts: list[str], path: str) -> Any:
    if not parts:
        return None
    parent = _get(tree, parts[:-1], path)
    if isinstance(parent, dict) and parts[-1] in parent:
        del parent[parts[-1]]
    elif isinstance(parent, list):
        del parent[_index(parts[-1], len(parent), insert=False)]
    else:
        raise _refused(f"json patch: there is nothing at {path!r} to remove")
    return tree


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
    """Return `tree` with all operations carried out; `tree` itself is not changed.

    Raises `BadRequest` for what is not a patch, `Invalid` for one that does not fit the document (a failed test).
    """
    if not isinstance(operations, list):
        raise BadRequest("json patch: expected a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise BadRequest(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        )
    tree = copied(tree)
    added = 0
    for operation in operations:
        if not isinstance(operation, dict):
            raise BadRequest("json patch: an operation is not an object")
        verb, path = operation.get("op"), operation.get("path")
        parts = _pointer(path)
        assert isinstance(path, str)
        if verb in ("add", "replace", "test") and "value" not in operation:
            raise BadRequest(f"json patch: {verb} {path!r} has no value")
        value = operation.get("value")
        match verb:
            case "add":
                tree = _add(tree, parts, path, copied(value))
            case "remove":
                tree = _remove(tree, parts, path)
            case "replace":
                _get(tree, parts, path)
                if parts:
                    parent = _get(tree, parts[:-1], path)
                    parent[int(parts[-1]) if isinstance(parent, list) else parts[-1]] = copied(value)
                else:
                    tree = copied(value)
            case "test":
                if not _same(_get(tree, parts, path), value):
                    raise _refused(f"testing path {path} value failed")
            case "move" | "copy":
                source = operation.get("from")
                origin = _pointer(source)
                if verb == "move" and parts[: len(origin)] == origin and parts != origin:
                    raise _refused("json patch: a value cannot be moved into itself")
                found = _get(tree, origin, str(source))
                if verb == "copy":
                    added += len(encode_json(found))
                    if added > MAX_COPIED:
                        raise _refused(
                            "Unable to complete the copy, the accumulated size increase of copy is"
                            f" {added}, exceeding the limit {MAX_COPIED}"
                        )
                moved = copied(found)
                if verb == "move":
                    tree = _remove(tree, origin, str(source))
                tree = _add(tree, parts, path, moved)
            case _:
                raise BadRequest(f"json patch: unknown operation {verb!r}")
    return tree
