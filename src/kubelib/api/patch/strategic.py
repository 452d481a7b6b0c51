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
    if directive not in (None, "merge"):
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
                result[field] = _in_order(result[field], order, facts.get(field, _NO_FACT).patch_merge_key)
    return result


def _merge_list(old: list[Any], patch: list[Any], fact: MergeFact, cls: type[Model] | None) -> list[Any]:
    if not fact.strategic:
        return (
            [item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)] if patch else []
        )
    if not fact.patch_merge_key:
        return [*old, *(item for item in patch if item not in old)]
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
    return result


def _in_order(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Put the items named in `order` into that order; others stay behind what they stood behind."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    named = sorted(
        (item for item in items if identity(item) in wanted), key=lambda item: wanted.index(identity(item))
    )
    following = iter(named)
    return [next(following) if identity(item) in wanted else item for item in items]
