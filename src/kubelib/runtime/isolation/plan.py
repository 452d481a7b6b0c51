"""From what a container asks for to what its shim does to shut it in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from kubelib.runtime.base import CannotCreate, CannotResize, CannotStart, ContainerSpec, Resources
from kubelib.runtime.containers import check_non_root
from kubelib.runtime.isolation.cgroups import Groups, Hierarchy
from kubelib.runtime.isolation.holders import CannotIsolate, files_of
from kubelib.runtime.isolation.images import Image, Images
from kubelib.runtime.isolation.inside import below
from kubelib.runtime.isolation.seccomp import program_for
from kubelib.runtime.programs import packed

Level = Literal["none", "pod"]
NETWORK_OF_HOST = "network (each Pod has its own loopback address)"
ANNOTATION = "kubelib.dev/not-isolated"
"""The annotation by which a node says what its containers share with it."""


def shared_with_host(
    level: Level, *, network: bool = False, seccomp: bool = False, hosts: bool = False
) -> str:
    """Return what containers share with their host.

    Without isolation, `hosts` says whether Pods have files of their own by which they resolve names; with it, `network` and `seccomp` say
    whether they have networks, and filters, of their own.

    >>> shared_with_host("pod", network=True, seccomp=True)
    'users'
    """
    if level == "none":
        files = (
            "file system (each Pod has its own /etc/hosts and /etc/resolv.conf)" if hosts else "file system"
        )
        return f"{files}, processes, network, users, and all limits but that of memory"
    shared = [] if network else [NETWORK_OF_HOST]
    shared.append("users")
    shared += [] if seccomp else ["system calls (there is no libseccomp)"]
    return shared[0] if len(shared) == 1 else f"{', '.join(shared[:-1])} and {shared[-1]}"


@attrs.frozen(kw_only=True)
class Plan:
    """How one container is started."""

    argv: Sequence[str]
    env: Mapping[str, str]
    directory: str
    user: int | None
    group: int | None
    image_id: str
    isolation: Mapping[str, Any]


def check_rights(directory: Path) -> None:
    """Try all that isolation needs, in a process of its own. Raises `CannotIsolate`."""
    directory.mkdir(parents=True, exist_ok=True)
    attempt = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import inside\n"
        "inside.unshare(inside.NEWPID | inside.NEWNS | inside.NEWUTS | inside.NEWIPC)\n"
        "inside.mount(None, '/', None, inside.REC | inside.PRIVATE)\n"
        "d = sys.argv[2]; s = d + '/scratch'; r = d + '/root'\n"
        "os.makedirs(s, exist_ok=True); os.makedirs(r, exist_ok=True)\n"
        "inside.mount('tmpfs', s, 'tmpfs'); os.mkdir(s + '/upper'); os.mkdir(s + '/work')\n"
        "inside.mount('overlay', r, 'overlay', 0, f'lowerdir=/,upperdir={s}/upper,workdir={s}/work')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", attempt, str(Path(__file__).parent), str(directory)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    shutil.rmtree(directory, ignore_errors=True)  # what was mounted is gone with the process
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["it cannot be tried"])[-1]
        raise CannotIsolate(f"containers cannot be isolated here, which needs root and Linux: {why}")


def user_in(root: Path, user: str) -> tuple[int, int | None]:
    """Return the numbers of a user, and of its group, as an image means them. Raises `CannotStart` for an unknown one."""
    name, _, group = user.partition(":")
    known = _table(root / "etc/passwd")
    if name.isdecimal():
        number, own = int(name), next((int(f[3]) for f in known if f[2] == name and f[3].isdigit()), None)
    else:
        entry = next((f for f in known if f[0] == name), None)
        if entry is None:
            raise CannotStart(f"unable to find user {name}: no matching entries in passwd file")
        number, own = int(entry[2]), int(entry[3])
    if not group:
        return number, own
    if group.isdecimal():
        return number, int(group)
    found = next((f for f in _table(root / "etc/group") if f[0] == group), None)
    if found is None:
        raise CannotStart(f"unable to find group {group}: no matching entries in group file")
    return number, int(found[2])


Shown = tuple[str, str, bool, Sequence[str]]
"""What is shown where, whether it is only to be read, and with which options."""


def _targets(mounts: Sequence[Shown]) -> set[str]:
    return {target for _, target, *_ in mounts}


def _table(path: Path) -> list[list[str]]:
    try:
        lines = [line.split(":") for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return []
    return [fields for fields in lines if len(fields) >= 3]


class Isolator:
    """Plans containers that are shut in."""

    def __init__(self, images: Images, prefix: str, *, pids_limit: int | None = None) -> None:
        self.images = images
        self._hierarchy = Hierarchy(prefix)
        self._pids_limit = pids_limit

    def image(self, reference: str) -> Image | None:
        """Return an unpacked image, None where a reference is only a name. Raises `ImageNotFound`."""
        return self.images.open(reference)

    def plan(
        self,
        sandbox: Mapping[str, Any],
        container: ContainerSpec,
        *,
        path: str,
        directory: Path,
        holder: int,
        target: int | None,
    ) -> Plan:
        """Return how to start a container of the sandbox in `directory`, whose namespaces `holder` has.

        `target` is the process whose processes it sees, if not those of its sandbox. Raises `CannotCreate`, `CannotStart`, `ImageNotFound`.
        """
        image = self.image(container.image)
        user, group = container.user, container.group
        check_non_root(container, image.user if image is not None else "")
        if image is not None and user is None and image.user:
            user, own_group = user_in(image.root, image.user)
            group = own_group if group is None else group
        argv = [*(container.command or (image.entrypoint if image else ()))]
        argv += container.args or (image.command if image is not None and not container.command else ())
        if not argv:
            raise CannotCreate("no command specified")
        own = image.env if image is not None else {}
        env = {"PATH": path, "HOME": "/" if user else "/root", **own, "KUBELIB_ROOT": "", **container.env}
        groups = self._hierarchy.groups(str(sandbox["uid"]), f"{container.name}-{container.attempt}")
        security = container.security
        mounts: list[Shown] = [(m.source, m.target, m.read_only, list(m.options)) for m in container.mounts]
        mounts += [(*entry, ()) for entry in files_of(directory, sandbox) if entry[1] not in _targets(mounts)]
        if image is not None:
            mounts += [
                (name, name, True, ())
                for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
                if os.path.exists(name) and name not in _targets(mounts)
            ]
        namespaces = sandbox["namespaces"]
        allowed: dict[str, Any] = {
            "privileged": security.privileged,
            "add": list(security.add_capabilities),
            "drop": list(security.drop_capabilities),
            "no_new_privileges": security.no_new_privileges,
        }
        allowed["seccomp"] = program_for(security.seccomp, allowed).hex()
        return Plan(
            argv=argv,
            env=env,
            directory=container.working_dir or (image.working_dir if image is not None else "") or "/",
            user=user,
            group=group,
            image_id=image.identity if image is not None else f"process://{container.image}",
            isolation={
                "groups": [str(directory) for directory in groups.directories()],
                "oom_files": groups.oom_files(),
                "note": groups.note(),
                "controllers": [] if groups.unified else list(groups.path),
                "holder": holder,
                "joins": [kind for kind in namespaces if kind != "pid"],
                "own_processes": not sandbox.get("host_pid", False),
                "pid_of": target or (holder if "pid" in namespaces else None),
                "image_root": str(image.root) if image is not None else "",
                "mounts": mounts,
                "privileged": security.privileged,
                "read_only_root": security.read_only_root,
                "security": allowed,
            },
        )

    def make_groups(self, groups: Groups, resources: Resources) -> None:
        """Make a container's control groups, with its limits. Raises `CannotCreate`."""
        if resources.pids is None:
            resources = attrs.evolve(resources, pids=self._pids_limit)
        try:
            groups.make(resources)
        except OSError as error:
            groups.remove()
            raise CannotCreate(f"failed to create control groups: {error}") from error

    def limit_sandbox(self, uid: str, noted: Iterable[Groups], resources: Resources) -> None:
        """Set weight and limits of all containers of a sandbox: those that are noted, and those to come. Raises `CannotResize`."""
        places = {one.above().note(): one.above() for one in (*noted, self._hierarchy.groups(uid, "any"))}
        try:
            for groups in places.values():
                groups.make_together(resources)
            self._hierarchy.weigh_pods(uid)
        except OSError as error:
            raise CannotResize(f"failed to change the limits of the pod: {error}") from error

    def leave_sandbox(self, uid: str) -> None:
        """Remove the control groups that a sandbox has without containers."""
        self._hierarchy.groups(uid, "any").above().remove()


