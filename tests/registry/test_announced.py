"""What a registry knows of a document that it has stored is what reading the document says."""

from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch
from kubelib.registry.cache import MOST_ANNOUNCED
from kubelib.store import MemoryStore

OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": True}
META = {"labels": {"a": "b"}, "finalizers": ["example.com/x"], "ownerReferences": [OWNER]}


async def test_the_metadata_of_written_documents_are_those_that_they_say() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        for kind, more in (("ConfigMap", {"data": {"a": "b"}}), ("Pod", {"spec": _SPEC})):
            registry, key = registries.of(registries.scheme.kind("v1", kind)), Key("default", "x")
            tree = {"kind": kind, "apiVersion": "v1", "metadata": {**META, "name": "x"}, **more}
            await registry.create(tree, namespace="default")
            changed = {"metadata": {"labels": {"a": None, "c": "d"}}}
            for patch in (changed, {"metadata": {"annotations": {"a": "b"}}}):
                await registry.patch(key, Patch("merge", patch))
                document = registry.cache.get(key)
                assert document is not None
                assert document.meta == Document(document.raw).meta
                assert document.meta.labels == {"c": "d"}
            deleted = await registry.delete(key, grace=0)
            assert deleted.document.meta.deletion_timestamp
            assert deleted.document.meta == Document(deleted.document.raw).meta


async def test_what_is_asked_for_a_try_only_is_not_remembered_for_ever() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        registry = registries.of(registries.scheme.kind("v1", "ConfigMap"))
        for number in range(2 * MOST_ANNOUNCED):
            registry.cache.announce(b"%d" % number, {})
        assert len(registry.cache._announced) <= MOST_ANNOUNCED


_SPEC = {"containers": [{"name": "c", "image": "i"}]}
