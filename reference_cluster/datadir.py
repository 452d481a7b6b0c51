"""The directory that holds everything a cluster keeps: its store, certificates, nodes and kubeconfigs."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

FORMAT = 1
"""The layout of the directory. A directory of a newer format is refused, never guessed at."""

MARKER = "kubelib.json"
BEFOREHAND = {"lock", "pki"}
"""What may be in a directory before it is one: the certificates of a cluster that is to go on here, say."""


class DataDirectoryError(Exception):
    """The directory cannot be used; the message says why and what to do."""


@attrs.frozen
class DataDirectory:
    """An opened data directory."""

    path: Path

    @property
    def pki(self) -> Path:
        """Where certificates and keys are."""
        return self.path / "pki"

    @property
    def store_url(self) -> str:
        """The embedded store in this directory."""
        return f"sqlite://{self.path.absolute() / 'store.sqlite'}"

    @property
    def admin_kubeconfig(self) -> Path:
        """The kubeconfig of the cluster's administrator."""
        return self.path / "admin.kubeconfig"

    @property
    def volumes(self) -> Path:
        """Where the storage behind claims is."""
        return self.path / "volumes"

    def node(self, name: str) -> Path:
        """Where the node `name` keeps its Pods."""
        return self.path / "nodes" / name


def default_data_directory() -> Path:
    """Return ``$XDG_DATA_HOME/kubelib``, by default ``~/.local/share/kubelib``."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "kubelib"


@contextmanager
def open_data_directory(path: Path) -> Iterator[DataDirectory]:
    """Open a data directory, made if need be, for this process alone.

    Raises `DataDirectoryError` if it cannot be written, belongs to something else, is of a newer format, or is in use.
    """
    path = path.absolute()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        marker = path / MARKER
        if marker.exists():
            _check_format(marker)
        elif any(entry.name not in BEFOREHAND for entry in path.iterdir()):
            raise DataDirectoryError(
                f"{path} is not empty and is not a kubelib data directory: choose another --data-dir"
            )
        with suppress(PermissionError):  # of somebody else's directory its owner decides
            path.chmod(0o700)  # keys, Secrets and tokens are in it
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirectoryError(
            f"cannot use {path} as data directory: {error.strerror or error}: choose another --data-dir"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 64).decode(errors="replace").strip() or "unknown"
            raise DataDirectoryError(
                f"{path} is in use by process {owner}: stop that cluster or choose another --data-dir"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        if not marker.exists():
            temporary = marker.with_name(f".{MARKER}")
            temporary.write_text(json.dumps({"format": FORMAT}) + "\n")
            temporary.replace(marker)
        yield DataDirectory(path)
    finally:
        os.close(lock)


def _check_format(marker: Path) -> None:
    try:
        found = json.loads(marker.read_text())["format"]
    except (ValueError, KeyError, TypeError):
        raise DataDirectoryError(
            f"{marker} is damaged: restore the directory from a backup or choose another --data-dir"
        ) from None
    if not isinstance(found, int) or found > FORMAT:
        raise DataDirectoryError(
            f"{marker.parent} was written by a newer kubelib (format {found}, this one reads up to {FORMAT}): upgrade kubelib"
        )
