"""The API server as a daemon: store, registries, certificates, listener."""

import csv
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs

from kubelib.api.core.node import Node
from kubelib.api.meta import Key
from kubelib.client.webhooks import HttpWebhooks
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.admission import Admission, default_admission
from kubelib.registry.base import User
from kubelib.registry.registries import SERVICE_CIDR, ResourceRegistries
from kubelib.registry.strategies.workloads import EVENT_LIFETIME
from kubelib.registry.webhooks.services import ServiceResolver
from kubelib.runtime.localnodes import LocalNodes
from kubelib.server import ApiServer
from kubelib.server.aggregation import FrontProxy
from kubelib.server.aggregation.trust import Trust
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.server.authn.bootstraptokens import BootstrapTokens
from kubelib.server.authn.requestheader import RequestHeaders
from kubelib.server.authn.tokens import ServiceAccountTokens
from kubelib.server.authz.bootstrap import ensure_policy
from kubelib.server.authz.modes import authorizer_of
from kubelib.server.crossorigin import CrossOrigin
from kubelib.server.listener import bind, serve
from kubelib.server.nodes import NodeProxy
from kubelib.server.resourcemetrics import ResourceMetrics
from kubelib.server.tls import Tls
from kubelib.server.transportsecurity import TransportSecurity
from kubelib.store import Store, open_store
from kubelib.store.encryption import Rule, encrypted
from kubelib.store.metering import StoreFigures, metered
from reference_cluster import pki
from reference_cluster.access import DEFAULT_ACCESS, AccessSettings
from reference_cluster.datadir import DataDirectory
from reference_cluster.networks import own_networks, pair
from reference_cluster.presence import Presence
from reference_cluster.remote_nodes import RemoteNodes
from reference_cluster.renewal import Renewal

DEFAULT_PORT = 6443
OWN_NAMES = (
    "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
)  # fmt: skip
"""What every API server is called, beside the addresses where clients find it."""
DAEMONS = {
    "controller-manager": pki.CONTROLLER_MANAGER,
    "scheduler": pki.SCHEDULER,
    "proxy": pki.PROXY,
    "elastic": pki.ELASTIC,
}
"""Whose kubeconfigs the API server writes beside the administrator's."""


@attrs.frozen(kw_only=True)
class RunningServer:
    """An API server that answers."""

    registries: ResourceRegistries
    app: ApiServer
    authority: pki.Authority
    renewal: Renewal
    urls: Sequence[str]
    """Where clients find it, and the other servers of its cluster."""

    @property
    def url(self) -> str:
        """The first of its addresses."""
        return self.urls[0]

    def kubeconfig(self, path: Path, name: str, identity: pki.Identity) -> Path:
        """Write a kubeconfig that acts as `identity`, and again whenever its certificate has to be another one."""
        self.renewal.keep_kubeconfig(path, name, identity)
        return path


class TokenFileError(ValueError):
    """The file of bearer tokens cannot be used; the message says why."""


