"""What a node tells of itself to those who ask its server: the summary, the metrics, its configuration."""

import os
import platform
from typing import Literal

import anyio

from kubelib.api.codec import encode_json
from kubelib.exposition import Sample, family, text
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.stats import NodeStats
from kubelib.runtime.stats.exposition import cadvisor_metrics, resource_metrics
from kubelib.runtime.stats.node import SHORTEST_WINDOW, own_usage
from kubelib.runtime.stats.summary import summary

VERSION = "v1.37.0+kubelib"


class AgentFigures:
    """A `kubelib.server.nodes.NodeFigures` of an agent in this process."""

    def __init__(self, agent: NodeAgent) -> None:
        self._agent = agent
        self._summaries = NodeStats(agent)
        """Apart from the metrics, so that their readers do not shorten each other's intervals."""
        self._metrics = NodeStats(agent)

    async def summary(self, *, only_cpu_and_memory: bool) -> bytes:
        """Return the document ``/stats/summary``."""
        figures = await self._summaries.read(disks=not only_cpu_and_memory)
        if figures.cores is None:
            # Who asks once is told what is used per second as well, as by a kubelet that always measures.
            await anyio.sleep(SHORTEST_WINDOW)
            figures = await self._summaries.read(disks=not only_cpu_and_memory)
        return encode_json(
            summary(self._agent.settings.name, figures, only_cpu_and_memory=only_cpu_and_memory)
        )

    async def metrics(self, which: Literal["own", "resource", "cadvisor", "probes"]) -> bytes:
        """Return metrics in Prometheus' text form."""
        match which:
            case "resource":
                return resource_metrics(await self._metrics.read())
            case "cadvisor":
                return cadvisor_metrics(await self._metrics.read(), _machine_labels())
            case "probes":
                return self._probes()
        return self._own()

    def _probes(self) -> bytes:
        samples = [
            Sample(count, dict(zip(("container", "namespace", "pod", "pod_uid", "probe_type", "result"), key, strict=True)))
            for key, count in sorted(self._agent.counts.probes.items())
        ]  # fmt: skip
        about = (
            "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result."
        )
        return text(family("prober_probe_total", "counter", about, samples))

    def _own(self) -> bytes:
        """Return what the agent knows of its own work."""
        agent, own, counts = self._agent, own_usage(), self._agent.counts
        states = {"running": 0, "exited": 0, "created": 0}
        for worker in agent.workers.values():
            for container in worker.containers:
                states[container.state] += 1
        running = sum(
            any(c.state == "running" for c in worker.containers) for worker in agent.workers.values()
        )
        return text(
            family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.", [Sample(1, {"node": agent.settings.name})]),
            family("kubelet_running_pods", "gauge", "[BETA] Number of pods that have a running pod sandbox", [Sample(running)]),
            family(
                "kubelet_running_containers", "gauge", "[BETA] Number of containers currently running",
                [Sample(count, {"container_state": state}) for state, count in states.items()],
            ),
            family("kubelet_started_pods_total", "counter", "[BETA] Cumulative number of pods started", [Sample(counts.pods)]),
            family("kubelet_started_containers_total", "counter", "[BETA] Cumulative number of containers started", [Sample(counts.containers)]),
            family(
                "kubelet_started_containers_errors_total", "counter", "[BETA] Cumulative number of errors when starting containers",
                [Sample(count, {"code": code}) for code, count in sorted(counts.failures.items())],
            ),
            family(
                "kubelet_evictions", "counter", "[ALPHA] Cumulative number of pod evictions by eviction signal",
                [Sample(count, {"eviction_signal": signal}) for signal, count in sorted(counts.evictions.items())],
            ),
            family(
                "kubelet_lifecycle_handler_http_fallbacks_total", "counter",
                "[ALPHA] The number of times lifecycle handlers successfully fell back to http from https.", [Sample(counts.fallbacks)],
            ),
            family(
                "kubelet_runtime_operations_total", "counter", "[ALPHA] Cumulative number of runtime operations by operation type.",
                [Sample(taken.count, {"operation_type": kind}) for kind, taken in sorted(counts.operations.items())],
            ),
            family(
                "kubelet_runtime_operations_duration_seconds", "histogram",
                "[ALPHA] Duration in seconds of runtime operations. Broken down by operation type.",
                [s for kind, taken in sorted(counts.operations.items()) for s in taken.samples({"operation_type": kind})],
            ),
            family(
                "kubelet_runtime_operations_errors_total", "counter", "[ALPHA] Cumulative number of runtime operation errors by operation type.",
                [Sample(count, {"operation_type": kind}) for kind, count in sorted(counts.failed_operations.items())],
            ),
            family("kubernetes_build_info", "gauge", "[ALPHA] The version of what runs here.", [Sample(1, {"git_version": VERSION, "platform": f"linux/{platform.machine()}"})]),
            family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", [Sample(own.cpu_seconds)]),
            family("process_open_fds", "gauge", "Number of open file descriptors.", [Sample(own.descriptors)]),
            family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", [Sample(own.memory)]),
        )  # fmt: skip

    def configuration(self) -> bytes:
        """Return the document ``/configz``."""
        settings = self._agent.settings
        config = {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "address": settings.address,
            "port": settings.port,
            "authentication": {"anonymous": {"enabled": False}, "x509": {}, "webhook": {"enabled": True}},
            "authorization": {"mode": "Webhook"},
            "podCIDR": self._agent.node.pod_cidr,
            "maxPods": int(settings.capacity.get("pods", "250")),
            "containerLogMaxSize": "10Mi",
            "containerLogMaxFiles": 2,
            "podPidsLimit": settings.pids_limit or -1,
            "evictionHard": dict(settings.eviction_hard),
            "nodeStatusUpdateFrequency": "10s",
            "nodeStatusReportFrequency": "5m0s",
            "nodeLeaseDurationSeconds": 40,
        }
        return encode_json({"kubeletconfig": config})


def _machine_labels() -> dict[str, str]:
    return {"kernelVersion": os.uname().release, "osVersion": "linux", "cadvisorVersion": VERSION}
