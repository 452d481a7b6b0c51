"""Drivers of devices by the names under which they are installed."""

from pathlib import Path

import pytest

from reference_cluster.devicedrivers import ENTRY_POINTS, make_drivers


class Driver:
    """Keeps where it may keep things."""

    def __init__(self, root: Path) -> None:
        self.root = root


class Point:
    """An installed entry point."""

    name = "lamps"

    def load(self) -> type[Driver]:
        return Driver


def test_an_entry_point_makes_a_driver_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(group: str) -> list[Point]:
        return [Point()] if group == ENTRY_POINTS else []

    monkeypatch.setattr("importlib.metadata.entry_points", installed)
    [driver] = make_drivers(["lamps"], tmp_path)
    assert isinstance(driver, Driver)
    assert driver.root == tmp_path / "devices" / "lamps"
    with pytest.raises(ValueError, match="there is no device driver 'lumps': choose one of those installed"):
        make_drivers(["lumps"], tmp_path)
