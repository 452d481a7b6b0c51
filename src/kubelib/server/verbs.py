"""The verbs over HTTP: query parameters and bodies to registry calls, documents to bodies."""

import functools
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
    invalid,
)
from kubelib.api.meta import Key, Object
from kubelib.api.model import Model
from kubelib.api.scheme import Resource, Scheme, Tree, UnknownKind
from kubelib.api.validation import problems
from kubelib.labels import SelectorError, parse_field_selector, parse_selector
from kubelib.registry.base import Patch, PatchType, Preconditions, Query, User, WriteOptions
from kubelib.registry.generic import GenericRegistry
from kubelib.registry.registries import ResourceRegistries
from kubelib.server import table
from kubelib.server.discovery import SUBRESOURCE_VERBS
from kubelib.server.encodings import require_servable
from kubelib.server.options import (
    FieldValidation,
    delete_options,
    grace_of,
    propagation_of,
    require_list_options,
    require_table_options,
    require_write_options,
)
from kubelib.server.request import RequestInfo
from kubelib.server.responses import Accepted, Body, Joined, Response, negotiate, warning_header

if TYPE_CHECKING:
    from kubelib.server.aggregation import Remote
    from kubelib.server.audit.events import Record
    from kubelib.server.flow import Flow

_PATCHES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_ORPHANED_PODS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set"
    " propagationPolicy=Orphan to suppress this warning"
)


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
    remote: "Remote | None" = None
    """The other API server that answers, if it is not this one."""
    flow: "Flow | None" = None
    """Where it belongs among all requests; see `kubelib.server.flow`."""
    audit: "Record | None" = None
    """What the audit log notes of it; None if nothing is written."""
    begun: Callable[[], None] | None = None
    """Called when a watch has sent its beginning."""

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
        return _media_type(self.headers.get(b"content-type", b""))

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


@functools.lru_cache(maxsize=256)
def _media_type(content_type: bytes) -> str:
    return content_type.decode("latin1").partition(";")[0].strip().lower()


def query_of(request: Request) -> Query:
    """Return which objects a request is about. Raises BadRequest for a malformed selector."""
    return _query(
        request.info.namespace, request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    )


