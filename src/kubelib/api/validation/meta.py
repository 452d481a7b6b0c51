"""Rules of the metadata of every object."""

import functools
from collections.abc import Iterable
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.names import is_path_segment, name_problems
from kubelib.api.scheme import Resource, Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import each, forbidden, immutable, invalid, quote, required, too_long

MAX_ANNOTATIONS = 256 * 1024

_names = functools.lru_cache(8192)(name_problems)


def label_problems(labels: Any, path: str) -> list[Problem]:
    """Check a map of labels."""
    problems: list[Problem] = []
    for key, value in (labels or {}).items():
        if messages := texts.qualified(key):
            problems += each(path, key, messages)
        if messages := texts.label_value(value):
            problems += each(path, value, messages)
    return problems


def annotation_problems(annotations: Any, path: str) -> list[Problem]:
    """Check a map of annotations: their keys and total size."""
    problems: list[Problem] = []
    size = 0
    for key, value in (annotations or {}).items():
        size += len(key) + len(value)
        if messages := texts.qualified(key.lower()):
            problems += each(path, key, messages)
    # Bytes count, not characters; only what may be too long is encoded to see.
    if size * 4 > MAX_ANNOTATIONS and _bytes(annotations) > MAX_ANNOTATIONS:
        problems.append(too_long(path, MAX_ANNOTATIONS))
    return problems


