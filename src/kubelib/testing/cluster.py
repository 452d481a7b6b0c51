"""A real API server in the test's own process, ready in a fraction of a second.

    with Cluster(controllers=True, fake_nodes=2) as cluster:
        cluster.kubectl("get", "nodes")

Under pytest the fixture `kubelib_cluster` is one of these.
"""

import base64
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import attrs

from kubelib.client import Client, LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User
from kubelib.runtime.fake import Rule
from kubelib.server import ApiServer
from kubelib.server.tls import Tls
from kubelib.store import Snapshot
from kubelib.testing.certificates import Authority
from kubelib.testing.clocks import MovableClock
from kubelib.testing.faults import Fault
from kubelib.testing.hosting import HOST, MASTERS, Host, Replica
from kubelib.testing.hosting import ClusterOptions as ClusterOptions
from kubelib.testing.kubectl import Kubectl
from kubelib.testing.manifests import Source, Tree, apply_tree, read_manifests
from kubelib.testing.users import ClusterUser, rights
from kubelib.testing.webhooks import EVERYTHING, Review, Webhook, WebhookApp, configuration

if TYPE_CHECKING:
    from kubelib.client.http import HttpClient
    from kubelib.informers import Component

T = TypeVar("T")


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
        self._users: dict[str, ClusterUser] = {}
        self._authority = Authority()
        self._host: Host | None = None
        self._webhooks: WebhookApp | None = None
        self._webhook_port = 0
        self._portal: Any = None
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
        return self._hosted.client

    @property
    def registries(self) -> ResourceRegistries:
        """The registries behind the API; they belong to the cluster's thread as well."""
        return self._hosted.registries

    @property
    def app(self) -> ApiServer:
        """The API server as an ASGI application."""
        return self._hosted.app

    @property
    def random(self) -> Random:
        """The chance of everything in the cluster, drawn from the seed of its options."""
        return self._hosted.random

    @property
    def _hosted(self) -> Host:
        assert self._host is not None, "the cluster is not running"
        return self._host

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
        return wrapper(self.client, self._hosted.random, **options)

    def run(self, component: "Component") -> None:
        """Start a component in the cluster's thread; return once it is ready. It ends with the cluster."""
        self.call(self._hosted.group.start, component.run)

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
            token=self._hosted.tokens.add(User(name, everybody)),
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
        applied: list[Tree] = self.call(self._hosted.apply, trees, namespace)
        return applied

    def snapshot(self) -> Snapshot:
        """Return everything that the cluster holds; it costs next to nothing."""
        taken: Snapshot = self.call(self._hosted.store.snapshot)
        return taken

    def restore(self, snapshot: Snapshot) -> None:
        """Put the cluster back: the same objects with their names, UIDs and resource versions.

        The resource version of lists goes on, so that no version is ever given twice: watches, and lists that are to be
        continued, are told 410 and begin anew, as after a restore of etcd.
        """
        if any(fault.stale_app is not None for fault in self._hosted.line.faults):
            raise RuntimeError("end the stale reads before you restore")
        self.call(self._hosted.restore, snapshot)

    def eventually(self, check: Callable[[], T], *, within: float = 60.0, every: float = 0.02) -> T:
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
        for runtime in self._hosted.runtimes.values():
            runtime.rule = rule

    # Faults and webhooks

    @contextmanager
    def faults(self, **faults: Any) -> Iterator[Fault]:
        """Make a bad day for clients over HTTP while the context is open: ``latency=0.1``, ``errors={503: 0.2}``, …

        The words are those of `kubelib.testing.faults.Fault`, which is yielded and counts what has happened.
        """
        fault = Fault(**faults)
        host = self._hosted
        replica: Replica | None = None
        if fault.stale_reads:
            replica = self.call(host.start_replica)
            fault.stale_app = replica.app
        host.line.faults = (*host.line.faults, fault)
        try:
            yield fault
        finally:
            host.line.faults = tuple(f for f in host.line.faults if f is not fault)
            if replica is not None:
                self.call(replica.end)

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
            self._webhook_port = self.call(self._hosted.start_listener, self._webhooks, Tls(*credential))
        self._webhooks.reviews[path] = review
        return Webhook(
            url=f"https://{HOST}:{self._webhook_port}{path}",
            ca_bundle=base64.b64encode(self.ca).decode(),
            asked=self._webhooks.asked.setdefault(path, []),
        )

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
        host = self._host = Host(self.options, self.directory, clock=self.clock, authority=self._authority)
        async with host.running(), anyio.from_thread.BlockingPortal() as portal:
            self._portal = portal
            self.url, self.https_url = host.url, host.https_url
            self._users["admin"] = self._enrolled("admin", MASTERS, path=self.kubeconfig)
            self._stop = anyio.Event()
            self._ready.set()
            await self._stop.wait()
