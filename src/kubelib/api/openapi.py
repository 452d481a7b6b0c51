"""OpenAPI documents, version 2 and 3, derived from the scheme and its classes.

``kubectl explain``, validation, ``kubectl apply`` and typed clients read them. They are built when first asked for and
kept as bytes until the scheme changes.
"""

import hashlib
import operator
import weakref
from collections.abc import Callable, Iterable

from kubelib.api.codec import encode_json
from kubelib.api.descriptions import FIELDS
from kubelib.api.machinery import DeleteOptions, Status
from kubelib.api.meta import ListMeta, Object, ObjectMeta
from kubelib.api.model import Model
from kubelib.api.paths import SUBRESOURCE_KINDS, operations, v2_operation, v3_operation
from kubelib.api.roots import (
    VERSION_INFO,
    Root,
    path_item,
    resources_root,
    roots_of,
    version_definition,
)
from kubelib.api.schemas import (
    META,
    Dialect,
    Schema,
    definition_name,
    models_of,
    reference,
    scalar_definitions,
    schema,
    schema_definitions,
)
from kubelib.api.scheme import Resource, Scheme
from kubelib.api.structural.publishing import published

VERSION = "v1.37.0"
"""The version of Kubernetes whose API this is."""

_INFO = {"title": "Kubernetes", "version": VERSION}
_SECURITY = {
    "BearerToken": {
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
        "description": "Bearer token authentication",
    }
}

_built: "weakref.WeakKeyDictionary[Scheme, dict[str, tuple[tuple[Resource, ...], bytes]]]" = (
    weakref.WeakKeyDictionary()
)
"""The documents of each scheme, with the resources that they are about: others do not become old when a kind comes or goes."""


def openapi_v2(scheme: Scheme) -> bytes:
    """Return the whole API as a Swagger 2.0 document."""
    resources = tuple(scheme)
    return _cached(scheme, "", resources, lambda: encode_json(_v2(resources)))


def openapi_v3(scheme: Scheme, path: str) -> bytes:
    """Return the OpenAPI 3.0 document of one path. Raises KeyError.

    Of a group and version: ``api/v1``, ``apis/apps/v1``. What is no resource has documents too: ``apis/apps``, ``version``.
    """
    own = tuple(resource for resource in scheme if _root(resource) == path)
    if own:
        return _cached(scheme, path, own, lambda: encode_json(_v3(own, path)))
    root = next((root for root in roots_of(_groups(scheme)) if root.document == path), None)
    if root is None:
        raise KeyError(path)
    return _cached(scheme, path, (), lambda: encode_json(_v3_root(root)))


def openapi_v3_index(scheme: Scheme) -> bytes:
    """Return where the documents of the groups are; each address changes with its document."""
    _forget_gone(scheme)
    return encode_json(
        {
            "paths": {
                path: {
                    "serverRelativeURL": f"/openapi/v3/{path}?hash={document_hash(openapi_v3(scheme, path))}"
                }
                for path in document_paths(scheme)
            }
        }
    )


def document_hash(document: bytes) -> str:
    """Return the hash by which clients know whether their copy of a document is still good."""
    return hashlib.sha512(document).hexdigest().upper()


def group_versions(scheme: Scheme) -> tuple[str, ...]:
    """Return the paths of all groups and versions, sorted: ``api/v1``, ``apis/apps/v1``, …"""
    return tuple(sorted({_root(resource) for resource in scheme}))


def document_paths(scheme: Scheme) -> tuple[str, ...]:
    """Return the paths of all documents, sorted."""
    return tuple(sorted({root.document for root in roots_of(_groups(scheme))}))


def _groups(scheme: Iterable[Resource]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for resource in scheme:
        versions = groups.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)
    return groups


def _cached(scheme: Scheme, path: str, resources: tuple[Resource, ...], build: Callable[[], bytes]) -> bytes:
    documents = _built.setdefault(scheme, {})
    known = documents.get(path)
    if known is None or len(known[0]) != len(resources) or not all(map(operator.is_, known[0], resources)):
        known = documents[path] = (resources, build())
    return known[1]


def _forget_gone(scheme: Scheme) -> None:
    """Drop the documents of groups and versions that are no more."""
    documents = _built.get(scheme)
    if documents is not None:
        there = {"", *document_paths(scheme)}
        for path in [path for path in documents if path not in there]:
            del documents[path]


def _root(resource: Resource) -> str:
    return f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"


# Definitions


