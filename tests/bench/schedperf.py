"""The published scenarios of kube-scheduler's scheduler_perf, on our API server and scheduler.

Counts, templates and thresholds are those of ``test/integration/scheduler_perf`` (``*/performance-config.yaml``); a threshold is the
least average number of measured Pods that kube-scheduler must bind a second for its own CI to pass. Here, too, Pods are measured from
when the first is created until the last is bound.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from random import Random
from typing import Any

import anyio
import attrs
import msgspec

from kubelib.api import codec
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.document import Document, Documents
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.scheduling import PriorityClass
from kubelib.client.base import Client
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.client.local import LocalClient
from kubelib.informers import SharedInformers
from kubelib.registry.base import ObjectList
from kubelib.registry.registries import ResourceRegistries
from kubelib.sched.scheduler import Scheduler
from kubelib.store import MemoryStore

Tree = Mapping[str, Any]
Template = Callable[[], Tree]
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
MEASURED = "sched-1"
WORKERS = 16


def pod(cpu: str = "100m", memory: str = "500Mi", labels: Tree | None = None, **spec: Any) -> Tree:
    container = {"name": "pause", "image": "registry.k8s.io/pause:3.10"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}  # type: ignore[assignment]  # fmt: skip
    return {"metadata": {"labels": labels or {}}, "spec": {"containers": [container], **spec}}


def term(color: str, key: str) -> Tree:
    return {
        "labelSelector": {"matchLabels": {"color": color}},
        "topologyKey": key,
        "namespaces": ["sched-0", "sched-1"],
    }


def company(side: str, color: str, key: str, *, preferred: bool = False) -> Tree:
    one = term(color, key)
    rule = (
        {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": one}]}
        if preferred
        else {"requiredDuringSchedulingIgnoredDuringExecution": [one]}
    )
    return pod(labels={"color": color, "name": "test"}, affinity={side: rule})


def spread(unsatisfiable: str) -> Tree:
    selector = {"matchLabels": {"color": "blue"}}
    rule = {"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": unsatisfiable, "labelSelector": selector}
    return pod(labels={"color": "blue"}, topologySpreadConstraints=[rule])


def in_zones(*zones: str) -> Tree:
    terms = [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": list(zones)}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return pod(affinity={"nodeAffinity": required})


def on_one_node() -> Tree:
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-0"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return pod(cpu="", affinity={"nodeAffinity": required})


def with_secret() -> Tree:
    return pod(volumes=[{"name": "secret", "secret": {"secretName": "secret"}}])


PLAIN, LOW, HIGH = (
    pod,
    lambda: pod("900m", terminationGracePeriodSeconds=0),
    lambda: pod("3", priorityClassName="high"),
)
LARGE, LIGHT = (lambda: pod("9", priorityClassName="high")), lambda: pod("", "")


def gated() -> Tree:
    return pod("", "", schedulingGates=[{"name": "test.k8s.io/hold"}])


@attrs.frozen
class Size:
    """How much there is in a scenario of so many nodes."""

    before: int
    """Pods that are there already, not measured."""
    measured: int
    threshold: int = 0
    """Pods a second that kube-scheduler must reach; 0: nothing is published."""


@attrs.frozen(kw_only=True)
class Scenario:
    """What is created, and how much of it by the number of nodes."""

    sizes: Mapping[int, Size]
    before: Template = PLAIN
    measured: Template = PLAIN
    churn: Template | None = None
    """Created five times a second while others are measured: Pods that fit nowhere, or that make others leave."""
    zones: tuple[str, ...] = ()
    pods_per_node: int = 110
    waits: bool = True
    """Whether the Pods from before are bound before others are measured."""


BASIC = Size(500, 1000)
SCENARIOS: Mapping[str, Scenario] = {
    "SchedulingBasic": Scenario(sizes={500: BASIC, 5000: Size(1000, 10000, 680), 15000: Size(5000, 10000)}),
    "SchedulingDaemonset": Scenario(
        sizes={500: Size(0, 1000), 5000: Size(0, 10000), 15000: Size(0, 30000, 1100)},
        measured=on_one_node,
        pods_per_node=30000,
    ),
    "SchedulingPodAntiAffinity": Scenario(
        sizes={500: Size(100, 400), 5000: Size(1000, 2000, 60), 15000: Size(1000, 2000)},
        before=lambda: company("podAntiAffinity", "green", HOST),
        measured=lambda: company("podAntiAffinity", "green", HOST),
    ),
    "SchedulingPodAffinity": Scenario(
        sizes={500: BASIC, 5000: Size(5000, 5000, 35), 15000: Size(5000, 5000)},
        before=lambda: company("podAffinity", "blue", ZONE),
        measured=lambda: company("podAffinity", "blue", ZONE),
        zones=("zone1",),
    ),
    "SchedulingPreferredPodAffinity": Scenario(
        sizes={500: BASIC, 5000: Size(5000, 5000, 90), 15000: Size(5000, 5000)},
        before=lambda: company("podAffinity", "red", HOST, preferred=True),
        measured=lambda: company("podAffinity", "red", HOST, preferred=True),
    ),
    "SchedulingPreferredPodAntiAffinity": Scenario(
        sizes={500: BASIC, 5000: Size(5000, 5000, 90), 15000: Size(5000, 5000)},
        before=lambda: company("podAntiAffinity", "yellow", HOST, preferred=True),
        measured=lambda: company("podAntiAffinity", "yellow", HOST, preferred=True),
    ),
    "SchedulingNodeAffinity": Scenario(
        sizes={500: BASIC, 5000: Size(5000, 10000, 220), 15000: Size(5000, 10000)},
        before=lambda: in_zones("zone1", "zone2"),
        measured=lambda: in_zones("zone1", "zone2"),
        zones=("zone1",),
    ),
    "TopologySpreading": Scenario(
        sizes={500: Size(1000, 1000), 5000: Size(5000, 5000, 460), 15000: Size(5000, 5000)},
        measured=lambda: spread("DoNotSchedule"),
        zones=("moon-1", "moon-2", "moon-3"),
    ),
    "PreferredTopologySpreading": Scenario(
        sizes={500: Size(1000, 1000), 5000: Size(5000, 5000, 340), 15000: Size(5000, 5000)},
        measured=lambda: spread("ScheduleAnyway"),
        zones=("moon-1", "moon-2", "moon-3"),
    ),
    "PreemptionBasic": Scenario(
        sizes={500: Size(2000, 500), 1000: Size(4000, 1000), 5000: Size(20000, 5000)},
        before=LOW,
        measured=HIGH,
    ),
    "PreemptionAsync": Scenario(
        sizes={500: Size(2000, 500), 5000: Size(20000, 5000, 570)}, before=LOW, churn=HIGH
    ),
    "Unschedulable": Scenario(sizes={500: Size(10, 1000), 5000: Size(100, 10000, 590)}, churn=LARGE),
    "SchedulingWhileGated": Scenario(
        sizes={1: Size(10000, 20000, 910)}, before=gated, measured=LIGHT, pods_per_node=90000, waits=False
    ),
    "SchedulingSecrets": Scenario(
        sizes={500: BASIC, 5000: Size(5000, 5000)}, before=with_secret, measured=with_secret
    ),
}


@attrs.frozen
class Found:
    """What was measured."""

    bound: int
    seconds: float

    @property
    def rate(self) -> float:
        """Pods bound a second."""
        return self.bound / self.seconds


class _Bound:
    """Which Pods have a node."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}
        self._news = anyio.Event()

    def on_pod(self, old: Document | None, new: Document | None) -> None:
        """Take in what has become of a Pod."""
        if new is not None and new.view(Pod).spec.node_name:
            self.seen.setdefault(new.meta.namespace, set()).add(new.meta.name)
            self._news.set()

    async def until(self, namespace: str, count: int) -> None:
        """Wait until so many have one."""
        while len(self.seen.get(namespace, ())) < count:
            self._news = anyio.Event()
            await self._news.wait()


