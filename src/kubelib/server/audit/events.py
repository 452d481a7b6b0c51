"""Audit events: what is known of a request, noted as it goes, and encoded when it is written."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from kubelib.api.codec import encode_json
from kubelib.registry.base import User
from kubelib.server.audit.base import API_VERSION, STAGES, Level, Stage, Verdict
from kubelib.server.requestinfo import RequestInfo

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
        "_impersonated", "agent", "annotations", "info", "media", "parts", "received", "received_body", "source", "uid", "uri",
        "user", "verdict",
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
        self._impersonated: User | None = None
        self.annotations: dict[str, str] = {}
        self.received_body: bytes = b""
        self.media = ""
        self.parts: tuple[bytes, bytes, bytes, bytes] | None = None
        """What its events have in common, once one has been written."""

    @property
    def impersonated(self) -> User | None:
        """As whom the user acts."""
        return self._impersonated

    @impersonated.setter
    def impersonated(self, user: User) -> None:
        self._impersonated = user
        self.parts = None

    def annotate(self, name: str, value: str) -> None:
        """Add to the event. What was said first stays, as in Kubernetes."""
        self.annotations.setdefault(name, value)


def _stamp(date: datetime) -> bytes:
    """Return a date as JSON, with microseconds even where these are none. The encoder takes a tenth of what `isoformat` does."""
    stamp = encode_json(date)
    return stamp if b"." in stamp else stamp.replace(b'Z"', b'.000000Z"')


def encode_event(
    record: Record,
    stage: Stage,
    when: datetime,
    status: Mapping[str, Any] | None,
    annotations: Mapping[str, str],
    answer: bytes,
) -> bytes:
    """Return an event as JSON."""
    documents = _documents(record, stage, answer) if record.verdict.with_request else b""
    line = _line(record, stage, when, status, annotations, documents)
    if len(line) > LARGEST:
        line = _line(record, stage, when, status, {**annotations, TRUNCATED: "true"}, b"")
    return line


def _line(
    record: Record,
    stage: Stage,
    when: datetime,
    status: Mapping[str, Any] | None,
    annotations: Mapping[str, str],
    documents: bytes,
) -> bytes:
    """Return an event. It is joined from parts, most of which are those of many events: nothing is as frequent as this."""
    if record.parts is None:
        record.parts = _parts(record)
    begin, subject, reference, received = record.parts
    if record.received_body and stage != "RequestReceived" and record.info.verb in ("create", "update"):
        reference = _reference(record)
    outcome = b"" if status is None else b',"responseStatus":' + encode_json(status)
    noted = b',"annotations":' + encode_json(annotations) if annotations else b""
    stamp = received if when is record.received else _stamp(when)
    return b"".join(
        (
            begin, _STAGES[stage], subject, reference, outcome, documents, b',"requestReceivedTimestamp":', received,
            b',"stageTimestamp":', stamp, noted, b"}",
        )
    )  # fmt: skip


def _parts(record: Record) -> tuple[bytes, bytes, bytes, bytes]:
    """Return what all events of a request have in common: its level and identity, what is asked by whom, of what, and when it came.

    Of the object only what the path says: when a request has just come, nothing else is known.
    """
    info = record.info
    who = _who(info.verb, record.user, record.impersonated, record.source, record.agent)
    return (
        _head(record.verdict.level) + encode_json(record.uid),
        encode_json(record.uri) + who,
        _plain_reference(info) if info.resource else b"",
        _stamp(record.received),
    )


_STAGES: dict[Stage, bytes] = {stage: f',"stage":"{stage}","requestURI":'.encode() for stage in STAGES}


@lru_cache
def _head(level: Level) -> bytes:
    return f'{{"kind":"Event","apiVersion":"{API_VERSION}","level":"{level}","auditID":'.encode()


@lru_cache(maxsize=4096)
def _who(
    verb: str, user: User | None, impersonated: User | None, source: tuple[str, ...], agent: str
) -> bytes:
    """Return what does not depend on the object: the verb, and who asks, from where and by what."""
    parts = [b',"verb":', encode_json(verb), b',"user":', user_json(user) if user is not None else b"{}"]
    if impersonated is not None:
        parts += (b',"impersonatedUser":', user_json(impersonated))
    if source:
        parts += (b',"sourceIPs":', encode_json(source))
    if agent:
        parts += (b',"userAgent":', encode_json(agent))
    return b"".join(parts)


def _plain_reference(info: RequestInfo) -> bytes:
    """Return the reference to an object of which the path says all that is known."""
    begin, end = _around_name(info.resource, info.namespace, info.group, info.version, info.subresource)
    return b"".join((begin, b',"name":', encode_json(info.name), end)) if info.name else begin + end


@lru_cache(maxsize=4096)
def _around_name(
    resource: str, namespace: str, group: str, version: str, subresource: str
) -> tuple[bytes, bytes]:
    """Return the parts of a reference before and after the name of the object."""
    begin = _written({"resource": resource, "namespace": namespace})
    end = _written({"apiGroup": group, "apiVersion": version, "subresource": subresource})
    return b',"objectRef":' + begin[:-1], (b"," if len(end) > 2 else b"") + end[1:]


def _written(found: Mapping[str, str]) -> bytes:
    """Return an object of texts without those that are empty."""
    return encode_json({part: value for part, value in found.items() if value})


def _reference(record: Record) -> bytes:
    """Return the reference to an object that was sent, with what the document says of itself."""
    info = record.info
    name, namespace, uid, version = info.name, info.namespace, "", ""
    if "json" in record.media:
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
    return b',"objectRef":' + _written(found)


def _documents(record: Record, stage: Stage, answer: bytes) -> bytes:
    """Return the members with the documents that were sent and answered."""
    verdict = record.verdict
    members = b""
    if record.received_body and stage != "RequestReceived":
        members += b',"requestObject":' + encode_json(_document(record.received_body, verdict))
    if answer:
        members += b',"responseObject":' + encode_json(_document(answer, verdict))
    return members


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
