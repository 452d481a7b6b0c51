"""Whatever happens in a cluster: no Pod goes on waiting that fits somewhere."""

from datetime import UTC, datetime
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.registry.base import Patch, Query
from kubelib.sched.cycle import Cycle
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.snapshot import take_snapshot
from kubelib.testing.objects import make_node
from tests.sched.conftest import containers
from tests.sched.layouts import HOST, constraint, social, tolerations

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def wishes(random: Random) -> dict[str, Any]:
    """Return what a Pod asks for: much, or something that few nodes have."""
    spec: dict[str, Any] = {"containers": containers(cpu=random.choice(["0", "1", "3"]))}
    match random.randrange(6):
        case 0:
            spec["node_selector"] = {"disk": random.choice("ab")}
        case 1:
            spec["affinity"] = social(near=[random.choice(["foo @zone", "bar @zone", f"foo @{HOST}"])])
        case 2:
            spec["affinity"] = social(away=[random.choice(["foo @zone", f"bar @{HOST}"])])
        case 3:
            app = random.choice(["foo", "bar"])
            spec["topology_spread_constraints"] = (
                constraint(
                    random.choice(["zone", HOST]),
                    app=app,
                    unsatisfiable="DoNotSchedule",
                    min_domains=random.choice([None, 2]),
                    node_taints_policy=random.choice(["Honor", "Ignore"]),
                ),
            )
        case 4:
            spec["tolerations"] = tolerations("k Exists - -")
    return spec


async def happen(world: Any, random: Random, number: int) -> None:
    """Let something happen."""
    name = f"node-{random.randrange(3)}"
    bound = [p for p in (await world.pods.list(Query("default"))).items if p.spec.node_name]

    every = [node.metadata.name for node in (await world.nodes.list()).items]
    changed = every if random.random() < 0.3 else [name]

    async def change(tree: dict[str, Any], subresource: str = "") -> None:
        for one in changed:
            await world.nodes.patch(Key("", one), Patch("merge", tree), subresource=subresource)

    match random.randrange(9):
        case 0:
            await world.add_node(
                make_node(f"new-{number}", allocatable={"cpu": "2", "memory": "1Gi", "pods": "3"})
            )
        case 1:
            taint = {"key": random.choice("kl"), "effect": random.choice(["NoSchedule", "NoExecute"])}
            await change({"spec": {"taints": [taint] if random.random() < 0.5 else []}})
        case 2:
            await change({"spec": {"unschedulable": random.random() < 0.5}})
        case 3:
            await change(
                {
                    "metadata": {
                        "labels": {
                            "disk": random.choice(["a", "b", None]),
                            "zone": random.choice(["x", "y", None]),
                        }
                    }
                }
            )
        case 4:
            room = {"cpu": random.choice(["1", "4", "8"]), "memory": "1Gi", "pods": random.choice(["2", "9"])}
            await change({"status": {"allocatable": room, "capacity": room}}, "status")
        case 5 if bound:
            await world.pods.delete(random.choice(bound).key, grace=0)
        case 6 if bound:
            labels = {"foo": random.choice(["", None]), "bar": random.choice(["", None])}
            await world.pods.patch(random.choice(bound).key, Patch("merge", {"metadata": {"labels": labels}}))
        case 7:
            await world.add_pod(
                f"there-{number}",
                labels={random.choice(["foo", "bar"]): ""},
                node=name,
                containers=containers(cpu="0"),
            )
        case _:
            await world.add_pod(f"p{number}", labels={random.choice(["foo", "bar"]): ""}, **wishes(random))


async def fitting(world: Any) -> list[str]:
    """Return the Pods that wait and fit somewhere."""
    snapshot = await take_snapshot(world.direct, NOW)
    cycle = Cycle(snapshot.table, default_policy(), Random(1))
    waiting: list[Pod] = [p for p in snapshot.pods.values() if not p.spec.node_name]
    return [pod.metadata.name for pod in waiting if cycle.decide(PodInfo.of(pod)).node]


@pytest.mark.seeds(25)
async def test_no_pod_waits_that_fits_whatever_happens(world: Any, request: pytest.FixtureRequest) -> None:
    random = Random(request.node.callspec.id)
    await world.add_nodes(3, allocatable={"cpu": "4", "memory": "1Gi", "pods": "6"})
    async with world.running(world.scheduler()):
        for number in range(12):
            await world.add_pod(
                f"first-{number}", labels={random.choice(["foo", "bar"]): ""}, **wishes(random)
            )
        for number in range(25):
            await anyio.sleep(12)
            assert await fitting(world) == [], number
            await happen(world, random, number)
