"""Bodies of requests: to trees of the kind that the path is for, with what they name twice or wrongly told or refused."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from kubelib.api import codec
from kubelib.api.checking import json_type
from kubelib.api.errors import (
    BadRequest,
    UnsupportedMediaType,
    invalid,
)
from kubelib.api.meta import Object
from kubelib.api.model import Model
from kubelib.api.otherkinds import UNREADABLE, form_of, identity, why_unreadable
from kubelib.api.scheme import Resource, Scheme, Tree
from kubelib.api.structural.normalizing import METADATA, in_order
from kubelib.api.validation import problems
from kubelib.registry.base import PatchType
from kubelib.server.request import Request

_FORMER_EVICTION = ("Eviction", "policy/v1beta1")
"""What evictions may say they are, beside what they are: the version from before Kubernetes 1.22."""
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")


def _of_another_version(api_version: str, resource: Resource) -> BadRequest:
    return BadRequest(
        f"the API version in the data ({api_version}) does not match the expected API version ({resource.api_version})"
    )


def _summary(body: bytes) -> str:
    """Return the beginning of a body, as errors about it show it."""
    if not body:
        return "<empty>"
    is_object = body[:1] == b"{"
    text = body[:30].decode(errors="replace") if is_object else body[:30].hex()
    return f"{text} ..." if len(body) > 30 else text


def _unrecognized(resource: Resource | None, why: str, body: bytes) -> BadRequest:
    expected = resource.kind if resource is not None else "object"
    return BadRequest(
        f"the object provided is unrecognized (must be of type {expected}): {why} ({_summary(body)})"
    )


T = TypeVar("T")
SLOW = 16 * 1024
"""Bytes from which on YAML is read beside the event loop: a megabyte takes a second, in which nobody else would be answered."""
_turns = RunVar[anyio.CapacityLimiter]("kubelib.yaml")


async def decoded(body: bytes, request: Request, decode: Callable[[], T]) -> T:
    """Return what `decode` makes of a body. What takes long is done in a thread, one at a time."""
    if len(body) < SLOW or "yaml" not in request.media_type:
        return decode()
    limiter = _turns.get(None)
    if limiter is None:
        _turns.set(limiter := anyio.CapacityLimiter(1))
    return await anyio.to_thread.run_sync(decode, limiter=limiter)


def _of_another_kind(kind: str, api_version: str, resource: Resource, scheme: Scheme) -> BadRequest:
    """Return Kubernetes' error for a body of another kind than its path is for."""
    why = why_unreadable(kind, api_version, resource, scheme)
    if not why:
        return _of_another_version(api_version, resource)
    version = api_version.rpartition("/")[2]
    return BadRequest(f'{kind} in version "{version}" cannot be handled as a {resource.kind}: {why}')


def read_body(
    body: bytes, request: Request, resource: Resource | None, *, cls: type[Model] | None = None
) -> Tree:
    """Decode a body of any accepted type. Raises BadRequest, UnsupportedMediaType."""
    media = request.media_type or "application/json"
    try:
        if media in ("application/json", "*/*"):
            defined = resource is not None and resource.structure is not None and cls in (None, resource.cls)
            tree = codec.parse_json(body, untyped=defined)
        elif media in YAML_TYPES:
            repeated: list[str] = []
            tree = codec.parse_yaml(body, repeated)
            if cls is not None and resource is not None and cls is resource.cls:
                request.repeated = repeated
            elif repeated:
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
            codec.complete(
                tree, target
            )  # Go does not send zeros there, and writes those of required fields in JSON
            if request.audit is not None:
                request.audit.received_body, request.audit.media = codec.encode_json(tree), "application/json"
        else:
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: application/json,"
                " application/yaml, application/vnd.kubernetes.protobuf"
            )
    except codec.DecodeError as error:
        raise _unrecognized(resource, f"{UNREADABLE}{error}", body) from None
    if not isinstance(tree, dict):
        raise _unrecognized(
            resource, f"{UNREADABLE}json: cannot unmarshal {json_type(tree)} into Go value", body
        )
    if media == "application/json" and b"null" not in body:
        return tree  # there is nothing to drop, and the depth has been looked at
    if resource is not None and resource.structure is not None and cls is resource.cls:
        return tree  # what may be null is left to the schema
    try:
        codec.drop_nulls(tree)
    except codec.DecodeError as error:
        raise BadRequest(str(error)) from None
    return tree


