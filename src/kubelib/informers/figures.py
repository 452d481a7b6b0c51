"""The figures of work queues, under the names that Kubernetes' components have for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from kubelib.exposition import Sample, family
from kubelib.informers.workqueue import KeyQueue


def queue_families(queues: Mapping[str, KeyQueue[Any]]) -> Iterator[list[str]]:
    """Return the metrics of queues by name, as of now."""
    named = [({"name": name}, queue) for name, queue in sorted(queues.items())]
    for name, kind, about, figure in (
        ("depth", "gauge", "Current depth of workqueue", len),
        ("adds_total", "counter", "Total number of adds handled by workqueue", lambda queue: queue.adds),
        (
            "retries_total",
            "counter",
            "Total number of retries handled by workqueue",
            lambda queue: queue.retries,
        ),
        (
            "unfinished_work_seconds",
            "gauge",
            (
                "How many seconds of work has done that is in progress and hasn't been observed by work_duration."
                " Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate"
                " at which this increases."
            ),
            lambda queue: sum(queue.in_work_for()),
        ),
        (
            "longest_running_processor_seconds",
            "gauge",
            "How many seconds has the longest running processor for workqueue been running.",
            lambda queue: max(queue.in_work_for(), default=0.0),
        ),
    ):
        yield family(
            f"workqueue_{name}",
            kind,
            f"[BETA] {about}",
            (Sample(figure(queue), labels) for labels, queue in named),
        )
    yield family(
        "workqueue_queue_duration_seconds",
        "histogram",
        "[BETA] How long in seconds an item stays in workqueue before being requested.",
        (sample for labels, queue in named for sample in queue.waits.samples(labels)),
    )
    yield family(
        "workqueue_work_duration_seconds",
        "histogram",
        "[BETA] How long in seconds processing an item from workqueue takes.",
        (sample for labels, queue in named for sample in queue.works.samples(labels)),
    )
