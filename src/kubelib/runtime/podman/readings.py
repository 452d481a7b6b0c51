"""What Podman tells of its containers, as a runtime tells it. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import attrs

from kubelib.runtime.base import Container, ContainerId, Sandbox, SandboxId
from kubelib.runtime.containers import (
    ATTEMPT,
    CONTAINER_NAME,
    IMAGE,
    KIND,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    annotations_of,
    reason_of,
    start_before,
)

Tree = Mapping[str, Any]

STDIN_ONCE = "kubelib.dev/stdin-once"
"""The label of a container whose input is for one visitor: Podman has no such thing."""
ALIVE = ("running", "paused", "stopping")
UNBORN = ("created", "configured", "initialized")
CANNOT_RUN = 128


def time_of(text: str) -> datetime | None:
    """Return a time as Podman writes it; None for the year 1, which is its way to say never.

    >>> time_of("2026-01-02T03:04:05.123456789+01:00"), time_of("0001-01-01T00:00:00Z")
    (datetime.datetime(2026, 1, 2, 2, 4, 5, 123456, tzinfo=datetime.timezone.utc), None)
    """
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text).astimezone(UTC)


@attrs.frozen(kw_only=True)
class Known:
    """One container, a pod's infra container too, as it was last described."""

    id: str
    name: str = ""
    pod: str
    """The identity of Podman's pod."""
    labels: Mapping[str, str]
    status: str
    pid: int = 0
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int = 0
    oom_killed: bool = False
    failure: str = ""
    """Why it could not be started."""
    image: str = ""
    """The identity of its image."""
    address: str = ""
    cgroup: str = ""
    log: str = ""
    """The file of its log."""
    directory: str = ""
    """Where Podman and its monitor keep what is its."""
    stop_signal: int = 15
    tty: bool = False

    @property
    def running(self) -> bool:
        """Whether it runs; one that is frozen does."""
        return self.status in ALIVE

    @property
    def unborn(self) -> bool:
        """Whether it has not been started: whoever made it is at it, was interrupted, or could not."""
        return self.status in UNBORN

    @property
    def is_sandbox(self) -> bool:
        """Whether it is what holds a pod's network."""
        return self.labels.get(KIND) == "sandbox"

    @property
    def uid(self) -> str:
        """The Pod's UID."""
        return self.labels.get(POD_UID, "")

    @property
    def stdin_once(self) -> bool:
        """Whether its input ends when the first who attached to it leaves."""
        return self.labels.get(STDIN_ONCE) == "true"


def known_of(tree: Tree) -> Known:
    """Return a container as Podman describes it."""
    state, config = tree["State"], tree["Config"]
    created = time_of(tree["Created"])
    assert created is not None
    status = str(state["Status"])
    started = time_of(state.get("StartedAt", ""))
    return Known(
        id=tree["Id"],
        name=tree.get("Name", ""),
        pod=tree.get("Pod", ""),
        labels=config.get("Labels") or {},
        status="exited" if status == "stopped" else status,
        pid=state.get("Pid", 0),
        created=created,
        started=started,
        # Podman notes the end when it hears of it, and for what never ran not at all.
        finished=time_of(state.get("FinishedAt", "")) if started is not None else None,
        exit_code=state.get("ExitCode", 0),
        oom_killed=bool(state.get("OOMKilled")),
        image=tree.get("Image", ""),
        address=_address(tree.get("NetworkSettings") or {}),
        cgroup=state.get("CgroupPath", ""),
        log=(tree["HostConfig"].get("LogConfig") or {}).get("Path", ""),
        directory=tree.get("StaticDir", ""),
        stop_signal=int(config.get("StopSignal") or 15),
        tty=bool(config.get("Tty")),
    )


def _address(settings: Tree) -> str:
    networks = settings.get("Networks") or {}
    found = next((n["IPAddress"] for n in networks.values() if n.get("IPAddress")), "")
    return str(found or settings.get("IPAddress") or "")


def container_of(known: Known) -> Container:
    """Return a container of a Pod; one that was not started could not be."""
    common: dict[str, Any] = {
        "id": ContainerId(known.id),
        "name": known.labels[CONTAINER_NAME],
        "image": known.labels[IMAGE],
        "image_id": f"podman://sha256:{known.image.removeprefix('sha256:')}",
        "attempt": int(known.labels[ATTEMPT]),
        "annotations": annotations_of(known.labels),
        "started": known.started if known.running else start_before(known.started, known.finished),
    }
    if known.running:
        return Container(**common, state="running", pid=known.pid)
    if known.unborn:
        return Container(
            **common,
            state="exited",
            finished=known.created,
            exit_code=CANNOT_RUN,
            reason="ContainerCannotRun",
            message=known.failure,
        )
    return Container(
        **common,
        state="exited",
        finished=known.finished,
        exit_code=known.exit_code,
        reason=reason_of(known.exit_code, oom_killed=known.oom_killed),
    )


def sandbox_of(known: Known, containers: tuple[Container, ...]) -> Sandbox:
    """Return a sandbox as Podman describes its infra container."""
    return Sandbox(
        id=SandboxId(known.uid),
        uid=known.uid,
        namespace=known.labels[POD_NAMESPACE],
        name=known.labels[POD_NAME],
        address=known.address,
        ready=known.running,
        created=known.created,
        containers=containers,
        annotations=annotations_of(known.labels),
    )


def change_of(known: Known | None, now: Known) -> Literal["started", "exited"] | None:
    """Return what is to be told of a container that was known like this, or not at all, and is now like that."""
    if now.unborn:
        return None
    if known is None or known.unborn or known.running is not now.running:
        return "started" if now.running else "exited"
    return None
