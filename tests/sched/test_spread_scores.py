"""Scores of topology spread: the numbers that kube-scheduler has for these layouts."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from kubelib.api.core.affinity import TopologySpreadConstraint
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.neighbours import PrefersEven
from kubelib.testing.objects import make_pod
from tests.sched.layouts import HOST, NODE, ZONE, constraint, layout

CASES: Mapping[str, tuple[str, Sequence[TopologySpreadConstraint], Mapping[str, int]]] = {
    "nobody is there": ("a: b:", [constraint(HOST)], {"a": 100, "b": 100}),
    "one candidate": ("a:f,f b:f", [constraint(HOST)], {"a": 100}),
    "as many everywhere": ("a:f b:f", [constraint(HOST)], {"a": 100, "b": 100}),
    "2 1 0 3": ("a:f,f b:f c: d:f,f,f", [constraint(HOST)], {"a": 20, "b": 60, "c": 100, "d": 0}),
    "of skew 2": ("a:f,f b:f c: d:f,f,f", [constraint(HOST, 2)], {"a": 33, "b": 66, "c": 100, "d": 16}),
    "of skew 3": ("a:f,f,f,f b:f,f,f c:f,f d:f", [constraint(HOST, 3)], {"a": 44, "b": 66, "c": 77, "d": 100}),
    "no selector": ("a:f,f b:f c: d:f,f,f", [constraint(HOST, app=None)], dict.fromkeys("abcd", 100)),
    "three candidates": ("a:f,f,f,f b:f,f x:f y:f,f,f", [constraint(HOST)], {"a": 33, "b": 83, "x": 100}),
    "one without the label": ("a:f,f,f,f b-:f,f x:f y:f,f,f", [constraint(HOST)], {"a": 16, "b": 0, "x": 100}),
    "zones": ("a:f,f,f,f b:f,f x:f y:f,f,f", [constraint(ZONE)], {"a": 75, "b": 75, "x": 100}),
    "zones and nodes": ("a:f,f b:f x:f,f y:f,f,f,f", [constraint(ZONE), constraint(HOST)], {"a": 100, "x": 63}),
    "two selectors": (
        "a:f b:fb x: y:f,b", [constraint(ZONE), constraint(HOST, app="bar")], {"a": 60, "b": 20, "x": 100, "y": 60},
    ),
    "two selectors, and an empty zone": (
        "a: b:b x:f y:fb", [constraint(ZONE), constraint(HOST, app="bar")], {"a": 100, "b": 60, "x": 40, "y": 0},
    ),
    "two selectors, three candidates": (
        "a:f b:fb x: y:f,b", [constraint(ZONE), constraint(HOST, app="bar")], {"a": 50, "b": 25, "x": 100},
    ),
    "others' namespaces": ("a:f,o b:f,f", [constraint(HOST)], {"a": 100, "b": 33}),
    "who is going": ("a:g b:f", [constraint(HOST)], {"a": 100, "b": 0}),
    "more domains wanted": (
        "a:f,f b:f,f c:f", [constraint(NODE, 2, min_domains=10)], {"a": 75, "b": 75, "c": 100},
    ),
    "taints honored": (
        "a:f,f b:f c!:f", [constraint(NODE, node_taints_policy="Honor")], {"a": 0, "b": 33, "c": 100},
    ),
    "taints ignored": ("a:f,f b:f c!:f", [constraint(NODE)], {"a": 66, "b": 100, "c": 100}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_spread_score_is_the_number_that_kube_scheduler_gives(case: str) -> None:
    text, constraints, wanted = CASES[case]
    table = layout(text)
    pod = PodInfo.of(
        make_pod("p", labels={"foo": "", "bar": ""}, uid="p", topology_spread_constraints=tuple(constraints))
    )
    rows = np.array([table.rows[name] for name in wanted], np.int64)
    found = np.broadcast_to(PrefersEven().score(pod, table, rows), len(rows))
    assert dict(zip(wanted, found.tolist(), strict=True)) == wanted
