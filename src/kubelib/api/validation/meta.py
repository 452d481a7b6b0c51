"""Rules of the metadata of every object."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.names import name_problems
from kubelib.api.scheme import Resource, Tree
from kubelib.api.validation.problems import forbidden, immutable, invalid, required
from kubelib.labels.validation import is_dns1123_label, is_label_value, is_qualified_name

MAX_ANNOTATIONS = 256 * 1024

_known_keys: dict[str, bool] = {}
_known_values: dict[str, bool] = {}


def label_problems(labels: Any, path: str) -> list[Problem]:
    """Check a map of labels."""
    problems: list[Problem] = []
    for key, value in (labels or {}).items():
        # Labels repeat endlessly: what was good once is not taken apart again.
        if key not in _known_keys:
            if messages := is_qualified_name(key):
                problems += [invalid(path, key, message) for message in messages]
            elif len(_known_keys) < 10_000:
                _known_keys[key] = True
        if value not in _known_values:
            if not isinstance(value, str) or (messages := is_label_value(value)):
                problems += [invalid(path, value, message) for message in messages]
            elif len(_known_values) < 10_000:
                _known_values[value] = True
    return problems


def annotation_problems(annotations: Any, path: str) -> list[Problem]:
    """Check a map of annotations: their keys and total size."""
    problems: list[Problem] = []
    size = 0
    for key, value in (annotations or {}).items():
        size += len(key) + len(str(value))
        problems += [invalid(path, key, message) for message in is_qualified_name(key.lower())]
    if size > MAX_ANNOTATIONS:
        problems.append(
            Problem("FieldValueTooLong", path, f"Too long: may not be more than {MAX_ANNOTATIONS} bytes")
        )
    return problems


def metadata_problems(tree: Tree, resource: Resource) -> list[Problem]:
    """Check the metadata of a new object."""
    meta = tree["metadata"]
    problems: list[Problem] = []
    name = meta.get("name")
    if not name:
        problems.append(required("metadata.name", "name or generateName is required"))
    else:
        problems += [
            invalid("metadata.name", name, message) for message in name_problems(resource.kind, name)
        ]
    if resource.namespaced:
        namespace = meta.get("namespace")
        if not namespace:
            problems.append(required("metadata.namespace"))
        else:
            problems += [invalid("metadata.namespace", namespace, m) for m in is_dns1123_label(namespace)]
    elif meta.get("namespace"):
        problems.append(forbidden("metadata.namespace", "not allowed on this type"))
    if meta.get("labels"):
        problems += label_problems(meta["labels"], "metadata.labels")
    if meta.get("annotations"):
        problems += annotation_problems(meta["annotations"], "metadata.annotations")
    if meta.get("ownerReferences"):
        problems += _owner_problems(meta["ownerReferences"])
    for at, finalizer in enumerate(meta.get("finalizers") or ()):
        problems += [
            invalid(f"metadata.finalizers[{at}]", finalizer, m) for m in is_qualified_name(finalizer)
        ]
    return problems


def _owner_problems(owners: list[Tree]) -> list[Problem]:
    problems: list[Problem] = []
    controllers: list[str] = []
    for at, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{at}]"
        problems += [
            invalid(f"{path}.{part}", owner.get(part) or "", f"{name} must not be empty")
            for part, name in _OWNER_PARTS.items()
            if not owner.get(part)
        ]
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind')}/{owner.get('name')}")
    if len(controllers) > 1:
        problems.append(
            invalid(
                "metadata.ownerReferences",
                owners,
                f'Only one reference can have Controller set to true. Found "true" in references for {" and ".join(controllers[:2])}',
            )
        )
    return problems


_OWNER_PARTS = {"apiVersion": "version", "kind": "kind", "name": "name", "uid": "uid"}


def metadata_update_problems(new: Tree, old: Tree, resource: Resource) -> list[Problem]:
    """Check what may not change about an object's identity."""
    meta, before = new["metadata"], old["metadata"]
    problems: list[Problem] = []
    for part in (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        if meta.get(part) != before.get(part):
            problems += immutable(f"metadata.{part}", meta.get(part), before.get(part))
    if meta.get("labels") != before.get("labels"):
        problems += label_problems(meta.get("labels"), "metadata.labels")
    if meta.get("annotations") != before.get("annotations"):
        problems += annotation_problems(meta.get("annotations"), "metadata.annotations")
    if meta.get("ownerReferences") != before.get("ownerReferences"):
        problems += _owner_problems(meta.get("ownerReferences") or [])
    finalizers = meta.get("finalizers") or []
    if finalizers != (before.get("finalizers") or []):
        for at, finalizer in enumerate(finalizers):
            problems += [
                invalid(f"metadata.finalizers[{at}]", finalizer, m) for m in is_qualified_name(finalizer)
            ]
        added = [f for f in finalizers if f not in (before.get("finalizers") or ())]
        if before.get("deletionTimestamp") and added:
            problems.append(
                forbidden(
                    "metadata.finalizers",
                    f"no new finalizers can be added if the object is being deleted, found new finalizers {added!r}".replace(
                        "'", '"'
                    ),
                )
            )
    return problems
