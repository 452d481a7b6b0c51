"""The definition of a client and its registries: inherit `RegistrySuite`, give the fixture `backing`, every test must pass."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.replication import ReplicationController
from kubelib.api.errors import AlreadyExists, ApiError, BadRequest, Conflict, Expired, Invalid, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.labels import parse_field_selector, parse_selector
from kubelib.registry.base import Patch, Preconditions, Query, WatchEvent
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import Store
from kubelib.testing.objects import make_node, make_pod, make_replication_controller

NAMESPACE = "default"
KEY = Key(NAMESPACE, "a")
HERE = Query(namespace=NAMESPACE)


@attrs.frozen
class Backing:
    """The client under test, and the store below the API that it asks."""

    client: Client
    store: Store
    forget: Callable[[], Awaitable[None]]
    """Makes the API forget all versions but the present: as a restart does, once the store is compacted."""


def config_map(name: str = "a", *, labels: Mapping[str, str] | None = None, **data: str) -> ConfigMap:
    """Return a small object."""
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=NAMESPACE, labels=labels or {}), data=data)


def labelled(selector: str) -> Query:
    """Return the query for the objects with some labels."""
    return Query(namespace=NAMESPACE, labels=parse_selector(selector))


def backing_of(client: Client, store: Store, registries: ResourceRegistries) -> Backing:
    """Return the backing of a client whose API is these registries over that store."""

    async def forget() -> None:
        await store.compact(await store.revision())
        registries.cache.forget()

    return Backing(client, store, forget)


async def take(events: AsyncIterator[WatchEvent[ConfigMap]], count: int) -> list[tuple[str, str]]:
    """Return the next events as type and name, bookmarks left out."""
    seen: list[tuple[str, str]] = []
    with anyio.fail_after(60):
        while len(seen) < count:
            event = await anext(events)
            if event.type != "BOOKMARK":
                seen.append((event.type, event.object.metadata.name))
    return seen


class RegistrySuite:
    """Subclass it and override the fixture `backing`: a client of an API that has the namespace ``default`` and nothing else."""

    @pytest.fixture
    def backing(self) -> Any:
        """The API under test."""
        raise NotImplementedError("override the fixture backing")

    @pytest.fixture
    def client(self, backing: Backing) -> Client:
        """The client under test."""
        return backing.client

    # One object

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

    # Updates

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

    # Patches

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

    # Lists

    async def test_a_list_finds_by_namespace_labels_and_fields(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        for name, labels in (("a", {"tier": "front"}), ("b", {"tier": "back"}), ("c", {})):
            await maps.create(config_map(name, labels=labels))

        async def names(query: Query) -> list[str]:
            return [item.metadata.name for item in (await maps.list(query)).items]

        assert await names(HERE) == ["a", "b", "c"]
        assert await names(Query(namespace="kube-system")) == []
        assert await names(labelled("tier in (front, back)")) == ["a", "b"]
        assert await names(labelled("tier!=front")) == ["b", "c"]
        assert await names(labelled("!tier")) == ["c"]
        b = parse_field_selector("metadata.name=b")
        for namespace in (NAMESPACE, ""):
            assert await names(Query(namespace, fields=b)) == ["b"]
            assert await names(Query(namespace, parse_selector("tier=front"), b)) == []
            assert await names(Query(namespace, parse_selector("tier=back"), b)) == ["b"]
            assert await names(Query(namespace, fields=parse_field_selector("metadata.name=d"))) == []
        contradiction = parse_field_selector("metadata.name=b,metadata.name!=b")
        assert await names(Query(NAMESPACE, fields=contradiction)) == []
        assert await names(Query("kube-system", fields=b)) == []

    async def test_a_list_by_the_fields_of_its_kind(self, client: Client) -> None:
        pods = client.resource(Pod)
        await client.resource(Node).create(make_node("n"))
        for name in ("p", "q"):
            await pods.create(make_pod(name))
        await client.resource(Binding).create(
            Binding(
                metadata=ObjectMeta(name="p", namespace=NAMESPACE),
                target=ObjectReference(kind="Node", name="n"),
            )
        )
        bound = Query(fields=parse_field_selector("spec.nodeName=n"))
        assert [pod.metadata.name for pod in (await pods.list(bound)).items] == ["p"]
        with pytest.raises(BadRequest, match="field label not supported"):
            await pods.list(Query(fields=parse_field_selector("spec.nonsense=n")))

    async def test_pages_are_of_one_revision_while_writes_go_on(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        for number in range(5):
            await maps.create(config_map(f"m{number}"))
        first = await maps.list(HERE, limit=2)
        assert first.page
        assert first.remaining == 3
        await maps.delete(Key(NAMESPACE, "m3"))
        await maps.create(config_map("m31"))
        second = await maps.list(HERE, limit=2, page=first.page)
        third = await maps.list(HERE, limit=2, page=second.page)
        names = [item.metadata.name for part in (first, second, third) for item in part.items]
        assert names == [f"m{number}" for number in range(5)]
        assert third.page == ""
        assert {part.resource_version for part in (first, second, third)} == {first.resource_version}

    async def test_a_page_that_is_too_old_has_expired(self, backing: Backing) -> None:
        maps = backing.client.resource(ConfigMap)
        for number in range(4):
            await maps.create(config_map(f"m{number}"))
        first = await maps.list(HERE, limit=2)
        await maps.delete(Key(NAMESPACE, "m3"))
        await maps.delete(Key(NAMESPACE, "m2"))
        await backing.forget()
        with pytest.raises(Expired):
            await maps.list(HERE, limit=2, page=first.page)

    async def test_a_page_that_nobody_gave_is_refused(self, client: Client) -> None:
        with pytest.raises(BadRequest, match="continue"):
            await client.resource(ConfigMap).list(HERE, limit=2, page="nonsense")

    # Deletion

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
        with pytest.raises(Conflict, match="Precondition failed: UID"):
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

    # Subresources

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

    # Watches

    async def test_a_watch_reports_everything_after_a_version_once_and_in_order(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        await maps.create(config_map("before"))
        since = (await maps.list(HERE)).resource_version
        await maps.create(config_map(a="1"))
        async with maps.watch(HERE, since=since) as events:
            await maps.update(config_map(a="2"))
            await maps.create(config_map("b"))
            await maps.delete(KEY)
            assert await take(events, 4) == [
                ("ADDED", "a"),
                ("MODIFIED", "a"),
                ("ADDED", "b"),
                ("DELETED", "a"),
            ]

    async def test_events_carry_the_object_as_it_was_then(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        since = (await maps.list(HERE)).resource_version
        created = await maps.create(config_map(a="1"))
        updated = await maps.update(replace(created, data={"a": "2"}))
        await maps.delete(KEY)
        async with maps.watch(HERE, since=since) as events:
            with anyio.fail_after(60):
                seen = [await anext(events) for _ in range(3)]
        assert [dict(event.object.data) for event in seen] == [{"a": "1"}, {"a": "2"}, {"a": "2"}]
        versions = [int(event.object.metadata.resource_version) for event in seen]
        assert versions[:2] == [int(o.metadata.resource_version) for o in (created, updated)]
        assert versions == sorted(set(versions))  # a deletion has a version of its own

    async def test_an_object_that_begins_or_ceases_to_match_is_added_or_deleted(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        since = (await maps.list(HERE)).resource_version
        async with maps.watch(labelled("show=yes"), since=since) as events:
            await maps.create(config_map(a="1"))
            await maps.patch(KEY, Patch("merge", {"metadata": {"labels": {"show": "yes"}}}))
            await maps.patch(KEY, Patch("merge", {"data": {"a": "2"}}))
            await maps.patch(KEY, Patch("merge", {"metadata": {"labels": {"show": "no"}}}))
            await maps.patch(KEY, Patch("merge", {"data": {"a": "3"}}))
            await maps.create(config_map("b", labels={"show": "yes"}))
            expected = [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
            assert await take(events, 4) == expected

    async def test_a_watch_of_one_namespace_or_name_sees_no_other(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        since = (await maps.list(HERE)).resource_version
        elsewhere = ConfigMap(metadata=ObjectMeta(name="a", namespace="kube-system"))
        one = Query(namespace=NAMESPACE, fields=parse_field_selector("metadata.name=b"))
        async with maps.watch(HERE, since=since) as here, maps.watch(one, since=since) as named:
            await maps.create(elsewhere)
            await maps.create(config_map("b"))
            assert await take(here, 1) == [("ADDED", "b")]
            assert await take(named, 1) == [("ADDED", "b")]

    async def test_a_watch_from_a_version_that_is_forgotten_has_expired(self, backing: Backing) -> None:
        maps = backing.client.resource(ConfigMap)
        created = await maps.create(config_map("a"))
        for number in range(3):
            await maps.create(config_map(f"m{number}"))
        await backing.forget()
        with pytest.raises(Expired):
            async with maps.watch(HERE, since=created.metadata.resource_version) as events:
                await take(events, 1)

    async def test_many_watchers_see_the_same(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        since = (await maps.list(HERE)).resource_version
        seen: list[list[tuple[str, str]]] = []
        ready = anyio.Event()
        waiting = 10

        async def watch() -> None:
            nonlocal waiting
            async with maps.watch(HERE, since=since) as events:
                waiting -= 1
                if not waiting:
                    ready.set()
                seen.append(await take(events, 5))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(watch)
            await ready.wait()
            for number in range(5):
                await maps.create(config_map(f"m{number}"))
        assert seen == [[("ADDED", f"m{number}") for number in range(5)]] * 10
