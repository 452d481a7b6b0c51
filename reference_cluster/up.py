"""A whole cluster in one process: API server, controllers, scheduler, nodes and service proxy, wired together."""

import importlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import attrs

from kubelib.api.core.node import Node
from kubelib.client import LocalClient
from kubelib.clock import SYSTEM_CLOCK, Clock, system_random
from kubelib.controllers.events import EventRecorder
from kubelib.informers import Component
from kubelib.registry.admission import Admission
from kubelib.registry.base import User
from kubelib.runtime.localnodes import LocalNodes
from kubelib.runtime.node import is_loopback
from kubelib.server.exchange import request_from
from reference_cluster import pki
from reference_cluster.access import DEFAULT_ACCESS, AccessSettings
from reference_cluster.apiserver import RunningServer, run_api_server
from reference_cluster.daemon import Later, running
from reference_cluster.datadir import DataDirectory
from reference_cluster.devicedrivers import make_drivers
from reference_cluster.names import NO_NAMES, Names, cluster_names
from reference_cluster.networks import local_addresses, own_networks, pair
from reference_cluster.proxy import ways_to_services
from reference_cluster.runtimes import (
    ENGINES,
    NO_ISOLATION,
    IsolationSettings,
    clear_node,
    node_annotations,
    open_runtime,
    own_pod_networks,
    with_network,
)
from reference_cluster.storage_class import ensure_storage_class

if TYPE_CHECKING:
    from kubelib.sched.elastic import LocalProvider, NodeTemplate
    from reference_cluster.elastic import ElasticPlan

log = logging.getLogger("kubelib")

DEFAULT_POLICY = "default"
CONTROLLER_MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"
KUBELET, PROXY, ELASTIC = "kubelet", "kube-proxy", "kubelib-elastic"
"""What managed fields call the programs of a cluster, which are all in this process."""


@attrs.frozen(kw_only=True)
class ClusterSettings:
    """What a cluster in one process is made of."""

    listen: str = "127.0.0.1:6443"
    store: str = ""
    """The URL of the store; empty: SQLite in the data directory."""
    runtime: str = "process"
    isolation: IsolationSettings = NO_ISOLATION
    device_drivers: Sequence[str] = ()
    """The plug-ins that have devices on each node."""
    nodes: int = 1
    elastic: "ElasticPlan | None" = None
    """Which nodes come and go as Pods need them, beside the others; None: none."""
    proxy: str = "userspace"
    """How Services are reached: ``userspace``, ``nftables`` or ``none``."""
    dns: bool = True
    """Whether names of Services resolve, where this user may listen for questions and there is a `proxy`."""
    policy: str = DEFAULT_POLICY
    pod_network: str = ""
    """Where Pods and Services get their addresses; empty: where no other cluster on this machine does."""
    service_network: str = ""
    tokens: Mapping[str, User] = attrs.field(factory=dict)
    """Bearer tokens, and whom each stands for."""
    admission: Sequence[Admission] | None = None
    """The plug-ins of admission; None: those of kube-apiserver."""
    access: AccessSettings = DEFAULT_ACCESS
    """Who may in, who may what, and what is written of it."""


