"""The verbs over HTTP: query parameters and bodies to registry calls, documents to bodies."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import attrs

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
)
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Tree, UnknownKind
from kubelib.registry.base import Patch, PatchType, Preconditions, WriteOptions
from kubelib.registry.generic import GenericRegistry
from kubelib.registry.registries import ResourceRegistries
from kubelib.server import table
from kubelib.server.bodies import (
    body_form,
    check_strictly,
    decoded,
    parse_patch,
    read_body,
    require_applied_kind,
    require_kind,
    require_name,
)
from kubelib.server.discovery import SUBRESOURCE_VERBS
from kubelib.server.encodings import accepted_form
from kubelib.server.options import (
    FieldValidation,
    delete_options,
    grace_of,
    propagation_of,
    require_list_options,
    require_table_options,
    require_write_options,
)
from kubelib.server.request import Request, query_of
from kubelib.server.requestinfo import RequestInfo
from kubelib.server.responses import Accepted, Body, Joined, Response, warning_header

_PATCHES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_UNDECODED: dict[PatchType, str] = {
    "json": "error decoding patch: ",
    "merge": "error decoding patch: ",
    "apply": "error decoding YAML: ",
}
_ORPHANED_PODS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set"
    " propagationPolicy=Orphan to suppress this warning"
)


def write_options(request: Request, *, checked: bool = False, repeated: Sequence[str] = ()) -> WriteOptions:
    """Return what a write carries beside its body, whose fields may have been `checked` already, and in which some are `repeated`.

    Raises BadRequest, Invalid.
    """
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
        field_validation="Ignore" if checked else validation,
        warn=request.warnings.append,
        annotate=request.audit.annotate if request.audit is not None else None,
        repeated=tuple(repeated),
        given={name: query[name] for name in ("fieldManager", "fieldValidation") if query.get(name)},
        may_create=None if verb == "create" else partial(_require_create, request),
    )


def _require_create(request: Request) -> None:
    """Require that who updates or patches what is not there may create it. Raises Forbidden."""
    if request.authorize is not None:
        request.authorize(attrs.evolve(request.info, verb="create"))


class ResourceVerbs:
    """Carries out the verbs."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries

    def registry(self, info: RequestInfo) -> GenericRegistry:
        """Return the registry that a request is about. Raises NotFound, and UnknownKind for a resource that is not served."""
        resource = self._registries.scheme.path(info.group, info.version, info.resource)
        _require_scope(info, resource)
        if info.subresource and info.subresource not in resource.subresources and resource.structure:
            raise NotFound(
                f'{resource.group_resource} "{info.name}" not found',
                name=info.name,
                group=resource.group,
                kind=resource.plural,
            )
        if info.rest or (info.subresource and info.subresource not in resource.subresources):
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
        if resource.warning:
            note_deprecated(request, resource)
        _require_verb(info, resource)
        accepted = accepted_form(request, resource)
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
        request.number("timeoutSeconds")  # a number, though only watches last
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
        accepted = accepted_form(request, resource)
        if resource.warning:
            note_deprecated(request, resource)
        try:
            match info.verb:
                case "create":
                    response = await self._create(request, body, registry, accepted)
                case "update":
                    response = await self._update(request, body, registry, accepted)
                case "patch":
                    response = await self._patch(request, body, registry, accepted)
                case "delete" | "deletecollection":
                    response = await self._delete(request, body, registry, accepted)
                case _:
                    raise _not_allowed(info, resource)
        except ApiError as error:
            error.warnings = request.warnings  # type: ignore[attr-defined]
            raise
        response.headers += warning_header(request.warnings)
        return response

    async def _document(self, request: Request, body: bytes, resource: Resource) -> tuple[Tree, bool]:
        """Return the document in a body, and whether its fields have been checked. Raises ApiError."""
        form = body_form(resource, request.info.subresource)
        tree: Tree = await decoded(body, request, lambda: read_body(body, request, form, cls=form.cls))
        checked = check_strictly(body, tree, request, form, alone=form is not resource)
        require_kind(tree, form, self._registries.scheme, body)
        if form is not resource:
            try:
                codec.check_types(tree, form)
            except codec.DecodeError as error:
                raise BadRequest(str(error)) from None
        return tree, checked

    async def _create(
        self, request: Request, body: bytes, registry: GenericRegistry, accepted: Accepted
    ) -> Response:
        info, resource = request.info, registry.resource
        if info.name and not info.subresource and resource.structure is None:
            raise _not_allowed(info, resource)
        tree, checked = await self._document(request, body, resource)
        options = write_options(request, checked=checked)
        if resource.kind == "Binding":
            pods = self._registries.of(self._registries.scheme.path("", "v1", "pods"))
            name = (tree.get("metadata") or {}).get("name") or ""
            await registry.admit("create", Key(info.namespace, name), tree, None, options)
            document = await pods.create(
                tree,
                namespace=info.namespace,
                name=name,
                subresource="binding",
                options=attrs.evolve(options, admitted=True),
            )
        else:
            document = await registry.create(
                tree,
                namespace=info.namespace if resource.namespaced else "",
                name=info.name if info.subresource else "",
                subresource=info.subresource,
                options=options,
            )
        return self._one(document, resource, accepted, request, 201)

    async def _update(
        self, request: Request, body: bytes, registry: GenericRegistry, accepted: Accepted
    ) -> Response:
        info, resource = request.info, registry.resource
        tree, checked = await self._document(request, body, resource)
        require_name(tree, info.name)
        document, created = await registry.update(
            self.key(info, resource),
            tree,
            subresource=info.subresource,
            options=write_options(request, checked=checked),
        )
        return self._one(document, resource, accepted, request, 201 if created else 200)

    async def _patch(
        self, request: Request, body: bytes, registry: GenericRegistry, accepted: Accepted
    ) -> Response:
        info, resource = request.info, registry.resource
        kind = _PATCHES.get(request.media_type)
        if kind is None or (kind == "strategic" and not resource.builtin):
            if resource.builtin:
                raise UnsupportedMediaType("415: Unsupported Media Type")
            accepted_types = [t for t, k in _PATCHES.items() if k != "strategic"]
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(accepted_types)
            )
        try:
            untyped = resource.structure is not None
            tree: Any = await decoded(
                body, request, lambda: parse_patch(body, kind, request, untyped=untyped)
            )
        except codec.DecodeError as error:
            raise BadRequest(f"{_UNDECODED.get(kind, '')}{error}") from None
        options = write_options(request, repeated=request.repeated)
        if kind == "apply":
            if not isinstance(tree, dict):
                raise BadRequest("the applied configuration is not an object")
            require_applied_kind(tree, resource, info.subresource)
        patch = Patch(kind, tree, options.manager, request.flag("force"))
        document, created = await registry.patch(
            self.key(info, resource), patch, subresource=info.subresource, options=options
        )
        return self._one(document, resource, accepted, request, 201 if created else 200)

    async def _delete(
        self, request: Request, body: bytes, registry: GenericRegistry, accepted: Accepted
    ) -> Response:
        from kubelib.api.machinery import DeleteOptions

        info, resource = request.info, registry.resource
        tree: Tree = {}
        if body.strip():
            tree = await decoded(body, request, lambda: read_body(body, request, None, cls=DeleteOptions))
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
            return Response(codec.encode_json(_success(meta.name, meta.uid, meta.resource_version, resource)))
        # 202 only for those who asked so for dependents to go: other clients do not expect it.
        waits = tree.get("orphanDependents") is False
        return self._one(
            deleted.document, resource, accepted, request, 202 if waits and not deleted.finished else 200
        )


