"""kube-scheduler's published scenarios through our API server and scheduler: `schedperf` has them.

As a test each runs with a handful of nodes in one process. ``scripts/bench tests/bench/test_schedperf.py -k 500-`` runs those with 500 nodes,
with daemons over HTTPS, ``-k 5000-`` and ``-k 15000-`` the large ones; ``pods per second`` in the extra information stands beside kube-scheduler's threshold.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bench.budgets import at_least, within
from tests.bench.schedperf import SCENARIOS, Found, Size, daemons, in_process, run

CASES = [(nodes, name) for name, scenario in SCENARIOS.items() for nodes in sorted(scenario.sizes)]
FEW = {
    "PreemptionBasic": Size(20, 5),
    "PreemptionAsync": Size(20, 5),
    "SchedulingPodAntiAffinity": Size(1, 4),
}
OUR_OWN = {(5000, "SchedulingBasic"): 1500}
"""What we ask of ourselves, beyond the threshold: Pods a second, created to bound."""


@pytest.mark.parametrize(("nodes", "name"), CASES, ids=[f"{nodes}-{name}" for nodes, name in CASES])
def test_pods_a_second(benchmark: BenchmarkFixture, tmp_path: Path, nodes: int, name: str) -> None:
    size = SCENARIOS[name].sizes[nodes]

    async def whole() -> Found:
        async with daemons(tmp_path) as client:
            return await run(client, name, nodes, size)

    async def small() -> Found:
        with anyio.fail_after(60):
            async with in_process() as client:
                return await run(client, name, 5, FEW.get(name, Size(5, 10)))

    measured = small if benchmark.disabled else whole
    # The client competes with the daemons for two cores, and runs on the event loop that they have.
    loop = {"backend_options": {"use_uvloop": find_spec("uvloop") is not None}}
    found = benchmark.pedantic(anyio.run, args=(measured,), kwargs=loop, rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["pods"] = found.bound
    at_least(benchmark, "pods per second", found.rate, OUR_OWN.get((nodes, name), size.threshold))


MEMORY = """
import gc, json, sys
from random import Random
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from tests.bench.schedperf import resident
from tests.bench.test_sched import machine, pod

nodes, pods = map(int, sys.argv[1:])
before = resident()
table = NodeTable()
for number in range(nodes):
    table.put_node(machine(number))
for number in range(pods):
    table.put_pod(PodInfo.of(pod(number)), f"node-{number % nodes}")
cycle = Cycle(table, default_policy(), Random(1))
assert cycle.decide(PodInfo.of(pod(pods))).node
gc.collect()
print(json.dumps({"before": before, "after": resident()}))
"""
FED = """
import gc, json, sys
from random import Random
import anyio
from kubelib.sched.scheduler import Scheduler
from tests.bench.schedperf import Listed, resident

async def main(nodes, pods):
    before = resident()
    scheduler = Scheduler(Listed(nodes, pods), random=Random(1))
    async with anyio.create_task_group() as tasks:
        await tasks.start(scheduler.run)
        assert int(scheduler.table.used["pods"].sum()) == pods
        gc.collect()
        print(json.dumps({"before": before, "after": resident()}))
        tasks.cancel_scope.cancel()

anyio.run(main, *map(int, sys.argv[1:]))
"""


@pytest.mark.parametrize("program", [MEMORY, FED], ids=["engine", "informers"])
def test_memory_with_15000_nodes_and_300000_pods(benchmark: BenchmarkFixture, program: str) -> None:
    scale = 100 if benchmark.disabled else 1

    def fill() -> dict[str, int]:
        command = [sys.executable, "-c", program, str(15_000 // scale), str(300_000 // scale)]
        done = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[2])
        found: dict[str, int] = json.loads(done.stdout)
        return found

    found = benchmark.pedantic(fill, rounds=1)  # type: ignore[no-untyped-call]
    within(benchmark, "rss_mb", found["after"] / 1e6, 600)
