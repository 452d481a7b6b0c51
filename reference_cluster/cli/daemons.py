"""The commands that run for long: the whole cluster, or one of its daemons."""

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reference_cluster.cli.access import access_options
from reference_cluster.cli.isolation import isolation_options
from reference_cluster.cli.leadership import leadership_options
from reference_cluster.cli.registration import Registration, registration_options
from reference_cluster.datadir import (
    DataDirectory,
    DataDirectoryError,
    default_data_directory,
    open_data_directory,
)

if TYPE_CHECKING:
    from kubelib.controllers.election import Timing
    from kubelib.registry.admission import Admission
    from kubelib.registry.base import User
    from reference_cluster.access import AccessSettings
    from reference_cluster.elastic import ElasticPlan
    from reference_cluster.runtimes import IsolationSettings


def run(daemon: Callable[[], AbstractAsyncContextManager[str]]) -> None:
    """Run a daemon on the fastest event loop until a signal; end with one sentence for what the user can mend."""
    import anyio

    from kubelib.client.kubeconfig import KubeconfigError
    from kubelib.runtime.base import RuntimeUnavailable
    from kubelib.server.listener import CannotListen
    from kubelib.store import StoreError
    from reference_cluster.daemon import serve_until_signalled

    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("kubelib.controllers.election").setLevel(logging.INFO)  # who led when
    try:
        anyio.run(lambda: serve_until_signalled(daemon()), backend_options={"use_uvloop": _has_uvloop()})
    except BaseException as error:
        kinds = (
            CannotListen,
            StoreError,
            DataDirectoryError,
            KubeconfigError,
            RuntimeUnavailable,
            ValueError,
        )
        mendable = _first(error, kinds)
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
enable_plugins = click.option(
    "--enable-admission-plugins", "enable_plugins", default="", metavar="NAMES",
    help="Admission plug-ins beside the usual ones, separated by commas.",
)  # fmt: skip
disable_plugins = click.option(
    "--disable-admission-plugins", "disable_plugins", default="", metavar="NAMES",
    help="Admission plug-ins to do without, separated by commas.",
)  # fmt: skip
runtime = click.option("--runtime", default="process", show_default=True,
                       help="What runs containers: docker, fake, podman, process, or a plug-in.")  # fmt: skip
pod_network = click.option(
    "--pod-network",
    default="",
    metavar="CIDR",
    help="Where Pods get their addresses, a /24 for each node: 127.244.0.0/16, or 10.244.0.0/16 where they have networks of their own"
    " (--isolation pod). Two clusters on one machine want two networks.",
)
own_pod_network = click.option(
    "--pod-network",
    default="",
    metavar="CIDR",
    help="Where Pods get their addresses, a /24 for each node: 127.244.0.0/16, with --isolation pod 10.244.0.0/16, or a network that"
    " no other cluster here has.",
)
service_network = click.option(
    "--service-network",
    default="",
    metavar="CIDR",
    help="Where Services get their addresses: 127.96.0.0/16, or a network that no other cluster here has. Pods with networks of their"
    " own reach addresses that are not loopback ones, such as 10.96.0.0/16.",
)
policy = click.option(
    "--policy",
    default="default",
    show_default=True,
    help="How the scheduler chooses nodes: a policy's name, or a file with its profile (.yaml, .json).",
)
kubeconfig = click.option(
    "--kubeconfig", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="The API server, and as whom to talk to it.",
)  # fmt: skip


def _admission(enable: str, disable: str) -> "tuple[Admission, ...]":
    from kubelib.registry.admission import default_admission

    names = [[name.strip() for name in text.split(",") if name.strip()] for text in (enable, disable)]
    try:
        return default_admission(enable=names[0], disable=names[1])
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _tokens(file: Path | None) -> "Mapping[str, User]":
    from reference_cluster.apiserver import TokenFileError, read_tokens

    try:
        return read_tokens(file) if file is not None else {}
    except TokenFileError as error:
        raise click.ClickException(str(error)) from None


def _elastic(text: str) -> "ElasticPlan | None":
    if not text:
        return None
    from reference_cluster.elastic import read_plan

    try:
        return read_plan(text)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _network(option: str, text: str) -> str:
    import ipaddress

    if not text:
        return ""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}: write, for example, 127.244.0.0/16", param_hint=option) from None


