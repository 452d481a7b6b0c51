"""Descriptions of the controllers of Pods."""

from collections.abc import Sequence
from datetime import datetime

from reference_cluster.cli.describe.page import Page, Tree, controller_of, date, selector_text
from reference_cluster.cli.describe.pods import template


def label_selector_text(selector: Tree | None) -> str:
    """Return a label selector as text."""
    from kubelib.api.columns import label_selector_text as text

    return text(selector)


def pod_phases(pods: Sequence[Tree]) -> str:
    """Return how many Pods are in which phase."""
    phases = [(pod.get("status") or {}).get("phase") for pod in pods]
    counts = (
        ("Running", "Running"),
        ("Waiting", "Pending"),
        ("Succeeded", "Succeeded"),
        ("Failed", "Failed"),
    )
    return " / ".join(f"{phases.count(phase)} {shown}" for shown, phase in counts)


def _conditions(page: Page, status: Tree) -> None:
    if conditions := status.get("conditions"):
        page.line(0, "Conditions:")
        page.table(
            2,
            ("Type", "Status", "Reason"),
            [(f"{c['type']} ", c["status"], c.get("reason", "")) for c in conditions],
            ruler=("----", "------", "------"),
        )


def describe_replication_controller(
    tree: Tree, pods: Sequence[Tree], events: Sequence[Tree] | None, now: datetime
) -> str:
    """Return the description of a ReplicationController."""
    return _replicas(tree, selector_text(tree["spec"].get("selector")), pods, events, now)


def describe_replica_set(
    tree: Tree, pods: Sequence[Tree], events: Sequence[Tree] | None, now: datetime
) -> str:
    """Return the description of a ReplicaSet."""
    return _replicas(tree, label_selector_text(tree["spec"].get("selector")), pods, events, now)


def _replicas(
    tree: Tree, selector: str, pods: Sequence[Tree], events: Sequence[Tree] | None, now: datetime
) -> str:
    meta, spec, status = tree["metadata"], tree["spec"], tree.get("status") or {}
    page = Page()
    page.line(0, "Name:", meta["name"])
    page.line(0, "Namespace:", meta["namespace"])
    page.line(0, "Selector:", selector)
    page.labels(meta.get("labels"))
    page.annotations(meta.get("annotations"))
    if owner := controller_of(tree):
        page.line(0, "Controlled By:", owner)
    page.line(0, "Replicas:", f"{status.get('replicas', 0)} current / {spec.get('replicas', 0)} desired")
    page.line(0, "Pods Status:", pod_phases(pods))
    template(page, spec.get("template") or {})
    _conditions(page, status)
    page.events(events, now)
    return page.text()


def describe_deployment(
    tree: Tree, replica_sets: Sequence[Tree], events: Sequence[Tree] | None, now: datetime
) -> str:
    """Return the description of a Deployment, given the ReplicaSets that it controls."""
    meta, spec, status = tree["metadata"], tree["spec"], tree.get("status") or {}
    page = Page()
    page.line(0, "Name:", meta["name"])
    page.line(0, "Namespace:", meta["namespace"])
    page.line(0, "CreationTimestamp:", date(meta.get("creationTimestamp")))
    page.labels(meta.get("labels"))
    page.annotations(meta.get("annotations"))
    page.line(0, "Selector:", label_selector_text(spec.get("selector")))
    counts = " | ".join(
        f"{number} {name}"
        for number, name in (
            (spec.get("replicas", 0), "desired"),
            (status.get("updatedReplicas", 0), "updated"),
            (status.get("replicas", 0), "total"),
            (status.get("availableReplicas", 0), "available"),
            (status.get("unavailableReplicas", 0), "unavailable"),
        )
    )
    page.line(0, "Replicas:", counts)
    strategy = spec.get("strategy") or {}
    page.line(0, "StrategyType:", strategy.get("type", ""))
    page.line(0, "MinReadySeconds:", spec.get("minReadySeconds", 0))
    if rolling := strategy.get("rollingUpdate"):
        text = f"{rolling.get('maxUnavailable')} max unavailable, {rolling.get('maxSurge')} max surge"
        page.line(0, "RollingUpdateStrategy:", text)
    template(page, spec.get("template") or {})
    _conditions(page, status)
    new = _newest(tree, replica_sets)
    old = [rs for rs in replica_sets if rs is not new]
    page.line(0, "OldReplicaSets:", _sets(old))
    page.line(0, "NewReplicaSet:", _sets([new] if new is not None else []))
    page.events(events, now)
    return page.text()


def _newest(deployment: Tree, replica_sets: Sequence[Tree]) -> Tree | None:
    """Return the ReplicaSet of the Deployment's present template."""
    wanted = deployment["spec"].get("template") or {}

    def matches(replica_set: Tree) -> bool:
        found = replica_set["spec"].get("template") or {}
        labels = dict((found.get("metadata") or {}).get("labels") or {})
        labels.pop("pod-template-hash", None)
        return labels == ((wanted.get("metadata") or {}).get("labels") or {}) and found.get(
            "spec"
        ) == wanted.get("spec")

    found = [replica_set for replica_set in replica_sets if matches(replica_set)]
    return min(found, key=lambda rs: str(rs["metadata"].get("creationTimestamp")), default=None)


def _sets(replica_sets: Sequence[Tree]) -> str:
    return (
        ", ".join(
            f"{rs['metadata']['name']} ({(rs.get('status') or {}).get('replicas', 0)}/{rs['spec'].get('replicas', 0)}"
            " replicas created)"
            for rs in replica_sets
        )
        or "<none>"
    )
