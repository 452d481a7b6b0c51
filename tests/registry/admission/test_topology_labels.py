"""Pods tell in which zone and region they are, as soon as they are on a node; what comes with a Binding is theirs too."""

from typing import Any

import pytest

from kubelib.api.errors import Forbidden
from kubelib.api.meta import Key
from kubelib.registry.admission import default_admission
from kubelib.registry.base import Patch, WriteOptions
from kubelib.registry.binding import Binder
from kubelib.transactions.base import Claim, Transaction
from tests.registry.admission.asking import Api, Tree, opened, pod, thing

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"


async def node(api: Api, **labels: str) -> None:
    at = {ZONE: "z", REGION: "r", "kubernetes.io/os": "linux", "rack": "7"}
    await api.create(thing("Node", name="n", namespace="", metadata={"labels": {**at, **labels}}))


async def bind(api: Api, **meta: Any) -> Tree:
    binding = thing("Binding", name="p", metadata=meta, target={"kind": "Node", "name": "n"})
    pods = api.of("Pod")
    await pods.strategy.create_subresource(pods, Key("default", "p"), "binding", binding, WriteOptions())
    return await metadata(api)


async def metadata(api: Api) -> Tree:
    found: Tree = (await api.of("Pod").get(Key("default", "p"))).tree()["metadata"]
    return found


async def test_a_pod_that_is_bound_gets_zone_and_region_of_its_node_whatever_it_said_before(api: Api) -> None:
    await node(api)
    await api.create(
        {**pod(), "metadata": {"name": "p", "namespace": "default", "labels": {"a": "1", ZONE: "x"}}}
    )
    assert (await bind(api))["labels"] == {"a": "1", ZONE: "z", REGION: "r"}


async def test_a_pod_that_is_bound_in_a_transaction_gets_them_too(api: Api) -> None:
    await node(api)
    await api.create(pod())
    claim = Claim(Key("default", "p"), "", "n")
    result = await Binder(api.registries).commit(Transaction(claims=(claim,)))
    assert result.outcomes[0].error is None
    assert (await metadata(api))["labels"] == {ZONE: "z", REGION: "r"}


async def test_a_pod_that_is_made_for_a_node_gets_them_at_once(api: Api) -> None:
    await node(api)
    assert (await api.create(pod(nodeName="n")))["metadata"]["labels"] == {ZONE: "z", REGION: "r"}
    assert "labels" not in (await api.create(pod("q", nodeName="unknown")))["metadata"]
    assert "labels" not in (await api.create(pod("later")))["metadata"]


async def test_without_the_plug_in_pods_keep_their_labels() -> None:
    async with opened(admission=default_admission(disable=["ServiceAccount", "PodTopologyLabels"])) as api:
        await node(api)
        await api.create(pod())
        assert "labels" not in await bind(api)


async def test_labels_and_annotations_of_a_binding_become_the_pods(api: Api) -> None:
    await node(api)
    first = {"labels": {"a": "1"}, "annotations": {"b": "2", "c": "3"}}
    await api.create({**pod(), "metadata": {"name": "p", "namespace": "default", **first}})
    found = await bind(api, labels={"a": "5"}, annotations={"b": "6"})
    assert found["labels"] == {"a": "5", ZONE: "z", REGION: "r"}
    assert found["annotations"] == {"b": "6", "c": "3"}


async def resize(api: Api, amount: str) -> None:
    change = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]}}
    await api.of("Pod").patch(
        Key("default", "p"), Patch("strategic", change), subresource="resize", options=WriteOptions()
    )


async def offer(api: Api, **amounts: str) -> None:
    status = {"allocatable": amounts, "capacity": amounts}
    await api.of("Node").patch(
        Key("", "n"), Patch("merge", {"status": status}), subresource="status", options=WriteOptions()
    )


async def test_a_pod_does_not_grow_beyond_all_that_its_node_has_for_pods(api: Api) -> None:
    await node(api)
    await offer(api, cpu="4", memory="1Gi")
    await api.create(pod(nodeName="n", resources={"requests": {"cpu": "1", "memory": "1Mi"}}))
    await resize(api, "4")
    with pytest.raises(Forbidden) as raised:
        await resize(api, "4001m")
    assert raised.value.message == (
        'pods "p" is forbidden: Node didn\'t have enough allocatable resources: cpu, requested: 4001, allocatable: 4000'
    )
    await offer(api, cpu="1", memory="1")
    with pytest.raises(
        Forbidden,
        match=r"cpu, requested: 3000, allocatable: 1000; memory, requested: 1048576, allocatable: 1$",
    ):
        await resize(api, "3")


async def test_pods_are_resized_on_linux_alone(api: Api) -> None:
    await node(api, **{"kubernetes.io/os": "plan9"})
    await offer(api, cpu="4", memory="1Gi")
    await api.create(pod(nodeName="n", resources={"requests": {"cpu": "1"}}))
    with pytest.raises(Forbidden, match='pod resize is only supported on linux nodes, node "n" is "plan9"'):
        await resize(api, "2")
