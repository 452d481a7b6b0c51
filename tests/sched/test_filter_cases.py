"""Filters that look at one node: the answers that kube-scheduler has for these Pods and nodes."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from kubelib.api.core.affinity import Affinity, NodeAffinity
from kubelib.api.core.container import Container, ContainerPort, ResourceRequirements
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import NodeSelector, NodeSelectorTerm
from kubelib.api.model import replace
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.policies.filters import (
    FitsResources,
    HasFreePorts,
    HasName,
    IsAllowed,
    IsSchedulable,
    MatchesNodeAffinity,
    ToleratesTaints,
)
from kubelib.testing.objects import make_node, make_pod
from tests.sched.layouts import answers, asking, tolerations, with_labels, with_taints
from tests.sched.layouts import node_term as term

AFFINITY = "node(s) didn't match Pod's node affinity/selector"
ENFORCED = "node(s) didn't match scheduler-enforced node affinity"
NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
UNTOLERATED = "node(s) had untolerated taint(s)"
PORTS = "node(s) didn't have free ports for the requested pod ports"
FOO = {"foo": "bar"}


def ask(condition: Any, pod: Pod, node: Node, there: Sequence[Pod] = ()) -> tuple[str, ...]:
    table = NodeTable()
    table.put_node(node)
    for number, other in enumerate(there):
        other = replace(other, metadata=replace(other.metadata, uid=f"there-{number}"))
        table.put_pod(PodInfo.of(other), node.metadata.name)
    return answers(condition, pod, table)[node.metadata.name]


def terms(*alternatives: NodeSelectorTerm) -> Affinity:
    return Affinity(
        node_affinity=NodeAffinity(
            required_during_scheduling_ignored_during_execution=NodeSelector(node_selector_terms=alternatives)
        )
    )


NODES: Mapping[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "no label": ({"node_selector": FOO}, {}, AFFINITY),
    "the label": ({"node_selector": FOO}, FOO, ""),
    "more labels": ({"node_selector": FOO}, FOO | {"baz": "blah"}, ""),
    "fewer labels": ({"node_selector": FOO | {"baz": "blah"}}, FOO, AFFINITY),
    "In": ({"affinity": terms(term("foo In bar,value2"))}, FOO, ""),
    "Gt": ({"affinity": terms(term("kernel Gt 0204"))}, {"kernel": "0206"}, ""),
    "Gt of the same": ({"affinity": terms(term("kernel Gt 0204"))}, {"kernel": "204"}, AFFINITY),
    "Lt of what is no number here": ({"affinity": terms(term("rank Lt 2000"))}, {"rank": "1_000"}, AFFINITY),
    "NotIn": ({"affinity": terms(term("mem NotIn DDR,DDR2"))}, {"mem": "DDR3"}, ""),
    "Exists": ({"affinity": terms(term("GPU Exists"))}, {"GPU": "K1"}, ""),
    "other values": ({"affinity": terms(term("foo In value1,value2"))}, FOO, AFFINITY),
    "an empty term": ({"affinity": terms(term())}, FOO, AFFINITY),
    "no terms": ({"affinity": terms()}, FOO, AFFINITY),
    "nothing required": ({"affinity": Affinity(node_affinity=NodeAffinity())}, FOO, ""),
    "two requirements": ({"affinity": terms(term("GPU Exists", "GPU NotIn AMD,INTER"))}, {"GPU": "K1"}, ""),
    "one of two requirements": ({"affinity": terms(term("GPU Exists", "GPU In AMD,INTER"))}, {"GPU": "K1"}, AFFINITY),
    "one of two terms": ({"affinity": terms(term("foo In bar,value2"), term("diff In wrong,value2"))}, FOO, ""),
    "selector and affinity": ({"node_selector": FOO, "affinity": terms(term("foo Exists"))}, FOO, ""),
    "affinity, but not the selector": (
        {"node_selector": FOO, "affinity": terms(term("foo Exists"))}, {"foo": "barrrrrr"}, AFFINITY,
    ),
    "its name": ({"affinity": terms(term(fields=["In one"]))}, {}, ""),
    "another name": ({"affinity": terms(term(fields=["In two"]))}, {}, NAMED),
    "not that name": ({"affinity": terms(term(fields=["NotIn one"]))}, {}, AFFINITY),
    "two names, or a label": ({"affinity": terms(term(fields=["In two", "In one"]), term("foo In bar"))}, FOO, ""),
    "another name and the label": ({"affinity": terms(term("foo In bar", fields=["In two"]))}, FOO, NAMED),
    "its name and the label": ({"affinity": terms(term("foo In bar", fields=["In one"]))}, FOO, ""),
    "its name, but not the label": ({"affinity": terms(term("foo In no", fields=["In one"]))}, FOO, AFFINITY),
    "neither name nor label": ({"affinity": terms(term(fields=["In two"]), term("foo In no"))}, FOO, AFFINITY),
    "one of two names": ({"affinity": terms(term(fields=["In two"]), term(fields=["In one"]))}, {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", NODES)
def test_node_affinity_is_that_of_kube_scheduler(case: str) -> None:
    spec, labels, why = NODES[case]
    node = with_labels(make_node("one"), labels)
    assert ask(MatchesNodeAffinity(), make_pod(**spec), node) == ((why,) if why else ())


@pytest.mark.parametrize(
    ("added", "wanted", "why"),
    [
        (term(fields=["In one"]), term("zone In foo"), ""),
        (term(fields=["In one"]), term("zone In bar"), AFFINITY),
        (term("zone In bar"), None, ENFORCED),
    ],
)
def test_a_profile_may_enforce_affinity(
    added: NodeSelectorTerm, wanted: NodeSelectorTerm | None, why: str
) -> None:
    pod = make_pod(affinity=terms(wanted) if wanted is not None else None)
    node = with_labels(make_node("one"), {"zone": "foo"})
    assert ask(IsAllowed(NodeSelector(node_selector_terms=(added,))), pod, node) == ((why,) if why else ())


def test_nodes_that_a_pod_does_not_name_are_counted_for_that_whatever_else_is_wrong_with_them() -> None:
    full = make_node("one", allocatable={"cpu": "1", "memory": "1Gi", "pods": "10"})
    cordoned = make_node("two")
    table = NodeTable()
    for node in (
        full,
        replace(cordoned, spec=replace(cordoned.spec, unschedulable=True)),
        make_node("three"),
    ):
        table.put_node(node)
    wanted = ResourceRequirements(requests={"cpu": "2"})
    options: dict[str, Any] = {"containers": (Container(name="c", resources=wanted),)}

    def message(affinity: Affinity) -> str:
        return (
            Cycle(table, default_policy(), Random(1))
            .decide(PodInfo.of(make_pod(affinity=affinity, **options)))
            .message
        )

    assert (
        message(terms(term(fields=["In one"]))) == f"0/3 nodes are available: 1 Insufficient cpu, 2 {NAMED}."
    )
    assert message(terms(term(fields=["In gone"]))) == f"0/3 nodes are available: 3 {NAMED}."
    assert (
        message(terms(term(fields=["In one", "In two"])))
        == "0/3 nodes are available: pod affinity terms conflict."
    )


@pytest.mark.parametrize(
    ("tolerated", "there", "fits"),
    [
        ("", "dedicated user1 NoSchedule", False),
        ("dedicated - user1 NoSchedule", "dedicated user1 NoSchedule", True),
        ("dedicated Equal user2 NoSchedule", "dedicated user1 NoSchedule", False),
        ("foo Exists - NoSchedule", "foo bar NoSchedule", True),
        ("dedicated Equal user2 NoSchedule;foo Exists - NoSchedule", "dedicated user2 NoSchedule;foo bar NoSchedule", True),
        ("foo Equal bar PreferNoSchedule", "foo bar NoSchedule", False),
        ("foo Equal bar -", "foo bar NoSchedule", True),
        ("dedicated Equal user2 NoSchedule", "dedicated user1 PreferNoSchedule", True),
        ("", "dedicated user1 PreferNoSchedule", True),
        ("", "dedicated user1 NoExecute", False),
        ("- Exists - -", "dedicated user1 NoExecute;foo bar NoSchedule", True),
        # Numbers are not compared unless somebody switches it on.
        ("level Gt 750 NoSchedule", "level 950 NoSchedule", False),
        ("dedicated Equal user1 NoSchedule;level Gt 750 NoSchedule", "dedicated user1 NoSchedule", True),
    ],
)  # fmt: skip
def test_taints_are_tolerated_as_kube_scheduler_says(tolerated: str, there: str, fits: bool) -> None:
    node = with_taints(make_node("one"), there)
    found = ask(ToleratesTaints(), make_pod(tolerations=tolerations(tolerated)), node)
    assert found == (() if fits else (UNTOLERATED,))


def test_who_tolerates_the_taint_of_cordoned_nodes_goes_there() -> None:
    node = make_node("one")
    node = replace(node, spec=replace(node.spec, unschedulable=True))
    tolerant = make_pod(tolerations=tolerations("node.kubernetes.io/unschedulable - - NoSchedule"))
    assert ask(IsSchedulable(), make_pod(), node) == ("node(s) were unschedulable",)
    assert ask(IsSchedulable(), tolerant, node) == ask(IsSchedulable(), make_pod(), make_node("one")) == ()
    assert (
        ask(HasName(), make_pod(node="one"), make_node("one"))
        == ask(HasName(), make_pod(), make_node("one"))
        == ()
    )
    assert ask(HasName(), make_pod(node="bar"), make_node("one")) == (
        "node(s) didn't match the requested node name",
    )


def with_ports(text: str, kind: str = "containers") -> Pod:
    ports = tuple(
        ContainerPort(container_port=int(number), host_port=int(number), host_ip=address, protocol=protocol)
        for protocol, address, number in (part.split("/") for part in text.split())
    )
    container = Container(name="c", ports=ports, restart_policy="Always" if kind == "sidecar" else "")
    if kind == "containers":
        return make_pod(containers=(container,))
    return make_pod(containers=(), init_containers=(container,))


@pytest.mark.parametrize(
    ("wanted", "there", "fits"),
    [
        ("UDP/127.0.0.1/8080", "UDP/127.0.0.1/9090", True),
        ("UDP/127.0.0.1/8080", "UDP/127.0.0.1/8080", False),
        ("TCP/127.0.0.1/8080", "TCP/127.0.0.1/8080", False),
        ("TCP/127.0.0.1/8080", "TCP/127.0.0.2/8080", True),
        ("UDP/127.0.0.1/8080", "TCP/127.0.0.1/8080", True),
        ("UDP/127.0.0.1/8000 UDP/127.0.0.1/8080", "UDP/127.0.0.1/8080", False),
        ("TCP/127.0.0.1/8001 UDP/127.0.0.1/8080", "TCP/127.0.0.1/8001 UDP/127.0.0.1/8081", False),
        ("TCP/0.0.0.0/8001", "TCP/127.0.0.1/8001", False),
        ("TCP/10.0.10.10/8001 TCP/0.0.0.0/8001", "TCP/127.0.0.1/8001", False),
        ("TCP/127.0.0.1/8001", "TCP/0.0.0.0/8001", False),
        ("UDP/127.0.0.1/8001", "TCP/0.0.0.0/8001", True),
        ("UDP/127.0.0.1/8001", "TCP/0.0.0.0/8001 UDP/0.0.0.0/8001", False),
        ("//8001", "TCP/127.0.0.1/8001", False),
    ],
)
def test_ports_are_free_as_kube_scheduler_says(wanted: str, there: str, fits: bool) -> None:
    found = ask(HasFreePorts(), with_ports(wanted), make_node("one"), [with_ports(there)])
    assert found == (() if fits else (PORTS,))


def test_ports_of_sidecars_count_and_those_of_init_containers_do_not() -> None:
    there = [with_ports("TCP/0.0.0.0/8001")]
    assert ask(HasFreePorts(), with_ports("TCP//8001", "init"), make_node("one"), there) == ()
    assert ask(HasFreePorts(), with_ports("TCP//8001", "sidecar"), make_node("one"), there) == (PORTS,)


A, B, K, H = "example.com/aaa", "example.com/bbb", "kubernetes.io/something", "hugepages-2Mi"
ROOM = {"cpu": "10m", "memory": "20", "pods": "32", A: "5", "ephemeral-storage": "20", H: "5"}


@pytest.mark.parametrize(
    ("wanted", "there", "short"),
    [
        ("", "10m 20", ""),
        ("1m 1", "10m 20", "cpu memory"),
        ("3m 1|1m 1", "8m 19", "cpu"),
        ("3m 1,2m 1|1m 1", "8m 19", "cpu"),
        ("1m 3|1m 1", "9m 19", "memory"),
        ("1m 3,1m 2|1m 1", "9m 19", "memory"),
        ("1m 1|1m 1", "9m 19", ""),
        ("1m 1,1m 1|1m 1", "9m 19", ""),
        ("1m 1", "5m 5", ""),
        ("2m 1", "9m 5", "cpu"),
        ("1m 2", "5m 19", "memory"),
        ("5m 1", "5m 19", ""),
        ("5m 1|4m 1", "5m 19", ""),
        (f"{A}=1", "", ""),
        (f"{A}=1|", "", ""),
        (f"1m 1 {A}=10", f"{A}=0", A),
        (f"1m 1 {A}=10|", f"{A}=0", A),
        (f"1m 1 {A}=1", f"{A}=5", A),
        (f"{A}=3,{A}=3", f"{A}=2", A),
        (f"{A}=3,{A}=3|", f"{A}=2", ""),
        (f"{A}=6,{A}=3|", f"{A}=2", A),
        (f"1m 1 {B}=1", "", B),
        (f"1m 1 {B}=1|", "", B),
        (f"1m 1 {K}=10", "", K),
        (f"1m 1 {H}=10|", f"{H}=0", H),
        (f"{H}=3,{H}=3", f"{H}=2", H),
        (f"{B}=0", "", ""),
        ("ephemeral-storage=25", "2m 2", "ephemeral-storage"),
        ("ephemeral-storage=10", "2m 2", ""),
    ],
)
def test_what_is_short_is_what_kube_scheduler_says(wanted: str, there: str, short: str) -> None:
    found = ask(FitsResources(), asking(wanted), make_node("one", allocatable=ROOM), [asking(there)])
    assert sorted(found) == [f"Insufficient {name}" for name in short.split()]


@pytest.mark.parametrize(
    ("ignored", "groups", "wanted", "short"),
    [
        ([B], [], f"1m 1 {B}=1", ""),
        ([A], [], f"1m 1 {A}=9 {B}=1", B),
        ([], [B.partition("/")[0]], f"1m 1 {A}=9 {B}=1", ""),
        ([], ["other.example"], f"{B}=1", B),
        (["cpu", H, K], ["kubernetes.io"], f"20m 1 {K}=1 {H}=9", f"{H} {K} cpu"),
        ([B], [], f"20m 1 {B}=1", "cpu"),
    ],
)
def test_extended_resources_that_are_ignored_are_another_s_to_mind(
    ignored: list[str], groups: list[str], wanted: str, short: str
) -> None:
    fitting, pod = FitsResources(ignored, groups), PodInfo.of(asking(wanted))
    nodes = NodeTable()
    nodes.put_node(make_node("one", allocatable=ROOM))
    expected = [f"Insufficient {name}" for name in sorted(short.split())]
    everywhere = np.array([0])
    assert sorted(fitting.reasons(pod, nodes, 0)) == expected
    assert fitting.fits_row(pod, nodes, 0) == (not expected)
    assert np.all(fitting.fits(pod, nodes, everywhere)) == (not expected)
    for verdict in (fitting.may_pass(pod, nodes), fitting.fits_with(pod, nodes, np.zeros_like(nodes.free))):
        assert np.broadcast_to(verdict, nodes.size)[0] == (not expected)
    if expected:
        assert sorted(fitting.count_reasons(pod, nodes, everywhere)) == expected


@pytest.mark.parametrize(
    ("overhead", "short"), [(("3m", "13"), ()), (("1m", "15"), ("Insufficient memory",))]
)
def test_overhead_counts(overhead: tuple[str, str], short: tuple[str, ...]) -> None:
    pod = asking("1m 1", overhead=dict(zip(("cpu", "memory"), overhead, strict=True)))
    assert ask(FitsResources(), pod, make_node("one", allocatable=ROOM), [asking("5m 5")]) == short


@pytest.mark.parametrize(
    ("wanted", "there"), [("", "10m 20"), ("1m 1", "5m 5"), ("5m 1", "5m 19"), ("5m 1|5m 1", "5m 19")]
)
def test_where_no_place_is_left_even_small_pods_are_too_many(wanted: str, there: str) -> None:
    node = make_node("one", allocatable={"cpu": "10m", "memory": "20", "pods": "1"})
    assert ask(FitsResources(), asking(wanted), node, [asking(there)]) == ("Too many pods",)
