"""What may change when a Pod is resized."""

import copy
from typing import Any

import pytest

from kubelib.api.validation.resizes import resize_problems

Tree = dict[str, Any]


def pod(**spec: Any) -> Tree:
    def sized(name: str, **more: Any) -> Tree:
        resources = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
        return {"name": name, "image": "i", "resources": resources, **more}

    return {
        "metadata": {},
        "spec": {
            "initContainers": [sized("first"), sized("side", restartPolicy="Always")],
            "containers": [sized("a"), sized("b")],
            **spec,
        },
        "status": {"qosClass": "Burstable"},
    }


def changed(change: Any, before: Tree | None = None) -> list[str]:
    """Return what is said of a change, with its place."""
    old = before or pod()
    new = copy.deepcopy(old)
    change(new)
    return [str(problem) for problem in resize_problems(new, old)]


def in_(container: Tree) -> Tree:
    found: Tree = container["resources"]
    return found


def test_processors_and_memory_grow_shrink_and_are_added() -> None:
    def change(new: Tree) -> None:
        for part in ("initContainers", "containers"):
            for container in new["spec"][part]:
                in_(container)["requests"] = {"cpu": "500m", "memory": "2Gi"}
                in_(container)["limits"] = {"memory": "2Gi", "cpu": "3"}

    assert changed(change) == []
    assert changed(lambda new: in_(new["spec"]["containers"][0])["limits"].update(memory="1Gi")) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda spec: in_(spec["containers"][0])["limits"].clear(),
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ),
        (
            lambda spec: in_(spec["initContainers"][1])["requests"].pop("cpu"),
            "spec.initContainers[1].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            lambda spec: in_(spec["containers"][1])["requests"].update({"ephemeral-storage": "1Gi"}),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            lambda spec: spec["containers"][0].update(resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}]),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            lambda spec: spec["initContainers"][0].update(image="other"),
            "spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
        ),
        (
            lambda spec: spec["containers"].pop(),
            "spec.containers: Forbidden: containers may not be added or removed on resize",
        ),
        (
            lambda spec: spec["containers"].reverse(),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        ),
        (
            lambda spec: [c.pop("resources") for c in (*spec["containers"], *spec["initContainers"])],
            'spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing',
        ),
    ],
    ids=["limits", "requests", "storage", "policy", "image", "fewer", "order", "quality"],
)  # fmt: skip
def test_nothing_else_may_change(change: Any, said: str) -> None:
    assert said in changed(lambda new: change(new["spec"]))


def test_what_runs_before_the_others_and_would_have_to_start_again_stays_as_it_is() -> None:
    before = pod()
    policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    for container in before["spec"]["initContainers"]:
        container["resizePolicy"] = policy

    def change(new: Tree) -> None:
        for container in new["spec"]["initContainers"]:
            in_(container)["requests"]["cpu"] = "2"

    [said] = changed(change, before)
    detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
    assert said == f"spec.initContainers[0]: Forbidden: {detail}"


def test_a_pod_as_a_whole_is_resized_and_keeps_what_it_has() -> None:
    before = pod(resources={"requests": {"cpu": "4"}})
    assert changed(lambda new: new["spec"]["resources"]["requests"].update(cpu="5"), before) == []
    assert changed(lambda new: new["spec"].pop("resources"), before) == [
        "spec.resources: Forbidden: pod-level resources cannot be removed"
    ]
    assert changed(lambda new: new["spec"]["resources"]["requests"].clear(), before) == [
        "spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"
    ]


def test_a_node_that_does_not_tell_what_containers_have_cannot_resize_them() -> None:
    before = pod()
    before["status"]["containerStatuses"] = [{"name": "a", "state": {"running": {}}}]
    grown: Any = lambda new: in_(new["spec"]["containers"][0])["requests"].update(cpu="2")  # noqa: E731
    assert changed(grown, before) == ["spec: Forbidden: Pod running on node without support for resize"]
    before["status"]["containerStatuses"][0]["resources"] = {}
    assert changed(grown, before) == []


def test_static_pods_and_those_of_windows_cannot_be_resized() -> None:
    before = pod(os={"name": "windows"})
    [said] = changed(lambda new: None, before)
    assert said.endswith("windows pods cannot be resized")
    before["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "1"}
    [said] = changed(lambda new: None, before)
    assert said.endswith("static pods cannot be resized")
