"""What containers say of their end: a file that they may write, or the last lines of their log, as the kubelet reads them."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.runtime.base import Container, Mount
from kubelib.runtime.logs import last_text

DEFAULT_PATH = "/dev/termination-log"
LONGEST_MESSAGE = 4096
LONGEST_LOG, MOST_LINES = 2048, 80
FALLBACK = "kubelib.dev/termination-from-log"
"""The annotation that says that a container's log may tell what its file does not."""
FILE = "kubelib.dev/termination-file"
"""The annotation with the file, on the host, in which a container tells why it ended."""


def termination_mount(definition: ContainerDefinition, file: Path) -> Mount:
    """Return the mount of the file into which a container writes, made empty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(0o666)  # whoever the container runs as
    return Mount(str(file), definition.termination_message_path or DEFAULT_PATH)


def annotations_of(definition: ContainerDefinition, file: Path) -> dict[str, str]:
    """Return by what `Messages` knows a container's file and policy, also after a restart of the agent."""
    from_log = definition.termination_message_policy == "FallbackToLogsOnError"
    return {FILE: str(file), **({FALLBACK: "true"} if from_log else {})}


class Messages:
    """Adds to the containers that have ended what they say of it; each is read once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def added(
        self, containers: Sequence[Container], log_of: Callable[[Container], Path]
    ) -> tuple[Container, ...]:
        """Return the containers, those that have ended with their messages."""
        self._known = {c.id: self._known[c.id] for c in containers if c.id in self._known}
        return tuple(self._with_message(container, log_of) for container in containers)

    def _with_message(self, container: Container, log_of: Callable[[Container], Path]) -> Container:
        if container.state != "exited" or FILE not in container.annotations:
            return container
        if container.id not in self._known:
            self._known[container.id] = _read(container, log_of(container))
        said = self._known[container.id]
        return attrs.evolve(container, message=": ".join(filter(None, (container.message, said))))


def _read(container: Container, log: Path) -> str:
    said = b""
    with contextlib.suppress(OSError), Path(container.annotations[FILE]).open("rb") as file:
        said = file.read(LONGEST_MESSAGE)
    if not said and container.exit_code != 0 and FALLBACK in container.annotations:
        said = last_text(log, lines=MOST_LINES, size=LONGEST_LOG)
    return said.decode(errors="replace")
