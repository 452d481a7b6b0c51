"""The commands that run for long: the whole cluster, or one of its daemons."""

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reference_cluster.datadir import (
    DataDirectory,
    DataDirectoryError,
    default_data_directory,
    open_data_directory,
)

if TYPE_CHECKING:
    from kubelib.registry.base import User
    from reference_cluster.pki import Authority


def run(daemon: Callable[[], AbstractAsyncContextManager[str]]) -> None:
    """Run a daemon on the fastest event loop until a signal; end with one sentence for what the user can mend."""
    import anyio

    from kubelib.client.kubeconfig import KubeconfigError
    from kubelib.server.listener import CannotListen
    from kubelib.store import StoreError
    from reference_cluster.daemon import serve_until_signalled

    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        anyio.run(lambda: serve_until_signalled(daemon()), backend_options={"use_uvloop": _has_uvloop()})
    except BaseException as error:
        mendable = _first(error, (CannotListen, StoreError, DataDirectoryError, KubeconfigError, ValueError))
        if mendable is None:
            raise
        raise click.ClickException(str(mendable)) from None


def _first(error: BaseException, kinds: tuple[type[Exception], ...]) -> BaseException | None:
    """Return the first error of one of some kinds, in an exception group or on its own."""
    if isinstance(error, kinds):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if (found := _first(inner, kinds)) is not None:
                return found
    return None


def _has_uvloop() -> bool:
    import importlib.util

    return importlib.util.find_spec("uvloop") is not None


data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), default=default_data_directory, show_default="~/.local/share/kubelib",
    help="Where everything that the cluster keeps is.",
)  # fmt: skip
listen = click.option(
    "--listen",
    default="127.0.0.1:6443",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the API answers.",
)
store = click.option(
    "--store", default="", metavar="URL", help="The store (default: SQLite in the data directory)."
)


token_file = click.option(
    "--token-auth-file", "token_file", type=click.Path(path_type=Path), metavar="FILE",
    help='Bearer tokens: lines of token,user,uid,"group,group".',
)  # fmt: skip
runtime = click.option("--runtime", default="process", show_default=True, help="What runs containers.")
pod_network = click.option(
    "--pod-network",
    default="127.244.0.0/16",
    show_default=True,
    metavar="CIDR",
    help="Where Pods get their addresses: a /24 for each node. Two clusters on one machine want two networks.",
)
service_network = click.option(
    "--service-network",
    default="127.96.0.0/16",
    show_default=True,
    metavar="CIDR",
    help="Where Services get their addresses.",
)
policy = click.option(
    "--policy", default="default", show_default=True, help="How the scheduler chooses nodes."
)
leader_elect = click.option(
    "--leader-elect/--no-leader-elect",
    default=True,
    show_default=True,
    help="Work only while holding the lease: of several, one does.",
)
kubeconfig = click.option(
    "--kubeconfig", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="The API server, and as whom to talk to it.",
)  # fmt: skip


def _tokens(file: Path | None) -> "Mapping[str, User]":
    from reference_cluster.apiserver import TokenFileError, read_tokens

    try:
        return read_tokens(file) if file is not None else {}
    except TokenFileError as error:
        raise click.ClickException(str(error)) from None


def _network(option: str, text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}: write, for example, 127.244.0.0/16", param_hint=option) from None


def _in_directory(path: Path, daemon: "Callable[[DataDirectory], AbstractAsyncContextManager[str]]") -> None:
    try:
        with open_data_directory(path) as directory:
            run(lambda: daemon(directory))
    except DataDirectoryError as error:
        raise click.ClickException(str(error)) from None


