"""Serving what definitions define: in step with the stored definitions, whoever has written them.

The watch cache tells of every change to a definition, be it this server's or another's over the same store: at once the scheme has the
kind, or has it no more. What takes time happens in `CustomKinds.run`: the objects of a definition that is being deleted go first, and
names that have become free are given to those who wait for them. What handles definitions is imported with the first of them.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import anyio
import attrs

from kubelib.api import codec
from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, Conflict, NotFound
from kubelib.api.meta import Key, Object
from kubelib.api.scheme import Resource, Tree, UnknownKind
from kubelib.api.times import format_time
from kubelib.registry.base import WriteOptions
from kubelib.registry.custom.definitions import CLEANUP

if TYPE_CHECKING:
    from kubelib.registry.cache import ResourceCache
    from kubelib.registry.custom.conversion import Converter
    from kubelib.registry.custom.registry import CustomRegistry
    from kubelib.registry.registries import ResourceRegistries

LOOK_AGAIN = 0.2
"""Seconds until objects that do not go are looked at again."""
_OPTIONS = WriteOptions(manager="kube-apiserver", field_validation="Ignore", trusted=True)

log = logging.getLogger("kubelib.registry")


def _offered(resources: Iterable[Resource], terminating: bool) -> tuple[Resource, ...]:
    return tuple(attrs.evolve(resource, terminating=terminating) for resource in resources)


@attrs.define(eq=False)
class _Kind:
    """A definition that is served."""

    document: Document
    spec: Tree
    names: Tree
    terminating: bool
    resources: tuple[Resource, ...]
    stored: Resource
    """The resource in the storage version, which need not be served."""
    converter: "Converter"


class CustomKinds:
    """The kinds that definitions define, in the scheme of one server."""

    def __init__(self, owner: "ResourceRegistries") -> None:
        self._owner = owner
        self._resource = owner.scheme.of(CustomResourceDefinition)
        self._cache = owner.cache.of(self._resource)
        builtin = [resource for resource in owner.scheme if resource.builtin]
        self._builtin_plurals = {(resource.group, resource.plural) for resource in builtin}
        self._builtin_versions = {(resource.group, resource.version) for resource in builtin}
        self._kinds: dict[str, _Kind] = {}
        self._classes: dict[tuple[str, str], type[Object]] = {}
        self._registries: dict[tuple[str, str, str], CustomRegistry] = {}
        self._changed: list[ResourceCache] = []
        """Whose documents are to be read by another schema than before."""
        self._news = anyio.Event()
        self._cache.on_change(self.refresh)

    # Serving

    def refresh(self) -> None:
        """Serve what the stored definitions define, and nothing else."""
        there = {document.meta.name: document for document in self._cache.all()}
        for name in [name for name in self._kinds if name not in there]:
            self._withdraw(name)
        for name, document in there.items():
            known = self._kinds.get(name)
            if known is None or known.document is not document:
                try:
                    self._serve(name, document)
                except Exception:
                    # One definition that cannot be served, however it came into the store, must not stop the others.
                    log.exception("the definition %s cannot be served", name)
        self._news.set()

    def _serve(self, name: str, document: Document) -> None:
        from kubelib.registry.custom.names import find_condition
        from kubelib.registry.custom.resources import resources_of

        tree = document.tree()
        established = find_condition(tree, "Established")
        if established is None or established.get("status") != "True":
            if name in self._kinds:
                self._withdraw(name)
            return
        known = self._kinds.get(name)
        spec, names = tree["spec"], tree["status"]["acceptedNames"]
        terminating = bool(tree["metadata"].get("deletionTimestamp"))
        if known is not None and (known.spec, known.names) == (spec, names):
            known.document = document
            if known.terminating != terminating:
                known.terminating = terminating
                before, known.resources = known.resources, _offered(known.resources, terminating)
                self._owner.scheme.replace(before, known.resources)
                for resource in before:
                    self._forget(resource)
            return
        classes = {
            version["name"]: self._class(f"{spec['group']}/{version['name']}", names["kind"], version)
            for version in spec["versions"]
        }
        # What the server serves by itself stays as it is, whatever a definition says.
        if (spec["group"], names["plural"]) in self._builtin_plurals:
            return
        resources = _offered(
            (
                resource
                for resource in resources_of(tree, classes)
                if (resource.group, resource.version) not in self._builtin_versions
            ),
            terminating,
        )
        stored = next((r for r in resources if r.version == r.storage_version), None)
        if stored is None:
            version = next(v for v in spec["versions"] if v.get("storage"))
            shown = resources_of(
                {**tree, "spec": {**spec, "versions": [{**version, "served": True}]}}, classes
            )
            stored = shown[0]
        for resource in known.resources if known is not None else ():
            self._forget(resource)
        cache = self._owner.cache.redefined(stored, _reader(spec, stored))
        self._changed.append(cache)
        self._kinds[name] = _Kind(
            document, spec, names, terminating, resources, stored, self._converter(spec, stored)
        )
        self._owner.scheme.replace(known.resources if known is not None else (), resources)
        if known is not None:
            # Who watches a version that is shaped anew begins anew, as with Kubernetes.
            cache.end_watches()

    def _class(self, api_version: str, kind: str, version: Tree) -> type[Object]:
        cls = self._classes.get((api_version, kind))
        if cls is None:
            try:
                # A class of the user's own, registered for typed access.
                cls = self._owner.scheme.kind(api_version, kind).cls
            except UnknownKind:
                from kubelib.registry.custom.resources import class_for

                schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
                cls = class_for(api_version, kind, schema.get("description") or "")
            self._classes[api_version, kind] = cls
        return cls

    def _converter(self, spec: Tree, stored: Resource) -> "Converter":
        from kubelib.registry.custom.conversion import Renaming, WebhookConverter

        conversion = spec.get("conversion") or {}
        if conversion.get("strategy") != "Webhook":
            return Renaming(stored.group, stored.kind)
        owner = self._owner
        return WebhookConverter(stored, conversion.get("webhook") or {}, lambda: owner.webhooks, owner.random)

    def _withdraw(self, name: str) -> None:
        kind = self._kinds.pop(name)
        self._owner.scheme.remove(*kind.resources)
        for resource in kind.resources:
            self._forget(resource)
        self._forget(kind.stored)
        self._owner.cache.drop(kind.stored)

    def _forget(self, resource: Resource) -> None:
        self._registries.pop((resource.group, resource.version, resource.plural), None)

    def registry(self, resource: Resource) -> "CustomRegistry":
        """Return the registry of a resource that a definition has made."""
        from kubelib.registry.custom.registry import CustomRegistry
        from kubelib.registry.custom.strategy import CustomStrategy

        key = (resource.group, resource.version, resource.plural)
        registry = self._registries.get(key)
        if registry is None or registry.resource is not resource:
            kind = self._kinds.get(f"{resource.plural}.{resource.group}")
            if kind is None:
                raise NotFound("the server could not find the requested resource")
            registry = self._registries[key] = CustomRegistry(
                resource, self._owner, CustomStrategy(), kind.converter, terminating=kind.terminating
            )
        return registry

    # What takes time

    async def run(self) -> None:
        """Clean up after definitions that are being deleted, and read objects by changed schemas, until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                self._news = anyio.Event()
                changed, self._changed = self._changed, []
                for cache in changed:
                    group.start_soon(cache.look_through)
                await self._look_around()

    async def _look_around(self) -> None:
        """Look at all definitions, and then wait for news of them."""
        again = False
        for document in list(self._cache.all()):
            try:
                again |= await self._look_at(document)
            except (Conflict, NotFound):
                continue  # it has changed, and will be looked at again
            except ApiError as error:
                log.warning("%s: %s", document.meta.name, error)
                again = True
            except Exception:
                log.exception("the definition %s cannot be looked after", document.meta.name)
        with anyio.move_on_after(LOOK_AGAIN) if again else anyio.CancelScope():
            await self._news.wait()

    async def _look_at(self, document: Document) -> bool:
        """Do what is due for one definition; return whether to look again soon."""
        from kubelib.registry.custom.names import find_condition

        if document.meta.deletion_timestamp:
            return CLEANUP in document.meta.finalizers and await self._clean_up(document)
        tree = document.tree()
        accepted = find_condition(tree, "NamesAccepted")
        if accepted is None or accepted.get("status") != "True":
            await self._accept(document, tree)
        return False

    async def _accept(self, document: Document, tree: Tree) -> None:
        """Give a definition names that have become free."""
        from kubelib.registry.custom.names import accept_names

        group = tree["spec"]["group"]
        others = [
            other.tree()
            for other in self._cache.all()
            if other.meta.name != document.meta.name and other.meta.name.partition(".")[2] == group
        ]
        before = codec.encode_json(tree["status"])
        accept_names(tree, others, self._now())
        if codec.encode_json(tree["status"]) != before:
            await self._write(document, tree)

    async def _clean_up(self, document: Document) -> bool:
        """Delete the objects of a definition; let it go when none is left."""
        from kubelib.registry.custom.names import find_condition, set_condition
        from kubelib.registry.custom.registry import CustomRegistry
        from kubelib.registry.custom.strategy import CustomStrategy

        name = document.meta.name
        kind = self._kinds.get(name)
        left = 0
        if kind is not None:
            registry = CustomRegistry(
                kind.stored, self._owner, CustomStrategy(), kind.converter, terminating=True
            )
            for instance in list(registry.cache.all()):
                if not instance.meta.deletion_timestamp:
                    try:
                        await registry.delete(instance.key, propagation="Background", options=_OPTIONS)
                    except (NotFound, Conflict):
                        continue
            left = len(registry.cache)
        tree = document.tree()
        if left:
            condition = find_condition(tree, "Terminating")
            if condition is None or condition.get("reason") != "InstanceDeletionInProgress":
                message = "CustomResource deletion is in progress"
                set_condition(tree, "Terminating", True, "InstanceDeletionInProgress", message, self._now())
                await self._write(document, tree)
            return True
        set_condition(
            tree, "Terminating", False, "InstanceDeletionCompleted", "removed all instances", self._now()
        )
        meta = tree["metadata"]
        meta["finalizers"] = [f for f in meta.get("finalizers") or () if f != CLEANUP]
        await self._write(document, tree, finalizers=True)
        return False

    async def _write(self, document: Document, tree: Tree, *, finalizers: bool = False) -> None:
        registry = self._owner.of(self._resource)
        key = Key("", document.meta.name)
        await registry.update(key, tree, subresource="status", options=_OPTIONS)
        if finalizers:
            current = registry.cache.get(key)
            if current is not None and current.meta.uid == document.meta.uid:
                fresh = current.tree()
                fresh["metadata"]["finalizers"] = tree["metadata"]["finalizers"]
                await registry.update(key, fresh, options=_OPTIONS)

    def _now(self) -> str:
        return format_time(self._owner.clock.now())


def _reader(spec: Tree, stored: Resource) -> Callable[[bytes], bytes]:
    """Return what makes stored documents whole by the schema of the version in which they are stored."""
    from kubelib.registry.custom.registry import head_of
    from kubelib.registry.custom.resources import storage_version, structure_of

    by_version = {version["name"]: structure_of(spec, version) for version in spec["versions"]}
    heads = [(head_of(stored, name), structure) for name, structure in by_version.items()]
    name = storage_version(spec)
    heads.sort(key=lambda item: item[0] != head_of(stored, name))

    def read(raw: bytes) -> bytes:
        for head, structure in heads:
            if raw.startswith(head):
                tree = codec.parse_json(raw)
                structure.normalize(tree, [])
                seen = codec.encode_json(tree)
                return raw if seen == raw else seen
        return raw

    return read
