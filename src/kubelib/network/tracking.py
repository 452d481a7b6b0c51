"""What a process knows of Services and their endpoints: one set of informers, and rules reckoned once, for all that follow them."""

from collections.abc import Callable, Mapping
from random import Random

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.service import Service
from kubelib.api.discovery import EndpointSlice
from kubelib.api.document import Document
from kubelib.client.base import Client
from kubelib.informers import Cache, SharedInformers
from kubelib.network.services import Frontend, Rule, rules


class ServiceTracker:
    """A component: started before those that follow it, which are the service proxies and the DNS server of a process."""

    name = "services"

    def __init__(self, client: Client, *, random: Random) -> None:
        self._informers = SharedInformers(client, random=random)
        services, slices = self._informers.of(Service), self._informers.of(EndpointSlice)
        self.services: Cache[Service] = services.cache
        self.slices: Cache[EndpointSlice] = slices.cache
        self._rules: Mapping[Frontend, Rule] | None = None
        self._followers: list[Callable[[], object]] = []
        for informer in (services, slices):
            informer.subscribe(self._changed)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once all Services and endpoints are known."""
        await self._informers.run(task_status=task_status)

    def subscribe(self, follower: Callable[[], object]) -> None:
        """Call `follower`, which must be quick, at every change from now on."""
        self._followers.append(follower)

    def rules(self) -> Mapping[Frontend, Rule]:
        """Return the rules of all ports of Services; they are reckoned when they are first asked for after a change."""
        if self._rules is None:
            self._rules = rules(
                [document.view(Service) for document in self.services],
                [document.view(EndpointSlice) for document in self.slices],
            )
        return self._rules

    def _changed(self, old: Document | None, new: Document | None) -> None:
        self._rules = None
        for follower in self._followers:
            follower()