def check_command(pid: int, command: str, path: str, directory: str) -> None:
    """Look for a command in the root of a process. Raises `CannotStart` if it is not there."""
    root = f"/proc/{pid}/root"
    if "/" in command:
        places = [command if command.startswith("/") else f"{directory}/{command}"]
    else:
        places = [f"{part}/{command}" for part in path.split(":") if part]
    for place in places:
        try:
            found = below(root, place)
            if os.path.isfile(found) and os.stat(found).st_mode & 0o111:
                return
        except OSError:
            continue
    if "/" in command:
        raise CannotStart(f'exec: "{command}": No such file or directory')
    raise CannotStart(f'exec: "{command}": executable file not found in $PATH')


def entrance_note(spec: Mapping[str, Any]) -> bytes:
    """Return what the file ``entrance`` says of a container."""
    security = spec["isolation"]["security"]
    users = ["" if number is None else str(number) for number in (spec["user"], spec["group"])]
    rights = ["1" if security[name] else "" for name in ("privileged", "no_new_privileges")]
    return packed(
        users,
        list(map(str, spec["groups"])),
        [*rights, security["seccomp"]],
        security["add"],
        security["drop"],
        spec["isolation"]["groups"],
        [f"{name}={value}" for name, value in spec["env"].items()],
    )


def entering(directory: Path, pid: int) -> list[str]:
    """Return what runs a command in a container whose process is `pid`, before the command's own words."""
    return [
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("entrance.py")),
        str(directory),
        str(pid),
    ]
