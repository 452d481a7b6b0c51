"""Leader election: of several daemons that could, one runs a component at a time, and a Lease says which."""

import contextlib
import logging
import math
from random import Random

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.coordination import Lease, LeaseSpec
from kubelib.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.api.times import format_micro_time
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.controllers.events import Recorder
from kubelib.informers import Component
from kubelib.labels import parse_field_selector
from kubelib.registry.base import Query

JITTER = 1.2
SOON = 0.05
"""Seconds before what has just failed is tried again, by somebody whom others wait for."""
log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Timing:
    """How leadership is kept and lost, in seconds: `retry` < `renew` < `lease`."""

    lease: float = 15.0
    """How long a leader that is not heard of is still respected by the others."""
    renew: float = 10.0
    """How long a leader that cannot renew goes on: it stops well before anybody else may start."""
    retry: float = 2.0
    """How often it is tried to become leader or to renew."""

    def __attrs_post_init__(self) -> None:
        # The others are told whole seconds.
        if not self.retry * JITTER < self.renew < int(self.lease):
            raise ValueError("an election needs retry * 1.2 < renew < lease, the lease in whole seconds")


class NotLeading(ApiError):
    """A leader's write that was not sent, because by then another may have been leading."""

    code = 503
    reason = "ServiceUnavailable"


class Fence:
    """Until when a leader may act, by its own clock. Its component writes through a client that asks `check`.

    To stop the component in time is not enough: a process that was stopped itself, or had no processor for long, finds writes that
    are ready to go out when it continues, before its timers tell it that its time is over.
    """

    def __init__(self) -> None:
        self.until = -math.inf
        """The loop's time from which on nothing is written."""
        self.refused = 0
        """How many writes were held back."""

    def check(self) -> None:
        """Let a write go out. Raises NotLeading when the time is over."""
        late = anyio.current_time() - self.until
        if late >= 0:
            self.refused += 1
            raise NotLeading("this process does not lead any more: what it was about to write was not sent")

    def close(self) -> None:
        """Let nothing out from now on."""
        self.until = min(self.until, anyio.current_time())