def _success(name: str, uid: str, version: str, resource: Resource) -> Tree:
    """Return what is told of an object that is gone, and at which version it went."""
    details = {"name": name, "kind": resource.plural, "uid": uid}
    if resource.group:
        details["group"] = resource.group
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": version},
        "status": "Success",
        "details": details,
    }


def note_deprecated(request: Request, resource: Resource) -> None:
    """Warn who asks about a resource that is deprecated, and say so in the audit log."""
    request.warnings.append(resource.warning)
    if request.audit is not None:
        request.audit.annotate("k8s.io/deprecated", "true")


def _warned(response: Response, resource: Resource) -> Response:
    """Add what every client of a resource is told."""
    if resource.warning:
        response.headers += warning_header([resource.warning])
    return response


def _require_scope(info: RequestInfo, resource: Resource) -> None:
    """Refuse what is about one object, or a new one, where no namespace is named: only lists and watches go across them all.

    Raises UnknownKind for kinds that definitions define, as Kubernetes has no such path for them; NotFound, MethodNotAllowed.
    """
    if resource.structure is not None and info.namespace and not resource.namespaced:
        raise UnknownKind(info.path)
    if not resource.namespaced or info.namespace or info.verb in ("list", "watch"):
        return
    if resource.structure is not None:
        raise UnknownKind(info.path)
    if info.name:
        raise NotFound("the server could not find the requested resource")
    raise _not_allowed(info, resource)


def _require_verb(info: RequestInfo, resource: Resource) -> None:
    """Refuse a verb that a resource, or one of its subresources, does not have. Raises MethodNotAllowed."""
    verbs: Sequence[str] = SUBRESOURCE_VERBS[info.subresource] if info.subresource else resource.verbs
    nameless = info.verb in ("update", "patch") and not info.name
    if nameless and resource.structure is not None:
        raise BadRequest("name must be provided")
    if nameless or info.verb not in verbs:
        raise _not_allowed(info, resource)


def _not_allowed(info: RequestInfo, resource: Resource) -> MethodNotAllowed:
    """Return the refusal of a verb; kinds that definitions define say which it was."""
    if resource.structure is None:
        return MethodNotAllowed("the server does not allow this method on the requested resource")
    return MethodNotAllowed(
        f'{info.verb} is not supported on resources of kind "{resource.group_resource}"',
        group=resource.group,
        kind=resource.plural,
    )
