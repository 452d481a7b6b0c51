"""How large a Pod is: what its containers ask for and may have, as its node has allocated it. Pure.

By the name of a container; what is asked for the Pod as a whole has an empty name.
"""

import json
from collections.abc import Collection, Iterator, Mapping

import msgspec

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.pod import Pod
from kubelib.api.model import replace
from kubelib.api.quantity import parse_quantity
from kubelib.api.scheme import Tree

WHOLE = ""
RESIZABLE = ("cpu", "memory")

Sizes = Mapping[str, ResourceRequirements]


def sizes_of(pod: Pod) -> dict[str, ResourceRequirements]:
    """Return what a Pod asks for, wherever that may change."""
    found = {c.name: c.resources for c in (*pod.spec.init_containers, *pod.spec.containers)}
    if pod.spec.resources is not None:
        found[WHOLE] = pod.spec.resources
    return found


def with_sizes(pod: Pod, sizes: Sizes) -> Pod:
    """Return a Pod with other sizes, itself where they are its own."""

    def sized(containers: tuple[Container, ...]) -> tuple[Container, ...]:
        if all(sizes.get(c.name, c.resources) == c.resources for c in containers):
            return containers
        return tuple(replace(c, resources=sizes.get(c.name, c.resources)) for c in containers)

    spec = pod.spec
    inits, mains, whole = (
        sized(spec.init_containers),
        sized(spec.containers),
        sizes.get(WHOLE, spec.resources),
    )
    if inits is spec.init_containers and mains is spec.containers and whole == spec.resources:
        return pod
    return replace(pod, spec=replace(spec, init_containers=inits, containers=mains, resources=whole))


def _amounts(resources: ResourceRequirements) -> Iterator[tuple[str, str, str]]:
    for kind, found in (("requests", resources.requests), ("limits", resources.limits)):
        for name in RESIZABLE:
            if name in found:
                yield kind, name, found[name]


def changed(wanted: ResourceRequirements, actual: ResourceRequirements | None) -> frozenset[str]:
    """Return which resources differ; none if nothing is known of what there is.

    >>> changed(ResourceRequirements(limits={"cpu": "1"}), ResourceRequirements(limits={"cpu": "1000m"}))
    frozenset()
    """
    if actual is None or wanted is actual or wanted == actual:
        return frozenset()
    now = {(kind, name): parse_quantity(text) for kind, name, text in _amounts(wanted)}
    then = {(kind, name): parse_quantity(text) for kind, name, text in _amounts(actual)}
    return frozenset(
        name for kind, name in now.keys() | then.keys() if now.get((kind, name)) != then.get((kind, name))
    )


def differ(wanted: Sizes, allocated: Sizes) -> bool:
    """Return whether a Pod asks for something else than it has been allocated."""
    return any(changed(size, allocated.get(name, size)) for name, size in wanted.items())


def needs_restart(container: Container, resources: Collection[str]) -> bool:
    """Return whether a container has to be started again for these of its resources to change."""
    return any(
        policy.resource_name in resources and policy.restart_policy == "RestartContainer"
        for policy in container.resize_policy
    )


def to_tree(sizes: Sizes) -> Tree:
    """Return sizes as JSON has them."""
    found: Tree = msgspec.to_builtins(dict(sizes))
    return found


def from_tree(tree: Tree) -> dict[str, ResourceRequirements]:
    """Return the sizes that JSON tells."""
    return msgspec.convert(tree, dict[str, ResourceRequirements])


def summary(pod: Pod, generation: int, error: str = "") -> str:
    """Return a Pod's sizes as the kubelet's events tell them."""
    parts = {"initContainers": pod.spec.init_containers, "containers": pod.spec.containers}
    told: Tree = {
        part: [{"name": c.name, "resources": msgspec.to_builtins(c.resources)} for c in containers]
        for part, containers in parts.items()
        if containers
    }
    told["generation"] = generation
    if error:
        told["error"] = error
    return json.dumps(told, separators=(",", ":"))
