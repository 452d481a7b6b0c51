"""The options that say how the runtime ``process`` keeps containers apart."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from reference_cluster.cli import shapes

_isolation = shapes.choice(
    "--isolation",
    ["none", "pod"],
    "How the runtime process keeps containers apart; pod, which needs root: namespaces, control groups, roots of their own.",
)
_image_dir = click.option(
    "--image-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Unpacked images (directories or OCI layouts) for --isolation pod. Default: runtime/images below the node's directory.",
)
_max_pids = click.option(
    "--pod-max-pids",
    type=click.IntRange(1),
    help="How many processes a container may have, with --isolation pod or on docker or podman.",
)


def isolation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options, and call it with ``isolation``, an `IsolationSettings`."""

    @functools.wraps(command)
    def with_settings(
        *, isolation: Any, image_dir: Path | None, pod_max_pids: int | None, **others: Any
    ) -> None:
        from reference_cluster.runtimes import IsolationSettings

        settings = IsolationSettings(level=isolation, images=image_dir, pids=pod_max_pids)
        command(isolation=settings, **others)

    return _isolation(_image_dir(_max_pids(with_settings)))
