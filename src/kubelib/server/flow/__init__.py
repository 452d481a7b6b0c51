"""API priority and fairness: which requests are served when there are more than the server can serve at once.

A request belongs to the first flow schema that matches it, which names a priority level; the level has seats, and requests that find
none wait in queues or are refused. The objects, the reasons and the figures are those of Kubernetes' ``flowcontrol.apiserver.k8s.io``.
On a server that has seats to spare a request costs a look into a table, and two additions.
"""

from collections.abc import Mapping

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.flowcontrol import FlowSchema, PriorityLevelConfiguration
from kubelib.api.mandatoryflows import FLOW_SCHEMAS
from kubelib.api.scheme import UnknownKind
from kubelib.api.times import format_time
from kubelib.registry.base import User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.flow.base import DEFAULT_CONCURRENCY, OBJECTS_PER_SEAT, QUEUE_WAIT, Gone
from kubelib.server.flow.defaults import ensure_flow_objects, show_dangling
from kubelib.server.flow.matching import Schema, in_order, schema_of
from kubelib.server.flow.queues import Level, LevelSettings, Pool, Queue, Waiting, deal, hash_of
from kubelib.server.flow.tallies import Tally
from kubelib.server.requestinfo import RequestInfo
from kubelib.server.responses import Headers

REMEMBERED = 50_000
RETRY = 5.0
"""Seconds until the built-in objects are looked at again after a change."""


@attrs.frozen(eq=False)
class Flow:
    """Where requests like one belong."""

    schema: Schema
    level: Level
    name: str
    hand: tuple[int, ...]
    headers: Headers
    """What the answer says about it."""
    tally: Tally


@attrs.define(eq=False)
class Seat:
    """What a request holds while it is served. Given back once, however often it is said."""

    flow: Flow
    width: int
    waited: tuple[Queue, Waiting] | None = None
    since: float = 0.0
    """When what it is for has begun, by the event loop's clock."""
    _held: bool = True

    @property
    def owner(self) -> tuple[str, str]:
        """Whose it is; see `kubelib.server.flow.queues.Lagging`."""
        return self.flow.schema.name, self.flow.name

    def lags(self, does_so: bool) -> None:  # it is called by who does not know what it is
        """Note that the client does not read, or reads again: a seat is for the server's work, and not for waiting."""
        level = self.flow.level
        if not does_so:
            level.reads(self)
        elif self._held and not level.exempt:
            level.lags(self)

    def served(self, now: float, *, watching: bool = False) -> None:
        """Note that what it is for is done, or that a watch has begun."""
        tally = self.flow.tally
        if watching:
            tally.watches.add(now - self.since)
        else:
            tally.executed(now - self.since)

    def give_back(self) -> None:
        """Let others have it."""
        if self._held:
            self._held = False
            level = self.flow.level
            level.reads(self)
            tally = self.flow.tally
            tally.executing -= 1
            tally.seats -= self.width
            level.give(self.width, self.waited)


def settings_of(level: PriorityLevelConfiguration) -> LevelSettings:
    """Return the settings of a priority level."""
    name, uid, spec = level.metadata.name, level.metadata.uid, level.spec
    if spec.type == "Exempt" or spec.limited is None:
        exempt = spec.exempt
        return LevelSettings(
            name=name,
            uid=uid,
            exempt=True,
            shares=(exempt.nominal_concurrency_shares or 0) if exempt is not None else 0,
            lendable_percent=(exempt.lendable_percent or 0) if exempt is not None else 0,
        )
    limited = spec.limited
    queuing = limited.limit_response.queuing
    shares = limited.nominal_concurrency_shares
    return LevelSettings(
        name=name,
        uid=uid,
        shares=30 if shares is None else shares,
        lendable_percent=limited.lendable_percent or 0,
        borrowing_percent=limited.borrowing_limit_percent,
        queues=queuing.queues if queuing is not None else 0,
        hand=queuing.hand_size if queuing is not None else 0,
        queue_length=queuing.queue_length_limit if queuing is not None else 0,
    )


