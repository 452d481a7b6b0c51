"""``kubelib down``: end what a cluster has left running. Pods go on when what runs a cluster ends, as they do in Kubernetes."""

from functools import partial
from pathlib import Path

import click

from reference_cluster.cli import shapes
from reference_cluster.cli.options import data_dir, runtime


@click.command(epilog="Example: kubelib down --data-dir ./cluster")
@data_dir
@runtime
@shapes.seconds("--grace", 30.0, "Seconds until they are killed.")
def down(data_dir: Path, runtime: str, grace: float) -> None:
    """End the Pods that a cluster has left running when `kubelib up` ended.

    --runtime is the one that it had. What the cluster keeps stays: started again, it starts its Pods again.
    """
    import anyio

    from kubelib.runtime.base import RuntimeFailure
    from reference_cluster.datadir import DataDirectoryError, open_data_directory
    from reference_cluster.proxy import clear_services
    from reference_cluster.runtimes import end_pods

    if not data_dir.is_dir():
        raise click.ClickException(f"there is no cluster in {data_dir}")
    ended = 0
    try:
        with open_data_directory(data_dir):
            for node in sorted((data_dir / "nodes").glob("*")):
                ended += anyio.run(partial(end_pods, runtime, node, grace=grace))
            clear_services(data_dir)
    except (DataDirectoryError, RuntimeFailure, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{ended} Pod{'s' if ended != 1 else ''} ended")
