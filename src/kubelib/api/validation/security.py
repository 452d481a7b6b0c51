"""Rules of security contexts."""

import re
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    invalid,
    not_supported,
    one_of,
    required,
    too_long,
)

_LARGEST_ID = 2**31 - 1
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = "([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_sysctl = re.compile(_SYSCTL).fullmatch
_NET_SYSCTLS = ("net.",)
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def _identity(context: Tree, path: str, problems: list[Problem], *fields: str) -> None:
    for field in fields:
        number = context.get(field)
        if number is not None and not 0 <= number <= _LARGEST_ID:
            problems.append(invalid(f"{path}.{field}", number, "must be between 0 and 2147483647, inclusive"))


def _profiles(context: Tree, path: str, problems: list[Problem]) -> None:
    seccomp = context.get("seccompProfile")
    if seccomp is not None:
        here = f"{path}.seccompProfile"
        kind, local = seccomp.get("type") or "", seccomp.get("localhostProfile")
        if not kind:
            problems.append(required(f"{here}.type", "type is required when seccompProfile is set"))
        elif kind not in _PROFILES:
            problems.append(not_supported(f"{here}.type", kind, _PROFILES))
        if kind == "Localhost":
            if local is None:
                problems.append(
                    required(f"{here}.localhostProfile", "must be set when seccomp type is Localhost")
                )
            else:
                problems += each(f"{here}.localhostProfile", local, texts.descending(local))
        elif local is not None:
            problems.append(
                invalid(f"{here}.localhostProfile", seccomp, "can only be set when seccomp type is Localhost")
            )
    apparmor = context.get("appArmorProfile")
    if apparmor is not None:
        _app_armor(apparmor, f"{path}.appArmorProfile", problems)


def _app_armor(profile: Tree, path: str, problems: list[Problem]) -> None:
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    field = f"{path}.localhostProfile"
    if kind == "Localhost":
        if not (local or "").strip():
            if local:
                problems.append(invalid(field, local, "must not be padded with whitespace"))
            else:
                problems.append(required(field, "must be set when AppArmor type is Localhost"))
        elif local and local != local.strip():
            problems.append(invalid(field, local, "must not be padded with whitespace"))
        if len(local or "") > 4095:
            problems.append(too_long(field, 4095))
    elif kind in _PROFILES:
        if local is not None:
            problems.append(invalid(field, local, "can only be set when AppArmor type is Localhost"))
    elif not kind:
        problems.append(required(f"{path}.type", "type is required when appArmorProfile is set"))
    else:
        problems.append(not_supported(f"{path}.type", kind, _PROFILES))


def container_security_problems(
    context: Tree, path: str, problems: list[Problem], *, host_users: bool = True
) -> None:
    """Check a container's security context."""
    _identity(context, path, problems, "runAsUser", "runAsGroup")
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            problems.append(not_supported(f"{path}.procMount", mount, ("Default", "Unmasked")))
        elif mount == "Unmasked" and host_users:
            problems.append(
                invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`")
            )
    _profiles(context, path, problems)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            problems.append(
                invalid(
                    path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
                )
            )
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            problems.append(
                invalid(
                    path,
                    context,
                    "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
                )
            )


def pod_security_problems(context: Any, spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check a Pod's security context."""
    if not context:
        return
    here = f"{path}.securityContext"
    _identity(context, here, problems, "fsGroup", "runAsUser", "runAsGroup")
    for at, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= _LARGEST_ID:
            problems.append(
                invalid(
                    f"{here}.supplementalGroups[{at}]", group, "must be between 0 and 2147483647, inclusive"
                )
            )
    _sysctl_problems(context.get("sysctls") or (), spec, f"{here}.sysctls", problems)
    for field, allowed in (
        ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
        ("supplementalGroupsPolicy", ("Merge", "Strict")),
        ("seLinuxChangePolicy", ("MountOption", "Recursive")),
    ):
        if context.get(field) is not None and context[field] not in allowed:
            problems.append(not_supported(f"{here}.{field}", context[field], allowed))
    _profiles(context, here, problems)


def _sysctl_problems(sysctls: Any, spec: Tree, path: str, problems: list[Problem]) -> None:
    names: set[str] = set()
    for at, sysctl in enumerate(sysctls):
        name, here = sysctl.get("name") or "", f"{path}[{at}].name"
        plain = name.replace("/", ".")
        if not name:
            problems.append(required(here))
        elif len(name) > 253 or not _sysctl(name):
            problems.append(
                invalid(here, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$")
            )
        elif plain in names:
            problems.append(duplicate(here, name))
        names.add(plain)
        if spec.get("hostNetwork") and plain.startswith(_NET_SYSCTLS):
            problems.append(invalid(here, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and plain.startswith(_IPC_SYSCTLS):
            problems.append(invalid(here, name, "may not be specified when 'hostIPC' is true"))


_NOT_ON_WINDOWS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser",
    "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy",
)  # fmt: skip
_CONTAINER_NOT_ON_WINDOWS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip


def operating_system_problems(spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check that a Pod asks for nothing that its operating system has not."""
    system = (spec.get("os") or {}).get("name") or ""
    found = one_of(f"{path}.os.name", system, ("linux", "windows"))
    problems += found
    if found:
        return
    context = spec.get("securityContext") or {}
    contexts = [
        (container.get("securityContext") or {}, f"{path}.{part}[{at}].securityContext")
        for part in ("initContainers", "containers", "ephemeralContainers")
        for at, container in enumerate(spec.get(part) or ())
    ]
    if system == "linux":
        for given, here in ((context, f"{path}.securityContext"), *contexts):
            if given.get("windowsOptions") is not None:
                problems.append(
                    forbidden(f"{here}.windowsOptions", "windows options cannot be set for a linux pod")
                )
        return
    why = "cannot be set for a windows pod"
    problems += [forbidden(f"{path}.securityContext.{f}", why) for f in _NOT_ON_WINDOWS if context.get(f)]
    for field in ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"):
        if spec.get(field) is not None:
            problems.append(forbidden(f"{path}.{field}", why))
    for given, here in contexts:
        problems += [
            forbidden(f"{here}.{field}", why)
            for field in _CONTAINER_NOT_ON_WINDOWS
            if given.get(field) is not None
        ]


def host_process_problems(spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check that processes of a Windows host come without other containers, and in the host's network."""
    of_pod = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    containers = [
        (container, f"{path}.{part}[{at}]")
        for part in ("initContainers", "containers", "ephemeralContainers")
        for at, container in enumerate(spec.get(part) or ())
    ]
    count = 0
    for container, here in containers:
        own = ((container.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        if own is not None and of_pod is not None and own != of_pod:
            why = f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}"
            problems.append(invalid(f"{here}.securityContext.windowsOptions.hostProcess", own, why))
        count += bool(of_pod if own is None else own)
    if count and count != len(containers):
        why = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        problems.append(invalid(path, "", why))
    if count and not spec.get("hostNetwork"):
        why = "hostNetwork must be true if pod contains any hostProcess containers"
        problems.append(invalid(f"{path}.hostNetwork", False, why))
