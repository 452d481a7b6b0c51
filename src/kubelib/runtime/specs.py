"""What a runtime is asked for, from what a Pod says. Pure."""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import attrs

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ResourceRequirements, VolumeMount
from kubelib.api.core.pod import Pod
from kubelib.api.core.security import (
    AppArmorProfile,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
    SELinuxOptions,
)
from kubelib.api.quantity import parse_quantity
from kubelib.runtime.admittance import host_ports, requests_of
from kubelib.runtime.base import (
    ContainerSpec,
    Dns,
    Mount,
    PortMapping,
    Propagation,
    Resources,
    SandboxSpec,
    Security,
)
from kubelib.runtime.environment import ConfigMissing, expand, names_in
from kubelib.runtime.hostnames import kernel_name_of
from kubelib.runtime.words import quoted

GUARANTEED, BEST_EFFORT = -997, 1000
"""How early the kernel kills containers of these classes."""
SECCOMP_PROFILES = Path("/var/lib/kubelet/seccomp")
"""Where the profiles of type Localhost are."""


def sandbox_spec(
    pod: Pod, *, address: str = "", dns: Dns | None = None, domain: str = "cluster.local"
) -> SandboxSpec:
    """Return what the containers of a Pod share; `domain` is the cluster's. Raises `CannotCreate`."""
    spec, meta = pod.spec, pod.metadata
    security = spec.security_context
    return SandboxSpec(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        hostname=kernel_name_of(pod, domain),
        address=address,
        labels=dict(meta.labels),
        host_network=spec.host_network,
        host_pid=spec.host_pid,
        host_ipc=spec.host_ipc,
        host_users=spec.host_users is not False,
        share_processes=bool(spec.share_process_namespace),
        ports=() if spec.host_network else _ports(pod),
        dns=dns or Dns(),
        sysctls={sysctl.name: sysctl.value for sysctl in security.sysctls} if security is not None else {},
    )


def _ports(pod: Pod) -> tuple[PortMapping, ...]:
    taken = host_ports(pod)
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    wanted = {
        (port.host_ip, port.protocol or "TCP", port.host_port): port.container_port
        for container in containers
        for port in container.ports
    }
    return tuple(
        PortMapping(number, wanted[address, protocol, number], protocol, address)
        for address, protocol, number in sorted(taken)
    )


def container_spec(
    pod: Pod,
    definition: ContainerDefinition,
    *,
    attempt: int,
    env: Mapping[str, str],
    volumes: Mapping[str, Path],
    log_path: Path,
    memory: int = 0,
    pids: int | None = None,
    more: Sequence[Mount] = (),
    annotations: Mapping[str, str] | None = None,
) -> ContainerSpec:
    """Return what to run; `memory` is the node's, in bytes, `pids` how many processes it may have. Raises `ConfigMissing`, `QuantityError`."""
    mounts = []
    in_memory = {v.name for v in pod.spec.volumes if v.empty_dir and v.empty_dir.medium == "Memory"}
    images = {v.name for v in pod.spec.volumes if v.image is not None}
    for mount in definition.volume_mounts:
        source = volumes[mount.name]
        file_system = str(source) if mount.name in in_memory else ""
        below = _sub_path(mount, env)
        if below:
            source = _below(
                source, below, f"volumeMount {quoted(mount.name)} of container {quoted(definition.name)}"
            )
        propagation = cast("Propagation", mount.mount_propagation or "None")
        read_only, options = bool(mount.read_only), mount.bind_mount_options
        if mount.name in images:
            read_only, options = True, ("noexec",)
        mounts.append(Mount(str(source), mount.mount_path, read_only, propagation, file_system, options))
    places = {mount.target for mount in mounts}
    own, shared = definition.security_context, pod.spec.security_context
    user = own.run_as_user if own is not None else None
    group = own.run_as_group if own is not None else None
    return ContainerSpec(
        name=definition.name,
        image=definition.image,
        attempt=attempt,
        command=[expand(word, env) for word in definition.command],
        args=[expand(word, env) for word in definition.args],
        env=env,
        working_dir=definition.working_dir,
        mounts=[*mounts, *(mount for mount in more if mount.target not in places)],
        resources=limits_of(definition.resources, pids),
        user=user if user is not None else shared.run_as_user if shared else None,
        group=group if group is not None else shared.run_as_group if shared else None,
        stdin=definition.stdin,
        stdin_once=definition.stdin_once,
        tty=definition.tty,
        log_path=str(log_path),
        security=security_of(own, shared),
        oom_score_adj=oom_score_of(pod, definition, memory),
        annotations=annotations or {},
    )


