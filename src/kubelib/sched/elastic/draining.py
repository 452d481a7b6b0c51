"""Emptying a node: cordon, evictions within the disruption budgets, and back to use if that cannot be done in time."""

from collections.abc import Awaitable, Callable

import anyio

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, Conflict, NotFound, TooManyRequests
from kubelib.api.machinery import DeleteOptions, Preconditions
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.api.policy import Eviction
from kubelib.client.base import Client
from kubelib.client.update import update_with
from kubelib.sched.elastic.shrinking import is_over, stays

DRAINING = "elastic.kubelib.dev/draining"
"""The annotation of a node that we have cordoned."""
RETRY = 10.0
"""Seconds until an eviction that a budget was against is tried again, as the cluster autoscaler does it."""
LOOK = 1.0

Why = Callable[[Pod], str]
"""Returns why a Pod must not be moved, or nothing."""


class NotDrained(Exception):
    """The node stays, and is in use again; says why."""


async def cordon(client: Client, node: str) -> None:
    """Keep new Pods away from a node, and note that it was us. Raises ApiError, NotDrained if somebody else had done it."""

    def change(found: Node) -> Node:
        if found.spec.unschedulable and DRAINING not in found.metadata.annotations:
            raise NotDrained(f"somebody else has cordoned {node}")
        marked = {**found.metadata.annotations, DRAINING: "true"}
        return replace(
            found,
            metadata=replace(found.metadata, annotations=marked),
            spec=replace(found.spec, unschedulable=True),
        )

    await update_with(client, Node, Key("", node), change)


async def uncordon(client: Client, node: str) -> None:
    """Let a node that we have cordoned be used again; one that is gone is no error. Raises ApiError."""

    def change(found: Node) -> Node | None:
        if DRAINING not in found.metadata.annotations:
            return None
        kept = {key: value for key, value in found.metadata.annotations.items() if key != DRAINING}
        return replace(
            found,
            metadata=replace(found.metadata, annotations=kept),
            spec=replace(found.spec, unschedulable=False),
        )

    try:
        await update_with(client, Node, Key("", node), change)
    except NotFound:
        return


async def drain(
    client: Client,
    node: str,
    *,
    pods: Callable[[str], Awaitable[list[Pod]]],
    why: Why,
    within: float,
) -> None:
    """Cordon a node and evict its Pods; return when only those are left that go with it.

    Raises NotDrained after `within` seconds, or when a Pod turns up that must not move; the node is then in use again.
    """
    await cordon(client, node)
    try:
        with anyio.fail_after(within):
            while waiting := [pod for pod in await pods(node) if not is_over(pod) and not stays(pod)]:
                for pod in waiting:
                    if reason := why(pod):
                        raise NotDrained(f"pod {pod.key} cannot be moved: {reason}")
                refused = False
                for pod in waiting:
                    if pod.metadata.deletion_timestamp is None:
                        refused = not await _evict(client, pod) or refused
                await anyio.sleep(RETRY if refused else LOOK)
    except (NotDrained, TimeoutError, ApiError) as error:
        await uncordon(client, node)
        if isinstance(error, TimeoutError):
            raise NotDrained(f"its pods had not gone after {within:g} s") from None
        raise


async def _evict(client: Client, pod: Pod) -> bool:
    """Ask for a Pod to go; return whether nothing is against it."""
    meta = pod.metadata
    eviction = Eviction(
        metadata=ObjectMeta(name=meta.name, namespace=meta.namespace),
        delete_options=DeleteOptions(preconditions=Preconditions(uid=meta.uid)),
    )
    try:
        await client.resource(Eviction).create(eviction)
    except (TooManyRequests, Conflict):
        return False
    except NotFound:
        return True
    return True
