"""Metrics in Prometheus' text form, under the names and with the labels of the kubelet and of cAdvisor. Pure."""

from collections.abc import Iterable, Mapping

from kubelib.api.quantity import parse_quantity
from kubelib.exposition import Sample, family, text
from kubelib.runtime.stats.node import ContainerFigures, Figures

PERIOD = 100_000
"""Microseconds of a period of the processor quota."""


def _named(figures: Figures) -> list[tuple[dict[str, str], ContainerFigures]]:
    return [
        (
            {
                "container": one.container.name,
                "pod": pod.pod.metadata.name,
                "namespace": pod.pod.metadata.namespace,
            },
            one,
        )
        for pod in figures.pods
        for one in pod.containers
    ]


def resource_metrics(figures: Figures) -> bytes:
    """Return ``/metrics/resource``: what autoscalers and ``kubectl top`` live on."""
    when = int(figures.when.timestamp() * 1000)
    machine, containers = figures.machine, _named(figures)
    pods = [
        ({"pod": p.pod.metadata.name, "namespace": p.pod.metadata.namespace}, p)
        for p in figures.pods
        if p.containers
    ]
    return text(
        family(
            "container_cpu_usage_seconds_total", "counter",
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            (Sample(one.stats.cpu_seconds, labels, when) for labels, one in containers),
        ),
        family(
            "container_memory_working_set_bytes", "gauge",
            "[STABLE] Current working set of the container in bytes",
            (Sample(one.stats.memory, labels, when) for labels, one in containers),
        ),
        family(
            "container_start_time_seconds", "gauge",
            "[STABLE] Start time of the container since unix epoch in seconds",
            (
                Sample(one.container.started.timestamp(), labels)
                for labels, one in containers
                if one.container.started
            ),
        ),
        family(
            "node_cpu_usage_seconds_total", "counter",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            [Sample(machine.cpu_seconds, {}, when)],
        ),
        family(
            "node_memory_working_set_bytes", "gauge",
            "[STABLE] Current working set of the node in bytes",
            [Sample(machine.working_set, {}, when)],
        ),
        family(
            "node_swap_usage_bytes", "gauge",
            "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
            [Sample(machine.swap_total - machine.swap_free, {}, when)],
        ),
        family(
            "pod_cpu_usage_seconds_total", "counter",
            "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            (Sample(pod.cpu_seconds, labels, when) for labels, pod in pods),
        ),
        family(
            "pod_memory_working_set_bytes", "gauge",
            "[STABLE] Current working set of the pod in bytes",
            (Sample(pod.memory, labels, when) for labels, pod in pods),
        ),
        family(
            "resource_scrape_error", "gauge",
            "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
            [Sample(0)],
        ),
    )  # fmt: skip


