"""What no scheduler can do anything about, on a running API server: the Pod says why, the scheduler lives, no Pod is forgotten."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import pytest

from kubelib.api.core.affinity import (
    Affinity,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    TopologySpreadConstraint,
)
from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import AlreadyExists, Conflict, NotFound
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.registry.base import Patch, Query
from kubelib.testing import Cluster
from kubelib.testing.objects import make_node, make_pod

ZONE = "topology.kubernetes.io/zone"
OFFERED = {"cpu": "4", "memory": "8Gi", "pods": "20"}
X = LabelSelector(match_labels={"app": "x"})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(scheduler=True) as found:
        yield found


@pytest.fixture(autouse=True)
def empty(cluster: Cluster) -> None:
    """Take away what other tests have left."""
    for pod in cluster.call(cluster.client.resource(Pod).list).items:
        remove(cluster, pod.key.name)
    for node in cluster.call(cluster.client.resource(Node).list).items:
        cluster.call(cluster.client.resource(Node).delete, node.key)


def add_node(cluster: Cluster, name: str, **labels: str) -> None:
    node = make_node(name, allocatable=OFFERED)
    named = {"kubernetes.io/hostname": name, **labels}
    cluster.call(
        cluster.client.resource(Node).create, replace(node, metadata=replace(node.metadata, labels=named))
    )


def asking(cpu: str) -> tuple[Container, ...]:
    return (Container(name="main", image="x", resources=ResourceRequirements(requests={"cpu": cpu})),)


def add_pod(cluster: Cluster, name: str, cpu: str = "100m", **spec: Any) -> None:
    cluster.call(cluster.client.resource(Pod).create, make_pod(name, containers=asking(cpu), **spec))


def remove(cluster: Cluster, pod: str) -> None:
    cluster.call(partial(cluster.client.resource(Pod).delete, grace=0), Key("default", pod))


def get(cluster: Cluster, name: str) -> Pod:
    pod: Pod = cluster.call(cluster.client.resource(Pod).get, Key("default", name))
    return pod


def why(cluster: Cluster, name: str) -> str:
    conditions = get(cluster, name).status.conditions
    return next((c.message for c in conditions if c.type == "PodScheduled" and c.status == "False"), "")


def says(cluster: Cluster, name: str, *parts: str) -> None:
    """Wait until a Pod has no node and says why."""
    cluster.eventually(lambda: all(part in why(cluster, name) for part in parts) or None, within=60)
    assert not get(cluster, name).spec.node_name


def is_bound(cluster: Cluster, name: str) -> str:
    return cluster.eventually(lambda: get(cluster, name).spec.node_name, within=60)


def to(pods: LabelSelector, key: str = ZONE) -> tuple[PodAffinityTerm, ...]:
    return (PodAffinityTerm(label_selector=pods, topology_key=key),)


def both(key: str = ZONE) -> Affinity:
    """Return the wish to be, and not to be, where the same Pods are."""
    return Affinity(
        pod_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=to(X, key)),
        pod_anti_affinity=PodAntiAffinity(required_during_scheduling_ignored_during_execution=to(X, key)),
    )


IMPOSSIBLE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "more than any node has": ({"cpu": "5000"}, ("0/2 nodes are available", "2 Insufficient cpu")),
    "a number beyond 64 bits": ({"cpu": "9E"}, ("2 Insufficient cpu",)),
    "near and away from the same": (
        {"affinity": both(), "labels": {"app": "y"}},
        ("2 node(s) didn't match pod affinity rules",),
    ),
    "near to none": (
        {"affinity": Affinity(pod_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=to(X, "no-such-label")))},
        ("2 node(s) didn't match pod affinity rules",),
    ),
    "spread over a label that no node has": (
        {"topology_spread_constraints": (TopologySpreadConstraint(max_skew=1, topology_key="no-such-label", when_unsatisfiable="DoNotSchedule", label_selector=X),)},
        ("2 node(s) didn't match pod topology spread constraints (missing required label)",),
    ),
    "a node by a label that none has": (
        {"node_selector": {"no-such": "label"}},
        ("2 node(s) didn't match Pod's node affinity/selector",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_pod_that_can_never_be_anywhere_says_why_and_stops_nobody(cluster: Cluster, name: str) -> None:
    for node in ("n0", "n1"):
        add_node(cluster, node, **{ZONE: "a"})
    spec, expected = IMPOSSIBLE[name]
    for number in range(5):
        add_pod(cluster, f"never-{number}", **spec)
    says(cluster, "never-0", *expected)
    add_pod(cluster, "ordinary")
    assert is_bound(cluster, "ordinary")
    for number in range(5):
        says(cluster, f"never-{number}", *expected)


def test_contradictory_wishes_say_which_of_them_fails_as_pods_come_and_go(cluster: Cluster) -> None:
    add_node(cluster, "n0", **{ZONE: "a"})
    add_pod(cluster, "torn", affinity=both(), labels={"app": "y"})
    says(cluster, "torn", "didn't match pod affinity rules")
    add_pod(cluster, "liked", labels={"app": "x"})
    assert is_bound(cluster, "liked") == "n0"
    says(cluster, "torn", "didn't match pod anti-affinity rules")
    remove(cluster, "liked")
    says(cluster, "torn", "didn't match pod affinity rules")


def test_pods_that_all_want_to_be_alone_and_together_are_one(cluster: Cluster) -> None:
    """The first of its like may start anywhere; no second one can be both near it and away from it."""
    add_node(cluster, "n0", **{ZONE: "a"})
    add_node(cluster, "n1", **{ZONE: "b"})
    for number in range(4):
        add_pod(cluster, f"p{number}", affinity=both(), labels={"app": "x"})

    def judged() -> tuple[int, int] | None:
        bound = sum(bool(get(cluster, f"p{n}").spec.node_name) for n in range(4))
        told = sum(bool(why(cluster, f"p{n}")) for n in range(4))
        return (bound, told) if bound + told == 4 else None

    assert cluster.eventually(judged, within=60) == (1, 3)


def nodes_are_kept_to(cluster: Cluster) -> None:
    """Check that no node has more than there is, and that Pods are on nodes that were there."""
    used: dict[str, int] = {}
    for pod in cluster.call(cluster.client.resource(Pod).list, Query("default")).items:
        if pod.spec.node_name:
            used[pod.spec.node_name] = used.get(pod.spec.node_name, 0) + 1
    assert all(count <= 4 for count in used.values()), used


@pytest.mark.parametrize("seed", range(3))
def test_while_nodes_flap_no_pod_is_forgotten_or_bound_twice(cluster: Cluster, seed: int) -> None:
    """Nodes become unready, go, and come back under their old name while Pods wait and come."""
    random = Random(seed)
    homes: dict[str, set[str]] = {}
    unready = [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]

    def taint(name: str) -> None:
        patch = Patch("merge", {"spec": {"taints": random.choice([unready, None])}})
        cluster.call(cluster.client.resource(Node).patch, Key("", name), patch)

    def drop(name: str) -> None:
        cluster.call(cluster.client.resource(Node).delete, Key("", name))

    changes: list[Callable[[str], None]] = [taint, taint, drop, lambda name: add_node(cluster, name)]
    for number in range(30):
        name = f"n{random.randrange(4)}"
        with suppress(NotFound, AlreadyExists, Conflict):
            random.choice(changes)(name)
        if number % 3 == 0:
            add_pod(cluster, f"p{number // 3}", "1")
        for pod in cluster.call(cluster.client.resource(Pod).list, Query("default")).items:
            if pod.spec.node_name:
                homes.setdefault(pod.metadata.uid, set()).add(pod.spec.node_name)
        nodes_are_kept_to(cluster)
    # In the end there is room for all.
    for number in range(10, 14):
        add_node(cluster, f"n{number}")
    for number in range(10):
        homes.setdefault(get(cluster, f"p{number}").metadata.uid, set()).add(is_bound(cluster, f"p{number}"))
    nodes_are_kept_to(cluster)
    assert len(homes) == 10
    assert all(len(nodes) == 1 for nodes in homes.values())