def machine(number: int, scenario: Scenario) -> Node:
    """Return a node of scheduler_perf."""
    name = f"node-{number}"
    labels = {HOST: name}
    if scenario.zones:
        labels[ZONE] = scenario.zones[number % len(scenario.zones)]
    amounts = {"cpu": "4", "memory": "32Gi", "pods": str(scenario.pods_per_node)}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
    return msgspec.convert({"metadata": {"name": name, "labels": labels}, "status": status}, Node)


async def _in_turn(count: int, create: Callable[[int], Any]) -> None:
    async def some(part: range) -> None:
        for number in part:
            await create(number)

    async with anyio.create_task_group() as tasks:
        for worker in range(WORKERS):
            tasks.start_soon(some, range(worker, count, WORKERS))


async def _create_nodes(client: Client, count: int, scenario: Scenario) -> None:
    nodes = client.resource(Node)

    async def create(number: int) -> None:
        wanted = machine(number, scenario)
        made = await nodes.create(wanted)
        if not made.status.allocatable:
            await nodes.update(replace(made, status=wanted.status), subresource="status")

    await _in_turn(count, create)


async def _create_pods(client: Client, template: Tree, namespace: str, count: int, prefix: str) -> None:
    model, pods = msgspec.convert(template, Pod), client.resource(Pod)

    async def create(number: int) -> None:
        meta = replace(model.metadata, name=f"{prefix}-{number}", namespace=namespace)
        await pods.create(replace(model, metadata=meta))

    await _in_turn(count, create)


async def _churn(client: Client, template: Tree) -> None:
    number = 0
    while True:
        await _create_pods(client, template, "churn", 1, f"churn-{number}")
        number += 1
        await anyio.sleep(0.2)


