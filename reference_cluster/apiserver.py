"""The API server as a daemon: store, registries, certificates, listener."""

import csv
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from kubelib.api.core.node import Node
from kubelib.api.meta import Key
from kubelib.client.kubeconfig import write_kubeconfig
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.base import User
from kubelib.registry.registries import SERVICE_CIDR, ResourceRegistries
from kubelib.server import ApiServer
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.server.authz.bootstrap import ensure_policy
from kubelib.server.listener import Tls, bind, serve
from kubelib.store import open_store
from reference_cluster import pki
from reference_cluster.datadir import DataDirectory
from reference_cluster.kubernetes_service import ensure_kubernetes_service
from reference_cluster.nodes import LocalNodes
from reference_cluster.remote_nodes import RemoteNodes

DEFAULT_PORT = 6443
DAEMONS = {
    "controller-manager": pki.CONTROLLER_MANAGER,
    "scheduler": pki.SCHEDULER,
    "proxy": pki.PROXY,
}
"""Whose kubeconfigs the API server writes beside the administrator's."""


@attrs.frozen(kw_only=True)
class RunningServer:
    """An API server that answers."""

    registries: ResourceRegistries
    app: ApiServer
    authority: pki.Authority
    url: str

    def kubeconfig(self, path: Path, name: str, identity: pki.Identity) -> Path:
        """Write a kubeconfig that acts as `identity`."""
        credential = self.authority.client(name, identity)
        write_kubeconfig(
            path,
            server=self.url,
            user=identity.user,
            ca=self.authority.ca,
            cert=credential.cert,
            key=credential.key,
        )
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
                tokens[row[0]] = User(row[1], (*groups, "system:authenticated"))
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
async def run_api_server(
    *,
    store: str,
    pki_directory: Path,
    listen: str,
    service_cidr: str = SERVICE_CIDR,
    nodes: LocalNodes | None = None,
    tokens: Mapping[str, User] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> AsyncIterator[RunningServer]:
    """Serve the API while the context is open. `nodes` are those in this process; others are reached over HTTPS."""
    host, port = parse_address(listen)
    listening = bind(host, port)
    try:
        async with (
            open_store(store, clock=clock) as opened,
            ResourceRegistries(opened, clock=clock, service_cidr=service_cidr) as registries,
        ):
            await registries.bootstrap()
            await ensure_policy(registries)
            port = listening.getsockname()[1]
            authority = pki.Authority(pki_directory, clock)
            names = [
                host, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local", registries.api_service_address,
            ]  # fmt: skip
            credential = authority.server("apiserver", dict.fromkeys(names))
            shown = f"[{host}]" if ":" in host else ("127.0.0.1" if host == "0.0.0.0" else host)
            node_registry = registries.of(registries.scheme.of(Node))

            def node(name: str) -> Node | None:
                document = node_registry.cache.get(Key("", name))
                return document.view(Node) if document is not None else None

            remote = RemoteNodes(
                node,
                ca=authority.ca.read_bytes(),
                credential=authority.client("apiserver-kubelet-client", pki.KUBELET_CLIENT),
            )
            if nodes is not None:
                nodes.elsewhere = remote
            app = ApiServer(
                registries,
                nodes=nodes or remote,
                address=f"{shown}:{port}",
                authenticator=Authenticator([StaticTokens(tokens)] if tokens else ()),
            )
            tls = Tls(credential.cert, credential.key, authority.ca)
            bound = listening.getsockname()[0]
            await ensure_kubernetes_service(registries, "127.0.0.1" if bound == "0.0.0.0" else bound, port)
            async with serve(app, listening, tls, stop=app.stop_watches):
                yield RunningServer(
                    registries=registries, app=app, authority=authority, url=f"https://{shown}:{port}"
                )
    finally:
        listening.close()


@asynccontextmanager
async def run_apiserver(
    directory: DataDirectory,
    *,
    store: str,
    listen: str,
    service_network: str = SERVICE_CIDR,
    tokens: Mapping[str, User] | None = None,
) -> AsyncIterator[str]:
    """Serve the API while the context is open, and write the kubeconfigs of the administrator and the other daemons."""
    async with run_api_server(
        store=store or directory.store_url,
        pki_directory=directory.pki,
        listen=listen,
        service_cidr=service_network,
        tokens=tokens,
    ) as server:
        admin = server.kubeconfig(directory.admin_kubeconfig, "admin", pki.ADMIN)
        for name, identity in DAEMONS.items():
            server.kubeconfig(directory.path / f"{name}.kubeconfig", name, identity)
        yield f"kube-apiserver is ready at {server.url}: kubectl --kubeconfig {admin} get nodes"
