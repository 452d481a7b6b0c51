"""Rules of the kinds that keep Pods running."""

from collections.abc import Callable
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.intorstring import is_percentage
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.claims import claim_spec_problems
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.pods import template_problems
from kubelib.api.validation.problems import (
    forbidden,
    immutable,
    invalid,
    non_negative,
    not_supported,
    required,
)

_MISMATCH = "`selector` does not match template `labels`"


def _labels(template: Any) -> dict[str, str]:
    meta = template.get("metadata") if isinstance(template, dict) else None
    return (meta or {}).get("labels") or {}


def selector_matches(selector: Any, labels: dict[str, str]) -> bool:
    """Return whether a ``metav1.LabelSelector`` selects labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key"), expression.get("values") or ()
        match expression.get("operator"):
            case "In":
                fits = labels.get(key) in values
            case "NotIn":
                fits = labels.get(key) not in values
            case "Exists":
                fits = key in labels
            case _:
                fits = key not in labels
        if not fits:
            return False
    return True


def int_or_percent_problems(path: str, value: Any) -> list[Problem]:
    """Check a number or a percentage."""
    if isinstance(value, str):
        return [] if is_percentage(value) else [invalid(path, value, texts.INVALID_PERCENT)]
    return non_negative(path, value)


def _is_none(value: Any) -> bool:
    """Return whether a number or a percentage is nothing; what is neither counts as nothing."""
    return not (int(value[:-1]) if is_percentage(value) else value if isinstance(value, int) else 0)


def at_most_all(path: str, value: Any) -> list[Problem]:
    """Check that a percentage is no more than all."""
    if is_percentage(value) and int(value[:-1]) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


def _counts(spec: Tree, *fields: str, path: str = "spec") -> list[Problem]:
    problems: list[Problem] = []
    for field in fields:
        problems += non_negative(f"{path}.{field}", spec.get(field))
    return problems


def replication_controller_problems(tree: Tree) -> list[Problem]:
    """Check a ReplicationController."""
    spec = tree.get("spec") or {}
    problems = _counts(spec, "minReadySeconds")
    selector, template = spec.get("selector"), spec.get("template")
    if not selector:
        problems.append(required("spec.selector"))
    problems += _counts(spec, "replicas")
    labels = _labels(template)
    if isinstance(template, dict) and any(labels.get(k) != v for k, v in (selector or {}).items()):
        problems.append(invalid("spec.template.metadata.labels", labels, _MISMATCH))
    template_problems(template, "spec.template", problems, always_in="ReplicationController")
    return problems


def _selected(spec: Tree, kind: str, *, always_in: str, why: str = "invalid label selector") -> list[Problem]:
    problems: list[Problem] = []
    selector, template = spec.get("selector"), spec.get("template")
    if selector is None:
        problems.append(required("spec.selector"))
    else:
        found = label_selector_problems(selector, "spec.selector")
        problems += found
        if _is_empty(selector):
            problems.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
        if found:
            return [*problems, invalid("spec.selector", selector, why)]
    problems += _mismatch_problems(selector, template)
    template_problems(template, "spec.template", problems, always_in=always_in)
    return problems


def _is_empty(selector: Tree) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def _mismatch_problems(selector: Any, template: Any) -> list[Problem]:
    """Check that a template has the labels by which its Pods are found; no selector finds none."""
    labels = _labels(template)
    if not isinstance(template, dict) or (selector is not None and selector_matches(selector, labels)):
        return []
    return [invalid("spec.template.metadata.labels", labels or None, _MISMATCH)]


def replica_set_problems(tree: Tree) -> list[Problem]:
    """Check a ReplicaSet."""
    spec = tree.get("spec") or {}
    return [
        *_counts(spec, "replicas", "minReadySeconds"),
        *_selected(spec, "deployment", always_in="ReplicaSet"),
    ]


def deployment_problems(tree: Tree) -> list[Problem]:
    """Check a Deployment."""
    spec = tree.get("spec") or {}
    problems = _counts(spec, "replicas")
    problems += _selected(spec, "deployment", always_in="ReplicaSet")
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "Recreate":
            if rolling is not None:
                problems.append(
                    forbidden(
                        "spec.strategy.rollingUpdate",
                        "may not be specified when strategy `type` is 'Recreate'",
                    )
                )
        case "RollingUpdate":
            if rolling is None:
                problems.append(
                    required("spec.strategy.rollingUpdate", "this should be defaulted and never be nil")
                )
            else:
                problems += _rolling_problems(rolling, "spec.strategy.rollingUpdate")
        case _:
            problems.append(not_supported("spec.strategy", strategy, ("Recreate", "RollingUpdate")))
    problems += _counts(spec, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        problems.append(
            invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
        )
    return problems


def _rolling_problems(rolling: Tree, path: str) -> list[Problem]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    problems = int_or_percent_problems(f"{path}.maxUnavailable", unavailable)
    problems += int_or_percent_problems(f"{path}.maxSurge", surge)
    if _is_none(unavailable) and _is_none(surge):
        problems.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    return problems + at_most_all(f"{path}.maxUnavailable", unavailable)


def daemon_set_problems(tree: Tree) -> list[Problem]:
    """Check a DaemonSet."""
    spec = tree.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template")
    problems = label_selector_problems(selector, "spec.selector")
    if not problems:
        problems += _mismatch_problems(selector, template)
    if selector is not None and _is_empty(selector):
        problems.append(invalid("spec.selector", selector, "empty selector is invalid for daemonset"))
    template_problems(template, "spec.template", problems, always_in="DaemonSet")
    problems += _counts(spec, "minReadySeconds")
    strategy = spec.get("updateStrategy") or {}
    path = "spec.updateStrategy"
    match strategy.get("type"):
        case "OnDelete":
            pass
        case "RollingUpdate":
            rolling = strategy.get("rollingUpdate")
            if rolling is None:
                problems.append(required(f"{path}.rollingUpdate"))
            else:
                problems += _daemon_rolling_problems(rolling, f"{path}.rollingUpdate")
        case _:
            problems.append(not_supported(path, strategy, ("RollingUpdate", "OnDelete")))
    return problems + _counts(spec, "revisionHistoryLimit")


def _daemon_rolling_problems(rolling: Tree, path: str) -> list[Problem]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    problems = [
        *int_or_percent_problems(f"{path}.maxUnavailable", unavailable),
        *int_or_percent_problems(f"{path}.maxSurge", surge),
        *at_most_all(f"{path}.maxUnavailable", unavailable),
        *at_most_all(f"{path}.maxSurge", surge),
    ]
    if not _is_none(unavailable) and not _is_none(surge):
        problems.append(invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    if _is_none(unavailable) and _is_none(surge):
        problems.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return problems


def stateful_set_problems(tree: Tree) -> list[Problem]:
    """Check a StatefulSet."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    policy = spec.get("podManagementPolicy")
    if not policy:
        problems.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        problems.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    strategy = spec.get("updateStrategy") or {}
    rolling, path = strategy.get("rollingUpdate"), "spec.updateStrategy"
    match strategy.get("type"):
        case None | "":
            problems.append(required(path))
        case "OnDelete":
            if rolling is not None:
                problems.append(
                    invalid(
                        f"{path}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'"
                    )
                )
        case "RollingUpdate":
            if rolling is not None:
                problems += _counts(rolling, "partition", path=f"{path}.rollingUpdate")
                unavailable = rolling.get("maxUnavailable")
                if unavailable is not None:
                    field = f"{path}.rollingUpdate.maxUnavailable"
                    problems += int_or_percent_problems(field, unavailable)
                    if _is_none(unavailable):
                        problems.append(invalid(field, unavailable, "cannot be 0"))
                    problems += at_most_all(field, unavailable)
        case _:
            problems.append(invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if retention.get(field) is not None and retention[field] not in ("Retain", "Delete"):
            where = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            problems.append(not_supported(where, retention[field], ("Retain", "Delete")))
    problems += _counts(spec, "replicas", "minReadySeconds")
    if spec.get("ordinals"):
        problems += _counts(spec["ordinals"], "start", path="spec.ordinals")
    claimed = spec.get("volumeClaimTemplates") or ()
    for at, claim in enumerate(claimed):
        problems += claim_spec_problems(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{at}].spec")
    template = spec.get("template")
    if claimed and isinstance(template, dict) and isinstance(template.get("spec"), dict):
        # Containers may mount the claims that each Pod will have.
        pod = template["spec"]
        known = {volume.get("name") for volume in pod.get("volumes") or ()}
        extra = [
            {"name": name, "persistentVolumeClaim": {"claimName": name}}
            for claim in claimed
            if (name := (claim.get("metadata") or {}).get("name")) and name not in known
        ]
        template = {**template, "spec": {**pod, "volumes": [*(pod.get("volumes") or ()), *extra]}}
    selected = {**spec, "template": template}
    return problems + _selected(selected, "statefulset", always_in="StatefulSet", why="")


_MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip


def stateful_set_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a StatefulSet."""
    problems = stateful_set_problems(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if any(spec.get(field) != before.get(field) for field in {*spec, *before}.difference(_MUTABLE)):
        named = ", ".join(f"'{field}'" for field in _MUTABLE[:-1])
        problems.append(
            forbidden(
                "spec",
                f"updates to statefulset spec for fields other than {named} and 'minReadySeconds' are forbidden",
            )
        )
    return problems


def selector_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a workload's selector has not changed."""
    return immutable(
        "spec.selector", (new.get("spec") or {}).get("selector"), (old.get("spec") or {}).get("selector")
    )


_REPLICAS = ("replicas", "fullyLabeledReplicas", "updatedReplicas", "readyReplicas", "availableReplicas")


def replica_status_problems(new: Tree, old: Tree, *, ready: str = "readyReplicas") -> list[Problem]:
    """Check the status of what counts replicas; `ready` is how those that are ready are called."""
    status = new.get("status") or {}
    problems = _counts(
        status, *_REPLICAS, "unavailableReplicas", "currentReplicas", "observedGeneration", "collisionCount",
        path="status",
    )  # fmt: skip
    total = status.get("replicas") or 0
    for field in (
        "fullyLabeledReplicas",
        "updatedReplicas",
        "readyReplicas",
        "currentReplicas",
        "availableReplicas",
    ):
        if (count := status.get(field) or 0) > total:
            problems.append(invalid(f"status.{field}", count, "cannot be greater than status.replicas"))
    if (count := status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        problems.append(invalid("status.availableReplicas", count, f"cannot be greater than {ready}"))
    return problems + _collision_problems(new, old)


def stateful_set_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the status of a StatefulSet."""
    return replica_status_problems(new, old, ready="status.readyReplicas")


def _collision_problems(new: Tree, old: Tree) -> list[Problem]:
    count, before = ((tree.get("status") or {}).get("collisionCount") or 0 for tree in (new, old))
    if count >= before:
        return []
    return [invalid("status.collisionCount", count, "cannot be decremented")]


def daemon_set_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the status of a DaemonSet."""
    counts = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
        "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
    )  # fmt: skip
    return [*_counts(new.get("status") or {}, *counts, path="status"), *_collision_problems(new, old)]


def status_counts(*fields: str) -> Callable[[Tree, Tree], list[Problem]]:
    """Return the check of a status whose counts are not negative."""
    return lambda new, old: _counts(new.get("status") or {}, *fields, path="status")


def revision_problems(tree: Tree) -> list[Problem]:
    """Check a ControllerRevision."""
    problems = [] if tree.get("data") is not None else [required("data", "data is mandatory")]
    return problems + non_negative("revision", tree.get("revision"))


def revision_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a ControllerRevision stays what it is."""
    return [*revision_problems(new), *immutable("data", new.get("data"), old.get("data"))]


def scale_problems(tree: Tree) -> list[Problem]:
    """Check a Scale."""
    return non_negative("spec.replicas", (tree.get("spec") or {}).get("replicas"))
