"""What every client promises about creating and reading one object, and about its subresources."""

import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.replication import ReplicationController
from kubelib.api.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.registry.base import Patch
from kubelib.testing.objects import make_node, make_pod, make_replication_controller
from kubelib.testing.registry.shared import KEY, NAMESPACE, OfClients, config_map


class ObjectPromises(OfClients):
    """What every client promises about creating and reading one object, and about its subresources."""

    async def test_what_is_created_can_be_read_and_has_an_identity(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        created = await maps.create(config_map(a="1"))
        meta = created.metadata
        assert meta.uid and meta.creation_timestamp and meta.resource_version
        assert await maps.get(KEY) == created
        assert dict(created.data) == {"a": "1"}

    async def test_a_name_is_taken_once(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        await maps.create(config_map(a="1"))
        with pytest.raises(AlreadyExists, match='configmaps "a" already exists'):
            await maps.create(config_map(a="2"))
        assert dict((await maps.get(KEY)).data) == {"a": "1"}

    async def test_what_is_not_there_is_said_so_by_name(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        with pytest.raises(NotFound, match='configmaps "a" not found'):
            await maps.get(KEY)
        with pytest.raises(NotFound):
            await maps.update(replace(config_map(), metadata=replace(config_map().metadata, uid="x")))
        with pytest.raises(NotFound):
            await maps.patch(KEY, Patch("merge", {"data": {"a": "1"}}))
        with pytest.raises(NotFound):
            await maps.delete(KEY)

    async def test_a_namespace_that_is_not_there_takes_nothing(self, client: Client) -> None:
        stray = ConfigMap(metadata=ObjectMeta(name="a", namespace="nowhere"))
        with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
            await client.resource(ConfigMap).create(stray)

    async def test_what_is_invalid_is_refused_with_the_path_of_the_field(self, client: Client) -> None:
        with pytest.raises(Invalid) as caught:
            await client.resource(ConfigMap).create(config_map("Not_A_Name"))
        assert [cause.field for cause in caught.value.causes] == ["metadata.name"]
        bad = make_replication_controller("rc", replicas=-1)
        with pytest.raises(Invalid) as caught:
            await client.resource(ReplicationController).create(bad)
        assert [cause.field for cause in caught.value.causes] == ["spec.replicas"]
        with pytest.raises(NotFound):
            await client.resource(ReplicationController).get(Key(NAMESPACE, "rc"))

    async def test_a_generated_name_begins_as_asked_and_is_new(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        wanted = ConfigMap(metadata=ObjectMeta(generate_name="web-", namespace=NAMESPACE))
        names = {(await maps.create(wanted)).metadata.name for _ in range(20)}
        assert len(names) == 20
        assert all(name.startswith("web-") and len(name) == 9 for name in names)

    async def test_defaults_are_filled_in(self, client: Client) -> None:
        pod = await client.resource(Pod).create(make_pod("p"))
        assert pod.spec.restart_policy == "Always"
        assert pod.spec.scheduler_name == "default-scheduler"
        assert (pod.status.phase, pod.status.qos_class) == ("Pending", "BestEffort")

    async def test_a_binding_puts_a_pod_on_a_node_once(self, client: Client) -> None:
        pods, bindings = client.resource(Pod), client.resource(Binding)
        for node in ("n", "m"):
            await client.resource(Node).create(make_node(node))
        await pods.create(make_pod("p"))
        meta = ObjectMeta(name="p", namespace=NAMESPACE)
        await bindings.create(Binding(metadata=meta, target=ObjectReference(kind="Node", name="n")))
        with pytest.raises(Conflict):
            await bindings.create(Binding(metadata=meta, target=ObjectReference(kind="Node", name="m")))
        pod = await pods.get(Key(NAMESPACE, "p"))
        assert pod.spec.node_name == "n"
        assert [c.status for c in pod.status.conditions if c.type == "PodScheduled"] == ["True"]

    async def test_a_scale_patch_changes_the_replicas(self, client: Client) -> None:
        rcs = client.resource(ReplicationController)
        await rcs.create(make_replication_controller("rc", replicas=1))
        patch = Patch("merge", {"spec": {"replicas": 7}})
        with pytest.raises(ApiError):
            await rcs.patch(
                Key(NAMESPACE, "rc"), Patch("merge", {"spec": {"replicas": -1}}), subresource="scale"
            )
        await rcs.patch(Key(NAMESPACE, "rc"), patch, subresource="scale")
        assert (await rcs.get(Key(NAMESPACE, "rc"))).spec.replicas == 7
