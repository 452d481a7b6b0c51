"""Control groups of Pods, of which Docker knows nothing: it makes them around what it is told to put in them.

Their limits are written from here, and they are removed from here, as far as that can be done.
"""

import os
from collections.abc import Iterator, Mapping
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any

from kubelib.runtime.base import Resources
from kubelib.runtime.isolation.cgroups import groups_at
from kubelib.runtime.stats.cgroups import ROOT, is_unified

TOP = "docker"
"""Where an engine has its containers unless it was told otherwise: a Pod's share of the processors is compared with theirs."""


def obstacle(info: Mapping[str, Any], *, local: bool, root: Path = ROOT) -> str:
    """Return why an engine's Pods cannot have control groups, given what it says of itself; empty if they can."""
    if not local:
        return "Docker is not on this machine"
    if (driver := info.get("CgroupDriver")) != "cgroupfs":
        return f"Docker's cgroup driver is {driver}, not cgroupfs"
    unified = is_unified(root)
    if (info.get("CgroupVersion") == "2") is not unified:
        return "Docker has another version of control groups than this process sees"
    places = [root] if unified else [root / "cpu", root / "memory"]
    if not all(os.access(place, os.W_OK) for place in places):
        return "this process may not write control groups"
    return ""


class PodGroups:
    """The control groups of one node's Pods, a path for each; in version 1 Docker makes it in every hierarchy."""

    def __init__(self, owner: str, why_not: str = "", *, root: Path = ROOT) -> None:
        self.why_not = why_not
        """Why there are none; empty if there are."""
        self._root = root
        self._stem = f"kubelib-{sha256(owner.encode()).hexdigest()[:8]}-pod"

    def path(self, uid: str) -> str:
        """Return the path of a Pod's control group; empty, for the engine to choose one, if there are none."""
        return "" if self.why_not else f"/{TOP}/{self._stem}{uid}"

    def limit(self, path: str, resources: Resources) -> bool:
        """Set limits of all that is in a control group; return False if it is not seen from here. Raises OSError."""
        groups = groups_at(path, root=self._root)
        if not any(place.is_dir() for place in groups.directories()):
            return False
        groups.make_together(resources)
        return True

    def remove(self, uid: str) -> bool:
        """Remove a Pod's control group; return whether it is gone: what was in it may take a moment to go."""
        gone = True
        for place in self._places(self._stem + escape(uid)):
            try:
                place.rmdir()
            except FileNotFoundError:  # one hierarchy may have two names
                continue
            except OSError:
                gone = False
        return gone

    def left(self) -> set[str]:
        """Return the UIDs of the Pods that have a control group."""
        return {place.name.removeprefix(self._stem) for place in self._places(f"{self._stem}*")}

    def _places(self, pattern: str) -> Iterator[Path]:
        if self.why_not:
            return
        yield from self._root.glob(f"{TOP}/{pattern}")
        if not is_unified(self._root):
            yield from self._root.glob(f"*/{TOP}/{pattern}")
