"""Whether the engine below a node answers: a node whose engine does not is not ready, and says so as the kubelet does."""

import logging
from collections.abc import Sequence

import anyio

from kubelib.api.core.node import Node
from kubelib.api.errors import ApiError
from kubelib.api.meta import ObjectMeta
from kubelib.runtime.abilities import SupportsHealth
from kubelib.runtime.base import RuntimeFailure
from kubelib.runtime.surroundings import Surroundings

log = logging.getLogger("kubelib.runtime")

PERIOD = 5.0
"""Seconds between questions, and for which an answer is waited for."""
DOWN = 30.0
"""Seconds without an answer after which the runtime is down."""
SILENT = 180.0
"""Seconds after which what is known of its containers is too old to be believed."""


class RuntimeHealth:
    """Asks the runtime again and again, and tells the API server when it falls silent and when it is back."""

    def __init__(self, here: Surroundings, runtime: SupportsHealth) -> None:
        self._here = here
        self._runtime = runtime

    async def run(self) -> None:
        """Ask for ever."""
        node, heard = self._here.node, anyio.current_time()
        while True:
            why = ""
            try:
                with anyio.fail_after(PERIOD):
                    await self._runtime.check()
                heard = anyio.current_time()
            except (RuntimeFailure, OSError) as error:  # TimeoutError is one
                why = str(error) or "no answer"
            problems = self._problems(anyio.current_time() - heard)
            if problems != node.problems:
                log.warning("node %s: %s", self._here.settings.name, why or "the runtime answers again")
                await self._tell(problems)
            await anyio.sleep(PERIOD / 5 if why else PERIOD)

    def _problems(self, silence: float) -> tuple[str, ...]:
        """Return what a node says whose runtime has been silent for so many seconds, in the kubelet's words."""
        found = []
        if silence >= DOWN:
            found.append("container runtime is down")
        if silence >= SILENT:
            minutes = f"{SILENT // 60:.0f}m{SILENT % 60:.0f}s"
            found.append(
                f"PLEG is not healthy: pleg was last seen active more than {minutes} ago; threshold is {minutes}"
            )
        return tuple(found)

    async def _tell(self, problems: Sequence[str]) -> None:
        here, name = self._here, self._here.settings.name
        before, here.node.problems = here.node.problems, tuple(problems)
        try:
            await here.node.write_status()
        except (ApiError, OSError) as error:
            here.node.problems = before  # said again with the next question
            log.warning("node %s: cannot write the status: %s", name, error)
            return
        if bool(before) != bool(problems):
            reason = "NodeNotReady" if problems else "NodeReady"
            about = Node(metadata=ObjectMeta(name=name, uid=name))
            here.recorder.normal(about, reason, f"Node {name} status is now: {reason}")
