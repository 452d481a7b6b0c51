from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.event import Event
from kubelib.api.errors import NotFound, ServiceUnavailable
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.controllers import (
    After,
    Controller,
    EventRecorder,
    Expectations,
    Manager,
    Terminal,
    itself,
)
from kubelib.controllers.parallel import for_each, slow_start
from kubelib.sim import Lossy
from kubelib.testing.objects import make_config_map
from tests.controllers.conftest import Part

# Manager


async def test_components_start_in_order_and_stop_one_by_one_in_reverse() -> None:
    log: list[str] = []
    parts = [Part("a", log, slow=2), Part("b", log, slow=1), Part("c", log)]
    async with anyio.create_task_group() as tasks:
        await tasks.start(Manager(parts).run)
        assert log == ["+a", "+b", "+c"]
        tasks.cancel_scope.cancel()
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_when_a_component_fails_the_others_stop_and_the_error_is_raised() -> None:
    log: list[str] = []
    with pytest.raises(ExceptionGroup) as raised:
        await Manager([Part("a", log), Part("b", log, dies_after=5), Part("c", log)]).run()
    assert raised.group_contains(ServiceUnavailable, match="b died")
    assert log == ["+a", "+b", "+c", "-b", "-c", "-a"]


async def test_a_stop_during_the_start_stops_what_has_started() -> None:
    log: list[str] = []
    with anyio.move_on_after(5):
        await Manager([Part("a", log), Part("b", log, slow=100)]).run()
    assert log == ["+a", "-a"]


# Controller


class Script:
    """A reconciler that does what it is told for each key."""

    def __init__(self, **outcomes: list[Any]) -> None:
        self.calls: list[tuple[float, str]] = []
        self._outcomes = outcomes

    async def reconcile(self, key: Key) -> After | None:
        self.calls.append((anyio.current_time(), key.name))
        outcomes = self._outcomes.get(key.name, [])
        outcome = outcomes.pop(0) if outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def times(self, name: str) -> list[float]:
        first = next(at for at, called in self.calls if called == name)
        return [round(at - first, 3) for at, called in self.calls if called == name]


async def test_failures_are_retried_with_growing_delays_and_after_means_later(world: Any) -> None:
    script = Script(fails=[ServiceUnavailable("no")] * 3, again=[After(60.0)], breaks=[ZeroDivisionError()])
    controller = Controller("test", script, [(world.informers.of(ConfigMap), itself)])
    async with world.running(controller):
        for name in ("fails", "again", "breaks"):
            await world.create(make_config_map(name))
        await world.settled(300)
    assert script.times("fails") == pytest.approx([0, 0.005, 0.015, 0.035], abs=0.002)
    assert script.times("again") == pytest.approx([0, 60])
    assert len(script.times("breaks")) == 2
    assert controller.counters.failed == 4


async def test_what_cannot_succeed_is_reported_once_and_left_until_it_changes(world: Any) -> None:
    script = Script(bad=[Terminal("the colour is not one")])
    informer = world.informers.of(ConfigMap)
    controller = Controller("test", script, [(informer, itself)], recorder=world.recorder.source("test"))
    async with world.running(controller):
        await world.create(make_config_map("bad"))
        await world.settled(3600 - 10)
        assert len(script.times("bad")) == 1
        assert await world.events() == [("ReconcileFailed", "the colour is not one")]
        await world.change(ConfigMap, "bad", lambda c: replace(c, data={"colour": "red"}))
        await world.settled(1)
        assert len(script.times("bad")) == 2


async def test_one_key_is_never_reconciled_twice_at_once(world: Any) -> None:
    class Overlapping:
        here = 0

        async def reconcile(self, key: Key) -> None:
            self.here += 1
            assert self.here == 1
            await anyio.sleep(0.5)
            self.here -= 1

    reconciler = Overlapping()
    controller = Controller("test", reconciler, [(world.informers.of(ConfigMap), itself)], workers=4)
    async with world.running(controller):
        await world.create(make_config_map("a"))
        for n in range(10):
            await world.change(ConfigMap, "a", lambda c, n=n: replace(c, data={"n": str(n)}))
            await world.settled(0.2)
        await world.settled(5)
    assert controller.counters.failed == 0
    assert controller.counters.reconciled >= 4


# Events


async def test_equal_reports_are_one_event_with_a_count(world: Any) -> None:
    recorder = world.recorder.source("test")
    about = await world.create(make_config_map("a"))
    async with world.running():
        for _ in range(5):
            recorder.warning(about, "Odd", "this is odd")
            await world.settled(2)
        (event,) = await world.all(Event)
        assert (event.count, event.type, event.reason, event.message) == (5, "Warning", "Odd", "this is odd")
        assert event.source.component == event.reporting_component == "test"
        assert event.involved_object.uid == about.metadata.uid
        assert event.last_timestamp > event.first_timestamp


async def test_similar_reports_are_combined_and_floods_are_cut_off(world: Any) -> None:
    recorder = world.recorder.source("test")
    about = await world.create(make_config_map("a"))
    async with world.running():
        for n in range(40):
            recorder.normal(about, "Made", f"made number {n}")
        await world.settled(5)
        events = await world.all(Event)
        combined = [e for e in events if e.message.startswith("(combined from similar events): made number ")]
        assert len(events) == 10
        assert len(combined) == 1
        assert sum(e.count for e in events) == 25  # the burst that one object is allowed


async def test_reports_about_a_namespace_that_is_gone_are_dropped(world: Any) -> None:
    recorder = world.recorder.source("test")
    recorder.normal(make_config_map("a", "nowhere"), "Odd", "lost")
    recorder.normal(make_config_map("a"), "Odd", "kept")
    async with world.running():
        await world.settled(300)
        assert await world.events() == [("Odd", "kept")]


async def test_reports_survive_a_bad_line(world: Any) -> None:
    line = Lossy(world.direct, Random(3), rate=0.5)
    recorder = EventRecorder(line, clock=world.clock, random=Random(1))
    async with world.running(recorder):
        recorder.source("test").normal(make_config_map("a"), "Odd", "kept")
        await world.settled(200)
        assert ("Odd", "kept") in await world.events()


# Smaller parts


async def test_slow_start_doubles_and_stops_at_the_first_trouble() -> None:
    done: list[int] = []

    async def act(n: int) -> None:
        if n == 5:
            raise NotFound("five")
        done.append(n)

    errors = await slow_start(range(100), act)
    assert [str(error) for error in errors] == ["five"]
    assert done == [0, 1, 2, 3, 4, 6]
    done.clear()
    assert len(await for_each(range(10), act)) == 1
    assert sorted(done) == [0, 1, 2, 3, 4, 6, 7, 8, 9]


async def test_expectations_wait_for_the_cache_but_not_for_ever(world: Any) -> None:
    informer = world.informers.of(ConfigMap)
    expectations, key = Expectations(informer.cache), Key("default", "owner")
    made = await world.create(make_config_map("a"))
    expectations.created(key, made)
    assert not expectations.satisfied(key)
    async with world.running():
        await world.settled(1)
        assert expectations.satisfied(key)
        expectations.deleted(key, made)
        assert not expectations.satisfied(key)
        await world.delete(ConfigMap, "a")
        await world.settled(1)
        assert expectations.satisfied(key)
        expectations.created(key, replace(made, metadata=replace(made.metadata, resource_version="999999")))
        assert not expectations.satisfied(key)
        await world.settled(301)
        assert expectations.satisfied(key)
