"""A whole cluster in one process: API server, controllers, scheduler, nodes and service proxy, wired together."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import attrs

from kubelib.client import LocalClient
from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.manager import Manager
from kubelib.informers import Component
from kubelib.registry.base import User
from kubelib.registry.registries import SERVICE_CIDR
from reference_cluster import pki
from reference_cluster.apiserver import RunningServer, run_api_server
from reference_cluster.datadir import DataDirectory
from reference_cluster.nodes import LocalNodes

log = logging.getLogger("kubelib")


@attrs.frozen(kw_only=True)
class ClusterSettings:
    """What a cluster in one process is made of."""

    listen: str = "127.0.0.1:6443"
    store: str = ""
    """The URL of the store; empty: SQLite in the data directory."""
    runtime: str = "process"
    nodes: int = 1
    proxy: str = "userspace"
    """``userspace`` or ``none``."""
    policy: str = "default"
    pod_network: str = "127.244.0.0/16"
    service_network: str = SERVICE_CIDR
    tokens: Mapping[str, User] = attrs.field(factory=dict)
    """Bearer tokens, and whom each stands for."""


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
        server = await stack.enter_async_context(
            run_api_server(
                store=settings.store or directory.store_url,
                pki_directory=directory.pki,
                listen=settings.listen,
                service_cidr=settings.service_network,
                nodes=nodes,
                tokens=settings.tokens,
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
        # numpy takes longer to import than all else that is left to do: a thread begins with it now.
        async with anyio.create_task_group() as imports:
            imports.start_soon(anyio.to_thread.run_sync, _import_scheduler)
            from kubelib.controllers.builtin import builtin_controllers

            components += builtin_controllers(
                client(pki.CONTROLLER_MANAGER),
                clock=clock,
                random=random,
                root_ca=server.authority.ca.read_text(),
            )
        from kubelib.sched.policies import POLICIES
        from kubelib.sched.scheduler import Scheduler

        components.append(
            Scheduler(
                client(pki.SCHEDULER),
                random=random,
                clock=clock,
                policy=POLICIES[settings.policy](),
                recorder=events.source("default-scheduler"),
            )
        )
        names = tuple(f"node-{number}" for number in range(1, settings.nodes + 1))
        components += [
            await _agent(stack, name, directory, settings, client, events, nodes) for name in names
        ]
        if settings.proxy == "userspace":
            from kubelib.network.userspace import ServiceProxy

            components.append(ServiceProxy(client(pki.PROXY), random=random))
        await group.start(Manager(components, name="cluster").run)
        yield RunningCluster(server=server, kubeconfig=kubeconfig, nodes=names)


def _import_scheduler() -> None:
    import kubelib.sched.scheduler  # noqa: F401


async def _agent(
    stack: AsyncExitStack,
    name: str,
    directory: DataDirectory,
    settings: ClusterSettings,
    client: Callable[[pki.Identity], LocalClient],
    events: EventRecorder,
    nodes: LocalNodes,
) -> Component:
    from kubelib.runtime.agent import NodeAgent, NodeSettings
    from kubelib.runtime.operations import PodOperations
    from reference_cluster.runtimes import open_runtime

    root = directory.node(name)
    runtime = await stack.enter_async_context(open_runtime(settings.runtime, root))
    agent = NodeAgent(
        client(pki.node_identity(name)),
        runtime,
        NodeSettings(name=name, pod_network=settings.pod_network),
        root,
        random=system_random(),
        recorder=events.source("kubelet", name),
    )
    nodes.operations[name] = PodOperations(agent)
    return agent


@asynccontextmanager
async def run_up(directory: DataDirectory, settings: ClusterSettings) -> AsyncIterator[str]:
    """Run a cluster while the context is open; yields the line that says that it is ready."""
    async with run_cluster(directory, settings) as cluster:
        count = f"{len(cluster.nodes)} node{'s' if len(cluster.nodes) != 1 else ''}"
        freeze_after_start()
        yield f"kubelib is ready at {cluster.server.url} with {count}: kubectl --kubeconfig {cluster.kubeconfig} get pods -A"


def freeze_after_start() -> None:
    """Take what start-up has made out of the garbage collector's sight: it stays anyway."""
    import gc

    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
