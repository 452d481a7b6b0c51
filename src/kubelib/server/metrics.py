"""``/metrics``: the figures of a server in Prometheus' text form, under the names that Kubernetes uses."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kubelib.exposition import Sample, family, text
from kubelib.registry.admission.podsecurity.figures import PodSecurityFigures
from kubelib.registry.admission.webhooks.figures import WebhookFigures
from kubelib.server.process import process_figures
from kubelib.server.version import build_info

if TYPE_CHECKING:
    from kubelib.server.app import ApiServer
    from kubelib.server.flow import FlowControl
    from kubelib.store.metering import StoreFigures
    from kubelib.transactions.figures import Landings


def render(server: "ApiServer") -> bytes:
    """Return the current figures."""
    return text(*_families(server))


def _families(server: "ApiServer") -> Iterator[list[str]]:
    registries = server.registries
    yield build_info()
    yield family(
        "apiserver_storage_objects",
        "gauge",
        "[STABLE] Number of stored objects at the time of last check split by kind.",
        [
            Sample(count, {"resource": name})
            for name, count in {
                # Several versions of a kind are the same objects.
                resource.group_resource: len(registries.of(resource).cache)
                for resource in registries.scheme
                if "list" in resource.verbs
            }.items()
        ],
    )
    yield family(
        "apiserver_longrunning_requests",
        "gauge",
        "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource,"
        " scope and component. Not all requests are tracked this way.",
        server.figures.lasting(),
    )
    yield from _requests(server)
    yield from server.access.families()
    yield from _admission(server)
    yield from _landings(registries.landings)
    if server.storage is not None:
        yield from _storage(server.storage)
    yield from _webhooks(server)
    yield from _pod_security(server)
    if server.flow is not None:
        yield from _flow(server.flow)
    if server.auditor is not None:
        yield family(
            "apiserver_audit_event_total",
            "counter",
            "[ALPHA] Counter of audit events generated and sent to the audit backend.",
            [Sample(server.auditor.written)],
        )
        yield family(
            "apiserver_audit_error_total",
            "counter",
            "[ALPHA] Counter of audit events that failed to be audited properly."
            " Plugin identifies the plugin affected by the error.",
            [Sample(server.auditor.dropped, {"plugin": "log"})],
        )
    yield from process_figures()


def _requests(server: "ApiServer") -> Iterator[list[str]]:
    """Return what was asked, how long it took, and what is under way."""
    figures = server.figures
    yield family(
        "apiserver_request_total",
        "counter",
        "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope,"
        " component, and HTTP response code.",
        figures.totals(),
    )
    yield family(
        "apiserver_request_duration_seconds",
        "histogram",
        "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource,"
        " subresource, scope and component.",
        figures.durations(),
    )
    yield family(
        "apiserver_response_sizes",
        "histogram",
        "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and"
        " component.",
        figures.sizes(),
    )
    yield family(
        "apiserver_tls_handshake_errors_total",
        "counter",
        "[ALPHA] Number of requests dropped with 'TLS handshake error from' error",
        [Sample(figures.failed_handshakes)],
    )
    reading, writing = figures.in_flight
    yield family(
        "apiserver_current_inflight_requests",
        "gauge",
        "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        [Sample(writing, {"request_kind": "mutating"}), Sample(reading, {"request_kind": "readOnly"})],
    )
    yield family(
        "apiserver_requested_deprecated_apis",
        "gauge",
        "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource,"
        " subresource, and removed_release.",
        (
            Sample(
                1,
                {
                    "group": group,
                    "removed_release": "",
                    "resource": resource,
                    "subresource": subresource,
                    "version": version,
                },
            )
            for group, version, resource, subresource in sorted(figures.deprecated)
        ),
    )


def _admission(server: "ApiServer") -> Iterator[list[str]]:
    """Return how long admission took. That of a step includes what its plug-ins waited for."""
    figures = server.registries.admission.figures
    for what, about in (
        (
            "step",
            (
                "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource"
                " and step type (validate or admit)."
            ),
        ),
        (
            "controller",
            (
                "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each"
                " operation and API resource and type (validate or admit)."
            ),
        ),
    ):
        yield family(
            f"apiserver_admission_{what}_admission_duration_seconds",
            "histogram",
            about,
            figures.samples(steps=what == "step"),
        )


async def health_figures(server: "ApiServer") -> bytes:
    """Return what ``/metrics/slis`` shows: each check of health, made now, and how often it was made with which outcome."""
    for which in ("healthz", "livez", "readyz"):
        await server.checks(which)
    figures = server.figures
    return text(
        family(
            "kubernetes_healthcheck",
            "gauge",
            "Whether the check succeeded when it was last made.",
            (
                Sample(int(healthy), {"name": name, "type": which})
                for (which, name), healthy in sorted(figures.health.items())
            ),
        ),
        family(
            "kubernetes_healthchecks_total",
            "counter",
            "How often the check was made.",
            (
                Sample(count, {"name": name, "status": "success" if healthy else "error", "type": which})
                for (which, name, healthy), count in sorted(figures.checks.items())
            ),
        ),
    )


def _storage(figures: "StoreFigures") -> Iterator[list[str]]:
    """Return what the store has been asked. kube-apiserver has the like under ``etcd_``, whatever the store."""
    yield family(
        "kubelib_store_request_duration_seconds",
        "histogram",
        "Seconds that the store has taken.",
        (
            sample
            for operation, durations in sorted(figures.durations.items())
            for sample in durations.samples({"operation": operation})
        ),
    )
    yield family(
        "kubelib_store_request_errors_total",
        "counter",
        "Calls of the store that failed.",
        (
            Sample(count, {"operation": operation, "error": error})
            for (operation, error), count in sorted(figures.errors.items())
        ),
    )
    for name, kind, about, figure in (
        ("conflicts_total", "counter", "Commits whose expectations did not hold.", figures.conflicts),
        ("changes_total", "counter", "Changes that the store has reported.", figures.changes),
        ("watches", "gauge", "Open watches of the store.", figures.watches),
    ):
        yield family(f"kubelib_store_{name}", kind, about, [Sample(figure)])


_WEBHOOKS = (
    ("admission_duration_seconds", "histogram", "Seconds that admission webhooks took."),
    ("request_total", "counter", "Number of requests to admission webhooks."),
    (
        "rejection_count",
        "counter",
        "Number of requests that were refused by, or for want of, an admission webhook.",
    ),
    ("fail_open_count", "counter", "Number of requests that went on without an admission webhook."),
)


def _webhooks(server: "ApiServer") -> Iterator[list[str]]:
    """Return the figures of admission webhooks."""
    found = [
        sample
        for plugin in server.registries.admission.plugins
        if isinstance(figures := getattr(plugin, "figures", None), WebhookFigures)
        for sample in figures.samples()
    ]
    for name, kind, about in _WEBHOOKS:
        samples = (sample for metric, sample in found if metric == name)
        yield family(f"apiserver_admission_webhook_{name}", kind, about, samples)


_POD_SECURITY = (
    ("evaluations_total", "Number of judgements of Pods by the Pod Security Standards."),
    ("exemptions_total", "Number of requests that are exempt from the Pod Security Standards."),
    ("errors_total", "Number of requests in namespaces with labels that cannot be read."),
)


def _pod_security(server: "ApiServer") -> Iterator[list[str]]:
    """Return what the Pod Security Standards have said."""
    found = [
        sample
        for plugin in server.registries.admission.plugins
        if isinstance(figures := getattr(plugin, "figures", None), PodSecurityFigures)
        for sample in figures.samples()
    ]
    for name, about in _POD_SECURITY:
        yield family(
            f"pod_security_{name}", "counter", about, (sample for metric, sample in found if metric == name)
        )


_SEATS = (
    ("nominal_limit_seats", "Seats that a priority level has of its own."),
    ("lower_limit_seats", "Seats that a priority level has at least, whatever others borrow."),
    ("upper_limit_seats", "Seats that a priority level has at most, whatever others lend."),
    ("current_limit_seats", "Seats that a priority level may use now."),
)
_NOW = (
    ("current_executing_requests", "executing", "Requests that are served."),
    ("current_executing_seats", "seats", "Seats in use."),
    ("current_inqueue_requests", "in_queue", "Requests that wait."),
    ("current_inqueue_seats", "wanted", "Seats for which requests wait."),
)


def _flow(flow: "FlowControl") -> Iterator[list[str]]:
    """Return the figures of API priority and fairness."""
    flow.refresh()
    prefix = "apiserver_flowcontrol"
    levels = [(level, {"priority_level": title}) for title, level in sorted(flow.levels.items())]
    for name, about in _SEATS:
        yield family(
            f"{prefix}_{name}",
            "gauge",
            about,
            (Sample(level.seats(flow.concurrency)[name], labels) for level, labels in levels),
        )
    tallies = [
        (tally, {**labels, "flow_schema": schema})
        for level, labels in levels
        for schema, tally in sorted(level.tallies.items())
    ]
    for name, attribute, about in _NOW:
        samples = (Sample(getattr(tally, attribute), labels) for tally, labels in tallies)
        yield family(f"{prefix}_{name}", "gauge", about, samples)
    yield family(
        f"{prefix}_dispatched_requests_total",
        "counter",
        "Requests that were served.",
        (Sample(tally.dispatched, labels) for tally, labels in tallies if tally.dispatched),
    )
    yield family(
        f"{prefix}_rejected_requests_total",
        "counter",
        "Requests that were refused.",
        (
            Sample(count, {**labels, "reason": reason})
            for tally, labels in tallies
            for reason, count in sorted(tally.refused.items())
        ),
    )
    yield family(
        f"{prefix}_request_wait_duration_seconds",
        "histogram",
        "Seconds that requests have waited.",
        (
            sample
            for tally, labels in tallies
            for execute, waits in (("false", tally.turned_away()), ("true", tally.waited()))
            if waits.count
            for sample in waits.samples({**labels, "execute": execute})
        ),
    )
    yield family(
        f"{prefix}_request_execution_seconds",
        "histogram",
        "[ALPHA] Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API"
        " Priority and Fairness subsystem",
        (
            sample
            for tally, labels in tallies
            for type_, durations in (("regular", tally.executions()), ("watch", tally.watches))
            if durations.count
            for sample in durations.samples({**labels, "type": type_})
        ),
    )


def _landings(landings: "Landings") -> Iterator[list[str]]:
    """Return what became of schedulers' transactions; single bindings are those of nobody in particular."""
    for name, label, about, counts in (
        ("transactions", "outcome", "Transactions of schedulers, by outcome.", landings.transactions),
        ("claims", "cause", "Claims of schedulers, by why they did not land.", landings.claims),
    ):
        yield family(
            f"kubelib_{name}_total",
            "counter",
            about,
            (
                Sample(count, {"scheduler": scheduler, label: value})
                for (scheduler, value), count in sorted(counts.items())
            ),
        )
