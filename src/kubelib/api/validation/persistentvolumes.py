"""Rules of persistent volumes."""

import posixpath
from collections.abc import Mapping
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation import volumesources as sources
from kubelib.api.validation.claims import basic_amount_problems, mode_problems, volume_mode_problems
from kubelib.api.validation.devicenames import driver_problems
from kubelib.api.validation.placement import node_selector_problems
from kubelib.api.validation.problems import (
    difference,
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    pointer,
    required,
)
from kubelib.api.validation.resources import amount

_RECLAIM = ("Delete", "Recycle", "Retain")
_STABLE_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def volume_problems(tree: Tree) -> list[Problem]:
    """Check a PersistentVolume."""
    spec = tree.get("spec") or {}
    return volume_spec_problems(spec, "spec", name=(tree.get("metadata") or {}).get("name") or "")


def volume_spec_problems(spec: Tree, path: str, *, name: str, inline: bool = False) -> list[Problem]:
    """Check the spec of a volume; one that stands `inline` in an attachment has no life of its own."""
    problems = _inline_problems(spec, path) if inline else []
    problems += mode_problems(spec.get("accessModes"), f"{path}.accessModes")
    if not inline:
        problems += _capacity_problems(spec.get("capacity") or {}, f"{path}.capacity")
    policy, why = spec.get("persistentVolumeReclaimPolicy"), "in the context of inline volumes"
    if policy and inline and policy != "Retain":
        problems.append(forbidden(f"{path}.persistentVolumeReclaimPolicy", f"may only be Retain {why}"))
    elif policy and not inline and policy not in _RECLAIM:
        problems.append(not_supported(f"{path}.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        problems += _affinity_problems(affinity, f"{path}.nodeAffinity", inline=inline)
    sources.source_problems(spec, path, _SOURCES, problems)
    problems += sources.portal_problems(
        spec.get("iscsi"),
        name,
        f"{path}.iscsi.targetportal",
        (spec.get("iscsi") or {}).get("targetPortal") or "",
    )
    if spec.get("local") is not None and (affinity is None or inline):
        problems.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    directory = (spec.get("hostPath") or {}).get("path")
    if directory and posixpath.normpath(directory).strip("/") == "" and policy == "Recycle":
        problems.append(
            forbidden(
                f"{path}.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"
            )
        )
    if storage_class := spec.get("storageClassName"):
        problems += (
            [forbidden(f"{path}.storageClassName", f"may not be specified {why}")]
            if inline
            else each(f"{path}.storageClassName", storage_class, texts.subdomain(storage_class))
        )
    if not inline:
        problems += volume_mode_problems(spec, path)
    elif spec.get("volumeMode") not in (None, "Filesystem"):
        problems.append(
            forbidden(f"{path}.volumeMode", f"may not specify volumeMode other than Filesystem {why}")
        )
    return problems + _attributes_problems(spec, path)


def _inline_problems(spec: Tree, path: str) -> list[Problem]:
    why = "may not be specified in the context of inline volumes"
    problems = [forbidden(f"{path}.{field}", why) for field in ("claimRef", "capacity") if spec.get(field)]
    if spec.get("csi") is None:
        problems.append(required(f"{path}.csi", "has to be specified in the context of inline volumes"))
    return problems


def _capacity_problems(capacity: Tree, path: str) -> list[Problem]:
    problems = [] if capacity else [required(path)]
    if "storage" not in capacity or len(capacity) > 1:
        problems.append(not_supported(path, capacity, ("storage",)))
    for name, text in capacity.items():
        here = f"{path}[{name}]"
        problems += basic_amount_problems(text, here)
        quantity = amount(text, here, [])
        if quantity is not None and quantity.nano <= 0:
            problems.append(invalid(here, text, "must be greater than zero"))
    return problems


def _affinity_problems(affinity: Tree, path: str, *, inline: bool) -> list[Problem]:
    if inline:
        return [forbidden(path, "may not be specified in the context of inline volumes")]
    if affinity.get("required") is None:
        return [required(f"{path}.required", "must specify required node constraints")]
    return node_selector_problems(affinity["required"], f"{path}.required")


def _attributes_problems(spec: Tree, path: str) -> list[Problem]:
    name, field = spec.get("volumeAttributesClassName"), f"{path}.volumeAttributesClassName"
    if name is None:
        return []
    problems = (
        each(field, name, texts.subdomain(name))
        if name
        else [required(field, "an empty string is disallowed")]
    )
    if spec.get("csi") is None:
        problems.append(required(f"{path}.csi", "has to be specified when using volumeAttributesClassName"))
    return problems


def _glusterfs(source: Tree, path: str, problems: list[Problem]) -> None:
    sources.needs("endpoints", "path")(source, path, problems)
    namespace, where = source.get("endpointsNamespace"), f"{path}.endpointsNamespace"
    if namespace:
        problems += each(where, namespace, texts.label(namespace))
    elif namespace is not None:
        why = "if the endpointnamespace is set, it must be a valid namespace name"
        problems.append(invalid(where, namespace, why))


def _iscsi(source: Tree, path: str, problems: list[Problem]) -> None:
    sources.iscsi(source, path, problems, persistent=True)


def _azure_file(source: Tree, path: str, problems: list[Problem]) -> None:
    sources.needs("secretName", "shareName")(source, path, problems)
    if source.get("secretNamespace") == "":
        problems.append(required(f"{path}.secretNamespace"))


def _local(source: Tree, path: str, problems: list[Problem]) -> None:
    if directory := source.get("path"):
        problems += each(f"{path}.path", directory, texts.no_backsteps(directory))
    else:
        problems.append(required(f"{path}.path"))


def _csi(source: Tree, path: str, problems: list[Problem]) -> None:
    problems += driver_problems(f"{path}.driver", source.get("driver") or "")
    sources.needs("volumeHandle")(source, path, problems)
    for field in (
        "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef",
    ):  # fmt: skip
        secret = source.get(field)
        if secret is None:
            continue
        for part, check in (("name", texts.subdomain), ("namespace", texts.label)):
            where, value = f"{path}.{field}.{part}", secret.get(part)
            problems += each(where, value, check(value)) if value else [required(where)]


_SOURCES: Mapping[str, sources.Rule] = {
    "hostPath": sources.host_path,
    "gcePersistentDisk": sources.disk("pdName"),
    "awsElasticBlockStore": sources.disk("volumeID"),
    "glusterfs": _glusterfs,
    "flocker": sources.flocker,
    "nfs": sources.nfs,
    "rbd": sources.needs("monitors", "image"),
    "quobyte": sources.quobyte,
    "cephfs": sources.needs("monitors"),
    "iscsi": _iscsi,
    "cinder": sources.cinder("name", "namespace"),
    "fc": sources.fibre_channel,
    "flexVolume": sources.flex,
    "azureFile": _azure_file,
    "vsphereVolume": sources.needs("volumePath"),
    "photonPersistentDisk": sources.needs("pdID"),
    "portworxVolume": sources.needs("volumeID"),
    "azureDisk": sources.azure_disk,
    "scaleIO": sources.needs("gateway", "system", "volumeName"),
    "local": _local,
    "storageos": sources.storage_os("name", "namespace"),
    "csi": _csi,
}


def volume_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a volume stays where it is."""
    problems = volume_problems(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    source, had = _source(spec), _source(before)
    # A driver may be told once by which Secret a volume is made larger.
    if had.get("csi") and source.get("csi") and had["csi"].get("controllerExpandSecretRef") is None:
        csi = {field: value for field, value in source["csi"].items() if field != "controllerExpandSecretRef"}
        source = {**source, "csi": csi}
    if source != had:
        why = "spec.persistentvolumesource is immutable after creation"
        problems.append(forbidden("spec.persistentvolumesource", f"{why}\n{difference(had, source)}"))
    problems += immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    affinity, known = spec.get("nodeAffinity"), before.get("nodeAffinity")
    if known is not None and affinity != known and affinity != _renewed(known, affinity):
        why = "field is immutable, except for updating from beta label to GA"
        problems.append(invalid("nodeAffinity", pointer(affinity), why))
    if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        why = "update from non-nil value to nil is forbidden"
        problems.append(forbidden("spec.volumeAttributesClassName", why))
    return problems


def _source(spec: Tree) -> Tree:
    return {field: spec[field] for field in _SOURCES if spec.get(field) is not None}


def _renewed(known: Any, wanted: Any) -> Any:
    """Return what was known with the stable names of those labels for which they are wanted."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        return {
            field: wanted["key"]
            if field == "key" and _STABLE_LABELS.get(str(value)) == wanted.get("key")
            else _renewed(value, wanted.get(field))
            for field, value in known.items()
        }
    if isinstance(known, list) and isinstance(wanted, list) and len(known) == len(wanted):
        return [_renewed(one, other) for one, other in zip(known, wanted, strict=True)]
    return known
