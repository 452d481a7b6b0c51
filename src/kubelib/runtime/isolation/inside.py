"""What a shim does to shut a container in: namespaces and a root of its own. Part of the shim's program: it imports no kubelib.

Everything is mounted in the container's own mount namespace, so that nothing is left on the host when it ends, however it ends.
"""

from __future__ import annotations

import ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE, SLAVE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
    1 << 19,
)
DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
MOST_LINKS = 40
HUP, INT, PIPE, TERM, CHLD = 1, 2, 13, 15, 17
"""The numbers of signals."""
MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/sysrq-trigger")
READ_ONLY = ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs")

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Leave some of the namespaces that are shared with the parent."""
    _checked(_libc.unshare(flags), "unshare")


def enter(pid: int, kind: str) -> None:
    """Join a namespace of a process: ``net``, ``ipc``, ``uts``, ``pid``."""
    descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        join(descriptor, f"the {kind} namespace of {pid}")
    finally:
        os.close(descriptor)


def join(descriptor: int, what: str) -> None:
    """Join the namespace that is open as `descriptor`."""
    _checked(_libc.setns(descriptor, 0), what)


def name_host(name: str) -> None:
    """Give this UTS namespace its host name."""
    _checked(_libc.sethostname(name.encode(), len(name.encode())), "hostname")


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    """Mount something."""
    done = _libc.mount(
        source.encode() if source else None,
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _checked(done, target)


OPTIONS = {"noexec": NOEXEC, "nosuid": NOSUID, "nodev": NODEV}


def bind(source: str, target: str, *, read_only: bool = False, options: Sequence[str] = ()) -> None:
    """Show a file or directory at another place as well, which is made if it is not there; `options` are those of `OPTIONS`."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o644))
    mount(source, target, None, BIND | REC)
    flags = RDONLY if read_only else 0
    for option in options:
        flags |= OPTIONS[option]
    if flags:
        mount(None, target, None, BIND | REMOUNT | flags)


def apart(files: list[list[str]], hostname: str) -> None:
    """Give this process mounts of its own, which differ from the host's in some files, and a host name; empty: the host's.

    What the host mounts later is seen here, if it shares its mounts; what is mounted here is not seen there.
    """
    unshare(NEWNS | NEWUTS if hostname else NEWNS)
    mount(None, "/", None, REC | SLAVE)
    show(files)
    if hostname:
        name_host(hostname)


def show(files: list[list[str]]) -> None:
    """Show files at places of others, which are left alone: each has a source and a place. Where there is no file, there will be none."""
    for source, place in files:
        if os.path.exists(place) and not os.path.samefile(source, place):
            mount(source, place, None, BIND)


def handle_signals(numbers: tuple[int, ...], *, ignore: bool) -> None:
    """Ignore signals, or leave it to the kernel what they do: without the module that would do it, which takes longer than the rest."""
    for number in numbers:
        _libc.signal(number, ctypes.c_void_p(1 if ignore else 0))


def below(root: str, path: str) -> str:
    """Return where a path of the container is on the host: links in it lead nowhere but below its root.

    Raises OSError for links that lead in a circle.
    """
    place: list[str] = []
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    followed = 0
    while todo:
        part = todo.pop()
        if part == "..":
            place = place[:-1]
            continue
        here = "/".join([root, *place, part])
        if not os.path.islink(here):
            place.append(part)
            continue
        followed += 1
        if followed > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        aim = os.readlink(here)
        if aim.startswith("/"):
            place = []
        todo += [part for part in reversed(aim.split("/")) if part not in ("", ".")]
    return "/".join([root, *place])


def join_groups(groups: list[str]) -> None:
    """Move this process into control groups, whose limits then hold for it and for all that it starts."""
    for group in groups:
        with open(group + "/cgroup.procs", "w") as file:
            file.write("0")


def members(groups: list[str]) -> list[int]:
    """Return the processes in control groups."""
    found: set[int] = set()
    for group in groups:
        try:
            with open(group + "/cgroup.procs") as file:
                found.update(map(int, file.read().split()))
        except OSError:
            pass  # it has been removed
    return sorted(found - {0})


def shut_in(isolation: dict[str, Any], directory: str) -> None:
    """Give this process its namespaces and its root. It is in its process namespace already."""
    join_groups(isolation["groups"])
    for kind in isolation["joins"]:
        enter(isolation["holder"], kind)
    unshare(NEWNS)
    mount(None, "/", None, REC | PRIVATE)
    root = directory + "/rootfs"
    os.makedirs(root, exist_ok=True)
    _make_root(isolation, directory, root)
    _make_system(isolation, root)
    for source, target, read_only, options in isolation["mounts"]:
        bind(source, below(root, target), read_only=read_only, options=options)
    if isolation["read_only_root"]:
        mount(None, root, None, BIND | REMOUNT | RDONLY)
    _pivot(root)


def _make_root(isolation: dict[str, Any], directory: str, root: str) -> None:
    """Mount the root: what the image has, or the host, below a layer that takes what the container writes."""
    lower = isolation["image_root"] or "/"
    scratch = directory + "/scratch"
    os.makedirs(scratch, exist_ok=True)
    if not isolation["image_root"]:
        # A layer may not be inside another one: what is written over the host's files is kept in memory.
        mount("tmpfs", scratch, "tmpfs", NOSUID | NODEV, "mode=0755")
    for part in ("/upper", "/work"):
        os.makedirs(scratch + part, exist_ok=True)
    mount("overlay", root, "overlay", 0, f"lowerdir={lower},upperdir={scratch}/upper,workdir={scratch}/work")