def require_kind(tree: Tree, resource: Resource, scheme: Scheme, body: bytes) -> None:
    """Require that a body is of the kind of the resource. What it does not say is filled in, but for kinds of definitions.

    Raises BadRequest, and Invalid for another kind than that of a definition.
    """
    try:
        kind, version = identity(tree)
    except codec.DecodeError as error:
        raise _unrecognized(resource, str(error), body) from None
    if resource.structure is not None:
        _require_custom_kind(tree, kind, version, resource)
        return
    kind, version = kind or resource.kind, version or resource.api_version
    if (kind, version) not in ((resource.kind, resource.api_version), _FORMER_EVICTION):
        raise _of_another_kind(kind, version, resource, scheme)
    tree["kind"], tree["apiVersion"] = resource.kind, resource.api_version


def _require_custom_kind(tree: Tree, kind: str, version: str, resource: Resource) -> None:
    if not kind:
        text = codec.encode_json(tree).decode()
        raise BadRequest(
            f"{resource.kind} in version \"{resource.version}\" cannot be handled as a {resource.kind}: Object 'Kind' is missing"
            f" in '{text}'"
        )
    if version != resource.api_version:
        raise _of_another_version(version, resource)
    if kind != resource.kind:
        metadata = tree.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else ""
        raise invalid(
            kind,
            resource.group,
            str(name or ""),
            [problems.invalid("kind", kind, f"must be {resource.kind}")],
        )


def require_name(tree: Tree, name: str) -> None:
    """Require that a body that takes the place of an object says which. Raises BadRequest."""
    metadata = tree.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise BadRequest(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )


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


def body_form(resource: Resource, subresource: str) -> Resource:
    """Return what the body of a write is read as: the resource itself, but for subresources that have bodies of their own kind."""
    cls = body_class(resource, subresource)
    return resource if cls is resource.cls else form_of(cls)  # type: ignore[arg-type]


def check_strictly(
    body: bytes, tree: Tree, request: Request, resource: Resource, *, alone: bool = False
) -> bool:
    """Refuse or warn of what a body names twice, and of what is unknown beside it, as the request asks. Raises BadRequest.

    The tree is what has been read of the body, and nothing else yet. `alone`: nobody else looks for what is unknown.
    Returns whether nothing is left to be told: elsewhere the registry finds what is unknown, and what has the wrong type.
    """
    if request.query.get("fieldValidation") == "Ignore":
        return False
    if request.media_type in YAML_TYPES:
        unknown = _unknown_fields(tree, resource)
        messages = [*request.repeated, *unknown]
        lines = "yaml: unmarshal errors:\n  " + "\n  ".join(request.repeated)
        told = [lines, *unknown] if request.repeated else unknown
    elif request.media_type in ("", "application/json") and (
        (names := codec.duplicate_fields(body, tree)) or alone
    ):
        if resource.structure is None:
            messages = codec.strict_findings(body, resource.cls)
        else:
            twice = [f'duplicate field "{name}"' for name in names]
            messages = [*twice, *_unknown_fields(tree, resource)]
        told = messages
    else:
        return False
    try:
        codec.check_types(tree, resource)
    except codec.DecodeError:
        return False  # that is said first
    if messages:
        kind = resource.kind
        prefix = (
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: strict decoding error: '
        )
        _refuse_repeated(messages, request, prefix + ", ".join(told))
    return True


