"""Small clusters written as texts, for tables of cases."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kubelib.api.core.affinity import (
    Affinity,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    Toleration,
    TopologySpreadConstraint,
)
from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.machinery import LabelSelector, LabelSelectorRequirement
from kubelib.api.model import replace
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.testing.objects import make_node, make_pod

HOST, ZONE, NODE = "kubernetes.io/hostname", "zone", "node"
ZONES = {"a": "1", "b": "1", "x": "2", "y": "2"}
TAINT = Taint(key="k", effect="NoSchedule")


def constraint(key: str, skew: int = 1, app: str | None = "foo", **options: Any) -> TopologySpreadConstraint:
    selector = LabelSelector(match_labels={app: ""}) if app is not None else None
    return TopologySpreadConstraint(
        max_skew=skew,
        topology_key=key,
        when_unsatisfiable=options.pop("unsatisfiable", "ScheduleAnyway"),
        label_selector=selector,
        **options,
    )


def with_labels(node: Node, labels: dict[str, str]) -> Node:
    return replace(node, metadata=replace(node.metadata, labels=labels))


def layout(text: str) -> NodeTable:
    """Make nodes of ``name:pod,pod``, by marks after the name and letters of Pods.

    ``-`` has no labels, ``~`` none for itself, ``+`` the label foo, ``!`` a taint; f and b are labels, o is elsewhere, g is going.
    """
    table = NodeTable()
    number = 0
    for part in text.split():
        name, _, pods = part.partition(":")
        name, mark = name[0], name[1:]
        labels = {HOST: name, NODE: name, ZONE: ZONES.get(name, "3")} if mark != "-" else {"other": name}
        if mark == "~":
            del labels[NODE]
        if mark == "+":
            labels["foo"] = ""
        made = with_labels(make_node(name), labels)
        if mark == "!":
            made = replace(made, spec=replace(made.spec, taints=(TAINT,)))
        table.put_node(made)
        for kind in filter(None, pods.split(",")):
            number += 1
            owned = {"bar" if letter == "b" else "foo": "" for letter in kind}
            gone = {"deletion_timestamp": "2026-01-01T00:00:00Z"} if kind == "g" else {}
            place = "elsewhere" if kind == "o" else "default"
            made_pod = make_pod(f"p{number}", place, uid=f"p{number}", labels=owned, metadata=gone)
            table.put_pod(PodInfo.of(made_pod), name)
    return table


def _requirement(text: str) -> LabelSelectorRequirement:
    key, *rest = text.split()
    if not rest:
        operator = "DoesNotExist" if key.startswith("!") else "Exists"
        return LabelSelectorRequirement(key=key.lstrip("!"), operator=operator)
    operator = {"in": "In", "notin": "NotIn"}[rest[0]]
    return LabelSelectorRequirement(key=key, operator=operator, values=tuple(rest[1].split(",")))


def pod_term(text: str, **options: Any) -> PodAffinityTerm:
    """Make a term of ``key in a,b & !key @topology``, with namespaces after ``#``."""
    text, _, namespaces = text.partition("#")
    wanted, _, topology = text.partition("@")
    return PodAffinityTerm(
        label_selector=LabelSelector(match_expressions=tuple(map(_requirement, wanted.split("&")))),
        topology_key=topology.strip(),
        namespaces=tuple(namespaces.split()),
        **options,
    )


def social(near: Sequence[str] = (), away: Sequence[str] = ()) -> Affinity:
    """Make what is required of neighbours of terms."""
    return Affinity(
        pod_affinity=PodAffinity(
            required_during_scheduling_ignored_during_execution=tuple(map(pod_term, near))
        ),
        pod_anti_affinity=PodAntiAffinity(
            required_during_scheduling_ignored_during_execution=tuple(map(pod_term, away))
        ),
    )


def answers(condition: Any, pod: Pod, table: NodeTable) -> dict[str, tuple[str, ...]]:
    """Return why a filter refuses each node; nothing if it does not."""
    info = PodInfo.of(pod)
    found: dict[str, tuple[str, ...]] = {}
    for name, row in table.rows.items():
        fits = condition.fits(info, table, slice(0, table.size))
        fits = bool(fits if isinstance(fits, bool) else fits[row])
        found[name] = () if fits else tuple(condition.reasons(info, table, row))
    return found


def points(score: Any, pod: Pod, table: NodeTable) -> dict[str, float]:
    """Return what a score gives each node."""
    info = PodInfo.of(pod)
    concerned = score.concerns(info, table) if hasattr(score, "concerns") else True
    rows = np.array(list(table.rows.values()), np.int64)
    given = score.score(info, table, rows) if concerned else 0.0
    return dict(zip(table.rows, np.broadcast_to(given, len(rows)).tolist(), strict=True))


def asking(text: str, **spec: Any) -> Pod:
    """Make a Pod of containers that ask for ``cpu memory resource=amount``; init containers stand before a bar."""
    before, _, after = text.rpartition("|")

    def container(number: int, part: str) -> Container:
        names = iter(("cpu", "memory"))
        pairs = [word.rpartition("=") for word in part.split()]
        requests = {name or next(names): amount for name, _, amount in pairs}
        return Container(name=f"c{number}", resources=ResourceRequirements(requests=requests))

    def all_of(texts: str) -> tuple[Container, ...]:
        return tuple(container(n, part) for n, part in enumerate(texts.split(",")) if part.strip())

    return make_pod(containers=all_of(after), init_containers=all_of(before), **spec)


def tolerations(text: str) -> tuple[Toleration, ...]:
    """Make tolerations of ``key operator value effect``, with ``-`` for nothing."""
    made = []
    for part in filter(None, text.split(";")):
        key, operator, value, effect = (word if word != "-" else "" for word in part.split())
        made.append(Toleration(key=key, operator=operator, value=value, effect=effect))
    return tuple(made)


def with_taints(node: Node, text: str) -> Node:
    """Give a node taints of ``key value effect``."""
    parts = (part.split() for part in filter(None, text.split(";")))
    taints = tuple(Taint(key=key, value=value, effect=effect) for key, value, effect in parts)
    return replace(node, spec=replace(node.spec, taints=taints))


def node_term(*wanted: str, fields: Sequence[str] = ()) -> NodeSelectorTerm:
    """Make a term of ``key operator value,value``, and of such about the node's name."""

    def requirement(text: str) -> NodeSelectorRequirement:
        key, operator, *values = text.split(" ", 2)
        values = [value for texts in values for value in texts.split(",")]
        return NodeSelectorRequirement(key=key, operator=operator, values=tuple(values))

    return NodeSelectorTerm(
        match_expressions=tuple(map(requirement, wanted)),
        match_fields=tuple(requirement(f"metadata.name {text}") for text in fields),
    )
