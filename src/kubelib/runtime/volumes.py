"""Volumes as directories: made before the containers start, and rewritten, atomically, when what they show changes."""

import base64
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import DownwardAPIVolumeFile, KeyToPath
from kubelib.api.core.volumes import EmptyDirVolumeSource, Volume
from kubelib.api.quantity import parse_quantity
from kubelib.runtime import ownership
from kubelib.runtime.base import ImageNotFound
from kubelib.runtime.environment import ConfigMissing, ConfigSource, field_value, resource_value
from kubelib.runtime.mounts import mount, unmount
from kubelib.runtime.podcertificates import PodCertificates
from kubelib.runtime.tokens import PodTokens
from kubelib.runtime.trust import TrustBundles

Files = dict[str, tuple[bytes, int]]


class StorageSource(Protocol):
    """Looks up storage. Raises `ConfigMissing`."""

    async def claimed_volume(self, namespace: str, name: str) -> PersistentVolume:
        """Return the volume that a claim has."""
        ...


class Volumes:
    """The volumes of the Pods of one node, below one directory."""

    def __init__(
        self,
        root: Path,
        source: ConfigSource,
        tokens: PodTokens | None = None,
        storage: StorageSource | None = None,
        bundles: TrustBundles | None = None,
        certificates: PodCertificates | None = None,
        images: Callable[[str], Awaitable[Path]] | None = None,
        *,
        allocatable: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`allocatable` returns what the node has for Pods."""
        self.root = root
        self._allocatable = allocatable
        self._storage = storage
        self._tokens = tokens
        self._bundles = bundles
        self._certificates = certificates
        self._images = images
        self._source = source
        self._given: dict[Path, set[str]] = {}
        """By place of claimed storage, the UIDs of the Pods of this node that have it and name a group."""

    @property
    def has_images(self) -> bool:
        """Whether there can be volumes that are images."""
        return self._images is not None

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
        directory, group = self.directory(pod, volume.name), ownership.group_of(pod)
        if volume.host_path is not None:
            return _host_path(volume.host_path.path, volume.host_path.type)
        if volume.empty_dir is not None:
            medium = volume.empty_dir.medium
            fresh = not (is_in_memory(directory) if medium == "Memory" else directory.exists())
            if medium == "Memory":
                in_memory(directory, _size_of(pod, volume.empty_dir))
            elif fresh:
                directory.mkdir(parents=True)
            if fresh:
                mode = volume.empty_dir.mode
                directory.chmod(0o777 if mode is None else mode)  # whoever the containers run as
            if fresh and group is not None:
                ownership.give(directory.resolve(), group, ownership.READ_WRITE)
            return directory
        if volume.image is not None and self._images is not None:
            try:
                return await self._images(volume.image.reference)
            except ImageNotFound as error:
                raise ConfigMissing(str(error)) from None
        if (claim := _claim_of(pod, volume)) is not None:
            source = volume.persistent_volume_claim
            if source is not None and source.read_only:
                group = None  # what is only read keeps whose it is
            return await self._claimed(pod, claim, group)
        files = await self._files(pod, volume, address)
        if files is None:
            raise ConfigMissing(f'volume "{volume.name}" is of a kind that this node does not have')
        publish(directory, files, group=group, owners=ownership.owners_of(pod, volume, files))
        return directory

    async def _claimed(self, pod: Pod, claim: str, group: int | None) -> Path:
        """Return where the storage behind a claim is: a directory of this machine."""
        namespace = pod.metadata.namespace
        if self._storage is None:
            raise ConfigMissing("this node has no client that can look up claims")
        volume = await self._storage.claimed_volume(namespace, claim)
        if volume.spec.host_path is not None:
            return _host_path(volume.spec.host_path.path, volume.spec.host_path.type)
        if volume.spec.local is not None:
            place = _local(volume.spec.local.path)
            if group is not None:
                await self._give(place, pod, group)
            return place
        raise ConfigMissing(
            f'persistentvolume "{volume.metadata.name}" is of a kind that this node does not have'
        )

    async def _give(self, place: Path, pod: Pod, group: int) -> None:
        """Give storage to a Pod's group when the first Pod of this node begins to use it, as its policy says."""
        users = self._given.setdefault(place, set())
        first = not users
        users.add(pod.metadata.uid)
        security = pod.spec.security_context
        only_if_wrong = security is not None and security.fs_group_change_policy == "OnRootMismatch"
        if first and not (only_if_wrong and ownership.is_given(place, group)):
            await anyio.to_thread.run_sync(ownership.give, place, group, ownership.READ_WRITE)

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
            owned = ownership.group_of(pod) is not None or ownership.user_of(pod) is not None
            secret_mode = ownership.TOKEN_MODE if owned else _mode(mode)
            for at, part in enumerate(projected.sources):
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
                if (token := part.service_account_token) is not None:
                    if self._tokens is None:
                        raise ConfigMissing("this node has no client that can ask for tokens")
                    text = await self._tokens.token(pod, token)
                    files[token.path] = (text.encode(), secret_mode)
                if (bundle := part.cluster_trust_bundle) is not None:
                    if self._bundles is None:
                        raise ConfigMissing("this node has no client that can read trust bundles")
                    files[bundle.path] = (await self._bundles.shown(bundle), _mode(mode))
                if (certificate := part.pod_certificate) is not None:
                    if self._certificates is None:
                        raise ConfigMissing("this node has no client that can ask for certificates")
                    shown = await self._certificates.shown(pod, volume.name, at, certificate)
                    files |= {path: (content, secret_mode) for path, content in shown.items()}
            return files
        return None

    def _field(self, pod: Pod, item: DownwardAPIVolumeFile, address: str) -> bytes:
        if item.field_ref is not None:
            return field_value(pod, item.field_ref.field_path, address=address).encode()
        reference = item.resource_field_ref
        if reference is None:
            return b""
        name, allocatable = reference.container_name, self._allocatable()
        return resource_value(pod, name, reference.resource, reference.divisor, allocatable).encode()

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
        if self._tokens is not None:
            self._tokens.forget(uid)
        if self._certificates is not None:
            self._certificates.forget(uid)
        for storage, users in list(self._given.items()):
            users.discard(uid)
            if not users:
                del self._given[storage]
        place = self.root / uid
        _free_memory(place)
        shutil.rmtree(place, ignore_errors=True)


SHARED_MEMORY = Path("/dev/shm")  # it is what is meant
"""A file system in memory that everybody may use."""


def in_memory(directory: Path, size: int) -> Path:
    """Make a directory whose files are in memory, of at most `size` bytes; 0: as much as the kernel gives.

    Who may not mount gets a place in the memory that all share, whose size only the eviction manager looks at.
    """
    if is_in_memory(directory):
        return directory
    if directory.is_symlink():  # the memory has gone with a restart of the machine
        directory.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        mount("tmpfs", directory, "tmpfs", data=f"mode=0777,size={size}" if size else "mode=0777")
    except OSError:
        place = SHARED_MEMORY / f"kubelib-{os.getuid()}-{directory.parent.name}-{directory.name}"
        place.mkdir(mode=0o700, exist_ok=True)
        place.chmod(0o777)
        directory.rmdir()
        directory.symlink_to(place)
    return directory


def is_in_memory(directory: Path) -> bool:
    """Return whether `in_memory` has made a directory, and its files are still there."""
    return os.path.ismount(directory) or (directory.is_symlink() and directory.exists())


def free_memory(root: Path) -> None:
    """Give back the memory of all volumes below `root`, as when the machine starts again: those on disk stay."""
    for place in root.iterdir() if root.is_dir() else ():
        _free_memory(place)


def _free_memory(place: Path) -> None:
    """Give back the memory of the volumes of one Pod."""
    for volume in place.iterdir() if place.is_dir() else ():
        if volume.is_symlink():
            # Only what `in_memory` has made is a link.
            shutil.rmtree(volume.resolve(), ignore_errors=True)
            volume.unlink(missing_ok=True)
        elif os.path.ismount(volume):
            with contextlib.suppress(OSError):
                unmount(volume)
                volume.rmdir()  # an engine that has been shown it sees it no more either


def _size_of(pod: Pod, volume: EmptyDirVolumeSource) -> int:
    """Return what a volume in memory may hold: what it says, and no more than its Pod may have of memory."""
    limits = [c.resources.limits.get("memory") for c in pod.spec.containers]
    sizes = [parse_quantity(volume.size_limit).value()] if volume.size_limit else []
    if limits and all(limits):
        sizes.append(sum(parse_quantity(limit).value() for limit in limits if limit))
    return min((size for size in sizes if size > 0), default=0)


def _claim_of(pod: Pod, volume: Volume) -> str | None:
    """Return the name of the claim behind a volume, or None."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return f"{pod.metadata.name}-{volume.name}" if volume.ephemeral is not None else None


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


def _local(path: str) -> Path:
    place = Path(path)
    if not place.exists():
        raise ConfigMissing(f'path "{path}" does not exist')
    return place


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


def publish(
    directory: Path, files: Files, *, group: int | None = None, owners: Mapping[str, int] | None = None
) -> None:
    """Show `files` in `directory` so that a reader sees all of the old or all of the new.

    As the kubelet does it: each file is a link through ``..data``, and that link is switched in one step. A `group` may read
    all of them, and `owners` of files are users, who may have their own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if group is not None:
        files = {name: (content, mode | ownership.READ) for name, (content, mode) in files.items()}
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
    for name, user in (owners or {}).items():
        with contextlib.suppress(PermissionError):  # nobody is somebody else here
            os.chown(fresh / name, user, -1)
    if group is not None:
        ownership.give(directory, group, ownership.READ)
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
