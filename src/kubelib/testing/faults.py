"""Bad days for clients over HTTP: late answers, refusals, lost answers, broken watches, stale reads. All chance is seeded.

What a fault does to a request is what real clusters do: an overloaded server answers 429 with ``Retry-After``, one that is
restarted 503; a load balancer gives up and 504 comes although the write was carried out; watches break in the middle
of a stream or find their resource version too old; one of several API servers lags behind the others.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any
from urllib.parse import parse_qs

import anyio
import attrs

from kubelib.api.errors import ApiError, Expired, Timeout, error_from_status
from kubelib.server.responses import Receive, Scope, Send, error_response, send_response
from kubelib.store import Change, Entry, MemoryStore, Operation, Page, Revision, RevisionInFuture

App = Callable[[Scope, Receive, Send], Any]


@attrs.frozen
class Call:
    """One request, as faults choose by it."""

    method: str
    path: str
    query: Mapping[str, str]
    user_agent: str

    @property
    def watching(self) -> bool:
        """Whether it is a watch."""
        return self.query.get("watch", "") not in ("", "false", "0")

    @property
    def reading(self) -> bool:
        """Whether it changes nothing."""
        return self.method in ("GET", "HEAD")


def every_call(call: Call) -> bool:
    """Choose all requests."""
    return True


@attrs.define(kw_only=True)
class Fault:
    """What goes wrong, and how often: rates are between 0 and 1, times are seconds."""

    latency: float = 0.0
    """Every answer comes between nothing and so much later."""
    errors: Mapping[int, float] = attrs.field(factory=dict)
    """Status codes with the rate at which they are answered instead: ``{429: 0.1, 500: 0.05, 503: 0.1}``."""
    retry_after: int = 1
    """What 429 and 503 say in ``Retry-After``; 0: nothing."""
    lost_answers: float = 0.0
    """The rate at which a write is carried out, and its writer told 504."""
    cut_watches: float | None = None
    """How long after its beginning a watch breaks, without a proper end; None: never."""
    expired_watches: float = 0.0
    """The rate at which a watch that continues from a resource version is told 410: list again."""
    stale_reads: bool = False
    """Reads and watches show the state at which the fault began, until it ends."""
    only: Callable[[Call], bool] = every_call
    """Which requests it happens to."""
    seed: int = 0
    happened: dict[str, int] = attrs.Factory(dict)
    """How often what has happened: ``latency``, ``429``, ``lost``, ``cut``, ``expired``, ``stale``."""
    stale_app: App | None = attrs.field(default=None, repr=False)
    """Answers the stale reads; the cluster sets it."""
    _random: Random = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: Random(self.seed), takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        rates = [(str(status), rate) for status, rate in self.errors.items()]
        rates += [("lost_answers", self.lost_answers), ("expired_watches", self.expired_watches)]
        for name, rate in rates:
            if not 0 <= rate <= 1:
                raise ValueError(f"the rate of {name} must be between 0 and 1, not {rate}")

    def draws(self, rate: float) -> bool:
        """Return whether something happens that does at a rate."""
        return rate > 0 and self._random.random() < rate

    def note(self, what: str) -> None:
        """Count something that happens."""
        self.happened[what] = self.happened.get(what, 0) + 1

    def refusal(self, call: Call) -> ApiError | None:
        """Return what is answered instead of carrying a request out, if anything is."""
        for status, rate in self.errors.items():
            if self.draws(rate):
                self.note(str(status))
                error = error_from_status({"message": f"fault: the server answers {status}"}, status)
                error.retry_after = self.retry_after if status in (429, 503) else 0
                return error
        continues = call.watching and call.query.get("resourceVersion", "") not in ("", "0")
        if continues and self.draws(self.expired_watches):
            self.note("expired")
            return Expired("too old resource version: fault")
        return None

    async def delay(self) -> None:
        """Take the time that this request takes longer."""
        if self.latency:
            self.note("latency")
            await anyio.sleep(self._random.random() * self.latency)


class FaultyLine:
    """An ASGI application between clients and an API server."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.faults: tuple[Fault, ...] = ()
        """Those that are in effect; the earlier ones meet a request first."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or not."""
        if not self.faults or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _call(scope)
        await self._through([f for f in self.faults if f.only(call)], call, scope, receive, send)

    async def _through(
        self, faults: list[Fault], call: Call, scope: Scope, receive: Receive, send: Send
    ) -> None:
        app, lost = self._app, False
        cut: float | None = None
        for fault in faults:
            await fault.delay()
            refusal = fault.refusal(call)
            if refusal is not None:
                await send_response(send, error_response(refusal))
                return
            if fault.stale_reads and call.reading and fault.stale_app is not None:
                fault.note("stale")
                app = fault.stale_app
            if not call.reading and not lost and fault.draws(fault.lost_answers):
                fault.note("lost")
                lost = True
            if call.watching and fault.cut_watches is not None and (cut is None or fault.cut_watches < cut):
                fault.note("cut")
                cut = fault.cut_watches
        if lost:
            await app(scope, receive, _nowhere)
            error = Timeout("fault: the answer was lost, the request has been carried out")
            await send_response(send, error_response(error))
        elif cut is not None:
            with anyio.CancelScope() as lasting:
                await app(scope, receive, _for(cut, lasting, send))
        else:
            await app(scope, receive, send)


