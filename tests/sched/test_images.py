from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from kubelib.api.core.container import Container
from kubelib.api.core.node import ContainerImage, Node
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import HasImages, default_policy
from kubelib.testing.objects import make_node, make_pod

MB = 1024 * 1024


def node(name: str, **images: int) -> Node:
    return make_node(
        name,
        images=tuple(ContainerImage(names=(f"{i}:latest",), size_bytes=s * MB) for i, s in images.items()),
    )


def pod(*images: str) -> PodInfo:
    containers = tuple(Container(name=f"c{n}", image=image) for n, image in enumerate(images))
    return PodInfo.of(make_pod("p", uid="u", containers=containers))


def table_of(*nodes: Node) -> NodeTable:
    table = NodeTable()
    for one in nodes:
        table.put_node(one)
    return table


def scores(table: NodeTable, info: PodInfo) -> list[float]:
    found = np.broadcast_to(HasImages().score(info, table, slice(0, table.size)), table.size)
    return [float(found[table.rows[name]]) for name in sorted(table.rows)]


def test_scores_are_those_of_kubernetes() -> None:
    table = table_of(node("n0", web=40, db=300), node("n1", web=2000), node("n2"))
    # db: 300 MB on one of three nodes counts as 100; two containers count up to 2000 MB.
    assert scores(table, pod("db", "none")) == [float((100 - 23) * 100 // (2000 - 23)), 0, 0]
    assert scores(table, pod("web:latest")) == [0, 100, 0]
    assert scores(table, pod("web", "db:1")) == [0, float(int((2000 * 2 / 3 - 23) * 100 / 1977)), 0]


@pytest.mark.parametrize(
    ("images", "bare", "wanted"),
    [
        (("40", "250"), 0, [0, 5]),
        (("40", "300"), 0, [7, 0]),
        (("10", "2000"), 0, [49, 0]),
        (("10", "2000"), 1, [32, 0, 0]),
        (("40",), 0, [0, 0]),
        (("2000",), 0, [100, 0]),
    ],
)
def test_images_are_worth_what_kube_scheduler_says(
    images: Sequence[str], bare: int, wanted: Sequence[int]
) -> None:
    sizes = [(40, 300, 2000), (250, 10), *[()] * bare]
    machines = [node(f"n{n}", **{str(s): s for s in those}) for n, those in enumerate(sizes)]
    assert scores(table_of(*machines), pod(*images)) == wanted


def test_the_default_policy_prefers_a_node_that_has_the_image() -> None:
    table = table_of(*(node(f"n{n}", **({"web": 900} if n > 3 else {})) for n in range(6)))
    cycle = Cycle(table, default_policy(), Random(1))
    assert cycle.decide(pod("web")).node in {"n4", "n5"}
    assert cycle.decide(pod("other")).node not in {"n4", "n5"}


def test_only_images_that_matter_concern_a_pod_and_what_nodes_have_is_kept_up_to_date() -> None:
    table = table_of(node("n0", small=20, web=400), node("n1"))
    concerns = HasImages().concerns
    assert concerns(pod("web"), table)
    assert not concerns(pod("small"), table)
    assert not concerns(pod("web:2"), table)
    table.put_node(node("n0", small=20))
    assert not concerns(pod("web"), table)
    table.put_node(node("n1", web=400))
    assert scores(table, pod("web")) == [0, (200 - 23) * 100 // 977]
    table.remove_node("n1")
    assert not concerns(pod("web"), table)
