"""An API server that cannot use its store ends with one sentence that says why."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from kubelib.store import open_store
from tests.engines import PREFIXES, Etcd, ZooKeeper, free_ports

pytestmark = pytest.mark.external


def refusal(directory: Path, store: str, *before: str) -> str:
    """Start an API server, which ends; return what it says."""
    done = subprocess.run(
        [
            *(*before, sys.executable, "-m", "reference_cluster", "apiserver", "--listen", "127.0.0.1:0"),
            *("--data-dir", str(directory / "server"), "--store", store),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(("scheme", "name"), [("etcd", "etcd"), ("zookeeper", "ZooKeeper")])
def test_nobody_is_there(scheme: str, name: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    said = refusal(tmp_path, f"{scheme}://127.0.0.1:{port}")
    assert said.startswith(f"Error: {name} at 127.0.0.1:{port} does not answer")


def test_the_keys_in_etcd_are_those_of_somebody_else(etcd: Etcd, tmp_path: Path) -> None:
    prefix = next(PREFIXES)
    etcd.ctl("put", f"{prefix}/registry/x", "theirs")
    assert f"has keys that are not ours, such as '{prefix}/registry/x'" in refusal(tmp_path, etcd.url(prefix))


def test_an_object_in_etcd_was_spoilt(etcd: Etcd, tmp_path: Path) -> None:
    url = etcd.url(prefix := next(PREFIXES))

    async def make() -> None:
        async with open_store(url):
            pass

    anyio.run(make)
    etcd.ctl("put", f"{prefix}/registry/core/namespaces/default", "nonsense")
    said = refusal(tmp_path, url)
    assert (
        said
        == "Error: /registry/core/namespaces/default is no object, but b'nonsense'…: restore the store from a backup"
    )


def test_the_nodes_in_zookeeper_are_those_of_somebody_else(zookeeper: ZooKeeper, tmp_path: Path) -> None:
    folder = next(PREFIXES)
    zookeeper.cli("create", folder)
    zookeeper.cli("create", f"{folder}/theirs")
    assert "has nodes that are not ours, such as 'theirs'" in refusal(tmp_path, zookeeper.url(folder))


def theirs(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (theirs, "is a database of another program: choose another path"),
        (lambda path: path.write_bytes(b"nonsense" * 1000), "is damaged or not a database"),
        (Path.mkdir, "cannot open the store"),
    ],
)
def test_the_file_is_no_store(spoil: Callable[[Path], object], why: str, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    spoil(path)
    assert why in refusal(tmp_path, f"sqlite://{path}")


def test_the_file_may_only_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    sqlite3.connect(folder / "store.sqlite").execute("VACUUM").connection.close()
    bind = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    said = refusal(
        tmp_path, f"sqlite://{folder}/store.sqlite", "unshare", "-rm", "sh", "-c", bind, str(folder)
    )
    assert "store.sqlite is read-only: make the file and its directory writable for this user" in said