@click.command(epilog="Example: kubelib up --data-dir ./cluster --nodes 3")
@data_dir
@listen
@store
@runtime
@click.option("--nodes", type=click.IntRange(0, 250), default=1, show_default=True, help="How many nodes.")
@click.option(
    "--proxy",
    type=click.Choice(["userspace", "none"]),
    default="userspace",
    show_default=True,
    help="How Services are reached.",
)
@policy
@pod_network
@service_network
@token_file
def up(
    data_dir: Path, listen: str, store: str, runtime: str, nodes: int, proxy: str, policy: str, pod_network: str,
    service_network: str, token_file: Path | None,
) -> None:  # fmt: skip
    """Run a whole cluster in this process, until SIGINT or SIGTERM.

    It writes DIR/admin.kubeconfig and prints one line when it is ready. Started again on the same directory, it goes on
    where it was: Pods that run are found, not started again.
    """
    from reference_cluster.up import ClusterSettings, run_up

    settings = ClusterSettings(
        listen=listen,
        store=store,
        runtime=runtime,
        nodes=nodes,
        proxy=proxy,
        policy=policy,
        pod_network=_network("--pod-network", pod_network),
        service_network=_network("--service-network", service_network),
        tokens=_tokens(token_file),
    )
    _in_directory(data_dir, lambda directory: run_up(directory, settings))


@click.command(epilog="Example: kubelib apiserver --data-dir ./master --listen 127.0.0.1:6443")
@data_dir
@listen
@store
@service_network
@token_file
def apiserver(data_dir: Path, listen: str, store: str, service_network: str, token_file: Path | None) -> None:
    """Run the API server, until SIGINT or SIGTERM.

    It writes DIR/admin.kubeconfig, and one each for the other daemons: DIR/controller-manager.kubeconfig,
    DIR/scheduler.kubeconfig, DIR/proxy.kubeconfig. What a node needs, `kubelib credentials node` makes.
    """
    from reference_cluster.apiserver import run_apiserver

    network, tokens = _network("--service-network", service_network), _tokens(token_file)
    _in_directory(
        data_dir,
        lambda directory: run_apiserver(
            directory, store=store, listen=listen, service_network=network, tokens=tokens
        ),
    )


@click.command(epilog="Example: kubelib scheduler --kubeconfig ./master/scheduler.kubeconfig")
@kubeconfig
@policy
@leader_elect
def scheduler(kubeconfig: Path, policy: str, leader_elect: bool) -> None:
    """Run the scheduler, until SIGINT or SIGTERM."""
    from reference_cluster.scheduler import run_scheduler

    run(lambda: run_scheduler(kubeconfig, policy=policy, elect=leader_elect))


@click.command(
    epilog="Example: kubelib controller-manager --kubeconfig ./master/controller-manager.kubeconfig"
)
@kubeconfig
@leader_elect
def controller_manager(kubeconfig: Path, leader_elect: bool) -> None:
    """Run the built-in controllers, until SIGINT or SIGTERM."""
    from reference_cluster.controller_manager import run_controller_manager

    run(lambda: run_controller_manager(kubeconfig, elect=leader_elect))


@click.command(
    epilog="Example: kubelib credentials node node-1 --data-dir ./master --out ./node-1, then "
    "kubelib kubelet node-1 --kubeconfig ./node-1/kubeconfig --data-dir ./node-1/data"
)
@click.argument("name")
@kubeconfig
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(path_type=Path),
    help="Where everything that the node keeps is.",
)
@runtime
@click.option("--address", default="127.0.0.1", show_default=True, help="The node's address.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=10250,
    show_default=True,
    help="Where the node answers; 0: any.",
)
@click.option(
    "--tls-cert-file",
    "cert",
    type=click.Path(path_type=Path),
    help="Default: kubelet.crt beside the kubeconfig.",
)
@click.option(
    "--tls-private-key-file",
    "key",
    type=click.Path(path_type=Path),
    help="Default: kubelet.key beside the kubeconfig.",
)
@click.option(
    "--client-ca-file", "ca", type=click.Path(path_type=Path), help="Default: ca.crt beside the kubeconfig."
)
@pod_network
def kubelet(
    name: str, kubeconfig: Path, data_dir: Path, runtime: str, address: str, port: int, cert: Path | None,
    key: Path | None, ca: Path | None, pod_network: str,
) -> None:  # fmt: skip
    """Run the node NAME, until SIGINT or SIGTERM. Its Pods go on, and are found again by the next start."""
    from reference_cluster.kubelet import KubeletSettings, run_kubelet

    files = {
        "--tls-cert-file": cert or kubeconfig.with_name("kubelet.crt"),
        "--tls-private-key-file": key or kubeconfig.with_name("kubelet.key"),
        "--client-ca-file": ca or kubeconfig.with_name("ca.crt"),
    }
    for option, file in files.items():
        if not file.is_file():
            raise click.ClickException(
                f"there is no {file}: use {option}, or `kubelib credentials node {name}` to make it"
            )
    network = _network("--pod-network", pod_network)

    def daemon(directory: DataDirectory) -> AbstractAsyncContextManager[str]:
        settings = KubeletSettings(
            name=name,
            root=directory.node(name),
            cert=files["--tls-cert-file"],
            key=files["--tls-private-key-file"],
            client_ca=files["--client-ca-file"],
            address=address,
            port=port,
            runtime=runtime,
            pod_network=network,
        )
        return run_kubelet(kubeconfig, settings)

    _in_directory(data_dir, daemon)