def _unknown_fields(tree: Tree, resource: Resource) -> list[str]:
    if resource.structure is None:
        unknown = sorted(codec.unknown_fields(tree, resource.cls))
    else:
        metadata = tree.get("metadata")
        members = metadata if isinstance(metadata, dict) else ()
        of_meta = sorted(f"metadata.{name}" for name in members if name not in METADATA)
        found: list[str] = []
        resource.structure.normalize(codec.copied(tree), found)
        unknown = of_meta + in_order(found)
    return [f'unknown field "{path}"' for path in unknown]


def _refuse_repeated(messages: list[str], request: Request, text: str) -> None:
    """Refuse or warn of what a body names twice, as the request asks. Raises BadRequest with the text."""
    validation = request.query.get("fieldValidation") or "Warn"
    if validation == "Strict":
        raise BadRequest(text)
    if validation == "Warn":
        request.warnings += messages


def _as_patch(tree: Any, kind: PatchType) -> Any:
    """Return what null stands for as a patch, and any other. Raises DecodeError for what has the form of none."""
    if tree is None and kind == "merge":
        raise BadRequest("Invalid JSON Patch")
    empty: list[Any] | Tree = [] if kind == "json" else {}
    form = "[]handlers.jsonPatchOp" if kind == "json" else "map[string]interface {}"
    if tree is None:
        return empty
    if type(tree) is not type(empty):
        raise codec.DecodeError(f"json: cannot unmarshal {json_type(tree)} into Go value of type {form}")
    for operation in tree if kind == "json" else ():
        _require_operation(operation)
    return tree


def _require_operation(operation: Any) -> None:
    if not isinstance(operation, dict):
        why = f"json: cannot unmarshal {json_type(operation)} into Go value of type handlers.jsonPatchOp"
        raise codec.DecodeError(why)
    for name in ("op", "path", "from"):
        value = operation.get(name)
        if value is not None and not isinstance(value, str):
            where = f"Go struct field jsonPatchOp.{name} of type string"
            raise codec.DecodeError(f"json: cannot unmarshal {json_type(value)} into {where}")


def parse_patch(body: bytes, kind: PatchType, request: Request, *, untyped: bool = False) -> Any:
    """Decode a patch, and look for what it names twice: `kubelib.server.request.Request.repeated`. Raises BadRequest.

    What an applied configuration names twice is refused or warned of at once, as the request asks. `untyped`: see
    `kubelib.api.codec.parse_json`.
    """
    if kind == "apply":
        repeated: list[str] = []
        # YAML is what the type says, JSON is what most clients send: and that is read twenty times as fast.
        if body.lstrip()[:1] == b"{":
            try:
                tree = codec.parse_json(body, untyped=untyped)
                if codec.duplicate_fields(body, tree):  # which lines those are, only the slow way tells
                    codec.parse_yaml(body.replace(b"\t", b" "), repeated)
            except codec.DecodeError:
                tree = codec.parse_yaml(body, repeated)
        else:
            tree = codec.parse_yaml(body, repeated)
        if repeated:
            text = "error converting YAML to JSON: yaml: unmarshal errors:\n  " + "\n  ".join(repeated)
            _refuse_repeated(repeated, request, f"error strict decoding YAML: {text}")
        return tree
    tree = _as_patch(codec.parse_json(body, untyped=untyped), kind)
    if request.query.get("fieldValidation") == "Ignore":
        return tree
    twice = codec.duplicate_fields(body, tree)
    if kind != "json":
        request.repeated = [f'duplicate field "{name}"' for name in twice]
    elif isinstance(tree, list):
        found = [
            (number, f'json patch unknown field "[{number}].{name}"')
            for number, operation in enumerate(tree)
            if isinstance(operation, dict)
            for name in operation
            if name not in ("op", "path", "from", "value")
        ]
        # Of what an operation writes nobody looks at what is there twice.
        own = (_OF_OPERATION.fullmatch(name) for name in twice)
        found += ((int(match[1]), f'json patch duplicate field "{match[0]}"') for match in own if match)
        request.repeated = [text for _, text in sorted(found, key=lambda one: one[0])]
    return tree


_OF_OPERATION = re.compile(r"\[(\d+)\]\.[^.\[]+")
