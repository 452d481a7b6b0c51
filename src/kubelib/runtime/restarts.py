"""When a container that has ended is started again: by the rules for its exit code, else by its own policy, else by its Pod's. Pure."""

from collections.abc import Iterator, Mapping

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.runtime.base import Container

RESTARTING = "AllContainersRestarting"
"""The condition of Pods that one of their containers can start anew."""


def is_sidecar(container: ContainerDefinition) -> bool:
    """Return whether an init container runs beside the main ones."""
    return container.restart_policy == "Always"


def policy_of_init(definition: ContainerDefinition, policy: str) -> str:
    """Return the policy of an init container, where that of its Pod is `policy`: one that has succeeded has done its part."""
    return definition.restart_policy or ("OnFailure" if policy == "Always" else policy)


def action_of(definition: ContainerDefinition, exit_code: int | None) -> str:
    """Return what the first rule that an exit code meets wants, or nothing."""
    for rule in definition.restart_policy_rules:
        if rule.exit_codes is not None:
            is_among = exit_code in rule.exit_codes.values
            if is_among == (rule.exit_codes.operator == "In"):
                return rule.action
    return ""


def restarts(definition: ContainerDefinition, container: Container, policy: str) -> bool:
    """Return whether a container that has ended is started again, alone or with all others.

    `policy` is its Pod's, or for init containers what follows from it.
    """
    if action_of(definition, container.exit_code):
        return True
    policy = definition.restart_policy or policy
    return policy == "Always" or (policy == "OnFailure" and container.exit_code != 0)


def could_restart_all(pod: Pod) -> bool:
    """Return whether a rule of one of a Pod's containers may start all of them anew."""
    return any(
        rule.action == "RestartAllContainers"
        for definition in (*pod.spec.init_containers, *pod.spec.containers)
        for rule in definition.restart_policy_rules
    )


def sources(pod: Pod, last: Mapping[str, Container]) -> Iterator[Container]:
    """Yield the containers that have ended so that all are to be started anew."""
    for definition in (*pod.spec.init_containers, *pod.spec.containers):
        container = last.get(definition.name)
        if container is None or container.state != "exited":
            continue
        if action_of(definition, container.exit_code) == "RestartAllContainers":
            yield container
