"""Filters that look at other Pods: the answers that kube-scheduler has for these layouts."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest

from kubelib.api.core.affinity import Affinity, NodeAffinity, TopologySpreadConstraint
from kubelib.api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.meta import OwnerReference
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.neighbours import SYSTEM_DEFAULTS, KeepsCompany, PrefersEven, SpreadsEvenly
from kubelib.testing.objects import make_node, make_pod
from tests.sched.layouts import (
    HOST,
    NODE,
    ZONE,
    ZONES,
    answers,
    constraint,
    layout,
    points,
    social,
    with_labels,
)

SKEW = "node(s) didn't match pod topology spread constraints"
MISSING = f"{SKEW} (missing required label)"
NEAR = "node(s) didn't match pod affinity rules"
AWAY = "node(s) didn't match pod anti-affinity rules"
THEIRS = "node(s) didn't satisfy existing pods anti-affinity rules"


def must(key: str, skew: int = 1, app: str = "foo", **options: Any) -> TopologySpreadConstraint:
    return constraint(key, skew, app, unsatisfiable="DoNotSchedule", **options)


def in_places(key: str, operator: str, *values: str) -> Affinity:
    wanted = NodeSelectorRequirement(key=key, operator=operator, values=values)
    term = NodeSelectorTerm(match_expressions=(wanted,))
    return Affinity(
        node_affinity=NodeAffinity(
            required_during_scheduling_ignored_during_execution=NodeSelector(node_selector_terms=(term,))
        )
    )


BOTH, BAR, FOO = {"foo": "", "bar": ""}, {"bar": ""}, {"foo": ""}
UNEVEN = "a:f,f b:f x: y:f,f,f"
MIXED = [must(ZONE), must(NODE, app="bar")]
SELECTOR = {"node_selector": {"foo": ""}}

SPREAD: Mapping[str, tuple[str, Sequence[TopologySpreadConstraint], str, dict[str, Any]]] = {
    "nobody is there": ("a: b: x: y:", [must(ZONE)], "abxy", {}),
    "zones 2 0": ("a:f b:f x: y:", [must(ZONE)], "xy", {}),
    "2 1 0 3": (UNEVEN, [must(NODE)], "x", {}),
    "2 1 0 3, of skew 2": (UNEVEN, [must(NODE, 2)], "bx", {}),
    "2 1 0 3, without itself": (UNEVEN, [must(NODE)], "bx", {"labels": BAR}),
    "only two may do": (UNEVEN, [must(NODE)], "abx", {"affinity": in_places(NODE, "In", "a", "y")}),
    "all but one may do": ("a: b:f,f x: y:f", [must(ZONE)], "ab", {"affinity": in_places(NODE, "NotIn", "b")}),
    "who is going": ("a:g b:f", [must(NODE)], "a", {}),
    "others' namespaces": ("a:o,o b:f", [must(NODE)], "a", {}),
    "too few domains": ("a:f,f b:f,f c:f", [must(NODE, 2, min_domains=4)], "c", {}),
    "domains enough": ("a:f,f b:f,f c:f", [must(NODE, 2, min_domains=2)], "abc", {}),
    "too few zones": ("a:f b:f x: y:f", [must(ZONE, 2, min_domains=3)], "xy", {}),
    "zones enough": ("a:f b:f x: y:f", [must(ZONE, 2, min_domains=1)], "abxy", {}),
    "selector honored": ("a+:f b+:f x+: y:f", [must(NODE)], "xy", SELECTOR),
    "selector ignored": ("a+:f b+:f x+: y:f", [must(NODE, node_affinity_policy="Ignore")], "x", SELECTOR),
    "taints honored": ("a:f b:f x: y!:f", [must(NODE, node_taints_policy="Honor")], "xy", {}),
    "taints ignored": ("a:f b:f x: y!:f", [must(NODE)], "x", {}),
    "zones and nodes": (UNEVEN, [must(ZONE), must(NODE)], "x", {}),
    "zones against nodes": (f"{UNEVEN},f", [must(ZONE), must(NODE)], "", {}),
    "two selectors": ("a:f b: x: y:b", MIXED, "x", {"labels": BOTH}),
    "two selectors, at odds": ("a:f b: x:b y:b", MIXED, "", {"labels": BOTH}),
    "two selectors, more Pods": ("a:f,fb b: x: y:f,fb,f", MIXED, "b", {"labels": BOTH}),
    "two selectors, one its own": ("a:f b: x:b y:b", MIXED, "ab", {"labels": BAR}),
    "selector honored in zones only": (
        "a+:f b+:f x+: y:f", [must(ZONE), must(NODE, node_affinity_policy="Ignore")], "x", SELECTOR,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPREAD)
def test_pods_must_spread_as_kube_scheduler_says(case: str) -> None:
    text, constraints, fitting, options = SPREAD[case]
    pod = make_pod("p", **({"labels": FOO} | options), topology_spread_constraints=tuple(constraints))
    found = answers(SpreadsEvenly(), pod, layout(text))
    assert found == {name: () if name in fitting else (SKEW,) for name in found}


@pytest.mark.parametrize(
    ("text", "constraints", "wanted"),
    [
        ("a: x:", [must("rack")], {"a": MISSING, "x": MISSING}),
        ("a:f b: x~: y:f", [must(ZONE), must(NODE)], {"a": SKEW, "b": "", "x": MISSING, "y": SKEW}),
        # The first constraint that a node does not meet is the reason.
        ("a:f b: x~: y:f,f", [must(ZONE), must(NODE)], {"a": SKEW, "b": "", "x": SKEW, "y": SKEW}),
        ("a:f b: x~: y:f,f", [must(NODE), must(ZONE)], {"a": SKEW, "b": "", "x": MISSING, "y": SKEW}),
    ],
)
def test_a_missing_label_is_the_reason_where_no_constraint_before_fails(
    text: str, constraints: Sequence[TopologySpreadConstraint], wanted: Mapping[str, str]
) -> None:
    pod = make_pod("p", labels=FOO, topology_spread_constraints=tuple(constraints))
    found = answers(SpreadsEvenly(), pod, layout(text))
    assert found == {name: (why,) if why else () for name, why in wanted.items()}


OWNER = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="rs", uid="rs", controller=True)
TOPOLOGY_ZONE = "topology.kubernetes.io/zone"


def owned_on(counts: Mapping[str, int]) -> NodeTable:
    """Make nodes in two zones, and one in none, with so many Pods of one controller; one more on each is going."""
    table = NodeTable()
    number = 0
    for name, count in counts.items():
        zone = {TOPOLOGY_ZONE: ZONES[name]} if name in ZONES else {}
        table.put_node(with_labels(make_node(name), {HOST: name, **zone}))
        for going in (*(False,) * count, True):
            number += 1
            gone = {"deletion_timestamp": "2026-01-01T00:00:00Z"} if going else {}
            table.put_pod(
                PodInfo.of(make_pod(f"p{number}", uid=f"p{number}", owners=(OWNER,), metadata=gone)), name
            )
    return table


def test_pods_of_controllers_may_have_the_constraints_of_the_system() -> None:
    score = PrefersEven(SYSTEM_DEFAULTS, anywhere=True)
    table = owned_on({"a": 2, "b": 1, "x": 0, "y": 3, "none": 0})
    # Costs 15, 13, 11, 17 and 2: a Pod of the node counts ln 7, one of the zone ln 5; who has no zone pays nothing for it.
    expected = {"a": 23, "b": 35, "x": 47, "y": 11, "none": 100}
    assert points(score, make_pod(owners=(OWNER,)), table) == expected
    assert set(points(score, make_pod(), table).values()) == {0}
    own = make_pod(owners=(OWNER,), topology_spread_constraints=(constraint(HOST, app=None),))
    assert set(points(score, own, table).values()) == {100}


def test_pods_of_controllers_may_have_constraints_of_a_list() -> None:
    hard = attrs.evolve(SYSTEM_DEFAULTS[1], required=True, max_skew=1)
    table = owned_on({"a": 2, "b": 1, "x": 0, "y": 1, "none": 0})
    pod = make_pod(owners=(OWNER,))
    closed = {"a": (SKEW,), "b": (SKEW,), "x": (), "y": (), "none": (MISSING,)}
    assert answers(SpreadsEvenly([hard]), pod, table) == closed
    assert points(PrefersEven([hard]), pod, table) == dict.fromkeys(table.rows, 0)
    assert points(PrefersEven([SYSTEM_DEFAULTS[1]]), pod, table) == {
        "a": 62,
        "b": 62,
        "x": 100,
        "y": 100,
        "none": 0,
    }
    condition = SpreadsEvenly([hard])
    bare = PodInfo.of(make_pod())
    assert condition.concerns(PodInfo.of(pod), table)
    assert not condition.concerns(bare, table)


SCAN, S1 = {"service": "securityscan"}, {"security": "S1"}
ABC, DEF = {"abc": "", "xyz": ""}, {"def": "", "xyz": ""}
Social = tuple[dict[str, str], Sequence[str], Sequence[str]]
FOUND = "service in securityscan,value2 @region"
OTHER = "service in antivirusscan,value2 @node"
EITHER = ["abc @zone", "def @zone"]

ON_ONE_NODE: Mapping[str, tuple[Social, Social | None, str]] = {
    "nothing wanted": (({}, [], []), None, ""),
    "one of several values": ((S1, [FOUND], []), (SCAN, [], []), ""),
    "none of several values": ((S1, ["service notin securityscan3,value3 @region"], []), (SCAN, [], []), ""),
    "elsewhere": ((S1, [f"{FOUND} #other"], []), (SCAN, [], []), NEAR),
    "another value": ((SCAN, ["service in antivirusscan,value2 @region"], []), (SCAN, [], []), NEAR),
    "two terms": (
        (S1, ["service & !wrong @region", "service in securityscan & service notin no @region"], []), (SCAN, [], []), "",
    ),
    "one of two terms": (
        (S1, ["service & !wrong @region", "service in securityscan2 & service notin no @region"], []), (SCAN, [], []), NEAR,
    ),
    "near, and away from others": ((S1, [FOUND], [OTHER]), (SCAN, [], []), ""),
    "near, and both away from others": ((S1, [FOUND], [OTHER]), (SCAN, [], [OTHER]), ""),
    "near and away from the same": ((S1, [FOUND], ["service in securityscan,value2 @zone"]), (SCAN, [], []), AWAY),
    "it is they who are away": (
        (SCAN, [FOUND], [OTHER]), (SCAN, [], ["service in securityscan,value2 @zone"]), THEIRS,
    ),
    "not even itself": ((SCAN, ["service notin securityscan,value2 @region"], []), None, NEAR),
    "only they want something": ((SCAN, [], []), (SCAN, [], ["service in securityscan,value2 @zone"]), THEIRS),
    "they want something else": ((SCAN, [], []), (SCAN, [], ["service notin securityscan,value2 @zone"]), ""),
    "away by one of two terms": ((SCAN, [], ["service @region", "security @region"]), (S1, [], ["security @zone"]), AWAY),
    "away, and they from themselves": ((SCAN, [], ["service @zone", "security @zone"]), (S1, [], ["security @zone"]), AWAY),
    "away from itself, and they from it": ((S1, [], ["security @zone"]), (SCAN, [], ["service @zone", "security @zone"]), THEIRS),
    "both away from both": ((ABC, [], EITHER), (DEF, [], EITHER), AWAY),
    "both away from both, the other way": ((DEF, [], EITHER), (ABC, [], EITHER), AWAY),
}  # fmt: skip


def put(table: NodeTable, node: str, social_one: Social, namespace: str = "default") -> None:
    labels, near, away = social_one
    uid = f"p{sum(len(pods) for _, pods in table.pods_by_row())}"
    table.put_pod(
        PodInfo.of(make_pod(uid, namespace, uid=uid, labels=labels, affinity=social(near, away))), node
    )


@pytest.mark.parametrize("case", ON_ONE_NODE)
def test_pods_keep_company_as_kube_scheduler_says(case: str) -> None:
    (labels, near, away), there, why = ON_ONE_NODE[case]
    table = NodeTable()
    table.put_node(with_labels(make_node("one"), {"region": "r1", "zone": "z11"}))
    if there is not None:
        put(table, "one", there)
    found = answers(KeepsCompany(), make_pod("p", labels=labels, affinity=social(near, away)), table)
    assert found == {"one": (why,) if why else ()}


CHINA, CHINA1, INDIA = {"region": "China"}, {"region": "China", "az": "az1"}, {"region": "India"}
COUNTRIES = {"a": CHINA, "b": CHINA1, "c": INDIA}
ZONED = {"a": {"zone": "az1"}, "b": {"zone": "az2"}}
R1 = {"a": {"region": "r1", "zone": "z1"}, "b": {"region": "r1", "zone": "z2"}}
SAME = {"a": {"region": "r1", "zone": "z1"}, "b": {"region": "r1", "zone": "z1"}}
Placed = Sequence[tuple[str, Social, str]]

ON_SEVERAL: Mapping[str, tuple[dict[str, dict[str, str]], Placed, tuple[Social, str], dict[str, str]]] = {
    "all of the place": (
        COUNTRIES, [("a", ({"foo": "bar"}, [], []), "default")], (({}, ["foo in bar @region"], []), "default"), {"c": NEAR},
    ),
    "the first of its like, where only half of it is": (
        ZONED, [("a", ({"foo": "bar"}, [], []), "default")],
        (({"foo": "bar", **SCAN}, ["foo in bar @zone", "service in securityscan @zone"], []), "default"), {},
    ),
    "away from a whole place": (
        R1, [("a", ({"foo": "abc"}, [], []), "default")], (({}, [], ["foo in abc @region"]), "default"), {"a": AWAY, "b": AWAY},
    ),
    "any term of two": (
        R1, [("a", ({"foo": "abc", **SCAN}, [], []), "default")],
        (({}, [], ["foo in abc @region", "service in securityscan @zone"]), "default"), {"a": AWAY, "b": AWAY},
    ),
    "one place is left": (
        COUNTRIES, [("a", ({"foo": "abc"}, [], []), "default")], (({}, [], ["foo in abc @region"]), "default"), {"a": AWAY, "b": AWAY},
    ),
    "who is elsewhere means others": (
        COUNTRIES,
        [("a", ({"foo": "bar"}, [], []), "ns1"), ("c", ({}, [], ["foo in 123 @region"]), "ns2")],
        (({"foo": "123"}, [], ["foo in bar @region"]), "ns1"), {"a": AWAY, "b": AWAY},
    ),
    "they name a label that no node has": (
        SAME, [("a", ({}, [], ["foo @no"]), "default")], (({"foo": ""}, [], []), "default"), {},
    ),
    "it names a label that no node has": (
        SAME, [("a", ({"foo": ""}, [], []), "default")], (({}, [], ["foo @no"]), "default"), {},
    ),
    "one of them here, the other there": (
        R1, [("a", ({}, [], ["foo @zone"]), "default"), ("a", ({}, [], ["bar @region"]), "default")],
        (({"foo": "", "bar": ""}, [], []), "default"), {"a": THEIRS, "b": THEIRS},
    ),
    "one term here, the other everywhere": (
        R1, [("a", ({"foo": ""}, [], []), "default"), ("b", ({"bar": ""}, [], []), "default")],
        (({}, [], ["foo @zone", "bar @region"]), "default"), {"a": AWAY, "b": AWAY},
    ),
    "of their terms one names a label that no node has": (
        R1, [("a", ({}, [], ["foo @no", "bar @zone"]), "default")], (({"foo": "", "bar": ""}, [], []), "default"), {"a": THEIRS},
    ),
    "of its terms one names a label that no node has": (
        R1, [("a", ({"foo": "", "bar": ""}, [], []), "default")], (({}, [], ["foo @no", "bar @zone"]), "default"), {"a": AWAY},
    ),
    "both terms of theirs": (
        R1, [("a", ({}, [], ["foo @region", "bar @zone"]), "default")],
        (({"foo": "", "bar": ""}, [], []), "default"), {"a": THEIRS, "b": THEIRS},
    ),
    "both terms of its own": (
        R1, [("a", ({"foo": "", "bar": ""}, [], []), "default")],
        (({}, [], ["foo @region", "bar @zone"]), "default"), {"a": AWAY, "b": AWAY},
    ),
    "one place is free of both": (
        R1 | {"c": {"region": "r1", "zone": "z3"}},
        [("a", ({}, [], ["foo @zone", "other @zone"]), "default"), ("b", ({}, [], ["bar @zone", "more @zone"]), "default")],
        (({"foo": "", "bar": ""}, [], []), "default"), {"a": THEIRS, "b": THEIRS},
    ),
    "near by all terms": (
        SAME, [("a", ({"foo": "", "bar": ""}, [], []), "default")], (({}, ["foo @region", "bar @zone"], []), "default"), {},
    ),
    "near by all terms, of which one is narrower": (
        R1, [("a", ({"foo": "", "bar": ""}, [], []), "default")], (({}, ["foo @region", "bar @zone"], []), "default"), {"b": NEAR},
    ),
    "no label, no company": (
        {"a": CHINA, "b": {}}, [("b", ({"foo": "bar"}, [], []), "default")],
        (({}, ["foo in bar @region"], []), "default"), {"a": NEAR, "b": NEAR},
    ),
    "the first of its like needs the label too": (
        {"a": CHINA, "b": {}}, [], (({"foo": "bar"}, ["foo in bar @region"], []), "default"), {"b": NEAR},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ON_SEVERAL)
def test_places_are_those_of_kube_scheduler(case: str) -> None:
    nodes, placed, ((labels, near, away), namespace), wanted = ON_SEVERAL[case]
    table = NodeTable()
    for name, node_labels in nodes.items():
        table.put_node(with_labels(make_node(name), node_labels))
    for name, one, place in placed:
        put(table, name, one, place)
    pod = make_pod("p", namespace, labels=labels, affinity=social(near, away))
    assert answers(KeepsCompany(), pod, table) == {n: (wanted[n],) if n in wanted else () for n in nodes}
