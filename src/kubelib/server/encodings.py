"""The last step of an answer: the JSON that everything is made in becomes what the client takes.

That is JSON as it is for nearly everybody; JSON to be read by people, YAML, or protocol buffers for clients that take nothing else.
"""

import functools
import re
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any

import msgspec

from kubelib.api import machinery, partial
from kubelib.api.codec import parse_json
from kubelib.api.errors import NotAcceptable
from kubelib.api.model import Model
from kubelib.api.protobuf import MEDIA_TYPE, encode_list, encode_protobuf, watch_frame
from kubelib.api.scheme import Resource, Scheme, Tree, UnknownKind
from kubelib.server.request import Request
from kubelib.server.responses import (
    FORMS,
    JSON,
    YAML,
    Accepted,
    Response,
    Scope,
    Send,
    error_response,
    negotiate,
    none_accepted,
    require_produced,
    to_yaml,
)

PROTOBUF = MEDIA_TYPE.encode()
PROTOBUF_WATCH = PROTOBUF + b";stream=watch"
_PEOPLE = (b"curl", b"Wget", b"Mozilla/5.0")
"""How the user agents begin behind which Kubernetes supposes a person, who likes indented JSON."""
_PRETTY = re.compile(rb"(?:^|&)pretty=([^&]+)")
_FALSE = (b"0", b"f", b"F", b"false", b"False", b"FALSE")
_LISTED = (*FORMS, "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_LOGGED = ("text/plain", *FORMS)

_MACHINERY: dict[str, type[Model]] = {
    cls.__name__: cls
    for cls in (
        machinery.Status,
        machinery.APIGroup,
        machinery.APIGroupList,
        machinery.APIResourceList,
        machinery.APIVersions,
        partial.PartialObjectMetadata,
    )
}


def in_wanted_form(
    response: Response, scope: Scope, headers: Mapping[bytes, bytes], scheme: Scheme
) -> Response:
    """Return a response in the form that the client takes; what cannot be had in it becomes the error that says so."""
    if response.content_type != JSON or not response.body:
        return response
    accept = headers.get(b"accept", b"")
    if b"yaml" in accept or b"protobuf" in accept:
        try:
            accepted = negotiate(accept.decode("latin1"))
        except NotAcceptable:
            accepted = Accepted()  # then this is the error that says so, or has been asked for by other names
        if accepted.media_type == "application/yaml":
            response.body, response.content_type = to_yaml(response.body), YAML
            return response
        if accepted.protobuf_only:
            try:
                response.body = to_protobuf(parse_json(bytes(response.body)), scheme)
            except NotAcceptable as error:
                return error_response(error)
            response.content_type = PROTOBUF
            return response
    if _is_for_people(scope["query_string"], headers.get(b"user-agent", b"")):
        response.body = msgspec.json.format(bytes(response.body), indent=2)
    elif response.is_document:
        # Go's encoder ends a line behind what it writes for programs, and not behind what it indents.
        response.body += b"\n"
    return response


def _is_for_people(query: bytes, user_agent: bytes) -> bool:
    """Return whether JSON is to be indented."""
    if b"pretty=" in query and (pretty := _PRETTY.search(query)):
        return pretty[1] not in _FALSE
    return user_agent.startswith(_PEOPLE)


@functools.lru_cache(maxsize=512)
def _negotiated(accept: str, verb: str, subresource: str) -> Accepted:
    """Negotiate about objects of a built-in kind: the media types come first, then what is asked for with them."""
    produced: tuple[str, ...] = FORMS
    if verb in ("list", "watch"):
        produced = _LISTED
    elif subresource == "log":
        produced = _LOGGED
    require_produced(accept, produced)
    return negotiate(accept)


def accepted_form(request: Request, resource: Resource) -> Accepted:
    """Return the form in which a client takes objects of a kind. Raises NotAcceptable."""
    accept, info = request.header("accept"), request.info
    accepted = _negotiated(accept, info.verb, info.subresource) if resource.builtin else negotiate(accept)
    if accepted.protobuf_only and not accepted.transform and not resource.cls.__dict__.get("__proto__"):
        raise none_accepted()
    return accepted


def to_protobuf(tree: Tree, scheme: Scheme) -> bytes:
    """Return a document in protocol buffers. Raises NotAcceptable for a kind that has none."""
    kind, api_version = tree.get("kind", ""), tree.get("apiVersion", "")
    cls = _MACHINERY.get(kind)
    if cls is not None:
        return encode_protobuf(tree, cls)
    if kind.endswith("List") and "items" in tree:
        item = _class(scheme, api_version, kind.removesuffix("List"))
        return encode_list(tree, item)
    return encode_protobuf(tree, _class(scheme, api_version, kind))


def _class(scheme: Scheme, api_version: str, kind: str) -> type[Model]:
    if (api_version, kind) == ("autoscaling/v1", "Scale"):
        from kubelib.api.autoscaling import Scale

        return Scale
    if (api_version, kind) == ("authentication.k8s.io/v1", "TokenRequest"):
        from kubelib.api.authentication import TokenRequest

        return TokenRequest
    if kind == "PartialObjectMetadata":
        return partial.PartialObjectMetadata
    cls: type[Model] = Model
    with suppress(UnknownKind):
        cls = scheme.kind(api_version, kind).cls
    if not cls.__dict__.get("__proto__"):
        raise none_accepted()
    return cls


def in_frames(send: Send, scheme: Scheme) -> Send:
    """Return a `send` that turns the JSON lines of a watch into the frames of a watch in protocol buffers."""

    async def send_frames(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name, PROTOBUF_WATCH if name == b"content-type" else value)
                for name, value in message["headers"]
            ]
            message = {**message, "headers": headers}
        elif body := message.get("body"):
            frames = []
            for line in body.splitlines():
                event = parse_json(line)
                frames.append(watch_frame(event["type"], to_protobuf(event["object"], scheme)))
            message = {**message, "body": b"".join(frames)}
        await send(message)

    return send_frames
