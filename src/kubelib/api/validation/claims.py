"""Rules of claims on storage."""

from collections.abc import Iterable
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.quantity import Quantity, QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.meta import annotation_problems, label_problems
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.problems import (
    difference,
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    required,
)
from kubelib.api.validation.resources import amount, is_native

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_RESIZES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip
_CLASS = "volume.beta.kubernetes.io/storage-class"
_TEMPLATE_META = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields",
)  # fmt: skip


def mode_problems(modes: Any, path: str, missing: str = "") -> list[Problem]:
    """Check in which ways storage may be mounted; `missing` is said if there are none."""
    if not modes:
        return [required(path, missing)]
    problems = [not_supported(path, mode, _MODES) for mode in modes if mode not in _MODES]
    if "ReadWriteOncePod" in modes and any(mode in _MODES[:-1] for mode in modes):
        problems.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return problems


def volume_mode_problems(spec: Tree, path: str) -> list[Problem]:
    """Check whether storage is files or a device."""
    mode = spec.get("volumeMode")
    if mode is None or mode in _VOLUME_MODES:
        return []
    return [not_supported(f"{path}.volumeMode", mode, _VOLUME_MODES)]


def claim_spec_problems(spec: Tree, path: str, *, groups: bool = True) -> list[Problem]:
    """Check what a claim asks for; `groups` is whether the API groups of what it is filled from are checked."""
    problems = mode_problems(
        spec.get("accessModes"), f"{path}.accessModes", "at least 1 access mode is required"
    )
    problems += label_selector_problems(spec.get("selector"), f"{path}.selector")
    requests, here = (spec.get("resources") or {}).get("requests") or {}, f"{path}.resources[storage]"
    if "storage" not in requests:
        problems.append(required(here))
    else:
        quantity = amount(requests["storage"], here, problems)
        if quantity is not None and quantity.nano <= 0:
            problems.append(invalid(here, requests["storage"], "must be greater than zero"))
    if name := spec.get("storageClassName"):
        problems += each(f"{path}.storageClassName", name, texts.subdomain(name))
    problems += volume_mode_problems(spec, path)
    problems += _source_problems(spec, path, groups=groups)
    if name := spec.get("volumeAttributesClassName"):
        problems += each(f"{path}.volumeAttributesClassName", name, texts.subdomain(name))
    return problems


def _source_problems(spec: Tree, path: str, *, groups: bool) -> list[Problem]:
    problems: list[Problem] = []
    plain, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for field, source in (("dataSource", plain), ("dataSourceRef", reference)):
        if source is None:
            continue
        here, group, kind = f"{path}.{field}", source.get("apiGroup") or "", source.get("kind") or ""
        problems += [required(f"{here}.{part}") for part in ("name", "kind") if not source.get(part)]
        if not group and kind != "PersistentVolumeClaim":
            why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            problems.append(invalid(here, kind, why))
        if group and groups:
            problems += each(f"{here}.apiGroup", group, texts.subdomain(group))
        if name := source.get("namespace"):
            problems += each(f"{here}.namespace", name, texts.label(name))
    if plain is not None and reference is not None:
        if reference.get("namespace"):
            problems.append(
                invalid(path, {}, "may not be specified when dataSourceRef.namespace is specified")
            )
        elif any(plain.get(part) != reference.get(part) for part in ("apiGroup", "kind", "name")):
            problems.append(invalid(path, {}, "must match dataSourceRef"))
    return problems


def claim_template_problems(template: Tree, path: str) -> list[Problem]:
    """Check the template of a claim that is made for a Pod: it has no name of its own."""
    meta = template.get("metadata") or {}
    problems = annotation_problems(meta.get("annotations"), f"{path}.metadata.annotations")
    problems += label_problems(meta.get("labels"), f"{path}.metadata.labels")
    problems += [
        forbidden(f"{path}.metadata.{part}", "cannot be set") for part in _TEMPLATE_META if meta.get(part)
    ]
    return problems + claim_spec_problems(template.get("spec") or {}, f"{path}.spec")


def claim_problems(tree: Tree) -> list[Problem]:
    """Check a PersistentVolumeClaim."""
    return claim_spec_problems(tree.get("spec") or {}, "spec")


