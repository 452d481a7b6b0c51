"""Namespaces that are being deleted: their content goes first, then they."""

from kubelib.api.core.namespace import Namespace
from kubelib.api.errors import ApiError, Conflict, NotFound
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.api.scheme import Scheme
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Query

NAME = "namespace-controller"
FINALIZER = "kubernetes"
LOOK_AGAIN = 1.0


class NamespaceContent:
    """Deletes what is in a namespace, and lifts its finalizer once nothing is left."""

    def __init__(self, informers: SharedInformers, scheme: Scheme) -> None:
        self._client = informers.client
        self._cache = informers.of(Namespace).cache
        self._scheme = scheme

    async def reconcile(self, key: Key) -> After | None:
        """Look at one namespace."""
        namespace = self._cache.view(key)
        if namespace is None or namespace.metadata.deletion_timestamp is None:
            return None
        if FINALIZER not in namespace.spec.finalizers:
            return None
        if await self._delete_content(key.name):
            return After(LOOK_AGAIN)
        spec = replace(
            namespace.spec, finalizers=tuple(f for f in namespace.spec.finalizers if f != FINALIZER)
        )
        try:
            await self._client.resource(Namespace).update(
                replace(namespace, spec=spec), subresource="finalize"
            )
        except (NotFound, Conflict):
            return After(LOOK_AGAIN)
        return None

    async def _delete_content(self, namespace: str) -> bool:
        """Ask for everything to be deleted; return whether anything is left."""
        left = False
        for resource in self._scheme:
            if not resource.namespaced or "delete" not in resource.verbs or "list" not in resource.verbs:
                continue
            cls: type[Object] = resource.cls
            registry = self._client.resource(cls)
            for item in (await registry.list(Query(namespace))).items:
                left = True
                if item.metadata.deletion_timestamp is not None:
                    continue
                try:
                    await registry.delete(item.key, propagation="Background")
                except ApiError:
                    continue  # tried again the next time
        if not left:
            return False
        return await self._anything_left(namespace)

    async def _anything_left(self, namespace: str) -> bool:
        for resource in self._scheme:
            if resource.namespaced and "list" in resource.verbs:
                cls: type[Object] = resource.cls
                if (await self._client.resource(cls).list(Query(namespace), limit=1)).items:
                    return True
        return False


def namespace_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, scheme: Scheme
) -> Controller:
    """Return the controller of namespaces."""
    return Controller(
        NAME,
        NamespaceContent(informers, scheme),
        [(informers.of(Namespace), itself)],
        workers=5,
        recorder=recorder.source(NAME),
    )
