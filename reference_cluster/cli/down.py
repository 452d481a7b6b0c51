"""``kubelib down``: end what a cluster has left running. Pods go on when what runs a cluster ends, as they do in Kubernetes."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reference_cluster.cli.daemons import data_dir, runtime
from reference_cluster.cli.isolation import isolation_options

if TYPE_CHECKING:
    from reference_cluster.runtimes import IsolationSettings


@click.command(epilog="Example: kubelib down --data-dir ./cluster")
@data_dir
@runtime
@isolation_options
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds until they are killed.",
)
def down(data_dir: Path, runtime: str, isolation: "IsolationSettings", grace: float) -> None:
    """End the Pods that a cluster has left running when `kubelib up` ended.

    --runtime and --isolation are those that it had. What the cluster keeps stays: started again, it starts its Pods again.
    """
    import anyio

    from kubelib.runtime.base import RuntimeFailure
    from reference_cluster.datadir import DataDirectoryError, open_data_directory
    from reference_cluster.networks import FILE, own_networks
    from reference_cluster.runtimes import end_pods, with_network

    if not data_dir.is_dir():
        raise click.ClickException(f"there is no cluster in {data_dir}")
    ended = 0
    try:
        with open_data_directory(data_dir) as directory:
            if isolation.level == "pod" and (data_dir / FILE).exists():
                with own_networks(directory) as networks:
                    isolation = with_network(isolation, networks.pods)
            for node in sorted((data_dir / "nodes").glob("*")):
                ended += anyio.run(partial(end_pods, runtime, node, isolation, grace=grace))
    except (DataDirectoryError, RuntimeFailure, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{ended} Pod{'s' if ended != 1 else ''} ended")
