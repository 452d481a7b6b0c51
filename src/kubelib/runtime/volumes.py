"""Volumes as directories: made before the containers start, and rewritten, atomically, when what they show changes."""

import base64
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import DownwardAPIVolumeFile, KeyToPath
from kubelib.api.core.volumes import Volume
from kubelib.runtime.environment import ConfigMissing, ConfigSource, field_value, resource_value

Files = dict[str, tuple[bytes, int]]


class Volumes:
    """The volumes of the Pods of one node, below one directory."""

    def __init__(self, root: Path, source: ConfigSource) -> None:
        self.root = root
        self._source = source

    def directory(self, pod: Pod, name: str) -> Path:
        """Return where a volume of a Pod is kept."""
        return self.root / pod.metadata.uid / name

    async def prepare(self, pod: Pod, *, address: str) -> dict[str, Path]:
        """Make all volumes of a Pod, or bring them up to date; return where each is. Raises `ConfigMissing`."""
        found: dict[str, Path] = {}
        for volume in pod.spec.volumes:
            try:
                found[volume.name] = await self._prepare(pod, volume, address)
            except (ConfigMissing, OSError) as error:
                raise ConfigMissing(
                    f'MountVolume.SetUp failed for volume "{volume.name}" : {error}'
                ) from None
        return found

    async def _prepare(self, pod: Pod, volume: Volume, address: str) -> Path:
        directory = self.directory(pod, volume.name)
        if volume.host_path is not None:
            return _host_path(volume.host_path.path, volume.host_path.type)
        if volume.empty_dir is not None:
            if not directory.exists():
                directory.mkdir(parents=True)
                directory.chmod(0o777)  # whoever the containers run as
            return directory
        files = await self._files(pod, volume, address)
        if files is None:
            raise ConfigMissing(f'volume "{volume.name}" is of a kind that this node does not have')
        publish(directory, files)
        return directory

    async def _files(self, pod: Pod, volume: Volume, address: str) -> Files | None:
        namespace = pod.metadata.namespace
        if (config := volume.config_map) is not None:
            return await self._config(
                namespace, config.name, config.items, config.default_mode, config.optional
            )
        if (secret := volume.secret) is not None:
            return await self._secret(
                namespace, secret.secret_name, secret.items, secret.default_mode, secret.optional
            )
        if (downward := volume.downward_api) is not None:
            return {
                item.path: (self._field(pod, item, address), _mode(item.mode, downward.default_mode))
                for item in downward.items
            }
        if (projected := volume.projected) is not None:
            files: Files = {}
            mode = projected.default_mode
            for part in projected.sources:
                if part.config_map is not None:
                    files |= await self._config(
                        namespace, part.config_map.name, part.config_map.items, mode, part.config_map.optional
                    )
                if part.secret is not None:
                    files |= await self._secret(
                        namespace, part.secret.name, part.secret.items, mode, part.secret.optional
                    )
                if part.downward_api is not None:
                    for item in part.downward_api.items:
                        files[item.path] = (self._field(pod, item, address), _mode(item.mode, mode))
                if part.service_account_token is not None or part.cluster_trust_bundle is not None:
                    raise ConfigMissing("this node has no tokens and trust bundles for projected volumes")
            return files
        return None

    @staticmethod
    def _field(pod: Pod, item: DownwardAPIVolumeFile, address: str) -> bytes:
        if item.field_ref is not None:
            return field_value(pod, item.field_ref.field_path, address=address).encode()
        reference = item.resource_field_ref
        if reference is None:
            return b""
        container = next(
            (c for c in pod.spec.containers if c.name == reference.container_name), pod.spec.containers[0]
        )
        return resource_value(pod, container, reference.resource, reference.divisor).encode()

    async def _config(
        self, namespace: str, name: str, items: tuple[KeyToPath, ...], mode: int | None, optional: bool | None
    ) -> Files:
        try:
            config = await self._source.config_map(namespace, name)
        except ConfigMissing:
            if optional:
                return {}
            raise
        data = {key: value.encode() for key, value in config.data.items()}
        data |= {key: base64.b64decode(value) for key, value in config.binary_data.items()}
        return _chosen(data, items, mode, optional=bool(optional))

    async def _secret(
        self, namespace: str, name: str, items: tuple[KeyToPath, ...], mode: int | None, optional: bool | None
    ) -> Files:
        try:
            secret = await self._source.secret(namespace, name)
        except ConfigMissing:
            if optional:
                return {}
            raise
        data = {key: base64.b64decode(value) for key, value in secret.data.items()}
        return _chosen(data, items, mode, optional=bool(optional))

    def remove(self, uid: str) -> None:
        """Remove what is left of a Pod's volumes."""
        shutil.rmtree(self.root / uid, ignore_errors=True)


def _mode(*candidates: int | None) -> int:
    """Return the first mode that is given: the file's own, then its volume's."""
    return next((mode for mode in candidates if mode is not None), 0o644)


def _chosen(
    data: Mapping[str, bytes], items: tuple[KeyToPath, ...], mode: int | None, *, optional: bool
) -> Files:
    if not items:
        return {key: (value, _mode(mode)) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item.key in data:
            files[item.path] = (data[item.key], _mode(item.mode, mode))
        elif not optional:
            raise ConfigMissing(f"references non-existent config key: {item.key}")
    return files


_HOST_PATH_CHECKS: Mapping[str, tuple[Callable[[Path], bool], str]] = {
    "Directory": (Path.is_dir, "a directory"),
    "File": (Path.is_file, "a file"),
    "Socket": (Path.is_socket, "a socket file"),
    "CharDevice": (Path.is_char_device, "a character device"),
    "BlockDevice": (Path.is_block_device, "a block device"),
}


def _host_path(path: str, kind: str) -> Path:
    """Return a path of the host after the check, or the making, that its type asks for."""
    place = Path(path)
    if kind == "DirectoryOrCreate" and not place.exists():
        place.mkdir(parents=True, mode=0o755)
    elif kind == "FileOrCreate" and not place.exists():
        place.touch(mode=0o644)
    check, what = _HOST_PATH_CHECKS.get(kind.removesuffix("OrCreate"), (Path.exists, ""))
    if what and not check(place):
        raise ConfigMissing(f"hostPath type check failed: {path} is not {what}")
    return place


def publish(directory: Path, files: Files) -> None:
    """Show `files` in `directory` so that a reader sees all of the old or all of the new.

    As the kubelet does it: each file is a link through ``..data``, and that link is switched in one step.
    """
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "..data"
    current = directory / os.readlink(data) if data.is_symlink() else None
    if current is not None and _same(current, files):
        return
    number = 0
    while (fresh := directory / f"..{number}").exists():
        number += 1
    for name, (content, mode) in files.items():
        place = fresh / name
        place.parent.mkdir(parents=True, exist_ok=True)
        # Never readable by more than it will be, not even for a moment.
        with open(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        place.chmod(mode)
    fresh.mkdir(exist_ok=True)
    switch = directory / "..data_new"
    switch.unlink(missing_ok=True)
    switch.symlink_to(fresh.name)
    switch.replace(data)
    tops = {name.split("/")[0] for name in files}
    for top in tops:
        link = directory / top
        if not link.is_symlink():
            link.symlink_to(f"..data/{top}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if current is not None:
        shutil.rmtree(current, ignore_errors=True)


def _same(directory: Path, files: Files) -> bool:
    found = {
        str(p.relative_to(directory)): (p.read_bytes(), p.stat().st_mode & 0o777)
        for p in directory.rglob("*")
        if p.is_file()
    }
    return found == files
