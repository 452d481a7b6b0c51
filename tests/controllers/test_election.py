"""Leader election in virtual time: one leads, another follows, and on no line do two act at the same time."""

import math
from random import Random
from typing import Any

import anyio
import pytest
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.coordination import Lease, LeaseSpec
from kubelib.api.errors import ServiceUnavailable
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.controllers import LeaderElection, NotLeading, Timing
from kubelib.informers import Component
from kubelib.registry.base import WHOLE_CLUSTER, Query
from kubelib.sim import Lossy
from kubelib.sim.hardship import Wrapper
from tests.controllers.conftest import Part

LEASE = Key("kube-system", "leader")


class Stubborn:
    """A component that goes on for a minute after it was told to stop."""

    name = "stubborn"

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        task_status.started()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(60)


class Late:
    """A client whose updates are carried out at once and answered after `delay`; after the first late one nothing works."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.delay = 0.0
        self.written = math.inf
        """When the last update was carried out."""
        self.broken = False

    def resource(self, kind: type[Any], /) -> Any:
        return _LateRegistry(self._client.resource(kind), self)


class _LateRegistry(Wrapper[Any]):
    def __init__(self, registry: Any, line: Late) -> None:
        super().__init__(registry)
        self._line = line

    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        if self._line.broken:
            raise ServiceUnavailable("nothing gets through")
        updated = await super().update(obj, subresource=subresource)
        self._line.written = anyio.current_time()
        self._line.broken = self._line.delay > 0
        await anyio.sleep(self._line.delay)
        return updated


class Refused:
    """A client that is refused some verbs; `verbs` may be changed meanwhile."""

    def __init__(self, client: Any, *verbs: str) -> None:
        self._client = client
        self.verbs = verbs

    def cut(self) -> None:
        """Let nothing through any more."""
        self.verbs = ("create", "get", "update", "watch")

    def resource(self, kind: type[Any], /) -> Any:
        return _RefusedRegistry(self._client.resource(kind), self)

    def check(self, verb: str) -> None:
        if verb in self.verbs:
            raise ServiceUnavailable("nothing gets through")


class _RefusedRegistry(Wrapper[Any]):
    def __init__(self, registry: Any, line: Refused) -> None:
        super().__init__(registry)
        self._line = line

    async def create(self, obj: Any) -> Any:
        self._line.check("create")
        return await super().create(obj)

    async def get(self, key: Key) -> Any:
        self._line.check("get")
        return await super().get(key)

    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        self._line.check("update")
        return await super().update(obj, subresource=subresource)

    def watch(self, query: Query = WHOLE_CLUSTER, *, since: str) -> Any:
        self._line.check("watch")
        return super().watch(query, since=since)


def election(
    world: Any, name: str, log: list[str], *, line: Any = None, part: Component | None = None
) -> LeaderElection:
    return LeaderElection(
        part or Part(name, log),
        line or world.direct,
        lease=LEASE,
        identity=name,
        clock=world.clock,
        random=Random(name),
    )


def runs(tasks: TaskGroup, contender: LeaderElection) -> anyio.CancelScope:
    """Let a contender run; return what ends it alone."""
    scope = anyio.CancelScope()

    async def run() -> None:
        with scope:
            await contender.run()

    tasks.start_soon(run)
    return scope


async def test_one_leads_and_on_a_clean_stop_the_next_follows_at_once(world: Any) -> None:
    log: list[str] = []
    one, two = election(world, "one", log), election(world, "two", log)
    async with anyio.create_task_group() as tasks:
        scope = runs(tasks, one)
        await anyio.sleep(5)
        tasks.start_soon(two.run)
        await anyio.sleep(60)
        assert log == ["+one"]
        assert (one.leader, two.leader) == (True, False)
        scope.cancel()
        await anyio.sleep(0.1)
        assert log == ["+one", "-one", "+two"]
        lease = await world.get(Lease, "leader", "kube-system")
        assert lease.spec.holder_identity == "two"
        assert lease.spec.lease_transitions == 1 == two.transitions
        tasks.cancel_scope.cancel()
    assert (await world.get(Lease, "leader", "kube-system")).spec.holder_identity == ""


class Busy:
    """A client whose answers take three seconds once it is busy, and whose last renewal lands only when its first update is asked for then."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.busy = False
        self.renewals = 1

    def resource(self, kind: type[Any], /) -> Any:
        return _BusyRegistry(self._client.resource(kind), self)


class _BusyRegistry(Wrapper[Any]):
    def __init__(self, registry: Any, line: Busy) -> None:
        super().__init__(registry)
        self._line = line

    async def get(self, key: Key) -> Any:
        await anyio.sleep(3 if self._line.busy else 0)
        return await super().get(key)

    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        if self._line.busy and self._line.renewals:
            self._line.renewals -= 1
            now = await super().get(LEASE)
            await super().update(replace(now, spec=replace(now.spec, acquire_time=now.spec.renew_time)))
        return await super().update(obj, subresource=subresource)


async def test_a_lease_is_given_back_also_over_a_busy_line_and_a_renewal_that_comes_late(world: Any) -> None:
    log: list[str] = []
    line = Busy(world.direct)
    one, two = election(world, "one", log, line=line), election(world, "two", log)
    async with anyio.create_task_group() as tasks:
        scope = runs(tasks, one)
        await anyio.sleep(5)
        tasks.start_soon(two.run)
        await anyio.sleep(1)
        line.busy = True
        scope.cancel()
        await anyio.sleep(6.5)
        assert line.renewals == 0
        assert log == ["+one", "-one", "+two"]
        tasks.cancel_scope.cancel()


