"""What a test cluster consists of, and what runs in its thread: see `kubelib.testing.cluster.Cluster`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.builtin import SCHEME
from kubelib.api.meta import Key
from kubelib.api.scheme import Scheme
from kubelib.client import LocalClient
from kubelib.client.webhooks import HttpWebhooks
from kubelib.network.apiservice import ensure_kubernetes_service
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import Admission, default_admission
from kubelib.registry.base import User
from kubelib.registry.webhooks.services import ServiceResolver
from kubelib.runtime.fake import Rule, lives_on
from kubelib.server import ApiServer
from kubelib.server.aggregation import FrontProxy
from kubelib.server.aggregation.trust import Trust
from kubelib.server.authn import Authenticator
from kubelib.server.authn.bootstraptokens import BootstrapTokens
from kubelib.server.authn.requestheader import RequestHeaders
from kubelib.server.authn.tokens import ServiceAccountTokens, TokenKey, TokenSigner
from kubelib.server.authz.bootstrap import ensure_policy
from kubelib.server.listener import bind, serve
from kubelib.server.tls import Tls
from kubelib.store import MemoryStore, Snapshot
from kubelib.testing.certificates import Authority
from kubelib.testing.clocks import MovableClock
from kubelib.testing.faults import FaultyLine, LaggingStore
from kubelib.testing.manifests import Source, Tree, apply_tree, read_manifests
from kubelib.testing.users import Tokens

if TYPE_CHECKING:
    from kubelib.controllers.events import EventRecorder
    from kubelib.informers import Component
    from kubelib.runtime.fake import FakeRuntime
    from kubelib.runtime.localnodes import LocalNodes

HOST = "127.0.0.1"
FRONT_PROXY = "front-proxy-client"
MASTERS = ("system:masters",)
CAPACITY = {"cpu": "32", "memory": "256Gi", "pods": "250"}
"""The room of a fake node."""


@attrs.frozen(kw_only=True)
class ClusterOptions:
    """What runs beside the API server, and what is in it from the beginning."""

    controllers: bool = False
    """The built-in controllers."""
    scheduler: bool = False
    fake_nodes: int = 0
    """Nodes with the real agent on a fake runtime: Pods there become Running, and nothing runs."""
    rule: Rule = lives_on
    """How containers on the fake nodes live; `kubelib.runtime.lives` makes rules of cases."""
    crds: Sequence[Source] = ()
    """Files and folders with CustomResourceDefinitions; the cluster is ready when all of them are established."""
    manifests: Sequence[Source] = ()
    """Files and folders with other objects, applied after the definitions."""
    scheme: Scheme = SCHEME
    """The kinds that are served: the built-in ones, and what has been added to them in Python."""
    admission: Sequence[Admission] | None = None
    """The plug-ins of admission. None: kube-apiserver's, without those that need controllers where there are none."""
    seed: int = 0
    """From which UIDs, generated names and other chance are drawn."""


