"""A burst of Pods on an elastic cluster of this process: nodes come for it, and go when it is over."""

import json
from collections.abc import Callable
from pathlib import Path

import anyio
import attrs

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.registry.base import Query
from kubelib.sched.elastic.base import NodeTemplate
from kubelib.sched.elastic.settings import ElasticSettings
from reference_cluster.datadir import open_data_directory
from reference_cluster.elastic import ElasticPlan
from reference_cluster.runtimes import clear_node
from reference_cluster.up import ClusterSettings, run_cluster

NAME = "burst"
NAMESPACE = "default"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
CPU = "600m"
"""What each Pod asks for: of the one cpu of a node that is more than half, so that there must be a node for each."""
RUNTIME = "process"
QUICK = ElasticSettings(interval=0.25, unneeded_time=1.0, delay_after_growth=1.0)
"""Minutes are seconds here: nobody wants to watch for as long as a real cluster should wait."""


class BurstFailed(Exception):
    """The cluster did not become as large, or as small, as its Pods need it."""


@attrs.frozen
class Look:
    """What there was at one moment."""

    nodes: int
    ready: int
    """Nodes that are ready."""
    running: int
    """Pods that are ready."""
    waiting: int
    """Pods without a node."""

    def line(self, most: int) -> str:
        """Return it for people, with a bar of nodes."""
        coming = self.nodes - self.ready
        bar = "#" * self.ready + "+" * coming + "." * max(0, most - self.nodes)
        return f"nodes [{bar}] {self.ready} of {self.nodes} ready; Pods {self.running} ready, {self.waiting} without a node"


async def burst(
    directory: Path, most: int, say: Callable[[str], None], *, patience: float = 120.0
) -> tuple[Look, ...]:
    """Let a cluster grow from one node to `most` for a burst of Pods, and shrink back; return what was seen, each change once.

    Nothing of it runs on afterwards, whatever happens. Raises `BurstFailed` for what has not come about after `patience` seconds.
    """
    template = NodeTemplate(
        name="burst", capacity={"cpu": "1", "memory": "1Gi", "pods": "10"}, minimum=1, maximum=most
    )
    settings = ClusterSettings(
        listen="127.0.0.1:0", nodes=0, proxy="none", elastic=ElasticPlan((template,), QUICK)
    )
    failure: BurstFailed | None = None
    seen: list[Look] = []
    try:
        with open_data_directory(directory) as data:
            async with run_cluster(data, settings) as cluster:
                connection = load_connection([cluster.kubeconfig])
                async with HttpClient(connection, manager="kubelib-demo") as client:
                    try:
                        await _Burst(client, most, say, patience, seen).run()
                    except BurstFailed as error:
                        failure = error  # what runs the cluster would wrap it
    finally:
        # Pods outlive the cluster that runs them.
        with anyio.CancelScope(shield=True):
            for node in sorted((directory / "nodes").glob("*")):
                await clear_node(RUNTIME, node)
    if failure is not None:
        raise failure
    return tuple(seen)


class _Burst:
    """The steps; `seen` is what there was, each change once."""

    def __init__(
        self,
        client: HttpClient,
        most: int,
        say: Callable[[str], None],
        patience: float,
        seen: list[Look],
    ) -> None:
        self._client = client
        self._most = most
        self._say = say
        self._patience = patience
        self.seen = seen

    async def run(self) -> None:
        say, most = self._say, self._most
        await self._until(Look(1, 1, 0, 0), "the first node")
        say(f"a burst: {most} Pods that each want {CPU} of cpu, more than half of a node")
        await self._create(most)
        await self._until(Look(most, most, most, 0), f"{most} nodes, each with a Pod")
        say("the burst is over: 1 Pod stays")
        await self._scale(1)
        await self._until(Look(1, 1, 1, 0), "one node with one Pod")
        say(f"nodes: 1, then {max(look.nodes for look in self.seen)}, then 1 again")

    async def _until(self, wanted: Look, what: str) -> None:
        """Show each change, until it is so."""
        with anyio.move_on_after(self._patience):
            while True:
                look = await self._look()
                if not self.seen or look != self.seen[-1]:
                    self.seen.append(look)
                    self._say(look.line(self._most))
                if look == wanted:
                    return
                await anyio.sleep(0.1)
        raise BurstFailed(f"waited {self._patience:.0f} s for {what} in vain")

    async def _look(self) -> Look:
        nodes = (await self._client.resource(Node).list()).items
        pods = (await self._client.resource(Pod).list(Query(NAMESPACE))).items
        staying = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
        return Look(
            nodes=len(nodes),
            ready=sum(map(_is_ready, nodes)),
            running=sum(map(_is_ready, staying)),
            waiting=sum(not pod.spec.node_name for pod in staying),
        )

    async def _create(self, replicas: int) -> None:
        labels = {"app": NAME}
        container = {
            "name": "main",
            "image": "process",
            "command": ["sleep", "1000000"],
            "resources": {"requests": {"cpu": CPU}},
        }
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
        }
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": spec}
        await self._client.request("POST", DEPLOYMENTS, body=json.dumps(deployment).encode())

    async def _scale(self, replicas: int) -> None:
        patch = json.dumps({"spec": {"replicas": replicas}}).encode()
        kind = "application/merge-patch+json"
        await self._client.request("PATCH", f"{DEPLOYMENTS}/{NAME}", body=patch, content_type=kind)


def _is_ready(thing: Node | Pod) -> bool:
    return any(
        condition.type == "Ready" and condition.status == "True" for condition in thing.status.conditions
    )
