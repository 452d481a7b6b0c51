"""Kinds that definitions define, known in a process that is not the server's: by watching the definitions."""

from anyio import TASK_STATUS_IGNORED, sleep_forever
from anyio.abc import TaskStatus

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.document import Document
from kubelib.api.meta import Object
from kubelib.api.scheme import Resource, Scheme, UnknownKind
from kubelib.informers import SharedInformers
from kubelib.registry.custom.names import find_condition
from kubelib.registry.custom.resources import class_for, resources_of


class CustomKindsDiscovery:
    """Keeps a scheme in step with the definitions of a cluster. A `Component`."""

    def __init__(self, informers: SharedInformers, scheme: Scheme) -> None:
        self.name = "custom-kinds-discovery"
        self._scheme = scheme
        self._informer = informers.of(CustomResourceDefinition)
        self._known: dict[str, tuple[Resource, ...]] = {}
        self._classes: dict[tuple[str, str], type[Object]] = {}
        self._informer.subscribe(self._changed)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started means that the definitions that there were are known."""
        await self._informer.wait_until_synced()
        task_status.started()
        await sleep_forever()

    def _changed(self, old: Document | None, new: Document | None) -> None:
        name = (new or old).meta.name  # type: ignore[union-attr]
        before = self._known.pop(name, ())
        resources = self._resources(new) if new is not None else ()
        if resources:
            self._known[name] = resources
        if before != resources:
            self._scheme.replace(before, resources)

    def _resources(self, document: Document) -> tuple[Resource, ...]:
        tree = document.tree()
        established = find_condition(tree, "Established")
        if established is None or established.get("status") != "True":
            return ()
        spec, kind = tree["spec"], tree["status"]["acceptedNames"]["kind"]
        classes = {
            version["name"]: self._class(f"{spec['group']}/{version['name']}", kind)
            for version in spec["versions"]
        }
        return tuple(resources_of(tree, classes))

    def _class(self, api_version: str, kind: str) -> type[Object]:
        cls = self._classes.get((api_version, kind))
        if cls is None:
            try:
                cls = self._scheme.kind(api_version, kind).cls
            except UnknownKind:
                cls = class_for(api_version, kind)
            self._classes[api_version, kind] = cls
        return cls