def _addresses(option: str, text: str) -> tuple[str, ...]:
    import ipaddress

    try:
        return tuple(str(ipaddress.ip_address(part.strip())) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise click.BadParameter(f"{error}: write, for example, 10.96.0.10", param_hint=option) from None


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
@isolation_options
@click.option("--nodes", type=click.IntRange(0, 250), default=1, show_default=True, help="How many nodes.")
@click.option(
    "--elastic",
    default="",
    metavar="MIN:MAX|FILE",
    help="Nodes that come when Pods fit nowhere and go when they are not needed: so many of 1 cpu and 1Gi, or those of a file with templates.",
)
@click.option(
    "--proxy",
    type=click.Choice(["userspace", "nftables", "none"]),
    default="userspace",
    show_default=True,
    help="How Services are reached: by this process, by rules in the kernel (which needs root and nft), or not at all.",
)
@click.option(
    "--dns/--no-dns",
    default=True,
    show_default=True,
    help="Whether names of Services resolve in Pods, where this user may listen on port 53.",
)
@policy
@own_pod_network
@service_network
@token_file
@enable_plugins
@disable_plugins
@access_options
def up(
    data_dir: Path, listen: str, store: str, runtime: str, isolation: "IsolationSettings", nodes: int, elastic: str, proxy: str, dns: bool,
    policy: str, pod_network: str,
    service_network: str, token_file: Path | None, enable_plugins: str, disable_plugins: str, access: "AccessSettings",
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
        isolation=isolation,
        nodes=nodes,
        elastic=_elastic(elastic),
        proxy=proxy,
        dns=dns,
        policy=policy,
        pod_network=_network("--pod-network", pod_network),
        service_network=_network("--service-network", service_network),
        tokens=_tokens(token_file),
        admission=_admission(enable_plugins, disable_plugins),
        access=access,
    )
    _in_directory(data_dir, lambda directory: run_up(directory, settings))


@click.command(epilog="Example: kubelib apiserver --data-dir ./master --listen 127.0.0.1:6443")
@data_dir
@listen
@click.option(
    "--public-address",
    "public",
    metavar="HOST:PORT[,...]",
    default="",
    help="Where clients find it: what the kubeconfigs that it writes say, for example a load balancer. Of several"
    " addresses, of all API servers for example, kubelib's clients and nodes try one after the other; kubectl knows the first.",
)
@store
@service_network
@token_file
@enable_plugins
@disable_plugins
@access_options
def apiserver(
    data_dir: Path, listen: str, public: str, store: str, service_network: str, token_file: Path | None,
    enable_plugins: str, disable_plugins: str, access: "AccessSettings",
) -> None:  # fmt: skip
    """Run the API server, until SIGINT or SIGTERM.

    It writes DIR/admin.kubeconfig, and one each for the other daemons: DIR/controller-manager.kubeconfig,
    DIR/scheduler.kubeconfig, DIR/proxy.kubeconfig. What a node needs, `kubelib credentials node` makes.
    """
    from reference_cluster.apiserver import run_apiserver

    network, tokens = _network("--service-network", service_network), _tokens(token_file)
    admission = _admission(enable_plugins, disable_plugins)
    _in_directory(
        data_dir,
        lambda directory: run_apiserver(
            directory,
            store=store,
            listen=listen,
            public=public,
            service_network=network,
            tokens=tokens,
            admission=admission,
            access=access,
        ),
    )


@click.command(
    epilog="Example: kubelib controller-manager --kubeconfig ./master/controller-manager.kubeconfig"
)
@kubeconfig
@leadership_options
@click.option(
    "--cluster-signing-cert-file",
    "signing_cert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The authority that signs requests for certificates (default: pki/ca.crt beside the kubeconfig).",
)
@click.option(
    "--cluster-signing-key-file",
    "signing_key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Its key (default: pki/ca.key beside the kubeconfig).",
)
def controller_manager(
    kubeconfig: Path, leader_elect: bool | None, timing: "Timing", signing_cert: Path | None, signing_key: Path | None,
) -> None:  # fmt: skip
    """Run the built-in controllers, until SIGINT or SIGTERM."""
    from reference_cluster.controller_manager import run_controller_manager

    if (signing_cert is None) != (signing_key is None):
        raise click.ClickException("use --cluster-signing-cert-file and --cluster-signing-key-file together")
    signing = (signing_cert, signing_key) if signing_cert is not None and signing_key is not None else None
    elect = None if leader_elect is False else timing
    run(lambda: run_controller_manager(kubeconfig, elect=elect, signing=signing))


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
@isolation_options
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
@click.option(
    "--bootstrap-kubeconfig",
    "bootstrap",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="As whom to ask for the node's certificates; --kubeconfig is then written. See `kubelib token create`.",
)
@click.option(
    "--pod-manifest-path",
    "static_pods",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A directory of manifests: static Pods, which the node runs with or without an API server.",
)
@click.option(
    "--eviction-hard",
    metavar="SIGNAL<QUANTITY,...",
    help="Below what Pods are ended, for example memory.available<100Mi,nodefs.available<10%. Default: as the kubelet does it.",
)
@click.option(
    "--cluster-dns",
    default="",
    metavar="IP[,...]",
    help="Whom Pods ask for names, for example where `kubelib proxy --cluster-dns` answers.",
)
@pod_network
@registration_options
def kubelet(
    name: str, kubeconfig: Path, data_dir: Path, runtime: str, isolation: "IsolationSettings", address: str, port: int, cert: Path | None,
    key: Path | None, ca: Path | None, bootstrap: Path | None, static_pods: Path | None, eviction_hard: str | None, cluster_dns: str, pod_network: str,
    registration: "Registration",
) -> None:  # fmt: skip
    """Run the node NAME, until SIGINT or SIGTERM. Its Pods go on, and are found again by the next start."""
    from kubelib.runtime.eviction import parse_option
    from reference_cluster.kubelet import KubeletSettings, run_kubelet

    files = {
        "--tls-cert-file": cert or kubeconfig.with_name("kubelet.crt"),
        "--tls-private-key-file": key or kubeconfig.with_name("kubelet.key"),
        "--client-ca-file": ca or kubeconfig.with_name("ca.crt"),
    }
    for option, file in files.items():
        if not file.is_file() and bootstrap is None:
            raise click.ClickException(
                f"there is no {file}: use {option}, or `kubelib credentials node {name}` to make it"
            )
    network = _network("--pod-network", pod_network)
    try:
        thresholds = None if eviction_hard is None else parse_option(eviction_hard)
    except ValueError as error:
        raise click.ClickException(f"--eviction-hard: {error}") from None

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
            isolation=isolation,
            pod_network=network,
            bootstrap=bootstrap,
            static_pods=static_pods.absolute() if static_pods is not None else None,
            eviction_hard=thresholds,
            cluster_dns=_addresses("--cluster-dns", cluster_dns),
            labels=registration.labels,
            taints=registration.taints,
            capacity=registration.capacity,
        )
        return run_kubelet(kubeconfig, settings)

    _in_directory(data_dir, daemon)


