"""A whole cluster in one process: API server, controllers, scheduler, nodes and service proxy, wired together."""

import importlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs

from kubelib.api.core.node import Node
from kubelib.client import LocalClient
from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.manager import Manager
from kubelib.informers import Component
from kubelib.registry.admission import Admission
from kubelib.registry.base import User
from kubelib.runtime.localnodes import LocalNodes
from kubelib.runtime.node import is_loopback
from kubelib.server.exchange import get_from
from reference_cluster import pki
from reference_cluster.access import DEFAULT_ACCESS, AccessSettings
from reference_cluster.apiserver import RunningServer, run_api_server
from reference_cluster.daemon import Later
from reference_cluster.datadir import DataDirectory
from reference_cluster.networks import local_addresses, own_networks, pair
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

if TYPE_CHECKING:
    from kubelib.sched.elastic import NodeTemplate
    from reference_cluster.elastic import ElasticPlan

log = logging.getLogger("kubelib")

DEFAULT_POLICY = "default"


@attrs.frozen(kw_only=True)
class ClusterSettings:
    """What a cluster in one process is made of."""

    listen: str = "127.0.0.1:6443"
    store: str = ""
    """The URL of the store; empty: SQLite in the data directory."""
    runtime: str = "process"
    isolation: IsolationSettings = NO_ISOLATION
    nodes: int = 1
    elastic: "ElasticPlan | None" = None
    """Which nodes come and go as Pods need them, beside the others; None: none."""
    proxy: str = "userspace"
    """``userspace`` or ``none``."""
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


def _user(identity: pki.Identity) -> User:
    return User(identity.user, (*identity.groups, "system:authenticated"))


@asynccontextmanager
async def run_cluster(directory: DataDirectory, settings: ClusterSettings) -> AsyncIterator[RunningCluster]:
    """Run a cluster while the context is open. Its Pods go on when it is closed, and are found again when it is reopened."""
    clock, random = SYSTEM_CLOCK, system_random()
    nodes = LocalNodes(clock)
    async with AsyncExitStack() as stack:
        if not (settings.pod_network and settings.service_network):
            apart = own_pod_networks(settings.isolation) and not is_loopback(settings.pod_network)
            routed = apart or settings.runtime in ENGINES
            own = (
                pair(0, routed=routed, pods_routed=apart)
                if settings.store
                else stack.enter_context(own_networks(directory, routed=routed, pods_routed=apart))
            )
            settings = attrs.evolve(
                settings,
                pod_network=settings.pod_network or own.pods,
                service_network=settings.service_network or own.services,
            )
        settings = attrs.evolve(settings, isolation=with_network(settings.isolation, settings.pod_network))
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
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)

        def client(identity: pki.Identity) -> LocalClient:
            return LocalClient(server.registries, user=_user(identity), manager=identity.user)

        events = EventRecorder(client(pki.ADMIN), clock=clock, random=random)
        components: list[Component] = [events]
        from kubelib.controllers.autoscaling.asking import AskedMetrics
        from kubelib.controllers.builtin import builtin_controllers
        from kubelib.controllers.certificates import CertificateAuthority
        from kubelib.controllers.provisioning import DirectoryProvisioner
        from reference_cluster.storage_class import ensure_storage_class

        await ensure_storage_class(server.registries)
        components += builtin_controllers(
            client(pki.CONTROLLER_MANAGER),
            clock=clock,
            random=random,
            root_ca=server.authority.ca.read_text(),
            provisioners=[DirectoryProvisioner(directory.volumes)],
            metrics=AskedMetrics(partial(get_from, server.app, _user(pki.CONTROLLER_MANAGER))),
            authority=CertificateAuthority(*server.authority.pair()),
        )
        names = tuple(f"node-{number}" for number in range(1, settings.nodes + 1))
        components += [
            await _agent(stack, name, directory, settings, client, events, nodes) for name in names
        ]
        if settings.proxy == "userspace":
            from kubelib.network.userspace import ServiceProxy

            stack.enter_context(local_addresses(settings.service_network))
            components.append(ServiceProxy(client(pki.PROXY), random=random))
        if settings.policy != DEFAULT_POLICY:
            from reference_cluster.scheduler import policy_named

            policy_named(settings.policy)  # refused now, and not when it is loaded

        def scheduler() -> Component:
            from kubelib.sched.guarding import Alarm
            from kubelib.sched.scheduler import Scheduler
            from reference_cluster.scheduler import policy_named

            return Scheduler(
                client(pki.SCHEDULER),
                random=random,
                clock=clock,
                policy=attrs.evolve(policy_named(settings.policy), watch=Alarm()),
                recorder=events.source("default-scheduler"),
            )

        components.append(Later("scheduler", _load_what_is_not_needed_at_once, scheduler))
        if settings.elastic is not None:
            from kubelib.sched.elastic import (
                TEMPLATE_LABEL,
                Elastic,
                LocalProvider,
                NodeProvider,
                ProvidedNode,
            )
            from kubelib.sched.elastic.plugins import provider_named

            @asynccontextmanager
            async def open_node(name: str, template: "NodeTemplate") -> AsyncIterator[Component]:
                async with AsyncExitStack() as opened:
                    agent = await _agent(
                        opened, name, directory, settings, client, events, nodes, template=template
                    )
                    try:
                        yield agent
                    finally:
                        nodes.remove(name)

            async def dispose(name: str) -> None:
                # What DaemonSets had there would run on.
                await clear_node(settings.runtime, directory.node(name), settings.isolation)

            known = await client(pki.ADMIN).resource(Node).list()
            local = LocalProvider(
                settings.elastic.templates,
                open_node,
                dispose=dispose,
                resume=[
                    ProvidedNode(node.metadata.name, node.metadata.labels[TEMPLATE_LABEL])
                    for node in known.items
                    if TEMPLATE_LABEL in node.metadata.labels
                ],
            )
            if settings.elastic.provider == "local":
                if settings.elastic.options:
                    raise ValueError("Nodes in this process have no options: those are for kubelib elastic.")
                components.append(local)
                provider: NodeProvider = local
            else:
                opening = provider_named(settings.elastic.provider, {})
                provider = await stack.enter_async_context(
                    opening(settings.elastic.templates, settings.elastic.options)
                )
            components += [
                Elastic(
                    client(pki.ADMIN),
                    provider,
                    random=random,
                    settings=settings.elastic.settings,
                    recorder=events.source("elastic"),
                ),
            ]
        await group.start(Manager(components, name="cluster").run)
        yield RunningCluster(server=server, kubeconfig=kubeconfig, nodes=names)


