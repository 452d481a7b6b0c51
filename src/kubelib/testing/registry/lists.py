"""What every client promises about lists, their selectors and their pages."""

import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.errors import BadRequest, Expired
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client.base import Client
from kubelib.labels import parse_field_selector, parse_selector
from kubelib.registry.base import Query
from kubelib.testing.objects import make_node, make_pod
from kubelib.testing.registry.shared import HERE, NAMESPACE, Backing, OfClients, config_map, labelled


class ListPromises(OfClients):
    """What every client promises about lists, their selectors and their pages."""

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
