"""What Podman is asked to create, from what a runtime is asked for. Pure."""

from collections.abc import Mapping
from socket import gethostname
from typing import Any

from kubelib.runtime.base import ContainerSpec, Resources, SandboxSpec
from kubelib.runtime.containers import (
    CPU_PERIOD,
    PROPAGATIONS,
    apparmor_name,
    container_labels,
    container_name,
    cpu_quota,
    cpu_shares,
    oom_score,
    sandbox_labels,
    sandbox_name,
    user_of,
)
from kubelib.runtime.podman.readings import STDIN_ONCE

Tree = dict[str, Any]

HOST: Tree = {"nsmode": "host"}
SHARED = "kubelib.dev/namespaces"
"""The label of a pod with the namespaces of the host's that its containers are in, and whether they share their processes."""


def pod_request(spec: SandboxSpec, owner: str, network: str = "") -> Tree:
    """Return the pod for what the containers of a Pod share, on a network of Podman's if one is named."""
    shared = ["net", "uts"]
    if not spec.host_ipc:
        shared.append("ipc")
    if spec.share_processes and not spec.host_pid:
        shared.append("pid")
    kinds = {"host-pid": spec.host_pid, "host-ipc": spec.host_ipc}
    tree: Tree = {
        "name": sandbox_name(spec),
        "labels": {
            **sandbox_labels(spec, owner),
            SHARED: " ".join(name for name, wanted in kinds.items() if wanted),
        },
        "shared_namespaces": shared,
        "exit_policy": "continue",
        "sysctl": dict(spec.sysctls),
    }
    if spec.host_network:
        return tree | {"netns": HOST, "hostname": gethostname().partition(".")[0]}
    tree |= {
        "hostname": spec.hostname,
        "dns_server": list(spec.dns.servers),
        "dns_search": list(spec.dns.searches),
        "dns_option": list(spec.dns.options),
        "portmappings": [
            {
                "host_ip": port.host_ip,
                "host_port": port.host_port,
                "container_port": port.port,
                "protocol": port.protocol.lower(),
            }
            for port in spec.ports
        ],
    }
    if network:
        tree |= {"netns": {"nsmode": "bridge"}, "Networks": {network: {}}}
    return tree


def container_request(spec: ContainerSpec, image: str, pod: str, labels: Mapping[str, str]) -> Tree:
    """Return the container for a `ContainerSpec`: `image` and `pod` are identities, `labels` are the pod's."""
    security = spec.security
    once = {STDIN_ONCE: "true"} if spec.stdin_once else {}
    tree: Tree = {
        "name": container_name(spec, labels),
        "image": image,
        "pod": pod,
        "labels": container_labels(spec, labels) | once,
        "env": dict(spec.env),
        "mounts": [
            {
                "type": "bind",
                "source": mount.source,
                "destination": mount.target,
                "options": [
                    "rbind",
                    "ro" if mount.read_only else "rw",
                    PROPAGATIONS.get(mount.propagation, "rprivate"),
                    *mount.options,
                ],
            }
            for mount in spec.mounts
        ],
        "devices": [
            {"path": f"{device.source}:{device.target}:{device.permissions}"} for device in spec.devices
        ],
        "stdin": spec.stdin,
        "terminal": spec.tty,
        "privileged": security.privileged,
        "read_only_filesystem": security.read_only_root,
        "cap_add": list(security.add_capabilities),
        "cap_drop": list(security.drop_capabilities),
        "no_new_privileges": security.no_new_privileges,
        "groups": [str(group) for group in security.supplemental_groups],
        "restart_policy": "no",
        # How long it has to end is said when it is stopped; what removes it does not wait.
        "stop_timeout": 0,
        "systemd": "false",
        "manage_password": False,  # who there is, the image says
        "resource_limits": limits(spec.resources),
    }
    # Podman's monitor writes the log, in the format of the CRI, also while there is no agent and no service.
    tree["log_configuration"] = {"driver": "k8s-file", **({"path": spec.log_path} if spec.log_path else {})}
    if spec.command:
        tree["entrypoint"] = list(spec.command)
    if spec.args:
        tree["command"] = list(spec.args)
    if spec.working_dir:
        tree["work_dir"] = spec.working_dir
    if (user := user_of(spec)) is not None:
        tree["user"] = user
    if (score := oom_score(spec.oom_score_adj)) is not None:
        tree["oom_score_adj"] = score
    if security.seccomp:
        tree["seccomp_profile_path"] = "unconfined" if security.seccomp == "Unconfined" else security.seccomp
    if security.apparmor:
        tree["apparmor_profile"] = apparmor_name(security)
    if security.selinux:
        tree["selinux_opts"] = [f"{name}:{value}" for name, value in security.selinux.items()]
    if security.unmasked_proc:
        tree["unmask"] = ["ALL"]
    kinds = labels.get(SHARED, "").split()
    if spec.target is not None:
        tree["pidns"] = {"nsmode": "container", "value": spec.target}
    elif "host-pid" in kinds:
        tree["pidns"] = HOST
    if "host-ipc" in kinds:
        tree["ipcns"] = HOST
    return tree


def limits(resources: Resources) -> Tree:
    """Return limits as containers are created with them, and updated."""
    cpu: Tree = {"shares": cpu_shares(resources)}
    if quota := cpu_quota(resources):
        cpu |= {"quota": quota, "period": CPU_PERIOD}
    found: Tree = {"cpu": cpu}
    if resources.memory is not None:
        found["memory"] = {"limit": resources.memory, "swap": resources.memory}  # and no swap
    if resources.pids is not None:
        found["pids"] = {"limit": resources.pids}
    return found
