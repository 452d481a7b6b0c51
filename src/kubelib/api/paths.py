"""What can be asked of each resource and where: the paths of the OpenAPI documents."""

from collections.abc import Iterator
from typing import Any

import attrs

from kubelib.api.authentication import TokenRequest
from kubelib.api.autoscaling import Scale
from kubelib.api.core.pod import Binding
from kubelib.api.machinery import DeleteOptions, Status
from kubelib.api.meta import Object
from kubelib.api.policy import Eviction
from kubelib.api.schemas import META, Schema, definition_name, reference
from kubelib.api.scheme import Resource

SUBRESOURCE_KINDS: dict[str, type[Object]] = {
    "scale": Scale,
    "binding": Binding,
    "eviction": Eviction,
    "token": TokenRequest,
}
"""Subresources that have a kind of their own; the others have the kind of their resource."""

_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_BODIES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_ANSWERS = ("application/json",)
_LOGGED = ("text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_STREAMED = ("application/json", "application/json;stream=watch")

_DRY_RUN = ("dryRun", "string", "All: do everything but store the result.")
_MANAGER = ("fieldManager", "string", "Who makes the change.")
_VALIDATION = (
    "fieldValidation",
    "string",
    "What to do about unknown and repeated fields: Ignore, Warn or Strict.",
)
_WRITE = (_DRY_RUN, _MANAGER, _VALIDATION)
_PATCH = (*_WRITE, ("force", "boolean", "Take fields over from other managers; for apply only."))
_DELETE = (
    _DRY_RUN,
    ("gracePeriodSeconds", "integer", "How long the object may take to end."),
    ("orphanDependents", "boolean", "Old form of propagationPolicy."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
)
_LIST = (
    ("allowWatchBookmarks", "boolean", "Whether the watch may send bookmarks."),
    ("continue", "string", "Where the last page ended."),
    ("fieldSelector", "string", "Only objects whose fields are like this."),
    ("labelSelector", "string", "Only objects whose labels are like this."),
    ("limit", "integer", "At most so many objects on a page."),
    ("resourceVersion", "string", "From which revision on."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with the objects that there are."),
    ("timeoutSeconds", "integer", "When to end the watch."),
    ("watch", "boolean", "Stay, and report changes."),
)
_PRETTY = ("pretty", "string", "Whether JSON is indented; by default for browsers and curl.")
_PATH = ("path", "string", "The path to ask for there.")
_CONTAINER = ("container", "string", "The container; not needed if there is only one.")
_STREAMS = (
    ("stderr", "boolean", "Whether the output of errors is sent."),
    ("stdin", "boolean", "Whether there is input for the process."),
    ("stdout", "boolean", "Whether the output is sent."),
    ("tty", "boolean", "Whether there is a terminal in between."),
)
_CONNECTIONS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "attach": (_CONTAINER, *_STREAMS),
    "exec": (
        ("command", "string", "The program or an argument; once for each, in order. Not run in a shell."),
        _CONTAINER,
        *_STREAMS,
    ),
    "portforward": (("ports", "integer", "The ports of the Pod, separated by commas."),),
    "proxy": (_PATH,),
}
"""Subresources that connect to what runs on a node, with what can be asked for in the query."""
_OPTIONS = {"attach": "Attach", "exec": "Exec", "portforward": "PortForward", "proxy": "Proxy"}
_LOG = (
    _CONTAINER,
    ("follow", "boolean", "Stay, and send what is written later."),
    (
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Whether the node's certificate need not be checked.",
    ),
    ("limitBytes", "integer", "At most so many bytes."),
    ("previous", "boolean", "The log of the container before its last restart."),
    ("sinceSeconds", "integer", "Only what was written in the last so many seconds."),
    ("stream", "string", "All, Stdout or Stderr."),
    ("tailLines", "integer", "Only so many lines from the end."),
    ("timestamps", "boolean", "Whether each line begins with its time."),
)

Parameter = tuple[str, str, str]


@attrs.frozen(kw_only=True)
class Operation:
    """One verb on one path."""

    resource: Resource
    id: str
    action: str
    """Kubernetes' name for the verb: list, post, put, …"""
    kind: type[Object]
    query: tuple[Parameter, ...] = ()
    path_parameters: tuple[str, ...] = ()
    body: str = ""
    """The definition of the body, empty for none."""
    accepts: tuple[str, ...] = _BODIES
    answer: str = ""
    """The definition of the answer, empty for text."""
    offers: tuple[str, ...] = _ANSWERS
    created: bool = False
    options: str = ""
    """The kind of the options of a connection, see `options_kind`."""


def options_kind(kind: str, subresource: str) -> str:
    """Return the kind of the options of a connection, such as ``PodExecOptions``; empty for what is none.

    `kind` is that of the resource. In discovery, OpenAPI and admission it stands for the subresource.
    """
    name = _OPTIONS.get(subresource)
    return f"{kind}{name}Options" if name else ""


def operations(resource: Resource, root: str) -> dict[str, dict[str, Operation]]:
    """Return what can be asked of a resource: path → HTTP method → operation."""
    scope = f"{root}/namespaces/{{namespace}}" if resource.namespaced else root
    collection, item = f"{scope}/{resource.plural}", f"{scope}/{resource.plural}/{{name}}"
    paths: dict[str, dict[str, Operation]] = {}
    if found := dict(_on_collection(resource)):
        paths[collection] = found
    if found := dict(_on_item(resource)):
        paths[item] = found
    for subresource in resource.subresources:
        paths[f"{item}/{subresource}"] = dict(_on_subresource(resource, subresource))
        if subresource == "proxy":
            paths[f"{item}/proxy/{{path}}"] = dict(_on_subresource(resource, "proxy", path=True))
    if resource.namespaced and "list" in resource.verbs:
        everywhere = _operation(
            resource, "list", "ForAllNamespaces", query=_LIST, answer=_list(resource), offers=_STREAMED
        )
        paths[f"{root}/{resource.plural}"] = {"get": attrs.evolve(everywhere, path_parameters=())}
    return paths


_Pairs = Iterator[tuple[str, Operation]]


def _on_collection(resource: Resource) -> _Pairs:
    own = definition_name(resource.cls)
    if "list" in resource.verbs:
        yield "get", _operation(resource, "list", query=_LIST, answer=_list(resource), offers=_STREAMED)
    if "create" in resource.verbs:
        yield "post", _operation(resource, "post", query=_WRITE, body=own, answer=own, created=True)
    if "deletecollection" in resource.verbs:
        query = (
            *_DELETE,
            *(parameter for parameter in _LIST if parameter[0] not in ("watch", "allowWatchBookmarks")),
        )
        yield (
            "delete",
            _operation(
                resource,
                "deletecollection",
                query=query,
                body=definition_name(DeleteOptions),
                answer=definition_name(Status),
            ),
        )


def _on_item(resource: Resource) -> _Pairs:
    own = definition_name(resource.cls)
    if "get" in resource.verbs:
        yield "get", _operation(resource, "get", answer=own, named=True)
    if "update" in resource.verbs:
        yield "put", _operation(resource, "put", query=_WRITE, body=own, answer=own, named=True, created=True)
    if "patch" in resource.verbs:
        yield "patch", _patch(resource, resource.cls)
    if "delete" in resource.verbs:
        yield (
            "delete",
            _operation(
                resource,
                "delete",
                query=_DELETE,
                body=definition_name(DeleteOptions),
                answer=own if resource.shows_deleted else definition_name(Status),
                named=True,
            ),
        )


def _on_subresource(resource: Resource, subresource: str, *, path: bool = False) -> _Pairs:
    kind = SUBRESOURCE_KINDS.get(subresource, resource.cls)
    name = definition_name(kind)
    suffix = subresource.capitalize() + ("WithPath" if path else "")
    if subresource in _CONNECTIONS:
        methods = (
            ("get", "post", "put", "delete", "patch", "head", "options")
            if subresource == "proxy"
            else ("get", "post")
        )
        for method in methods:
            connect = _operation(
                resource,
                "connect",
                method.capitalize() + suffix,
                named=True,
                offers=("*/*",),
                query=_CONNECTIONS[subresource],
                options=options_kind(resource.kind, subresource),
            )
            yield (
                method,
                attrs.evolve(connect, path_parameters=(*connect.path_parameters, "path"))
                if path
                else connect,
            )
    elif subresource == "log":
        yield "get", _operation(resource, "get", "Log", offers=_LOGGED, named=True, query=_LOG)
    elif subresource in ("binding", "eviction", "token"):
        yield (
            "post",
            _operation(
                resource,
                "post",
                suffix,
                kind=kind,
                query=_WRITE,
                body=name,
                answer=name,
                named=True,
                created=True,
            ),
        )
    else:
        if subresource != "finalize":
            yield "get", _operation(resource, "get", suffix, kind=kind, answer=name, named=True)
            yield "patch", _patch(resource, kind, suffix)
        yield (
            "put",
            _operation(
                resource,
                "put",
                suffix,
                kind=kind,
                query=_WRITE,
                body=name,
                answer=name,
                named=True,
                created=True,
            ),
        )


def _patch(resource: Resource, kind: type[Object], suffix: str = "") -> Operation:
    return _operation(
        resource, "patch", suffix, kind=kind, query=_PATCH, body=f"{META}.Patch",
        accepts=_PATCHES if resource.builtin else _PATCHES[:3],
        answer=definition_name(kind), named=True, created=True,
    )  # fmt: skip


def _operation(
    resource: Resource,
    action: str,
    suffix: str = "",
    *,
    named: bool = False,
    kind: type[Object] | None = None,
    **details: Any,
) -> Operation:
    group = camel_case(resource.group, capital=True)
    scope = "Namespaced" if resource.namespaced and suffix != "ForAllNamespaces" else ""
    verb = {"post": "create", "put": "replace", "get": "read", "deletecollection": "deleteCollection"}.get(
        action, action
    )
    parameters = (("name",) if named else ()) + (("namespace",) if resource.namespaced else ())
    if details.get("body") and not resource.cls.__dict__.get("__proto__"):
        details.setdefault("accepts", _BODIES[:2])
    return Operation(
        resource=resource,
        id=f"{verb}{group}{resource.version.capitalize()}{scope}{resource.kind}{suffix}",
        action=action,
        kind=kind or resource.cls,
        path_parameters=parameters,
        query=(*details.pop("query", ()), *(() if action == "connect" else (_PRETTY,))),
        **details,
    )


def group_tag(group: str) -> str:
    """Return the tag of a group's operations, as Kubernetes makes it: ``core``, ``apps``, ``rbacAuthorization``."""
    return camel_case(group, capital=False)


def camel_case(group: str, *, capital: bool) -> str:
    """Return the name of a group as it is in the names of operations, beginning with a capital or not."""
    first, *rest = (group.removesuffix(".k8s.io") or "core").split(".")
    return (first.capitalize() if capital else first) + "".join(map(str.capitalize, rest))


def _list(resource: Resource) -> str:
    return definition_name(resource.cls) + "List"


# The two dialects


def v2_operation(operation: Operation) -> Schema:
    """Return an operation as Swagger 2.0 has it."""
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "type": "string"} for name in operation.path_parameters
    ]
    parameters += (
        {"name": name, "in": "query", "type": kind, "uniqueItems": True, "description": text}
        for name, kind, text in operation.query
    )
    if operation.body:
        parameters.append(
            {"name": "body", "in": "body", "required": True, "schema": reference(operation.body, 2)}
        )
    answer = reference(operation.answer, 2) if operation.answer else {"type": "string"}
    return {
        **_common(operation),
        "consumes": list(operation.accepts) if operation.body else ["*/*"],
        "produces": list(operation.offers),
        "schemes": ["https"],
        "parameters": parameters,
        "responses": _responses(operation, {"schema": answer}),
    }