class Host:
    """The store, the registries, the API server on its two ports, and the components beside it.

    All that is here belongs to the cluster's thread, and is there from the moment that `running` is entered.
    """

    def __init__(
        self, options: ClusterOptions, directory: Path, *, clock: MovableClock, authority: Authority
    ) -> None:
        self.options = options
        self.directory = directory
        self.clock = clock
        self.random = Random(options.seed)
        self.authority = authority
        self.tokens = Tokens()
        """Who is known by which bearer token."""
        self.runtimes: dict[str, FakeRuntime] = {}
        """The fake nodes' runtimes, by the node's name."""
        self.store: MemoryStore
        self.registries: ResourceRegistries
        self.client: LocalClient
        self.app: ApiServer
        self.line: FaultyLine
        """What requests over HTTP come through."""
        self.group: TaskGroup
        """Tasks that end with the cluster."""
        self.url = ""
        self.https_url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all of it while the context is open: on entry it is ready."""
        options = self.options
        plain, listening = bind(HOST, 0), bind(HOST, 0)
        try:
            async with (
                MemoryStore(clock=self.clock) as self.store,
                self._registries() as self.registries,
                HttpWebhooks(ServiceResolver(self.registries)) as self.registries.webhooks,
            ):
                await self.registries.bootstrap()
                await ensure_policy(self.registries)
                self.client = LocalClient(self.registries)
                await self.apply([tree for source in options.crds for tree in read_manifests(source)])
                port = listening.getsockname()[1]
                self.url = f"http://{HOST}:{plain.getsockname()[1]}"
                self.https_url = f"https://{HOST}:{port}"
                nodes = self._nodes()
                self.app = self._api_server(port, nodes)
                await Trust(self.registries, self._request_headers(), [self._ca_file()]).publish()
                await ensure_kubernetes_service(self.registries, [(HOST, port)])
                self.line = FaultyLine(self.app)
                async with AsyncExitStack() as stack:
                    await self._start_components(stack, nodes)
                    await self.apply(
                        [tree for source in options.manifests for tree in read_manifests(source)]
                    )
                    for socket, tls in ((plain, None), (listening, self._tls())):
                        await stack.enter_async_context(
                            serve(
                                self.line,
                                socket,
                                tls,
                                stop=self.app.stop_watches,
                                handshake_failed=self.app.figures.handshake_failed,
                            )
                        )
                    yield
        finally:
            plain.close()
            listening.close()

    # Objects

    async def apply(self, trees: Sequence[Tree], namespace: str = "default") -> list[Tree]:
        """Apply objects as server-side apply does; wait until definitions of custom resources are served."""
        applied = []
        for tree in trees:
            applied.append(await apply_tree(self.registries, tree, namespace=namespace))
            if tree["kind"] == "CustomResourceDefinition":
                await self._established(tree["metadata"]["name"])
        return applied

    async def _established(self, name: str, within: float = 60.0) -> None:
        resource = self.registries.scheme.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        definitions = self.registries.of(resource)
        conditions: list[Tree] = []
        with anyio.move_on_after(within):
            while True:
                tree = (await definitions.get(Key("", name))).tree()
                conditions = (tree.get("status") or {}).get("conditions") or []
                if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                    return
                await anyio.sleep(0.005)
        raise TimeoutError(
            f"the CustomResourceDefinition {name} is not established after {within} s: {conditions}"
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Put the store and what is served from memory back, in one step of the loop."""
        revision = self.store.restore(snapshot)
        # Nothing is awaited in between: no request sees the one without the other.
        self.registries.cache.reload(snapshot.entries.values(), revision)

    # Parts

    def _registries(self) -> ResourceRegistries:
        admission = self.options.admission
        if admission is None and self.options.controllers:
            # Nothing runs in the Pods here that would use a token.
            admission = default_admission(mount_tokens=False)
        return ResourceRegistries(
            self.store,
            scheme=self.options.scheme,
            clock=self.clock,
            random=self.random,
            admission=admission,
        )

    def _nodes(self) -> "LocalNodes | None":
        if not self.options.fake_nodes:
            return None
        from kubelib.runtime.localnodes import LocalNodes

        return LocalNodes(self.clock)

    def _api_server(self, port: int, nodes: "LocalNodes | None") -> ApiServer:
        signer = TokenSigner(TokenKey.generated(), clock=self.clock)
        tokens = ServiceAccountTokens(signer, self.registries)
        app = ApiServer(
            self.registries,
            authenticator=Authenticator([self.tokens, tokens, BootstrapTokens(self.registries)]),
            nodes=nodes,
            address=f"{HOST}:{port}",
            tokens=signer,
            front_proxy=FrontProxy(*self.authority.client(FRONT_PROXY).write(self.directory, FRONT_PROXY)),
            request_headers=self._request_headers(),
        )
        if nodes is not None:
            from kubelib.server.resourcemetrics import ResourceMetrics

            app.aggregator.add(ResourceMetrics(app, self.clock))
        return app

    def _tls(self) -> Tls:
        certificate, key = self.authority.server(HOST, "localhost").write(self.directory, "apiserver")
        return Tls(certificate, key, self._ca_file(), self._request_headers())

    def _request_headers(self) -> RequestHeaders:
        return RequestHeaders(ca=self._ca_file(), names=(FRONT_PROXY,))

    def _ca_file(self) -> Path:
        path = self.directory / "ca.crt"
        if not path.exists():
            path.write_bytes(self.authority.certificate)
        return path

    async def _start_components(self, stack: AsyncExitStack, nodes: "LocalNodes | None") -> None:
        options = self.options
        components: list[Component] = []
        if options.controllers or options.scheduler or options.fake_nodes:
            from kubelib.controllers.events import EventRecorder

            events = EventRecorder(self._client("kubelet"), clock=self.clock, random=self.random)
            components.append(events)
        if options.controllers:
            components += self._controllers()
        if options.scheduler:
            from kubelib.sched.scheduler import Scheduler

            client = self._client("kube-scheduler")
            decisions = EventRecorder(client, clock=self.clock, random=self.random, name="scheduling-events")
            recorder = decisions.source("default-scheduler")
            components.append(decisions)
            components.append(Scheduler(client, random=self.random, clock=self.clock, recorder=recorder))
        for number in range(options.fake_nodes):
            components.append(await self._agent(stack, f"node-{number}", nodes, events))
        self.group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(self.group.cancel_scope.cancel)
        for beside in self.app.components:
            await self.group.start(beside.run)
        if components:
            from kubelib.controllers.manager import Manager

            await self.group.start(Manager(components, name="test-cluster").run)

    def _client(self, program: str) -> LocalClient:
        # Managed fields show the writers that there are in a cluster of several programs.
        return LocalClient(self.registries, manager=program)

    def _controllers(self) -> "list[Component]":
        from kubelib.controllers.autoscaling.asking import AskedMetrics
        from kubelib.controllers.builtin import builtin_controllers
        from kubelib.controllers.certificates import CertificateAuthority
        from kubelib.server.exchange import request_from

        certificate = self.authority.certificate
        request = partial(request_from, self.app, User("kubelib:controllers", MASTERS))
        return builtin_controllers(
            self._client("kube-controller-manager"),
            clock=self.clock,
            random=self.random,
            root_ca=certificate.decode(),
            metrics=AskedMetrics(partial(request, "GET")),
            request=request,
            authority=CertificateAuthority(certificate, self.authority.key),
        )

    async def _agent(
        self, stack: AsyncExitStack, name: str, nodes: "LocalNodes | None", events: "EventRecorder"
    ) -> "Component":
        from kubelib.runtime.agent import NodeAgent
        from kubelib.runtime.fake import FakeRuntime
        from kubelib.runtime.settings import NodeSettings

        assert nodes is not None
        runtime = FakeRuntime(self.options.rule, random=self.random, clock=self.clock)
        self.runtimes[name] = await stack.enter_async_context(runtime)
        agent = NodeAgent(
            self._client("kubelet"),
            runtime,
            NodeSettings(name=name, capacity=CAPACITY),
            self.directory / "nodes" / name,
            random=self.random,
            clock=self.clock,
            recorder=events.source("kubelet", name),
        )
        nodes.add(agent)
        return agent

    # Faults

    async def start_replica(self) -> "Replica":
        """Run a second API server on the same store, which hears of nothing that happens from now on."""
        replica: Replica = await self.group.start(self._run_replica)
        return replica

    async def _run_replica(self, *, task_status: "TaskStatus[Replica]" = TASK_STATUS_IGNORED) -> None:
        lagging = LaggingStore(self.store)
        async with ResourceRegistries(
            lagging, clock=self.clock, random=self.random, admission=()
        ) as registries:
            await lagging.hold()
            first = self.app
            app = ApiServer(
                registries, authenticator=first.authenticator, authorizer=first.authorizer, nodes=first.nodes
            )
            replica = Replica(app)
            task_status.started(replica)
            await replica.released.wait()
            app.stop_watches()
            lagging.catch_up()
        replica.ended.set()

    async def start_listener(self, app: Any, tls: Tls) -> int:
        """Serve another application over TLS until the cluster ends; return its port."""
        port: int = await self.group.start(self._listen, app, tls)
        return port

    @staticmethod
    async def _listen(app: Any, tls: Tls, *, task_status: TaskStatus[int] = TASK_STATUS_IGNORED) -> None:
        listening = bind(HOST, 0)
        try:
            async with serve(app, listening, tls) as port:
                task_status.started(port)
                await anyio.sleep_forever()
        finally:
            listening.close()


@attrs.define(eq=False)
class Replica:
    """An API server that lags behind, until it is released."""

    app: ApiServer
    released: anyio.Event = attrs.Factory(anyio.Event)
    ended: anyio.Event = attrs.Factory(anyio.Event)

    async def end(self) -> None:
        """Release it, and wait until it has gone."""
        self.released.set()
        await self.ended.wait()
