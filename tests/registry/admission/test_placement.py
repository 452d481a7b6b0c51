"""What admission adds to Pods and Nodes for the scheduler: taints, tolerations, priorities, runtime classes."""

from typing import Any

from kubelib.registry.admission import default_admission
from tests.registry.admission.asking import Api, Tree, opened, pod, thing


async def test_a_new_node_is_tainted_as_not_ready(api: Api) -> None:
    made = await api.create(thing("Node", namespace=""))
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


def priority_class(name: str, value: int, **parts: Any) -> Tree:
    return thing("PriorityClass", "scheduling.k8s.io/v1", name, "", value=value, **parts)


async def test_the_priority_of_a_pod_is_that_of_its_class(api: Api) -> None:
    plain = await api.create(pod("plain"))
    assert (plain["spec"]["priority"], plain["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert "priorityClassName" not in plain["spec"]
    await api.create(priority_class("high", 1000, preemptionPolicy="Never"))
    high = await api.create(pod("high", priorityClassName="high"))
    assert (high["spec"]["priority"], high["spec"]["preemptionPolicy"]) == (1000, "Never")
    await api.create(priority_class("usual", 10, globalDefault=True))
    usual = await api.create(pod("usual"))
    assert (usual["spec"]["priority"], usual["spec"]["priorityClassName"]) == (10, "usual")
    critical = await api.create(pod("critical", priorityClassName="system-node-critical"))
    assert critical["spec"]["priority"] == 2000001000


async def test_a_pod_cannot_choose_its_own_priority_nor_an_unknown_class(api: Api) -> None:
    assert await api.refused(pod(priority=5)) == (
        'pods "p" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission'
        " controller computed 0 from the given PriorityClass name"
    )
    assert await api.refused(pod(priorityClassName="nope")) == (
        'pods "p" is forbidden: no PriorityClass with name nope was found'
    )


async def test_one_priority_class_at_most_is_the_default(api: Api) -> None:
    await api.create(priority_class("usual", 10, globalDefault=True))
    assert await api.refused(priority_class("other", 20, globalDefault=True)) == (
        'priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is already marked as default.'
        " Only one default can exist"
    )


async def test_a_runtime_class_brings_overhead_and_scheduling(api: Api) -> None:
    await api.create(
        thing(
            "RuntimeClass",
            "node.k8s.io/v1",
            "vm",
            "",
            handler="vm",
            overhead={"podFixed": {"cpu": "250m", "memory": "120Mi"}},
            scheduling={
                "nodeSelector": {"runtime": "vm"},
                "tolerations": [{"key": "vm", "operator": "Exists", "effect": "NoSchedule"}],
            },
        )
    )
    made = await api.create(pod(runtimeClassName="vm", nodeSelector={"disk": "ssd"}))
    assert made["spec"]["overhead"] == {"cpu": "250m", "memory": "120Mi"}
    assert made["spec"]["nodeSelector"] == {"disk": "ssd", "runtime": "vm"}
    assert {"key": "vm", "operator": "Exists", "effect": "NoSchedule"} in made["spec"]["tolerations"]
    for spec, why in (
        ({"runtimeClassName": "nope"}, 'pod rejected: RuntimeClass "nope" not found'),
        (
            {"runtimeClassName": "vm", "overhead": {"cpu": "1"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"runtimeClassName": "vm", "nodeSelector": {"runtime": "none"}},
            "conflict: runtimeClass.scheduling.nodeSelector[runtime] = vm; pod.spec.nodeSelector[runtime] = none",
        ),
    ):
        assert await api.refused(pod("q", **spec)) == f'pods "q" is forbidden: {why}'


async def test_pods_tolerate_a_lost_node_for_five_minutes_unless_they_say_otherwise(api: Api) -> None:
    def found(spec: Tree) -> dict[str, int | None]:
        return {t.get("key", ""): t.get("tolerationSeconds") for t in spec["tolerations"]}

    keys = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    assert found((await api.create(pod("a")))["spec"]) == dict.fromkeys(keys, 300)
    own = {"key": keys[0], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    assert found((await api.create(pod("b", tolerations=[own])))["spec"]) == {keys[0]: 5, keys[1]: 300}
    assert found((await api.create(pod("c", tolerations=[{"operator": "Exists"}])))["spec"]) == {"": None}


async def test_extended_resources_are_tolerated_when_told_so() -> None:
    admission = default_admission(enable=["ExtendedResourceToleration"], disable=["ServiceAccount"])
    async with opened(admission=admission) as api:
        made = await api.create(
            pod("p", {"limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1"}})
        )
        assert {"key": "example.com/gpu", "operator": "Exists"} in made["spec"]["tolerations"]