@attrs.frozen(kw_only=True)
class RunningCluster:
    """A cluster that is ready."""

    server: RunningServer
    kubeconfig: Path
    nodes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class _Parts:
    """Makes the components of one cluster; all of them share what is here."""

    directory: DataDirectory
    settings: ClusterSettings
    server: RunningServer
    nodes: LocalNodes
    clock: Clock
    random: Random
    names: Names
    node_events: EventRecorder = attrs.field(init=False)
    scheduling_events: EventRecorder = attrs.field(init=False)

    @node_events.default
    def _of_all_kubelets(self) -> EventRecorder:
        client = self.client(pki.ADMIN, KUBELET)
        return EventRecorder(client, clock=self.clock, random=self.random, name="node-events")

    @scheduling_events.default
    def _of_the_scheduler(self) -> EventRecorder:
        client = self.client(pki.SCHEDULER, SCHEDULER)
        return EventRecorder(client, clock=self.clock, random=self.random, name="scheduling-events")

    @staticmethod
    def user(identity: pki.Identity) -> User:
        """Return whom the API server takes the bearer of a certificate for."""
        return User(identity.user, (*identity.groups, "system:authenticated"))

    def client(self, identity: pki.Identity, program: str) -> LocalClient:
        """Return a client that acts as `identity`; managed fields show `program`, as if it were a process of its own."""
        return LocalClient(self.server.registries, user=self.user(identity), manager=program)

    def controllers(self) -> list[Component]:
        """Return the controllers that Kubernetes has, and one that makes directories for claims to volumes."""
        from kubelib.controllers.autoscaling.asking import AskedMetrics
        from kubelib.controllers.builtin import builtin_controllers
        from kubelib.controllers.certificates import CertificateAuthority
        from kubelib.controllers.loadbalancers import OwnAddresses
        from kubelib.controllers.provisioning import DirectoryProvisioner

        authority = self.server.authority
        request = partial(request_from, self.server.app, self.user(pki.CONTROLLER_MANAGER))
        return builtin_controllers(
            self.client(pki.CONTROLLER_MANAGER, CONTROLLER_MANAGER),
            clock=self.clock,
            random=self.random,
            root_ca=authority.ca.read_text(),
            provisioners=[DirectoryProvisioner(self.directory.volumes)],
            metrics=AskedMetrics(partial(request, "GET")),
            request=request,
            authority=CertificateAuthority(*authority.pair()),
            load_balancers=OwnAddresses() if self.settings.proxy != "none" else None,
        )

    async def agent(
        self, stack: AsyncExitStack, name: str, template: "NodeTemplate | None" = None
    ) -> Component:
        """Return the agent of a node, made as `template` says; its runtime is open as long as `stack` is."""
        from kubelib.runtime.agent import NodeAgent
        from kubelib.runtime.eviction import DEFAULT_HARD
        from kubelib.runtime.settings import NodeSettings

        settings, root = self.settings, self.directory.node(name)
        runtime = await stack.enter_async_context(open_runtime(settings.runtime, root, settings.isolation))
        agent = NodeAgent(
            self.client(pki.node_identity(name), KUBELET),
            runtime,
            NodeSettings(
                name=name,
                labels=template.node(name).metadata.labels if template is not None else {},
                taints=template.taints if template is not None else (),
                capacity=template.capacity if template is not None else {},
                pod_network=settings.pod_network,
                cluster_dns=self.names.servers,
                annotations=node_annotations(settings.runtime, settings.isolation),
                pids_limit=settings.isolation.pids,
                # The disk is its owner's, who may like it full.
                eviction_hard={"memory.available": DEFAULT_HARD["memory.available"]},
            ),
            root,
            random=self.random,
            recorder=self.node_events.source("kubelet", name),
            device_drivers=make_drivers(settings.device_drivers, root),
        )
        self.nodes.add(agent)
        return agent

    def proxy(self) -> list[Component]:
        """Return what leads from the addresses of Services to Pods, and from their names to their addresses."""
        return ways_to_services(
            self.settings.proxy,
            self.client(pki.PROXY, PROXY),
            self.random,
            service_network=self.settings.service_network,
            names=self.names,
            here=lambda node: node.metadata.name in self.nodes.operations,
            on_engine=self.settings.runtime in ENGINES,
        )

    def scheduler(self) -> Component:
        """Return the scheduler, loaded once the cluster is ready. Raises ValueError for a policy that there is not."""
        policy = self.settings.policy
        if policy != DEFAULT_POLICY:
            from reference_cluster.scheduler import policy_named

            policy_named(policy)  # refused now, and not when it is loaded

        def make() -> Component:
            from kubelib.sched.guarding import Alarm
            from kubelib.sched.scheduler import Scheduler
            from reference_cluster.scheduler import policy_named

            return Scheduler(
                self.client(pki.SCHEDULER, SCHEDULER),
                random=self.random,
                clock=self.clock,
                policy=attrs.evolve(policy_named(policy), watch=Alarm()),
                recorder=self.scheduling_events.source("default-scheduler"),
            )

        return Later("scheduler", _load_what_is_not_needed_at_once, make)

    async def elastic(self, stack: AsyncExitStack, plan: "ElasticPlan") -> list[Component]:
        """Return what lets nodes come and go as `plan` says. Raises ValueError for options that nodes here do not have."""
        from kubelib.sched.elastic import Elastic, NodeProvider
        from kubelib.sched.elastic.plugins import provider_named

        components: list[Component] = []
        local = await self._local_nodes(plan)
        if plan.provider == "local":
            if plan.options:
                raise ValueError("Nodes in this process have no options: those are for kubelib elastic.")
            components.append(local)
            provider: NodeProvider = local
        else:
            opening = provider_named(plan.provider, {})
            provider = await stack.enter_async_context(opening(plan.templates, plan.options))
        recorder = self.scheduling_events.source("elastic")
        components.append(
            Elastic(
                self.client(pki.ADMIN, ELASTIC),
                provider,
                random=self.random,
                settings=plan.settings,
                recorder=recorder,
            )
        )
        return components

    async def _local_nodes(self, plan: "ElasticPlan") -> "LocalProvider":
        """Return what starts and ends nodes in this process; those of the run before go on."""
        from kubelib.sched.elastic import TEMPLATE_LABEL, LocalProvider, ProvidedNode

        @asynccontextmanager
        async def open_node(name: str, template: "NodeTemplate") -> AsyncIterator[Component]:
            async with AsyncExitStack() as opened:
                agent = await self.agent(opened, name, template)
                try:
                    yield agent
                finally:
                    self.nodes.remove(name)

        async def dispose(name: str) -> None:
            # What DaemonSets had there would run on.
            await clear_node(self.settings.runtime, self.directory.node(name), self.settings.isolation)

        known = await self.client(pki.ADMIN, ELASTIC).resource(Node).list()
        return LocalProvider(
            plan.templates,
            open_node,
            dispose=dispose,
            resume=[
                ProvidedNode(node.metadata.name, node.metadata.labels[TEMPLATE_LABEL])
                for node in known.items
                if TEMPLATE_LABEL in node.metadata.labels
            ],
        )


