"""Reports to users: what happened to an object, as Events that repeat themselves without flooding anybody.

A controller reports as often as it likes. Equal reports become one Event with a count; more than ten different ones of
the same kind within ten minutes are combined; and no more than a burst of 25 per object and source gets through, with
one more every five minutes. These are the rules and numbers of client-go's event correlator.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import TypeVar

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.event import Event, EventSource
from kubelib.api.core.references import ObjectReference
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Key, Object, ObjectMeta
from kubelib.api.times import format_time
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.registry.base import Patch

NORMAL, WARNING = "Normal", "Warning"

BURST = 25
REFILL_SECONDS = 300.0
COMBINE_AFTER = 10
COMBINE_WITHIN = timedelta(minutes=10)
MEMORY = 4096
BACKLOG = 1000
TRIES = 12
COMBINED = "(combined from similar events): "

Identity = tuple[object, ...]
T = TypeVar("T")

log = logging.getLogger(__name__)


def reference_to(obj: Object) -> ObjectReference:
    """Return a reference to an object, as Events hold it."""
    meta = obj.metadata
    return ObjectReference(
        kind=obj.kind,
        api_version=obj.api_version,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )


@attrs.frozen
class Report:
    """One thing that happened."""

    about: ObjectReference
    type: str
    reason: str
    message: str
    source: str
    host: str = ""


@attrs.define
class _Bucket:
    tokens: float
    at: datetime


@attrs.define
class _Similar:
    messages: dict[str, None]
    last: datetime


@attrs.define
class _Written:
    key: Key
    count: int


class Correlator:
    """Decides what becomes of a report: a new Event, a higher count of an earlier one, or nothing. Pure but for memory."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[Identity, _Bucket] = OrderedDict()
        self._similar: OrderedDict[Identity, _Similar] = OrderedDict()
        self._written: OrderedDict[Identity, _Written] = OrderedDict()

    def admit(self, report: Report, now: datetime) -> tuple[str, Identity] | None:
        """Return the message to report and what identifies the Event, or None to say nothing."""
        about = report.about
        subject = (about.kind, about.namespace, about.name, about.uid, about.api_version)
        if not self._has_token((report.source, report.host, *subject), now):
            return None
        kin = (report.source, report.host, *subject, report.type, report.reason)
        similar = _remember(self._similar, kin, lambda: _Similar({}, now))
        if now - similar.last > COMBINE_WITHIN:
            similar.messages.clear()
        similar.last = now
        similar.messages[report.message] = None
        if len(similar.messages) < COMBINE_AFTER:
            return report.message, (*kin, about.field_path, report.message)
        similar.messages.pop(next(iter(similar.messages)))
        return COMBINED + report.message, kin

    def _has_token(self, key: Identity, now: datetime) -> bool:
        bucket = _remember(self._buckets, key, lambda: _Bucket(BURST, now))
        gained = (now - bucket.at).total_seconds() / REFILL_SECONDS
        bucket.tokens = min(BURST, bucket.tokens + gained)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def written(self, identity: Identity) -> _Written | None:
        """Return the Event that stands for earlier reports of the same identity."""
        return self._written.get(identity)

    def note(self, identity: Identity, written: _Written | None) -> None:
        """Remember, or forget, the Event that stands for an identity."""
        if written is None:
            self._written.pop(identity, None)
        else:
            self._written[identity] = written
            _bound(self._written)


def _remember(memory: OrderedDict[Identity, T], key: Identity, make: Callable[[], T]) -> T:
    if key in memory:
        memory.move_to_end(key)
    else:
        memory[key] = make()
        _bound(memory)
    return memory[key]


def _bound(memory: OrderedDict[Identity, T]) -> None:
    while len(memory) > MEMORY:
        memory.popitem(last=False)


class EventRecorder:
    """Takes reports at once and writes them in the background. A `Component`, shared by all controllers of a daemon."""

    def __init__(self, client: Client, *, clock: Clock, random: Random, name: str = "events") -> None:
        self.name = name
        self.dropped = 0
        self._client = client
        self._clock = clock
        self._random = random
        self._correlator = Correlator()
        self._backlog: deque[tuple[Report, datetime]] = deque()
        self._news = anyio.Event()

    def source(self, component: str, host: str = "") -> "Recorder":
        """Return the recorder of one component."""
        return Recorder(self, component, host)

    def report(self, report: Report) -> None:
        """Take a report; while nobody writes them, only the first thousand are kept."""
        if len(self._backlog) >= BACKLOG:
            self.dropped += 1
            return
        self._backlog.append((report, self._clock.now()))
        self._news.set()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Write reports until cancelled."""
        task_status.started()
        while True:
            while self._backlog:
                report, at = self._backlog.popleft()
                await self._write(report, at)
            self._news = anyio.Event()
            await self._news.wait()

    async def _write(self, report: Report, at: datetime) -> None:
        admitted = self._correlator.admit(report, at)
        if admitted is None:
            return
        message, identity = admitted
        for attempt in range(TRIES):
            try:
                await self._write_once(report, message, identity, at)
                return
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    log.debug("an event about %s was refused: %s", report.about.name, error)
                    return  # such as: its namespace is being deleted
            except OSError:
                pass
            await anyio.sleep(self._random.random() * 10 if attempt == 0 else 10)

    async def _write_once(self, report: Report, message: str, identity: Identity, at: datetime) -> None:
        registry = self._client.resource(Event)
        earlier = self._correlator.written(identity)
        if earlier is not None:
            count = earlier.count + 1
            body = {"count": count, "lastTimestamp": format_time(at), "message": message}
            try:
                await registry.patch(earlier.key, Patch("strategic", body))
                self._correlator.note(identity, _Written(earlier.key, count))
                return
            except NotFound:
                self._correlator.note(identity, None)  # it has expired: begin another
        about = report.about
        namespace = about.namespace or "default"
        stamp = int(at.timestamp() * 1e6) * 1000 + self._random.randrange(1000)
        event = Event(
            metadata=ObjectMeta(name=f"{about.name}.{stamp:x}", namespace=namespace),
            involved_object=about,
            reason=report.reason,
            message=message,
            source=EventSource(component=report.source, host=report.host),
            first_timestamp=at.replace(microsecond=0),
            last_timestamp=at.replace(microsecond=0),
            count=1,
            type=report.type,
            reporting_component=report.source,
            reporting_instance=report.host,
        )
        created = await registry.create(event)
        self._correlator.note(identity, _Written(created.key, 1))


@attrs.frozen
class Recorder:
    """What a controller holds to report with."""

    recorder: EventRecorder
    component: str
    host: str = ""

    def normal(self, about: Object | ObjectReference, reason: str, message: str) -> None:
        """Report something that went well."""
        self._report(about, NORMAL, reason, message)

    def warning(self, about: Object | ObjectReference, reason: str, message: str) -> None:
        """Report something that did not."""
        self._report(about, WARNING, reason, message)

    def _report(self, about: Object | ObjectReference, type: str, reason: str, message: str) -> None:
        reference = about if isinstance(about, ObjectReference) else reference_to(about)
        self.recorder.report(Report(reference, type, reason, message, self.component, self.host))
