"""From placements to Pods on nodes: transactions where the server has them, single bindings where it has not."""

import logging
from collections.abc import Sequence
from random import Random

import anyio
import attrs

from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.errors import ApiError, Conflict, NotFound, ServiceUnavailable
from kubelib.api.meta import ObjectMeta
from kubelib.client.base import Client, SupportsTransactions, TransactionsUnsupported
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.binding import NO_ROOM
from kubelib.sched.following import Following
from kubelib.sched.pods import PodInfo
from kubelib.sched.reserving import Reserver
from kubelib.store import StoreError
from kubelib.transactions.base import Cause, Claim, Commit, Detection, Outcome, Transaction

log = logging.getLogger("kubelib.sched")


@attrs.frozen
class Fate:
    """What became of a placement."""

    pod: PodInfo
    node: str
    """Where the Pod was to go."""
    on: str = ""
    """Where it is: if not on `node`, another scheduler was quicker with the Pod."""
    error: Exception | None = None
    cause: Cause = ""

    @property
    def landed(self) -> bool:
        """Whether the Pod is where it was to go."""
        return self.on == self.node

    @property
    def is_refused(self) -> bool:
        """Whether the server said no: not because another scheduler was quicker, and not because the Pod is gone."""
        told = isinstance(self.error, ApiError) and not isinstance(self.error, NotFound | ServiceUnavailable)
        return not self.on and told and self.cause in ("", "Refused")


class Committer:
    """Commits one scheduler's placements."""

    def __init__(
        self,
        name: str,
        client: Client,
        following: Following,
        *,
        random: Random,
        limit: anyio.CapacityLimiter,
        detection: Detection = "fine",
        commit: Commit = "incremental",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._name = name
        self._client = client
        self._following = following
        self._random = random
        self._limit = limit
        self._detection: Detection = detection
        self._commit: Commit = commit
        self._own: dict[str, int] = {}
        self._reserver = Reserver(client, following.table.devices, limit=limit, random=random, clock=clock)
        self._binder = client.binder if isinstance(client, SupportsTransactions) else None

    def look(self) -> int:
        """Return the resource version of Pods up to which all is known: what is decided now is decided on that."""
        seen = self._following.seen
        self._own = {node: at for node, at in self._own.items() if at > seen}
        return seen

    async def commit(
        self, placed: Sequence[tuple[PodInfo, str]], *, seen: int, together: bool = False
    ) -> Sequence[Fate]:
        """Commit placements that were decided on what was `seen`; return what became of each.

        With `together` all land or none, where the server knows transactions. Claims to devices are reserved first.
        """
        refused = await self._reserver.reserve(pod for pod, _ in placed if pod.devices)
        if not refused:
            return await self._place(placed, seen, together)
        whole = together or self._commit == "all-or-nothing"
        fates = [
            Fate(pod, node, "", refused.get(pod.uid), "" if pod.uid in refused else "Together")
            for pod, node in placed
            if whole or pod.uid in refused
        ]
        await self._reserver.release(fate.pod for fate in fates if fate.pod.devices)
        rest = [(pod, node) for pod, node in placed if not whole and pod.uid not in refused]
        return [*fates, *(await self._place(rest, seen, together) if rest else ())]

    async def give_back(self, pod: PodInfo) -> None:
        """Take devices back from a claim that keeps a Pod from all nodes; it is told them anew."""
        await self._reserver.give_back(pod)

    async def _place(
        self, placed: Sequence[tuple[PodInfo, str]], seen: int, together: bool
    ) -> Sequence[Fate]:
        """Bind Pods, and take those out of their claims that surely have no node."""
        fates = await self._put(placed, seen, together)
        lost = [fate for fate in fates if fate.pod.devices and not fate.on]
        unsure = (NotFound, ServiceUnavailable)
        await self._reserver.release(fate.pod for fate in lost if not isinstance(fate.error, unsure))
        return fates

    async def _put(self, placed: Sequence[tuple[PodInfo, str]], seen: int, together: bool) -> Sequence[Fate]:
        if self._binder is not None:
            try:
                return await self._transact(placed, seen, "all-or-nothing" if together else self._commit)
            except TransactionsUnsupported:
                log.warning("the server does not know transactions: pods are bound one by one")
                self._binder = None
        fates: dict[str, Fate] = {}

        async def bind(pod: PodInfo, node: str) -> None:
            fates[pod.uid] = await self._bind(pod, node)

        async with anyio.create_task_group() as group:
            for pod, node in placed:
                group.start_soon(bind, pod, node)
        return [fates[pod.uid] for pod, _ in placed]

    async def _transact(
        self, placed: Sequence[tuple[PodInfo, str]], seen: int, commit: Commit
    ) -> Sequence[Fate]:
        assert self._binder is not None
        # Own claims that the informer has not reported yet have been seen all the same.
        claims = [Claim(p.key, p.uid, node, max(seen, self._own.get(node, 0))) for p, node in placed]
        far = self._binder.may_lose_answers
        transaction = Transaction(
            claims=claims,
            id=f"{self._name}-{self._random.getrandbits(96):024x}" if far else "",
            scheduler=self._name,
            detection=self._detection,
            commit=commit,
        )
        try:
            result = await self._binder.commit(transaction)
        except TransactionsUnsupported:
            raise
        except (ApiError, StoreError, OSError) as error:
            log.warning("it is not known whether %d pods were bound: %s", len(placed), error)
            return [await self._ask(pod, node, error) for pod, node in placed]
        if result.revision and self._detection == "coarse":
            landed = (outcome.claim.node for outcome in result.outcomes if outcome.error is None)
            self._own.update(dict.fromkeys(landed, result.revision))
        return [
            await self._fate(pod, node, outcome)
            for (pod, node), outcome in zip(placed, result.outcomes, strict=True)
        ]

    async def _fate(self, pod: PodInfo, node: str, outcome: Outcome) -> Fate:
        if outcome.error is None:
            return Fate(pod, node, node)
        if outcome.cause == "Assigned":
            return await self._ask(pod, node, outcome.error, "Assigned")
        return Fate(pod, node, "", outcome.error, outcome.cause)

    async def _bind(self, pod: PodInfo, node: str) -> Fate:
        binding = Binding(
            metadata=ObjectMeta(name=pod.key.name, namespace=pod.key.namespace, uid=pod.uid),
            target=ObjectReference(api_version="v1", kind="Node", name=node),
        )
        async with self._limit:
            try:
                await self._client.resource(Binding).create(binding)
            except (ApiError, OSError) as error:
                full = isinstance(error, Conflict) and NO_ROOM in str(error)
                return await self._ask(pod, node, error, "NoRoom" if full else "")
        return Fate(pod, node, node)

    async def _ask(self, pod: PodInfo, node: str, error: Exception, cause: Cause = "") -> Fate:
        """Find out whether a binding that failed for us has landed all the same: answers get lost."""
        if isinstance(error, NotFound):
            return Fate(pod, node, "", error, "Gone")
        try:
            live = await self._client.resource(Pod).get(pod.key)
        except NotFound as gone:
            return Fate(pod, node, "", gone, "Gone")
        except (ApiError, OSError):
            log.debug("cannot ask after pod %s", pod.key)
            return Fate(pod, node, "", ServiceUnavailable(str(error)), cause)
        if live.metadata.uid != pod.uid:
            return Fate(pod, node, "", NotFound(f"pod {pod.key} was replaced"), "Gone")
        if live.spec.node_name:
            return Fate(pod, node, live.spec.node_name)
        return Fate(pod, node, "", error, cause)
