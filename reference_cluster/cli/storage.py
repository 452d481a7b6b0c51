"""``kubelib backup`` and ``kubelib restore``: a store to a file, and back, of the same kind or another."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reference_cluster.cli import shapes

if TYPE_CHECKING:
    from kubelib.store.backup import Summary

data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="The data directory that the store is in."
)
store = shapes.text("--store", "URL", "The store, where it is not in a data directory.")


@contextmanager
def _store_url(data_dir: Path | None, url: str) -> Iterator[str]:
    from reference_cluster.datadir import DataDirectoryError, open_data_directory

    if bool(data_dir) == bool(url):
        raise click.UsageError("name --data-dir or --store, one of them")
    if data_dir is None:
        yield url
        return
    try:
        with open_data_directory(data_dir) as directory:
            yield directory.store_url
    except DataDirectoryError as error:
        raise click.ClickException(str(error)) from None


def _refuse_what_is_not_there(data_dir: Path | None, url: str) -> None:
    """Opening a store makes it: a name that is mistaken must not become an empty one."""
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if data_dir is not None and not url:
        file = data_dir / "store.sqlite"
    elif parts.scheme == "sqlite":
        file = Path(unquote(parts.netloc + parts.path))
    else:
        return
    if not file.is_file():
        raise click.ClickException(f"there is no store in {data_dir or file}: nothing has been written")


def _run(work: Callable[[], Awaitable["Summary"]]) -> "Summary":
    import anyio

    from kubelib.store import StoreError

    try:
        return anyio.run(work)
    except (StoreError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None


@click.command(epilog="Example: kubelib backup --store etcd://127.0.0.1:2379 --out cluster.backup")
@data_dir
@store
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write."
)
def backup(data_dir: Path | None, store: str, out: Path) -> None:
    """Write everything that a store holds to a file, as of one moment.

    A store that servers keep (etcd, ZooKeeper) may be in use meanwhile; one in a data directory belongs to one process at a time, so
    its cluster is stopped first. Secrets are in the file as they are in the store. Certificates are not: copy DIR/pki as well.
    """
    from kubelib.store import open_store
    from kubelib.store.backup import write_backup

    _refuse_what_is_not_there(data_dir, store)
    with _store_url(data_dir, store) as url:

        async def work() -> "Summary":
            async with open_store(url) as opened:
                return await write_backup(opened, out)

        done = _run(work)
    click.echo(f"{out} has {done.entries} entries as of revision {done.revision}")


@click.command(epilog="Example: kubelib restore cluster.backup --data-dir ./cluster")
@click.argument("file", type=click.Path(path_type=Path))
@data_dir
@store
def restore(file: Path, data_dir: Path | None, store: str) -> None:
    """Make a new store of a backup, of whatever kind.

    Objects keep their names and uids. Their resource versions are new and later than all that the old store gave out, so that clients
    of the old one read again and go on.
    """
    from kubelib.store.backup import restore_backup

    if store.startswith("memory://"):
        raise click.ClickException("a store in memory ends with this command: name one that lasts")
    with _store_url(data_dir, store) as url:
        done = _run(lambda: restore_backup(file, url))
    click.echo(f"restored {done.entries} entries; the store is at revision {done.revision}")
