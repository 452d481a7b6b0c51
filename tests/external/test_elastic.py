"""Elastic clusters: a burst of real Pods makes them grow from one node to five, and they shrink back."""

import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from reference_cluster.burst import BurstFailed, burst
from tests.external.conftest import Cluster, Kubectl, eventually, real_binary
from tests.external.processes import Daemon, Daemons, kubelib

TEMPLATES = """
templates:
- name: burst
  capacity: {cpu: "1", memory: 1Gi, pods: "10"}
  minimum: 1
  maximum: 5
settings: {interval: 0.5, unneeded_time: 2, delay_after_growth: 1}
"""


def test_a_local_cluster_grows_for_a_burst_and_shrinks_back(tmp_path: Path) -> None:
    templates = tmp_path / "templates.yaml"
    templates.write_text(TEMPLATES)
    cluster = Cluster(
        tmp_path / "cluster",
        "--listen",
        "127.0.0.1:0",
        "--nodes",
        "0",
        "--proxy",
        "none",
        "--elastic",
        str(templates),
    )
    cluster.start()
    try:
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path / "cache")

        def nodes() -> list[str]:
            return kubectl("get", "nodes", "-o", "name").split()

        eventually(lambda: len(nodes()) == 1, within=120, every=0.3)
        kubectl("create", "deployment", "web", "--image=process", "--replicas=0", "--", "sleep", "1000000")
        kubectl("set", "resources", "deployment", "web", "--requests=cpu=600m")
        kubectl("scale", "deployment", "web", "--replicas=5")
        kubectl("rollout", "status", "deployment", "web", "--timeout=120s", timeout=100)
        assert len(nodes()) == 5
        kubectl("scale", "deployment", "web", "--replicas=1")
        eventually(lambda: len(nodes()) == 1, within=120, every=0.5)
        kubectl("rollout", "status", "deployment", "web", "--timeout=120s", timeout=120)
        kubectl("delete", "deployment", "web", "--now")
        eventually(lambda: not kubectl("get", "pods", "-o", "name"), within=120, every=0.3)
    finally:
        cluster.stop()


def left_behind(directory: Path) -> list[str]:
    """Return the files in a directory, and the processes that work in it."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(directory):
                processes.append(process.name)
    return [*map(str, directory.iterdir()), *processes]


def test_the_demonstration_grows_to_so_many_nodes_shrinks_back_and_leaves_nothing(tmp_path: Path) -> None:
    said = kubelib("demo", "elastic", "--nodes", "3", environment={**os.environ, "TMPDIR": str(tmp_path)})
    counts = [int(count) for count in re.findall(r" of (\d) ready", said)]
    assert (counts[0], max(counts), counts[-1]) == (1, 3, 1), said
    assert "nodes [###] 3 of 3 ready; Pods 3 ready, 0 without a node" in said
    assert "nodes: 1, then 3, then 1 again" in said
    assert not left_behind(tmp_path)


def test_the_demonstration_leaves_nothing_when_it_is_interrupted(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    demo = Daemon(
        tmp_path, "demo", "demo", "elastic", "--nodes", "2", environment={**os.environ, "TMPDIR": str(place)}
    )
    demo.start(wait=False)
    eventually(lambda: "Pods 1 ready" in demo.log.read_text(), within=120, every=0.1)
    assert len(left_behind(place)) > 1
    assert demo.end(signal.SIGINT) == 130
    assert "Traceback" not in demo.log.read_text()
    assert not left_behind(place)


async def test_a_burst_that_is_not_coped_with_in_time_says_what_it_waited_for(tmp_path: Path) -> None:
    with pytest.raises(BurstFailed, match=r"waited 0 s for the first node in vain"):
        await burst(tmp_path / "cluster", 2, lambda _: None, patience=0.0)
    assert not list((tmp_path / "cluster" / "nodes").glob("*"))


DAEMONS = """
templates:
- name: small
  capacity: {cpu: "1", memory: 1Gi, pods: "10"}
  minimum: 1
  maximum: 5
settings: {interval: 0.5, unneeded_time: 2, delay_after_growth: 1}
options: {pod-network: 127.246.0.0/16}
"""
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 5
  strategy: {rollingUpdate: {maxUnavailable: 1}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: process
        command: [sleep, "1000000"]
        resources: {requests: {cpu: 600m}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: web}}
"""
# A leader that is not heard of is respected for five seconds, instead of fifteen, so that the test need not wait as long.
ELECTION = (
    *("--leader-elect-lease-duration", "5s", "--leader-elect-renew-deadline", "3500ms"),
    *("--leader-elect-retry-period", "500ms"),
)


