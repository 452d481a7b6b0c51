"""Starting all containers of a Pod anew in its sandbox: which they are, and what is remembered of them. Pure.

As the kubelet does it, they are removed from the runtime, so that nothing of their former life decides about the next.
"""

from collections.abc import Mapping, Sequence

from kubelib.api import codec
from kubelib.api.core.pod import Pod
from kubelib.api.scheme import Tree
from kubelib.runtime.base import Container
from kubelib.runtime.lifecycle import Memory, Past, backoff_of, latest, next_backoff
from kubelib.runtime.restarts import RESTARTING, sources
from kubelib.runtime.statuses import how_it_ended


def begun_anew(pod: Pod, containers: Sequence[Container]) -> tuple[Container, ...]:
    """Return all attempts of all containers but ephemeral ones, which are for one life."""
    names = {definition.name for definition in (*pod.spec.init_containers, *pod.spec.containers)}
    return tuple(c for c in containers if c.name in names)


def pasts(pod: Pod, containers: Sequence[Container], memory: Memory) -> Mapping[str, Past]:
    """Return what to remember of containers that have ended. Those that asked for it wait longer the next time."""
    last = latest(containers)
    asked = {source.id for source in sources(pod, last)}
    return {
        name: Past(
            container.attempt,
            how_it_ended(container, memory),
            next_backoff(container) if container.id in asked else backoff_of(container),
        )
        for name, container in last.items()
    }


def told_before(pod: Pod, containers: Sequence[Container]) -> Mapping[str, Past]:
    """Return what a Pod's status says of containers that were removed, for an agent that is started again."""
    known = {container.name for container in containers}
    told: Tree = codec.to_tree(pod).get("status", {})
    found: dict[str, Past] = {}
    for status in (*told.get("initContainerStatuses", ()), *told.get("containerStatuses", ())):
        states = (status.get("state", {}), status.get("lastState", {}))
        ended = next((state for state in states if "terminated" in state), None)
        if status["name"] not in known and ended is not None:
            found[status["name"]] = Past(status.get("restartCount", 0), ended)
    return found


def is_restarting(pod: Pod) -> bool:
    """Return whether an agent has begun to start a Pod's containers anew, and may have been stopped meanwhile."""
    return any(c.type == RESTARTING and c.status == "True" for c in pod.status.conditions)
