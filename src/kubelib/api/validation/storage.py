"""Rules of persistent volumes, claims and storage classes."""

from collections.abc import Sequence
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.quantity import QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.devicenames import driver_problems as driver_name_problems
from kubelib.api.validation.placement import label_selector_problems, node_selector_problems
from kubelib.api.validation.podupdates import difference
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    required,
    too_long,
)
from kubelib.api.validation.resources import amount, amount_problems

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")
_MOST_PARAMETERS, _LARGEST_PARAMETERS = 512, 256 * 1024
_LONGEST_NODE_ID, _LONGEST_ERROR = 256, 1024
_LEAST_EXPIRATION = 600
"""Seconds for which a token is valid at least."""
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


_RESIZES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
)


def claim_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the status of a claim: its amounts, and how far each is with growing."""
    status = new.get("status") or {}
    problems: list[Problem] = []
    for field in ("capacity", "allocatedResources"):
        for name, text in (status.get(field) or {}).items():
            here = f"status.{field}[{name}]"
            quantity = amount(text, here, problems)
            if quantity is not None and quantity.nano < 0:
                problems.append(invalid(here, text, "must be a valid resource quantity"))
    problems += [
        not_supported(f"status.allocatedResourceStatuses[{name}]", how, _RESIZES)
        for name, how in (status.get("allocatedResourceStatuses") or {}).items()
        if how not in _RESIZES
    ]
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
    problems += _parameter_problems(tree.get("parameters") or {})
    policy, mode = tree.get("reclaimPolicy"), tree.get("volumeBindingMode")
    if policy and policy not in ("Delete", "Retain"):
        problems.append(not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    if not mode:
        problems.append(required("volumeBindingMode"))
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        problems.append(not_supported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    return problems + _topology_problems(tree.get("allowedTopologies") or ())


def _parameter_problems(parameters: Tree) -> list[Problem]:
    if len(parameters) > _MOST_PARAMETERS:
        return [too_long("parameters", _MOST_PARAMETERS)]
    problems = [invalid("parameters", "", "field can not be empty.")] if "" in parameters else []
    if _size(parameters) > _LARGEST_PARAMETERS:
        problems.append(too_long("parameters", _LARGEST_PARAMETERS))
    return problems


def _size(texts: Tree) -> int:
    return sum(len(name.encode()) + len(str(value).encode()) for name, value in texts.items())


def _topology_problems(topologies: Sequence[Tree]) -> list[Problem]:
    problems: list[Problem] = []
    seen: list[dict[str, set[str]]] = []
    for at, topology in enumerate(topologies):
        path, terms = f"allowedTopologies[{at}].matchLabelExpressions", {}
        for number, expression in enumerate(topology.get("matchLabelExpressions") or ()):
            here, key = f"{path}[{number}]", expression.get("key") or ""
            values = expression.get("values") or ()
            if not values:
                problems.append(required(f"{here}.values"))
            for which, value in enumerate(values):
                if value in values[:which]:
                    problems.append(duplicate(f"{here}.values[{which}]", value))
            problems += each(f"{here}.key", key, texts.qualified(key))
            if key in terms:
                problems.append(duplicate(f"{here}.key", key))
            terms[key] = set(values)
        if terms in seen:
            problems.append(duplicate(path, ""))
        seen.append(terms)
    return problems


def storage_class_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a StorageClass keeps what volumes were made by."""
    problems: list[Problem] = []
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


def attributes_class_problems(tree: Tree) -> list[Problem]:
    """Check a VolumeAttributesClass."""
    driver = tree.get("driverName") or ""
    problems = [] if driver else [required("driverName")]
    if driver:
        problems += each("driverName", driver, texts.qualified(driver.lower()))
    problems += _parameter_problems(tree.get("parameters") or {})
    if not tree.get("parameters"):
        problems.append(required("parameters", "must contain at least one key/value pair"))
    return problems


def attributes_class_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a VolumeAttributesClass keeps what volumes were made by."""
    problems = attributes_class_problems(new)
    for field in ("driverName", "parameters"):
        if new.get(field) != old.get(field):
            problems.append(forbidden(field, f"updates to {field} are forbidden."))
    return problems


def attachment_problems(tree: Tree) -> list[Problem]:
    """Check a VolumeAttachment."""
    spec = tree.get("spec") or {}
    source, attacher, node = spec.get("source") or {}, spec.get("attacher") or "", spec.get("nodeName") or ""
    problems: list[Problem] = []
    problems += driver_name_problems("spec.attacher", attacher)
    named, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if named is None and inline is None:
        problems.append(
            required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        )
    elif named is not None and inline is not None:
        problems.append(
            forbidden("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        )
    elif named == "":
        problems.append(
            required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
        )
    elif named is not None:
        problems += each("spec.source.persistentVolumeName", named, texts.subdomain(named))
    problems += each("spec.nodeName", node, texts.subdomain(node))
    return problems + _attachment_status_problems(tree.get("status") or {})


def _attachment_status_problems(status: Tree) -> list[Problem]:
    problems: list[Problem] = []
    if _size(status.get("attachmentMetadata") or {}) > _LARGEST_PARAMETERS:
        problems.append(too_long("status.attachmentMetadata", _LARGEST_PARAMETERS))
    for part in ("attachError", "detachError"):
        error = status.get(part) or {}
        if len((error.get("message") or "").encode()) > _LONGEST_ERROR:
            problems.append(too_long(f"status.{part}.message", _LONGEST_ERROR))
        code = error.get("errorCode")
        if code is not None and code < 0:
            problems.append(
                invalid(f"status.{part}.errorCode", code, "must be between 0 and 2147483647, inclusive")
            )
    return problems


def attachment_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a VolumeAttachment is still about the same volume and node."""
    return attachment_problems(new) + immutable("spec", new.get("spec"), old.get("spec"))


