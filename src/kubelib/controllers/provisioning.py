"""Storage that is made when a claim asks for it, and removed when nobody does any more."""

import shutil
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume, PersistentVolumeSource
from kubelib.api.core.volumes import HostPathVolumeSource
from kubelib.api.storage import StorageClass

DIRECTORY = "kubelib.io/directory"


class Provisioner(Protocol):
    """Makes the storage behind volumes. Both verbs may be repeated; both raise OSError when they cannot do it."""

    @property
    def name(self) -> str:
        """The name by which storage classes ask for it."""
        ...

    async def provision(
        self, volume: str, claim: PersistentVolumeClaim, storage_class: StorageClass
    ) -> PersistentVolumeSource:
        """Make the storage for the volume of this name; return where it is."""
        ...

    async def remove(self, volume: PersistentVolume) -> None:
        """Remove the storage behind a volume."""
        ...


class DirectoryProvisioner:
    """Storage as directories below one directory, for clusters whose nodes share a machine or a file system.

    The size that a claim asks for is noted, not enforced.
    """

    name = DIRECTORY

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    async def provision(
        self, volume: str, claim: PersistentVolumeClaim, storage_class: StorageClass
    ) -> PersistentVolumeSource:
        """Make a directory, which any Pod may write to."""
        place = self.root / volume

        def make() -> None:
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)  # whoever the containers run as

        await anyio.to_thread.run_sync(make)
        return PersistentVolumeSource(
            host_path=HostPathVolumeSource(path=str(place), type="DirectoryOrCreate")
        )

    async def remove(self, volume: PersistentVolume) -> None:
        """Remove a directory with all that is in it, if it is one of ours."""
        source = volume.spec.host_path
        place = self.root / volume.metadata.name
        if source is None or Path(source.path) != place:
            raise OSError(f"volume {volume.metadata.name} is not below {self.root}")

        def remove() -> None:
            if place.exists():
                shutil.rmtree(place)

        await anyio.to_thread.run_sync(remove)
