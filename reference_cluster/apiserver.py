"""The API server as a daemon: store, registries, certificates, listener."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from kubelib.client.kubeconfig import write_kubeconfig
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.registries import SERVICE_CIDR, ResourceRegistries
from kubelib.server import ApiServer
from kubelib.server.authz.bootstrap import ensure_policy
from kubelib.server.listener import Tls, bind, serve
from kubelib.server.nodes import NodeProxy
from kubelib.store import open_store
from reference_cluster import pki

DEFAULT_PORT = 6443


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
    nodes: NodeProxy | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> AsyncIterator[RunningServer]:
    """Serve the API while the context is open."""
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
            app = ApiServer(registries, nodes=nodes, address=f"{shown}:{port}")
            tls = Tls(credential.cert, credential.key, authority.ca)
            async with serve(app, listening, tls, stop=app.stop_watches):
                yield RunningServer(
                    registries=registries, app=app, authority=authority, url=f"https://{shown}:{port}"
                )
    finally:
        listening.close()
