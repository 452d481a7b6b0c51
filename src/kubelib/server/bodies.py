"""Bodies of requests: to trees of the kind that the path is for, with what they name twice or wrongly told or refused."""

from copy import deepcopy
from typing import Any

from kubelib.api import codec
from kubelib.api.errors import (
    BadRequest,
    UnsupportedMediaType,
    invalid,
)
from kubelib.api.meta import Object
from kubelib.api.model import Model
from kubelib.api.scheme import Resource, Scheme, Tree, UnknownKind
from kubelib.api.validation import problems
from kubelib.registry.base import PatchType
from kubelib.server.request import Request


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


def require_kind(tree: Tree, resource: Resource, scheme: Scheme) -> None:
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


def require_applied_kind(tree: Tree, resource: Resource, subresource: str) -> None:
    """Require that an applied configuration says that it is what its path is for. Raises BadRequest."""
    cls = body_class(resource, subresource)
    expected = (resource.api_version, resource.kind) if cls is resource.cls else (cls.api_version, cls.kind)
    version, kind = tree.get("apiVersion") or "", tree.get("kind") or ""
    if (version, kind) != expected:
        raise BadRequest(f"invalid object type: {version}, Kind={kind}")


def body_class(resource: Resource, subresource: str) -> type[Object]:
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


def look_for_duplicates(body: bytes, tree: Tree, request: Request, resource: Resource) -> None:
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


def parse_patch(body: bytes, kind: PatchType, request: Request) -> Any:
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
