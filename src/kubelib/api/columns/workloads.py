"""The columns of what makes Pods, and of what scales it."""

from datetime import datetime
from typing import Any

from kubelib.api.columns.cells import (
    AGE,
    NAME,
    NONE,
    PLAIN_NAME,
    age_of,
    at,
    condition,
    count,
    field,
    label_selector_cell,
    label_selector_text,
    labels_text,
    selector_cell,
    template,
)
from kubelib.api.scheme import Column, Tree
from kubelib.api.times import parse_time

_TEMPLATE = template("spec", "template", "spec")
_SELECTOR = Column("Selector", label_selector_cell, wide=True)

SCALE = (
    PLAIN_NAME,
    Column("Desired", count("spec", "replicas"), "integer"),
    Column("Available", count("status", "replicas"), "integer"),
    AGE,
)
REPLICATION_CONTROLLER = (
    NAME,
    Column("Desired", count("spec", "replicas"), "integer"),
    Column("Current", count("status", "replicas"), "integer"),
    Column("Ready", count("status", "readyReplicas"), "integer"),
    AGE,
    *_TEMPLATE,
    Column("Selector", selector_cell, wide=True),
)
REPLICA_SET = (*REPLICATION_CONTROLLER[:-1], _SELECTOR)
_READY = Column(
    "Ready", lambda t, n: f"{at(t, 'status', 'readyReplicas') or 0}/{at(t, 'spec', 'replicas') or 0}"
)
DEPLOYMENT = (
    NAME,
    _READY,
    Column("Up-to-date", count("status", "updatedReplicas")),
    Column("Available", count("status", "availableReplicas")),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)
DAEMON_SET = (
    NAME,
    Column("Desired", count("status", "desiredNumberScheduled"), "integer"),
    Column("Current", count("status", "currentNumberScheduled"), "integer"),
    Column("Ready", count("status", "numberReady"), "integer"),
    Column("Up-to-date", count("status", "updatedNumberScheduled"), "integer"),
    Column("Available", count("status", "numberAvailable"), "integer"),
    Column(
        "Node Selector",
        lambda t, n: labels_text(at(t, "spec", "template", "spec", "nodeSelector")),
    ),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)
STATEFUL_SET = (NAME, _READY, AGE, *_TEMPLATE)


def _revision_owner(tree: Tree, now: datetime) -> str:
    for owner in at(tree, "metadata", "ownerReferences") or ():
        if owner.get("controller"):
            group = str(owner.get("apiVersion", "")).rpartition("/")[0]
            kind = str(owner.get("kind", "")).lower()
            return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return NONE


CONTROLLER_REVISION = (
    NAME,
    Column("Controller", _revision_owner),
    Column("Revision", field("revision", default=0)),
    AGE,
)

_JOB_STATUS = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def _job_status(tree: Tree, now: datetime) -> str:
    def holds(kind: str) -> bool:
        return condition(tree, kind).get("status") == "True"

    if holds("Complete"):
        return "Complete"
    if holds("Failed"):
        return "Failed"
    if at(tree, "metadata", "deletionTimestamp"):
        return "Terminating"
    return next((kind for kind in _JOB_STATUS if holds(kind)), "Running")


def _job_completions(tree: Tree, now: datetime) -> str:
    done, completions = at(tree, "status", "succeeded") or 0, at(tree, "spec", "completions")
    if completions is not None:
        return f"{done}/{completions}"
    parallelism = at(tree, "spec", "parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(tree: Tree, now: datetime) -> str:
    start = at(tree, "status", "startTime")
    if not start:
        return ""
    end = at(tree, "status", "completionTime")
    return age_of(start, parse_time(end) if end else now)


JOB = (
    NAME,
    Column("Status", _job_status),
    Column("Completions", _job_completions),
    Column("Duration", _job_duration),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)


def _suspended(tree: Tree, now: datetime) -> str:
    suspend = at(tree, "spec", "suspend")
    return "<unset>" if suspend is None else str(bool(suspend))


CRON_JOB = (
    NAME,
    Column("Schedule", field("spec", "schedule")),
    Column("Timezone", field("spec", "timeZone", default=NONE)),
    Column("Suspend", _suspended),
    Column("Active", lambda t, n: len(at(t, "status", "active") or ()), "integer"),
    Column(
        "Last Schedule", lambda t, n: age_of(s, n) if (s := at(t, "status", "lastScheduleTime")) else NONE
    ),
    AGE,
    *template("spec", "jobTemplate", "spec", "template", "spec"),
    Column(
        "Selector",
        lambda t, n: label_selector_text(at(t, "spec", "jobTemplate", "spec", "selector")),
        wide=True,
    ),
)


# Autoscalers

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def _metric_name(kind: str, source: Tree) -> str:
    if kind in ("Resource", "ContainerResource"):
        return str(source.get("name") or "")
    return str(at(source, "metric", "name") or "")


def _target(metric: Tree, current: Tree) -> str:
    kind = str(metric.get("type") or "")
    part = _SOURCES.get(kind, "")
    if not part:
        return "<unknown type>"
    target = at(metric, part, "target") or {}
    value = at(current, part, "current") or {}
    if kind in ("Resource", "ContainerResource"):
        name = f"{_metric_name(kind, metric.get(part) or {})}: "
        if target.get("averageValue") is None:
            used, wanted = value.get("averageUtilization"), target.get("averageUtilization")
            shown = "<unknown>" if used is None else f"{used}%"
            return f"{name}{shown}/{'<auto>' if wanted is None else f'{wanted}%'}"
        return f"{name}{value.get('averageValue') or '<unknown>'}/{target['averageValue']}"
    average = " (avg)" if kind != "Pods" else ""
    if target.get("averageValue") is not None:
        return f"{value.get('averageValue') or '<unknown>'}/{target['averageValue']}{average}"
    return f"{value.get('value') or '<unknown>'}/{target.get('value')}"


def _targets(tree: Tree, now: datetime) -> str:
    metrics: list[Any] = at(tree, "spec", "metrics") or []
    current: list[Any] = at(tree, "status", "currentMetrics") or []
    shown = [_target(metric, current[n] if n < len(current) else {}) for n, metric in enumerate(metrics)]
    if not shown:
        return NONE
    more = f" + {len(shown) - 2} more..." if len(shown) > 2 else ""
    return ", ".join(shown[:2]) + more


HORIZONTAL_POD_AUTOSCALER = (
    NAME,
    Column(
        "Reference",
        lambda t, n: f"{at(t, 'spec', 'scaleTargetRef', 'kind')}/{at(t, 'spec', 'scaleTargetRef', 'name')}",
    ),
    Column("Targets", _targets),
    Column("MinPods", lambda t, n: str(at(t, "spec", "minReplicas") or "<unset>")),
    Column("MaxPods", count("spec", "maxReplicas")),
    Column("Replicas", count("status", "currentReplicas")),
    AGE,
)
