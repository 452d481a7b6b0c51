"""A driver of devices that are files: each claim of a disk gets one that is empty, and that nobody else has.

The README here says how a node gets it.
"""

from pathlib import Path

from kubelib.api.resource import Device, DeviceAttribute, DeviceCapacity, ResourceClaim
from kubelib.runtime.base import ClaimId, Mount, PreparedDevice

DISKS = 2
SIZE = 1 << 20
"""Bytes of a disk."""


class ScratchDisks:
    """The disks of one node, which are files in a directory of its own while they are in use."""

    name = "scratch.example.com"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def devices(self) -> list[Device]:
        size = DeviceCapacity(value="1Mi")
        kind = {"medium": DeviceAttribute(string="file")}
        return [Device(name=f"disk-{at}", attributes=kind, capacity={"size": size}) for at in range(DISKS)]

    async def prepare(self, claim: ResourceClaim) -> list[PreparedDevice]:
        directory = self.root / claim.metadata.uid
        directory.mkdir(parents=True, exist_ok=True)
        prepared = []
        assert claim.status.allocation is not None
        for result in claim.status.allocation.devices.results:
            if result.driver != self.name:
                continue
            disk = directory / result.device
            if not disk.exists():  # asked again, it is as full as it was
                with disk.open("wb") as file:
                    file.truncate(SIZE)
            place = f"/scratch/{result.device}"
            prepared.append(
                PreparedDevice(
                    requests=[result.request],
                    env={"SCRATCH_DISK": result.device, "SCRATCH_PATH": place},
                    mounts=[Mount(str(disk), place)],
                )
            )
        return prepared

    async def unprepare(self, claim: ClaimId) -> None:
        directory = self.root / claim.uid
        for disk in directory.glob("*"):
            disk.unlink()
        if directory.exists():
            directory.rmdir()
