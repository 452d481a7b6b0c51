"""The commands that run for long: the whole cluster, or one of its daemons."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reference_cluster.cli import options, shapes
from reference_cluster.cli.access import access_options
from reference_cluster.cli.isolation import isolation_options
from reference_cluster.cli.leadership import leadership_options
from reference_cluster.cli.registration import Registration, registration_options
from reference_cluster.cli.running import run, run_in_directory
from reference_cluster.datadir import DataDirectory

if TYPE_CHECKING:
    from kubelib.controllers.election import Timing
    from reference_cluster.access import AccessSettings
    from reference_cluster.runtimes import IsolationSettings


@click.command(epilog="Example: kubelib up --data-dir ./cluster --nodes 3")
@options.data_dir
@options.listen
@options.store
@options.runtime
@isolation_options
@options.device_drivers
@shapes.number("--nodes", 1, "How many nodes.", most=250)
@shapes.text(
    "--elastic",
    "MIN:MAX|FILE",
    "Nodes that come when Pods fit nowhere and go when they are not needed: so many of 1 cpu and 1Gi, or those of a file with templates.",
)
@shapes.choice(
    "--proxy",
    ["userspace", "nftables", "none"],
    "How Services are reached: by this process, by rules in the kernel (which needs root and nft), or not at all.",
)
@click.option(
    "--dns/--no-dns",
    default=True,
    show_default=True,
    help="Whether names of Services resolve in Pods, where this user may listen on port 53.",
)
@options.policy
@options.own_pod_network
@options.service_network
@options.token_file
@options.enable_plugins
@options.disable_plugins
@access_options
def up(
    data_dir: Path, listen: str, store: str, runtime: str, isolation: "IsolationSettings", device_drivers: tuple[str, ...], nodes: int, elastic: str, proxy: str, dns: bool,
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
        device_drivers=device_drivers,
        nodes=nodes,
        elastic=options.elastic_plan(elastic),
        proxy=proxy,
        dns=dns,
        policy=policy,
        pod_network=options.network("--pod-network", pod_network),
        service_network=options.network("--service-network", service_network),
        tokens=options.tokens(token_file),
        admission=options.admission(enable_plugins, disable_plugins),
        access=access,
    )
    run_in_directory(data_dir, lambda directory: run_up(directory, settings))


@click.command(epilog="Example: kubelib apiserver --data-dir ./master --listen 127.0.0.1:6443")
@options.data_dir
@options.listen
@shapes.text(
    "--public-address",
    "HOST:PORT[,...]",
    "Where clients find it: what the kubeconfigs that it writes say, for example a load balancer. Of several"
    " addresses, of all API servers for example, kubelib's clients and nodes try one after the other; kubectl knows the first.",
    into="public",
)
@options.store
@options.service_network
@options.token_file
@options.enable_plugins
@options.disable_plugins
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

    network, tokens = options.network("--service-network", service_network), options.tokens(token_file)
    admission = options.admission(enable_plugins, disable_plugins)
    run_in_directory(
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
@options.kubeconfig
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
@shapes.text("--bind-address", "ADDRESS", "Where figures are shown.", default="127.0.0.1")
@shapes.number("--secure-port", 0, "The port of /metrics; 0: figures are not shown.", most=65535)
def controller_manager(
    kubeconfig: Path, leader_elect: bool | None, timing: "Timing", signing_cert: Path | None, signing_key: Path | None,
    bind_address: str, secure_port: int,
) -> None:  # fmt: skip
    """Run the built-in controllers, until SIGINT or SIGTERM."""
    from reference_cluster.controller_manager import run_controller_manager

    if (signing_cert is None) != (signing_key is None):
        raise click.ClickException("use --cluster-signing-cert-file and --cluster-signing-key-file together")
    signing = (signing_cert, signing_key) if signing_cert is not None and signing_key is not None else None
    elect = None if leader_elect is False else timing
    address = (bind_address, secure_port) if secure_port else None
    run(lambda: run_controller_manager(kubeconfig, elect=elect, signing=signing, address=address))


@click.command(
    epilog="Example: kubelib credentials node node-1 --data-dir ./master --out ./node-1, then "
    "kubelib kubelet node-1 --kubeconfig ./node-1/kubeconfig --data-dir ./node-1/data"
)
@click.argument("name")
@options.kubeconfig
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(path_type=Path),
    help="Where everything that the node keeps is.",
)
@options.runtime
@isolation_options
@click.option("--address", default="127.0.0.1", show_default=True, help="The node's address.")
@shapes.number("--port", 10250, "Where the node answers; 0: any.", most=65535)
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
@shapes.text(
    "--cluster-dns",
    "IP[,...]",
    "Whom Pods ask for names, for example where `kubelib proxy --cluster-dns` answers.",
)
@options.pod_network
@options.device_drivers
@registration_options
def kubelet(
    name: str, kubeconfig: Path, data_dir: Path, runtime: str, isolation: "IsolationSettings", address: str, port: int, cert: Path | None,
    key: Path | None, ca: Path | None, bootstrap: Path | None, static_pods: Path | None, eviction_hard: str | None, cluster_dns: str, pod_network: str,
    device_drivers: tuple[str, ...], registration: "Registration",
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
    network = options.network("--pod-network", pod_network)
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
            device_drivers=device_drivers,
            pod_network=network,
            bootstrap=bootstrap,
            static_pods=static_pods.absolute() if static_pods is not None else None,
            eviction_hard=thresholds,
            cluster_dns=options.addresses("--cluster-dns", cluster_dns),
            labels=registration.labels,
            taints=registration.taints,
            capacity=registration.capacity,
        )
        return run_kubelet(kubeconfig, settings)

    run_in_directory(data_dir, daemon)


@click.command(epilog="Example: kubelib proxy --kubeconfig ./master/proxy.kubeconfig")
@options.kubeconfig
@click.option("--address", default="127.0.0.1", show_default=True, help="The node's address, for node ports.")
@shapes.text(
    "--hostname-override",
    "NAME",
    "The node of this machine, whose endpoints are local; otherwise all nodes that have --address.",
)
@shapes.text(
    "--nodeport-addresses",
    "CIDR,...",
    "With --proxy-mode nftables: at which of the machine's addresses node ports are; otherwise at all but loopback ones.",
)
@shapes.text(
    "--service-network",
    "CIDR",
    "The API server's --service-network, if that is not one of loopback addresses: this machine then takes it for its own.",
)
@shapes.text(
    "--cluster-dns",
    "IP",
    "An address of the services' network, for example its tenth, where it answers for the names of Services as well.",
)
@shapes.choice(
    "--proxy-mode",
    ["userspace", "nftables"],
    "How Services are reached: by this process, or by rules in the kernel, which needs root and nft.",
    into="mode",
)
@click.option(
    "--pod-routes",
    is_flag=True,
    help="Make routes to the Pods of other nodes, whose machines are neighbours of this one; needs root.",
)
def proxy(
    kubeconfig: Path,
    address: str,
    hostname_override: str,
    nodeport_addresses: str,
    service_network: str,
    cluster_dns: str,
    mode: str,
    pod_routes: bool,
) -> None:
    """Run the service proxy, until SIGINT or SIGTERM."""
    from reference_cluster.proxy import run_proxy

    network = options.network("--service-network", service_network)
    names = "".join(options.addresses("--cluster-dns", cluster_dns)[:1])
    at = tuple(
        options.network("--nodeport-addresses", part.strip())
        for part in nodeport_addresses.split(",")
        if part
    )
    if at and mode != "nftables":
        raise click.UsageError(
            "--nodeport-addresses needs --proxy-mode nftables; in userspace node ports are at --address."
        )
    run(
        lambda: run_proxy(
            kubeconfig,
            node_address=address,
            node=hostname_override,
            node_port_addresses=at,
            service_network=network,
            cluster_dns=names,
            mode=mode,
            pod_routes=pod_routes,
        )
    )
