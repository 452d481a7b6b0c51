"""Priorities of Pods and of groups of Pods: what a PriorityClass stands for."""

from kubelib.api.meta import Key
from kubelib.api.scheduling import PriorityClass
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes, Verb

GROUP = "scheduling.k8s.io"
Resolved = tuple[tuple[str, str, int | str], ...]
SYSTEM_CLASSES: tuple[Tree, ...] = tuple(
    {
        "kind": "PriorityClass",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": name},
        "value": value,
        "description": description,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    for name, value, description in (
        (
            "system-node-critical",
            2000001000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2000000000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    )
)
"""The classes that every cluster has."""


class Priority:
    """Puts the priority of a class, or of the default class, into Pods and PodGroups; lets one class at most be the default."""

    name = "Priority"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new and changed Pods, groups and classes."""
        if verb not in ("create", "update") or subresource:
            return False
        return (resource.group, resource.kind) in (("", "Pod"), (GROUP, "PriorityClass"), (GROUP, "PodGroup"))

    async def mutate(self, attributes: Attributes) -> None:
        """Resolve the class of a new Pod or group; changed ones keep their priority."""
        kind = attributes.resource.kind
        if kind == "PriorityClass":
            return
        spec = attributes.tree.setdefault("spec", {})
        if attributes.verb == "update":
            before = (attributes.old or {}).get("spec") or {}
            for part in ("priority", "preemptionPolicy"):
                if part in before and spec.get(part) is None:
                    spec[part] = before[part]
            return
        for part, title, value in self._resolve(attributes, spec):
            if spec.get(part) not in (None, value):
                raise attributes.forbidden(
                    f"the {title} ({spec[part]}) must not be provided in {_SPECS[kind]}; priority admission controller"
                    f" computed {value} from the given PriorityClass name"
                )
            spec[part] = value

    def _resolve(self, attributes: Attributes, spec: Tree) -> Resolved:
        """Return what the class of a Pod or group stands for: fields, how messages call them, values."""
        classes = attributes.cache(PriorityClass)
        name = spec.get("priorityClassName")
        if name:
            document = classes.get(Key("", name))
            if document is None:
                raise attributes.forbidden(f"no PriorityClass with name {name} was found")
            found = document.view(PriorityClass)
        else:
            default = _default(attributes)
            if default is None:
                return _WITHOUT_CLASS
            found = default
            spec["priorityClassName"] = found.metadata.name
        return _resolved(found.value, found.preemption_policy)

    async def validate(self, attributes: Attributes) -> None:
        """Refuse a second default."""
        if attributes.resource.kind != "PriorityClass" or not attributes.tree.get("globalDefault"):
            return
        default = _default(attributes)
        if default is not None and (
            attributes.verb == "create" or default.metadata.name != attributes.key.name
        ):
            raise attributes.forbidden(
                f"PriorityClass {default.metadata.name} is already marked as default. Only one default can exist"
            )


_SPECS = {"Pod": "pod spec", "PodGroup": "pod group spec"}


def _resolved(priority: int, policy: str) -> Resolved:
    return (
        ("priority", "integer value of priority", priority),
        ("preemptionPolicy", "string value of PreemptionPolicy", policy or "PreemptLowerPriority"),
    )


_WITHOUT_CLASS = _resolved(0, "")


def _default(attributes: Attributes) -> PriorityClass | None:
    """Return the default class; among several, which only a race can make, the one with the lowest value."""
    found = [
        view
        for document in attributes.cache(PriorityClass).all()
        if (view := document.view(PriorityClass)).global_default
    ]
    return min(found, key=lambda view: (view.value, view.metadata.name), default=None)
