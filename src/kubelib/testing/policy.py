"""The definition of a policy: inherit `PolicySuite`, give a fixture `policy`, and every test must pass."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import Node, NodeSpec, NodeStatus, Taint
from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.meta import ObjectMeta
from kubelib.sched.base import Policy, SupportsOneRowFilter, SupportsOneRowScore, SupportsOtherRows
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import CPU, MEMORY, PODS, PodInfo


def make_table(count: int = 12) -> NodeTable:
    """Return a table of different nodes, with a row that is free in the middle."""
    table = NodeTable()
    for number in range(count):
        taints = (Taint(key="dedicated", value="x", effect="NoSchedule"),) if number % 5 == 4 else ()
        labels = {"kubernetes.io/hostname": f"node-{number}", "zone": f"zone-{number % 3}"}
        offered = {CPU: str(1 + number % 4), MEMORY: f"{2 + number % 3}Gi", PODS: "4"}
        table.put_node(
            Node(
                metadata=ObjectMeta(name=f"node-{number}", labels=labels),
                spec=NodeSpec(taints=taints, unschedulable=number == 7),
                status=NodeStatus(allocatable=offered),
            )
        )
    table.remove_node(f"node-{count // 2}")
    return table


def make_infos(count: int = 60) -> list[PodInfo]:
    """Return Pods of a few shapes."""
    infos = []
    for number in range(count):
        requests = {CPU: f"{100 * (1 + number % 3)}m", MEMORY: f"{128 * (1 + number % 2)}Mi"}
        infos.append(
            PodInfo.of(
                Pod(
                    metadata=ObjectMeta(
                        name=f"pod-{number}",
                        namespace="default",
                        uid=f"uid-{number}",
                        labels={"app": f"app-{number % 3}"},
                    ),
                    spec=PodSpec(
                        containers=(Container(name="c", resources=ResourceRequirements(requests=requests)),)
                    ),
                )
            )
        )
    return infos


def fill(cycle: Cycle, pods: Sequence[PodInfo]) -> list[str]:
    """Place Pods one after the other; return where each went, or nothing."""
    chosen = []
    for pod in pods:
        verdict = cycle.decide(pod)
        chosen.append(verdict.node)
        if verdict.node:
            cycle.table.put_pod(pod, verdict.node)
    return chosen


class PolicySuite:
    """Subclass it and override the fixture `policy`. Tests with state of their own get a new policy each."""

    overcommits = False
    """Whether the policy may put more on a node than it has."""

    @pytest.fixture
    def policy(self) -> Policy:
        """Return the policy under test."""
        raise NotImplementedError("override the fixture policy")

    def test_the_chosen_node_exists_and_passes_every_filter(self, policy: Policy) -> None:
        table = make_table()
        cycle = Cycle(table, policy, Random(1))
        for pod in make_infos():
            node = cycle.decide(pod).node
            if node:
                one = np.array([table.rows[node]])
                for condition in policy.filters:
                    if not isinstance(condition, SupportsOtherRows) or condition.concerns(pod, table):
                        assert np.all(condition.fits(pod, table, one)), condition.name
                table.put_pod(pod, node)

    def test_no_node_is_overcommitted(self, policy: Policy) -> None:
        table = make_table()
        fill(Cycle(table, policy, Random(1)), make_infos(200))
        assert self.overcommits or all((left >= 0).all() for left in table.left.values())

    def test_verdicts_on_all_rows_on_some_and_on_one_agree(self, policy: Policy) -> None:
        table = make_table()
        cycle = Cycle(table, policy, Random(1))
        for pod in make_infos(30):
            fill(cycle, [pod])
            everywhere, some = slice(0, table.size), np.array([1, 3, 5])
            for condition in policy.filters:
                whole = np.broadcast_to(condition.fits(pod, table, everywhere), table.size)
                assert np.array_equal(whole[some], np.broadcast_to(condition.fits(pod, table, some), 3))
                if isinstance(condition, SupportsOneRowFilter):
                    assert [bool(v) for v in whole[some]] == [
                        bool(condition.fits_row(pod, table, r)) for r in some
                    ]
            for score, _ in policy.scores:
                if isinstance(score, SupportsOtherRows):
                    continue
                points = np.broadcast_to(score.score(pod, table, everywhere), table.size)
                assert np.array_equal(points[some], np.broadcast_to(score.score(pod, table, some), 3))
                if isinstance(score, SupportsOneRowScore):
                    assert points[some].tolist() == [score.score_row(pod, table, int(r)) for r in some]

    def test_scores_are_numbers_from_0_to_100(self, policy: Policy) -> None:
        table = make_table()
        cycle = Cycle(table, policy, Random(1))
        for pod in make_infos(30):
            fill(cycle, [pod])
            rows = np.flatnonzero(table.present)
            for score, _ in policy.scores:
                points = np.broadcast_to(score.score(pod, table, rows), len(rows))
                assert ((points >= 0) & (points <= 100)).all(), score.name

    def test_a_node_that_fails_a_filter_has_a_reason(self, policy: Policy) -> None:
        table = make_table()
        fill(Cycle(table, policy, Random(1)), make_infos(200))
        rows = np.flatnonzero(table.present)
        for pod in make_infos(6):
            for condition in policy.filters:
                fits = np.broadcast_to(condition.fits(pod, table, rows), len(rows))
                for row in rows[~fits]:
                    assert all(condition.reasons(pod, table, int(row)) or ("",)), condition.name
                    assert condition.reasons(pod, table, int(row)), condition.name

    def test_judging_changes_nothing(self, policy: Policy) -> None:
        table = make_table()
        before = [table.node(row) for row in range(table.size)]
        cycle = Cycle(table, policy, Random(1))
        for pod in make_infos(10):
            cycle.decide(pod)
        assert [table.node(row) for row in range(table.size)] == before

    def test_what_was_judged_before_is_judged_the_same_as_afresh(self, policy: Policy) -> None:
        table = make_table()
        cycle = Cycle(table, policy, Random(1))
        pods = make_infos(40)
        fill(cycle, pods[:20])
        table.remove_node("node-2")
        table.remove_pod("uid-3")
        for pod in pods[20:]:
            cycle.decide(pod)
            kept, fresh = cycle._judge(pod), Cycle(table, policy, Random(1))._judge(pod)
            assert np.array_equal(kept.fits, fresh.fits)
            assert np.array_equal(kept.scores, fresh.scores)

    def test_an_empty_cluster_refuses(self, policy: Policy) -> None:
        verdict = Cycle(NodeTable(), policy, Random(1)).decide(make_infos(1)[0])
        assert verdict.node == ""
        assert verdict.message == "no nodes available to schedule pods"
