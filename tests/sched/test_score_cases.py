"""Scores: the numbers that kube-scheduler has for these Pods and nodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kubelib.api.core.affinity import (
    Affinity,
    NodeAffinity,
    PodAffinity,
    PodAntiAffinity,
    PreferredSchedulingTerm,
    WeightedPodAffinityTerm,
)
from kubelib.api.machinery import LabelSelector
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.allocation import LeastAllocated, MostAllocated, RequestedToCapacityRatio
from kubelib.sched.policies.neighbours import LikesCompany
from kubelib.sched.policies.scores import PrefersNodeAffinity, PrefersUntainted
from kubelib.testing.objects import make_node, make_pod
from tests.sched.layouts import (
    asking,
    node_term,
    pod_term,
    points,
    social,
    tolerations,
    with_labels,
    with_taints,
)

LEAST, MOST = LeastAllocated(), MostAllocated()
MEMORY_TWICE = {"memory": 2.0, "cpu": 1.0}
FOO, BAR = "intel.com/foo", "intel.com/bar"
WITH_FOO = {"cpu": 1.0, "memory": 1.0, FOO: 1.0}
FALLING, RISING = ((0, 10), (100, 0)), ((0, 0), (100, 1))
TWO_RATIO = RequestedToCapacityRatio(RISING, {FOO: 3.0, BAR: 5.0})
TWO = (f"{FOO}=8 {BAR}=4", f"{FOO}=4 {BAR}=8")
ONE = (f"{FOO}=8", f"{FOO}=4")
PAIR = "1000 2000,2000 3000"

# The score, the Pod, what two nodes have, what is on each, the two numbers.
RESOURCES: Mapping[str, tuple[Any, str, tuple[str, str], tuple[Sequence[str], Sequence[str]], tuple[int, int]]] = {
    "nothing": (LEAST, "", ("4000 10000", "4000 10000"), ([], []), (100, 100)),
    "two sizes": (LEAST, PAIR, ("4000 10000", "6000 10000"), ([], []), (37, 50)),
    "nothing asked for": (LEAST, "", ("10000 20000", "10000 20000"), (["3000 0"] * 2, ["3000 0", "3000 5000"]), (70, 57)),
    "beside others": (LEAST, PAIR, ("10000 20000", "10000 20000"), (["3000 0"], ["3000 5000"]), (57, 45)),
    "beside others, two sizes": (LEAST, PAIR, ("10000 20000", "10000 50000"), (["3000 0"], ["3000 5000"]), (57, 60)),
    "more than there is": (LEAST, "3000 0", ("4000 10000", "4000 10000"), (["3000 0"], ["3000 5000"]), (50, 25)),
    "nodes without anything": (LEAST, "", ("0 0", "0 0"), (["3000 0"], ["3000 5000"]), (0, 0)),
    "weights": (LeastAllocated(MEMORY_TWICE), PAIR, ("4000 10000", "6000 10000"), ([], []), (41, 50)),
    "not asked for": (LeastAllocated(WITH_FOO), PAIR, ("6000 10000", f"6000 10000 {FOO}=4"), ([], []), (50, 50)),
    "asked for": (
        LeastAllocated(WITH_FOO), f"3000 5000 {FOO}=2", (f"6000 10000 {FOO}=4", f"6000 10000 {FOO}=10"), ([], []), (50, 60),
    ),
    "most: nothing": (MOST, "", ("4000 10000", "4000 10000"), ([], []), (0, 0)),
    "most: two sizes": (MOST, PAIR, ("4000 10000", "6000 10000"), ([], []), (62, 50)),
    "most: nothing asked for": (MOST, "", ("10000 20000", "10000 20000"), (["3000 0"] * 2, ["3000 0", "3000 5000"]), (30, 42)),
    "most: beside others": (MOST, PAIR, ("10000 20000", "10000 20000"), (["3000 0"], ["3000 5000"]), (42, 55)),
    "most: all there is": (MOST, "2000 4000,3000 5000", ("5000 10000", "10000 9000"), ([], []), (95, 75)),
    "most: weights": (MostAllocated(MEMORY_TWICE), PAIR, ("4000 10000", "6000 10000"), ([], []), (58, 50)),
    "most: not asked for": (MostAllocated(WITH_FOO), PAIR, ("6000 10000", f"6000 10000 {FOO}=4"), ([], []), (50, 50)),
    "most: asked for": (
        MostAllocated(WITH_FOO), f"3000 5000 {FOO}=2", (f"6000 10000 {FOO}=4", f"6000 10000 {FOO}=10"), ([], []), (50, 40),
    ),
    "most: not there": (
        MostAllocated(WITH_FOO | {FOO: 2.0}), "3000 4000", ("6000 10000", f"6000 10000 {FOO}=4"), ([], []), (45, 45),
    ),
    "ratio: nothing": (RequestedToCapacityRatio(FALLING), "", ("4000 10000", "4000 10000"), (["", ""], []), (100, 100)),
    "ratio: two sizes": (RequestedToCapacityRatio(FALLING), PAIR, ("4000 10000", "6000 10000"), (["", ""], []), (38, 50)),
    "ratio: others": (
        RequestedToCapacityRatio(FALLING), "", ("4000 10000", "6000 10000"), (["3000 5000"], ["3000 5000"]), (38, 50),
    ),
    "ratio: not asked for": (RequestedToCapacityRatio(RISING, {FOO: 1.0}), "", ONE, ([], []), (0, 0)),
    "ratio: asked for": (RequestedToCapacityRatio(RISING, {FOO: 1.0}), f"{FOO}=2", ONE, ([], []), (2, 5)),
    "ratio: beside others": (RequestedToCapacityRatio(RISING, {FOO: 1.0}), f"{FOO}=2", ONE, ([], [f"{FOO}=2"]), (2, 10)),
    "ratio: more": (RequestedToCapacityRatio(RISING, {FOO: 1.0}), f"{FOO}=4", ONE, ([], []), (5, 10)),
    "ratio: neither of two": (TWO_RATIO, "", TWO, ([], []), (0, 0)),
    "ratio: both of two": (TWO_RATIO, f"{FOO}=2 {BAR}=2", TWO, ([], []), (4, 3)),
}  # fmt: skip


@pytest.mark.parametrize("case", RESOURCES)
def test_scores_of_resources_are_those_of_kube_scheduler(case: str) -> None:
    score, pod, sizes, there, wanted = RESOURCES[case]
    table = NodeTable()
    for name, size, pods in zip("ab", sizes, there, strict=True):
        offered = dict(asking(size).spec.containers[0].resources.requests)
        table.put_node(make_node(name, allocatable=offered))
        for number, text in enumerate(pods):
            table.put_pod(PodInfo.of(asking(text, uid=f"{name}{number}")), name)
    assert points(score, asking(pod), table) == dict(zip("ab", wanted, strict=True))
    info = PodInfo.of(asking(pod))
    assert tuple(score.score_row(info, table, table.rows[name]) for name in "ab") == wanted


def test_containers_that_ask_for_nothing_count_as_some() -> None:
    table = NodeTable()
    for name in "ab":
        table.put_node(make_node(name, allocatable={"cpu": "250m", "memory": "1000Mi"}))
    for number in range(2):
        table.put_pod(PodInfo.of(make_pod(uid=f"{number}")), "a")
    assert points(MOST, make_pod(), table) == {"a": 80, "b": 30}


def preferring(*weighted: tuple[int, Sequence[str]]) -> tuple[PreferredSchedulingTerm, ...]:
    return tuple(
        PreferredSchedulingTerm(weight=weight, preference=node_term(*texts)) for weight, texts in weighted
    )


L1, L2, L3 = {"foo": "bar"}, {"key": "value"}, {"az": "az1"}
L5 = L1 | L2 | L3
SIMPLE = preferring((2, ["foo In bar"]))
LONG = preferring(
    (2, ["foo In bar"]), (4, ["key In value"]), (5, ["foo In bar", "key In value", "az In az1"])
)


@pytest.mark.parametrize(
    ("own", "added", "labels", "wanted"),
    [
        ((), (), (L1, L2, L3), (0, 0, 0)),
        (SIMPLE, (), ({"abc": "az11"}, L2, L3), (0, 0, 0)),
        (SIMPLE, (), (L1, L2, L3), (100, 0, 0)),
        (LONG, (), (L1, L5, L2), (18, 100, 36)),
        ((), SIMPLE, (L1, L2, {}), (100, 0, 0)),
        (SIMPLE, preferring((3, ["key In value"])), (L1, L2, L5), (40, 60, 100)),
        (preferring((7, [])), (), (L1, L2, L3), (0, 0, 0)),
    ],
)
def test_preferred_node_affinity_is_worth_what_kube_scheduler_says(
    own: Any, added: Any, labels: Sequence[dict[str, str]], wanted: Sequence[int]
) -> None:
    table = NodeTable()
    for name, some in zip("abc", labels, strict=True):
        table.put_node(with_labels(make_node(name), some))
    affinity = Affinity(node_affinity=NodeAffinity(preferred_during_scheduling_ignored_during_execution=own))
    found = points(PrefersNodeAffinity(added), make_pod(affinity=affinity), table)
    assert found == dict(zip("abc", wanted, strict=True))


ARM, SSD = "cpu-type arm64 PreferNoSchedule", "disk-type ssd PreferNoSchedule"


@pytest.mark.parametrize(
    ("tolerated", "taints", "wanted"),
    [
        ("foo Equal bar PreferNoSchedule", ("foo bar PreferNoSchedule", "foo blah PreferNoSchedule"), (100, 0)),
        (
            "cpu-type Equal arm64 PreferNoSchedule;disk-type Equal ssd PreferNoSchedule",
            ("", ARM, f"{ARM};{SSD}"), (100, 100, 100),
        ),
        ("foo Equal bar PreferNoSchedule", ("", ARM, f"{ARM};{SSD}"), (100, 50, 0)),
        (
            "cpu-type Equal arm64 NoSchedule;disk-type Equal ssd NoSchedule",
            ("", "cpu-type arm64 NoSchedule", f"{ARM};{SSD}"), (100, 100, 0),
        ),
        ("", ("", ARM), (100, 0)),
        ("cpu-type Exists - -", ("", ARM), (100, 100)),
    ],
)  # fmt: skip
def test_taints_cost_what_kube_scheduler_says(
    tolerated: str, taints: Sequence[str], wanted: Sequence[int]
) -> None:
    table = NodeTable()
    for name, text in zip("abc", taints, strict=False):
        table.put_node(with_taints(make_node(name), text))
    found = points(PrefersUntainted(), make_pod(tolerations=tolerations(tolerated)), table)
    assert found == dict(zip("abc", wanted, strict=False))


def liking(near: Sequence[tuple[int, Any]] = (), away: Sequence[tuple[int, Any]] = ()) -> Affinity:
    def weighted(terms: Sequence[tuple[int, Any]]) -> tuple[WeightedPodAffinityTerm, ...]:
        return tuple(
            WeightedPodAffinityTerm(weight=w, pod_affinity_term=pod_term(t) if isinstance(t, str) else t)
            for w, t in terms
        )

    return Affinity(
        pod_affinity=PodAffinity(preferred_during_scheduling_ignored_during_execution=weighted(near)),
        pod_anti_affinity=PodAntiAffinity(
            preferred_during_scheduling_ignored_during_execution=weighted(away)
        ),
    )


S1, S2 = {"security": "S1"}, {"security": "S2"}
CHINA, INDIA, AZ1, AZ2 = {"region": "China"}, {"region": "India"}, {"az": "az1"}, {"az": "az2"}
NEAR_S1, NEAR_S2 = "security in S1 @region", "security in S2 @region"
AWAY_S1, AWAY_S2 = "security in S1 @az", "security in S2 @az"
WITH_S1, WITH_S2 = liking([(5, NEAR_S1)]), liking([(6, NEAR_S2)])
MIXED = liking([(8, "security notin S1 & security in S2 @region"), (2, "security & !wrong @region")])
BOTH = liking([(8, NEAR_S1)], [(5, AWAY_S2)])
TEAM1 = LabelSelector(match_labels={"team": "team1"})
TEAMS = pod_term("security in S1 @region #subteam2.team2", namespace_selector=TEAM1)
HARD = social(["security in S1,value2 @region", "security & !wrong @region"])
Someone = tuple[str, dict[str, str], Affinity | None, str]


def on(
    nodes: str, labels: dict[str, str], affinity: Affinity | None = None, where: str = "default"
) -> list[Someone]:
    """Put a Pod on each of some nodes."""
    return [(node, labels, affinity, where) for node in nodes]


FIRST, SECOND = "subteam1.team1", "subteam2.team1"
OTHER, NAMED = "subteam1.team2", "subteam2.team2"
SPREAD = [*on("aac", S1, where=FIRST)[:2], *on("b", S1, where=SECOND)]

COMPANY: Mapping[str, tuple[tuple[Affinity | None, dict[str, str], str], Sequence[dict[str, str]], list[Someone], Sequence[int]]] = {
    "nothing": ((None, S1, "default"), (CHINA, INDIA, AZ1), [], (0, 0, 0)),
    "near": ((WITH_S1, S1, "default"), (CHINA, INDIA, AZ1), on("ac", S1) + on("b", S2), (100, 0, 0)),
    "a whole place": ((WITH_S1, {}, "default"), (CHINA, CHINA | AZ1, INDIA), on("a", S1), (100, 100, 0)),
    "more here than there": (
        (WITH_S2, S1, "default"), (CHINA, INDIA, CHINA, CHINA, INDIA), on("aabcde", S2), (100, 0, 100, 100, 0),
    ),
    "several terms": ((MIXED, S1, "default"), (CHINA, INDIA, AZ1), on("ac", S1) + on("b", S2), (20, 100, 0)),
    "they prefer": ((None, S2, "default"), (CHINA, INDIA, AZ1), on("a", S1, WITH_S1) + on("b", S2, WITH_S2), (0, 100, 0)),
    "they prefer by namespaces": (
        (None, S1, FIRST), (CHINA, INDIA, AZ1), on("a", S1, liking([(5, TEAMS)])) + on("b", S2, WITH_S2), (100, 0, 0),
    ),
    "they avoid by namespaces": (
        (None, S1, FIRST), (CHINA, INDIA, AZ1), on("a", S1, liking(away=[(5, TEAMS)])) + on("b", S2, WITH_S2), (0, 100, 100),
    ),
    "they require": ((None, S1, "default"), (CHINA, INDIA, AZ1), on("a", S1, HARD) + on("b", S2, HARD), (100, 100, 0)),
    "away": ((liking(away=[(5, AWAY_S1)]), S1, "default"), (AZ1, CHINA), on("a", S1) + on("b", S2), (0, 100)),
    "away, where there is no label": ((liking(away=[(5, AWAY_S1)]), S1, "default"), (AZ1, CHINA), on("ab", S1), (0, 100)),
    "away from more": ((liking(away=[(5, AWAY_S1)]), S1, "default"), (AZ1, INDIA), on("aa", S1) + on("b", S2), (0, 100)),
    "they avoid": (
        (None, S2, "default"), (AZ1, AZ2),
        on("a", S1, liking(away=[(5, AWAY_S2)])) + on("b", S2, liking(away=[(5, AWAY_S1)])), (0, 100),
    ),
    "near and away": ((BOTH, S1, "default"), (CHINA, AZ1), on("ab", S1), (100, 0)),
    "near and away among the like": (
        (BOTH, S1, "default"), (CHINA | AZ1, INDIA, CHINA, CHINA, INDIA), on("aabccde", S1), (100, 0, 100, 100, 0),
    ),
    "both ways": (
        (BOTH, S1, "default"), (CHINA, AZ1, INDIA, AZ2),
        on("a", S1) + on("b", S2) + on("c", {}, BOTH) + on("d", {}, liking(away=[(5, AWAY_S1)])), (100, 0, 100, 0),
    ),
    "all the same": ((None, S1, "default"), (CHINA, CHINA), on("a", S1) + on("b", {}, BOTH), (0, 0)),
    "namespaces by label": (
        (liking([(5, TEAMS)]), S1, FIRST), (CHINA, INDIA), SPREAD + on("a", S1, where=OTHER), (100, 0),
    ),
    "namespaces by label and name": (
        (liking([(5, TEAMS)]), S1, FIRST), (CHINA, INDIA), SPREAD + on("a", S1, where=NAMED), (100, 0),
    ),
    "away by label": ((liking(away=[(5, TEAMS)]), S1, FIRST), (CHINA, INDIA), SPREAD + on("a", S1, where=OTHER), (0, 100)),
    "away by label and name": (
        (liking(away=[(5, TEAMS)]), S1, FIRST), (CHINA, INDIA), SPREAD + on("a", S1, where=NAMED), (0, 100),
    ),
}  # fmt: skip


def judged(score: LikesCompany, case: Any) -> tuple[dict[str, float], dict[str, int]]:
    (affinity, labels, where), places, others, wanted = case
    table = NodeTable()
    for name in (FIRST, SECOND, OTHER, NAMED):
        table.put_namespace(name, {"team": name.partition(".")[2]})
    for name, some in zip("abcde", places, strict=False):
        table.put_node(with_labels(make_node(name), some))
    for number, (node, some, wish, place) in enumerate(others):
        uid = f"other-{number}"
        table.put_pod(PodInfo.of(make_pod(uid, place, uid=uid, labels=some, affinity=wish)), node)
    found = points(score, make_pod("p", where, labels=labels, affinity=affinity), table)
    return found, dict(zip("abcde", wanted, strict=False))


@pytest.mark.parametrize("case", COMPANY)
def test_company_is_worth_what_kube_scheduler_says(case: str) -> None:
    found, wanted = judged(LikesCompany(), COMPANY[case])
    assert found == wanted


def test_what_those_who_are_there_prefer_or_require_may_count_for_nothing() -> None:
    places = (CHINA, INDIA)
    they = on("a", S1, BOTH) + on("b", S2, WITH_S2)
    for theirs, wanted in ((True, (0, 100)), (False, (0, 0))):
        found, expected = judged(LikesCompany(theirs=theirs), ((None, S2, "default"), places, they, wanted))
        assert found == expected
    require = on("ab", {}, social(["security in S1 @region"]))
    for required, all_of in ((1, (100, 100, 0)), (0, (0, 0, 0))):
        found, expected = judged(
            LikesCompany(required=required), ((None, S1, "default"), (*places, AZ1), require, all_of)
        )
        assert found == expected