def cadvisor_metrics(figures: Figures, version: Mapping[str, str]) -> bytes:
    """Return ``/metrics/cadvisor``: every container, the whole machine as the container ``/``."""
    when = int(figures.when.timestamp() * 1000)
    machine, disk = figures.machine, figures.file_system
    containers = [
        (
            {**labels, "id": f"/kubepods/pod{pod.pod.metadata.uid}/{one.container.name}-{one.container.attempt}",
             "image": one.container.image, "name": f"{one.container.name}-{one.container.attempt}"},
            one, pod.pod,
        )
        for pod in figures.pods
        for one in pod.containers
        for labels in [
            {"container": one.container.name, "pod": pod.pod.metadata.name, "namespace": pod.pod.metadata.namespace}
        ]
    ]  # fmt: skip
    nobody = {"container": "", "pod": "", "namespace": "", "id": "/", "image": "", "name": ""}

    def gauge(name: str, about: str, of: str, whole: float | None = None, kind: str = "gauge") -> list[str]:
        samples = [Sample(whole, nobody, when)] if whole is not None else []
        samples += [Sample(getattr(one.stats, of), labels, when) for labels, one, _ in containers]
        return family(name, kind, about, samples)

    def limits() -> Iterable[list[str]]:
        quota, memory = [], []
        for labels, one, pod in containers:
            definition = next(
                (
                    d
                    for d in (*pod.spec.init_containers, *pod.spec.containers)
                    if d.name == one.container.name
                ),
                None,
            )
            given = definition.resources.limits if definition is not None else {}
            if "cpu" in given:
                quota.append(Sample(parse_quantity(given["cpu"]).milli() * PERIOD / 1000, labels))
            if "memory" in given:
                memory.append(Sample(parse_quantity(given["memory"]).value(), labels))
        yield family("container_spec_cpu_quota", "gauge", "CPU quota of the container.", quota)
        yield family(
            "container_spec_cpu_period", "gauge", "CPU period of the container.",
            [Sample(PERIOD, sample.labels) for sample in quota],
        )  # fmt: skip
        yield family("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", memory)

    total = [Sample(machine.cpu_seconds, {**nobody, "cpu": "total"}, when)]
    total += [
        Sample(one.stats.cpu_seconds, {**labels, "cpu": "total"}, when) for labels, one, _ in containers
    ]
    failures = [
        Sample(value, {**labels, "failure_type": kind, "scope": "hierarchy"}, when)
        for labels, one, _ in containers
        for kind, value in (("pgfault", one.stats.page_faults), ("pgmajfault", one.stats.major_page_faults))
    ]
    networks = [(nobody, machine.interfaces)]
    for pod in figures.pods:
        meta = pod.pod.metadata
        named = {"pod": meta.name, "namespace": meta.namespace, "id": f"/kubepods/pod{meta.uid}"}
        networks.append(({**nobody, **named}, pod.interfaces))
    network = [
        family(
            f"container_network_{direction}_{what}_total", "counter", about,
            [
                Sample(getattr(interface, field), {**labels, "interface": interface.name}, when)
                for labels, interfaces in networks
                for interface in interfaces
            ],
        )
        for direction, what, field, about in (
            ("receive", "bytes", "received", "Cumulative count of bytes received"),
            ("receive", "errors", "receive_errors", "Cumulative count of errors encountered while receiving"),
            ("transmit", "bytes", "sent", "Cumulative count of bytes transmitted"),
            ("transmit", "errors", "send_errors", "Cumulative count of errors encountered while transmitting"),
        )
    ]  # fmt: skip
    root = {**nobody, "device": "/"}
    started = [
        Sample(one.container.started.timestamp(), labels)
        for labels, one, _ in containers
        if one.container.started
    ]
    return text(
        family(
            "cadvisor_version_info", "gauge",
            "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
            [Sample(1, version)],
        ),
        family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", total),
        gauge("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", "user_seconds", kind="counter"),
        gauge("container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.", "system_seconds", kind="counter"),
        gauge("container_file_descriptors", "Number of open file descriptors for the container.", "descriptors"),
        family(
            "container_fs_limit_bytes", "gauge", "Number of bytes that can be consumed by the container on this filesystem.",
            [Sample(disk.capacity, root, when)],
        ),
        family(
            "container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container on this filesystem.",
            [Sample(disk.used, root, when)],
        ),
        family(
            "container_last_seen", "gauge", "Last time a container was seen by the exporter",
            [Sample(when // 1000, labels, when) for labels in (nobody, *(labels for labels, _, _ in containers))],
        ),
        family("container_memory_failures_total", "counter", "Cumulative count of memory allocation failures.", failures),
        gauge("container_memory_rss", "Size of RSS in bytes.", "rss", machine.rss),
        gauge("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", "memory_usage", machine.memory_usage),
        gauge("container_memory_working_set_bytes", "Current working set in bytes.", "memory", machine.working_set),
        *network,
        gauge("container_processes", "Number of processes running inside the container.", "processes", machine.processes),
        family(
            "container_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise", [Sample(0)]
        ),
        *limits(),
        family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", started),
        gauge("container_threads", "Number of threads running inside the container", "threads"),
        family("machine_cpu_cores", "gauge", "Number of logical CPU cores.", [Sample(_cores())]),
        family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.", [Sample(machine.memory_capacity)]),
    )  # fmt: skip


def _cores() -> int:
    import os

    return os.cpu_count() or 1
