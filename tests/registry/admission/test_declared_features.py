"""Pods change only as the node that they are on has declared that it can bear."""

from typing import Any

import pytest

from kubelib.api.declaredfeatures import RESIZE_INIT, RESIZE_PODS
from kubelib.api.errors import Forbidden
from kubelib.api.meta import Key
from kubelib.registry.base import Patch, WriteOptions
from tests.registry.admission.asking import Api, Tree, pod, thing

REFUSED = 'pods "p" is forbidden: pod update requires features {} which are not available on node "n"'


async def node(api: Api, *features: str) -> None:
    linux = {"labels": {"kubernetes.io/os": "linux"}}
    await api.create(thing("Node", name="n", namespace="", metadata=linux))
    status = {"declaredFeatures": list(features), "allocatable": {"cpu": "100"}}
    await api.of("Node").patch(
        Key("", "n"),
        Patch("merge", {"status": status}),
        subresource="status",
        options=WriteOptions(),
    )


async def resized(api: Api, change: Tree, subresource: str = "resize") -> Tree:
    document, _ = await api.of("Pod").patch(
        Key("default", "p"), Patch("merge", change), subresource=subresource, options=WriteOptions()
    )
    found: Tree = document.tree()
    return found


async def refusal(api: Api, change: Tree, subresource: str = "resize") -> str:
    with pytest.raises(Forbidden) as raised:
        await resized(api, change, subresource)
    return raised.value.message


def cpu(amount: str) -> Tree:
    return {"requests": {"cpu": amount}}


def whole(amount: str, **spec: Any) -> Tree:
    made = pod(**spec)
    made["spec"]["resources"] = cpu(amount)
    return made


def inits(amount: str, **more: Any) -> list[Tree]:
    return [{"name": "i", "image": "i", "resources": cpu(amount), **more}]


async def test_a_pod_as_a_whole_is_resized_only_where_its_node_can_do_that(api: Api) -> None:
    await node(api)
    await api.create(whole("1", nodeName="n"))
    change = {"spec": {"resources": cpu("2")}}
    assert await refusal(api, change) == REFUSED.format(RESIZE_PODS)
    await api.of("Node").patch(
        Key("", "n"),
        Patch("merge", {"status": {"declaredFeatures": [RESIZE_PODS]}}),
        subresource="status",
        options=WriteOptions(),
    )
    assert (await resized(api, change))["spec"]["resources"] == cpu("2")


async def test_an_init_container_that_ends_is_resized_only_where_the_node_can_do_that(api: Api) -> None:
    await node(api, RESIZE_PODS)
    await api.create(pod(nodeName="n", resources={"requests": {"cpu": "1"}}, initContainers=inits("1")))
    assert await refusal(api, {"spec": {"initContainers": inits("2")}}) == REFUSED.format(RESIZE_INIT)
    # The same amount in other words is no change.
    assert await resized(api, {"spec": {"initContainers": inits("1000m")}})


async def test_all_features_are_named_that_a_node_has_not_declared(api: Api) -> None:
    await node(api)
    await api.create(pod(nodeName="n", initContainers=inits("1")))
    change = {"spec": {"resources": cpu("3"), "initContainers": inits("2")}}
    assert await refusal(api, change) == REFUSED.format(f"{RESIZE_PODS}, {RESIZE_INIT}")


async def test_containers_and_sidecars_are_resized_anywhere(api: Api) -> None:
    await node(api)
    await api.create(pod("p", cpu("1"), nodeName="n", initContainers=inits("1", restartPolicy="Always")))
    containers = [{"name": "c", "image": "i", "resources": cpu("2")}]
    sidecars = inits("2", restartPolicy="Always")
    made = await resized(api, {"spec": {"containers": containers, "initContainers": sidecars}})
    assert (
        made["spec"]["containers"][0]["resources"]
        == made["spec"]["initContainers"][0]["resources"]
        == cpu("2")
    )


async def test_a_pod_whose_node_nobody_knows_is_not_resized_and_one_without_a_node_may_be(api: Api) -> None:
    await api.create(whole("1"))
    assert await resized(api, {"spec": {"resources": cpu("2")}})
    await api.of("Pod").delete(Key("default", "p"), options=WriteOptions())
    await api.create(whole("1", nodeName="gone"))
    assert await refusal(api, {"spec": {"resources": cpu("2")}}) == (
        'pods "p" is forbidden: node "gone" not found'
    )
    assert await resized(api, {"metadata": {"labels": {"a": "b"}}}, "")
    assert await resized(api, {"status": {"phase": "Running"}}, "status")
