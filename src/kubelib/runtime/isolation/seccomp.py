"""Which system calls a container may make: profiles as container engines have them, as programs for the kernel's filter.

A profile names system calls and what becomes of them; libseccomp, which package managers and service managers bring along, knows
their numbers on this machine and writes the program. The profile of those that ask for none refuses what reaches beyond a container:
what changes the kernel, its clock, its modules and key rings, other processes' memory, mounts and namespaces. A capability that stands
for some of these calls gives them back.
"""

import ctypes
import ctypes.util
import errno
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import attrs

from kubelib.runtime.base import CannotCreate
from kubelib.runtime.isolation.inside import kept

UNCONFINED = "Unconfined"
_NEW_NAMESPACES = (
    0x02000000, 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
"""The flags of clone: cgroup, mount, UTS, IPC, user, process and network namespaces."""
BY_CAPABILITY: Mapping[str, tuple[str, ...]] = {
    "SYS_ADMIN": (
        "bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr", "move_mount",
        "open_tree", "perf_event_open", "pivot_root", "quotactl", "quotactl_fd", "setns", "swapoff", "swapon", "umount", "umount2",
        "unshare",
    ),
    "BPF": ("bpf",),
    "PERFMON": ("perf_event_open",),
    "DAC_READ_SEARCH": ("open_by_handle_at",),
    "SYS_BOOT": ("reboot", "kexec_load", "kexec_file_load"),
    "SYS_CHROOT": ("chroot",),
    "SYS_MODULE": ("create_module", "delete_module", "init_module", "finit_module"),
    "SYS_NICE": ("get_mempolicy", "mbind", "move_pages", "migrate_pages", "set_mempolicy", "set_mempolicy_home_node"),
    "SYS_PACCT": ("acct",),
    "SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"),
    "SYS_RAWIO": ("ioperm", "iopl"),
    "SYS_TIME": ("adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday", "stime"),
    "SYS_TTY_CONFIG": ("vhangup",),
    "SYSLOG": ("syslog",),
}  # fmt: skip
"""System calls that are refused but to those who have one of the capabilities that name them."""
ALWAYS = (
    "_sysctl", "add_key", "get_kernel_syms", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl", "nfsservctl", "query_module",
    "request_key", "sysfs", "uselib", "userfaultfd", "ustat", "vm86", "vm86old",
)  # fmt: skip
"""System calls that are refused to everybody but the privileged."""
READ_ONLY_CLOCK = ("adjtimex", "clock_adjtime", "clock_adjtime64")
"""Those that only look where their second word is given no change to make: left to the capability, which the kernel asks for itself."""
_UNUSUAL_SOCKETS = (38, 40)
"""The kernel's ciphers and virtual machines: families of sockets that know no namespaces."""

_ACTIONS: Mapping[str, Callable[[int], int]] = {
    "SCMP_ACT_KILL": lambda _: 0,
    "SCMP_ACT_KILL_THREAD": lambda _: 0,
    "SCMP_ACT_KILL_PROCESS": lambda _: 0x80000000,
    "SCMP_ACT_TRAP": lambda _: 0x00030000,
    "SCMP_ACT_ERRNO": lambda number: 0x00050000 | number,
    "SCMP_ACT_TRACE": lambda number: 0x7FF00000 | number,
    "SCMP_ACT_LOG": lambda _: 0x7FFC0000,
    "SCMP_ACT_ALLOW": lambda _: 0x7FFF0000,
}
_COMPARISONS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
_ARCHITECTURES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
    "riscv64": "SCMP_ARCH_RISCV64",
}
_DOCKERS = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}
_ALSO = {"x86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"), "aarch64": ("SCMP_ARCH_ARM",)}
"""Other kinds of programs that run on a machine, whose calls have other numbers."""


