"""All the resources of one API server over one store."""

import ipaddress
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from copy import deepcopy
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.builtin import SCHEME
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.pod import Pod
from kubelib.api.errors import AlreadyExists, ServiceUnavailable
from kubelib.api.meta import Key, Object
from kubelib.api.networking import ServiceCIDR
from kubelib.api.scheduling import PriorityClass
from kubelib.api.scheme import Resource, Scheme
from kubelib.api.times import format_time
from kubelib.api.transactions import GROUP as TRANSACTIONS
from kubelib.clock import SYSTEM_CLOCK, Clock, system_random
from kubelib.registry.admission import (
    NEED_CONTROLLERS,
    Admission,
    AdmissionChain,
    SupportsAttachment,
    default_admission,
)
from kubelib.registry.admission.priorities import SYSTEM_CLASSES
from kubelib.registry.base import OF_THE_SERVER, Patch, TokenSigner, User
from kubelib.registry.cache import ResourceCache, WatchCache
from kubelib.registry.generic import GenericRegistry
from kubelib.registry.keys import ROOT
from kubelib.registry.room import NodeRoom
from kubelib.registry.strategies import strategy_of
from kubelib.registry.strategies.allocations import DEFAULT_RANGE
from kubelib.registry.translations import translation_of
from kubelib.registry.webhooks.base import WebhookCaller
from kubelib.store import (
    Lease,
    Revision,
    RevisionCompacted,
    Store,
    StoreUnavailable,
    SupportsObserve,
    WatchLagged,
)
from kubelib.transactions.base import Party
from kubelib.transactions.commitpoint import CommitPoint, CommitPolicy
from kubelib.transactions.figures import Landings

if TYPE_CHECKING:
    from kubelib.registry.custom import CustomKinds

log = logging.getLogger(__name__)

FRESH_WITHIN = 5.0
"""Seconds that a read waits for the watch cache to come as far as the store is."""
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
Allows = Callable[[User, str, str, str, str, str, str], bool]
"""Whether a user may do: verb, API group, resource, subresource, namespace, name."""
Decides = Callable[[User, str, str, str, str, str, str, str], tuple[bool, str]]
"""Whether a user may, and why: verb, path, API group, resource, subresource, namespace, name."""
SERVICE_CIDR = "127.96.0.0/16"
"""Where Service addresses come from: loopback, so that no privilege is needed to listen on them."""


