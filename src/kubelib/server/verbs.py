"""The verbs over HTTP: query parameters and bodies to registry calls, documents to bodies."""

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import attrs

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, BadRequest, MethodNotAllowed, NotFound, UnsupportedMediaType
from kubelib.api.meta import Key
from kubelib.api.model import Model
from kubelib.api.scheme import Resource, Tree, UnknownKind
from kubelib.labels import SelectorError, parse_field_selector, parse_selector
from kubelib.registry.base import Patch, PatchType, Preconditions, Propagation, Query, User, WriteOptions
from kubelib.registry.generic import GenericRegistry
from kubelib.registry.registries import ResourceRegistries
from kubelib.server import table
from kubelib.server.request import RequestInfo
from kubelib.server.responses import Accepted, Response, negotiate, warning_header

_PATCHES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
    "application/apply-patch+cbor": "apply",
}


_POLICIES: dict[str, Propagation] = {
    "Foreground": "Foreground",
    "Background": "Background",
    "Orphan": "Orphan",
}


def is_set(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean query parameter: there, and neither ``false`` nor ``0``, as Kubernetes reads them."""
    value = query.get(name)
    return value is not None and value.lower() not in ("false", "0")


@attrs.define
class Request:
    """An authorized request."""

    info: RequestInfo
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    user: User
    watching: bool = False
    warnings: list[str] = attrs.Factory(list)

    def header(self, name: str) -> str:
        """Return a header, empty if it is not there."""
        return self.headers.get(name.encode(), b"").decode("latin1")

    @property
    def accepted(self) -> Accepted:
        """What the client takes."""
        return negotiate(self.header("accept"))

    @property
    def media_type(self) -> str:
        """The type of the body, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter."""
        return is_set(self.query, name)

    def number(self, name: str) -> int | None:
        """Return a numeric query parameter. Raises BadRequest."""
        value = self.query.get(name)
        if not value:
            return None
        try:
            return int(value)
        except ValueError:
            raise BadRequest(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None


def query_of(request: Request) -> Query:
    """Return which objects a request is about. Raises BadRequest for a malformed selector."""
    return _query(
        request.info.namespace, request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    )


@functools.lru_cache(maxsize=4096)
def _query(namespace: str, labels: str, fields: str) -> Query:
    try:
        return Query(namespace, parse_selector(labels), parse_field_selector(fields))
    except SelectorError as error:
        raise BadRequest(f'unable to parse "{labels}" as a label selector: {error}') from None
    except ValueError as error:
        raise BadRequest(str(error)) from None


def write_options(request: Request) -> WriteOptions:
    """Return what a write carries beside its body. Raises BadRequest."""
    query = request.query
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise BadRequest(f'dryRun: Unsupported value: "{dry_run}": supported values: "All"')
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        raise BadRequest(
            f'fieldValidation: Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"'
        )
    manager = query.get("fieldManager") or request.header("user-agent").partition("/")[0] or "unknown"
    if len(manager) > 128:
        raise BadRequest("fieldManager: Invalid value: may not be more than 128 bytes")
    mode: Literal["Ignore", "Warn", "Strict"] = validation  # type: ignore[assignment]
    return WriteOptions(
        user=request.user,
        manager=manager,
        dry_run=bool(dry_run),
        field_validation=mode,
        warn=request.warnings.append,
    )


def read_body(
    body: bytes, request: Request, resource: Resource | None, *, cls: type[Model] | None = None
) -> Tree:
    """Decode a body of any accepted type. Raises BadRequest, UnsupportedMediaType."""
    media = request.media_type or "application/json"
    try:
        if media in ("application/json", "*/*"):
            tree = codec.parse_json(body)
        elif media in ("application/yaml", "application/x-yaml", "text/yaml"):
            tree = codec.parse_yaml(body)
        elif media == "application/vnd.kubernetes.protobuf":
            from kubelib.api import protobuf

            api_version, kind, message = protobuf.decode_protobuf(body)
            target = cls or (resource.cls if resource is not None else None)
            if target is None:
                raise UnsupportedMediaType("this body cannot be read from protocol buffers")
            tree = {"apiVersion": api_version, "kind": kind, **protobuf.message_to_tree(message, target)}
        else:
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: application/json,"
                " application/yaml, application/vnd.kubernetes.protobuf"
            )
    except codec.DecodeError as error:
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {resource.kind if resource else 'object'}): {error}"
        ) from None
    if not isinstance(tree, dict):
        raise BadRequest("the object provided is unrecognized: it is not an object")
    try:
        codec.drop_nulls(tree)
    except codec.DecodeError as error:
        raise BadRequest(str(error)) from None
    return tree


def _check_kind(tree: Tree, resource: Resource) -> None:
    kind, version = tree.get("kind"), tree.get("apiVersion")
    if not kind:
        if not version:
            tree["kind"], tree["apiVersion"] = resource.kind, resource.api_version
            return
        raise BadRequest("Object 'Kind' is missing in the request body")
    if kind != resource.kind or version not in (resource.api_version, None, ""):
        if version not in (resource.api_version, None, ""):
            raise BadRequest(
                f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
            )
        raise BadRequest(
            f"the kind of the object ({kind}) does not match the kind of the resource ({resource.kind})"
        )
    tree["apiVersion"] = resource.api_version


class ResourceVerbs:
    """Carries out the verbs."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries

    def registry(self, info: RequestInfo) -> GenericRegistry:
        """Return the registry that a request is about. Raises NotFound."""
        try:
            resource = self._registries.scheme.path(info.group, info.version, info.resource)
        except UnknownKind:
            raise NotFound("the server could not find the requested resource") from None
        if info.subresource and info.subresource not in resource.subresources:
            raise NotFound("the server could not find the requested resource")
        if info.namespace and not resource.namespaced and info.resource != "namespaces":
            raise NotFound("the server could not find the requested resource")
        return self._registries.of(resource)

    @staticmethod
    def key(info: RequestInfo, resource: Resource) -> Key:
        """Return where the named object is."""
        return Key(info.namespace if resource.namespaced else "", info.name)

    # Reading

    async def read(self, request: Request) -> Response:
        """Get or list."""
        info = request.info
        registry = self.registry(info)
        resource = registry.resource
        if info.verb not in resource.verbs:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        accepted = request.accepted
        if info.verb == "get" or (
            info.name and info.verb == "list" and not request.query.get("fieldSelector")
        ):
            document = await registry.get(self.key(info, resource), subresource=info.subresource)
            return self._one(document, resource, accepted, request)
        query = query_of(request)
        found = await registry.list(
            query if resource.namespaced else attrs.evolve(query, namespace=""),
            limit=max(0, request.number("limit") or 0),
            page=request.query.get("continue", ""),
            resource_version=request.query.get("resourceVersion", ""),
            match=request.query.get("resourceVersionMatch", ""),
        )
        metadata: dict[str, Any] = {"resourceVersion": found.resource_version}
        if found.page:
            metadata["continue"] = found.page
        if found.remaining is not None:
            metadata["remainingItemCount"] = found.remaining
        return Response(self._many(found.documents, resource, accepted, request, metadata))

    def _many(
        self,
        documents: Sequence[Document],
        resource: Resource,
        accepted: Accepted,
        request: Request,
        metadata: dict[str, Any],
    ) -> bytes:
        match accepted.transform:
            case "Table":
                include = request.query.get("includeObject", "Metadata")
                return table.table(documents, resource, self._now(), include=include, metadata=metadata)
            case "PartialObjectMetadata":
                return table.partial_metadata_list(documents, metadata)
        head = codec.encode_json(
            {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata}
        )
        if not documents:
            return head[:-1] + b',"items":[]}'
        # One join: a list of thousands of objects is megabytes, which should be copied once.
        parts = [document.raw for document in documents]
        parts[0] = b'%s,"items":[%s' % (head[:-1], parts[0])
        parts[-1] += b"]}"
        return b",".join(parts)

    def _one(
        self, document: Document, resource: Resource, accepted: Accepted, request: Request, status: int = 200
    ) -> Response:
        if accepted.transform and not document.raw.startswith(b'{"kind":"Status"'):
            if accepted.transform == "Table":
                metadata = {"resourceVersion": document.meta.resource_version}
                include = request.query.get("includeObject", "Metadata")
                body = table.table([document], resource, self._now(), include=include, metadata=metadata)
            else:
                body = table.partial_metadata(document)
            return Response(body, status)
        return Response(document.raw, status)

    def _now(self) -> datetime:
        return self._registries.clock.now()

    # Writing

    async def write(self, request: Request, body: bytes) -> Response:
        """Create, update, patch or delete."""
        info = request.info
        registry = self.registry(info)
        resource = registry.resource
        unnamed = info.verb in ("update", "patch") and not info.name
        if unnamed or (info.verb not in resource.verbs and not info.subresource):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        accepted = request.accepted
        try:
            match info.verb:
                case "create":
                    return await self._create(request, body, registry, accepted)
                case "update":
                    cls = _body_class(resource, info.subresource)
                    tree = read_body(body, request, resource, cls=cls)
                    if cls is resource.cls:
                        _check_kind(tree, resource)
                    document, created = await registry.update(
                        self.key(info, resource),
                        tree,
                        subresource=info.subresource,
                        options=write_options(request),
                    )
                    response = self._one(document, resource, accepted, request, 201 if created else 200)
                case "patch":
                    response = await self._patch(request, body, registry, accepted)
                case "delete" | "deletecollection":
                    response = await self._delete(request, body, registry, accepted)
                case _:
                    raise MethodNotAllowed("the server does not allow this method on the requested resource")
        except ApiError as error:
            error.warnings = request.warnings  # type: ignore[attr-defined]
            raise
        response.headers += warning_header(request.warnings)
        return response

    async def _create(
        self, request: Request, body: bytes, registry: GenericRegistry, accepted: Accepted
    ) -> Response:
        info, resource = request.info, registry.resource
        if info.name and not info.subresource:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        cls = _body_class(resource, info.subresource)
        tree = read_body(body, request, resource, cls=cls)
        if cls is resource.cls:
            _check_kind(tree, resource)
            if request.query.get("fieldValidation") == "Strict" and request.media_type in (
                "",
                "application/json",
            ):
                _refuse_duplicates(body)
        options = write_options(request)
        if resource.kind == "Binding":
            pods = self._registries.of(self._registries.scheme.path("", "v1", "pods"))
            name = (tree.get("metadata") or {}).get("name") or ""
            document = await pods.create(
                tree, namespace=info.namespace, name=name, subresource="binding", options=options
            )
        else:
            document = await registry.create(
                tree,
                namespace=info.namespace if resource.namespaced else "",
                name=info.name,
                subresource=info.subresource,
                options=options,
            )
        response = self._one(document, resource, accepted, request, 201)
        response.headers += warning_header(request.warnings)
        return response

    async def _patch(
        self, request: Request, body: bytes, registry: GenericRegistry, accepted: Accepted
    ) -> Response:
        info, resource = request.info, registry.resource
        kind = _PATCHES.get(request.media_type)
        if kind is None:
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(list(_PATCHES)[:4])
            )
        try:
            tree = codec.parse_yaml(body) if kind == "apply" else codec.parse_json(body)
        except codec.DecodeError as error:
            raise BadRequest(f"error decoding patch: {error}") from None
        options = write_options(request)
        if kind == "apply":
            if not request.query.get("fieldManager"):
                raise BadRequest(
                    'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
                )
            if not isinstance(tree, dict):
                raise BadRequest("the applied configuration is not an object")
            _check_kind(tree, resource)
        patch = Patch(kind, tree, options.manager, request.flag("force"))
        document, created = await registry.patch(
            self.key(info, resource), patch, subresource=info.subresource, options=options
        )
        return self._one(document, resource, accepted, request, 201 if created else 200)

    async def _delete(
        self, request: Request, body: bytes, registry: GenericRegistry, accepted: Accepted
    ) -> Response:
        info, resource = request.info, registry.resource
        from kubelib.api.machinery import DeleteOptions

        tree: Tree = read_body(body, request, None, cls=DeleteOptions) if body.strip() else {}
        grace = _grace(tree, request)
        propagation = _propagation(tree, request)
        options = write_options(request)
        if tree.get("dryRun"):
            options = attrs.evolve(options, dry_run=True)
        if info.verb == "deletecollection":
            query = query_of(request)
            found = await registry.delete_collection(
                query if resource.namespaced else attrs.evolve(query, namespace=""),
                grace=grace,
                propagation=propagation,
                options=options,
            )
            metadata = {"resourceVersion": found.resource_version}
            return Response(self._many(found.documents, resource, accepted, request, metadata))
        wanted = tree.get("preconditions") or {}
        deleted = await registry.delete(
            self.key(info, resource),
            preconditions=Preconditions(wanted.get("uid") or "", wanted.get("resourceVersion") or ""),
            grace=grace,
            propagation=propagation,
            options=options,
        )
        if deleted.finished and resource.kind not in ("Pod", "Service", "Namespace"):
            meta = deleted.document.meta
            details = {"name": meta.name, "kind": resource.plural, "uid": meta.uid}
            if resource.group:
                details["group"] = resource.group
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": details,
            }
            return Response(codec.encode_json(status))
        return self._one(deleted.document, resource, accepted, request)


