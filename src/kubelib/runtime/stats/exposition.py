"""Metrics in Prometheus' text form, under the names and with the labels of the kubelet and of cAdvisor. Pure."""

from collections.abc import Iterable, Mapping

from kubelib.api.core.pod import Pod
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


NOBODY = {"container": "", "pod": "", "namespace": "", "id": "/", "image": "", "name": ""}
"""The labels of the whole machine, which is the container ``/``."""

Labelled = list[tuple[dict[str, str], ContainerFigures, Pod]]


def _as_cadvisor_names(figures: Figures) -> Labelled:
    """Return every container with its labels and its Pod."""
    return [
        (
            {
                "container": one.container.name,
                "pod": pod.pod.metadata.name,
                "namespace": pod.pod.metadata.namespace,
                "id": f"/kubepods/pod{pod.pod.metadata.uid}/{one.container.name}-{one.container.attempt}",
                "image": one.container.image,
                "name": f"{one.container.name}-{one.container.attempt}",
            },
            one,
            pod.pod,
        )
        for pod in figures.pods
        for one in pod.containers
    ]


def cadvisor_metrics(figures: Figures, version: Mapping[str, str]) -> bytes:
    """Return ``/metrics/cadvisor``: every container, the whole machine as the container ``/``."""
    when = int(figures.when.timestamp() * 1000)
    containers = _as_cadvisor_names(figures)
    families = [
        family(
            "cadvisor_version_info", "gauge",
            "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
            [Sample(1, version)],
        ),
        *_used(figures, containers, when),
        *_on_disk(figures, when),
        *_on_networks(figures, when),
        *_limits(containers),
        family(
            "container_last_seen", "gauge", "Last time a container was seen by the exporter",
            [Sample(when // 1000, labels, when) for labels in (NOBODY, *(labels for labels, _, _ in containers))],
        ),
        family(
            "container_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise", [Sample(0)]
        ),
        family(
            "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.",
            [Sample(one.container.started.timestamp(), labels) for labels, one, _ in containers if one.container.started],
        ),
        family("machine_cpu_cores", "gauge", "Number of logical CPU cores.", [Sample(_cores())]),
        family(
            "machine_memory_bytes", "gauge", "Amount of memory installed on the machine.", [Sample(figures.machine.memory_capacity)]
        ),
    ]  # fmt: skip
    return text(*sorted(families))  # each begins with its name


def _used(figures: Figures, containers: Labelled, when: int) -> Iterable[list[str]]:
    """Yield what of processors, memory and processes is in use."""
    machine = figures.machine

    def each(name: str, about: str, of: str, whole: float | None = None, kind: str = "gauge") -> list[str]:
        samples = [Sample(whole, NOBODY, when)] if whole is not None else []
        samples += [Sample(getattr(one.stats, of), labels, when) for labels, one, _ in containers]
        return family(name, kind, about, samples)

    yield family(
        "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.",
        [
            Sample(seconds, {**labels, "cpu": "total"}, when)
            for labels, seconds in [(NOBODY, machine.cpu_seconds), *((labels, one.stats.cpu_seconds) for labels, one, _ in containers)]
        ],
    )  # fmt: skip
    yield each(
        "container_cpu_user_seconds_total",
        "Cumulative user cpu time consumed in seconds.",
        "user_seconds",
        kind="counter",
    )
    yield each(
        "container_cpu_system_seconds_total",
        "Cumulative system cpu time consumed in seconds.",
        "system_seconds",
        kind="counter",
    )
    yield each(
        "container_file_descriptors", "Number of open file descriptors for the container.", "descriptors"
    )
    yield family(
        "container_memory_failures_total", "counter", "Cumulative count of memory allocation failures.",
        [
            Sample(value, {**labels, "failure_type": kind, "scope": "hierarchy"}, when)
            for labels, one, _ in containers
            for kind, value in (("pgfault", one.stats.page_faults), ("pgmajfault", one.stats.major_page_faults))
        ],
    )  # fmt: skip
    yield each("container_memory_rss", "Size of RSS in bytes.", "rss", machine.rss)
    yield each(
        "container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed",
        "memory_usage", machine.memory_usage,
    )  # fmt: skip
    yield each(
        "container_memory_working_set_bytes", "Current working set in bytes.", "memory", machine.working_set
    )
    yield each(
        "container_processes",
        "Number of processes running inside the container.",
        "processes",
        machine.processes,
    )
    yield each("container_threads", "Number of threads running inside the container", "threads")


def _on_disk(figures: Figures, when: int) -> Iterable[list[str]]:
    """Yield how full the machine's disk is."""
    disk, root = figures.file_system, {**NOBODY, "device": "/"}
    for what, about, value in (
        ("limit", "Number of bytes that can be consumed by the container on this filesystem.", disk.capacity),
        ("usage", "Number of bytes that are consumed by the container on this filesystem.", disk.used),
    ):
        yield family(f"container_fs_{what}_bytes", "gauge", about, [Sample(value, root, when)])


def _on_networks(figures: Figures, when: int) -> Iterable[list[str]]:
    """Yield what the machine and the Pods that have networks of their own have sent and received."""
    networks = [(NOBODY, figures.machine.interfaces)]
    for pod in figures.pods:
        meta = pod.pod.metadata
        named = {"pod": meta.name, "namespace": meta.namespace, "id": f"/kubepods/pod{meta.uid}"}
        networks.append(({**NOBODY, **named}, pod.interfaces))
    for direction, what, field, about in (
        ("receive", "bytes", "received", "Cumulative count of bytes received"),
        ("receive", "errors", "receive_errors", "Cumulative count of errors encountered while receiving"),
        ("transmit", "bytes", "sent", "Cumulative count of bytes transmitted"),
        ("transmit", "errors", "send_errors", "Cumulative count of errors encountered while transmitting"),
    ):
        samples = [
            Sample(getattr(interface, field), {**labels, "interface": interface.name}, when)
            for labels, interfaces in networks
            for interface in interfaces
        ]
        yield family(f"container_network_{direction}_{what}_total", "counter", about, samples)


def _limits(containers: Labelled) -> Iterable[list[str]]:
    """Yield what containers may have at most, where they may not have all."""
    quota, memory = [], []
    for labels, one, pod in containers:
        defined = (*pod.spec.init_containers, *pod.spec.containers)
        given = next((d.resources.limits for d in defined if d.name == one.container.name), {})
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


def _cores() -> int:
    import os

    return os.cpu_count() or 1
