"""The command that lets a cluster grow and shrink."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reference_cluster.cli.leadership import leadership_options
from reference_cluster.cli.options import kubeconfig
from reference_cluster.cli.running import run

if TYPE_CHECKING:
    from kubelib.controllers.election import Timing


@click.command(
    epilog="Example: kubelib elastic --kubeconfig ./master/elastic.kubeconfig --config templates.yaml --data-dir ./nodes"
)
@kubeconfig
@click.option(
    "--config",
    required=True,
    metavar="MIN:MAX|FILE",
    help="A file with templates, settings and the provider of nodes; or so many nodes of 1 cpu and 1Gi.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("elastic"),
    show_default=True,
    help="Where the provider local keeps the nodes that it has made.",
)
@leadership_options
def elastic(
    kubeconfig: Path, config: str, data_dir: Path, leader_elect: bool | None, timing: "Timing"
) -> None:
    """Make nodes when Pods fit nowhere, and return those that are not needed, until SIGINT or SIGTERM.

    Without a plug-in the nodes are `kubelib kubelet` processes on this machine. They go on when this command ends, and are found again
    by the next one.
    """
    from reference_cluster.elastic import read_plan
    from reference_cluster.scaling import run_elastic

    try:
        plan = read_plan(config, option="--config")
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    elect = None if leader_elect is False else timing
    run(lambda: run_elastic(kubeconfig, plan, data_dir.absolute(), elect=elect))