def v3_operation(operation: Operation) -> Schema:
    """Return an operation as OpenAPI 3.0 has it."""
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in operation.path_parameters
    ]
    parameters += (
        {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}, "description": text}
        for name, kind, text in operation.query
    )
    answer = reference(operation.answer, 3) if operation.answer else {"type": "string"}
    result = {
        **_common(operation),
        "parameters": parameters,
        "responses": _responses(
            operation, {"content": {media: {"schema": answer} for media in operation.offers}}
        ),
    }
    if operation.body:
        body = {"schema": reference(operation.body, 3)}
        result["requestBody"] = {"content": dict.fromkeys(operation.accepts, body), "required": True}
    return result


def _common(operation: Operation) -> Schema:
    resource = operation.resource
    group, _, version = operation.kind.api_version.rpartition("/")
    if operation.kind is resource.cls:
        group, version = resource.group, resource.version
    kind = operation.options or (resource.kind if operation.kind is resource.cls else operation.kind.kind)
    return {
        "tags": [f"{group_tag(resource.group)}_{resource.version}"],
        "description": f"{operation.action} {resource.kind}",
        "operationId": operation.id,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    }


def _responses(operation: Operation, content: Schema) -> Schema:
    responses: Schema = {"200": {"description": "OK", **content}}
    if operation.created:
        responses["201"] = {"description": "Created", **content}
    responses["401"] = {"description": "Unauthorized"}
    return responses