def _definitions(
    resources: Iterable[Resource], dialect: Dialect, taken: Iterable[type[Model]]
) -> dict[str, Schema]:
    found: dict[str, Schema] = dict(scalar_definitions(dialect))
    found[f"{META}.Patch"] = {
        "type": "object",
        "description": "A change of an object, in one of the patch formats.",
    }
    waiting: list[type[Model]] = [DeleteOptions, Status, ListMeta, *taken]
    kinds: dict[type[Model], list[Schema]] = {}
    for resource in resources:
        identity = {"group": resource.group, "kind": resource.kind, "version": resource.version}
        kinds.setdefault(resource.cls, []).append(identity)
        kinds.setdefault(DeleteOptions, []).append({**identity, "kind": "DeleteOptions"})
        if resource.structure is not None:
            name = definition_name(resource.cls)
            found[name] = published(
                resource.structure.schema, dialect, reference(definition_name(ObjectMeta), dialect)
            )
            found[name]["x-kubernetes-group-version-kind"] = [identity]
            if resource.selectable:
                found[name]["x-kubernetes-selectable-fields"] = [
                    {"fieldPath": f} for f in resource.selectable
                ]
            waiting.append(ObjectMeta)
        else:
            waiting.append(resource.cls)
        if "list" in resource.verbs:
            found[definition_name(resource.cls) + "List"] = _list_schema(resource, dialect)
    kinds.setdefault(Status, []).append(_machinery_kind(Status))
    _follow(found, waiting, kinds, dialect)
    if any(name.endswith(".JSONSchemaProps") for name in found):
        found |= schema_definitions()
    return dict(sorted(found.items()))


def _machinery_kind(cls: type[Model]) -> Schema:
    return {"group": "", "kind": cls.__name__, "version": "v1"}


def _follow(
    found: dict[str, Schema],
    waiting: list[type[Model]],
    kinds: dict[type[Model], list[Schema]],
    dialect: Dialect,
) -> None:
    """Add the definitions of the classes that wait, and of all that they refer to."""
    while waiting:
        cls = waiting.pop()
        name = definition_name(cls)
        if name in found:
            continue
        found[name] = schema(cls, dialect)
        identities = kinds.get(cls)
        if identities is None and issubclass(cls, Object):
            group, _, version = cls.api_version.rpartition("/")
            identities = [{"group": group, "kind": cls.kind, "version": version}]
        if identities:
            unique = {tuple(identity.items()): identity for identity in identities}
            found[name]["x-kubernetes-group-version-kind"] = list(unique.values())
        waiting.extend(models_of(cls))


def _list_schema(resource: Resource, dialect: Dialect) -> Schema:
    item = reference(definition_name(resource.cls), dialect)
    metadata = reference(definition_name(ListMeta), dialect)
    if dialect == 3:
        item, metadata = {"allOf": [item], "default": {}}, {"allOf": [metadata], "default": {}}
    return {
        "type": "object",
        "description": f"A list of objects of the kind {resource.kind}.",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": FIELDS["apiVersion"]},
            "items": {"type": "array", "items": item, "description": FIELDS["items"]},
            "kind": {"type": "string", "description": FIELDS["kind"]},
            "metadata": {**metadata, "description": "What is known about the list as a whole."},
        },
        "x-kubernetes-group-version-kind": [
            {"group": resource.group, "kind": resource.list_kind, "version": resource.version}
        ],
    }


# Documents


def _v2(resources: tuple[Resource, ...]) -> Schema:
    paths: Schema = {}
    for resource in resources:
        for path, by_method in operations(resource, "/" + _root(resource)).items():
            paths[path] = {method: v2_operation(operation) for method, operation in by_method.items()}
    roots = roots_of(_groups(resources))
    paths |= {root.path: path_item(root, 2) for root in roots}
    definitions = _definitions(resources, 2, SUBRESOURCE_KINDS.values()) | _root_definitions(roots, 2)
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
        "securityDefinitions": _SECURITY,
        "security": [{"BearerToken": []}],
    }


def _v3(own: tuple[Resource, ...], group_version: str) -> Schema:
    paths: Schema = {}
    taken: list[type[Model]] = []
    for resource in own:
        for path, by_method in operations(resource, "/" + group_version).items():
            paths[path] = {method: v3_operation(operation) for method, operation in by_method.items()}
        taken += (SUBRESOURCE_KINDS[name] for name in resource.subresources if name in SUBRESOURCE_KINDS)
    root = resources_root(own[0].group, own[0].version)
    paths[root.path] = path_item(root, 3)
    return _v3_document(paths, _definitions(own, 3, taken) | _root_definitions([root], 3))


def _v3_root(root: Root) -> Schema:
    return _v3_document({root.path: path_item(root, 3)}, _root_definitions([root], 3))


def _root_definitions(roots: Iterable[Root], dialect: Dialect) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    answers = dict.fromkeys(root.answer for root in roots)
    if VERSION_INFO in answers:
        found[VERSION_INFO] = version_definition()
    classes = [answer for answer in answers if not isinstance(answer, str)]
    _follow(found, list(classes), {cls: [_machinery_kind(cls)] for cls in classes}, dialect)
    return found


def _v3_document(paths: Schema, schemas: dict[str, Schema]) -> Schema:
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": _SECURITY},
        "security": [{"BearerToken": []}],
    }