@click.command(epilog="Example: kubelib proxy --kubeconfig ./master/proxy.kubeconfig")
@kubeconfig
@click.option("--address", default="127.0.0.1", show_default=True, help="The node's address, for node ports.")
def proxy(kubeconfig: Path, address: str) -> None:
    """Run the service proxy, until SIGINT or SIGTERM."""
    from reference_cluster.proxy import run_proxy

    run(lambda: run_proxy(kubeconfig, node_address=address))


@click.group()
def credentials() -> None:
    """Make certificates for users and nodes, signed by the cluster's own authority."""


def _authority(data_dir: Path) -> "tuple[Authority, str]":
    """Return the authority in an API server's data directory, and where that server answers."""
    from kubelib.client.kubeconfig import KubeconfigError, load_connection
    from reference_cluster.pki import Authority

    admin = data_dir / "admin.kubeconfig"
    if not admin.is_file() or not (data_dir / "pki" / "ca.key").is_file():
        raise click.ClickException(
            f"{data_dir} has no certificate authority: name the data directory of an API server that has run"
        )
    try:
        return Authority(data_dir / "pki"), load_connection([admin]).server
    except KubeconfigError as error:
        raise click.ClickException(str(error)) from None


@credentials.command(
    "user", epilog="Example: kubelib credentials user jane --group dev --out jane.kubeconfig"
)
@click.argument("name")
@data_dir
@click.option("--group", "groups", multiple=True, help="A group of the user; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The kubeconfig to write.")
def user_credentials(name: str, data_dir: Path, groups: tuple[str, ...], out: Path) -> None:
    """Write a kubeconfig for the user NAME. What the user may do, role bindings say."""
    from kubelib.client.kubeconfig import write_kubeconfig
    from reference_cluster.pki import Identity

    authority, server = _authority(data_dir)
    credential = authority.client(f"user-{_file_name(name)}", Identity(name, groups))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_kubeconfig(out, server=server, user=name, ca=authority.ca, cert=credential.cert, key=credential.key)


@credentials.command(
    "node", epilog="Example: kubelib credentials node node-1 --data-dir ./master --out ./node-1"
)
@click.argument("name")
@data_dir
@click.option(
    "--address",
    "addresses",
    multiple=True,
    default=("127.0.0.1",),
    show_default=True,
    help="An address or host name of the node; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The directory to write to.")
def node_credentials(name: str, data_dir: Path, addresses: tuple[str, ...], out: Path) -> None:
    """Write what the node NAME needs: kubeconfig, kubelet.crt, kubelet.key, ca.crt."""
    import shutil

    from kubelib.client.kubeconfig import write_kubeconfig
    from reference_cluster.pki import node_identity

    authority, server = _authority(data_dir)
    client = authority.client(f"node-{_file_name(name)}", node_identity(name))
    serving = authority.server(f"kubelet-{_file_name(name)}", (name, *addresses))
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_kubeconfig(
        out / "kubeconfig",
        server=server,
        user=f"system:node:{name}",
        ca=authority.ca,
        cert=client.cert,
        key=client.key,
    )
    for source, target in (
        (serving.cert, "kubelet.crt"),
        (serving.key, "kubelet.key"),
        (authority.ca, "ca.crt"),
    ):
        shutil.copy(source, out / target)  # with its mode: keys stay readable by their owner alone


def _file_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise click.ClickException(
            f"{name!r} cannot be used here: choose a name that does not begin with a dot or hold a /"
        )
    return name
