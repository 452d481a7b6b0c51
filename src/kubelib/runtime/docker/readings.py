"""What the engine tells of its containers, as a runtime tells it. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubelib.runtime.base import Container, ContainerId, Sandbox, SandboxId
from kubelib.runtime.containers import (
    ATTEMPT,
    CONTAINER_NAME,
    IMAGE,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    annotations_of,
    reason_of,
    start_before,
)

Tree = Mapping[str, Any]


def time_of(text: str) -> datetime | None:
    """Return a time as the engine writes it; None for the year 1, which is its way to say never.

    >>> time_of("2026-01-02T03:04:05.123456789Z"), time_of("0001-01-01T00:00:00Z")
    (datetime.datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=datetime.timezone.utc), None)
    """
    if not text or text.startswith("0001-"):
        return None
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}").replace(tzinfo=UTC)


def labels_of(tree: Tree) -> dict[str, str]:
    """Return a container's labels."""
    return tree["Config"].get("Labels") or {}


def is_running(tree: Tree) -> bool:
    """Return whether a container runs; one that is frozen does."""
    return bool(tree["State"].get("Running"))


def is_unborn(tree: Tree) -> bool:
    """Return whether a container was made and never started, nor refused to: whoever made it was interrupted, or is at it."""
    state = tree["State"]
    return state["Status"] == "created" and not state.get("Error")


def is_going(tree: Tree) -> bool:
    """Return whether a container is being removed."""
    return tree["State"]["Status"] in ("removing", "dead")


def container_of(tree: Tree) -> Container:
    """Return a container as the engine describes it."""
    labels, state = labels_of(tree), tree["State"]
    started, finished = time_of(state.get("StartedAt", "")), time_of(state.get("FinishedAt", ""))
    common: dict[str, Any] = {
        "id": ContainerId(tree["Id"]),
        "name": labels[CONTAINER_NAME],
        "image": labels[IMAGE],
        "image_id": f"docker://{tree['Image']}",
        "attempt": int(labels[ATTEMPT]),
        "annotations": annotations_of(labels),
        "started": started if is_running(tree) else start_before(started, finished),
    }
    if is_running(tree):
        return Container(**common, state="running", pid=state["Pid"])
    if is_unborn(tree):
        return Container(**common, state="created")
    if state["Status"] == "created":  # it could not be started
        created = time_of(tree["Created"])
        return Container(
            **common,
            state="exited",
            finished=created,
            exit_code=state["ExitCode"] or 128,
            reason="ContainerCannotRun",
            message=state["Error"],
        )
    return Container(
        **common,
        state="exited",
        finished=finished,
        exit_code=state["ExitCode"],
        reason=reason_of(state["ExitCode"], oom_killed=bool(state.get("OOMKilled"))),
        message=state.get("Error", ""),
    )


def address_of(tree: Tree) -> str:
    """Return the address that a sandbox has; empty if it has none of its own."""
    networks = tree.get("NetworkSettings", {}).get("Networks") or {}
    return next((n["IPAddress"] for n in networks.values() if n.get("IPAddress")), "")


def sandbox_of(tree: Tree, containers: tuple[Container, ...]) -> Sandbox:
    """Return a sandbox as the engine describes its container."""
    labels = labels_of(tree)
    created = time_of(tree["Created"])
    assert created is not None
    return Sandbox(
        id=SandboxId(labels[POD_UID]),
        uid=labels[POD_UID],
        namespace=labels[POD_NAMESPACE],
        name=labels[POD_NAME],
        address=address_of(tree),
        ready=is_running(tree),
        created=created,
        containers=containers,
        annotations=annotations_of(labels),
    )
