"""Read, change, write, again if somebody was quicker: the one way to change an object from code."""

from collections.abc import Callable
from typing import TypeVar

from kubelib.api import codec
from kubelib.api.errors import Conflict
from kubelib.api.meta import Key, Object
from kubelib.api.patch import diff_merge_patch
from kubelib.client.base import Client
from kubelib.registry.base import Patch

R = TypeVar("R", bound=Object)


async def update_with(
    client: Client,
    kind: type[R],
    key: Key,
    change: Callable[[R], R | None],
    *,
    subresource: str = "",
    tries: int = 10,
) -> R:
    """Replace the object at `key` with ``change(object)``; None, or an equal object, leaves it as it is.

    `change` is called again with the newer object when somebody else was quicker. Raises NotFound, Invalid, and
    Conflict after `tries` losses.
    """
    registry = client.resource(kind)
    for attempt in range(tries):
        current = await registry.get(key)
        changed = change(current)
        if changed is None or changed == current:
            return current
        try:
            return await registry.update(changed, subresource=subresource)
        except Conflict:
            if attempt == tries - 1:
                raise
    raise AssertionError("unreachable")


async def patch_difference(client: Client, before: R, after: R, *, subresource: str = "") -> R:
    """Send what makes `after` of `before` as a merge patch: other fields, and other writers of them, are left alone."""
    patch = diff_merge_patch(codec.to_tree(before), codec.to_tree(after))
    if not patch:
        return before
    return await client.resource(type(before)).patch(
        before.key, Patch("merge", patch), subresource=subresource
    )
