"""What every service proxy does: it knows the rules of all Services, and hears when they change."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.core.service import Service
from kubelib.api.discovery import EndpointSlice
from kubelib.client.base import Client
from kubelib.informers import SharedInformers
from kubelib.network.services import Frontend, Rule, rules

AGAIN = 5.0
"""Seconds until what has failed is tried again."""
GATHER = 0.01
"""Seconds that a burst of changes may take to be one."""


class ServiceFollower(ABC):
    """A component: heirs bring about what `wanted` says whenever it has changed."""

    def __init__(
        self,
        client: Client,
        *,
        random: Random,
        node_address: str,
        name: str,
        concerns: Callable[[Rule], bool] = lambda rule: True,
    ) -> None:
        """Follow the Services that it `concerns`, all where nothing is said; others are somebody else's."""
        self.name = name
        self._concerns = concerns
        self._node_address = node_address
        self._informers = SharedInformers(client, random=random)
        self._services = self._informers.of(Service)
        self._slices = self._informers.of(EndpointSlice)
        self._news = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the Services that there are can be reached."""
        async with anyio.create_task_group() as group:
            await group.start(self._informers.run)
            for informer in (self._services, self._slices):
                informer.subscribe(lambda old, new: self._news.set())
            reported = False
            while True:
                self._news = anyio.Event()
                await self._update(group)
                if not reported:
                    reported = True
                    task_status.started()
                await self._news.wait()
                await anyio.sleep(GATHER)

    @abstractmethod
    async def _update(self, group: TaskGroup) -> None:
        """Bring about what is wanted; what is to go on may be started in `group`."""

    def wanted(self) -> dict[Frontend, Rule]:
        """Return the rules of all Services that have endpoints: without one, a client is refused at once instead of being left to hope."""
        found = rules(
            [d.view(Service) for d in self._services.cache],
            [d.view(EndpointSlice) for d in self._slices.cache],
            node_address=self._node_address,
        )
        return {frontend: rule for frontend, rule in found.items() if rule.backends and self._concerns(rule)}

    async def _look_again(self) -> None:
        """Update once more after a while: what was in the way may be gone by then."""
        await anyio.sleep(AGAIN)
        self._news.set()
