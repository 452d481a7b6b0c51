"""What every client promises about updates and patches of one object."""

import anyio
import anyio.lowlevel
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.replication import ReplicationController
from kubelib.api.errors import ApiError, Conflict, Invalid
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.registry.base import Patch
from kubelib.testing.objects import make_replication_controller
from kubelib.testing.registry.shared import KEY, NAMESPACE, Backing, OfClients, config_map


class ChangePromises(OfClients):
    """What every client promises about updates and patches of one object."""

    async def test_an_update_of_the_latest_version_succeeds_and_one_of_an_older_conflicts(
        self, client: Client
    ) -> None:
        maps = client.resource(ConfigMap)
        first = await maps.create(config_map(a="1"))
        second = await maps.update(replace(first, data={"a": "2"}))
        assert second.metadata.resource_version != first.metadata.resource_version
        assert second.metadata.uid == first.metadata.uid
        with pytest.raises(Conflict, match="the object has been modified"):
            await maps.update(replace(first, data={"a": "3"}))
        assert dict((await maps.get(KEY)).data) == {"a": "2"}

    async def test_an_update_without_a_version_wins(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        await maps.create(config_map(a="1"))
        assert dict((await maps.update(config_map(a="2"))).data) == {"a": "2"}

    async def test_an_update_that_changes_nothing_writes_nothing(self, backing: Backing) -> None:
        maps = backing.client.resource(ConfigMap)
        first = await maps.create(config_map(a="1"))
        revision = await backing.store.revision()
        assert await maps.update(first) == first
        assert await maps.patch(KEY, Patch("merge", {"data": {"a": "1"}})) == first
        assert await backing.store.revision() == revision

    async def test_identity_cannot_be_changed(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        first = await maps.create(config_map(a="1"))
        with pytest.raises((Conflict, Invalid)):
            await maps.update(replace(first, metadata=replace(first.metadata, uid="another")))

    async def test_concurrent_writers_lose_no_update(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        await maps.create(config_map())

        async def write(number: int) -> None:
            while True:
                current = await maps.get(KEY)
                await anyio.lowlevel.checkpoint()  # the others read the same
                try:
                    await maps.update(replace(current, data={**current.data, f"k{number}": "x"}))
                except Conflict:
                    continue
                return

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(write, number)
        assert len((await maps.get(KEY)).data) == 10

    async def test_the_generation_counts_changes_of_what_is_wanted(self, client: Client) -> None:
        rcs, key = client.resource(ReplicationController), Key(NAMESPACE, "rc")
        assert (await rcs.create(make_replication_controller("rc", replicas=1))).metadata.generation == 1
        relabelled = await rcs.patch(key, Patch("merge", {"metadata": {"labels": {"x": "y"}}}))
        assert relabelled.metadata.generation == 1
        grown = await rcs.patch(key, Patch("merge", {"spec": {"replicas": 3}}))
        assert grown.metadata.generation == 2
        reported = await rcs.update(
            replace(grown, status=replace(grown.status, replicas=3)), subresource="status"
        )
        assert reported.metadata.generation == 2

    async def test_spec_and_status_are_written_apart(self, client: Client) -> None:
        rcs = client.resource(ReplicationController)
        first = await rcs.create(make_replication_controller("rc", replicas=2))
        seen = replace(first, spec=replace(first.spec, replicas=9), status=replace(first.status, replicas=5))
        after = await rcs.update(seen, subresource="status")
        assert (after.spec.replicas, after.status.replicas) == (2, 5)
        wanted = replace(
            after, spec=replace(after.spec, replicas=4), status=replace(after.status, replicas=0)
        )
        after = await rcs.update(wanted)
        assert (after.spec.replicas, after.status.replicas) == (4, 5)

    async def test_fields_that_the_class_does_not_know_survive_every_write(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        await maps.create(config_map(a="1"))
        await maps.patch(KEY, Patch("merge", {"futureField": {"x": [1, {"y": "z"}]}}))
        read = await maps.get(KEY)
        await maps.update(replace(read, data={"a": "2"}))
        await maps.patch(KEY, Patch("strategic", {"metadata": {"labels": {"l": "m"}}}))
        tested = [{"op": "test", "path": "/futureField/x/1/y", "value": "z"}]
        assert dict((await maps.patch(KEY, Patch("json", tested))).data) == {"a": "2"}

    async def test_a_json_patch_is_carried_out_wholly_or_not_at_all(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        await maps.create(config_map(a="1", b="2"))
        good = [{"op": "replace", "path": "/data/a", "value": "9"}, {"op": "remove", "path": "/data/b"}]
        assert dict((await maps.patch(KEY, Patch("json", good))).data) == {"a": "9"}
        bad = [
            {"op": "add", "path": "/data/c", "value": "3"},
            {"op": "test", "path": "/data/a", "value": "8"},
        ]
        with pytest.raises(ApiError):
            await maps.patch(KEY, Patch("json", bad))
        assert dict((await maps.get(KEY)).data) == {"a": "9"}

    async def test_a_merge_patch_sets_and_removes(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        await maps.create(config_map(a="1", b="2"))
        patched = await maps.patch(KEY, Patch("merge", {"data": {"b": None, "c": "3"}}))
        assert dict(patched.data) == {"a": "1", "c": "3"}

    async def test_a_strategic_patch_merges_lists_by_their_keys(self, client: Client) -> None:
        rcs = client.resource(ReplicationController)
        await rcs.create(make_replication_controller("rc", replicas=1))
        container = {"name": "main", "env": [{"name": "A", "value": "1"}]}
        body = {"spec": {"template": {"spec": {"containers": [container]}}}}
        first = await rcs.patch(Key(NAMESPACE, "rc"), Patch("strategic", body))
        assert first.spec.template is not None
        [one] = first.spec.template.spec.containers
        assert one.image and [variable.name for variable in one.env] == ["A"]

    async def test_an_apply_owns_what_it_sets_and_conflicts_with_others(self, client: Client) -> None:
        maps = client.resource(ConfigMap)

        def body(**data: str) -> dict[str, object]:
            meta = {"name": "a", "namespace": NAMESPACE}
            return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": data}

        await maps.patch(KEY, Patch("apply", body(a="1", b="2"), manager="one"))
        await maps.patch(KEY, Patch("apply", body(c="3"), manager="two"))
        with pytest.raises(Conflict) as caught:
            await maps.patch(KEY, Patch("apply", body(a="9"), manager="two"))
        assert [cause.field for cause in caught.value.causes] == [".data.a"]
        forced = await maps.patch(KEY, Patch("apply", body(a="9"), manager="two", force=True))
        assert dict(forced.data) == {"a": "9", "b": "2"}  # c went: its only owner left it out
        left = await maps.patch(KEY, Patch("apply", body(b="2"), manager="one"))
        assert dict(left.data) == {"a": "9", "b": "2"}