class FlowControl:
    """Counts requests, and makes some of them wait. A `kubelib.informers.Component` while it runs: it keeps its objects."""

    name = "api-priority-and-fairness"

    def __init__(self, registries: ResourceRegistries, *, concurrency: int = DEFAULT_CONCURRENCY) -> None:
        self._registries = registries
        self._schemas_cache = registries.cache_of(FlowSchema)
        self._levels_cache = registries.cache_of(PriorityLevelConfiguration)
        self.concurrency = concurrency
        self.pool = Pool()
        self.levels: dict[str, Level] = {}
        self.schemas: tuple[Schema, ...] = ()
        self._flows: dict[tuple[User, object], Flow] = {}
        self._made: dict[tuple[str, str], Flow] = {}
        """By schema and what tells its flows apart: many requests share one."""
        self._stale = True
        self._changed = anyio.Event()
        for cache in (self._schemas_cache, self._levels_cache):
            cache.on_change(self._note)

    def _note(self) -> None:
        self._stale = True
        self._changed.set()

    def _configure(self) -> None:
        self._stale = False
        self._flows.clear()
        self._made.clear()
        wanted = {
            document.meta.name: settings_of(document.view(PriorityLevelConfiguration))
            for document in self._levels_cache.all()
        }
        for name in FLOW_SCHEMAS:
            wanted.setdefault(name, LevelSettings(name=name, exempt=name == "exempt", shares=5))
        for name in [name for name in self.levels if name not in wanted]:
            if not self.levels[name].executing and not self.levels[name].in_queue:
                del self.levels[name]
            # One that is still in use goes later: the next change finds it idle.
        for name, settings in wanted.items():
            level = self.levels.get(name)
            if level is None or level.exempt != settings.exempt:
                self.levels[name] = Level(settings, self.pool, anyio.current_time)
            else:
                level.reconfigure(settings)
        self.pool.configure([level for level in self.levels.values() if not level.exempt], self.concurrency)
        schemas = [schema_of(document.view(FlowSchema)) for document in self._schemas_cache.all()]
        self.schemas = in_order(schema for schema in schemas if schema.level in wanted)
        if self.pool.waiting:
            self.pool.freed()

    def flow(self, user: User, info: RequestInfo) -> Flow:
        """Return where a request belongs."""
        if self._stale:
            self._configure()
        key = (user, info.kind)  # no rule names objects
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= REMEMBERED:
                self._flows.clear()
                self._made.clear()
            flow = self._flows[key] = self._classify(user, info)
        return flow

    def _classify(self, user: User, info: RequestInfo) -> Flow:
        for schema in self.schemas:
            if schema.matches(user, info):
                break
        else:
            schema = Schema("catch-all", "", 10_000, "catch-all", "ByUser", ())
        level, name = self.levels[schema.level], schema.flow(user, info)
        made = self._made.get((schema.name, name))
        if made is not None:
            return made
        settings = level.settings
        hand = deal(hash_of(schema.name, name), settings.queues, settings.hand) if settings.queues else ()
        headers = [
            (b"x-kubernetes-pf-flowschema-uid", schema.uid.encode()),
            (b"x-kubernetes-pf-prioritylevel-uid", settings.uid.encode()),
        ]
        flow = self._made[schema.name, name] = Flow(
            schema, level, name, hand, headers, level.tally(schema.name)
        )
        return flow

    def width(self, flow: Flow, info: RequestInfo, query: Mapping[str, str]) -> int:
        """Return how many seats a list takes: one for a hundred objects that it may touch."""
        if info.name or flow.level.exempt:
            return 1
        try:
            registry = self._registries.of(
                self._registries.scheme.path(info.group, info.version, info.resource)
            )
        except UnknownKind:
            return 1
        cache = registry.cache
        count = len(cache.within(info.namespace)) if info.namespace else len(cache)
        limit = query.get("limit", "")
        if limit.isdecimal() and query.get("resourceVersion") != "0" and 0 < (most := int(limit[:9])) < count:
            count = most
        return max(1, min(flow.level.widest, -(-count // OBJECTS_PER_SEAT)))

    def seated(self, flow: Flow, width: int, waited: tuple[Queue, Waiting] | None = None) -> Seat:
        """Return what a request holds whose seats were taken."""
        tally = flow.tally
        tally.dispatched += 1
        tally.executing += 1
        tally.seats += width
        return Seat(flow, width, waited)

    async def wait(
        self, flow: Flow, width: int = 1, gone: Gone | None = None, *, patience: float = QUEUE_WAIT
    ) -> Seat:
        """Take seats for a request that did not find them free, within `patience` seconds. Raises TooManyRequests."""
        waited = await flow.level.wait(width, flow.schema.name, flow.name, flow.hand, gone, patience=patience)
        return self.seated(flow, width, waited)

    def refresh(self) -> None:
        """Take in what has changed, for those who look at levels and schemas."""
        if self._stale:
            self._configure()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep the built-in objects and the status of all, until cancelled."""
        await ensure_flow_objects(self._registries)
        task_status.started()
        while True:
            self._changed = anyio.Event()
            await ensure_flow_objects(self._registries)
            await show_dangling(self._registries, format_time(self._registries.clock.now()))
            await self._changed.wait()
            await anyio.sleep(RETRY)