async def test_who_cannot_watch_the_lease_follows_all_the_same(world: Any) -> None:
    log: list[str] = []
    one, two = election(world, "one", log), election(world, "two", log, line=Refused(world.direct, "watch"))
    async with anyio.create_task_group() as tasks:
        scope = runs(tasks, one)
        await anyio.sleep(5)
        tasks.start_soon(two.run)
        await anyio.sleep(60)
        scope.cancel()
        await anyio.sleep(6)
        assert log == ["+one", "-one", "+two"]
        tasks.cancel_scope.cancel()


async def test_who_has_heard_of_a_free_lease_and_could_not_write_tries_again_at_once(world: Any) -> None:
    log: list[str] = []
    line = Refused(world.direct)
    one, two = election(world, "one", log), election(world, "two", log, line=line)
    async with anyio.create_task_group() as tasks:
        scope = runs(tasks, one)
        await anyio.sleep(5)
        tasks.start_soon(two.run)
        await anyio.sleep(60)
        line.verbs = ("update",)
        scope.cancel()
        await anyio.sleep(0.4)
        assert log == ["+one", "-one"]
        line.verbs = ()
        await anyio.sleep(0.5)
        assert log == ["+one", "-one", "+two"]
        tasks.cancel_scope.cancel()


async def test_a_leader_renews_and_hands_over_without_reading_what_it_knows(world: Any) -> None:
    log: list[str] = []
    lines = [Refused(world.direct), Refused(world.direct)]
    one, two = (election(world, n, log, line=line) for n, line in zip(("one", "two"), lines, strict=True))
    async with anyio.create_task_group() as tasks:
        scope = runs(tasks, one)
        await anyio.sleep(1)
        tasks.start_soon(two.run)
        await anyio.sleep(1)
        lines[0].verbs = ("get",)
        await anyio.sleep(60)
        assert one.leader
        lines[1].verbs = ("get",)
        scope.cancel()
        await anyio.sleep(0.1)
        assert log == ["+one", "-one", "+two"]
        await anyio.sleep(60)
        lease = await world.get(Lease, "leader", "kube-system")
        assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("two", 1)
        tasks.cancel_scope.cancel()


async def test_a_lease_that_is_deleted_is_made_anew_at_once(world: Any) -> None:
    log: list[str] = []
    one = election(world, "one", log)
    held = Lease(
        metadata=ObjectMeta(name=LEASE.name, namespace=LEASE.namespace),
        spec=LeaseSpec(holder_identity="somebody", lease_duration_seconds=3600),
    )
    await world.create(held)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(60)
        assert log == []
        await world.direct.resource(Lease).delete(LEASE)
        await anyio.sleep(0.1)
        assert log == ["+one"]
        tasks.cancel_scope.cancel()


async def test_a_leader_that_is_cut_off_stops_before_another_starts(world: Any) -> None:
    log: list[str] = []
    line = Refused(world.direct)
    one, two = election(world, "one", log, line=line), election(world, "two", log)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(5)
        tasks.start_soon(two.run)
        await anyio.sleep(10)
        line.cut()
        stopped = 0.0
        for _ in range(600):
            await anyio.sleep(0.1)
            if not stopped and "-one" in log:
                stopped = anyio.current_time()
                assert "+two" not in log
        assert stopped
        assert log == ["+one", "-one", "+two"]
        tasks.cancel_scope.cancel()


@pytest.mark.seeds(20)
async def test_on_any_line_there_are_never_two_leaders(world: Any, anyio_backend: Any) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]
    log: list[str] = []
    parts = [
        election(world, str(n), log, line=Lossy(world.direct, Random(seed * 10 + n), rate=0.6, latency=1.0))
        for n in range(3)
    ]
    led = 0
    async with anyio.create_task_group() as tasks:
        for part in parts:
            tasks.start_soon(part.run)
        for _ in range(6000):
            await anyio.sleep(0.2)
            running = [part for part in parts if part._component.running]  # type: ignore[attr-defined]
            assert len(running) <= 1
            led += len(running)
        tasks.cancel_scope.cancel()
    assert led > 600


async def test_a_leader_that_does_not_stop_in_time_cannot_write_when_another_leads(world: Any) -> None:
    log: list[str] = []
    line = Refused(world.direct)
    one, two = election(world, "one", log, line=line, part=Stubborn()), election(world, "two", log)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(5)
        one.fence.check()
        with pytest.raises(NotLeading):
            two.fence.check()
        tasks.start_soon(two.run)
        line.cut()
        with anyio.fail_after(60):
            while not two.leader:
                await anyio.sleep(0.1)
        assert one.leader, "its component still runs"
        with pytest.raises(NotLeading, match="does not lead any more"):
            one.fence.check()
        two.fence.check()
        tasks.cancel_scope.cancel()
    assert one.fence.refused == 1
    with pytest.raises(NotLeading):
        two.fence.check()


async def test_a_lease_is_good_from_when_it_was_asked_for_and_not_from_when_the_answer_came(
    world: Any,
) -> None:
    log: list[str] = []
    slow = Late(world.direct)
    one, two = election(world, "one", log, line=slow), election(world, "two", log)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(5)
        tasks.start_soon(two.run)
        await anyio.sleep(5)
        slow.delay = 8.0  # others see the lease renewed at once; its holder hears of that eight seconds later, and then nothing
        with anyio.fail_after(60):
            while not two.leader:
                assert one.fence.until <= slow.written + 10
                await anyio.sleep(0.05)
        with pytest.raises(NotLeading):
            one.fence.check()
        tasks.cancel_scope.cancel()
    assert log[:3] == ["+one", "-one", "+two"]


@pytest.mark.parametrize(("lease", "renew"), [(10, 15), (10.5, 10.2)])
def test_timings_that_could_let_two_lead_are_refused(lease: float, renew: float) -> None:
    with pytest.raises(ValueError, match="retry"):
        Timing(lease=lease, renew=renew)