def _make_system(isolation: dict[str, Any], root: str) -> None:
    """Mount what every container finds: /proc, /dev, /sys, as container engines do."""
    for name in ("proc", "dev", "sys", "tmp"):
        os.makedirs(root + "/" + name, exist_ok=True)
    if isolation["own_processes"]:
        mount("proc", root + "/proc", "proc", NOSUID | NODEV | NOEXEC)
        if not isolation["privileged"]:
            for path in READ_ONLY:
                if os.path.exists(root + path):
                    bind(root + path, root + path, read_only=True)
            for path in MASKED:
                if os.path.exists(root + path):
                    bind("/dev/null", root + path)
    else:
        mount("/proc", root + "/proc", None, BIND | REC)
    mount("tmpfs", root + "/dev", "tmpfs", NOSUID, "mode=0755,size=65536k")
    for name in DEVICES:
        bind("/dev/" + name, root + "/dev/" + name)
    for name, aim in LINKS.items():
        os.symlink(aim, f"{root}/dev/{name}")
    for name, kind, flags, data in (
        ("pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620"),
        ("shm", "tmpfs", NOSUID | NODEV | NOEXEC, "mode=1777,size=65536k"),
    ):
        os.makedirs(f"{root}/dev/{name}")
        mount(kind, f"{root}/dev/{name}", kind, flags, data)
    _make_sys(isolation, root + "/sys")


def _make_sys(isolation: dict[str, Any], place: str) -> None:
    """Mount /sys: with the devices of the container's network and, read-only, the control groups that it is in itself."""
    if isolation["privileged"]:
        mount("/sys", place, None, BIND | REC)
        return
    if "net" in isolation["joins"]:
        mount("sysfs", place, "sysfs", RDONLY | NOSUID | NODEV | NOEXEC)
    else:
        mount("/sys", place, None, BIND)
        mount(None, place, None, BIND | REMOUNT | RDONLY | NOSUID | NODEV | NOEXEC)
    base = place + "/fs/cgroup"
    if not os.path.isdir(base):
        return
    if not isolation["controllers"]:
        for group in isolation["groups"]:  # of version 2 there is one
            bind(group, base, read_only=True)
        return
    mount("tmpfs", base, "tmpfs", NOSUID | NODEV | NOEXEC, "mode=0755")
    for controller, group in zip(isolation["controllers"], isolation["groups"], strict=True):
        bind(group, f"{base}/{controller}", read_only=True)
    mount(None, base, None, BIND | REMOUNT | RDONLY | NOSUID | NODEV | NOEXEC)


def _pivot(root: str) -> None:
    """Make `root` the root, and let go of the old one."""
    number = PIVOT_ROOT[os.uname().machine]
    os.chdir(root)
    _checked(_libc.syscall(number, b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", DETACH), "the old root")
    os.chdir("/")


CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""By number, from 0."""
USUAL = {
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP", "NET_BIND_SERVICE",
    "SYS_CHROOT", "KILL", "AUDIT_WRITE",
}  # fmt: skip
"""What a container has that says nothing: the same as on container engines."""
CAPBSET_DROP, SET_NO_NEW_PRIVS, SET_SECCOMP = 24, 38, 22
SECCOMP_MODE_FILTER = 2
INSTRUCTION = 8
"""Bytes that one instruction of a filter has."""


def kept(security: dict[str, Any]) -> set[str]:
    """Return which capabilities a container keeps, by name."""
    if security["privileged"]:
        return set(CAPABILITIES)
    add, drop = set(security["add"]), set(security["drop"])
    have = set() if "ALL" in drop else USUAL - drop
    return set(CAPABILITIES) if "ALL" in add else have | add


def renounce(security: dict[str, Any]) -> None:
    """Give up for good what the container may not do: whatever it runs as, it cannot have it back."""
    keep = kept(security)
    for number in range(64):
        name = CAPABILITIES[number] if number < len(CAPABILITIES) else ""
        if name not in keep:
            _libc.prctl(CAPBSET_DROP, number, 0, 0, 0)  # fails for numbers that the kernel does not know
    if security["no_new_privileges"]:
        _checked(_libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


class _Filter(ctypes.Structure):
    """The kernel's ``struct sock_fprog``."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def confine(program: bytes) -> None:
    """Refuse system calls for good, by a filter that the kernel runs at each of them."""
    if program:
        wanted = _Filter(len(program) // INSTRUCTION, program)
        _checked(_libc.prctl(SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0), "seccomp")


def give_up(security: dict[str, Any], become_user: Callable[[], None]) -> None:
    """Give up what the container may not do, and become its user, right before its program begins.

    Who may gain no privileges may restrict itself as any user, and does so last; others need root for it.
    """
    program = bytes.fromhex(security["seccomp"])
    renounce(security)
    if not security["no_new_privileges"]:
        confine(program)
    become_user()
    if security["no_new_privileges"]:
        confine(program)
