"""All the resources of one API server over one store."""

import ipaddress
from collections.abc import Sequence
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType
from typing import Self

import anyio

from kubelib.api.builtin import SCHEME
from kubelib.api.core.namespace import Namespace
from kubelib.api.errors import AlreadyExists
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Scheme
from kubelib.clock import SYSTEM_CLOCK, Clock, system_random
from kubelib.registry.admission import Admission, default_admission
from kubelib.registry.cache import WatchCache
from kubelib.registry.generic import GenericRegistry
from kubelib.registry.keys import ROOT
from kubelib.registry.strategies import strategy_of
from kubelib.registry.translations import translation_of
from kubelib.store import Revision, Store, SupportsObserve, WatchLagged

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
SERVICE_CIDR = "127.96.0.0/16"
"""Where Service addresses come from: loopback, so that no privilege is needed to listen on them."""


class ResourceRegistries:
    """An async context manager: while it is open, the watch cache follows the store."""

    def __init__(
        self,
        store: Store,
        *,
        scheme: Scheme = SCHEME,
        clock: Clock = SYSTEM_CLOCK,
        random: Random | None = None,
        admission: Sequence[Admission] | None = None,
        check_namespaces: bool = True,
        service_cidr: str = SERVICE_CIDR,
    ) -> None:
        self.store = store
        self.scheme = scheme
        self.clock = clock
        self.random = random if random is not None else system_random()
        self.admission = tuple(default_admission() if admission is None else admission)
        self.check_namespaces = check_namespaces
        self.service_cidr = service_cidr
        self.api_service_address = str(ipaddress.ip_network(service_cidr)[1])
        self.cache = WatchCache()
        self._registries: dict[tuple[str, str], GenericRegistry] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        if isinstance(self.store, SupportsObserve):
            # Nothing is awaited between the list and the subscription: no change can slip between them.
            page = await self.store.list(ROOT)
            self._stack.callback(self.store.observe(self.cache.apply))
            self.cache.load(page.entries, page.revision)
        else:
            page = await self.store.list(ROOT)
            self.cache.load(page.entries, page.revision)
            group = await self._stack.enter_async_context(anyio.create_task_group())
            self._stack.callback(group.cancel_scope.cancel)
            group.start_soon(self._follow, page.revision)
        self.namespaces = self.of(self.scheme.of(Namespace))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _follow(self, since: Revision) -> None:
        async with self.store.watch("/", since=since) as watch:
            while True:
                try:
                    self.cache.apply(await watch.take())
                except WatchLagged:
                    raise RuntimeError("the watch cache could not keep up with the store") from None

    def of(self, resource: Resource) -> GenericRegistry:
        """Return the registry of a resource."""
        key = (resource.api_version, resource.plural)
        registry = self._registries.get(key)
        if registry is None or registry.resource is not resource:
            if resource.storage_group != resource.group:
                from kubelib.registry.secondform import SecondForm

                registry = SecondForm(resource, self, strategy_of(resource), translation_of(resource))
            else:
                registry = GenericRegistry(resource, self, strategy_of(resource))
            self._registries[key] = registry
        return registry

    async def bootstrap(self) -> None:
        """Create the system namespaces that are not there yet."""
        for name in SYSTEM_NAMESPACES:
            if self.namespaces.cache.get(Key("", name)) is None:
                try:
                    await self.namespaces.create(
                        {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
                    )
                except AlreadyExists:
                    continue  # another API server was quicker
