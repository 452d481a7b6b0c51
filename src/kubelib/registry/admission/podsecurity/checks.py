"""The controls of the Pod Security Standards, each as Kubernetes checks and words it. Pure.

A check looks at a Pod's metadata and specification and returns what is wrong, or None. Which checks a level has depends on its
version: what a version of Kubernetes has begun to check, or to let pass, older versions of the level do not.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from kubelib.api.scheme import Tree
from kubelib.registry.admission.podsecurity.levels import LevelVersion


@attrs.frozen
class Violation:
    """What a Pod does that its level forbids."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[Tree, Tree], Violation | None]

_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
_SYSCTLS = {
    0: (
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
    ),
    27: ("net.ipv4.ip_local_reserved_ports",),
    29: (
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ),
    32: ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}  # fmt: skip
_VOLUMES = frozenset(
    (
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
    )
)  # fmt: skip
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")


# What checks share


def _containers(spec: Tree) -> Iterator[Tree]:
    for part in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(part) or ()


def _security(holder: Tree) -> Tree:
    security: Tree = holder.get("securityContext") or {}
    return security


def _plural(one: str, many: str, items: Sequence[Any]) -> str:
    return one if len(items) == 1 else many


def _quoted(items: Sequence[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _named(containers: Sequence[str]) -> str:
    return f"{_plural('container', 'containers', containers)} {_quoted(containers)}"


def _setters(pod: bool, containers: Sequence[str]) -> str:
    return " and ".join([*(["pod"] if pod else []), *([_named(containers)] if containers else [])])


def _is_windows(spec: Tree) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def _in_user_namespace(spec: Tree) -> bool:
    return spec.get("hostUsers") is False


def _where(spec: Tree, holds: Callable[[Tree], bool]) -> list[str]:
    """Return the names of the containers of which something holds."""
    return [container.get("name") or "" for container in _containers(spec) if holds(container)]


# Baseline


def _host_namespaces(meta: Tree, spec: Tree) -> Violation | None:
    found = [f"{name}=true" for name in ("hostIPC", "hostNetwork", "hostPID") if spec.get(name)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _privileged(meta: Tree, spec: Tree) -> Violation | None:
    bad = _where(spec, lambda c: bool(_security(c).get("privileged")))
    detail = f"{_named(bad)} must not set securityContext.privileged=true"
    return Violation("privileged", detail) if bad else None


def _capabilities_baseline(meta: Tree, spec: Tree) -> Violation | None:
    def added(container: Tree) -> set[str]:
        return set((_security(container).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES

    bad = _where(spec, lambda c: bool(added(c)))
    if not bad:
        return None
    names = sorted(set().union(*map(added, _containers(spec))))
    return Violation(
        "non-default capabilities",
        f"{_named(bad)} must not include {_quoted(names)} in securityContext.capabilities.add",
    )


def _host_path(meta: Tree, spec: Tree) -> Violation | None:
    bad = [
        volume.get("name") or "" for volume in spec.get("volumes") or () if volume.get("hostPath") is not None
    ]
    return (
        Violation("hostPath volumes", f"{_plural('volume', 'volumes', bad)} {_quoted(bad)}") if bad else None
    )


def _host_ports(meta: Tree, spec: Tree) -> Violation | None:
    def ports(container: Tree) -> set[str]:
        return {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}

    bad = _where(spec, lambda c: bool(ports(c)))
    if not bad:
        return None
    numbers = sorted(set().union(*map(ports, _containers(spec))))
    uses = _plural("uses", "use", bad)
    return Violation(
        "hostPort", f"{_named(bad)} {uses} {_plural('hostPort', 'hostPorts', numbers)} {', '.join(numbers)}"
    )


def _host_probes(meta: Tree, spec: Tree) -> Violation | None:
    def hosts(container: Tree) -> set[str]:
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(name) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [lifecycle.get(name) for name in ("postStart", "preStop")]
        actions = [
            (handler or {}).get(name) or {} for handler in handlers for name in ("httpGet", "tcpSocket")
        ]
        return {action["host"] for action in actions if action.get("host")}

    bad = sorted(_where(spec, lambda c: bool(hosts(c))))
    if not bad:
        return None
    found = sorted(set().union(*map(hosts, _containers(spec))))
    uses = _plural("uses", "use", bad)
    what = _plural("probe or lifecycle host", "probe or lifecycle hosts", found)
    return Violation("probe or lifecycle host", f"{_named(bad)} {uses} {what} {_quoted(found)}")


def _app_armor(meta: Tree, spec: Tree) -> Violation | None:
    def profile(holder: Tree) -> str | None:
        found = _security(holder).get("appArmorProfile")
        return None if found is None else found.get("type") or ""

    def is_bad(holder: Tree) -> bool:
        found = profile(holder)
        return found is not None and found not in _PROFILES

    bad = _where(spec, is_bad)
    values = sorted({profile(h) or "" for h in (spec, *_containers(spec)) if is_bad(h)})
    annotations = sorted(
        f'{name}="{value}"'
        for name, value in (meta.get("annotations") or {}).items()
        if name.startswith(_APPARMOR)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    setters = [_setters(is_bad(spec), bad)] if is_bad(spec) or bad else []
    if annotations:
        setters.append(_plural("annotation", "annotations", annotations))
    if not setters:
        return None
    values += annotations
    # Annotations contain quotation marks, which are written as Go writes them.
    shown = ", ".join('"' + value.replace('"', '\\"') + '"' for value in values)
    return Violation(
        _plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values),
        f"{' and '.join(setters)} must not set AppArmor profile type to {shown}",
    )


def _selinux(types: Sequence[str]) -> Check:
    def check(meta: Tree, spec: Tree) -> Violation | None:
        def options(holder: Tree) -> Tree:
            found: Tree = _security(holder).get("seLinuxOptions") or {}
            return found

        def is_bad(holder: Tree) -> bool:
            found = options(holder)
            return bool(found.get("user") or found.get("role")) or (found.get("type") or "") not in types

        pod, bad = is_bad(spec), _where(spec, is_bad)
        if not pod and not bad:
            return None
        given = [options(holder) for holder in (spec, *_containers(spec))]
        data = []
        wrong = sorted({o["type"] for o in given if (o.get("type") or "") not in types})
        if wrong:
            data.append(f"{_plural('type', 'types', wrong)} {_quoted(wrong)}")
        data += [f"{part} may not be set" for part in ("user", "role") if any(o.get(part) for o in given)]
        detail = f"{_setters(pod, bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
        return Violation("seLinuxOptions", detail)

    return check


def _proc_mount(meta: Tree, spec: Tree) -> Violation | None:
    def mount(container: Tree) -> str:
        return str(_security(container).get("procMount") or "Default")

    bad = _where(spec, lambda c: mount(c) != "Default")
    if not bad:
        return None
    values = sorted({mount(c) for c in _containers(spec)} - {"Default"})
    return Violation(
        "procMount", f"{_named(bad)} must not set securityContext.procMount to {_quoted(values)}"
    )


def _unless_in_user_namespace(check: Check) -> Check:
    def relaxed(meta: Tree, spec: Tree) -> Violation | None:
        return None if _in_user_namespace(spec) else check(meta, spec)

    return relaxed


def _unless_on_windows(check: Check) -> Check:
    def relaxed(meta: Tree, spec: Tree) -> Violation | None:
        return None if _is_windows(spec) else check(meta, spec)

    return relaxed


def _seccomp_annotations(meta: Tree, spec: Tree) -> Violation | None:
    annotations = meta.get("annotations") or {}
    names = [_SECCOMP_POD, *(_SECCOMP_CONTAINER + (c.get("name") or "") for c in _containers(spec))]
    bad = sorted(
        f'{name}="{annotations[name]}"'
        for name in dict.fromkeys(names)
        if name in annotations
        and annotations[name] not in ("runtime/default", "docker/default")
        and not annotations[name].startswith("localhost/")
    )
    what = f"forbidden {_plural('annotation', 'annotations', bad)} {', '.join(bad)}"
    return Violation("seccompProfile", what) if bad else None


def _seccomp(holder: Tree) -> str | None:
    """Return the profile that is set, None if none is."""
    profile = _security(holder).get("seccompProfile")
    return None if profile is None else str(profile.get("type") or "")


def _seccomp_baseline(meta: Tree, spec: Tree) -> Violation | None:
    def is_bad(holder: Tree) -> bool:
        return _seccomp(holder) not in (None, *_PROFILES)

    bad = _where(spec, is_bad)
    if not is_bad(spec) and not bad:
        return None
    values = sorted({_seccomp(h) or "" for h in (spec, *_containers(spec)) if is_bad(h)})
    return Violation(
        "seccompProfile",
        f"{_setters(is_bad(spec), bad)} must not set securityContext.seccompProfile.type to {_quoted(values)}",
    )


def _sysctls(minor: int) -> Check:
    allowed = {name for since, names in _SYSCTLS.items() if since <= minor for name in names}

    def check(meta: Tree, spec: Tree) -> Violation | None:
        bad = [
            sysctl.get("name") or ""
            for sysctl in _security(spec).get("sysctls") or ()
            if sysctl.get("name") not in allowed
        ]
        return Violation("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def _windows_host_process(meta: Tree, spec: Tree) -> Violation | None:
    def is_bad(holder: Tree) -> bool:
        return bool((_security(holder).get("windowsOptions") or {}).get("hostProcess"))

    bad = _where(spec, is_bad)
    if not is_bad(spec) and not bad:
        return None
    setters = _setters(is_bad(spec), bad)
    return Violation("hostProcess", f"{setters} must not set securityContext.windowsOptions.hostProcess=true")


# Restricted


def _privilege_escalation(meta: Tree, spec: Tree) -> Violation | None:
    bad = _where(spec, lambda c: _security(c).get("allowPrivilegeEscalation") is not False)
    detail = f"{_named(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail) if bad else None


def _capabilities_restricted(meta: Tree, spec: Tree) -> Violation | None:
    def capabilities(container: Tree) -> Tree:
        found: Tree = _security(container).get("capabilities") or {}
        return found

    def added(container: Tree) -> set[str]:
        return set(capabilities(container).get("add") or ()) - {"NET_BIND_SERVICE"}

    keeping = _where(spec, lambda c: "ALL" not in (capabilities(c).get("drop") or ()))
    adding = _where(spec, lambda c: bool(added(c)))
    details = []
    if keeping:
        details.append(f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = sorted(set().union(*map(added, _containers(spec))))
        details.append(
            f"{_named(adding)} must not include {_quoted(names)} in securityContext.capabilities.add"
        )
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def _restricted_volumes(meta: Tree, spec: Tree) -> Violation | None:
    bad, types = [], set()
    for volume in spec.get("volumes") or ():
        sources = [name for name in volume if name != "name"]
        if not _VOLUMES.intersection(sources):
            bad.append(volume.get("name") or "")
            types.add(sources[0] if sources else "unknown")
    if not bad:
        return None
    uses, names = _plural("uses", "use", bad), sorted(types)
    what = _plural("restricted volume type", "restricted volume types", names)
    return Violation(
        "restricted volume types",
        f"{_plural('volume', 'volumes', bad)} {_quoted(bad)} {uses} {what} {_quoted(names)}",
    )


def _run_as_non_root(meta: Tree, spec: Tree) -> Violation | None:
    pod = _security(spec).get("runAsNonRoot")
    explicit = _where(spec, lambda c: _security(c).get("runAsNonRoot") is False)
    implicit = _where(spec, lambda c: _security(c).get("runAsNonRoot") is None)
    if pod is False or explicit:
        detail = f"{_setters(pod is False, explicit)} must not set securityContext.runAsNonRoot=false"
        return Violation("runAsNonRoot != true", detail)
    if implicit and not pod:
        detail = f"pod or {_named(implicit)} must set securityContext.runAsNonRoot=true"
        return Violation("runAsNonRoot != true", detail)
    return None


def _run_as_user(meta: Tree, spec: Tree) -> Violation | None:
    def is_bad(holder: Tree) -> bool:
        return bool(_security(holder).get("runAsUser") == 0)

    bad = _where(spec, is_bad)
    if not is_bad(spec) and not bad:
        return None
    return Violation("runAsUser=0", f"{_setters(is_bad(spec), bad)} must not set runAsUser=0")


def _seccomp_restricted(meta: Tree, spec: Tree) -> Violation | None:
    violation = _seccomp_baseline(meta, spec)
    if violation is not None or _seccomp(spec) is not None:
        return violation
    bad = _where(spec, lambda c: _seccomp(c) is None)
    if not bad:
        return None
    return Violation(
        "seccompProfile",
        f'pod or {_named(bad)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
    )


# Levels


@attrs.frozen
class _Control:
    name: str
    versions: Sequence[tuple[int, Check]]
    """From which minor version on which check holds, the newest first."""
    instead_of: str = ""
    """The control of the level below that this one makes superfluous."""

    def at(self, minor: int) -> Check | None:
        return next((check for since, check in self.versions if since <= minor), None)


_BASELINE = (
    _Control("appArmorProfile", [(0, _app_armor)]),
    _Control("capabilities_baseline", [(0, _capabilities_baseline)]),
    _Control("hostNamespaces", [(0, _host_namespaces)]),
    _Control("hostPathVolumes", [(0, _host_path)]),
    _Control("hostPorts", [(0, _host_ports)]),
    _Control("hostProbesAndHostLifecycle", [(34, _host_probes)]),
    _Control("privileged", [(0, _privileged)]),
    _Control("procMount", [(35, _unless_in_user_namespace(_proc_mount)), (0, _proc_mount)]),
    _Control(
        "seLinuxOptions",
        [(31, _selinux((*_SELINUX_TYPES, "container_engine_t"))), (0, _selinux(_SELINUX_TYPES))],
    ),
    _Control("seccompProfile_baseline", [(19, _seccomp_baseline), (0, _seccomp_annotations)]),
    _Control("sysctls", [(minor, _sysctls(minor)) for minor in sorted(_SYSCTLS, reverse=True)]),
    _Control("windowsHostProcess", [(0, _windows_host_process)]),
)
_RESTRICTED = (
    _Control(
        "allowPrivilegeEscalation",
        [(25, _unless_on_windows(_privilege_escalation)), (8, _privilege_escalation)],
    ),
    _Control(
        "capabilities_restricted",
        [(25, _unless_on_windows(_capabilities_restricted)), (22, _capabilities_restricted)],
        "capabilities_baseline",
    ),
    _Control("procMount_restricted", [(35, _proc_mount)], "procMount"),
    _Control("restrictedVolumes", [(0, _restricted_volumes)], "hostPathVolumes"),
    _Control("runAsNonRoot", [(35, _unless_in_user_namespace(_run_as_non_root)), (0, _run_as_non_root)]),
    _Control("runAsUser", [(35, _unless_in_user_namespace(_run_as_user)), (23, _run_as_user)]),
    _Control(
        "seccompProfile_restricted",
        [(25, _unless_on_windows(_seccomp_restricted)), (19, _seccomp_restricted)],
        "seccompProfile_baseline",
    ),
)


def violations(level: LevelVersion, meta: Tree, spec: Tree) -> list[Violation]:
    """Return what a Pod does that its level forbids: first what the baseline forbids, each by the controls' names."""
    if level.level == "privileged":
        return []
    checks: list[Check | None] = []
    restricted = [c for c in _RESTRICTED if c.at(level.minor)] if level.level == "restricted" else []
    replaced = {control.instead_of for control in restricted}
    checks += [control.at(level.minor) for control in _BASELINE if control.name not in replaced]
    checks += [control.at(level.minor) for control in restricted]
    return [found for check in checks if check is not None and (found := check(meta, spec)) is not None]