def _load_what_is_not_needed_at_once() -> None:
    """Import what the first answers do not need, and later ones do: above all numpy, for the scheduler."""
    for name in ("kubelib.sched.scheduler", "cryptography.x509", "uvicorn.protocols.websockets.wsproto_impl"):
        importlib.import_module(name)


async def _agent(
    stack: AsyncExitStack,
    name: str,
    directory: DataDirectory,
    settings: ClusterSettings,
    client: Callable[[pki.Identity], LocalClient],
    events: EventRecorder,
    nodes: LocalNodes,
    *,
    template: "NodeTemplate | None" = None,
) -> Component:
    from kubelib.runtime.agent import NodeAgent
    from kubelib.runtime.eviction import DEFAULT_HARD
    from kubelib.runtime.settings import NodeSettings

    root = directory.node(name)
    runtime = await stack.enter_async_context(open_runtime(settings.runtime, root, settings.isolation))
    agent = NodeAgent(
        client(pki.node_identity(name)),
        runtime,
        NodeSettings(
            name=name,
            labels=template.node(name).metadata.labels if template is not None else {},
            taints=template.taints if template is not None else (),
            capacity=template.capacity if template is not None else {},
            pod_network=settings.pod_network,
            annotations=node_annotations(settings.runtime, settings.isolation),
            pids_limit=settings.isolation.pids,
            # The disk is its owner's, who may like it full.
            eviction_hard={"memory.available": DEFAULT_HARD["memory.available"]},
        ),
        root,
        random=system_random(),
        recorder=events.source("kubelet", name),
    )
    nodes.add(agent)
    return agent


@asynccontextmanager
async def run_up(directory: DataDirectory, settings: ClusterSettings) -> AsyncIterator[str]:
    """Run a cluster while the context is open; yields the line that says that it is ready."""
    async with run_cluster(directory, settings) as cluster:
        count = f"{len(cluster.nodes)} node{'s' if len(cluster.nodes) != 1 else ''}"
        yield f"kubelib is ready at {cluster.server.url} with {count}: kubectl --kubeconfig {cluster.kubeconfig} get pods -A"