def _quantity(amounts: Any) -> Quantity:
    try:
        return parse_quantity((amounts or {}).get("storage") or "0")
    except (QuantityError, TypeError, AttributeError):
        return parse_quantity("0")


def claim_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a claim: once bound it may only grow, and never below what it has already."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    grouped = any((before.get(field) or {}).get("apiGroup") for field in ("dataSource", "dataSourceRef"))
    problems = claim_spec_problems(spec, "spec", groups=not grouped)
    allowed, same = dict(spec), dict(before)
    if not before.get("volumeName"):
        allowed.pop("volumeName", None)
        same.pop("volumeName", None)
    problems += _class_problems(new, old, allowed)
    status = old.get("status") or {}
    asked, had = (part.get("resources") or {} for part in (spec, before))
    if status.get("phase") == "Bound":
        if asked.get("requests"):
            requests = {**asked["requests"], "storage": (had.get("requests") or {}).get("storage")}
            allowed["resources"] = {**asked, "requests": requests}
        if spec.get("volumeAttributesClassName") is not None:
            allowed.pop("volumeAttributesClassName")
            same.pop("volumeAttributesClassName", None)
    if allowed != same:
        why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        problems.append(forbidden("spec", f"{why}\n{difference(same, allowed)}"))
    size = _quantity(asked.get("requests"))
    if size < _quantity(had.get("requests")) and size <= _quantity(status.get("capacity")):
        problems.append(
            forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
        )
    problems += immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    return problems + _attributes_problems(spec, before)


def _class_problems(new: Tree, old: Tree, allowed: Tree) -> list[Problem]:
    """Check the class of a claim, which may be named once; the `allowed` spec is then as before."""
    wanted, had = allowed.get("storageClassName"), (old.get("spec") or {}).get("storageClassName")
    noted, before = ((tree["metadata"].get("annotations") or {}).get(_CLASS) for tree in (new, old))
    named = had is None and wanted is not None and before in (None, wanted)
    if named:
        allowed.pop("storageClassName")
    if (named and before is not None and noted in (None, before)) or (noted or "") == (before or ""):
        return []
    return [invalid(f"metadata.annotations.{_CLASS}", noted or "", "field is immutable")]


def _attributes_problems(spec: Tree, before: Tree) -> list[Problem]:
    path, name = "spec.volumeAttributesClassName", spec.get("volumeAttributesClassName")
    if before.get("volumeAttributesClassName") is None or before["volumeAttributesClassName"] == name:
        return []
    if name is None:
        return [forbidden(path, "update from non-nil value to nil is forbidden")]
    return [] if name else [forbidden(path, "update from non-nil value to an empty string is forbidden")]


def _amount_problems(amounts: Tree, path: str) -> list[Problem]:
    problems: list[Problem] = []
    for name, text in amounts.items():
        problems += basic_amount_problems(text, f"{path}[{name}]")
    return problems


def basic_amount_problems(text: Any, path: str) -> list[Problem]:
    """Check that an amount is not negative, with Kubernetes' words for storage."""
    problems: list[Problem] = []
    quantity = amount(text, path, problems)
    if quantity is not None and (whole := -(-quantity.nano // 10**9)) < 0:
        problems.append(invalid(path, whole, "must be a valid resource quantity"))
    return problems


def _known_amounts(names: Iterable[str], path: str, problems: list[Problem]) -> list[str]:
    """Return which of the names may stand in a claim's status."""
    known = []
    for name in names:
        if messages := texts.qualified(name):
            problems += each(path, name, messages)
        elif is_native(name) and name != "storage":
            problems.append(not_supported(path, name, ("storage",)))
        else:
            known.append(name)
    return known


def claim_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the status of a claim: its amounts, and how far each is with growing."""
    status = new.get("status") or {}
    problems = _amount_problems(status.get("capacity") or {}, "status.capacity")
    path, resizes = "status.allocatedResourceStatus", status.get("allocatedResourceStatuses") or {}
    _known_amounts(resizes, path, problems)
    problems += [not_supported(path, name, _RESIZES) for name, how in resizes.items() if how not in _RESIZES]
    path, amounts = "status.allocatedResources", status.get("allocatedResources") or {}
    known = _known_amounts(amounts, path, problems)
    return problems + _amount_problems({name: amounts[name] for name in known}, path)
