"""Plug-ins that do not come back, or fail: the scheduler lives, and the Pod names them."""

import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import attrs
import pytest

from kubelib.api.meta import Key
from kubelib.sched.architectures import Architecture, assemble
from kubelib.sched.base import Policy
from kubelib.sched.budgets import Budgets
from kubelib.sched.cycle import Cycle
from kubelib.sched.guarding import Alarm, BadPlugin, TookTooLong
from kubelib.sched.nodes import NodeInfo, NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import FILTERS, Best, per_node
from kubelib.sched.preemption import Preemption
from kubelib.testing.objects import make_node, make_pod
from tests.sched.conftest import containers

LIMIT = 0.5


def spin() -> None:
    while True:
        pass


def spin_on() -> None:
    while True:
        try:
            spin()
        except Exception:
            continue


def backtrack() -> None:
    re.match(r"(a|aa)+$", "a" * 200 + "b")


def look_at_labels(nodes: NodeTable) -> None:
    number = 0
    while True:
        number += 1
        nodes.label(f"l{number % 7}")


class Does:
    """A filter and a score that does something first, for Pods with a label."""

    name = "Endless"

    def __init__(self, what: Callable[[NodeTable], object]) -> None:
        self._what = what
        self.asked = 0

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Any) -> bool:
        if "bad" in pod.labels:
            self.asked += 1
            self._what(nodes)
        return True

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Any) -> float:
        return float(self.fits(pod, nodes, rows))

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> tuple[str, ...]:
        return ("no",)

    def choose(self, fits: Any, scores: Any, random: Random) -> int:
        self._what(NodeTable())
        return 0


def table(count: int = 3) -> NodeTable:
    found = NodeTable()
    for number in range(count):
        found.put_node(make_node(f"n{number}", allocatable={"cpu": "4", "memory": "8Gi", "pods": "10"}))
    return found


BAD = PodInfo.of(make_pod("bad", labels={"bad": ""}, uid="bad"))
GOOD = PodInfo.of(make_pod("good", uid="good"))


def policy(plugin: Any, place: str = "filter", limit: float = LIMIT) -> Policy:
    return Policy(
        filters=(*FILTERS, plugin) if place == "filter" else FILTERS,
        scores=((plugin, 1.0),) if place == "score" else (),
        choose=plugin if place == "chooser" else Best(),
        watch=Alarm(limit),
    )


@pytest.mark.parametrize("place", ["filter", "score", "chooser"])
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(lambda nodes: spin(), id="it spins"),
        pytest.param(lambda nodes: spin_on(), id="it catches every exception"),
        pytest.param(lambda nodes: time.sleep(3600), id="it sleeps"),
        pytest.param(lambda nodes: threading.Event().wait(), id="it waits"),
        pytest.param(lambda nodes: backtrack(), id="its expression explodes"),
    ],
)
def test_a_plugin_that_does_not_come_back_is_stopped_and_named(what: Any, place: str) -> None:
    cycle = Cycle(table(), policy(Does(what), place), Random(1))
    with pytest.raises(TookTooLong, match=f"^the {place} (Endless) took longer than 0.5 seconds$"):
        cycle.decide(BAD)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    if place != "chooser":
        assert cycle.decide(GOOD).node


def test_what_the_table_was_doing_for_the_plugin_is_finished_first() -> None:
    """A label's column that was half made would hide nodes from then on."""
    nodes = table(400)
    cycle = Cycle(nodes, policy(Does(look_at_labels)), Random(1))
    with pytest.raises(TookTooLong):
        cycle.decide(BAD)
    for number in range(7):
        assert len(nodes.label(f"l{number}").codes) == nodes.size


def test_all_calls_of_one_decision_have_one_limit() -> None:
    def dawdle(pod: PodInfo, node: NodeInfo) -> bool:
        time.sleep(0.05)
        return True

    slow = per_node(dawdle, name="Slow")
    cycle = Cycle(table(200), policy(slow), Random(1))
    with pytest.raises(TookTooLong, match="the filter Slow"):
        cycle.decide(GOOD)
    twice = [Does(lambda nodes: time.sleep(0.5)) for _ in range(2)]
    both = attrs.evolve(policy(twice[0], limit=0.8), filters=(*FILTERS, *twice))
    with pytest.raises(TookTooLong):
        Cycle(table(1), both, Random(1)).decide(BAD)


