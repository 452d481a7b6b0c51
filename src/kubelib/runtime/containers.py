"""What container engines have in common: labels, limits, names, and the streams that they multiplex. Pure.

An engine keeps for an agent that is started again what cannot be seen from a container: in labels, whose names are those that
the kubelet has always used where it has some.
"""

import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from kubelib.runtime.base import (
    BadContainerConfig,
    ContainerSpec,
    InvalidImageName,
    Resources,
    SandboxSpec,
    Security,
)

POD_UID = "io.kubernetes.pod.uid"
POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
CONTAINER_NAME = "io.kubernetes.container.name"
OWNER = "kubelib.dev/owner"
"""The label that tells the Pods of one node from those of another on the same engine."""
KIND = "kubelib.dev/kind"
ATTEMPT = "kubelib.dev/attempt"
IMAGE = "kubelib.dev/image"
LOG = "kubelib.dev/log"
ANNOTATIONS = "kubelib.dev/annotations"
CPU_PERIOD = 100_000
"""Microseconds in which a container may use its quota."""
FEWEST_SHARES, MOST_SHARES = 2, 262_144
SMALLEST_QUOTA = 1_000
CAP_SYS_RESOURCE = 24

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)

Stream = Literal["stdout", "stderr"]
_HEAD = struct.Struct(">BxxxI")


def check_image_name(image: str) -> None:
    """Raise `InvalidImageName` for what is no reference to an image.

    >>> check_image_name("registry.example:5000/team/app:1.2@sha256:" + "0" * 64)
    >>> check_image_name("App")
    Traceback (most recent call last):
    kubelib.runtime.base.InvalidImageName: couldn't parse image name "App": invalid reference format: repository name must be lowercase
    """
    if _REFERENCE.fullmatch(image):
        return
    why = "invalid reference format"
    if _REFERENCE.fullmatch(image.lower()):
        why += ": repository name must be lowercase"
    raise InvalidImageName(f'couldn\'t parse image name "{image}": {why}')


def sandbox_labels(spec: SandboxSpec, owner: str) -> dict[str, str]:
    """Return the labels by which a sandbox is found again."""
    return {
        **spec.labels,
        OWNER: owner,
        KIND: "sandbox",
        POD_UID: spec.uid,
        POD_NAME: spec.name,
        POD_NAMESPACE: spec.namespace,
        ANNOTATIONS: json.dumps(dict(spec.annotations)),
    }


def container_labels(spec: ContainerSpec, sandbox: Mapping[str, str]) -> dict[str, str]:
    """Return the labels by which a container of a sandbox with these labels is found again."""
    return {
        **{name: sandbox[name] for name in (OWNER, POD_UID, POD_NAME, POD_NAMESPACE)},
        KIND: "container",
        CONTAINER_NAME: spec.name,
        ATTEMPT: str(spec.attempt),
        IMAGE: spec.image,
        LOG: spec.log_path,
        ANNOTATIONS: json.dumps(dict(spec.annotations)),
    }


