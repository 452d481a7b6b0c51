"""The fields that selectors may name, read from a document without decoding the rest of it."""

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from kubelib.api.document import Document
from kubelib.api.errors import BadRequest
from kubelib.api.scheme import Resource
from kubelib.api.validation.problems import quote
from kubelib.labels import FieldSelector

_NAME, _NAMESPACE = "metadata.name", "metadata.namespace"
_Path = tuple[str, ...]
_ELSEWHERE: dict[tuple[str, str], tuple[_Path, ...]] = {
    ("Event", "source"): (("source", "component"), ("reportingComponent",)),
    ("Pod", "spec.host"): (("spec", "nodeName"),),
    ("Pod", "status.podIPs"): (),
}
"""Where fields of built-in kinds stand that are not where they are called: the first that is not empty counts. Kubernetes takes
``status.podIPs`` for a field and never fills it in."""


class FieldReader:
    """Reads the selectable fields of one resource's documents."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self.defaults = dict(resource.selectable)
        self._paths = {label: _paths(resource, label) for label in self.defaults}
        every = tuple(dict.fromkeys(path for paths in self._paths.values() for path in paths))
        self._decode = msgspec.json.Decoder(_struct(every)).decode if self._paths else None

    def read(self, document: Document) -> dict[str, str]:
        """Return the values of all selectable fields."""
        meta = document.meta
        values = {_NAME: meta.name, _NAMESPACE: meta.namespace}
        if self._decode is not None:
            tree = self._decode(document.raw)
            for label, paths in self._paths.items():
                value = ""
                for path in paths:
                    found: Any = tree
                    for step in path:
                        found = getattr(found, step, None)
                    if found is not None and (value := _text(found)):
                        break
                values[label] = value or self.defaults[label]
        return values

    def require_known(self, selector: FieldSelector) -> None:
        """Refuse a selector that names other fields. Raises `BadRequest`."""
        plain = self._resource.builtin and not self._paths
        for requirement in selector.requirements:
            label = requirement.field
            if label in self._paths or label == _NAME:
                continue
            if label != _NAMESPACE or not (plain or self._resource.namespaced):
                raise BadRequest(_unknown(self._resource, label, plain=plain))


def _paths(resource: Resource, label: str) -> tuple[_Path, ...]:
    elsewhere = _ELSEWHERE.get((resource.kind, label)) if resource.builtin else None
    return (tuple(label.split(".")),) if elsewhere is None else elsewhere


def _unknown(resource: Resource, label: str, *, plain: bool) -> str:
    """Say that a field cannot be selected by, in the words that Kubernetes has for the kind."""
    if plain:
        return f'{quote(label)} is not a known field selector: only "{_NAME}", "{_NAMESPACE}"'
    if resource.builtin and resource.kind == "Job":
        return f"field label {quote(label)} not supported for batchv1.Job"
    if resource.builtin and resource.kind == "ResourceSlice":
        return f"field label not supported for {resource.api_version}, Kind=ResourceSlice: {label}"
    return f"field label not supported: {label}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


@functools.cache
def _struct(paths: tuple[_Path, ...]) -> type[Any]:
    """Build a struct that decodes just these paths."""
    inner: dict[str, list[_Path]] = {}
    for path in paths:
        inner.setdefault(path[0], []).append(path[1:])
    fields: list[Any] = []
    for name, rests in inner.items():
        nested = tuple(rest for rest in rests if rest)
        fields.append((name, _struct(nested) | None if nested else Any, None))
    return msgspec.defstruct("Fields", fields)


def as_labels(labels: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    """Return labels and fields in one mapping: fields under names that no label can have."""
    merged = dict(labels)
    for name, value in fields.items():
        merged["\0" + name] = value
    return merged