def _call(scope: Scope) -> Call:
    headers = dict(scope["headers"])
    query = parse_qs(scope["query_string"].decode("latin1"), keep_blank_values=True)
    return Call(
        scope["method"],
        scope["path"],
        {name: values[0] for name, values in query.items()},
        headers.get(b"user-agent", b"").decode("latin1"),
    )


async def _nowhere(message: Any) -> None:
    """Lose what is sent."""


def _for(seconds: float, lasting: anyio.CancelScope, send: Send) -> Send:
    """Pass on what is sent for a time from the head on: the proper end of a watch that is cut comes after it, and is lost."""

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            lasting.deadline = anyio.current_time() + seconds
        elif anyio.current_time() < lasting.deadline:
            await send(message)

    return sending


class LaggingStore:
    """A store as an API server sees it that has stopped hearing of changes: the state of one revision, until it catches up."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._held: Revision | None = None
        self._missed: list[tuple[Change, ...]] = []
        self._observer: Callable[[tuple[Change, ...]], None] | None = None

    async def hold(self) -> None:
        """See nothing new from now on."""
        self._held = await self._store.revision()

    def catch_up(self) -> None:
        """See everything that was missed, in order."""
        self._held = None
        missed, self._missed = self._missed, []
        for changes in missed:
            if self._observer is not None:
                self._observer(changes)

    async def get(self, key: str) -> Entry | None:
        """Return a key's entry as of the revision that is held."""
        page = await self.list(key, limit=1, start=key)
        return page.entries[0] if page.entries and page.entries[0].key == key else None

    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        """Return a page as of the revision that is held, or an earlier one."""
        if self._held is not None:
            if at is not None and at > self._held:
                raise RevisionInFuture(at, self._held)
            at = self._held if at is None else at
        return await self._store.list(prefix, limit=limit, start=start, at=at)

    async def commit(self, *operations: Operation) -> Revision:
        """Commit to the real store."""
        return await self._store.commit(*operations)

    def watch(self, prefix: str, *, since: Revision) -> Any:
        """Watch the real store: the lag is that of an observer."""
        return self._store.watch(prefix, since=since)

    async def compact(self, before: Revision) -> None:
        """Forget the history before a revision."""
        await self._store.compact(before)

    async def revision(self) -> Revision:
        """Return the revision that is held."""
        return self._held if self._held is not None else await self._store.revision()

    def observe(self, callback: Callable[[tuple[Change, ...]], None]) -> Callable[[], None]:
        """Call back with changes, once they are seen."""
        self._observer = callback
        return self._store.observe(self._on_change)

    def _on_change(self, changes: tuple[Change, ...]) -> None:
        if self._held is not None:
            self._missed.append(changes)
        elif self._observer is not None:
            self._observer(changes)