def _of_another_kind(kind: str, api_version: str, resource: Resource, scheme: Scheme) -> BadRequest:
    """Return Kubernetes' error for a body of another kind than its path is for."""
    version = api_version.rpartition("/")[2]
    prefix = f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
    try:
        other = scheme.kind(api_version, kind)
    except UnknownKind:
        if kind == resource.kind:
            return BadRequest(
                f"the API version in the data ({api_version}) does not match the expected API version"
                f" ({resource.api_version})"
            )
        return BadRequest(
            f'{prefix}no kind "{kind}" is registered for version "{api_version}" in scheme'
            ' "pkg/api/legacyscheme/scheme.go:30"'
        )
    if (other.storage_group, other.kind) == (resource.storage_group, resource.kind):
        return BadRequest(
            f"the API version in the data ({api_version}) does not match the expected API version ({resource.api_version})"
        )
    package = resource.group.partition(".")[0] or "core"
    return BadRequest(
        f"{prefix}converting ({version}.{kind}) to ({package}.{resource.kind}): unknown conversion"
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
    """Return what a write carries beside its body. Raises BadRequest, Invalid."""
    query, apply = request.query, _PATCHES.get(request.media_type) == "apply"
    verb = request.info.verb
    if (query or apply) and verb in ("create", "update", "patch"):
        require_write_options(query, verb, apply=apply)
    validation: FieldValidation = query.get("fieldValidation") or "Warn"  # type: ignore[assignment]
    manager = query.get("fieldManager") or request.header("user-agent").partition("/")[0] or "unknown"
    return WriteOptions(
        user=request.user,
        manager=manager,
        dry_run=bool(query.get("dryRun")),
        field_validation=validation,
        warn=request.warnings.append,
        annotate=request.audit.annotate if request.audit is not None else None,
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
            repeated: list[str] = []
            tree = codec.parse_yaml(body, repeated)
            if repeated:
                _refuse_repeated(
                    repeated,
                    request,
                    "strict decoding error: yaml: unmarshal errors:\n  " + "\n  ".join(repeated),
                )
        elif media == "application/vnd.kubernetes.protobuf":
            from kubelib.api import protobuf

            if resource is not None and not resource.cls.__dict__.get("__proto__"):
                raise UnsupportedMediaType(
                    "the body of the request was in an unknown format - accepted media types include: application/json,"
                    " application/yaml"
                )
            api_version, kind, message = protobuf.decode_protobuf(body)
            target = cls or (resource.cls if resource is not None else None)
            if target is None:
                raise UnsupportedMediaType("this body cannot be read from protocol buffers")
            tree = {"apiVersion": api_version, "kind": kind, **protobuf.message_to_tree(message, target)}
            if request.audit is not None:
                request.audit.received_body, request.audit.media = codec.encode_json(tree), "application/json"
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
    if media == "application/json" and b"null" not in body:
        return tree  # there is nothing to drop, and the depth has been looked at
    if resource is not None and resource.structure is not None and cls is resource.cls:
        return tree  # what may be null is left to the schema
    try:
        codec.drop_nulls(tree)
    except codec.DecodeError as error:
        raise BadRequest(str(error)) from None
    return tree


def _check_kind(tree: Tree, resource: Resource, scheme: Scheme) -> None:
    """Require that a body is of the kind of the resource; one that does not say is. Raises BadRequest."""
    kind, version = tree.get("kind"), tree.get("apiVersion")
    if not kind:
        if not version:
            tree["kind"], tree["apiVersion"] = resource.kind, resource.api_version
            return
        raise BadRequest("Object 'Kind' is missing in the request body")
    if kind != resource.kind or version not in (resource.api_version, None, ""):
        raise _of_another_kind(str(kind), str(version or resource.api_version), resource, scheme)
    tree["apiVersion"] = resource.api_version


def _require_applied_kind(tree: Tree, resource: Resource, subresource: str) -> None:
    """Require that an applied configuration says that it is what its path is for. Raises BadRequest."""
    cls = _body_class(resource, subresource)
    expected = (resource.api_version, resource.kind) if cls is resource.cls else (cls.api_version, cls.kind)
    version, kind = tree.get("apiVersion") or "", tree.get("kind") or ""
    if (version, kind) != expected:
        raise BadRequest(f"invalid object type: {version}, Kind={kind}")


class ResourceVerbs:
    """Carries out the verbs."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries

    def registry(self, info: RequestInfo) -> GenericRegistry:
        """Return the registry that a request is about. Raises NotFound, and UnknownKind for a resource that is not served."""
        resource = self._registries.scheme.path(info.group, info.version, info.resource)
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
        _require_verb(info, resource)
        accepted = request.accepted
        require_servable(accepted, resource)
        if accepted.transform == "Table":
            require_table_options(request.query)
        if info.verb == "get" or (
            info.name and info.verb == "list" and not request.query.get("fieldSelector")
        ):
            document = await registry.get(
                self.key(info, resource),
                subresource=info.subresource,
                resource_version=request.query.get("resourceVersion", ""),
            )
            return _warned(self._one(document, resource, accepted, request), resource)
        query = query_of(request)
        require_list_options(request.query, watching=False)
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
        return _warned(Response(self._many(found.documents, resource, accepted, request, metadata)), resource)

    def _many(
        self,
        documents: Sequence[Document],
        resource: Resource,
        accepted: Accepted,
        request: Request,
        metadata: dict[str, Any],
    ) -> Body:
        match accepted.transform:
            case "Table":
                include = request.query.get("includeObject", "Metadata")
                return table.table(
                    documents,
                    resource,
                    self._now(),
                    include=include,
                    metadata=metadata,
                    version=accepted.version,
                )
            case "PartialObjectMetadata":
                return table.partial_metadata_list(documents, metadata, accepted.version)
        head = codec.encode_json(
            {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata}
        )
        if not documents:
            return head[:-1] + b',"items":[]}'
        return Joined(head[:-1] + b',"items":[', documents, b"]}")

    def _one(
        self, document: Document, resource: Resource, accepted: Accepted, request: Request, status: int = 200
    ) -> Response:
        if accepted.transform and not document.raw.startswith(b'{"kind":"Status"'):
            if accepted.transform == "Table":
                if request.info.subresource == "scale":
                    from kubelib.api.columns import SCALE

                    resource = attrs.evolve(resource, columns=SCALE)
                metadata = {"resourceVersion": document.meta.resource_version}
                include = request.query.get("includeObject", "Metadata")
                body = table.table(
                    [document],
                    resource,
                    self._now(),
                    include=include,
                    metadata=metadata,
                    version=accepted.version,
                )
            else:
                body = table.partial_metadata(document, accepted.version)
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
        _require_verb(info, resource)
        accepted = request.accepted
        require_servable(accepted, resource)
        if resource.warning:
            request.warnings.append(resource.warning)
        try:
            match info.verb:
                case "create":
                    return await self._create(request, body, registry, accepted)
                case "update":
                    cls = _body_class(resource, info.subresource)
                    tree = read_body(body, request, resource, cls=cls)
                    if cls is resource.cls:
                        _look_for_duplicates(body, tree, request, resource)
                        _check_kind(tree, resource, self._registries.scheme)
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
            _look_for_duplicates(body, tree, request, resource)
            _check_kind(tree, resource, self._registries.scheme)
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
        if kind is None or (kind == "strategic" and not resource.builtin):
            accepted_types = [t for t, k in _PATCHES.items() if resource.builtin or k != "strategic"]
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(accepted_types)
            )
        try:
            tree = _parse_patch(body, kind, request)
        except codec.DecodeError as error:
            raise BadRequest(f"error decoding patch: {error}") from None
        options = write_options(request)
        if kind == "apply":
            if not isinstance(tree, dict):
                raise BadRequest("the applied configuration is not an object")
            _require_applied_kind(tree, resource, info.subresource)
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
        tree = delete_options(request.query, tree)
        grace, propagation = grace_of(tree), propagation_of(tree)
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
        if resource.kind == "Job" and propagation is None:
            request.warnings.append(_ORPHANED_PODS)
        wanted = tree.get("preconditions") or {}
        deleted = await registry.delete(
            self.key(info, resource),
            preconditions=Preconditions(wanted.get("uid") or "", wanted.get("resourceVersion") or ""),
            grace=grace,
            propagation=propagation,
            options=options,
        )
        if deleted.finished and not resource.shows_deleted:
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
        # 202 only for those who asked to wait for dependents: older clients do not expect it otherwise.
        waits = propagation == "Foreground" or tree.get("orphanDependents") is False
        return self._one(
            deleted.document, resource, accepted, request, 202 if waits and not deleted.finished else 200
        )


def _warned(response: Response, resource: Resource) -> Response:
    """Add what every client of a resource is told."""
    if resource.warning:
        response.headers += warning_header([resource.warning])
    return response


def _require_verb(info: RequestInfo, resource: Resource) -> None:
    """Refuse a verb that a resource, or one of its subresources, does not have. Raises MethodNotAllowed."""
    verbs: Sequence[str] = SUBRESOURCE_VERBS[info.subresource] if info.subresource else resource.verbs
    if info.verb not in verbs or (info.verb in ("update", "patch") and not info.name):
        raise MethodNotAllowed("the server does not allow this method on the requested resource")


def _body_class(resource: Resource, subresource: str) -> type[Object]:
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


def _look_for_duplicates(body: bytes, tree: Tree, request: Request, resource: Resource) -> None:
    """Refuse or warn of members that JSON names twice, as the request asks. Raises BadRequest."""
    if request.query.get("fieldValidation") == "Ignore" or request.media_type not in ("", "application/json"):
        return
    messages = [f'duplicate field "{name}"' for name in codec.duplicate_fields(body, tree)]
    if messages:
        # One refusal tells all that is wrong; elsewhere the registry finds what is unknown.
        unknown = [f'unknown field "{path}"' for path in _unknown_fields(tree, resource)]
        _refuse_repeated(messages, request, f"strict decoding error: {', '.join([*unknown, *messages])}")


def _unknown_fields(tree: Tree, resource: Resource) -> list[str]:
    if resource.structure is None:
        return sorted(codec.unknown_fields(tree, resource.cls))
    unknown: list[str] = []
    resource.structure.normalize(deepcopy(tree), unknown)
    return sorted(unknown)


def _refuse_repeated(messages: list[str], request: Request, text: str) -> None:
    """Refuse or warn of what a body names twice, as the request asks. Raises BadRequest with the text."""
    validation = request.query.get("fieldValidation") or "Warn"
    if validation == "Strict":
        raise BadRequest(text)
    if validation == "Warn":
        request.warnings += messages


def _parse_patch(body: bytes, kind: PatchType, request: Request) -> Any:
    """Decode a patch, and look for what it names twice. Raises BadRequest, Invalid."""
    if kind == "apply":
        repeated: list[str] = []
        # YAML is what the type says, JSON is what most clients send: and that is read twenty times as fast.
        if body.lstrip()[:1] == b"{":
            try:
                tree = codec.parse_json(body)
                repeated += (f'key "{name}" already set in map' for name in codec.duplicate_fields(body))
            except codec.DecodeError:
                tree = codec.parse_yaml(body, repeated)
        else:
            tree = codec.parse_yaml(body, repeated)
        if repeated:
            text = "error converting YAML to JSON: yaml: unmarshal errors:\n  " + "\n  ".join(repeated)
            _refuse_repeated([text], request, f"error strict decoding YAML: {text}")
        return tree
    tree = codec.parse_json(body)
    validation = request.query.get("fieldValidation") or "Warn"
    if validation == "Ignore":
        return tree
    messages = [f'duplicate field "{name}"' for name in codec.duplicate_fields(body, tree)]
    if kind == "json" and isinstance(tree, list):
        messages += (
            f'json patch unknown field "[{number}].{name}"'
            for number, operation in enumerate(tree)
            if isinstance(operation, dict)
            for name in operation.keys() - {"op", "path", "from", "value"}
        )
    if messages and validation == "Strict":
        why = f"strict decoding error: {', '.join(messages)}"
        raise invalid("", "", "", [problems.invalid("patch", body.decode(errors="replace"), why)])
    request.warnings += messages
    return tree
