"""What is said of groups of Pods and of templates that make no sense, and what of them may change."""

from typing import Any

import pytest

from kubelib.api import scheduling_v1beta1 as scheduling
from kubelib.api.builtin import SCHEME
from kubelib.api.core.pod import Pod
from kubelib.api.validation import validate_create, validate_update

GANG = {"schedulingPolicy": {"gang": {"minCount": 2}}}
GROUP = SCHEME.of(scheduling.PodGroup)
WORKLOAD = SCHEME.of(scheduling.Workload)


def tree(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "namespace": "default"}, "spec": spec}


def said(found: Any) -> list[str]:
    return [f"{problem.field}: {problem.message}" for problem in found]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (GANG, []),
        ({"schedulingPolicy": {"basic": {}}}, []),
        ({}, ['spec.schedulingPolicy: Invalid value: "": must specify one of: `basic`, `gang`']),
        (
            {"schedulingPolicy": {"basic": {}, "gang": {"minCount": 1}}},
            [
                'spec.schedulingPolicy: Invalid value: "{basic, gang}": must specify exactly one of: `basic`, `gang`'
            ],
        ),
        ({"schedulingPolicy": {"gang": {}}}, ["spec.schedulingPolicy.gang.minCount: Required value"]),
        (
            {"schedulingPolicy": {"gang": {"minCount": -1}}},
            ["spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1"],
        ),
        (
            {**GANG, "workloadRef": {"workloadName": "w"}},
            ["spec.workloadRef.templateName: Required value"],
        ),
        (
            {**GANG, "schedulingConstraints": {"topology": [{"key": "rack"}]}},
            ["spec.schedulingConstraints: Forbidden: "],
        ),
        (
            {**GANG, "priority": 10**9 + 1},
            ["spec.priority: Invalid value: 1000000001: must be less than or equal to 1000000000"],
        ),
        (
            {**GANG, "preemptionPolicy": "Now"},
            [
                'spec.preemptionPolicy: Unsupported value: "Now": supported values: "PreemptLowerPriority", "Never"'
            ],
        ),
        (
            {**GANG, "resourceClaims": [{"name": "a", "resourceClaimName": "c"}, {"name": "a"}]},
            [
                'spec.resourceClaims[1]: Duplicate value: {"name":"a"}',
                'spec.resourceClaims[1]: Invalid value: "": must specify one of: `resourceClaimName`, `resourceClaimTemplateName`',
            ],
        ),
        (
            {**GANG, "disruptionMode": {}},
            ['spec.disruptionMode: Invalid value: "": must specify one of: `single`, `all`'],
        ),
    ],
)
def test_groups_that_make_no_sense_are_refused(spec: dict[str, Any], wanted: list[str]) -> None:
    assert said(validate_create(GROUP, tree(**spec))) == wanted


def test_of_a_group_only_the_size_changes() -> None:
    def change(**spec: Any) -> list[str]:
        version = {"resourceVersion": "1"}
        new, old = tree(**spec), tree(**GANG)
        new["metadata"] |= version
        old["metadata"] |= version
        return said(validate_update(GROUP, new, old))

    assert change(schedulingPolicy={"gang": {"minCount": 7}}) == []
    assert change(**GANG, priority=3) == ["spec.priority: Invalid value: 3: field is immutable"]
    found = change(schedulingPolicy={"basic": {}})
    assert [problem.partition(":")[0] for problem in found] == [
        "spec.schedulingPolicy.basic",
        "spec.schedulingPolicy.gang",
    ]


def test_workloads_are_checked_template_by_template() -> None:
    template = {"name": "workers", **GANG}
    assert said(validate_create(WORKLOAD, tree(podGroupTemplates=[template]))) == []
    assert said(validate_create(WORKLOAD, tree())) == ["spec.podGroupTemplates: Required value"]
    assert said(validate_create(WORKLOAD, tree(podGroupTemplates=[template] * 9)))[0] == (
        "spec.podGroupTemplates: Too many: 9: must have at most 8 items"
    )
    owner = {"kind": "Job"}
    assert said(validate_create(WORKLOAD, tree(podGroupTemplates=[template], controllerRef=owner))) == [
        "spec.controllerRef.name: Required value"
    ]


def test_a_pod_names_its_group_by_a_name_that_a_group_can_have() -> None:
    pod = SCHEME.of(Pod)
    container = {
        "name": "c",
        "image": "i",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "Always",
    }
    spec: dict[str, Any] = {"containers": [container], "restartPolicy": "Always", "dnsPolicy": "Default"}
    spec["terminationGracePeriodSeconds"] = 30
    assert said(validate_create(pod, tree(**spec, schedulingGroup={"podGroupName": "g"}))) == []
    assert said(validate_create(pod, tree(**spec, schedulingGroup={}))) == [
        "spec.schedulingGroup.podGroupName: Required value"
    ]
    (problem,) = said(validate_create(pod, tree(**spec, schedulingGroup={"podGroupName": "G!"})))
    assert problem.startswith('spec.schedulingGroup.podGroupName: Invalid value: "G!": ')
