"""Audit events: what is known of a request, noted as it goes, and encoded when it is written."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from kubelib.api.codec import encode_json
from kubelib.registry.base import User
from kubelib.server.audit.base import Stage, Verdict
from kubelib.server.request import RequestInfo

LARGEST = 10 * 1024 * 1024
"""Bytes of documents in one event; larger ones are left out, which the event says."""
TRUNCATED = "audit.k8s.io/truncated"


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Named(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_names = msgspec.json.Decoder(_Named).decode


@lru_cache(maxsize=4096)
def user_json(user: User) -> bytes:
    """Return a user as events and reviews show it."""
    info: dict[str, Any] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra}
    return encode_json(info)


class Record:
    """One request: what all of its events have in common."""

    __slots__ = (
        "agent", "annotations", "impersonated", "info", "media", "received", "received_body", "source", "uid", "uri", "user",
        "verdict",
    )  # fmt: skip

    def __init__(
        self,
        verdict: Verdict,
        user: User | None,
        info: RequestInfo,
        uid: str,
        received: datetime,
        uri: str,
        source: tuple[str, ...],
        agent: str,
    ) -> None:
        self.verdict = verdict
        self.user = user
        self.info = info
        self.uid = uid
        self.received = received
        self.uri = uri
        self.source = source
        self.agent = agent
        self.impersonated: User | None = None
        self.annotations: dict[str, str] = {}
        self.received_body: bytes = b""
        self.media = ""

    def annotate(self, name: str, value: str) -> None:
        """Add to the event. What was said first stays, as in Kubernetes."""
        self.annotations.setdefault(name, value)


@lru_cache(maxsize=256)
def _stamp(date: datetime) -> str:
    return date.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def encode_event(
    record: Record,
    stage: Stage,
    when: datetime,
    status: Mapping[str, Any] | None,
    annotations: Mapping[str, str],
    answer: bytes,
) -> bytes:
    """Return an event as JSON."""
    verdict, info = record.verdict, record.info
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": verdict.level,
        "auditID": record.uid,
        "stage": stage,
        "requestURI": record.uri,
        "verb": info.verb,
        "user": msgspec.Raw(user_json(record.user)) if record.user is not None else {},
    }
    if record.impersonated is not None:
        event["impersonatedUser"] = msgspec.Raw(user_json(record.impersonated))
    if record.source:
        event["sourceIPs"] = record.source
    if record.agent:
        event["userAgent"] = record.agent
    if info.resource:
        event["objectRef"] = _reference(record)
    if status is not None:
        event["responseStatus"] = status
    if verdict.with_request and record.received_body and stage != "RequestReceived":
        event["requestObject"] = _document(record.received_body, verdict)
    if answer:
        event["responseObject"] = _document(answer, verdict)
    event["requestReceivedTimestamp"] = _stamp(record.received)
    event["stageTimestamp"] = _stamp(when)
    if annotations:
        event["annotations"] = annotations
    encoded = encode_json(event)
    if len(encoded) > LARGEST:
        for part in ("requestObject", "responseObject"):
            event.pop(part, None)
        event["annotations"] = {**annotations, TRUNCATED: "true"}
        encoded = encode_json(event)
    return encoded


@lru_cache(maxsize=4096)
def _plain_reference(info: RequestInfo) -> msgspec.Raw:
    """Return the reference to an object of which the path says all that is known."""
    found = {
        "resource": info.resource,
        "namespace": info.namespace,
        "name": info.name,
        "apiGroup": info.group,
        "apiVersion": info.version,
        "subresource": info.subresource,
    }
    return msgspec.Raw(encode_json({part: value for part, value in found.items() if value}))


def _reference(record: Record) -> Any:
    info = record.info
    if not record.received_body:
        return _plain_reference(info)
    name, namespace, uid, version = info.name, info.namespace, "", ""
    if record.received_body and info.verb in ("create", "update") and "json" in record.media:
        try:
            meta = _names(record.received_body).metadata
        except msgspec.DecodeError:
            pass
        else:
            name, namespace = name or meta.name, namespace or meta.namespace
            uid, version = meta.uid, meta.resource_version
    found = {
        "resource": info.resource,
        "namespace": namespace,
        "name": name,
        "uid": uid,
        "apiGroup": info.group,
        "apiVersion": info.version,
        "resourceVersion": version,
        "subresource": info.subresource,
    }
    return {part: value for part, value in found.items() if value}


def _document(body: bytes, verdict: Verdict) -> Any:
    """Return a document for an event. Raises nothing: what is no JSON is shown as text."""
    if not verdict.omit_managed_fields:
        try:
            msgspec.json.decode(body, type=msgspec.Raw)
        except msgspec.DecodeError:
            return body.decode(errors="replace")
        return msgspec.Raw(body)
    try:
        tree = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode(errors="replace")
    if isinstance(tree, dict):
        for part in (tree, *(item for item in tree.get("items") or () if isinstance(item, dict))):
            if isinstance(meta := part.get("metadata"), dict):
                meta.pop("managedFields", None)
    return tree
