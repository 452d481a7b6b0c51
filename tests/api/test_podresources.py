"""What a Pod counts as while it is resized in place."""

from typing import Any

import msgspec
import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.podresources import pod_limits, pod_requests
from kubelib.api.quantity import parse_quantity
from kubelib.sched import pods as sched

DEFERRED = {"type": "PodResizePending", "status": "True", "reason": "Deferred"}
INFEASIBLE = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}


def asks(name: str, cpu: str = "", restart: str = "") -> dict[str, Any]:
    container: dict[str, Any] = {"name": name, "image": "x"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}
    return {**container, "restartPolicy": restart} if restart else container


def has(name: str, allocated: str = "", actual: str = "") -> dict[str, Any]:
    status: dict[str, Any] = {"name": name}
    if allocated:
        status["allocatedResources"] = {"cpu": allocated}
    if actual:
        status["resources"] = {"requests": {"cpu": actual}, "limits": {"cpu": actual}}
    return status


def of_pod(requests: str, limits: str = "") -> dict[str, Any]:
    return {"requests": {"cpu": requests}, "limits": {"cpu": limits or requests}}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    # spec, status, requests, limits
    "nothing is said": ({"containers": [asks("a", "2")]}, {}, "2", "2"),
    "it grows, and is not allowed to yet": (
        {"containers": [asks("a", "3")]},
        {"containerStatuses": [has("a", "1", "1")], "conditions": [DEFERRED]},
        "3",
        "3",
    ),
    "it shrinks, and has not been allowed to yet": (
        {"containers": [asks("a", "1")]},
        {"containerStatuses": [has("a", "3", "3")]},
        "3",
        "3",
    ),
    "it shrinks, and the container has not shrunk yet": (
        {"containers": [asks("a", "1")]},
        {"containerStatuses": [has("a", "1", "3")]},
        "3",
        "3",
    ),
    "it can never grow": (
        {"containers": [asks("a", "9")]},
        {"containerStatuses": [has("a", "1", "2")], "conditions": [INFEASIBLE]},
        "2",
        "2",
    ),
    "what it has been allocated is all that is known of what it has": (
        {"containers": [asks("a", "1")]},
        {"containerStatuses": [has("a", "2")]},
        "2",
        "1",
    ),
    "one container grows by what the other gives back": (
        {"containers": [asks("a", "1"), asks("b", "3")]},
        {"containerStatuses": [has("a", "3", "3"), has("b", "1", "1")]},
        "4",
        "4",
    ),
    "sidecars are resized, too, init containers have ended": (
        {"containers": [asks("a", "1")], "initContainers": [asks("s", "1", "Always"), asks("i", "1")]},
        {"containerStatuses": [has("a", "1", "1")], "initContainerStatuses": [has("s", "4", "4")]},
        "5",
        "5",
    ),
    "a container that is not running yet": (
        {"containers": [asks("a", "1"), asks("b", "2")]},
        {"containerStatuses": [has("a", "3", "3"), {"name": "b"}]},
        "5",
        "5",
    ),
    "the Pod as a whole": (
        {"containers": [asks("a", "1"), asks("b")], "resources": of_pod("3", "4")},
        {},
        "3",
        "4",
    ),
    "the Pod as a whole shrinks": (
        {"containers": [asks("a", "1")], "resources": of_pod("2")},
        {"resources": of_pod("5", "6"), "allocatedResources": {"cpu": "4"}},
        "5",
        "6",
    ),
    "the Pod as a whole can never grow": (
        {"containers": [asks("a", "1")], "resources": of_pod("9")},
        {
            "resources": of_pod("2"),
            "allocatedResources": {"cpu": "3"},
            "conditions": [INFEASIBLE],
        },
        "3",
        "2",
    ),
    "sums over all containers are known": (
        {"containers": [asks("a", "1")]},
        {"resources": of_pod("2"), "allocatedResources": {"cpu": "3"}, "containerStatuses": [has("a", "8")]},
        "3",
        "2",
    ),
}


@pytest.mark.parametrize(("spec", "status", "requests", "limits"), CASES.values(), ids=CASES.keys())
def test_a_pod_counts_as_the_most_that_it_may_have(
    spec: dict[str, Any], status: dict[str, Any], requests: str, limits: str
) -> None:
    assert pod_requests(spec, status) == {"cpu": parse_quantity(requests)}
    assert pod_limits(spec, status) == {"cpu": parse_quantity(limits)}
    pod = msgspec.convert({"spec": spec, "status": status}, Pod)
    assert sched.pod_requests(pod) == {"cpu": parse_quantity(requests).milli()}


def test_only_compute_resources_are_asked_for_a_pod_as_a_whole() -> None:
    whole = {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "4Mi", "example.com/gpu": "1"}
    spec = {"containers": [], "resources": {"requests": whole}, "overhead": {"cpu": "1"}}
    assert sorted(pod_requests(spec)) == ["cpu", "hugepages-2Mi", "memory"]
    pod = msgspec.convert({"spec": spec}, Pod)
    assert sched.pod_requests(pod) == {"cpu": 2000, "memory": 2**30, "hugepages-2Mi": 4 * 2**20}


def test_a_container_that_asks_for_nothing_counts_as_something_in_scores() -> None:
    half = {"name": "c", "resources": {"requests": {"cpu": "1"}}}
    first = {"name": "i", "resources": {"requests": {"cpu": "4"}}}

    def counted(spec: dict[str, Any], status: dict[str, Any] | None = None) -> tuple[int, int]:
        pod = msgspec.convert({"metadata": {"name": "p"}, "spec": spec, "status": status or {}}, Pod)
        return sched.PodInfo.of(pod).counted

    mega = 2**20
    assert counted({"containers": [half, {"name": "d"}]}) == (1100, 400 * mega)
    assert counted({"containers": [half], "initContainers": [first]}) == (4000, 200 * mega)
    assert counted({"containers": [{"name": "d"}], "resources": of_pod("3")}) == (3000, 200 * mega)
    resized = {"containerStatuses": [has("c", "2", "2")]}
    assert counted({"containers": [half]}, resized) == (2000, 200 * mega)
