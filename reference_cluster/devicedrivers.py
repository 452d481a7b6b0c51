"""Drivers of devices by name: they register in the entry point group ``kubelib.device_drivers``."""

from collections.abc import Sequence
from pathlib import Path

from kubelib.runtime.base import DeviceDriver

ENTRY_POINTS = "kubelib.device_drivers"


def make_drivers(names: Sequence[str], root: Path) -> list[DeviceDriver]:
    """Return a node's drivers, each with a directory of its own below `root`. Raises ValueError for a name that there is not."""
    if not names:
        return []
    from importlib.metadata import entry_points

    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    drivers: list[DeviceDriver] = []
    for name in names:
        if name not in installed:
            there = ", ".join(sorted(installed)) or "none is installed"
            raise ValueError(f"there is no device driver {name!r}: choose one of those installed ({there})")
        drivers.append(installed[name].load()(root / "devices" / name))
    return drivers
