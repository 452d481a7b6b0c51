"""How commands run that run for long: until a signal, and with one sentence for what the user can mend."""

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import click

from reference_cluster.datadir import DataDirectory, DataDirectoryError, open_data_directory


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


def run_in_directory(path: Path, daemon: Callable[[DataDirectory], AbstractAsyncContextManager[str]]) -> None:
    """Run a daemon that keeps what it has in a directory, which is this process's alone meanwhile."""
    try:
        with open_data_directory(path) as directory:
            run(lambda: daemon(directory))
    except DataDirectoryError as error:
        raise click.ClickException(str(error)) from None