def _on_networks(
    settings: ClusterSettings, directory: DataDirectory, stack: AsyncExitStack
) -> ClusterSettings:
    """Return the settings with the networks of Pods and Services in them; they are the cluster's own as long as `stack` is open."""
    pods, services = settings.pod_network, settings.service_network
    if not (pods and services):
        apart = own_pod_networks(settings.isolation) and not is_loopback(pods)
        routed = apart or settings.runtime in ENGINES
        own = (
            pair(0, routed=routed, pods_routed=apart)
            if settings.store
            else stack.enter_context(own_networks(directory, routed=routed, pods_routed=apart))
        )
        pods, services = pods or own.pods, services or own.services
    return attrs.evolve(
        settings,
        pod_network=pods,
        service_network=services,
        isolation=with_network(settings.isolation, pods),
    )


@asynccontextmanager
async def run_cluster(directory: DataDirectory, settings: ClusterSettings) -> AsyncIterator[RunningCluster]:
    """Run a cluster while the context is open. Its Pods go on when it is closed, and are found again when it is reopened."""
    clock, nodes = SYSTEM_CLOCK, LocalNodes(SYSTEM_CLOCK)
    async with AsyncExitStack() as stack:
        settings = _on_networks(settings, directory, stack)
        server = await stack.enter_async_context(
            run_api_server(
                store=settings.store or directory.store_url,
                pki_directory=directory.pki,
                listen=settings.listen,
                service_cidr=settings.service_network,
                nodes=nodes,
                tokens=settings.tokens,
                admission=settings.admission,
                access=settings.access,
                clock=clock,
            )
        )
        kubeconfig = server.kubeconfig(directory.admin_kubeconfig, "admin", pki.ADMIN)
        names = NO_NAMES
        if settings.proxy != "none":
            stack.enter_context(local_addresses(settings.service_network))
            if settings.dns:
                names = await cluster_names(server.registries)
        parts = _Parts(
            directory=directory,
            settings=settings,
            server=server,
            nodes=nodes,
            clock=clock,
            random=system_random(),
            names=names,
        )
        await ensure_storage_class(server.registries)
        nodes_here = tuple(f"node-{number}" for number in range(1, settings.nodes + 1))
        agents = [await parts.agent(stack, name) for name in nodes_here]
        components = [parts.node_events, parts.scheduling_events, *parts.controllers(), *agents]
        if settings.proxy != "none":
            components += parts.proxy()
        components.append(parts.scheduler())
        if settings.elastic is not None:
            components += await parts.elastic(stack, settings.elastic)
        # Their runtimes are closed after the agents have ended: none starts anew what a runtime ends as it closes.
        async with running("cluster", components):
            yield RunningCluster(server=server, kubeconfig=kubeconfig, nodes=nodes_here)


def _load_what_is_not_needed_at_once() -> None:
    """Import what the first answers do not need, and later ones do: above all numpy, for the scheduler."""
    for name in ("kubelib.sched.scheduler", "cryptography.x509", "uvicorn.protocols.websockets.wsproto_impl"):
        importlib.import_module(name)


@asynccontextmanager
async def run_up(directory: DataDirectory, settings: ClusterSettings) -> AsyncIterator[str]:
    """Run a cluster while the context is open; yields the line that says that it is ready."""
    async with run_cluster(directory, settings) as cluster:
        count = f"{len(cluster.nodes)} node{'s' if len(cluster.nodes) != 1 else ''}"
        yield f"kubelib is ready at {cluster.server.url} with {count}: kubectl --kubeconfig {cluster.kubeconfig} get pods -A"
