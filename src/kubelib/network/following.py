"""What every service proxy does: it knows which rules of Services are its own, and hears when they change."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.network.services import ANY_NODE_ADDRESS, Frontend, Rule
from kubelib.network.tracking import ServiceTracker

AGAIN = 5.0
"""Seconds until what has failed is tried again."""
GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
"""What a socket says when its other side has gone."""
GATHER = 0.01
"""Seconds that a burst of changes may take to be one."""


class ServiceFollower(ABC):
    """A component: heirs bring about what `wanted` says whenever it has changed."""

    def __init__(
        self,
        tracker: ServiceTracker,
        *,
        node_address: str,
        name: str,
        concerns: Callable[[Rule], bool] = lambda rule: True,
    ) -> None:
        """Follow the Services of a tracker that runs, those that it `concerns`: all where nothing is said, others are somebody else's."""
        self.name = name
        self._concerns = concerns
        self._node_address = node_address
        self._tracker = tracker
        self._news = anyio.Event()
        tracker.subscribe(lambda: self._news.set())

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the Services that there are can be reached."""
        async with anyio.create_task_group() as group:
            reported = False
            while True:
                self._news = anyio.Event()
                await self._update(group)
                if not reported:
                    reported = True
                    task_status.started()
                await self._news.wait()
                await anyio.sleep(GATHER)

    @property
    def healthy(self) -> bool:
        """Whether what is wanted has been brought about, as far as is known."""
        return True

    @abstractmethod
    async def _update(self, group: TaskGroup) -> None:
        """Bring about what is wanted; what is to go on may be started in `group`."""

    def wanted(self) -> dict[Frontend, Rule]:
        """Return the rules of all Services that have endpoints: without one, a client is refused at once instead of being left to hope."""
        placed = (self._at_node(rule) for rule in self._tracker.rules().values() if rule.backends)
        return {rule.frontend: rule for rule in placed if self._concerns(rule)}

    def _at_node(self, rule: Rule) -> Rule:
        """Return a rule with the address of the node instead of any, if it is of a port of the node."""
        if rule.frontend.address != ANY_NODE_ADDRESS or self._node_address == ANY_NODE_ADDRESS:
            return rule
        return attrs.evolve(rule, frontend=attrs.evolve(rule.frontend, address=self._node_address))

    async def _look_again(self) -> None:
        """Update once more after a while: what was in the way may be gone by then."""
        await anyio.sleep(AGAIN)
        self._news.set()