class Elastic(Daemons):
    """A cluster of daemons without a node, two copies of the elastic one among them."""

    def start_all(self) -> None:
        self.start(
            "apiserver", "apiserver", "--data-dir", str(self.master), "--listen", "127.0.0.1:0", "--service-network",
            "127.99.0.0/16",
        )  # fmt: skip
        self.component("scheduler", "scheduler")
        self.component("controller-manager", "controller-manager")
        (self.directory / "templates.yaml").write_text(DAEMONS)
        for name in ("elastic-1", "elastic-2"):
            self.copy(name)

    def copy(self, name: str) -> Daemon:
        return self.start(
            name, "elastic", "--kubeconfig", str(self.master / "elastic.kubeconfig"), "--config",
            str(self.directory / "templates.yaml"), "--data-dir", str(self.directory / "nodes"), *ELECTION,
        )  # fmt: skip

    def leader(self) -> Daemon:
        """Return the copy that has said last that it leads."""
        leading = [
            daemon
            for name, daemon in self.running.items()
            if name.startswith("elastic") and "became leader" in daemon.log.read_text()
        ]
        assert leading, "none leads yet"
        return leading[-1]

    def kubelets(self) -> dict[str, int]:
        """Return the processes that are nodes, by node."""
        return {
            lock.parent.parent.name: int(lock.read_text())
            for lock in (self.directory / "nodes").glob("*/data/lock")
        }

    def end_nodes(self) -> None:
        for number in self.kubelets().values():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)
        eventually(lambda: not any(map(_runs, self.kubelets().values())))


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_kubelet_processes_come_for_a_burst_and_go_within_a_budget_whoever_leads(tmp_path: Path) -> None:
    daemons = Elastic(tmp_path)
    try:
        daemons.start_all()
        kubectl = Kubectl(real_binary("kubectl"), daemons.master / "admin.kubeconfig", tmp_path / "cache")

        def nodes() -> list[str]:
            return kubectl("get", "nodes", "-o", "name").split()

        def available() -> int:
            return int(kubectl("get", "deployment", "web", "-o", "jsonpath={.status.availableReplicas}"))

        eventually(lambda: len(nodes()) == 1, within=120)
        kubectl("apply", "-f", "-", stdin=WEB)
        kubectl("rollout", "status", "deployment", "web", "--timeout=120s", timeout=130)
        assert len(nodes()) == 5
        assert sorted(f"node/{name}" for name in daemons.kubelets()) == sorted(nodes())
        assert len(set(daemons.kubelets().values())) == 5
        before = daemons.kubelets()
        daemons.leader().end(signal.SIGKILL)
        assert daemons.kubelets() == before
        assert all(map(_runs, before.values()))  # nodes do not fall with those that have asked for them
        kubectl("set", "resources", "deployment", "web", "--requests=cpu=150m")
        kubectl("rollout", "status", "deployment", "web", "--timeout=120s", timeout=130)
        seen: list[int] = []

        def back_to_one() -> bool:
            seen.append(available())
            return len(nodes()) == 1

        eventually(back_to_one, within=180, every=0.3)
        assert min(seen) >= 4, seen
        kubectl("rollout", "status", "deployment", "web", "--timeout=120s", timeout=120)
        (left,) = daemons.kubelets()
        assert nodes() == [f"node/{left}"]
        assert not [number for name, number in before.items() if name != left and _runs(number)]
        events = kubectl("get", "events")
        assert "TriggeredScaleUp" in events
        assert events.count("ScaleDown ") >= 4
        kubectl("delete", "deployment", "web", "--now")
        eventually(lambda: not kubectl("get", "pods", "-o", "name"))
    finally:
        for name in ("elastic-1", "elastic-2"):  # else they start the nodes again
            if (daemon := daemons.running.get(name)) is not None and daemon.process is not None:
                daemon.process.kill()
                daemon.process.wait()
        daemons.end_nodes()
        daemons.end()


def test_a_provider_that_is_installed_is_asked(tmp_path: Path) -> None:
    """As pip would have put it: a module, and what its distribution says of itself."""
    site = tmp_path / "site"
    about = site / "machines-1.0.dist-info"
    about.mkdir(parents=True)
    page = Path(__file__).resolve().parents[2] / "docs" / "elastic.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    (site / "machines.py").write_text(example)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: machines\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[kubelib.node_providers]\nmachines = machines:open_machines\n")
    daemons = Daemons(tmp_path)
    machines, plan = tmp_path / "machines.json", tmp_path / "plan.yaml"
    plan.write_text(
        DAEMONS.replace("{pod-network: 127.246.0.0/16}", f"{{file: {machines}}}") + "provider: machines\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    kubeconfig = daemons.master / "elastic.kubeconfig"
    words = ("elastic", "--kubeconfig", str(kubeconfig), "--config", str(plan))
    try:
        daemons.start(
            "apiserver", "apiserver", "--data-dir", str(daemons.master), "--listen", "127.0.0.1:0", "--service-network",
            "127.99.0.0/16",
        )  # fmt: skip
        assert "There is no provider of nodes 'machines': choose one of local." in kubelib(*words, code=1)
        daemon = daemons.running["elastic"] = Daemon(tmp_path, "elastic", *words, environment=environment)
        daemon.start()
        eventually(lambda: machines.exists() and json.loads(machines.read_text()))
        assert set(json.loads(machines.read_text()).values()) == {"small"}
        assert daemon.end() == 0
        plan.write_text(plan.read_text().replace("file:", "pile:"))
        refused = kubelib(*words, "--no-leader-elect", code=1, environment=environment)
        assert refused.splitlines()[-1].startswith("Error: Say in which file the machines are")
    finally:
        daemons.end()
