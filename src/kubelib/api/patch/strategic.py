"""Strategic merge patch: a merge patch that knows which lists are maps in disguise."""

from typing import Any

from kubelib.api.errors import BadRequest
from kubelib.api.merging import MergeFact, merge_facts
from kubelib.api.model import Model, json_fields, model_in
from kubelib.api.scheme import Tree

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_NO_FACT = MergeFact()


def apply_strategic_patch(tree: Tree, patch: Any, cls: type[Model]) -> Tree:
    """Return `tree` with `patch` merged in, by the merge facts of class `cls`. Neither is changed.

    Raises `BadRequest` for a patch that is not one.
    """
    if not isinstance(patch, dict):
        raise BadRequest("the patch is not an object")
    return _merge_map(tree, patch, cls)


def _merge_map(tree: Tree, patch: Tree, cls: type[Model] | None) -> Tree:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive is not None:
        raise BadRequest(f"Unknown patch type: {directive}")
    result = dict(tree)
    if _RETAIN in patch:
        keep = patch[_RETAIN]
        if not isinstance(keep, list):
            raise BadRequest("$retainKeys is not a list")
        result = {k: v for k, v in result.items() if k in keep}
    facts = merge_facts(cls) if cls is not None else {}  # type: ignore[arg-type]
    fields = json_fields(cls) if cls is not None else {}  # type: ignore[arg-type]
    for name, value in patch.items():
        if name in (_DIRECTIVE, _RETAIN):
            continue
        if name.startswith(_DELETE):
            field = name.removeprefix(_DELETE)
            gone = value if isinstance(value, list) else []
            if isinstance(result.get(field), list):
                result[field] = [item for item in result[field] if item not in gone]
            continue
        if name.startswith(_ORDER):
            continue
        inner = model_in(fields[name])[1] if name in fields else None
        old = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _merge_map(old if isinstance(old, dict) else {}, value, inner)
        elif isinstance(value, list):
            fact = facts.get(name, _NO_FACT)
            result[name] = _merge_list(old if isinstance(old, list) else [], value, fact, inner)
        else:
            result[name] = value
    for name, order in patch.items():
        if name.startswith(_ORDER) and isinstance(order, list):
            field = name.removeprefix(_ORDER)
            if isinstance(result.get(field), list):
                before = tree.get(field)
                key = facts.get(field, _NO_FACT).patch_merge_key
                result[field] = _in_order(
                    result[field], order, before if isinstance(before, list) else [], key
                )
    return result


def _merge_list(old: list[Any], patch: list[Any], fact: MergeFact, cls: type[Model] | None) -> list[Any]:
    if not fact.strategic:
        return (
            [item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)] if patch else []
        )
    if not fact.patch_merge_key:
        return _in_order([*old, *(item for item in patch if item not in old)], patch, old, "")
    key = fact.patch_merge_key
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)]
    result = list(old)
    for item in patch:
        if not isinstance(item, dict):
            raise BadRequest("an item of a list that is merged by key is not an object")
        if key not in item:
            raise BadRequest(f"map: {item} does not contain declared merge key: {key}")
        at = next(
            (n for n, other in enumerate(result) if isinstance(other, dict) and other.get(key) == item[key]),
            None,
        )
        if item.get(_DIRECTIVE) == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(_merge_map({}, item, cls))
        else:
            result[at] = _merge_map(result[at], item, cls)
    return _in_order(result, [item for item in patch if _DIRECTIVE not in item], old, key)


def _in_order(items: list[Any], order: list[Any], before: list[Any], key: str) -> list[Any]:
    """Put the items that `order` has into that order.

    Another item comes before the next of these where it did so `before`, otherwise behind all of them.
    """

    def place(item: Any, among: list[Any]) -> int:
        name = _identity(item, key)
        return next((at for at, other in enumerate(among) if _identity(other, key) == name), -1)

    named = sorted((i for i in items if place(i, order) >= 0), key=lambda item: place(item, order))
    others = [item for item in items if place(item, order) < 0]
    placed: list[Any] = []
    for item in named:
        at = place(item, before)
        while others and 0 <= place(others[0], before) < at:
            placed.append(others.pop(0))
        placed.append(item)
    return placed + others


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if key and isinstance(item, dict) else item
