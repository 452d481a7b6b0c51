"""What nodes say that they can do (``status.declaredFeatures``), and what of it a Pod, or a change of one, needs.

A cluster may have nodes of several versions: those that do not know something yet do not declare it. The features and what
needs them are those of ``k8s.io/component-helpers/nodedeclaredfeatures``, as far as they are on in Kubernetes without being asked for.
"""

from kubelib.api.core.container import Container
from kubelib.api.core.pod import PodSpec
from kubelib.api.podresources import amounts
from kubelib.api.scheme import Tree

RESTART_ALL = "RestartAllContainersOnContainerExits"
"""A container's end may start all containers of its Pod again."""
WEBSOCKETS = "ExtendWebSocketsToKubelet"
"""Commands, logs and ports are reached over WebSockets."""
RESIZE_PODS = "InPlacePodLevelResourcesVerticalScaling"
"""What is asked for a Pod as a whole may change while it runs."""
RESIZE_INIT = "InPlacePodVerticalScalingInitContainers"
"""What init containers that end ask for may change."""

_RULE = "RestartAllContainers"


def needed_by(spec: PodSpec) -> tuple[str, ...]:
    """Return what a Pod needs of the node that it runs on."""
    # Asked of every Pod that a scheduler takes in: hardly any has such rules.
    for containers in (spec.containers, spec.init_containers):
        for container in containers:
            if container.restart_policy_rules and _restarts_all(container):
                return (RESTART_ALL,)
    return ()


def _restarts_all(container: Container) -> bool:
    return any(rule.action == _RULE for rule in container.restart_policy_rules)


def needed_to_change(spec: Tree, before: Tree) -> tuple[str, ...]:
    """Return what the node of a Pod needs for its spec to become another, in alphabetical order."""
    needed = []
    if not _same(spec.get("resources"), before.get("resources")):
        needed.append(RESIZE_PODS)
    now, then = spec.get("initContainers") or (), before.get("initContainers") or ()
    if any(
        old.get("restartPolicy") != "Always"
        and not _same(new.get("resources") or {}, old.get("resources") or {})
        for new, old in zip(now, then, strict=False)
    ):
        needed.append(RESIZE_INIT)
    return tuple(needed)


def _same(one: Tree | None, other: Tree | None) -> bool:
    if one == other:
        return True
    if one is None or other is None:
        return False
    return (one.get("claims") or []) == (other.get("claims") or []) and all(
        amounts(one.get(kind)) == amounts(other.get(kind)) for kind in ("requests", "limits")
    )
