"""Control groups of containers: made with their limits, removed when nothing is in them. Version 1 and version 2."""

import errno
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import attrs

from kubelib.runtime.base import Resources
from kubelib.runtime.containers import CPU_PERIOD, cpu_quota, cpu_shares
from kubelib.runtime.stats.cgroups import ROOT, CgroupFigures, is_unified, read_v1, read_v2

V1_CONTROLLERS = ("cpu", "cpuacct", "memory", "pids")


def own_paths(text: str) -> dict[str, str]:
    """Return the group that this process is in, by controller, from ``/proc/self/cgroup``; that of version 2 under an empty name."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def weight_of(shares: int) -> int:
    """Return version 2's weight for version 1's shares, as the kubelet converts it.

    >>> weight_of(2), weight_of(1024), weight_of(262144)
    (1, 39, 10000)
    """
    return 1 + ((shares - 2) * 9999) // 262142


def v1_limits(resources: Resources) -> dict[str, str]:
    """Return what is written where for limits, in version 1."""
    files = {"cpu/cpu.shares": str(cpu_shares(resources))}
    if quota := cpu_quota(resources):
        files |= {"cpu/cpu.cfs_period_us": str(CPU_PERIOD), "cpu/cpu.cfs_quota_us": str(quota)}
    if resources.memory:
        files["memory/memory.limit_in_bytes"] = str(resources.memory)
    if resources.pids:
        files["pids/pids.max"] = str(resources.pids)
    return files


def v2_limits(resources: Resources) -> dict[str, str]:
    """Return what is written where for limits, in version 2."""
    files = {"cpu.weight": str(weight_of(cpu_shares(resources)))}
    if quota := cpu_quota(resources):
        files["cpu.max"] = f"{quota} {CPU_PERIOD}"
    if resources.memory:
        files |= {"memory.max": str(resources.memory), "memory.oom.group": "1"}
    if resources.pids:
        files["pids.max"] = str(resources.pids)
    return files


@attrs.frozen
class Groups:
    """The groups of one container: one directory in version 2, one of each controller in version 1."""

    root: Path
    path: Mapping[str, str]
    """By controller, below the root; in version 2 under an empty name."""
    unified: bool

    def directories(self) -> list[Path]:
        """Return the groups."""
        if self.unified:
            return [self.root / self.path[""].strip("/")]
        return [self.root / controller / path.strip("/") for controller, path in self.path.items()]

    def make(self, resources: Resources) -> None:
        """Make the groups, with limits. Raises OSError."""
        self._make()
        self.limit(resources)

    def _make(self) -> None:
        for directory in self.directories():
            directory.mkdir(parents=True, exist_ok=True)
        if self.unified:
            self._delegate(self.directories()[0])

    def above(self) -> "Groups":
        """Return the groups that these are in: of a container's, those of its Pod."""
        return attrs.evolve(self, path={name: os.path.dirname(path) for name, path in self.path.items()})

    def make_together(self, resources: Resources) -> None:
        """Make the groups of a Pod, or change them: weight and limits of all that is in them. Raises OSError."""
        self._make()
        # One that is killed for its memory does not take the others with it.
        self._set(resources, without=("memory.oom.group",))

    def weigh(self, cores: float) -> None:
        """Let what is in these groups weigh as much as so many processors. Raises OSError."""
        self._set(Resources(cpu_request=cores))

    def limit(self, resources: Resources) -> None:
        """Set limits, also other ones: what is None stays as it is. Raises OSError."""
        self._set(resources)

    def _set(self, resources: Resources, *, without: Collection[str] = ()) -> None:
        limits = v2_limits(resources) if self.unified else v1_limits(resources)
        for name, value in limits.items():
            if name in without:
                continue
            if self.unified:
                _write(self.directories()[0] / name, value)
                continue
            controller, _, file = name.partition("/")
            if controller in self.path:
                _write(self.root / controller / self.path[controller].strip("/") / file, value)

    def _delegate(self, group: Path) -> None:
        """Let the groups on the way have the controllers, as version 2 wants it said."""
        for parent in reversed(group.parents):
            if parent == self.root or self.root in parent.parents:
                _write(parent / "cgroup.subtree_control", "+cpu +memory +pids")

    def figures(self) -> CgroupFigures:
        """Return the account of the groups."""
        if self.unified:
            return read_v2(self.path[""], self.root)
        (path,) = set(self.path.values()) if len(set(self.path.values())) == 1 else ("",)
        if path:
            return read_v1(path, self.root)
        return attrs.evolve(
            read_v1(self.path.get("cpuacct", ""), self.root),
            **{
                field: getattr(read_v1(self.path.get("memory", ""), self.root), field)
                for field in (
                    "memory", "working_set", "rss", "cache", "swap", "memory_limit", "page_faults", "major_page_faults", "oom_kills",
                )
            },
            processes=read_v1(self.path.get("pids", ""), self.root).processes,
        )  # fmt: skip

    def oom_files(self) -> list[str]:
        """Return the files that tell whether the kernel has killed something for want of memory."""
        if self.unified:
            return [str(self.directories()[0] / "memory.events")]
        return [str(self.root / "memory" / self.path["memory"].strip("/") / "memory.oom_control")]

    def remove(self) -> None:
        """Remove the groups and, where they are the last, those above that were made for their Pod and node."""
        for directory in self.directories():
            for place in (directory, directory.parent):
                try:
                    place.rmdir()
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY):
                        raise
                    if error.errno != errno.ENOENT:
                        break

    def note(self) -> str:
        """Return the groups as text, from which `groups_of` makes them again."""
        return json.dumps({"root": str(self.root), "path": dict(self.path), "unified": self.unified})


def groups_of(note: str) -> Groups:
    """Return the groups that a note tells of."""
    tree = json.loads(note)
    return Groups(Path(tree["root"]), tree["path"], tree["unified"])


def groups_at(path: str, *, root: Path = ROOT) -> Groups:
    """Return the groups that have this path in every controller."""
    unified = is_unified(root)
    controllers = [""] if unified else [c for c in V1_CONTROLLERS if (root / c / path.strip("/")).is_dir()]
    return Groups(root, dict.fromkeys(controllers, path), unified)


def _write(path: Path, value: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a controller that the kernel, or the group above, does not have
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


class Hierarchy:
    """Where a runtime makes its groups: below those that it is in itself."""

    def __init__(self, prefix: str, *, root: Path = ROOT, own: str | None = None) -> None:
        self.root = root
        self.unified = is_unified(root)
        self._prefix = prefix
        self._own = own_paths(Path("/proc/self/cgroup").read_text() if own is None else own)

    def _controllers(self) -> Iterator[str]:
        if self.unified:
            yield ""
            return
        for controller in V1_CONTROLLERS:
            if (self.root / controller).is_dir() and controller in self._own:
                yield controller

    def groups(self, pod: str, container: str) -> Groups:
        """Return the groups of a container, made or not."""
        paths = {
            controller: f"{self._own[controller].rstrip('/')}/{self._prefix}/pod{pod}/{container}"
            for controller in self._controllers()
        }
        return Groups(self.root, paths, self.unified)

    def weigh_pods(self, pod: str) -> None:
        """Weigh all Pods together, beside what else this machine does, like all its processors, as the kubelet does. Raises OSError.

        `pod` is one that has groups. Each Pod is weighed among the others only: one that asks for nothing does not starve.
        """
        self.groups(pod, "any").above().above().weigh(os.cpu_count() or 1)