class LeaderElection:
    """Runs a component while this daemon is the leader. A `Component`; started means: taking part.

    The component is stopped, at the latest, when the lease could not be renewed for `renew` seconds, before the others may take
    over; and from that moment on `fence` lets no write of it out, even if it could not be stopped in time. On a clean stop the lease
    is released, and another leader follows at once: who waits watches the lease, and tries every `retry` seconds or so besides.
    """

    def __init__(
        self,
        component: Component,
        client: Client,
        *,
        lease: Key,
        identity: str,
        clock: Clock,
        random: Random,
        timing: Timing = Timing(),
        recorder: Recorder | None = None,
        fence: Fence | None = None,
    ) -> None:
        self.name = f"{component.name}, if leader"
        self.leader = False
        self.identity = identity
        self.lease = lease.name
        self.transitions = 0
        """The lease's count of leaders when this one was elected: a number that only grows, for fencing writes."""
        self.fence = fence or Fence()
        """Open while this one leads; it goes to the client of the component."""
        self._component = component
        self._leases = client.resource(Lease)
        self._key = lease
        self._clock = clock
        self._random = random
        self._timing = timing
        self._recorder = recorder
        # Whether the holder is alive is judged by our own clock: since when have we seen the record unchanged?
        self._observed: LeaseSpec | None = None
        self._observed_at = 0.0
        self._version = ""
        """The lease's resource version when it was last seen: from where it is watched."""
        self._known: Lease | None = None
        """The lease as it was last seen, where that is likely to be how it is: held by this one, or by nobody."""
        self._freed = anyio.Event()
        """Set when the lease has lost its holder."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled."""
        task_status.started()
        while True:
            try:
                await self._acquire()
                await self._lead()
            finally:
                if self.leader:
                    self._stopped()
                    # The one write on the way out: whoever waits can start now and not in fifteen seconds.
                    with anyio.move_on_after(self._timing.renew, shield=True):
                        await self._release()

    async def _acquire(self) -> None:
        if await self._renewed():
            self._started()
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            pause = SOON
            while not self.leader:
                with anyio.move_on_after(self._timing.retry * (1 + JITTER * self._random.random())):
                    await self._freed.wait()
                freed, self._freed = self._freed, anyio.Event()
                if await self._renewed():
                    self._started()
                elif self._failed and freed.is_set():  # nobody may have the lease: it is not left for long
                    self._freed.set()
                    await anyio.sleep(min(pause, self._timing.retry))
                    pause *= 2
            tasks.cancel_scope.cancel()

    def _started(self) -> None:
        self.leader = True
        log.info("%s became leader of %s", self.identity, self._key)
        self._tell("became leader")

    async def _listen(self) -> None:
        """Tell when the lease loses its holder. What this does not hear of, the next attempt finds."""
        name = parse_field_selector(f"metadata.name={self._key.name}")
        delay = min(SOON, self._timing.retry)
        while True:
            try:
                async with self._leases.watch(
                    Query(self._key.namespace, fields=name), since=self._version
                ) as events:
                    async for event in events:
                        delay = SOON
                        self._version = event.object.metadata.resource_version
                        if event.type == "BOOKMARK":
                            continue
                        gone = event.type == "DELETED"
                        if gone or not event.object.spec.holder_identity:
                            self._known = None if gone else event.object
                            self._freed.set()
            except (ApiError, OSError) as error:
                log.debug("%s cannot watch %s: %s", self.identity, self._key, error)
            await anyio.sleep(delay)
            delay = min(delay * 2, self._timing.retry)

    async def _renewed(self) -> bool:
        """Become leader, or stay it, from the moment at which that was asked for: the others may have seen the lease as early."""
        asked = anyio.current_time()
        if not await self._try() or anyio.current_time() >= asked + self._timing.renew:
            return False
        self.fence.until = asked + self._timing.renew
        return True

    async def _lead(self) -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._host)
            await self._renew_until_lost()
            self.fence.close()
            tasks.cancel_scope.cancel()
        self._stopped()

    def _stopped(self) -> None:
        self.fence.close()
        self.leader = False
        over, refused = anyio.current_time() - self.fence.until, self.fence.refused
        log.info(
            "%s stopped leading %s: its time ended %.3f s ago, and %d writes were held back",
            *(self.identity, self._key, over, refused),
        )
        self._tell("stopped leading")

    async def _host(self, *, task_status: TaskStatus[None]) -> None:
        # The component may take long to start; renewing must not wait for it.
        task_status.started()
        await self._component.run()

    async def _renew_until_lost(self) -> None:
        while True:
            deadline = self.fence.until
            await anyio.sleep(min(self._timing.retry, max(0.0, deadline - anyio.current_time())))
            with anyio.CancelScope(deadline=deadline):
                # A process that was stopped wakes up late: then nothing is asked any more.
                if anyio.current_time() < deadline and await self._renewed():
                    continue
                if self._observed is not None and self._observed.holder_identity != self.identity:
                    log.warning("%s lost %s to %s", self.identity, self._key, self._observed.holder_identity)
                    return
            if anyio.current_time() >= deadline:
                log.warning("%s could not renew %s in time", self.identity, self._key)
                return

    async def _try(self) -> bool:
        """Become leader, or stay it; return whether that worked."""
        self._failed = False
        try:
            # A read beforehand would only find what has just been told: whoever was quicker makes the write fail.
            known = self._known
            if known is not None:
                with contextlib.suppress(NotFound):
                    if await self._take(known):
                        return True
            return await self._try_once()
        except (ApiError, OSError) as error:
            log.debug("%s: %s: %s", self.identity, self._key, error)
            self._failed = True
            return False

    _failed = False
    """Whether the last attempt came to nothing without anybody else having the lease."""

    def _mine(self) -> LeaseSpec:
        now = format_micro_time(self._clock.now())
        return LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=int(self._timing.lease),
            acquire_time=now,
            renew_time=now,
            lease_transitions=0,
        )

    async def _try_once(self) -> bool:
        try:
            lease = await self._leases.get(self._key)
        except NotFound:
            meta = ObjectMeta(name=self._key.name, namespace=self._key.namespace)
            try:
                created = await self._leases.create(Lease(metadata=meta, spec=self._mine()))
            except AlreadyExists:
                return False
            self._observe(created)
            return True
        held, self._version = lease.spec, lease.metadata.resource_version
        if held != self._observed:
            self._observe(lease)
        duration = held.lease_duration_seconds or self._timing.lease
        alive = anyio.current_time() < self._observed_at + duration
        if held.holder_identity and held.holder_identity != self.identity and alive:
            return False
        return await self._take(lease)

    async def _take(self, lease: Lease) -> bool:
        """Write this one's name into a lease; return whether nobody else was quicker. Raises `NotFound`."""
        held, mine = lease.spec, self._mine()
        if held.holder_identity == self.identity:
            mine = replace(mine, acquire_time=held.acquire_time, lease_transitions=held.lease_transitions)
        else:
            mine = replace(mine, lease_transitions=(held.lease_transitions or 0) + 1)
        try:
            updated = await self._leases.update(replace(lease, spec=mine))
        except Conflict:
            self._known = None
            return False  # somebody was quicker; who, the next attempt will see
        self._observe(updated)
        return True

    def _observe(self, lease: Lease) -> None:
        self._observed = spec = lease.spec
        self._observed_at = anyio.current_time()
        self._version = lease.metadata.resource_version
        self._known = lease if spec.holder_identity == self.identity else None
        if spec.holder_identity == self.identity:
            self.transitions = spec.lease_transitions or 0

    async def _release(self) -> None:
        try:
            lease = self._known or await self._leases.get(self._key)
            while lease.spec.holder_identity == self.identity:
                free = replace(lease.spec, holder_identity="", lease_duration_seconds=1)
                try:
                    await self._leases.update(replace(lease, spec=free))
                    return
                except Conflict:  # a renewal was on its way and has landed since
                    lease = await self._leases.get(self._key)
        except (ApiError, OSError) as error:
            log.debug("%s could not release %s: %s", self.identity, self._key, error)

    def _tell(self, what: str) -> None:
        if self._recorder is not None:
            lease = Lease(metadata=ObjectMeta(name=self._key.name, namespace=self._key.namespace))
            self._recorder.normal(lease, "LeaderElection", f"{self.identity} {what}")
