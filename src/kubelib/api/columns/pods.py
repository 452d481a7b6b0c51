"""The columns of Pods, with the rules by which many facts become one word of status."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from kubelib.api.columns.cells import AGE, NAME, NONE, Cell, age_of, at, condition, labels_text, template
from kubelib.api.scheme import Column, Tree


def _restartable(spec: Mapping[str, Any]) -> bool:
    return spec.get("restartPolicy") == "Always"


def pod_summary(tree: Tree, now: datetime) -> tuple[str, str, str]:
    """Return the ready count, the status and the restarts of a Pod as ``kubectl get`` shows them."""
    spec, status = tree.get("spec") or {}, tree.get("status") or {}
    init_specs = spec.get("initContainers") or ()
    sidecars = {c.get("name") for c in init_specs if _restartable(c)}
    total = len(spec.get("containers") or ()) + len(sidecars)
    ready = restarts = sidecar_restarts = 0
    last_restart = ""
    last_sidecar_restart = ""
    phase = status.get("phase") or ""
    reason = status.get("reason") or phase
    gated = condition(tree, "PodScheduled").get("reason") == "SchedulingGated"
    if gated:
        reason = "SchedulingGated"
    initializing = False
    for number, container in enumerate(status.get("initContainerStatuses") or ()):
        restarts += container.get("restartCount") or 0
        finished = at(container, "lastState", "terminated", "finishedAt") or ""
        last_restart = max(last_restart, finished)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            sidecar_restarts += container.get("restartCount") or 0
            last_sidecar_restart = max(last_sidecar_restart, finished)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            if terminated.get("reason"):
                reason = f"Init:{terminated['reason']}"
            elif terminated.get("signal"):
                reason = f"Init:Signal:{terminated['signal']}"
            else:
                reason = f"Init:ExitCode:{terminated.get('exitCode')}"
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            reason = f"Init:{waiting['reason']}"
        else:
            reason = f"Init:{number}/{len(init_specs)}"
        initializing = True
        break
    if not initializing or condition(tree, "Initialized").get("status") == "True":
        restarts, last_restart = sidecar_restarts, last_sidecar_restart
        has_running = False
        for container in reversed(status.get("containerStatuses") or ()):
            restarts += container.get("restartCount") or 0
            last_restart = max(last_restart, at(container, "lastState", "terminated", "finishedAt") or "")
            state = container.get("state") or {}
            waiting, terminated = state.get("waiting"), state.get("terminated")
            if waiting and waiting.get("reason"):
                reason = waiting["reason"]
            elif terminated and terminated.get("reason"):
                reason = terminated["reason"]
            elif terminated is not None:
                signal = terminated.get("signal")
                reason = f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode') or 0}"
            elif container.get("ready") and state.get("running") is not None:
                has_running = True
                ready += 1
        if reason == "Completed" and has_running:
            reason = "Running" if condition(tree, "Ready").get("status") == "True" else "NotReady"
    if at(tree, "metadata", "deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Failed", "Succeeded"):
            reason = "Terminating"
    shown = str(restarts)
    if restarts and last_restart:
        shown = f"{restarts} ({age_of(last_restart, now)} ago)"
    return f"{ready}/{total}", reason, shown


class _Summaries:
    """Three columns show a part each of one summary: that of the last Pod is kept for the columns that follow."""

    def __init__(self) -> None:
        self._last: tuple[Tree, datetime, tuple[str, str, str]] | None = None

    def part(self, number: int) -> Cell:
        """Return a cell that shows a part of the summary."""

        def cell(tree: Tree, now: datetime) -> str:
            last = self._last
            if last is None or last[0] is not tree or last[1] is not now:
                last = self._last = (tree, now, pod_summary(tree, now))
            return last[2][number]

        return cell


_summaries = _Summaries()


def _readiness_gates(tree: Tree, now: datetime) -> str:
    gates = at(tree, "spec", "readinessGates") or ()
    if not gates:
        return NONE
    met = sum(condition(tree, gate.get("conditionType", "")).get("status") == "True" for gate in gates)
    return f"{met}/{len(gates)}"


def _pod_ip(tree: Tree, now: datetime) -> str:
    return at(tree, "status", "podIPs", 0, "ip") or at(tree, "status", "podIP") or NONE


POD = (
    NAME,
    Column("Ready", _summaries.part(0)),
    Column("Status", _summaries.part(1)),
    Column("Restarts", _summaries.part(2)),
    AGE,
    Column("IP", _pod_ip, wide=True),
    Column("Node", lambda t, n: at(t, "spec", "nodeName") or NONE, wide=True),
    Column("Nominated Node", lambda t, n: at(t, "status", "nominatedNodeName") or NONE, wide=True),
    Column("Readiness Gates", _readiness_gates, wide=True),
)

POD_TEMPLATE = (
    NAME,
    *(attrs.evolve(column, wide=False) for column in template("template", "spec")),
    Column("Pod Labels", lambda t, n: labels_text(at(t, "template", "metadata", "labels"))),
)
