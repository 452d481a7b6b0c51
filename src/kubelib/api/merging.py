"""How lists are merged: the facts behind strategic merge patch and server-side apply, by class and field.

A list not named here is replaced as a whole.
"""

import functools
from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class MergeFact:
    """How one list field merges."""

    list_type: str = "atomic"
    """``map`` (items are known by their keys), ``set`` (scalars) or ``atomic``: for server-side apply."""
    keys: tuple[str, ...] = ()
    """The fields that tell the items of a ``map`` list apart."""
    patch_key: str = ""
    """The one field that tells items apart in a strategic merge patch; empty for lists of scalars that merge."""
    strategic: bool = False
    """Whether a strategic merge patch merges the list instead of replacing it."""
    retain_keys: bool = False
    """Whether ``$retainKeys`` belongs to this field."""


def _map(*keys: str, patch: str | None = None, retain: bool = False) -> MergeFact:
    return MergeFact("map", keys, keys[0] if patch is None else patch, strategic=True, retain_keys=retain)


_SET = MergeFact("set", strategic=True)
_NAMED = _map("name")
_CONDITIONS = _map("type")
_ATOMIC_BY_NAME = MergeFact(patch_key="name", strategic=True)

FACTS: dict[str, dict[str, MergeFact]] = {
    "ObjectMeta": {"ownerReferences": _map("uid"), "finalizers": _SET},
    "PodSpec": {
        "volumes": _map("name", retain=True),
        "containers": _NAMED,
        "initContainers": _NAMED,
        "ephemeralContainers": _NAMED,
        "imagePullSecrets": _NAMED,
        "hostAliases": _map("ip"),
        "topologySpreadConstraints": _map("topologyKey", "whenUnsatisfiable"),
        "schedulingGates": _NAMED,
        "resourceClaims": _map("name", retain=True),
    },
    "Container": {
        "ports": _map("containerPort", "protocol"),
        "env": _NAMED,
        "volumeMounts": _map("mountPath"),
        "volumeDevices": _map("devicePath"),
    },
    "PodStatus": {
        "conditions": _CONDITIONS,
        "podIPs": _map("ip"),
        "hostIPs": MergeFact(patch_key="ip", strategic=True),
        "resourceClaimStatuses": _NAMED,
    },
    "ContainerStatus": {"volumeMounts": _map("mountPath")},
    "NodeSpec": {"podCIDRs": _SET, "taints": MergeFact(patch_key="", strategic=False)},
    "NodeStatus": {"conditions": _CONDITIONS, "addresses": _map("type")},
    "NamespaceStatus": {"conditions": _CONDITIONS},
    "ServiceSpec": {"ports": _map("port", "protocol")},
    "ServiceStatus": {"conditions": _CONDITIONS},
    "ServiceAccount": {"secrets": _NAMED, "imagePullSecrets": MergeFact()},
    "ReplicationControllerStatus": {"conditions": _CONDITIONS},
    "ReplicaSetStatus": {"conditions": _CONDITIONS},
    "DeploymentStatus": {"conditions": _CONDITIONS},
    "DaemonSetStatus": {"conditions": _CONDITIONS},
    "StatefulSetStatus": {"conditions": _CONDITIONS},
    "JobStatus": {"conditions": MergeFact(patch_key="type", strategic=True)},
    "PersistentVolumeClaimStatus": {"conditions": _CONDITIONS},
    "PodDisruptionBudgetStatus": {"conditions": _CONDITIONS},
    "EndpointSlice": {"ports": MergeFact(), "endpoints": MergeFact()},
    "LoadBalancerStatus": {"ingress": MergeFact()},
    "ClusterRole": {"rules": MergeFact()},
    "PodTemplateSpec": {},
    "PersistentVolumeSpec": {},
}
FACTS["EphemeralContainerCommon"] = FACTS["EphemeralContainer"] = FACTS["Container"]

ATOMIC_MAPS = {"LabelSelector", "NodeSelector", "NodeSelectorTerm", "ObjectReference", "LocalObjectReference",
               "SecretReference", "TypedLocalObjectReference", "ConfigMapKeySelector", "SecretKeySelector",
               "ObjectFieldSelector", "ResourceFieldSelector", "RoleRef", "Subject"}  # fmt: skip
"""Classes whose objects server-side apply owns as a whole."""


@functools.cache
def merge_facts(cls: type[Any]) -> Mapping[str, MergeFact]:
    """Return the merge facts of a class's list fields by JSON name, inherited ones included."""
    facts: dict[str, MergeFact] = {}
    for base in reversed(cls.__mro__):
        facts.update(FACTS.get(base.__name__, {}))
    return facts