@click.command(epilog="Example: kubelib proxy --kubeconfig ./master/proxy.kubeconfig")
@kubeconfig
@click.option("--address", default="127.0.0.1", show_default=True, help="The node's address, for node ports.")
@click.option(
    "--service-network",
    default="",
    metavar="CIDR",
    help="The API server's --service-network, if that is not one of loopback addresses: this machine then takes it for its own.",
)
@click.option(
    "--cluster-dns",
    default="",
    metavar="IP",
    help="An address of the services' network, for example its tenth, where it answers for the names of Services as well.",
)
@click.option(
    "--proxy-mode",
    "mode",
    type=click.Choice(["userspace", "nftables"]),
    default="userspace",
    show_default=True,
    help="How Services are reached: by this process, or by rules in the kernel, which needs root and nft.",
)
@click.option(
    "--pod-routes",
    is_flag=True,
    help="Make routes to the Pods of other nodes, whose machines are neighbours of this one; needs root.",
)
def proxy(
    kubeconfig: Path, address: str, service_network: str, cluster_dns: str, mode: str, pod_routes: bool
) -> None:
    """Run the service proxy, until SIGINT or SIGTERM."""
    from reference_cluster.proxy import run_proxy

    network = _network("--service-network", service_network)
    names = "".join(_addresses("--cluster-dns", cluster_dns)[:1])
    run(
        lambda: run_proxy(
            kubeconfig,
            node_address=address,
            service_network=network,
            cluster_dns=names,
            mode=mode,
            pod_routes=pod_routes,
        )
    )
