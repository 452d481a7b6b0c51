"""Scales on their way in: what is common to all kinds that have replicas."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from kubelib.api.errors import BadRequest, invalid
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.api.validation.workloads import scale_problems
from kubelib.registry.base import WriteOptions

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry


def require_valid_scale(tree: Tree, key: Key) -> int:
    """Return the replicas that a Scale asks for. Raises Invalid, BadRequest."""
    if problems := scale_problems(tree):
        raise invalid("Scale", "autoscaling", key.name, problems)
    replicas = (tree.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise BadRequest("Scale: spec.replicas is not a number")
    return replicas


async def admit_scale(
    registry: "GenericRegistry",
    key: Key,
    tree: Tree,
    before: Tree,
    options: WriteOptions,
    check: Callable[[], None] | None = None,
) -> None:
    """Let admission see a Scale as what it is, and change it in place. `before` is the present Scale.

    What a Scale that was sent leaves to the server is filled in; `check` raises if it is not valid. Raises ApiError.
    """
    tree["kind"], tree["apiVersion"] = before["kind"], before["apiVersion"]
    tree["metadata"] = {**before["metadata"], **(tree.get("metadata") or {})}
    tree["status"] = before["status"]
    await registry.admit("update", key, tree, before, options, "scale", check=check)
