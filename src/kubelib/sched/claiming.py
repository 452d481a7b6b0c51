"""Storage for Pods whose claims wait for a node: the decision is told to the claims, and the Pod waits until they have volumes.

As in kube-scheduler: a volume that is there is given to its claim; for one that is to be made the claim is told the node. Who
binds claims does the rest, and then the Pod is looked at again. Room on the node is promised to it meanwhile.
"""

import logging
from collections.abc import Callable

import anyio
import attrs
import numpy as np

from kubelib.api.claiming import SELECTED_NODE
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.client.base import Client
from kubelib.registry.base import Patch
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.storage import arrange

log = logging.getLogger("kubelib.sched")


@attrs.frozen
class Errand:
    """What is to be written before a Pod can go to its node; each with what was known of it before."""

    volumes: tuple[tuple[PersistentVolume, PersistentVolume], ...] = ()
    claims: tuple[tuple[PersistentVolumeClaim, PersistentVolumeClaim], ...] = ()


class Claimer:
    """Sees to the late claims of Pods."""

    def __init__(self, client: Client, table: NodeTable, *, limit: anyio.CapacityLimiter) -> None:
        self._claims = client.resource(PersistentVolumeClaim)
        self._volumes = client.resource(PersistentVolume)
        self._table = table
        self._limit = limit

    def errand(self, pod: PodInfo, node: str) -> Errand | None:
        """Return what is to be done about a Pod's claims, and count it as done; None if they all have volumes."""
        known = self._table.volumes
        late = known.wanted(pod).late
        if not late:
            return None
        given = arrange(pod, self._table, np.array([self._table.rows[node]])).given
        volumes = tuple(
            (volume, known.keep(volume, claim)) for claim, volume, _ in given if not known.is_kept(volume)
        )
        have = {claim.metadata.uid for claim, _, _ in given}
        claims = tuple(
            (claim, known.select(claim, node))
            for claim in late
            if claim.metadata.uid not in have and SELECTED_NODE not in claim.metadata.annotations
        )
        return Errand(volumes, claims)

    def is_waiting(self, pod: PodInfo) -> bool:
        """Return whether a Pod's claims were told of the node that is promised to it, and a volume that one was given is not known yet."""
        known, node = self._table.volumes, self._table.nominated_node(pod.uid)
        if not node or None not in known.wanted(pod).bound:
            return False
        claims = (known.claim(Key(pod.namespace, name)) for name, _ in pod.claims)
        return any(c is not None and c.metadata.annotations.get(SELECTED_NODE) == node for c in claims)

    async def carry_out(self, pod: PodInfo, errand: Errand, failed: Callable[[PodInfo], None]) -> None:
        """Write it. Calls `failed` if that did not work: what was counted as done is not any more."""
        known = self._table.volumes
        try:
            for _, kept in errand.volumes:
                async with self._limit:
                    await self._volumes.update(kept)
            for _, claim in errand.claims:
                meta = claim.metadata
                note = {"uid": meta.uid, "annotations": {SELECTED_NODE: meta.annotations[SELECTED_NODE]}}
                async with self._limit:
                    await self._claims.patch(claim.key, Patch("merge", {"metadata": note}))
        except (ApiError, OSError) as error:
            log.info("claims of pod %s: %s", pod.key, error)
            for before, kept in errand.volumes:
                if known.volume(before.metadata.name) is kept:
                    known.put_volume(before.metadata.name, before)
            for old, claim in errand.claims:
                if known.claim(claim.key) is claim:
                    known.put_claim(claim.key, old)
            failed(pod)