def _body_class(resource: Resource, subresource: str) -> type[Model]:
    """Return the class of the body of a write."""
    match subresource:
        case "scale":
            from kubelib.api.autoscaling import Scale

            return Scale
        case "binding":
            from kubelib.api.core.pod import Binding

            return Binding
        case "eviction":
            from kubelib.api.policy import Eviction

            return Eviction
        case "token":
            from kubelib.api.authentication import TokenRequest

            return TokenRequest
    return resource.cls


def _refuse_duplicates(body: bytes) -> None:
    if duplicates := codec.duplicate_fields(body):
        raise BadRequest(
            "strict decoding error: " + ", ".join(f'duplicate field "{name}"' for name in duplicates)
        )


def _grace(tree: Tree, request: Request) -> float | None:
    grace = tree.get("gracePeriodSeconds")
    if grace is None:
        grace = request.number("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or grace < 0):
        raise BadRequest(f"gracePeriodSeconds: Invalid value: {grace}: must be greater than or equal to 0")
    return grace


def _propagation(tree: Tree, request: Request) -> Propagation | None:
    policy = tree.get("propagationPolicy") or request.query.get("propagationPolicy")
    if not policy:
        orphan = tree.get("orphanDependents")
        return None if orphan is None else ("Orphan" if orphan else "Background")
    if policy in _POLICIES:
        return _POLICIES[policy]
    raise BadRequest(
        f'propagationPolicy: Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
    )
