"""JSON merge patch (RFC 7386)."""

from typing import Any

from kubelib.api.scheme import Tree


def apply_merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with `patch` merged in. Neither is changed.

    >>> apply_merge_patch({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}})
    {'b': {'c': 2, 'd': 3}}
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply_merge_patch(result.get(name), value)
    return result


def diff_merge_patch(before: Tree, after: Tree) -> Tree:
    """Return the smallest merge patch that makes `after` of `before`."""
    patch: Tree = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := diff_merge_patch(old, value):
                patch[name] = inner
        elif value != old or name not in before:
            patch[name] = value
    return patch