def limits_of(resources: ResourceRequirements, pids: int | None = None) -> Resources:
    """Return what a container may have, or a Pod as a whole. Raises `QuantityError`."""
    limits, requests = resources.limits, resources.requests
    return Resources(
        memory=parse_quantity(limits["memory"]).value() if "memory" in limits else None,
        cpu=parse_quantity(limits["cpu"]).milli() / 1000 if "cpu" in limits else None,
        cpu_request=parse_quantity(requests["cpu"]).milli() / 1000 if "cpu" in requests else 0.0,
        pids=pids,
    )


def whole_of(pod: Pod) -> Resources:
    """Return what a Pod weighs beside others, by all that it asks for, and the limits that it has as a whole. Raises `QuantityError`."""
    own = limits_of(pod.spec.resources) if pod.spec.resources is not None else Resources()
    return attrs.evolve(own, cpu_request=requests_of(pod).get("cpu", 0) / 1000)


def security_of(own: SecurityContext | None, shared: PodSecurityContext | None) -> Security:
    """Return what a container may do: what it says itself goes before what its Pod says."""
    own, shared = own or SecurityContext(), shared or PodSecurityContext()
    capabilities = own.capabilities
    non_root = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    groups = [*shared.supplemental_groups]
    if shared.fs_group is not None and shared.fs_group not in groups:
        groups.append(shared.fs_group)
    privileged = bool(own.privileged)
    return Security(
        privileged=privileged,
        read_only_root=bool(own.read_only_root_filesystem),
        add_capabilities=[_capability(name) for name in capabilities.add] if capabilities else [],
        drop_capabilities=[_capability(name) for name in capabilities.drop] if capabilities else [],
        no_new_privileges=own.allow_privilege_escalation is False and not privileged,
        supplemental_groups=groups,
        seccomp=_seccomp(own.seccomp_profile or shared.seccomp_profile),
        apparmor=_apparmor(own.app_armor_profile or shared.app_armor_profile),
        selinux=_selinux(own.se_linux_options or shared.se_linux_options),
        unmasked_proc=own.proc_mount == "Unmasked",
        non_root=bool(non_root),
    )


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _seccomp(profile: SeccompProfile | None) -> str:
    if profile is None or profile.type == "RuntimeDefault":
        return ""
    if profile.type == "Localhost":
        return str(SECCOMP_PROFILES / profile.localhost_profile)
    return profile.type


def _apparmor(profile: AppArmorProfile | None) -> str:
    if profile is None or profile.type == "RuntimeDefault":
        return ""
    return profile.localhost_profile if profile.type == "Localhost" else profile.type


def _selinux(options: SELinuxOptions | None) -> dict[str, str]:
    if options is None:
        return {}
    parts = {"user": options.user, "role": options.role, "type": options.type, "level": options.level}
    return {name: value for name, value in parts.items() if value}


def oom_score_of(pod: Pod, definition: ContainerDefinition, memory: int) -> int:
    """Return how early the kernel kills a container when memory runs out: the more it asked for of the node's, the later."""
    if pod.spec.priority_class_name == "system-node-critical" or pod.status.qos_class == "Guaranteed":
        return GUARANTEED
    if pod.status.qos_class == "BestEffort" or memory <= 0:
        return BEST_EFFORT
    asked = definition.resources.requests.get("memory", "0")
    score = 1000 - 1000 * parse_quantity(asked).value() // memory
    return min(max(score, 1000 + GUARANTEED), BEST_EFFORT - 1)


def _sub_path(mount: VolumeMount, env: Mapping[str, str]) -> str:
    """Return which place in its volume is mounted; empty for all of it. Raises `ConfigMissing`."""
    if not mount.sub_path_expr:
        return mount.sub_path
    missing = sorted(name for name in names_in(mount.sub_path_expr) if not env.get(name))
    if missing:
        raise ConfigMissing(f"missing value for {', '.join(missing)}")
    return expand(mount.sub_path_expr, env)


def _below(volume: Path, path: str, what: str) -> Path:
    """Return a place in a volume, made a directory if there is nothing. Raises `ConfigMissing`, also if it leads out."""
    if path.startswith("/"):
        raise ConfigMissing(f"error SubPath `{path}` must not be an absolute path")
    if ".." in Path(path).parts:
        raise ConfigMissing(f"unable to provision SubPath `{path}`: must not contain '..'")
    place = volume / path
    # No more is said of what there is on the node.
    if not place.resolve().is_relative_to(volume.resolve()):
        raise ConfigMissing(f"failed to prepare subPath for {what}")
    try:
        if not place.exists():
            place.mkdir(parents=True)
            place.chmod(stat.S_IMODE(volume.stat().st_mode))  # whoever may use the volume
    except OSError:
        raise ConfigMissing(f"failed to create subPath directory for {what}") from None
    return place