def test_its_like_is_refused_for_a_while_without_asking_again() -> None:
    plugin = Does(lambda nodes: spin())
    cycle = Cycle(table(), policy(plugin), Random(1))
    for name in ("a", "b", "c"):
        pod = PodInfo.of(make_pod(name, labels={"bad": ""}, uid=name))
        with pytest.raises(TookTooLong, match="the filter Endless took longer"):
            cycle.decide(pod)
    assert plugin.asked == 1
    assert cycle.decide(GOOD).node


def test_a_search_for_victims_is_limited_too() -> None:
    nodes = table(1)
    nodes.put_pod(PodInfo.of(make_pod("there", uid="there", containers=containers(cpu="4"))), "n0")
    urgent = PodInfo.of(
        make_pod("u", uid="u", priority=9, labels={"bad": ""}, containers=containers(cpu="4"))
    )

    def endless_when_empty(nodes: NodeTable) -> None:
        if nodes.left["cpu"][0]:
            spin()

    cycle = Cycle(nodes, policy(Does(endless_when_empty)), Random(1))
    assert not cycle.decide(urgent).node
    preemption = Preemption(cycle, Budgets(), started=lambda pod: 0.0, random=Random(1))
    with pytest.raises(TookTooLong, match="the filter Endless"):
        preemption.plan(urgent)
    assert nodes.left["cpu"][0] == 0, "what was moved on trial is back"


def test_other_timers_of_the_process_go_on() -> None:
    rang = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 3600)
        Cycle(table(), policy(Does(lambda nodes: None)), Random(1)).decide(BAD)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 3000
        signal.raise_signal(signal.SIGALRM)
        assert rang == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_threads_other_than_the_main_one_are_not_limited() -> None:
    found = []

    def decide() -> None:
        slow = Does(lambda nodes: time.sleep(3 * LIMIT))
        found.append(Cycle(table(1), policy(slow), Random(1)).decide(BAD).node)

    thread = threading.Thread(target=decide)
    thread.start()
    thread.join()
    assert found == ["n0"]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        pytest.param(lambda nodes: 1 / 0, "ZeroDivisionError: division by zero", id="an exception"),
        pytest.param(lambda nodes: sys.exit("enough"), "SystemExit: enough", id="it leaves"),
        pytest.param(lambda nodes: nodes.names[99], "IndexError: list index out of range", id="a mistake"),
    ],
)
@pytest.mark.parametrize("watched", [False, True])
def test_a_plugin_that_raises_is_named(what: Any, why: str, watched: bool) -> None:
    chosen = policy(Does(what))
    cycle = Cycle(table(), chosen if watched else attrs.evolve(chosen, watch=None), Random(1))
    with pytest.raises(BadPlugin, match=f"^the filter Endless raised {why}$"):
        cycle.decide(BAD)


def test_a_plugin_that_recurses_for_ever_is_named() -> None:
    def down(nodes: NodeTable) -> None:
        down(nodes)

    with pytest.raises(BadPlugin, match="the filter Endless raised RecursionError"):
        Cycle(table(), policy(Does(down)), Random(1)).decide(BAD)


@pytest.mark.parametrize("sharing", ["monolithic", "two-level"])
async def test_the_scheduler_lives_and_the_pod_says_whose_fault_it_is(world: Any, sharing: str) -> None:
    plugin = Does(lambda nodes: spin())
    await world.add_nodes(2)
    usual = Policy(filters=(*FILTERS, plugin), choose=Best())
    assembly = assemble(
        Architecture(sharing=sharing, policy=lambda: usual, watch=Alarm(LIMIT)),  # type: ignore[arg-type]
        world.client,
        random=Random(1),
        clock=world.clock,
        recorder=world.recorder.source("default-scheduler"),
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.recorder.run)
        for component in assembly.components:
            await tasks.start(component.run)
        await world.add_pod("bad", labels={"bad": ""})
        for number in range(5):
            await world.add_pod(f"good-{number}", containers=containers(cpu="100m"))
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()
    placed = await world.placed()
    assert not placed.pop("bad")
    assert all(placed.values())
    why = "TookTooLong: the filter Endless took longer than 0.5 seconds"
    assert await world.refusal("bad") == ("SchedulerError", why)
    assert ("FailedScheduling", why) in await world.events()
    assert (await world.pods.get(Key("default", "bad"))).status.phase == "Pending"
