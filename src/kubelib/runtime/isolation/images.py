"""Root file systems from unpacked images: directories as they are, or OCI layouts, whose layers are laid over each other once.

An image is looked for below one directory by its reference: ``busybox:1.36`` as ``busybox:1.36``, then as ``busybox``, with the
slashes of a reference as directories.
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from kubelib.runtime.base import ImageNotFound

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


@attrs.frozen(kw_only=True)
class Image:
    """A root file system, and what its image says of how to run it."""

    root: Path
    identity: str
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)
    working_dir: str = ""
    user: str = ""


class Images:
    """The images below a directory; `cache` is where layouts are unpacked."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self.directory = directory
        self._cache = cache

    def find(self, reference: str) -> Path | None:
        """Return where an image is, None if it is not here."""
        name = reference.rpartition("@")[0] or reference
        without_tag = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else ""
        for candidate in filter(None, (reference, name, without_tag)):
            place = self.directory / candidate
            inside = place.resolve().is_relative_to(self.directory.resolve()) and candidate not in (".", "..")
            if inside and place.is_dir() and place.resolve() != self.directory.resolve():
                return place
        return None

    def open(self, reference: str) -> Image | None:
        """Return an image, unpacked if need be; None if it is not here. Raises `ImageNotFound` for one that cannot be used."""
        place = self.find(reference)
        if place is None:
            return None
        if not (place / "oci-layout").exists():
            root = place / "rootfs" if (place / "rootfs").is_dir() else place
            return Image(root=root, identity=f"process://{reference}")
        try:
            return self._layout(place, reference)
        except (OSError, ValueError, KeyError, IndexError, TypeError, tarfile.TarError) as error:
            raise ImageNotFound(f"image {reference!r} in {place} cannot be unpacked: {error}") from error

    def _layout(self, place: Path, reference: str) -> Image:
        index = json.loads((place / "index.json").read_text())
        tag = reference.rpartition(":")[2]
        manifests = index["manifests"]
        names = [m.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for m in manifests]
        chosen = next(
            (m for m, name in zip(manifests, names, strict=True) if name in (tag, reference)), manifests[0]
        )
        manifest = _json(place, chosen["digest"])
        config = _json(place, manifest["config"]["digest"])
        digest = manifest["config"]["digest"].partition(":")[2]
        root = self._cache / digest
        if not root.exists():
            fresh = self._cache / f".{digest}.{os.getpid()}"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            for layer in manifest["layers"]:
                lay_over(fresh, _blob(place, layer["digest"]))
            try:
                fresh.rename(root)
            except OSError:  # somebody else was quicker
                shutil.rmtree(fresh, ignore_errors=True)
        said = config.get("config") or {}
        return Image(
            root=root,
            identity=f"sha256:{digest}",
            entrypoint=said.get("Entrypoint") or (),
            command=said.get("Cmd") or (),
            env=dict(entry.split("=", 1) for entry in said.get("Env") or () if "=" in entry),
            working_dir=said.get("WorkingDir") or "",
            user=said.get("User") or "",
        )


def _blob(place: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or not value.isalnum():
        raise ValueError(f"{digest!r} is not a digest that is known")
    path = place / "blobs" / algorithm / value
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != value:
        raise ValueError(f"{digest} has another content")
    return path


def _json(place: Path, digest: str) -> Any:
    return json.loads(_blob(place, digest).read_text())


def lay_over(root: Path, layer: Path) -> None:
    """Unpack a layer over what is below it: what it hides goes. Raises `tarfile.TarError` for one that leads out of the root."""
    with tarfile.open(layer) as archive:
        for member in archive:
            parent, name = os.path.split(member.name)
            if not (root / parent).resolve().is_relative_to(root.resolve()):
                raise tarfile.TarError(f"{member.name!r} leads out of the root")
            if name == OPAQUE:
                for entry in (root / parent).iterdir() if (root / parent).is_dir() else ():
                    _remove(entry)
            elif name.startswith(WHITEOUT):
                _remove(root / parent / name.removeprefix(WHITEOUT))
            else:
                place = root / member.name
                if place.is_symlink() or (place.exists() and place.is_dir() != member.isdir()):
                    _remove(place)
                archive.extract(member, root, filter="tar", numeric_owner=True)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