def annotations_of(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations that a sandbox or container was given."""
    found: dict[str, str] = json.loads(labels.get(ANNOTATIONS) or "{}")
    return found


def sandbox_name(spec: SandboxSpec) -> str:
    """Return the engine's name for a sandbox: the same for the same Pod, so that there cannot be two."""
    return f"k8s_POD_{spec.name}_{spec.namespace}_{spec.uid}"


def container_name(spec: ContainerSpec, sandbox: Mapping[str, str]) -> str:
    """Return the engine's name for one attempt of a container."""
    return f"k8s_{spec.name}_{sandbox[POD_NAME]}_{sandbox[POD_NAMESPACE]}_{sandbox[POD_UID]}_{spec.attempt}"


def cpu_shares(resources: Resources) -> int:
    """Return a container's weight when processors are short: what it asked for, else its limit.

    >>> cpu_shares(Resources(cpu_request=0.25)), cpu_shares(Resources()), cpu_shares(Resources(cpu=1))
    (256, 2, 1024)
    """
    milli = round((resources.cpu_request or resources.cpu or 0.0) * 1000)
    return min(max(milli * 1024 // 1000, FEWEST_SHARES), MOST_SHARES)


def cpu_quota(resources: Resources) -> int:
    """Return the microseconds of `CPU_PERIOD` that a container may use; 0: all.

    >>> cpu_quota(Resources(cpu=0.25)), cpu_quota(Resources(cpu=0.001)), cpu_quota(Resources())
    (25000, 1000, 0)
    """
    if not resources.cpu:
        return 0
    return max(round(resources.cpu * CPU_PERIOD), SMALLEST_QUOTA)


def oom_score(wanted: int | None) -> int | None:
    """Return the nearest score that this process may give: without CAP_SYS_RESOURCE, none below its own."""
    if wanted is None:
        return None
    try:
        status = Path("/proc/self/status").read_text()
        own = int(Path("/proc/self/oom_score_adj").read_text())
    except (OSError, ValueError):
        return wanted
    capabilities = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return wanted if int(capabilities, 16) >> CAP_SYS_RESOURCE & 1 else max(wanted, own)


def check_non_root(spec: ContainerSpec, image_user: str) -> None:
    """Refuse what must not run as root and would, `image_user` being what the image says. Raises `BadContainerConfig`."""
    if not spec.security.non_root:
        return
    if spec.user is not None:
        if spec.user == 0:
            raise BadContainerConfig(f"container's runAsUser breaks non-root policy (container: {spec.name})")
        return
    user = image_user.partition(":")[0]
    if not user or (user.isdecimal() and int(user) == 0):
        raise BadContainerConfig(
            f"container has runAsNonRoot and image will run as root (container: {spec.name})"
        )
    if not user.isdecimal():
        raise BadContainerConfig(
            f"container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
            f" (container: {spec.name})"
        )


def user_of(spec: ContainerSpec) -> str | None:
    """Return the user, and the group if there is one, as engines want them; None: those of the image."""
    if spec.user is None and spec.group is None:
        return None
    user = "0" if spec.user is None else str(spec.user)
    return user if spec.group is None else f"{user}:{spec.group}"


def start_before(started: datetime | None, finished: datetime | None) -> datetime | None:
    """Return when a container that has ended was started: engines note that once they hear of it, which may be after the end.

    >>> start_before(datetime(2026, 1, 2), datetime(2026, 1, 1))
    datetime.datetime(2026, 1, 1, 0, 0)
    """
    return min(started, finished) if started is not None and finished is not None else started


def reason_of(exit_code: int, *, oom_killed: bool) -> str:
    """Return why a container that had started has ended, in Kubernetes' words."""
    if oom_killed:
        return "OOMKilled"
    return "Completed" if exit_code == 0 else "Error"


def prepare_log(spec: ContainerSpec) -> None:
    """Make the directory of a container's log."""
    if spec.log_path:
        os.makedirs(Path(spec.log_path).parent, exist_ok=True)


PROPAGATIONS = {"HostToContainer": "rslave", "Bidirectional": "rshared"}
"""How mount(8) calls what is not the default."""


def apparmor_name(security: Security) -> str:
    """Return an AppArmor profile as engines call it."""
    return "unconfined" if security.apparmor == "Unconfined" else security.apparmor


def prepare_mounts(spec: ContainerSpec) -> None:
    """Make what is to be mounted and is not there, as Kubernetes does."""
    for mount in spec.mounts:
        if not os.path.lexists(mount.source):
            os.makedirs(mount.source, exist_ok=True)


class Frames:
    """Takes apart what an engine sends of a container without a terminal: frames of stream, length and bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[Stream, bytes]]:
        """Yield what has come in whole frames."""
        self._rest += data
        begin = 0
        while len(self._rest) - begin >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self._rest, begin)
            end = begin + _HEAD.size + size
            if len(self._rest) < end:
                break
            payload = self._rest[begin + _HEAD.size : end]
            begin = end
            if payload:
                yield ("stderr" if kind == 2 else "stdout"), payload
        self._rest = self._rest[begin:]
