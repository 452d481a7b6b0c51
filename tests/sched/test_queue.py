import anyio
import pytest

from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.meta import ObjectMeta
from kubelib.sched.pods import PodInfo
from kubelib.sched.queue import SchedulingQueue


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


async def test_only_what_may_help_wakes_a_pod_and_not_before_its_backoff() -> None:
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
    assert anyio.current_time() == began  # the back-off was over long ago
    queue.failed(info, frozenset({"node"}))
    queue.wake("node")
    assert await names(queue) == ["a"]
    assert anyio.current_time() - began == pytest.approx(2)


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