async def run(client: Client, name: str, nodes: int, size: Size) -> Found:
    """Run a scenario on an empty cluster that has a scheduler."""
    scenario, bound = SCENARIOS[name], _Bound()
    for namespace in ("sched-0", MEASURED, "churn"):
        await client.resource(Namespace).create(Namespace(metadata=ObjectMeta(name=namespace)))
    await client.resource(PriorityClass).create(PriorityClass(metadata=ObjectMeta(name="high"), value=10))
    informers = SharedInformers(client, random=Random(1))
    informers.of(Pod).subscribe(bound.on_pod)
    async with anyio.create_task_group() as tasks:
        await tasks.start(informers.run)
        await _create_nodes(client, nodes, scenario)
        await _create_pods(client, scenario.before(), "sched-0", size.before, "before")
        if scenario.waits:
            await bound.until("sched-0", size.before)
        if scenario.churn is not None:
            tasks.start_soon(_churn, client, scenario.churn())
        began = anyio.current_time()
        tasks.start_soon(_create_pods, client, scenario.measured(), MEASURED, size.measured, "pod")
        await bound.until(MEASURED, size.measured)
        seconds = anyio.current_time() - began
        tasks.cancel_scope.cancel()
    return Found(size.measured, seconds)


class Listed:
    """A client far from a cluster in which nothing happens: its lists are nodes, and Pods on them as kubelets leave them."""

    def __init__(self, nodes: int, pods: int) -> None:
        self._nodes, self._pods = nodes, pods

    def resource(self, kind: Any) -> "Listed":
        """Return a view of one kind."""
        found = copy(self)
        found.kind = kind  # type: ignore[attr-defined]
        return found

    async def list(self, query: object, *, limit: int = 0, page: str = "") -> ObjectList[Any]:
        """Return what there is, page by page."""
        kind = self.kind  # type: ignore[attr-defined]
        first, count = int(page or 0), {Node: self._nodes, Pod: self._pods}.get(kind, 0)
        last = min(count, first + (limit or count))
        plain = Scenario(sizes={})
        make = (lambda n: codec.encode(machine(n, plain))) if kind is Node else self._pod
        documents = [Document(make(number)) for number in range(first, last)]
        return ObjectList(Documents(documents, kind), "1", str(last) if last < count else "")

    @asynccontextmanager
    async def watch(self, query: object, *, since: str) -> AsyncIterator[AsyncIterator[Any]]:
        """Report nothing."""

        async def silence() -> AsyncIterator[Any]:
            await anyio.sleep_forever()
            yield

        yield silence()

    def _pod(self, number: int) -> bytes:
        name = f"web-7d4b9c6f5-{number:06d}"
        tree: Any = pod(memory="128Mi", labels={"app": "web", "pod-template-hash": "7d4b9c6f5"})
        (container,) = tree["spec"]["containers"]
        container["volumeMounts"] = [
            {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        ]
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": name[:13],
            "uid": "owner",
            "controller": True,
        }
        fields: Any = {
            f"f:{field}": {}
            for field in ("labels", "ownerReferences", *Pod.__struct_fields__, *PodSpec.__struct_fields__)
        }
        tree["metadata"] |= {
            "name": name,
            "namespace": f"ns-{number % 50}",
            "uid": f"{number:08x}-f88f-11e6-a518-42010a800195",
            "resourceVersion": str(number + 10),
            "ownerReferences": [owner],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": fields}],
        }
        tree["spec"] |= {"nodeName": f"node-{number % self._nodes}", "schedulerName": "default-scheduler"}
        tree["spec"]["volumes"] = [
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
        ]
        kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        started = "2026-01-01T00:00:01Z"
        tree["status"] = {
            "phase": "Running",
            "startTime": started,
            "podIP": "10.1.2.3",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": started} for kind in kinds],
            "containerStatuses": [
                {
                    "name": "pause",
                    "imageID": "sha256:" + 64 * "a",
                    "ready": True,
                    "resources": container["resources"],
                }
            ],
        }
        return codec.encode_json({"kind": "Pod", "apiVersion": "v1", **tree})


def resident() -> int:
    """Return how many bytes of memory this process has."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


@asynccontextmanager
async def in_process() -> AsyncIterator[Client]:
    """Run registries and a scheduler in this loop."""
    async with ResourceRegistries(MemoryStore(), random=Random(1)) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        async with anyio.create_task_group() as tasks:
            await tasks.start(Scheduler(client, random=Random(1)).run)
            yield client
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def daemons(directory: Path) -> AsyncIterator[Client]:
    """Run an API server and a scheduler as processes of their own, on SQLite and over HTTPS."""
    master = directory / "master"
    server = _start(
        directory, "apiserver", "--data-dir", str(master), "--listen", "127.0.0.1:0",
        "--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition",
    )  # fmt: skip
    started = [server]
    try:
        await _ready(directory / "apiserver.log", server)
        scheduler = _start(directory, "scheduler", "--kubeconfig", str(master / "scheduler.kubeconfig"))
        started.append(scheduler)
        await _ready(directory / "scheduler.log", scheduler)
        async with HttpClient(load_connection([master / "admin.kubeconfig"])) as client:
            yield client
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def _start(directory: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (directory / f"{arguments[0]}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "reference_cluster", *arguments], stdout=log, stderr=log
        )


async def _ready(log: Path, process: subprocess.Popen[bytes]) -> None:
    while " is ready " not in log.read_text():
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        await anyio.sleep(0.05)
