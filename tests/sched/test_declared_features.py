"""Pods that need something of their node go only where it has been declared."""

from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, ContainerRestartRule, ContainerRestartRuleOnExitCodes
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.declaredfeatures import RESTART_ALL
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.registry.base import Patch
from kubelib.sched.cycle import Cycle
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.testing.objects import make_node, make_pod
from tests.sched.conftest import World
from tests.sched.test_engine import table_of

WORDS = "node(s) didn't match Pod's required features"
DONE = ContainerRestartRuleOnExitCodes(operator="In", values=(42,))


def ruled(action: str = "RestartAllContainers", **more: Any) -> Container:
    rules = (ContainerRestartRule(action=action, exit_codes=DONE),)
    return Container(name="c", image="i", restart_policy="Never", restart_policy_rules=rules, **more)


def declaring(name: str, *features: str) -> Node:
    node = make_node(name)
    return replace(node, status=replace(node.status, declared_features=features))


def decided(pod: Pod, *nodes: Node) -> tuple[str, str]:
    verdict = Cycle(table_of(*nodes), default_policy(), Random(1)).decide(PodInfo.of(pod))
    return verdict.node, verdict.message


PLAIN = Container(name="m", image="i")


@pytest.mark.parametrize(
    "spec", [{"containers": (ruled(),)}, {"containers": (PLAIN,), "init_containers": (ruled(),)}]
)
def test_a_pod_whose_containers_may_restart_all_goes_where_that_is_declared(spec: dict[str, Any]) -> None:
    pod = make_pod("p", **spec)
    able, other = declaring("able", "Another", RESTART_ALL), declaring("other", "Another")
    assert decided(pod, other, able, make_node("old"))[0] == "able"
    assert decided(pod, other, make_node("old")) == ("", f"0/2 nodes are available: 2 {WORDS}.")


def test_a_pod_that_needs_nothing_goes_anywhere() -> None:
    assert decided(make_pod("p", containers=(ruled("Restart"),)), make_node("old"))[0] == "old"


def test_what_a_node_declares_counts_as_it_is_now() -> None:
    table = table_of(declaring("n"))
    cycle, info = Cycle(table, default_policy(), Random(1)), PodInfo.of(make_pod("p", containers=(ruled(),)))
    assert not cycle.decide(info).node
    assert table.put_node(declaring("n", RESTART_ALL))
    assert not table.put_node(declaring("n", RESTART_ALL))
    assert cycle.decide(info).node == "n"
    table.remove_node("n")
    table.put_node(declaring("m"))
    assert not cycle.decide(info).node


async def test_a_pod_is_tried_again_when_a_node_declares_what_it_needs(world: World) -> None:
    await world.add_node(declaring("n", "Another"))
    async with world.running(world.scheduler()):
        await world.add_pod("p", containers=(ruled(),))
        while not (await world.pod("p")).status.conditions:
            await anyio.sleep(0.1)
        assert (await world.refusal("p"))[1].startswith(f"0/1 nodes are available: 1 {WORDS}.")
        await world.nodes.patch(
            Key("", "n"),
            Patch("merge", {"status": {"declaredFeatures": ["Another", RESTART_ALL]}}),
            subresource="status",
        )
        for _ in range(30):
            await anyio.sleep(0.1)
        assert (await world.pod("p")).spec.node_name == "n"