def read_tokens(path: Path) -> dict[str, User]:
    """Read bearer tokens: lines of ``token,user,uid`` and, optionally, ``"group,group"``. Raises `TokenFileError`."""
    tokens: dict[str, User] = {}
    try:
        with path.open(newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if not row:
                    continue
                if len(row) < 3 or not row[0] or not row[1]:
                    raise TokenFileError(
                        f'{path}, line {number}: write token,user,uid and, if any, "group,group"'
                    )
                groups = (
                    tuple(group.strip() for group in row[3].split(",")) if len(row) > 3 and row[3] else ()
                )
                tokens[row[0]] = User(row[1], (*groups, "system:authenticated"), row[2])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TokenFileError(f"cannot read the tokens in {path}: {error}") from error
    return tokens


def parse_address(listen: str) -> tuple[str, int]:
    """Take ``HOST:PORT`` apart. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{listen!r} is not HOST:PORT, for example 127.0.0.1:6443")
    return host.strip("[]") or "127.0.0.1", int(port)


@asynccontextmanager
async def _open(
    url: str, encryption: Sequence[Rule], clock: Clock
) -> AsyncIterator[tuple[Store, StoreFigures]]:
    """Open a store, with the figures of what it is asked, and with what is encrypted in it readable."""
    async with open_store(url, clock=clock) as engine:
        counted = metered(engine)
        yield encrypted(counted, encryption), counted.figures


def _remote_nodes(registries: ResourceRegistries, authority: pki.Authority, renewal: Renewal) -> RemoteNodes:
    """Return the way to nodes in other processes, by what their Node objects say."""
    registry = registries.of(registries.scheme.of(Node))

    def node(name: str) -> Node | None:
        document = registry.cache.get(Key("", name))
        return document.view(Node) if document is not None else None

    return RemoteNodes(
        node,
        ca=authority.ca.read_bytes(),
        credential=renewal.keep(partial(authority.client, "apiserver-kubelet-client", pki.KUBELET_CLIENT)),
    )


def _front_proxy(
    access: AccessSettings, directory: Path, clock: Clock, renewal: Renewal
) -> tuple[RequestHeaders, FrontProxy]:
    """Return whom the server believes for whom they ask, and as whom it asks others: by an authority of its own if nothing is said."""
    if access.request_headers is not None and access.front_proxy is not None:
        return access.request_headers, access.front_proxy
    authority = pki.Authority(directory, clock)
    own = renewal.keep(partial(authority.client, "front-proxy-client", pki.FRONT_PROXY))
    return (
        access.request_headers or RequestHeaders(ca=authority.ca, names=(pki.FRONT_PROXY.user,)),
        access.front_proxy or FrontProxy(own.cert, own.key),
    )


def _application(
    registries: ResourceRegistries,
    access: AccessSettings,
    authority: pki.Authority,
    clock: Clock,
    *,
    nodes: NodeProxy,
    address: str,
    tokens: Mapping[str, User],
    request_headers: RequestHeaders,
    front_proxy: FrontProxy,
    storage: StoreFigures,
) -> ApiServer:
    """Return the API server over the registries, with all the ways to authenticate that a cluster has."""
    signer = access.signer(authority.signing_key("sa"), clock)
    app = ApiServer(
        registries,
        nodes=nodes,
        address=address,
        authenticator=Authenticator(
            [
                StaticTokens(tokens),
                ServiceAccountTokens(signer, registries),
                BootstrapTokens(registries),
                *access.providers(clock),
            ],
            anonymous=access.anonymous,
        ),
        authorizer=authorizer_of(registries, access.modes),
        tokens=signer,
        fair=access.fair,
        concurrency=access.concurrency,
        request_timeout=access.request_timeout,
        auditor=access.auditor(clock),
        front_proxy=front_proxy,
        request_headers=request_headers,
        storage=storage,
    )
    app.watches.shortest = access.watch_time
    app.aggregator.add(ResourceMetrics(app, clock))
    return app


def _in_browsers(app: Any, access: AccessSettings) -> Any:
    """Return the application with what only browsers take notice of."""
    if access.origins:
        app = CrossOrigin(app, access.origins)
    return TransportSecurity(app, access.security_directives) if access.security_directives else app


@asynccontextmanager
async def run_api_server(
    *,
    store: str,
    pki_directory: Path,
    listen: str,
    public: str = "",
    service_cidr: str = SERVICE_CIDR,
    nodes: LocalNodes | None = None,
    tokens: Mapping[str, User] | None = None,
    admission: Sequence[Admission] | None = None,
    access: AccessSettings = DEFAULT_ACCESS,
    clock: Clock = SYSTEM_CLOCK,
) -> AsyncIterator[RunningServer]:
    """Serve the API while the context is open; clients reach it at `public`, one address or several with commas, where that is said.

    `nodes` are those in this process; others are reached over HTTPS. `admission` are the plug-ins of admission, those of
    kube-apiserver when nothing is said.
    """
    admission = default_admission() if admission is None else admission
    host, port = parse_address(listen)
    addresses = list(filter(None, public.split(",")))
    listening = bind(host, port)
    try:
        async with (
            _open(store, access.encryption, clock) as (opened, figures),
            ResourceRegistries(
                opened, clock=clock, admission=admission, service_cidr=service_cidr
            ) as registries,
            HttpWebhooks(ServiceResolver(registries)) as registries.webhooks,
        ):
            await registries.bootstrap()
            registries.set_commit_policies(access.commit_policies)
            if access.event_lifetime != EVENT_LIFETIME:
                registries.keep_events(access.event_lifetime)
            await ensure_policy(registries)
            bound, port = listening.getsockname()[:2]
            authority = pki.Authority(pki_directory, clock)
            shown = f"[{host}]" if ":" in host else ("127.0.0.1" if host == "0.0.0.0" else host)
            urls = [f"https://{a}" for a in addresses or [f"{shown}:{port}"]]
            renewal = Renewal(authority, urls)
            remote = _remote_nodes(registries, authority, renewal)
            if nodes is not None:
                nodes.elsewhere = remote
            request_headers, front_proxy = _front_proxy(access, pki_directory / "front-proxy", clock, renewal)
            trust = Trust(registries, request_headers, (authority.ca, *access.client_cas))
            await trust.publish()
            app = _application(
                registries,
                access,
                authority,
                clock,
                nodes=nodes or remote,
                address=f"{shown}:{port}",
                tokens=tokens or {},
                request_headers=request_headers,
                front_proxy=front_proxy,
                storage=figures,
            )
            names = dict.fromkeys(
                [
                    host,
                    *(parse_address(address)[0] for address in addresses),
                    *OWN_NAMES,
                    registries.api_service_address,
                ]
            )
            credential = renewal.keep(partial(authority.server, "apiserver", tuple(names)))
            tls = Tls(
                credential.cert,
                credential.key,
                authority.ca,
                request_headers,
                access.client_cas,
                access.tls_minimum,
                access.tls_ciphers,
                access.named_certificates,
            )
            presence = Presence(registries, "127.0.0.1" if bound == "0.0.0.0" else bound, port)
            await presence.show()
            async with anyio.create_task_group() as group:
                for component in app.components:
                    await group.start(component.run)
                if registries.shared:
                    await group.start(presence.run)
                group.start_soon(trust.run)
                group.start_soon(renewal.run)
                async with serve(
                    _in_browsers(app, access),
                    listening,
                    tls,
                    stop=app.stop_watches,
                    handshake_failed=app.figures.handshake_failed,
                ):
                    try:
                        yield RunningServer(
                            registries=registries,
                            app=app,
                            authority=authority,
                            renewal=renewal,
                            urls=urls,
                        )
                    finally:
                        app.stopping = True
                        await presence.leave()
                        await anyio.sleep(access.shutdown_delay)
                group.cancel_scope.cancel()
    finally:
        listening.close()


@asynccontextmanager
async def run_apiserver(
    directory: DataDirectory,
    *,
    store: str,
    listen: str,
    public: str = "",
    service_network: str = "",
    tokens: Mapping[str, User] | None = None,
    admission: Sequence[Admission] | None = None,
    access: AccessSettings = DEFAULT_ACCESS,
) -> AsyncIterator[str]:
    """Serve the API while the context is open, and write the kubeconfigs of the administrator and the other daemons."""
    async with AsyncExitStack() as stack:
        if not service_network:  # API servers that share a store also share the network
            own = pair(0) if store else stack.enter_context(own_networks(directory))
            service_network = own.services
        server = await stack.enter_async_context(
            run_api_server(
                store=store or directory.store_url,
                pki_directory=directory.pki,
                listen=listen,
                public=public,
                service_cidr=service_network,
                tokens=tokens,
                admission=admission,
                access=access,
            )
        )
        admin = server.kubeconfig(directory.admin_kubeconfig, "admin", pki.ADMIN)
        for name, identity in DAEMONS.items():
            server.kubeconfig(directory.path / f"{name}.kubeconfig", name, identity)
        yield f"kube-apiserver is ready at {server.url}: kubectl --kubeconfig {admin} get nodes"
