"""Jobs, CronJobs and what keeps Pods running: what is wrong with each, one to a line, in Kubernetes' words and order."""

import copy
from typing import Any

import pytest

from kubelib.api.validation import validate_create, validate_update
from tests.api.test_validation import build, put, resource_of

RULES, CODES = "spec.podFailurePolicy.rules", "spec.podFailurePolicy.rules[0].onExitCodes"
COND = "status.conditions: Invalid value:"


def failing(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"spec__podFailurePolicy": {"rules": list(rules)}}


def coded(**codes: Any) -> dict[str, Any]:
    return failing({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1], **codes}})


SELECTED = {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
GENERATED = {
    "controller-uid": "u",
    "job-name": "a",
    "batch.kubernetes.io/controller-uid": "u",
    "batch.kubernetes.io/job-name": "a",
}

NEW: list[tuple[str, dict[str, Any], list[str]]] = [
    ("Job", failing(*[{"action": "Count", "onPodConditions": [{"type": "A"}]}] * 21), [f"{RULES}: Too many: 21: must have at most 20 items"]),
    ("Job", failing({}), [
        f'{RULES}[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]',
        f"{RULES}[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
    ("Job", failing({"action": "Odd", "onExitCodes": {"operator": "In", "values": [1]}, "onPodConditions": [{"type": "A"}]}), [
        f'{RULES}[0].action: Unsupported value: "Odd": supported values: "Count", "FailIndex", "FailJob", "Ignore"',
        f"{RULES}[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"]),
    ("Job", failing({"action": "FailIndex", "onPodConditions": [{"type": "A"}]}), [
        f'{RULES}[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set']),
    ("Job", failing({"action": "Ignore", "onPodConditions": [{"type": "A", "status": "Odd"}]}), [
        f'{RULES}[0].onPodConditions[0].status: Unsupported value: "Odd": supported values: "False", "True", "Unknown"']),
    ("Job", coded(operator=""), [f'{CODES}.operator: Required value: valid values: ["In" "NotIn"]']),
    ("Job", coded(containerName="x"), [
        f'{CODES}.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template']),
    ("Job", coded(values=[]), [f"{CODES}.values: Invalid value: []: at least one value is required"]),
    ("Job", coded(values=[0]), [f"{CODES}.values[0]: Invalid value: 0: must not be 0 for the In operator"]),
    ("Job", coded(values=[2, 1]), [f"{CODES}.values: Invalid value: [2,1]: must be ordered"]),
    ("Job", coded(values=[2, 2]), [f"{CODES}.values[1]: Duplicate value: 2"]),
    ("Job", coded(values=list(range(1, 257))), [f"{CODES}.values: Too many: 256: must have at most 255 items"]),
    ("Job", {**coded(), "spec__podReplacementPolicy": "TerminatingOrFailed"}, [
        'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"']),
    ("Job", {**coded(), "spec__template__spec__restartPolicy": "OnFailure"}, [
        'spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified']),
    ("Job", {"spec__maxFailedIndexes": 1, "spec__completionMode": "NonIndexed"}, [
        "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
        "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode"]),
    ("Job", {"spec__completionMode": "Indexed", "metadata__name": "a" * 62}, [
        f'metadata.name: Invalid value: "{"a" * 62}": will not able to create pod with invalid DNS label: {"a" * 62}-0']),
    ("Job", {"spec__manualSelector": True}, ["spec.selector: Required value"]),
    ("Job", {"spec__manualSelector": True, "spec__selector": {"matchLabels": {"x": "y"}}}, [
        "spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`"]),
    ("Job", {"metadata__uid": "u", "spec__selector": SELECTED, "spec__template__metadata": {"labels": GENERATED}}, []),
    ("Job", {"metadata__uid": "v", "spec__selector": SELECTED, "spec__template__metadata": {"labels": GENERATED}}, [
        f"spec.template.metadata.labels[{key}]: Invalid value: "
        '{"controller-uid":"u","job-name":"a","batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"a"}: must be \'v\''
        for key in ("controller-uid", "batch.kubernetes.io/controller-uid")
    ] + ['spec.selector: Invalid value: {"matchLabels":{"batch.kubernetes.io/controller-uid":"u"}}: `selector` not auto-generated']),
    ("CronJob", {"spec__timeZone": "Local"}, [
        'spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones']),
    ("CronJob", {"spec__timeZone": "Europe/../Rome"}, ['spec.timeZone: Invalid value: "Europe/../Rome": unknown time zone Europe/../Rome']),
    ("CronJob", {"spec__timeZone": " Europe/Rome"}, ['spec.timeZone: Invalid value: " Europe/Rome": unknown time zone  Europe/Rome']),
    ("CronJob", {"spec__timeZone": ""}, ['spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string']),
    ("CronJob", {"spec__jobTemplate__spec__selector": {}, "spec__jobTemplate__spec__manualSelector": True}, [
        "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
        'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"']),
    ("Deployment", {"spec__selector": ...}, [
        "spec.selector: Required value", 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`']),
    ("Deployment", {"spec__selector": {"matchExpressions": [{"key": "a", "operator": "Odd"}]}}, [
        'spec.selector.matchExpressions[0].operator: Invalid value: "Odd": not a valid selector operator',
        'spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Odd"}]}: invalid label selector']),
    ("Deployment", {"spec__strategy": {"rollingUpdate": {"maxUnavailable": "00%", "maxSurge": "0%"}}}, [
        'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "00%": may not be 0 when `maxSurge` is 0']),
    ("DaemonSet", {"spec__selector": ...}, ['spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`']),
    ("DaemonSet", {"spec__selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]),
    ("DaemonSet", {"spec__updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "0%", "maxSurge": "00%"}}}, [
        "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]),
    ("StatefulSet", {"spec__persistentVolumeClaimRetentionPolicy": {"whenDeleted": "", "whenScaled": "Odd"}}, [
        'spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "": supported values: "Retain", "Delete"',
        'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Odd": supported values: "Retain", "Delete"']),
    ("StatefulSet", {"spec__revisionHistoryLimit": -1}, []),
    ("StatefulSet", {"metadata__name": "a.b"}, ['metadata.name: Invalid value: "a.b": must not contain dots']),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "wanted"), NEW)
def test_what_keeps_pods_running_is_judged(kind: str, changes: dict[str, Any], wanted: list[str]) -> None:
    found = [str(problem) for problem in validate_create(resource_of(kind), build(kind, **changes))]
    assert found == wanted


def told(kind: str, new: dict[str, Any], old: dict[str, Any], subresource: str = "") -> list[str]:
    found = validate_update(resource_of(kind), new, old, subresource=subresource)
    return [str(problem).partition(": {")[0] for problem in found]


AFFINITY: dict[str, Any] = {
    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}
}
ANTI: dict[str, Any] = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z", "labelSelector": {}}]
    }
}
POD = "spec__template__spec__"


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ({"spec__suspend": True}, {POD + "affinity": AFFINITY, POD + "nodeSelector": {"a": "b"}, "spec__template__metadata": {"labels": {"x": "y"}}}, []),
        ({"spec__suspend": True, POD + "affinity": AFFINITY}, {POD + "affinity": ...}, []),
        ({"spec__suspend": True}, {POD + "affinity": ANTI}, ["spec.template: Invalid value"]),
        ({"spec__suspend": False}, {POD + "affinity": AFFINITY}, ["spec.template: Invalid value"]),
        ({"spec__suspend": True, "status": {"startTime": "2026-01-01T00:00:00Z"}}, {POD + "nodeSelector": {"a": "b"}}, ["spec.template: Invalid value"]),
        ({"spec__completionMode": "Indexed"}, {"spec__completions": 3, "spec__parallelism": 3}, []),
        ({"spec__completionMode": "Indexed"}, {"spec__completions": 3}, [
            "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]),
        ({}, {"spec__completions": 3, "spec__parallelism": 3}, ["spec.completions: Invalid value: 3: field is immutable"]),
        ({}, {"spec__backoffLimit": 9, "spec__ttlSecondsAfterFinished": 3, "spec__activeDeadlineSeconds": 3}, []),
    ],
)  # fmt: skip
def test_what_may_change_about_a_job_is_told_from_the_rest(
    before: dict[str, Any], after: dict[str, Any], wanted: list[str]
) -> None:
    old = build("Job", **before)
    new = copy.deepcopy(old)
    for path, value in after.items():
        put(new, path, value)
    assert told("Job", new, old) == wanted


BEGAN, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"


def said(*kinds: str, **status: Any) -> dict[str, Any]:
    return {"startTime": BEGAN, "conditions": [{"type": kind, "status": "True"} for kind in kinds], **status}


INDEXED = {"spec__completionMode": "Indexed", "spec__completions": 5}
LIMITED = {**INDEXED, "spec__backoffLimitPerIndex": 1}
SUCCEEDED = ("SuccessCriteriaMet", "Complete")


@pytest.mark.parametrize(
    ("spec", "before", "after", "wanted"),
    [
        ({}, said("SuccessCriteriaMet"), said(*SUCCEEDED, completionTime=ENDED), []),
        ({}, said("FailureTarget"), said("FailureTarget", "Failed"), []),
        ({}, said(), said("Failed"), [f"{COND} cannot set Failed=True condition without the FailureTarget=true condition"]),
        ({}, said(), said("Complete", completionTime=ENDED), [f"{COND} cannot set Complete=True condition without the SuccessCriteriaMet=true condition"]),
        ({}, said(), said(*SUCCEEDED), ["status.completionTime: Required value: completionTime is required for Complete jobs"]),
        ({}, said(), said(completionTime=ENDED), [
            f'status.completionTime: Invalid value: "{ENDED}": cannot set completionTime when there is no Complete=True condition']),
        ({}, said(), said(*SUCCEEDED, startTime=ENDED, completionTime=BEGAN), [
            f'status.completionTime: Invalid value: "{BEGAN}": completionTime cannot be set before startTime',
            "status.startTime: Required value: startTime cannot be removed for unsuspended job"]),
        ({}, said(), said(*SUCCEEDED, "Failed", "FailureTarget", completionTime=ENDED), [
            f"{COND} cannot set Complete=True and Failed=true conditions", f"{COND} cannot set Complete=True and FailureTarget=true conditions",
            f"{COND} cannot set SuccessCriteriaMet=True and Failed=true conditions",
            f"{COND} cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"]),
        ({}, said(), said(*SUCCEEDED, completionTime=ENDED, active=1, terminating=1, uncountedTerminatedPods={"succeeded": ["a", "a", ""]}), [
            'status.uncountedTerminatedPods.succeeded[1]: Duplicate value: "a"',
            'status.uncountedTerminatedPods.succeeded[2]: Invalid value: "": must not be empty',
            "status.active: Invalid value: 1: active>0 is invalid for finished job", "status.uncountedTerminatedPods: Invalid value",
            "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job"]),
        ({}, said(), said(ready=2, active=1), ["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
        ({}, said("FailureTarget", failed=2), said(failed=1), [
            f"{COND} cannot disable the terminal FailureTarget=True condition", "status.failed: Invalid value: 1: cannot decrease the failed counter"]),
        ({}, said(succeeded=2), said(succeeded=1), ["status.succeeded: Invalid value: 1: cannot decrease the succeeded counter"]),
        ({}, said("Suspended"), said(startTime=ENDED), []),
        (INDEXED | {"spec__parallelism": 5}, said(succeeded=2), said(succeeded=1), []),
        ({}, said(*SUCCEEDED, completionTime=ENDED), said(*SUCCEEDED, completionTime="2026-01-01T02:00:00Z"), [
            'status.completionTime: Invalid value: "2026-01-01T02:00:00Z": completionTime cannot be mutated']),
        ({}, said(), said(completedIndexes="0"), [
            'status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode']),
        (INDEXED, said(), said(completedIndexes="0,5"), ['status.completedIndexes: Invalid value: "0,5": error parsing completedIndexes: too large index: "5"']),
        (INDEXED, said(), said(failedIndexes="1"), ['status.failedIndexes: Invalid value: "1": cannot set non-null failedIndexes when backoffLimitPerIndex is null']),
        (LIMITED, said(), said(completedIndexes="0-2", failedIndexes="2-3"), [
            'status.failedIndexes: Invalid value: "2-3": failedIndexes and completedIndexes overlap at index: 2']),
        (LIMITED, said(), said(completedIndexes="0-2", failedIndexes="3"), []),
        ({}, said(active=-1), said(active=-1), ["status.active: Invalid value: -1: must be greater than or equal to 0"]),
    ],
)  # fmt: skip
def test_a_job_ends_once_and_as_was_said(
    spec: dict[str, Any], before: dict[str, Any], after: dict[str, Any], wanted: list[str]
) -> None:
    old, new = build("Job", **spec, status=before), build("Job", **spec, status=after)
    assert told("Job", new, old, "status") == wanted


@pytest.mark.parametrize(
    ("kind", "before", "after", "wanted"),
    [
        ("StatefulSet", {}, {"replicas": 2, "availableReplicas": 2, "readyReplicas": 1}, [
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas"]),
        ("Deployment", {}, {"replicas": 2, "availableReplicas": 2, "readyReplicas": 1}, [
            "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas"]),
        ("DaemonSet", {"collisionCount": 2}, {"collisionCount": 1}, ["status.collisionCount: Invalid value: 1: cannot be decremented"]),
        ("DaemonSet", {}, {"numberReady": -1}, ["status.numberReady: Invalid value: -1: must be greater than or equal to 0"]),
    ],
)  # fmt: skip
def test_the_counts_of_a_status_are_judged(
    kind: str, before: dict[str, Any], after: dict[str, Any], wanted: list[str]
) -> None:
    old, new = build(kind, status=before), build(kind, status=after)
    assert told(kind, new, old, "status") == wanted
