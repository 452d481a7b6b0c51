"""Scales on their way in: what is common to all kinds that have replicas."""

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
    registry: "GenericRegistry", key: Key, tree: Tree, before: Tree, options: WriteOptions
) -> int:
    """Let admission see a Scale as what it is, and return the replicas that are then wanted. `before` is the present Scale.

    What a Scale that was sent leaves to the server is filled in, in place. Raises ApiError.
    """
    tree["kind"], tree["apiVersion"] = before["kind"], before["apiVersion"]
    tree["metadata"] = {**before["metadata"], **(tree.get("metadata") or {})}
    tree["status"] = before["status"]

    def check() -> None:
        require_valid_scale(tree, key)

    await registry.admit("update", key, tree, before, options, "scale", check=check)
    return require_valid_scale(tree, key)
