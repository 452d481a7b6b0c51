"""A controller: config maps labelled ``mirror=everywhere`` are copied into every namespace.

Run it against the cluster of your kubeconfig: ``python -m examples.controller``.
"""

from contextlib import suppress

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.namespace import Namespace
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.controllers import Controller
from kubelib.informers import SharedInformers
from kubelib.labels import parse_selector

ORIGINALS, COPIES = parse_selector("mirror=everywhere"), parse_selector("mirror=copy")


class Mirror:
    """Brings the copies of one name into step with the original, whatever has happened."""

    def __init__(self, informers: SharedInformers) -> None:
        self.registry = informers.client.resource(ConfigMap)
        self.maps, self.namespaces = informers.of(ConfigMap), informers.of(Namespace)

    async def reconcile(self, key: Key) -> None:
        originals = [m for m in self.maps.lister.list(ORIGINALS) if m.metadata.name == key.name]
        copies = {
            m.metadata.namespace: m for m in self.maps.lister.list(COPIES) if m.metadata.name == key.name
        }
        for namespace in self.namespaces.lister.list():
            copy, there = copies.get(namespace.metadata.name), Key(namespace.metadata.name, key.name)
            if copy is not None and not originals:
                with suppress(NotFound):
                    await self.registry.delete(copy.key)
            elif copy is not None and copy.data != originals[0].data:
                await self.registry.update(replace(copy, data=originals[0].data))
            elif originals and there not in self.maps.cache and not namespace.metadata.deletion_timestamp:
                meta = ObjectMeta(name=there.name, namespace=there.namespace, labels={"mirror": "copy"})
                with suppress(AlreadyExists):
                    await self.registry.create(ConfigMap(metadata=meta, data=originals[0].data))


def mirror_controller(informers: SharedInformers) -> Controller:
    def name_of(changed: Document) -> list[Key]:
        return [Key("", changed.meta.name)]

    def all_names(namespace: Document) -> list[Key]:
        return [Key("", original.metadata.name) for original in maps.lister.list(ORIGINALS)]

    maps, namespaces = informers.of(ConfigMap), informers.of(Namespace)
    return Controller("mirror", Mirror(informers), [(maps, name_of), (namespaces, all_names)])
