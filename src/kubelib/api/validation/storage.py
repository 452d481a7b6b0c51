"""Rules of classes of storage, and of what its drivers say and do."""

from collections.abc import Sequence

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.devicenames import driver_problems as driver_name_problems
from kubelib.api.validation.persistentvolumes import volume_spec_problems
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    non_negative,
    not_supported,
    required,
    too_long,
)
from kubelib.api.validation.resources import amount_problems

_MOST_PARAMETERS, _LARGEST_PARAMETERS = 512, 256 * 1024
_LONGEST_NODE_ID, _LONGEST_ERROR = 256, 1024
_LEAST_EXPIRATION = 600
"""Seconds for which a token is valid at least."""


def storage_class_problems(tree: Tree) -> list[Problem]:
    """Check a StorageClass."""
    problems: list[Problem] = []
    provisioner = tree.get("provisioner") or ""
    if not provisioner:
        problems.append(required("provisioner"))
    else:
        problems += _name_problems("provisioner", provisioner)
    problems += _parameter_problems(tree.get("parameters") or {})
    policy, mode = tree.get("reclaimPolicy"), tree.get("volumeBindingMode")
    if policy and policy not in ("Delete", "Retain"):
        problems.append(not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    if not mode:
        problems.append(required("volumeBindingMode"))
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        problems.append(not_supported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    return problems + _topology_problems(tree.get("allowedTopologies") or ())


def _name_problems(path: str, name: str) -> list[Problem]:
    """Check a driver by its name in lower case, in which it is also shown."""
    return each(path, name.lower(), texts.qualified(name.lower()))


def _parameter_problems(parameters: Tree, path: str = "parameters") -> list[Problem]:
    if len(parameters) > _MOST_PARAMETERS:
        return [too_long(path, _MOST_PARAMETERS)]
    problems = [invalid(path, "", "field can not be empty.")] if "" in parameters else []
    if _size(parameters) > _LARGEST_PARAMETERS:
        problems.append(too_long(path, _LARGEST_PARAMETERS))
    return problems


def _size(texts: Tree) -> int:
    return sum(len(name.encode()) + len(str(value).encode()) for name, value in texts.items())


def _topology_problems(topologies: Sequence[Tree]) -> list[Problem]:
    problems: list[Problem] = []
    # Kubernetes compares with as many empty topologies as there are topologies, too: none may be empty.
    seen: list[dict[str, set[str]]] = [{}]
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
    problems = storage_class_problems(new)
    for field in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        problems += immutable(field, new.get(field) or None, old.get(field) or None)
    return problems


def attributes_class_problems(tree: Tree) -> list[Problem]:
    """Check a VolumeAttributesClass."""
    driver = tree.get("driverName") or ""
    # Kubernetes looks for both below a spec, which the kind does not have.
    problems = _name_problems("spec.driverName", driver) if driver else [required("spec.driverName")]
    problems += _parameter_problems(tree.get("parameters") or {}, "spec.parameters")
    if not tree.get("parameters"):
        problems.append(required("spec.parameters", "must contain at least one key/value pair"))
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
    elif inline is not None:
        problems += volume_spec_problems(inline, "spec.source.inlineVolumeSpec", name="", inline=True)
    problems += each("spec.nodeName", node, texts.subdomain(node))
    if named is not None:
        problems += each("spec.source.persistentVolumeName", named, texts.subdomain(named))
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
    problems: list[Problem] = []
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
    problems += [
        not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES)
        for mode in spec.get("volumeLifecycleModes") or ()
        if mode not in _LIFECYCLES
    ]
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        problems.append(
            invalid(
                "spec.nodeAllocatableUpdatePeriodSeconds",
                period,
                "must be greater than or equal to 10 seconds",
            )
        )
    field = "serviceAccountTokenInSecrets"
    if spec.get(field) is not None and not spec.get("tokenRequests"):
        why = f"{field} is set but no tokenRequests are specified"
        problems.append(invalid(f"spec.{field}", spec[field], why))
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
        node = driver.get("nodeID") or ""
        if not node:
            problems.append(required(f"{path}.nodeID"))
        if len(node.encode()) > _LONGEST_NODE_ID:
            why = f"must be {_LONGEST_NODE_ID} characters or less"
            problems.append(invalid(f"{path}.nodeID", node, why))
        count = (driver.get("allocatable") or {}).get("count")
        problems += non_negative(f"{path}.allocatable.count", count)
        if name in seen:
            problems.append(duplicate(f"{path}.name", name))
        seen.append(name)
        keys = driver.get("topologyKeys") or ()
        for number, key in enumerate(keys):
            if not key:
                problems.append(required(path))
            if key in keys[:number]:
                problems.append(duplicate(path, key))
            problems += each(path, key, texts.qualified(key))
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
    problems: list[Problem] = []
    if tree.get("nodeTopology") is not None:
        problems += label_selector_problems(tree["nodeTopology"], "nodeTopology")
    problems += each("storageClassName", name, texts.subdomain(name))
    if tree.get("capacity") is not None:
        problems += amount_problems("storage", tree["capacity"], "capacity")
    return problems


def capacity_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a CSIStorageCapacity is still about the same storage."""
    problems = capacity_problems(new)
    for field in ("nodeTopology", "storageClassName"):
        problems += immutable(field, new.get(field), old.get(field))
    return problems