_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES = ("Persistent", "Ephemeral")


def driver_problems(tree: Tree) -> list[Problem]:
    """Check a CSIDriver."""
    spec = tree.get("spec") or {}
    problems = [
        not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES)
        for mode in spec.get("volumeLifecycleModes") or ()
        if mode not in _LIFECYCLES
    ]
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in _GROUP_POLICIES:
        problems.append(not_supported("spec.fsGroupPolicy", policy, _GROUP_POLICIES))
    audiences: list[str] = []
    for at, request in enumerate(spec.get("tokenRequests") or ()):
        audience = request.get("audience") or ""
        if audience in audiences:
            problems.append(duplicate(f"spec.tokenRequests[{at}].audience", audience))
            continue
        audiences.append(audience)
        seconds, path = request.get("expirationSeconds"), f"spec.tokenRequests[{at}].expirationSeconds"
        if seconds is not None and seconds < _LEAST_EXPIRATION:
            problems.append(invalid(path, seconds, "may not specify a duration less than 10 minutes"))
        if seconds is not None and seconds > 1 << 32:
            problems.append(invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        problems.append(
            invalid(
                "spec.nodeAllocatableUpdatePeriodSeconds",
                period,
                "must be greater than or equal to 10 seconds",
            )
        )
    return problems


def driver_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a CSIDriver keeps what nodes rely on."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    problems = driver_problems(new)
    # So Kubernetes names the first of them.
    for field, shown in (("attachRequired", "attachedRequired"), ("volumeLifecycleModes",) * 2):
        problems += immutable(f"spec.{shown}", after.get(field), before.get(field))
    return problems


def storage_node_problems(tree: Tree) -> list[Problem]:
    """Check a CSINode."""
    problems: list[Problem] = []
    seen: list[str] = []
    for at, driver in enumerate((tree.get("spec") or {}).get("drivers") or ()):
        path, name = f"spec.drivers[{at}]", driver.get("name") or ""
        problems += driver_name_problems(f"{path}.name", name)
        if name in seen:
            problems.append(duplicate(f"{path}.name", name))
        seen.append(name)
        node = driver.get("nodeID") or ""
        if not node:
            problems.append(required(f"{path}.nodeID"))
        if len(node.encode()) > _LONGEST_NODE_ID:
            why = f"must be {_LONGEST_NODE_ID} characters or less"
            problems.append(invalid(f"{path}.nodeID", node, why))
        keys = driver.get("topologyKeys") or ()
        for number, key in enumerate(keys):
            if not key:
                problems.append(required(path))
            if key in keys[:number]:
                problems.append(duplicate(path, key))
            problems += each(path, key, texts.qualified(key))
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None and count < 0:
            problems.append(invalid(f"{path}.allocatable.count", count, "must be greater than or equal to 0"))
    return problems


def storage_node_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a CSINode: drivers come and go, but what one has said of itself stays."""
    problems = storage_node_problems(new)
    before = {driver.get("name"): driver for driver in (old.get("spec") or {}).get("drivers") or ()}
    for driver in (new.get("spec") or {}).get("drivers") or ():
        was, now = (
            {part: value for part, value in each_one.items() if part != "allocatable"}
            for each_one in (before.get(driver.get("name"), driver), driver)
        )
        problems += immutable("spec.drivers", now, was)
    return problems


def capacity_problems(tree: Tree) -> list[Problem]:
    """Check a CSIStorageCapacity."""
    name = tree.get("storageClassName") or ""
    problems = (
        each("storageClassName", name, texts.subdomain(name)) if name else [required("storageClassName")]
    )
    if tree.get("nodeTopology") is not None:
        problems += label_selector_problems(tree["nodeTopology"], "nodeTopology")
    for field in ("capacity", "maximumVolumeSize"):
        if tree.get(field) is not None:
            problems += amount_problems("storage", tree[field], field)
    return problems


def capacity_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a CSIStorageCapacity is still about the same storage."""
    problems = capacity_problems(new)
    for field in ("nodeTopology", "storageClassName"):
        problems += immutable(field, new.get(field), old.get(field))
    return problems
