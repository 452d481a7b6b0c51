"""The commands that run for long: the whole cluster, or one of its daemons."""

import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from reference_cluster.datadir import DataDirectoryError, default_data_directory, open_data_directory


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a daemon's main function on the fastest event loop; end with one sentence for what the user can mend."""
    import anyio

    from kubelib.server.listener import CannotListen
    from kubelib.store import StoreError

    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        anyio.run(main, backend_options={"use_uvloop": _has_uvloop()})
    except BaseException as error:
        mendable = _first(error, (CannotListen, StoreError, DataDirectoryError, ValueError))
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


@click.command(epilog="Example: kubelib up --data-dir ./cluster --nodes 3")
@data_dir
@listen
@store
@click.option("--runtime", default="process", show_default=True, help="What runs containers.")
@click.option("--nodes", type=click.IntRange(0, 250), default=1, show_default=True, help="How many nodes.")
@click.option(
    "--proxy",
    type=click.Choice(["userspace", "none"]),
    default="userspace",
    show_default=True,
    help="How Services are reached.",
)
@click.option("--policy", default="default", show_default=True, help="How the scheduler chooses nodes.")
def up(data_dir: Path, listen: str, store: str, runtime: str, nodes: int, proxy: str, policy: str) -> None:
    """Run a whole cluster in this process, until SIGINT or SIGTERM.

    It writes DIR/admin.kubeconfig and prints one line when it is ready. Started again on the same directory, it goes on
    where it was: Pods that run are found, not started again.
    """
    from reference_cluster.up import ClusterSettings, run_until_signalled

    settings = ClusterSettings(
        listen=listen, store=store, runtime=runtime, nodes=nodes, proxy=proxy, policy=policy
    )
    try:
        with open_data_directory(data_dir) as directory:
            run(lambda: run_until_signalled(directory, settings))
    except DataDirectoryError as error:
        raise click.ClickException(str(error)) from None
