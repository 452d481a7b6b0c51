import anyio
import pytest

from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.meta import ObjectMeta
from kubelib.sched.pods import PodInfo
from kubelib.sched.queue import MOST_PLACED, SchedulingQueue


def pod(name: str, *, priority: int = 0, uid: str = "", **labels: str) -> PodInfo:
    meta = ObjectMeta(name=name, namespace="default", uid=uid or name, labels=labels)
    return PodInfo.of(Pod(metadata=meta, spec=PodSpec(priority=priority)))


async def names(queue: SchedulingQueue, most: int = 10) -> list[str]:
    return [info.key.name for info in await queue.take(most)]


async def test_pods_come_by_priority_then_by_arrival() -> None:
    queue = SchedulingQueue()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        queue.add(pod(name, priority=priority))
    assert await names(queue, 3) == ["b", "d", "a"]
    assert await names(queue) == ["c"]


async def test_a_pod_that_is_changed_while_it_waits_is_taken_once_and_as_it_is_now() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"))
    queue.add(pod("b"))
    queue.add(pod("b", priority=3, app="x"))
    taken = await queue.take(10)
    assert [(p.key.name, dict(p.labels)) for p in taken] == [("b", {"app": "x"}), ("a", {})]


async def test_backoff_doubles_from_one_second_to_ten() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"))
    (info,) = await queue.take(1)
    delays = []
    for _ in range(6):
        began = anyio.current_time()
        queue.retry(info)
        (info,) = await queue.take(1)
        delays.append(anyio.current_time() - began)
    assert delays == pytest.approx([1, 2, 4, 8, 10, 10])


async def test_refusals_before_do_not_lengthen_the_backoff_after_an_error() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"))
    for _ in range(4):
        (info,) = await queue.take(1)
        queue.failed(info, frozenset({"node"}))
        queue.wake("node")
    (info,) = await queue.take(1)
    began = anyio.current_time()
    queue.retry(info)
    await queue.take(1)
    assert anyio.current_time() - began == pytest.approx(1)


async def test_of_one_priority_who_came_or_failed_first_is_tried_first() -> None:
    queue = SchedulingQueue()
    queue.add(pod("old"))
    (old,) = await queue.take(1)
    queue.failed(old, frozenset({"node"}))
    await anyio.sleep(2)
    queue.add(pod("new"))
    queue.wake("node")
    assert await names(queue) == ["old", "new"]


async def test_only_what_may_help_wakes_a_pod() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"))
    (info,) = await queue.take(1)
    queue.failed(info, frozenset({"node"}))
    queue.wake("pod gone")
    with anyio.move_on_after(100) as scope:
        await queue.take(1)
    assert scope.cancelled_caught
    began = anyio.current_time()
    queue.wake("node")
    assert await names(queue) == ["a"]
    assert anyio.current_time() == began


async def test_a_backoff_is_cut_short_when_nothing_else_is_to_be_tried_and_only_then() -> None:
    queue = SchedulingQueue()
    for name, priority in (("low", 0), ("high", 5), ("tired", 9), ("broken", 9)):
        queue.add(pod(name, priority=priority))
    tired, broken, high, low = await queue.take(10)
    queue.failed(tired, frozenset({"node"}))
    queue.wake("node")
    assert await names(queue) == ["tired"]
    began = anyio.current_time()
    queue.retry(broken)  # after an error: that back-off stands
    for info in (low, high, tired):
        queue.failed(info, frozenset({"node"}))
    queue.add(pod("new"))
    queue.wake("node")
    assert await names(queue) == ["new"]
    # Those that had the least to wait come first, and within a second those of higher priority.
    assert [await names(queue, 1) for _ in range(3)] == [["high"], ["low"], ["tired"]]
    assert anyio.current_time() == began
    assert await names(queue) == ["broken"]
    assert anyio.current_time() - began == pytest.approx(1)


async def test_who_has_gone_or_been_given_a_node_while_resting_is_not_tried() -> None:
    queue = SchedulingQueue()
    for name in ("a", "b"):
        queue.add(pod(name))
    for info in await queue.take(10):
        queue.failed(info, frozenset({"node"}))
    queue.wake("node")
    queue._collect()
    queue.remove(info.key)
    assert await names(queue) == ["a"]
    with anyio.move_on_after(1000) as scope:
        await queue.take(1)
    assert scope.cancelled_caught


async def test_what_fitted_nowhere_is_tried_again_after_five_minutes() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"))
    (info,) = await queue.take(1)
    began = anyio.current_time()
    queue.failed(info)
    assert await names(queue) == ["a"]
    assert anyio.current_time() - began == pytest.approx(300)


async def test_a_change_of_what_a_pod_asks_for_wakes_it_and_one_of_its_status_does_not() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"))
    (info,) = await queue.take(1)
    queue.failed(info)
    queue.add(pod("a"))
    with anyio.move_on_after(100) as scope:
        await queue.take(1)
    assert scope.cancelled_caught
    queue.add(pod("a", app="x"))
    assert await names(queue) == ["a"]


async def test_a_removed_pod_is_gone_and_one_of_the_same_name_starts_afresh() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a", uid="1"))
    (info,) = await queue.take(1)
    queue.failed(info)
    queue.add(pod("a", uid="2"))
    queue.remove(info.key, "1")
    assert len(queue) == 1
    (fresh,) = await queue.take(1)
    assert fresh.uid == "2"
    queue.failed(info)  # of the one that is no more
    queue.remove(fresh.key, "2")
    assert len(queue) == 0 and not queue._stuck


async def test_what_is_decided_about_is_what_a_taken_pod_has_become() -> None:
    queue = SchedulingQueue()
    for name in ("gone", "new", "changed", "same"):
        queue.add(pod(name))
    taken = await queue.take(10)
    queue.remove(pod("gone").key)
    queue.add(pod("new", uid="another"))
    queue.add(pod("changed", app="x"))
    assert [(info.key.name, dict(info.labels)) for info in queue.current(taken)] == [
        ("changed", {"app": "x"}),
        ("same", {}),
    ]
    assert [info.uid for info in await queue.take(10)] == ["another"]


async def test_of_many_kinds_of_pods_that_are_placed_it_is_not_asked_whom_they_help() -> None:
    queue = SchedulingQueue()
    queue.heeds = lambda waiting, placed: placed.labels.get("app") == "x"
    queue.first_backoff = 0.0

    async def is_woken(*placed: PodInfo | None) -> bool:
        queue.add(pod("a"))
        (info,) = await queue.take(1)
        queue.failed(info, frozenset({"neighbour"}))
        for other in placed:
            queue.wake("pod placed", other)
        queue.add(pod("b", priority=-1))
        found = await queue.take(2)
        for one in found:
            queue.remove(one.key)
        queue.remove(info.key)
        return len(found) == 2

    others = [pod(f"p{number}", number=str(number)) for number in range(MOST_PLACED + 1)]
    assert not await is_woken(*others[:-1])
    assert await is_woken(*others)
    assert await is_woken(others[0], pod("c", app="x"))
    assert await is_woken(None)
    # Who looks at all Pods hears of all.
    queue.add(pod("a"))
    (info,) = await queue.take(1)
    queue.failed(info, frozenset({"pod placed"}))
    queue.wake("pod placed", others[0])
    assert await names(queue) == ["a"]
