"""Devices for Pods that are about to be bound: each claim is told what it gets and which Pods use it, without which a kubelet starts none.

As in kube-scheduler: who is written into a claim before its Pod is bound is taken out again if that does not come about.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random
from uuid import UUID

import anyio

from kubelib.api.errors import ApiError, Conflict
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.resource import ResourceClaim, ResourceClaimConsumerReference
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.sched.devices import Devices, with_shares
from kubelib.sched.pods import PodInfo

log = logging.getLogger("kubelib.sched")

TRIES = 5
"""How often a claim is written that others write, too."""

FINALIZER = "resource.kubernetes.io/delete-protection"
"""Keeps a claim that has devices, until those who use them are gone."""

Users = tuple[ResourceClaimConsumerReference, ...]


class Reserver:
    """Writes Pods into the claims that they use, and takes them out."""

    def __init__(
        self,
        client: Client,
        devices: Devices,
        *,
        limit: anyio.CapacityLimiter,
        random: Random,
        clock: Clock,
    ) -> None:
        self._registry = client.resource(ResourceClaim)
        self._devices = devices
        self._limit = limit
        self._random = random
        self._clock = clock

    async def reserve(self, pods: Iterable[PodInfo]) -> dict[str, Exception]:
        """Reserve the claims of Pods for them, and give them the devices that were chosen for them.

        Return, by uid, the Pods for which that failed, and what the server said.
        """

        def joined(users: Users, new: list[PodInfo]) -> Users:
            there = {user.uid for user in users}
            more = (
                ResourceClaimConsumerReference(resource="pods", name=pod.key.name, uid=pod.uid)
                for pod in new
                if pod.uid not in there
            )
            return (*users, *more)

        return await self._write(pods, joined)

    async def release(self, pods: Iterable[PodInfo]) -> None:
        """Take Pods out of their claims. If that fails, the claims stay theirs until the Pods are bound, or gone."""

        def left(users: Users, going: list[PodInfo]) -> Users:
            uids = {pod.uid for pod in going}
            return tuple(user for user in users if user.uid not in uids)

        for uid, error in (await self._write(pods, left)).items():
            log.info("claims of pod %s stay reserved: %s", uid, error)

    async def give_back(self, pod: PodInfo) -> None:
        """Take back the devices of one claim of a Pod that fits nowhere with them, if nobody else uses it: others may do."""
        claim = self._devices.idle(pod)
        if claim is None:
            return
        status = replace(claim.status, allocation=None, reserved_for=(), devices=())
        async with self._limit:
            try:
                await self._registry.update(replace(claim, status=status), subresource="status")
            except (ApiError, OSError) as error:
                log.info("claim %s keeps its devices: %s", claim.key, error)

    async def _write(
        self, pods: Iterable[PodInfo], change: Callable[[Users, list[PodInfo]], Users]
    ) -> dict[str, Exception]:
        # One write for each claim, however many Pods share it: they would only be in each other's way.
        by_claim: dict[Key, dict[str, PodInfo]] = {}
        for pod in pods:
            for name, _ in pod.devices:
                by_claim.setdefault(Key(pod.namespace, name), {})[pod.uid] = pod
        failed: dict[str, Exception] = {}

        async def write(key: Key, users: list[PodInfo]) -> None:
            try:
                await self._change(key, lambda before: change(before, users))
            except (ApiError, OSError) as error:
                failed.update((pod.uid, error) for pod in users)

        if by_claim:
            async with anyio.create_task_group() as group:
                for key, users in by_claim.items():
                    group.start_soon(write, key, list(users.values()))
        return failed

    async def _change(self, key: Key, change: Callable[[Users], Users]) -> None:
        claim = self._devices.claim(key)
        for left in reversed(range(TRIES)):
            async with self._limit:
                if claim is None:
                    claim = await self._registry.get(key)
                users = change(claim.status.reserved_for)
                if users == claim.status.reserved_for:
                    return
                try:
                    written = await self._registry.update(
                        await self._given(claim, users), subresource="status"
                    )
                except Conflict:
                    if not left:
                        raise
                    claim = None
                except (ApiError, OSError):
                    await self._look(key)
                    raise
                else:
                    self._devices.put_claim(key, written)
                    return

    async def _look(self, key: Key) -> None:
        """Learn what has become of a claim of which it is not known whether it was written: its devices must not be given twice."""
        with suppress(ApiError, OSError):
            self._devices.put_claim(key, await self._registry.get(key))

    async def _given(self, claim: ResourceClaim, users: Users) -> ResourceClaim:
        """Return a claim with its users, and with the devices that were chosen for it if it has none."""
        allocation = claim.status.allocation
        if allocation is None and users and (chosen := self._devices.promised(claim.key)) is not None:
            allocation = replace(
                with_shares(chosen, lambda: UUID(int=self._random.getrandbits(128), version=4)),
                allocation_timestamp=self._clock.now(),
            )
            if FINALIZER not in claim.metadata.finalizers:
                meta = replace(claim.metadata, finalizers=(*claim.metadata.finalizers, FINALIZER))
                claim = await self._registry.update(replace(claim, metadata=meta))
        return replace(claim, status=replace(claim.status, allocation=allocation, reserved_for=users))
