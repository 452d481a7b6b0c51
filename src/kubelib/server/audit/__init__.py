"""The audit log: who asked for what, when, and what came of it, as an ``audit.k8s.io/v1`` policy wants it written.

A request only leaves a note, and a thread writes what was noted in batches. Lines without documents are ready at once: that costs
less than to keep what they are made of, and a thread that computes would hold up the loop. Documents are encoded by the thread. When
more comes than can be written, the newest is dropped and counted (``apiserver_audit_error_total``): no request waits for the log.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import anyio
import anyio.to_thread
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.codec import DecodeError
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.base import User
from kubelib.server.audit.base import Sink, Stage
from kubelib.server.audit.events import Record, encode_event
from kubelib.server.audit.policy import Policy
from kubelib.server.auditid import AUDIT_ID
from kubelib.server.requestinfo import RequestInfo
from kubelib.server.responses import Response, Scope

log = logging.getLogger("kubelib.server")

MOST_PENDING, MOST_BYTES = 20_000, 64 * 1024 * 1024
"""How many events, and bytes of documents in them, wait to be written at most."""
PERIOD = 0.2
BATCH = 1000

_Noted = bytes | tuple[Record, Stage, datetime, Mapping[str, Any] | None, Mapping[str, str], bytes]
"""A line, or what it is made of."""


class Auditor:
    """Keeps the log. A `kubelib.informers.Component` while it runs: it writes what was noted."""

    name = "audit"

    def __init__(self, policy: Policy, sink: Sink, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.policy = policy
        self._sink = sink
        self._clock = clock
        self._pending: list[_Noted] = []
        self._bytes = 0
        self._full = anyio.Event()
        self.written = 0
        self.dropped = 0
        """How many events were lost: because too many waited, or because they could not be written."""

    def begin(
        self, user: User | None, info: RequestInfo, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> Record | None:
        """Note that a request has come (of a user, None if it could not be told); None if nothing is to be written of it."""
        verdict = self.policy.verdict(user if user is not None else _NOBODY, info)
        if verdict.level == "None":
            return None
        query = scope["query_string"]
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        path = path.partition(b"?")[0]
        record = Record(
            verdict,
            user,
            info,
            scope[AUDIT_ID].decode("latin1"),
            self._clock.now(),
            (path + b"?" + query if query else path).decode("latin1"),
            _sources(scope, headers),
            headers.get(b"user-agent", b"").decode("latin1")[:1024],
        )
        self._note(record, "RequestReceived", record.received, None)
        return record

    def started(self, record: Record) -> None:
        """Note that the answer of a long-running request has begun."""
        self._note(record, "ResponseStarted", self._clock.now(), _code(200))

    def complete(self, record: Record, response: Response | None) -> None:
        """Note the end of a request. Without a response, one that ran for long, and was answered as it went, has ended."""
        answer = b""
        status = _code(200 if response is None else response.status)
        if response is not None:
            body = response.body
            if response.status >= 400 and response.content_type == b"application/json":
                status = _status(bytes(body)) or status
            if record.verdict.with_response and response.content_type == b"application/json":
                answer = bytes(body)
        self._note(record, "ResponseComplete", self._clock.now(), status, answer)

    def refused(self, record: Record, message: str) -> None:
        """Note that the caller could not be identified."""
        status = {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "Unauthorized",
            "code": 401,
        }
        self._note(record, "ResponseStarted", self._clock.now(), status)

    def panicked(self, record: Record, error: BaseException) -> None:
        """Note that the server failed."""
        status = {
            "metadata": {},
            "status": "Failure",
            "reason": "InternalError",
            "message": f"APIServer panic'd: {type(error).__name__}: {error}",
            "code": 500,
        }
        self._note(record, "Panic", self._clock.now(), status)

    def _note(
        self,
        record: Record,
        stage: Stage,
        when: datetime,
        status: Mapping[str, Any] | None,
        answer: bytes = b"",
    ) -> None:
        if stage in record.verdict.omitted:
            return
        size = len(answer) + len(record.received_body) if record.verdict.with_request else 0
        if len(self._pending) >= MOST_PENDING or (size and self._bytes + size > MOST_BYTES):
            if not self.dropped:
                log.warning("audit events are lost: more come than can be written")
            self.dropped += 1
            return
        self._bytes += size
        if record.verdict.with_request:
            self._pending.append((record, stage, when, status, dict(record.annotations), answer))
        else:
            try:
                self._pending.append(encode_event(record, stage, when, status, record.annotations, b""))
            except Exception as error:  # as in `_write`
                self._lost(1, error)
                return
        if len(self._pending) >= BATCH:
            self._full.set()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Write what is noted, until cancelled; then write the rest."""
        task_status.started()
        try:
            while True:
                with anyio.move_on_after(PERIOD):
                    await self._full.wait()
                self._full = anyio.Event()
                if self._pending:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(self._write, self._take())
        finally:
            self._write(self._take())
            self._sink.close()

    def _take(self) -> list[_Noted]:
        taken, self._pending, self._bytes = self._pending, [], 0
        return taken

    def _write(self, noted: Sequence[_Noted]) -> None:
        if not noted:
            return
        try:
            self._sink.write([note if isinstance(note, bytes) else encode_event(*note) for note in noted])
        except Exception as error:  # the log must not stop the server, whatever is wrong with it
            self._lost(len(noted), error)
        else:
            self.written += len(noted)

    def _lost(self, events: int, error: Exception) -> None:
        if not self.dropped:
            log.error("audit events are lost: %s", error)
        self.dropped += events


_NOBODY = User("")


def _sources(scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Return the addresses that a request came from: those that proxies name, and the last one in any case."""
    client = scope.get("client")
    if b"x-forwarded-for" not in headers and b"x-real-ip" not in headers:
        return (client[0],) if client and client[0] else ()
    found: list[str] = []
    if forwarded := headers.get(b"x-forwarded-for"):
        found += [part.strip()[:64] for part in forwarded.decode("latin1").split(",")[:16]]
    if real := headers.get(b"x-real-ip"):
        found.append(real.decode("latin1").strip()[:64])
    if client:
        found.append(client[0])
    return tuple(address for address in dict.fromkeys(found) if address)


@lru_cache
def _code(code: int) -> Mapping[str, Any]:
    """Return what events show of an answer that says no more than its status."""
    return {"metadata": {}, "code": code}


def _status(body: bytes) -> Mapping[str, Any] | None:
    """Return of a ``Status`` what events show."""
    from kubelib.api.codec import parse_json

    try:
        tree = parse_json(body)
    except DecodeError:
        return None
    if not isinstance(tree, dict) or tree.get("kind") != "Status":
        return None
    return {
        part: tree[part]
        for part in ("metadata", "status", "message", "reason", "details", "code")
        if part in tree
    }


@attrs.frozen
class AuditSettings:
    """How the log is kept; see ``kube-apiserver --help``."""

    policy: Policy
    path: str
    max_age: int = 0
    max_backups: int = 0
    max_size: int = 100

    def open(self, *, clock: Clock = SYSTEM_CLOCK) -> Auditor:
        """Open the log. Raises OSError."""
        from kubelib.server.audit.logfile import LogFile

        sink = LogFile(
            self.path, max_age=self.max_age, max_backups=self.max_backups, max_size=self.max_size, clock=clock
        )
        return Auditor(self.policy, sink, clock=clock)
