"""A real API server in the test's own process, ready in a fraction of a second.

    with Cluster(controllers=True, fake_nodes=2) as cluster:
        cluster.kubectl("get", "nodes")

Under pytest the fixture `kubelib_cluster` is one of these.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.builtin import SCHEME
from kubelib.api.core.node import Node, NodeCondition, NodeStatus
from kubelib.api.meta import ObjectMeta
from kubelib.api.scheme import Scheme
from kubelib.client import Client, LocalClient
from kubelib.client.webhooks import HttpWebhooks
from kubelib.network.apiservice import ensure_kubernetes_service
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import Admission, default_admission
from kubelib.registry.base import User
from kubelib.registry.webhooks.services import ServiceResolver
from kubelib.runtime.fake import Rule, lives_on
from kubelib.server import ApiServer
from kubelib.server.aggregation import FrontProxy
from kubelib.server.aggregation.registrations import publish_authentication
from kubelib.server.authn import Authenticator
from kubelib.server.authn.bootstraptokens import BootstrapTokens
from kubelib.server.authn.requestheader import RequestHeaders
from kubelib.server.authn.tokens import ServiceAccountTokens, TokenKey, TokenSigner
from kubelib.server.authz.bootstrap import ensure_policy
from kubelib.server.listener import Tls, bind, serve
from kubelib.store import MemoryStore, Snapshot
from kubelib.testing.certificates import Authority
from kubelib.testing.clocks import MovableClock
from kubelib.testing.faults import Fault, FaultyLine, LaggingStore
from kubelib.testing.kubectl import Kubectl
from kubelib.testing.manifests import Source, Tree, apply_tree, read_manifests
from kubelib.testing.users import ClusterUser, Tokens, rights
from kubelib.testing.webhooks import EVERYTHING, Review, Webhook, WebhookApp, configuration

if TYPE_CHECKING:
    from kubelib.client.http import HttpClient
    from kubelib.informers import Component
    from kubelib.runtime.fake import FakeRuntime

T = TypeVar("T")

HOST = "127.0.0.1"
FRONT_PROXY = "front-proxy-client"
MASTERS = ("system:masters",)


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


class Cluster:
    """An API server on a random port of the loopback interface, in a thread of its own, over a store of its own.

    A context manager, ``with`` and ``async with``. What it writes is in `directory`, or in a temporary one that it removes.
    Options are those of `ClusterOptions`, by name or as a whole.
    """

    def __init__(
        self, directory: Path | None = None, options: ClusterOptions | None = None, **changes: Any
    ) -> None:
        self.options = attrs.evolve(options or ClusterOptions(), **changes)
        self._temporary = directory is None
        self.directory = directory if directory is not None else Path()
        self.url = ""
        """Where it is reached without TLS, by those who send the token by themselves."""
        self.https_url = ""
        """Where it is reached with TLS, as kubeconfigs say."""
        self.clock = MovableClock()
        """The date of everything in the cluster: ``cluster.clock.advance(days=400)``."""
        self.random = Random(self.options.seed)
        self._tokens = Tokens()
        self._users: dict[str, ClusterUser] = {}
        self._authority = Authority()
        self._runtimes: dict[str, FakeRuntime] = {}
        self._webhooks: WebhookApp | None = None
        self._webhook_port = 0
        self._portal: Any = None
        self._client: LocalClient | None = None
        self._thread = threading.Thread(target=self._main, name="kubelib-test-cluster")
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    # Life

    def start(self) -> None:
        """Start, and return when the cluster is ready. Raises what keeps it from starting."""
        if self._temporary:
            self.directory = Path(tempfile.mkdtemp(prefix="kubelib-"))
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            self._clean_up()
            raise self._failure

    def stop(self) -> None:
        """End everything that runs in the cluster; raise the failure of what did not last until now."""
        if self._failure is None:
            self._portal.call(self._stop.set)
        self._thread.join()
        self._clean_up()
        if self._failure is not None:
            raise self._failure

    @property
    def failed(self) -> bool:
        """Whether something that runs in the cluster has failed, and ended it: `stop` raises what it was."""
        return self._failure is not None

    def _clean_up(self) -> None:
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.stop)

    # Reaching it

    @property
    def client(self) -> LocalClient:
        """The API in process. Its calls belong to the cluster's thread: make them through `call`."""
        assert self._client is not None, "the cluster is not running"
        return self._client

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function, asynchronous or not, in the cluster's thread, and return its result."""
        return self._portal.call(function, *arguments)

    async def acall(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Do the same for an asynchronous test, whose loop goes on meanwhile."""
        return await anyio.to_thread.run_sync(self.call, function, *arguments)

    @property
    def admin(self) -> ClusterUser:
        """The cluster's administrator."""
        return self._users["admin"]

    @property
    def kubeconfig(self) -> Path:
        """The path of a kubeconfig for the cluster's administrator."""
        return self.directory / "kubeconfig"

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self.admin.token

    @property
    def ca(self) -> bytes:
        """The certificate by which HTTPS of this cluster is trusted, as PEM text."""
        return self._authority.certificate

    @property
    def kubectl(self) -> Kubectl:
        """Real kubectl as the administrator: ``cluster.kubectl("get", "pods")``; ``.path``, ``.environment``."""
        return Kubectl(self.kubeconfig, self.directory / "home")

    def http_client(self) -> "HttpClient":
        """Return a client over HTTP for asynchronous tests, as the administrator: use it with ``async with``."""
        return self.admin.http_client()

    def client_with(self, wrapper: Callable[..., Client], /, **options: Any) -> Client:
        """Return the API in process behind hardship: ``cluster.client_with(Lossy, rate=0.1)``; see `kubelib.sim.hardship`.

        For controllers that run in the cluster's thread (`run`).
        """
        return wrapper(self.client, self.random, **options)

    def run(self, component: "Component") -> None:
        """Start a component in the cluster's thread; return once it is ready. It ends with the cluster."""
        self.call(self._group.start, component.run)

    # Users

    def user(
        self,
        name: str,
        *,
        groups: Sequence[str] = (),
        roles: Sequence[str] = (),
        rules: Sequence[Mapping[str, Any]] = (),
        namespace: str = "",
        certificate: bool = False,
    ) -> ClusterUser:
        """Return a user, and let it do what cluster roles say, and `rules`, in one namespace or (without) everywhere.

        The same name is the same user: more roles can be given later. It has a bearer token or, if asked for, a client
        `certificate`.
        """
        user = self._users.get(name)
        other = user is None or (groups and user.groups != tuple(groups))
        if user is None or other or (certificate and user.credential is None):
            user = self._users[name] = self._enrolled(name, tuple(groups), certificate=certificate)
        for tree in rights(name, roles=roles, rules=rules, namespace=namespace):
            self.call(apply_tree, self.registries, tree)
        return user

    def kubeconfig_for(self, user: str, **rights: Any) -> Path:
        """Return the path of a kubeconfig for a user, who is made when there is none of that name; see `user`."""
        return self.user(user, **rights).kubeconfig

    def _enrolled(
        self, name: str, groups: tuple[str, ...], *, certificate: bool = False, path: Path | None = None
    ) -> ClusterUser:
        if path is None:
            safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
            path = self.directory / f"{safe}.{len(self._users)}.kubeconfig"
        everybody = (*groups, "system:authenticated")
        user = ClusterUser(
            name=name,
            groups=groups,
            server=self.https_url,
            kubeconfig=path,
            token=self._tokens.add(User(name, everybody)),
            credential=self._authority.client(name, groups) if certificate else None,
            ca=self.ca,
        )
        user.write_kubeconfig()
        return user

    # Objects

    def apply(self, source: Source, *, namespace: str = "default") -> list[Tree]:
        """Apply objects from a file, a folder, YAML text or trees, as server-side apply does; return them as stored.

        Raises ApiError. Definitions of custom resources are waited for.
        """
        trees = read_manifests(source)
        applied: list[Tree] = self.call(self._apply, trees, namespace)
        return applied

    async def _apply(self, trees: Sequence[Tree], namespace: str = "default") -> list[Tree]:
        applied = []
        for tree in trees:
            applied.append(await apply_tree(self.registries, tree, namespace=namespace))
            if tree["kind"] == "CustomResourceDefinition":
                await self._established(tree["metadata"]["name"])
        return applied

    async def _established(self, name: str, within: float = 10.0) -> None:
        """Wait until a CustomResourceDefinition is served."""
        from kubelib.api.meta import Key

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

    def snapshot(self) -> Snapshot:
        """Return everything that the cluster holds; it costs next to nothing."""
        taken: Snapshot = self.call(self._store.snapshot)
        return taken

    def restore(self, snapshot: Snapshot) -> None:
        """Put the cluster back: the same objects with their names, UIDs and resource versions.

        The resource version of lists goes on, so that no version is ever given twice: watches, and lists that are to be
        continued, are told 410 and begin anew, as after a restore of etcd.
        """
        if any(fault.stale_app is not None for fault in self._line.faults):
            raise RuntimeError("end the stale reads before you restore")
        self.call(self._restore, snapshot)

    def _restore(self, snapshot: Snapshot) -> None:
        revision = self._store.restore(snapshot)
        # Nothing is awaited in between: no request sees the one without the other.
        self.registries.cache.reload(snapshot.entries.values(), revision)

    def eventually(self, check: Callable[[], T], *, within: float = 20.0, every: float = 0.02) -> T:
        """Call `check` until it returns something true, and return that. Its last AssertionError is raised at the end."""
        end = time.monotonic() + within
        while True:
            failure: AssertionError | None = None
            try:
                if result := check():
                    return result
            except AssertionError as error:
                failure = error
            if time.monotonic() > end:
                raise failure or AssertionError(f"still not so after {within} s")
            time.sleep(every)

    # Nodes

    def set_rule(self, rule: Rule) -> None:
        """Change how containers live that start from now on."""
        for runtime in self._runtimes.values():
            runtime.rule = rule

    # Faults and webhooks

    @contextmanager
    def faults(self, **faults: Any) -> Iterator[Fault]:
        """Make a bad day for clients over HTTP while the context is open: ``latency=0.1``, ``errors={503: 0.2}``, …

        The words are those of `kubelib.testing.faults.Fault`, which is yielded and counts what has happened.
        """
        fault = Fault(**faults)
        replica: _Replica | None = None
        if fault.stale_reads:
            replica = self.call(self._group.start, self._run_replica)
            fault.stale_app = replica.app
        self._line.faults = (*self._line.faults, fault)
        try:
            yield fault
        finally:
            self._line.faults = tuple(f for f in self._line.faults if f is not fault)
            if replica is not None:
                self.call(replica.end)

    async def _run_replica(self, *, task_status: "TaskStatus[_Replica]" = TASK_STATUS_IGNORED) -> None:
        """Run a second API server on the same store, which hears of nothing that happens from now on."""
        lagging = LaggingStore(self._store)
        async with ResourceRegistries(
            lagging, clock=self.clock, random=self.random, admission=()
        ) as registries:
            await lagging.hold()
            first = self.app
            app = ApiServer(
                registries, authenticator=first.authenticator, authorizer=first.authorizer, nodes=first.nodes
            )
            replica = _Replica(app)
            task_status.started(replica)
            await replica.released.wait()
            app.stop_watches()
            lagging.catch_up()
        replica.ended.set()

    def webhook(
        self,
        review: Review,
        *,
        name: str = "test.kubelib.dev",
        mutating: bool = False,
        rules: Sequence[Mapping[str, Any]] = EVERYTHING,
        **fields: Any,
    ) -> Webhook:
        """Have a function answer the admission of what `rules` name: it is called with AdmissionReviews from now on.

        `fields` are those of a webhook's configuration, such as ``failurePolicy`` and ``namespaceSelector``. The function runs
        in a thread of the test's process. `kubelib.testing.webhooks` has `allowed`, `denied`, `mutated` and, for rules, `on`.
        """
        served = self.serve_webhook(review, path=f"/{'mutate' if mutating else 'validate'}/{name}")
        tree = configuration(served, name=name, mutating=mutating, rules=rules, **fields)
        self.call(apply_tree, self.registries, tree)
        return served

    def serve_webhook(self, review: Review, *, path: str) -> Webhook:
        """Serve a function over HTTPS without configuring anything to call it: for conversions, or your own manifests."""
        if self._webhooks is None:
            self._webhooks = WebhookApp()
            credential = self._authority.server(HOST, "localhost").write(self.directory, "webhooks")
            self._webhook_port = self.call(self._group.start, self._serve_webhooks, Tls(*credential))
        import base64

        self._webhooks.reviews[path] = review
        return Webhook(
            url=f"https://{HOST}:{self._webhook_port}{path}",
            ca_bundle=base64.b64encode(self.ca).decode(),
            asked=self._webhooks.asked.setdefault(path, []),
        )

    async def _serve_webhooks(self, tls: Tls, *, task_status: TaskStatus[int] = TASK_STATUS_IGNORED) -> None:
        listening = bind(HOST, 0)
        try:
            async with serve(self._webhooks, listening, tls) as port:
                task_status.started(port)
                await anyio.sleep_forever()
        finally:
            listening.close()

    # The cluster's thread

    def _main(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        async with self._running(), anyio.from_thread.BlockingPortal() as portal:
            self._portal = portal
            self._stop = anyio.Event()
            self._ready.set()
            await self._stop.wait()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        options = self.options
        plain, listening = bind(HOST, 0), bind(HOST, 0)
        try:
            async with (
                MemoryStore(clock=self.clock) as self._store,
                self._registries() as self.registries,
                HttpWebhooks(ServiceResolver(self.registries)) as self.registries.webhooks,
            ):
                await self.registries.bootstrap()
                await ensure_policy(self.registries)
                self._client = LocalClient(self.registries)
                await self._apply([tree for source in options.crds for tree in read_manifests(source)])
                signer = TokenSigner(TokenKey.generated(), clock=self.clock)
                port = listening.getsockname()[1]
                self.url = f"http://{HOST}:{plain.getsockname()[1]}"
                self.https_url = f"https://{HOST}:{port}"
                nodes = None
                if options.fake_nodes:
                    from kubelib.runtime.localnodes import LocalNodes

                    nodes = LocalNodes(self.clock)
                self.app = ApiServer(
                    self.registries,
                    authenticator=Authenticator(
                        [
                            self._tokens,
                            ServiceAccountTokens(signer, self.registries),
                            BootstrapTokens(self.registries),
                        ]
                    ),
                    nodes=nodes,
                    address=f"{HOST}:{port}",
                    tokens=signer,
                    front_proxy=self._front_proxy(),
                    request_headers=self._request_headers(),
                )
                if nodes is not None:
                    from kubelib.server.resourcemetrics import ResourceMetrics

                    self.app.aggregator.add(ResourceMetrics(self.app, self.clock))
                await publish_authentication(self.registries, self._request_headers(), self.ca.decode())
                await ensure_kubernetes_service(self.registries, [(HOST, port)])
                self._line = FaultyLine(self.app)
                async with AsyncExitStack() as stack:
                    await self._start_components(stack, nodes)
                    await self._apply(
                        [tree for source in options.manifests for tree in read_manifests(source)]
                    )
                    for socket, tls in ((plain, None), (listening, self._tls())):
                        await stack.enter_async_context(
                            serve(self._line, socket, tls, stop=self.app.stop_watches)
                        )
                    self._users["admin"] = self._enrolled("admin", MASTERS, path=self.kubeconfig)
                    yield
        finally:
            plain.close()
            listening.close()

    def _registries(self) -> ResourceRegistries:
        admission = self.options.admission
        if admission is None and self.options.controllers:
            # Nothing runs in the Pods here that would use a token.
            admission = default_admission(mount_tokens=False)
        return ResourceRegistries(
            self._store,
            scheme=self.options.scheme,
            clock=self.clock,
            random=self.random,
            admission=admission,
        )

    def _tls(self) -> Tls:
        certificate, key = self._authority.server(HOST, "localhost").write(self.directory, "apiserver")
        return Tls(certificate, key, self._ca_file(), self._request_headers())

    def _ca_file(self) -> Path:
        path = self.directory / "ca.crt"
        if not path.exists():
            path.write_bytes(self.ca)
        return path

    def _front_proxy(self) -> FrontProxy:
        return FrontProxy(*self._authority.client(FRONT_PROXY).write(self.directory, FRONT_PROXY))

    def _request_headers(self) -> RequestHeaders:
        return RequestHeaders(ca=self._ca_file(), names=(FRONT_PROXY,))

    async def _start_components(self, stack: AsyncExitStack, nodes: Any) -> None:
        options = self.options
        components: list[Component] = []
        if options.controllers or options.scheduler or options.fake_nodes:
            from kubelib.controllers.events import EventRecorder

            events = EventRecorder(self.client, clock=self.clock, random=self.random)
            components.append(events)
        if options.controllers:
            from kubelib.controllers.autoscaling.asking import AskedMetrics
            from kubelib.controllers.builtin import builtin_controllers
            from kubelib.controllers.certificates import CertificateAuthority
            from kubelib.server.exchange import get_from

            components += builtin_controllers(
                self.client,
                clock=self.clock,
                random=self.random,
                root_ca=self.ca.decode(),
                metrics=AskedMetrics(partial(get_from, self.app, User("kubelib:controllers", MASTERS))),
                authority=CertificateAuthority(self.ca, self._authority.key),
            )
        if options.scheduler:
            from kubelib.sched.scheduler import Scheduler

            recorder = events.source("default-scheduler")
            components.append(Scheduler(self.client, random=self.random, clock=self.clock, recorder=recorder))
        for number in range(options.fake_nodes):
            components.append(await self._agent(stack, f"node-{number}", nodes, events))
        self._group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(self._group.cancel_scope.cancel)
        for beside in self.app.components:
            await self._group.start(beside.run)
        if components:
            from kubelib.controllers.manager import Manager

            await self._group.start(Manager(components, name="test-cluster").run)

    async def _agent(self, stack: AsyncExitStack, name: str, nodes: Any, events: Any) -> "Component":
        from kubelib.runtime.agent import NodeAgent, NodeSettings
        from kubelib.runtime.fake import FakeRuntime

        runtime = FakeRuntime(self.options.rule, random=self.random, clock=self.clock)
        self._runtimes[name] = await stack.enter_async_context(runtime)
        agent = NodeAgent(
            self.client,
            runtime,
            NodeSettings(name=name, capacity=fake_node(name).status.capacity),
            self.directory / "nodes" / name,
            random=self.random,
            clock=self.clock,
            recorder=events.source("kubelet", name),
        )
        nodes.add(agent)
        return agent


@attrs.define(eq=False)
class _Replica:
    """An API server that lags behind, until it is released."""

    app: ApiServer
    released: anyio.Event = attrs.Factory(anyio.Event)
    ended: anyio.Event = attrs.Factory(anyio.Event)

    async def end(self) -> None:
        self.released.set()
        await self.ended.wait()


def fake_node(name: str, *, cpu: str = "32", memory: str = "256Gi", pods: str = "250") -> Node:
    """Return a node that is Ready and has room."""
    room = {"cpu": cpu, "memory": memory, "pods": pods}
    return Node(
        metadata=ObjectMeta(name=name, labels={"kubernetes.io/hostname": name}),
        status=NodeStatus(
            capacity=room,
            allocatable=room,
            conditions=(NodeCondition(type="Ready", status="True", reason="Fake"),),
        ),
    )


class TestCluster(Cluster):
    """The cluster under the name that it had first."""

    __test__ = False
