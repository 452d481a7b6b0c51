"""What those are told who are refused, and how much of a priority level one request may take."""

from time import monotonic

import httpx
import pytest

from kubelib.api.errors import TooManyRequests
from kubelib.server.flow.queues import Level, LevelSettings, Pool
from kubelib.server.flow.refusals import LONGEST, Refusals
from kubelib.sim import simulate
from kubelib.testing.cluster import Cluster

GROUP = "/apis/flowcontrol.apiserver.k8s.io/v1"


def told(refusals: Refusals, each: int, seconds: range) -> list[int]:
    """Refuse so many in each of some seconds; return what they were told at last."""
    found = []
    for second in seconds:
        for _ in range(each):
            refusals.count(second)
        found.append(refusals.retry_after)
    return found


def test_the_more_are_refused_the_later_they_are_told_to_come_again() -> None:
    refusals = Refusals()
    found = told(refusals, 4, range(100))
    assert found[0] == 1
    assert found == sorted(found)
    assert sorted(set(found)) == [1, 2, 4, 8, 16, LONGEST]


def test_one_burst_makes_them_wait_only_a_little_longer() -> None:
    refusals = Refusals()
    assert told(refusals, 1000, range(1)) == [1]
    assert told(refusals, 1, range(1, 3)) == [2, 2]


def test_once_few_are_refused_the_time_falls_second_by_second() -> None:
    refusals = Refusals()
    told(refusals, 4, range(100))
    found = told(refusals, 1, range(200, 2000, 40))
    assert found[:3] == [31, 30, 29]
    assert found[-1] == 1


def test_each_level_has_refusals_of_its_own() -> None:
    async def main() -> None:
        pool = Pool()
        busy, other = (
            Level(LevelSettings(name=name, shares=1), pool, lambda: now) for name in ("busy", "other")
        )
        pool.configure([busy, other], 10)
        now = 0.0

        async def refused(level: Level) -> int:
            with pytest.raises(TooManyRequests) as error:
                await level.wait(1, "s", "f", ())
            return error.value.retry_after

        for _ in range(3):
            assert await refused(busy) == 1
        now = 1.5
        assert await refused(busy) == 2
        assert await refused(other) == 1

    simulate(main)


@pytest.mark.parametrize(
    ("seats", "hand", "widest"),
    [
        (5, 6, 1),
        (10, 6, 1),
        (15, 6, 2),
        (20, 6, 3),
        (35, 6, 5),
        (200, 6, 10),
        (10, 1, 2),
        (100, 20, 5),
        (10, 0, 2),
    ],
)
def test_a_list_takes_no_more_seats_than_leave_some_for_the_other_queues_of_its_hand(
    seats: int, hand: int, widest: int
) -> None:
    pool = Pool()
    level = Level(LevelSettings(name="l", shares=1, queues=64 if hand else 0, hand=hand), pool, lambda: 0.0)
    pool.configure([level], seats)
    assert level.widest == widest


def test_a_request_waits_in_its_queue_for_a_quarter_of_the_time_that_it_has(kubelib_cluster: Cluster) -> None:
    queuing = {"queues": 1, "handSize": 1, "queueLengthLimit": 5}
    limited = {
        "nominalConcurrencyShares": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    }
    level = {"metadata": {"name": "none"}, "spec": {"type": "Limited", "limited": limited}}
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "eve"}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    spec = {"priorityLevelConfiguration": {"name": "none"}, "matchingPrecedence": 50, "rules": [rule]}
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as admin:
        for resource, tree in (
            ("prioritylevelconfigurations", level),
            ("flowschemas", {"metadata": {"name": "eve"}, "spec": spec}),
        ):
            answer = admin.post(f"{GROUP}/{resource}", json=tree)
            assert answer.status_code == 201, answer.text
        for seconds in (1, 4):
            began = monotonic()
            answer = admin.get(f"/api?timeout={seconds}s", headers={"impersonate-user": "eve"})
            assert answer.status_code == 429
            assert seconds / 4 <= monotonic() - began < 10