def _bytes(texts_by_key: dict[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in texts_by_key.items())


def metadata_problems(tree: Tree, resource: Resource) -> list[Problem]:
    """Check the metadata of a new object."""
    meta = tree["metadata"]
    problems: list[Problem] = []
    base = meta.get("generateName")
    kind = resource.kind if resource.builtin else ""
    if base:
        problems += each("metadata.generateName", base, _names(kind, base, prefix=True))
    name = meta.get("name")
    if not name:
        problems.append(required("metadata.name", "name or generateName is required"))
    elif messages := _names(kind, name):
        problems += each("metadata.name", name, messages)
    namespace = meta.get("namespace")
    if resource.namespaced:
        if not namespace:
            problems.append(required("metadata.namespace"))
        elif messages := texts.label(namespace):
            problems += each("metadata.namespace", namespace, messages)
    elif namespace:
        problems.append(forbidden("metadata.namespace", "not allowed on this type"))
    _common_problems(meta, problems, resource)
    return problems


def embedded_metadata_problems(meta: Tree) -> list[Problem]:
    """Check the metadata of an object within another one: nobody knows the rules of its kind, and it needs no name."""
    problems: list[Problem] = []
    if base := meta.get("generateName"):
        problems += each(
            "metadata.generateName", base, [f"may not contain '{part}'" for part in "/%" if part in base]
        )
    if name := meta.get("name"):
        problems += each("metadata.name", name, is_path_segment(name))
    if namespace := meta.get("namespace"):
        problems += each("metadata.namespace", namespace, texts.label(namespace))
    _common_problems(meta, problems, None)
    return problems


def _common_problems(meta: Tree, problems: list[Problem], resource: Resource | None) -> None:
    if (meta.get("generation") or 0) < 0:
        problems.append(
            invalid("metadata.generation", meta["generation"], "must be greater than or equal to 0")
        )
    if meta.get("labels"):
        problems += label_problems(meta["labels"], "metadata.labels")
    if meta.get("annotations"):
        problems += annotation_problems(meta["annotations"], "metadata.annotations")
    if meta.get("ownerReferences"):
        _owner_problems(meta["ownerReferences"], problems)
    if meta.get("finalizers"):
        _finalizer_problems(meta["finalizers"], problems)
        if resource is not None and resource.builtin and resource.kind not in _ANY_FINALIZER:
            for at, finalizer in enumerate(meta["finalizers"]):
                problems += standard_finalizer_problems(finalizer, f"metadata.finalizers[{at}]")
    if meta.get("managedFields"):
        problems += managed_fields_problems(meta["managedFields"])


def _owner_problems(owners: list[Tree], problems: list[Problem]) -> None:
    # Kubernetes names the list here, not its item.
    path = "metadata.ownerReferences"
    controller = ""
    for owner in owners:
        version = owner.get("apiVersion") or ""
        if not version.rpartition("/")[2] or version.count("/") > 1:
            problems.append(invalid(f"{path}.apiVersion", version, "version must not be empty"))
        problems += [
            invalid(f"{path}.{part}", owner.get(part) or "", "must not be empty")
            for part in ("kind", "name", "uid")
            if not owner.get(part)
        ]
        if version == "v1" and owner.get("kind") == "Event":
            problems.append(invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            named = f"{owner.get('kind') or ''}/{owner.get('name') or ''}"
            if controller:
                problems.append(
                    invalid(
                        path,
                        owners,
                        'Only one reference can have Controller set to true. Found "true" in references for'
                        f" {controller} and {named}",
                    )
                )
            else:
                controller = named


_ANY_FINALIZER = frozenset(
    (
        "CustomResourceDefinition", "APIService", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding", "Lease", "PodDisruptionBudget", "Event",
    )
)  # fmt: skip
"""Built-in kinds of which Kubernetes, as of custom ones, takes finalizers without a domain."""
_STANDARD = ("kubernetes", "orphan", "foregroundDeletion")


def standard_finalizer_problems(finalizer: str, path: str) -> list[Problem]:
    """Check that a finalizer is one of Kubernetes' own, or has the domain of those whose it is."""
    if "/" in finalizer or finalizer in _STANDARD:
        return []
    why = "name is neither a standard finalizer name nor is it fully qualified"
    return [invalid(path, finalizer, why)]


def _finalizer_problems(finalizers: list[str], problems: list[Problem]) -> None:
    path = "metadata.finalizers"
    for finalizer in finalizers:
        if messages := texts.qualified(finalizer):
            problems += each(path, finalizer, messages)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        problems.append(
            invalid(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set")
        )


def managed_fields_problems(entries: Iterable[Tree]) -> list[Problem]:
    """Check the entries of ``metadata.managedFields``."""
    problems: list[Problem] = []
    for at, entry in enumerate(entries):
        path = f"metadata.managedFields[{at}]"
        operation = entry.get("operation") or ""
        if operation not in ("Apply", "Update"):
            problems.append(invalid(f"{path}.operation", operation, "must be `Apply` or `Update`"))
        kind = entry.get("fieldsType") or ""
        if kind and kind != "FieldsV1":
            problems.append(invalid(f"{path}.fieldsType", kind, "must be `FieldsV1`"))
        manager = entry.get("manager") or ""
        if len(manager) > 128:
            problems.append(
                Problem("FieldValueTooLong", f"{path}.manager", "Too long: may not be more than 128 bytes")
            )
        if not manager.isprintable():
            first = next(at for at, character in enumerate(manager) if not character.isprintable())
            why = f"should only contain printable characters: index {first}"
            problems.append(invalid(f"{path}.manager", manager, why))
        if len(entry.get("subresource") or "") > 256:
            problems.append(
                Problem(
                    "FieldValueTooLong", f"{path}.subresource", "Too long: may not be more than 256 bytes"
                )
            )
    return problems


_FIXED = (
    "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip


def metadata_update_problems(new: Tree, old: Tree, resource: Resource) -> list[Problem]:
    """Check what may not change about an object's identity."""
    meta, before = new["metadata"], old["metadata"]
    if meta == before:
        return []
    problems: list[Problem] = []
    finalizers = meta.get("finalizers") or []
    if before.get("deletionTimestamp"):
        had = before.get("finalizers") or ()
        added = sorted({finalizer for finalizer in finalizers if finalizer not in had})
        if added:
            listed = ", ".join(map(quote, added))
            problems.append(
                forbidden(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers"
                    f" []string{{{listed}}}",
                )
            )
    if (meta.get("generation") or 0) < (before.get("generation") or 0):
        problems.append(
            invalid("metadata.generation", meta.get("generation") or 0, "must not be decremented")
        )
    for part in _FIXED:
        if meta.get(part) != before.get(part):
            problems += immutable(f"metadata.{part}", meta.get(part), before.get(part))
    _common_problems(meta, problems, resource)
    return problems
