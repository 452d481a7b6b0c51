"""Rules of persistent volumes, claims and storage classes."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.quantity import QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.placement import label_selector_problems, node_selector_problems
from kubelib.api.validation.podupdates import difference
from kubelib.api.validation.problems import (
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    required,
)
from kubelib.api.validation.resources import amount, amount_problems

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")
_NOT_SOURCES = frozenset(
    (
        "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
        "storageClassName", "volumeAttributesClassName", "volumeMode",
    )
)  # fmt: skip


def _mode_problems(modes: Any, path: str) -> list[Problem]:
    if not modes:
        return [required(path, "at least 1 access mode is required")]
    problems = [not_supported(path, mode, _MODES) for mode in modes if mode not in _MODES]
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        problems.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return problems


def claim_spec_problems(spec: Tree, path: str) -> list[Problem]:
    """Check what a claim asks for."""
    problems = _mode_problems(spec.get("accessModes"), f"{path}.accessModes")
    problems += label_selector_problems(spec.get("selector"), f"{path}.selector")
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        problems.append(required(f"{path}.resources[storage]"))
    else:
        here = f"{path}.resources[storage]"
        quantity = amount(requests["storage"], here, problems)
        if quantity is not None and quantity.nano <= 0:
            problems.append(invalid(here, requests["storage"], "must be greater than zero"))
    name = spec.get("storageClassName")
    if name:
        problems += each(f"{path}.storageClassName", name, texts.subdomain(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in _VOLUME_MODES:
        problems.append(not_supported(f"{path}.volumeMode", mode, _VOLUME_MODES))
    for field in ("dataSource", "dataSourceRef"):
        source = spec.get(field)
        if source:
            problems += [
                required(f"{path}.{field}.{part}") for part in ("name", "kind") if not source.get(part)
            ]
    return problems


def claim_problems(tree: Tree) -> list[Problem]:
    """Check a PersistentVolumeClaim."""
    return claim_spec_problems(tree.get("spec") or {}, "spec")


def claim_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a claim: once bound it may only grow."""
    problems = claim_problems(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    asked = (spec.get("resources") or {}).get("requests") or {}
    had = (before.get("resources") or {}).get("requests") or {}
    bound = (old.get("status") or {}).get("phase") == "Bound"
    allowed = (
        {**spec, "resources": before.get("resources")}
        if bound
        else {**spec, "resources": spec.get("resources")}
    )
    same = {**before, "resources": before.get("resources")}
    for field in ("volumeName",):
        if not before.get(field):
            allowed.pop(field, None)
            same.pop(field, None)
    if before.get("storageClassName") is None:
        allowed.pop("storageClassName", None)
    if bound:
        allowed.pop("volumeAttributesClassName", None)
        same.pop("volumeAttributesClassName", None)
    if allowed != same:
        problems.append(
            forbidden(
                "spec",
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound"
                f" claims\n{difference(same, allowed)}",
            )
        )
    try:
        shrunk = parse_quantity(asked.get("storage") or "0") < parse_quantity(had.get("storage") or "0")
    except QuantityError:
        shrunk = False
    if shrunk:
        problems.append(
            forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
        )
    problems += immutable("spec.volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    return problems


def volume_problems(tree: Tree) -> list[Problem]:
    """Check a PersistentVolume."""
    spec = tree.get("spec") or {}
    problems = _mode_problems(spec.get("accessModes"), "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        problems.append(required("spec.capacity"))
    elif "storage" not in capacity or len(capacity) > 1:
        problems.append(not_supported("spec.capacity", capacity, ("storage",)))
    for name, text in capacity.items():
        here = f"spec.capacity[{name}]"
        found = amount_problems(name, text, here)
        problems += found
        if not found and not parse_quantity(str(text)).nano:
            problems.append(invalid(here, text, "must be greater than zero"))
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in _RECLAIM:
        problems.append(not_supported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    sources = _sources(spec)
    if not sources:
        problems.append(required("spec", "must specify a volume type"))
    problems += [
        forbidden(f"spec.{source}", "may not specify more than 1 volume type") for source in list(sources)[1:]
    ]
    path = (spec.get("hostPath") or {}).get("path")
    if "hostPath" in spec:
        if not path:
            problems.append(required("spec.hostPath.path"))
        elif path == "/" and policy == "Recycle":
            problems.append(
                forbidden(
                    "spec.persistentVolumeReclaimPolicy",
                    "may not be 'recycle' for a hostPath mount of '/'",
                )
            )
        else:
            problems += each("spec.hostPath.path", path, texts.no_backsteps(path))
    if spec.get("storageClassName"):
        problems += each(
            "spec.storageClassName", spec["storageClassName"], texts.subdomain(spec["storageClassName"])
        )
    mode = spec.get("volumeMode")
    if mode is not None and mode not in _VOLUME_MODES:
        problems.append(not_supported("spec.volumeMode", mode, _VOLUME_MODES))
    wanted = (spec.get("nodeAffinity") or {}).get("required")
    if spec.get("nodeAffinity") is not None:
        if wanted is None:
            problems.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            problems += node_selector_problems(wanted, "spec.nodeAffinity.required")
    elif "local" in spec:
        problems.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    return problems


def _sources(spec: Tree) -> Tree:
    return {k: v for k, v in spec.items() if k not in _NOT_SOURCES and v is not None}


def volume_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a volume stays where it is."""
    problems = volume_problems(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if _sources(spec) != _sources(before):
        problems.append(
            forbidden(
                "spec.persistentvolumesource",
                f"spec.persistentvolumesource is immutable after creation\n{difference(_sources(before), _sources(spec))}",
            )
        )
    problems += immutable("spec.volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("nodeAffinity") is not None:
        problems += immutable("spec.nodeAffinity", spec.get("nodeAffinity"), before["nodeAffinity"])
    return problems


def storage_class_problems(tree: Tree) -> list[Problem]:
    """Check a StorageClass."""
    problems: list[Problem] = []
    provisioner = tree.get("provisioner") or ""
    if not provisioner:
        problems.append(required("provisioner"))
    else:
        problems += each("provisioner", provisioner, texts.qualified(provisioner.lower()))
    policy, mode = tree.get("reclaimPolicy"), tree.get("volumeBindingMode")
    if policy and policy not in ("Delete", "Retain"):
        problems.append(not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    if not mode:
        problems.append(required("volumeBindingMode"))
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        problems.append(not_supported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    return problems


def storage_class_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a StorageClass keeps what volumes were made by."""
    problems = storage_class_problems(new)
    for field, why in (
        ("parameters", "updates to parameters are forbidden."),
        ("provisioner", "updates to provisioner are forbidden."),
        ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
    ):
        if (new.get(field) or None) != (old.get(field) or None):
            problems.append(forbidden(field, why))
    return problems + immutable(
        "volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode")
    )
