"""What every client promises about the end of objects."""

import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.replication import ReplicationController
from kubelib.api.errors import Conflict, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.registry.base import Patch, Preconditions, Propagation
from kubelib.testing.objects import make_node, make_pod, make_replication_controller
from kubelib.testing.registry.shared import KEY, NAMESPACE, OfClients, config_map


class DeletionPromises(OfClients):
    """What every client promises about the end of objects."""

    async def test_a_deleted_object_is_gone(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        created = await maps.create(config_map())
        deleted = await maps.delete(KEY)
        assert deleted.metadata.uid == created.metadata.uid
        with pytest.raises(NotFound):
            await maps.get(KEY)
        assert (await maps.create(config_map())).metadata.uid != created.metadata.uid

    async def test_finalizers_hold_an_object_until_the_last_is_gone(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        held = replace(
            config_map(), metadata=replace(config_map().metadata, finalizers=("example.com/hold",))
        )
        await maps.create(held)
        marked = await maps.delete(KEY)
        assert marked.metadata.deletion_timestamp
        assert (await maps.get(KEY)).metadata.deletion_timestamp
        await maps.delete(KEY)  # again changes nothing
        await maps.patch(KEY, Patch("merge", {"metadata": {"finalizers": None}}))
        with pytest.raises(NotFound):
            await maps.get(KEY)

    async def test_preconditions_must_hold(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        first = await maps.create(config_map(a="1"))
        with pytest.raises(Conflict, match="the UID in the precondition"):
            await maps.delete(KEY, preconditions=Preconditions(uid="another"))
        await maps.patch(KEY, Patch("merge", {"data": {"a": "2"}}))
        old = Preconditions(resource_version=first.metadata.resource_version)
        with pytest.raises(Conflict):
            await maps.delete(KEY, preconditions=old)
        await maps.delete(KEY, preconditions=Preconditions(uid=first.metadata.uid))

    async def test_a_pod_on_a_node_has_time_to_end(self, client: Client) -> None:
        pods, key = client.resource(Pod), Key(NAMESPACE, "p")
        await client.resource(Node).create(make_node("n"))
        await pods.create(make_pod("p"))
        target = ObjectReference(kind="Node", name="n")
        await client.resource(Binding).create(
            Binding(metadata=ObjectMeta(name="p", namespace=NAMESPACE), target=target)
        )
        ending = await pods.delete(key)
        assert ending.metadata.deletion_grace_period_seconds == 30
        assert (await pods.get(key)).metadata.deletion_timestamp
        await pods.delete(key, grace=0)
        with pytest.raises(NotFound):
            await pods.get(key)

    async def test_a_pod_on_no_node_is_gone_at_once(self, client: Client) -> None:
        pods = client.resource(Pod)
        await pods.create(make_pod("p"))
        await pods.delete(Key(NAMESPACE, "p"))
        with pytest.raises(NotFound):
            await pods.get(Key(NAMESPACE, "p"))

    async def test_what_becomes_of_the_owned_is_noted_for_the_garbage_collector(self, client: Client) -> None:
        rcs, key = client.resource(ReplicationController), Key(NAMESPACE, "rc")
        for propagation, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
            await rcs.create(make_replication_controller("rc", replicas=1))
            marked = await rcs.delete(key, propagation=propagation)  # type: ignore[arg-type]
            assert marked.metadata.finalizers == (finalizer,)
            await rcs.patch(key, Patch("merge", {"metadata": {"finalizers": None}}))
        await rcs.create(make_replication_controller("rc", replicas=1))
        await rcs.delete(key, propagation="Background")
        with pytest.raises(NotFound):
            await rcs.get(key)

    async def test_what_an_object_says_of_the_owned_counts_until_the_request_says_more(
        self, client: Client
    ) -> None:
        rcs, key = client.resource(ReplicationController), Key(NAMESPACE, "rc")
        cases: tuple[tuple[Propagation | None, str, str], ...] = (
            (None, "orphan", "orphan"),
            (None, "foregroundDeletion", "foregroundDeletion"),
            ("Foreground", "orphan", "foregroundDeletion"),
            ("Orphan", "foregroundDeletion", "orphan"),
            ("Background", "orphan", ""),
            ("Background", "foregroundDeletion", ""),
        )
        for propagation, had, finalizer in cases:
            made = make_replication_controller("rc", replicas=1)
            await rcs.create(replace(made, metadata=replace(made.metadata, finalizers=(had,))))
            await rcs.delete(key, propagation=propagation)
            if finalizer:
                assert (await rcs.get(key)).metadata.finalizers == (finalizer,)
                await rcs.patch(key, Patch("merge", {"metadata": {"finalizers": None}}))
            with pytest.raises(NotFound):
                await rcs.get(key)
