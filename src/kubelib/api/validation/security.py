"""Rules of security contexts."""

import re
from collections.abc import Sequence
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.operatingsystems import options_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    invalid,
    not_supported,
    required,
    too_long,
)

_LARGEST_ID = 2**31 - 1
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = "([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_sysctl = re.compile(_SYSCTL).fullmatch
_NET_SYSCTLS = ("net.",)
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "fs.mqueue.")


def _identity(context: Tree, path: str, problems: list[Problem], *fields: str) -> None:
    for field in fields:
        number = context.get(field)
        if number is not None and not 0 <= number <= _LARGEST_ID:
            problems.append(invalid(f"{path}.{field}", number, "must be between 0 and 2147483647, inclusive"))


def _seccomp(context: Tree, path: str, problems: list[Problem]) -> None:
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


def _windows_and_app_armor(context: Tree, path: str, problems: list[Problem]) -> None:
    if context.get("windowsOptions") is not None:
        problems += options_problems(context["windowsOptions"], f"{path}.windowsOptions")
    if context.get("appArmorProfile") is not None:
        _app_armor(context["appArmorProfile"], f"{path}.appArmorProfile", problems)


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
    _seccomp(context, path, problems)
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
    _windows_and_app_armor(context, path, problems)


def pod_security_problems(context: Any, spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check a Pod's security context, with what it shares with its node."""
    if not context:
        context = {}
    here = f"{path}.securityContext"
    _identity(context, here, problems, "fsGroup", "runAsUser", "runAsGroup")
    for at, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= _LARGEST_ID:
            problems.append(
                invalid(
                    f"{here}.supplementalGroups[{at}]", group, "must be between 0 and 2147483647, inclusive"
                )
            )
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        problems.append(invalid(f"{here}.shareProcessNamespace", True, why))
    _sysctl_problems(context.get("sysctls") or (), spec, f"{here}.sysctls", problems)
    _policy(context, "fsGroupChangePolicy", ("Always", "OnRootMismatch"), here, problems)
    _seccomp(context, here, problems)
    _windows_and_app_armor(context, here, problems)
    _policy(context, "supplementalGroupsPolicy", ("Merge", "Strict"), here, problems)
    _policy(context, "seLinuxChangePolicy", ("MountOption", "Recursive"), here, problems)


def _policy(context: Tree, field: str, allowed: Sequence[str], path: str, problems: list[Problem]) -> None:
    if context.get(field) is not None and context[field] not in allowed:
        problems.append(not_supported(f"{path}.{field}", context[field], allowed))


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
        elif name in names:
            problems.append(duplicate(here, name))
        names.add(name)
        if spec.get("hostNetwork") and plain.startswith(_NET_SYSCTLS):
            problems.append(invalid(here, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and (plain == "kernel.sem" or plain.startswith(_IPC_SYSCTLS)):
            problems.append(invalid(here, name, "may not be specified when 'hostIPC' is true"))