class ResourceRegistries:
    """An async context manager: while it is open, the watch cache follows the store.

    `admission` are the plug-ins that writes meet: when nothing is said, those of kube-apiserver that need no controllers.
    """

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
        self.scheme = Scheme(scheme)
        """The kinds that are served: those of the scheme that was given, and those that are defined while this runs."""
        self.clock = clock
        self.random = random if random is not None else system_random()
        if admission is None:
            admission = default_admission(disable=NEED_CONTROLLERS)
        self.admission = AdmissionChain(admission)
        self.allows: Allows | None = None
        """Asks the authorizer of the API server, for plug-ins of admission; None while there is none."""
        self.decides: Decides | None = None
        """Asks the same authorizer about paths as well, and for its reason; None while there is none."""
        self.tokens: TokenSigner | None = None
        """Signs the tokens of service accounts; None where nobody does."""
        self.webhooks: WebhookCaller | None = None
        """Calls admission and conversion webhooks; None where nobody does, and then every call fails."""
        self.check_namespaces = check_namespaces
        self.service_cidr = service_cidr
        self.api_service_address = str(ipaddress.ip_network(service_cidr)[1])
        self.cache = WatchCache()
        self.shared = not isinstance(store, SupportsObserve)
        """Whether other API servers may write to the store: then what was written there comes with a delay."""
        self._caches: dict[type[Object], ResourceCache] = {}
        self._registries: dict[tuple[str, str], GenericRegistry] = {}
        self.custom: CustomKinds | None = None
        """Serves the kinds that CustomResourceDefinitions define; None where the scheme has no such kind."""
        self._room: NodeRoom | None = None
        self.landings = Landings()
        """What became of the transactions that schedulers have committed here."""
        self.commit_point: CommitPoint | None = None
        """Where transactions of claims wait for their turn; None where they land as they come."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            await self._open()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def _open(self) -> None:
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
        for plugin in self.admission.plugins:
            if isinstance(plugin, SupportsAttachment):
                plugin.attach(self)
        if any(resource.cls is CustomResourceDefinition for resource in self.scheme):
            from kubelib.registry.custom import CustomKinds

            self.custom = CustomKinds(self)
            self.custom.refresh()
            group = await self._stack.enter_async_context(anyio.create_task_group())
            self._stack.callback(group.cancel_scope.cancel)
            group.start_soon(self.custom.run)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._stack.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            # The tasks of this class are nobody's concern: what has ended the body comes out as it is.
            inside: BaseException = group
            while isinstance(inside, BaseExceptionGroup) and len(inside.exceptions) == 1:
                inside = inside.exceptions[0]
            if error is not None and inside is error:
                return
            raise

    async def catch_up(self) -> None:
        """Wait until the cache has everything that was committed before this call. Raises ServiceUnavailable."""
        try:
            revision = await self.store.revision()
        except StoreUnavailable as error:
            raise ServiceUnavailable(str(error), retry_after=1) from None
        if revision > self.cache.revision:
            with anyio.move_on_after(FRESH_WITHIN):
                await self.cache.reached(revision)
            if revision > self.cache.revision:
                raise ServiceUnavailable(
                    f"the watch cache is at revision {self.cache.revision} and the store at {revision}",
                    retry_after=1,
                )

    async def _follow(self, since: Revision) -> None:
        """Keep the cache in step with a store that others write to as well, for as long as the registries are open."""
        while True:
            try:
                async with self.store.watch("/", since=since) as watch:
                    while True:
                        changes = await watch.take()
                        since = watch.progress
                        if changes:
                            self.cache.apply(changes)
                        self.cache.advance(since)
            except (WatchLagged, RevisionCompacted) as error:
                log.warning("the watch cache has to be loaded anew: %s", error)
                since = await self._reload()
            except StoreUnavailable as error:
                log.warning("the watch cache cannot follow the store: %s", error)
                await anyio.sleep(1)

    async def _reload(self) -> Revision:
        while True:
            try:
                page = await self.store.list(ROOT)
            except StoreUnavailable:
                await anyio.sleep(1)
                continue
            self.cache.reload(page.entries, page.revision)
            return page.revision

    def of(self, resource: Resource) -> GenericRegistry:
        """Return the registry of a resource."""
        key = (resource.api_version, resource.plural)
        registry = self._registries.get(key)
        if registry is None or registry.resource is not resource:
            if resource.structure is not None:
                assert self.custom is not None
                return self.custom.registry(resource)
            if (resource.storage_group, resource.storage_version) != (resource.group, resource.version):
                from kubelib.registry.secondform import SecondForm

                registry = SecondForm(resource, self, strategy_of(resource), translation_of(resource))
            elif (resource.group, resource.kind) == ("", "ComponentStatus"):
                from kubelib.registry.components import ComponentStatuses

                registry = ComponentStatuses(resource, self, strategy_of(resource))
            elif resource.kind == "SubjectAccessReview":
                from kubelib.registry.reviews import AccessReviews

                registry = AccessReviews(resource, self, strategy_of(resource))
            elif (resource.group, resource.kind) == (TRANSACTIONS, "Transaction"):
                from kubelib.registry.transactions import Transactions

                registry = Transactions(resource, self, strategy_of(resource))
            else:
                registry = GenericRegistry(resource, self, strategy_of(resource))
            self._registries[key] = registry
        return registry

    @property
    def room(self) -> NodeRoom:
        """What is left on the nodes, for bindings."""
        if self._room is None:
            self._room = NodeRoom(self.of(self.scheme.of(Pod)))
        return self._room

    def set_commit_policies(self, policies: Sequence[CommitPolicy]) -> None:
        """Let policies decide in which order transactions land; none: as they come."""
        self.commit_point = CommitPoint(policies, _Ground(self)) if policies else None

    def keep_events(self, seconds: float) -> None:
        """Let Events that are written from now on live so long; they live for an hour otherwise."""
        for resource in self.scheme:
            if resource.builtin and resource.kind == "Event":
                self.of(resource).strategy.lease = Lease(seconds)

    def cache_of(self, kind: type[Object]) -> ResourceCache:
        """Return the stored objects of a kind, as of the last change."""
        cache = self._caches.get(kind)
        if cache is None:
            cache = self._caches[kind] = self.cache.of(self.scheme.of(kind))
        return cache

    async def bootstrap(self) -> None:
        """Create the system's namespaces and priority classes and the range of Services' addresses, where they are missing."""
        for name in SYSTEM_NAMESPACES:
            if self.namespaces.cache.get(Key("", name)) is None:
                try:
                    await self.namespaces.create(
                        {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}},
                        options=OF_THE_SERVER,
                    )
                except AlreadyExists:
                    continue  # another API server was quicker
        classes = self.of(self.scheme.of(PriorityClass))
        for tree in SYSTEM_CLASSES:
            if classes.cache.get(Key("", tree["metadata"]["name"])) is None:
                with suppress(AlreadyExists):
                    await classes.create(deepcopy(tree), options=OF_THE_SERVER)
        await self._show_service_range()

    async def _show_service_range(self) -> None:
        """Make the ServiceCIDR that says where Services get their addresses, and say that it is ready."""
        ranges = self.of(self.scheme.of(ServiceCIDR))
        key = Key("", DEFAULT_RANGE)
        if ranges.cache.get(key) is not None:
            return
        meta = {"name": DEFAULT_RANGE}
        tree = {"kind": "ServiceCIDR", "apiVersion": ServiceCIDR.api_version, "metadata": meta}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": format_time(self.clock.now()),
        }
        with suppress(AlreadyExists):
            await ranges.create({**tree, "spec": {"cidrs": [self.service_cidr]}}, options=OF_THE_SERVER)
            status = Patch("merge", {"status": {"conditions": [ready]}})
            await ranges.patch(key, status, subresource="status", options=OF_THE_SERVER)


class _Ground:
    """What policies of the commit point may know."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries

    def dominant(self, party: Party, name: str) -> float:
        return self._registries.room.shares.dominant(party, name)
