"""What the engine is asked to create, from what a runtime is asked for. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubelib.runtime.base import ContainerSpec, Mount, SandboxSpec
from kubelib.runtime.containers import (
    CPU_PERIOD,
    FEWEST_SHARES,
    PROPAGATIONS,
    apparmor_name,
    container_labels,
    cpu_quota,
    cpu_shares,
    oom_score,
    sandbox_labels,
    user_of,
)

Tree = dict[str, Any]

PAUSES = ("localhost/kubelib/pause:1", "registry.k8s.io/pause:3.10")
"""The image of sandboxes: the first that is there, otherwise the last is pulled."""
SANDBOX_OOM_SCORE = -998
SHARES = "kubelib.dev/share-processes"
"""The label of a sandbox whose containers see each other's processes."""
LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}


def sandbox_config(spec: SandboxSpec, image: str, owner: str, parent: str = "") -> Tree:
    """Return what is created to hold what the containers of a Pod share; `parent` is the control group of them all, if they have one."""
    host: Tree = {
        "CgroupParent": parent,
        "NetworkMode": "host" if spec.host_network else "bridge",
        "IpcMode": "host" if spec.host_ipc else "shareable",
        "PidMode": "host" if spec.host_pid else "",
        "Dns": list(spec.dns.servers),
        "DnsSearch": list(spec.dns.searches),
        "DnsOptions": list(spec.dns.options),
        "Sysctls": dict(spec.sysctls),
        "PortBindings": {},
        "CpuShares": FEWEST_SHARES,
        "OomScoreAdj": oom_score(SANDBOX_OOM_SCORE),
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": {"Type": "none"},
    }
    exposed: Tree = {}
    for port in spec.ports:
        name = f"{port.port}/{port.protocol.lower()}"
        exposed[name] = {}
        binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        host["PortBindings"].setdefault(name, []).append(binding)
    return {
        "Image": image,
        "Hostname": "" if spec.host_network else spec.hostname,
        "Labels": sandbox_labels(spec, owner) | ({SHARES: "true"} if spec.share_processes else {}),
        "ExposedPorts": exposed,
        "HostConfig": host,
    }


def container_config(
    spec: ContainerSpec,
    sandbox: str,
    labels: Mapping[str, str],
    *,
    pid: str,
    seccomp: str = "",
    parent: str = "",
) -> Tree:
    """Return what is created for a container: `sandbox` is its sandbox's container, `labels` are that one's.

    `pid` says whose processes it sees, `seccomp` is the text of the profile that it asks for, `parent` its Pod's control group.
    """
    security, resources = spec.security, spec.resources
    options = ["no-new-privileges"] if security.no_new_privileges else []
    if security.seccomp == "Unconfined":
        options.append("seccomp=unconfined")
    elif seccomp:
        options.append(f"seccomp={seccomp}")
    if security.apparmor:
        options.append(f"apparmor={apparmor_name(security)}")
    options += [f"label={name}:{value}" for name, value in security.selinux.items()]
    host: Tree = {
        "CgroupParent": parent,
        "NetworkMode": f"container:{sandbox}",
        "IpcMode": f"container:{sandbox}",
        "PidMode": pid,
        "Mounts": [_mount(mount) for mount in spec.mounts],
        "Devices": [
            {
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.permissions,
            }
            for device in spec.devices
        ],
        "CpuShares": cpu_shares(resources),
        "Privileged": security.privileged,
        "ReadonlyRootfs": security.read_only_root,
        "CapAdd": list(security.add_capabilities),
        "CapDrop": list(security.drop_capabilities),
        "GroupAdd": [str(group) for group in security.supplemental_groups],
        "SecurityOpt": options,
        "LogConfig": LOG,
    }
    if security.unmasked_proc:
        host |= {"MaskedPaths": [], "ReadonlyPaths": []}
    if resources.memory is not None:
        host |= {"Memory": resources.memory, "MemorySwap": resources.memory}  # and no swap
    if quota := cpu_quota(resources):
        host |= {"CpuPeriod": CPU_PERIOD, "CpuQuota": quota}
    if resources.pids is not None:
        host["PidsLimit"] = resources.pids
    if (score := oom_score(spec.oom_score_adj)) is not None:
        host["OomScoreAdj"] = score
    config: Tree = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": container_labels(spec, labels),
        "OpenStdin": spec.stdin,
        "StdinOnce": spec.stdin_once,
        "Tty": spec.tty,
        "WorkingDir": spec.working_dir,
        "Healthcheck": {"Test": ["NONE"]},  # the agent's probes judge, not the image's
        "HostConfig": host,
    }
    if spec.command:
        config["Entrypoint"] = list(spec.command)
    if spec.args:
        config["Cmd"] = list(spec.args)
    if (user := user_of(spec)) is not None:
        config["User"] = user
    return config


def _mount(mount: Mount) -> Tree:
    tree: Tree = {
        "Type": "bind",
        "Source": str(Path(mount.source).absolute()),
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }
    if mount.propagation in PROPAGATIONS:
        tree["BindOptions"] = {"Propagation": PROPAGATIONS[mount.propagation]}
    return tree