def default_profile(capabilities: Iterable[str]) -> dict[str, Any]:
    """Return the profile of containers that ask for none and have these capabilities.

    >>> refused = {name for rule in default_profile(["SYS_TIME"])["syscalls"] for name in rule["names"]}
    >>> "mount" in refused, "clock_settime" in refused, "open" in refused
    (True, False, False)
    """
    have = set(capabilities)
    given = {name for capability in have for name in BY_CAPABILITY.get(capability, ())}
    named = {name for names in BY_CAPABILITY.values() for name in names} - set(READ_ONLY_CLOCK)
    refused = sorted({*ALWAYS, *named} - given)
    refusal = {"action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}
    rules: list[dict[str, Any]] = [{"names": refused, **refusal}]
    rules += [
        {"names": ["socket"], **refusal, "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}]}
        for family in _UNUSUAL_SOCKETS
    ]
    if "SYS_ADMIN" not in have:
        for flag in _NEW_NAMESPACES:
            asked = {"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}
            rules.append({"names": ["clone"], **refusal, "args": [asked]})
        # A filter cannot see into the structure that it takes; the C library then uses clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


@cache
def _library() -> ctypes.CDLL | None:
    try:
        found = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_init.argtypes = [ctypes.c_uint32]
    found.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    for name in ("seccomp_release", "seccomp_arch_add", "seccomp_rule_add_array", "seccomp_export_bpf"):
        getattr(found, name).argtypes = {
            "seccomp_release": [ctypes.c_void_p],
            "seccomp_arch_add": [ctypes.c_void_p, ctypes.c_uint32],
            "seccomp_rule_add_array": [
                ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison),
            ],
            "seccomp_export_bpf": [ctypes.c_void_p, ctypes.c_int],
        }[name]  # fmt: skip
    return found


class _Comparison(ctypes.Structure):
    """libseccomp's ``struct scmp_arg_cmp``."""

    _fields_ = [
        ("index", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("value_two", ctypes.c_uint64),
    ]


def is_available() -> bool:
    """Return whether system calls can be refused here."""
    return _library() is not None and Path("/proc/sys/kernel/seccomp").exists()


@attrs.frozen
class BadProfile(ValueError):
    """A profile that says what nobody understands."""

    why: str

    def __str__(self) -> str:
        return self.why


def program_for(profile: str, security: Mapping[str, Any]) -> bytes:
    """Return the filter for a container: `profile` is empty for the usual one, ``Unconfined``, or the file of one.

    `security` says what the container may do otherwise, as `kubelib.runtime.isolation.inside.kept` reads it. Nothing is filtered for
    the privileged. Raises `CannotCreate`.
    """
    if profile == UNCONFINED or security["privileged"]:
        return b""
    capabilities = frozenset(kept(dict(security)))
    if not profile:
        return _usual(capabilities) if is_available() else b""
    try:
        text = Path(profile).read_text()
        if not is_available():
            raise BadProfile("there is no libseccomp here")
        return _compiled(text, capabilities)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotCreate(f"cannot load seccomp profile {profile!r}: {error}") from error


@lru_cache(64)
def _usual(capabilities: frozenset[str]) -> bytes:
    return compiled(default_profile(capabilities), capabilities)


@lru_cache(64)
def _compiled(text: str, capabilities: frozenset[str]) -> bytes:
    return compiled(json.loads(text), capabilities)


def compiled(profile: Mapping[str, Any], capabilities: Iterable[str] = ()) -> bytes:
    """Return a profile, as container engines write them, as a program for the kernel. Raises ValueError."""
    library = _library()
    if library is None:
        raise BadProfile("there is no libseccomp here")
    action = _action(profile, "defaultAction", "defaultErrnoRet")
    machine = library.seccomp_init(action)
    if not machine:
        raise BadProfile(f"{profile['defaultAction']} is no default")
    try:
        for name in _architectures(profile):
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            if token:
                library.seccomp_arch_add(
                    ctypes.c_void_p(machine), token
                )  # one that is there already is no error
        for rule in profile.get("syscalls") or ():
            if not _applies(rule, set(capabilities)):
                continue
            wanted = _action(rule, "action", "errnoRet")
            if wanted == action:
                continue
            for number in _numbers(library, rule):
                _add(library, machine, wanted, number, rule)
        return _exported(library, machine)
    finally:
        library.seccomp_release(ctypes.c_void_p(machine))


def _action(rule: Mapping[str, Any], name: str, number: str) -> int:
    if rule[name] not in _ACTIONS:
        raise BadProfile(f"{rule[name]!r} is no action that is known")
    given = rule.get(number)
    return _ACTIONS[rule[name]](errno.EPERM if given is None else int(given))


def _architectures(profile: Mapping[str, Any]) -> Iterator[str]:
    """Return the kinds of programs that a profile is about, beside those of this machine's own."""
    machine = platform.machine()
    own = _ARCHITECTURES.get(machine, "")
    if "architectures" not in profile and "archMap" not in profile:
        yield from _ALSO.get(machine, ())
    yield from profile.get("architectures") or ()
    for entry in profile.get("archMap") or ():
        if entry["architecture"] == own:
            yield from entry.get("subArchitectures") or ()


def _applies(rule: Mapping[str, Any], capabilities: set[str]) -> bool:
    """Return whether a rule is for this machine and these capabilities."""
    arch = _DOCKERS.get(platform.machine(), "")
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}

    def names(of: Mapping[str, Any]) -> set[str]:
        return {name.removeprefix("CAP_") for name in of.get("caps") or ()}

    if includes.get("arches") and arch not in includes["arches"]:
        return False
    if arch in (excludes.get("arches") or ()):
        return False
    if not names(includes) <= capabilities or names(excludes) & capabilities:
        return False
    return _is_kernel(includes.get("minKernel")) and not (
        excludes.get("minKernel") and _is_kernel(excludes["minKernel"])
    )


def _is_kernel(least: str | None) -> bool:
    if not least:
        return True

    def parts(text: str) -> list[int]:
        return [
            int("".join(c for c in part if c.isdigit()) or 0) for part in text.split("-")[0].split(".")[:2]
        ]

    return parts(platform.release()) >= parts(least)


def _numbers(library: ctypes.CDLL, rule: Mapping[str, Any]) -> Iterator[int]:
    """Return the numbers of a rule's system calls; those that this machine does not have are passed over."""
    names = list(rule.get("names") or ())
    if rule.get("name"):
        names.append(rule["name"])
    for name in names:
        number = library.seccomp_syscall_resolve_name(str(name).encode())
        if number != -1:
            yield number


def _add(library: ctypes.CDLL, machine: int, action: int, number: int, rule: Mapping[str, Any]) -> None:
    comparisons: Sequence[Mapping[str, Any]] = rule.get("args") or ()
    given = (_Comparison * max(1, len(comparisons)))()
    for place, one in zip(given, comparisons, strict=False):
        if one["op"] not in _COMPARISONS:
            raise BadProfile(f"{one['op']!r} is no comparison that is known")
        place.index, place.op = int(one["index"]), _COMPARISONS[one["op"]]
        place.value, place.value_two = int(one["value"]), int(one.get("valueTwo") or 0)
    result = library.seccomp_rule_add_array(ctypes.c_void_p(machine), action, number, len(comparisons), given)
    if result not in (0, -errno.EEXIST, -errno.EDOM):  # EDOM: not a call of every kind of programs
        raise BadProfile(f"rule of {rule.get('names') or rule.get('name')}: {os.strerror(-result)}")


def _exported(library: ctypes.CDLL, machine: int) -> bytes:
    descriptor = os.memfd_create("seccomp")
    try:
        if (result := library.seccomp_export_bpf(ctypes.c_void_p(machine), descriptor)) != 0:
            raise BadProfile(os.strerror(-result))
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            return file.read()
    finally:
        os.close(descriptor)
