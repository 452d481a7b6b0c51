"""Devices that Pods claim: made ready by their drivers before a Pod starts, and taken back when no Pod uses them any more.

As the kubelet does it: what is wrong with one claim keeps the whole Pod waiting, and nothing is asked of any driver before all
claims of the Pod are in order. Which claims are in use is written down first, so that an agent that takes over gives them back.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import attrs

from kubelib.api.core.container import Container
from kubelib.api.core.pod import Pod
from kubelib.api.deviceclaims import UsedClaim, is_reserved_for, used_claims, why_not_made_for
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.api.quantity import parse_quantity
from kubelib.api.resource import ResourceClaim
from kubelib.client.base import Client
from kubelib.runtime.base import CannotPrepare, ClaimId, DeviceDriver, PreparedDevice


@attrs.define
class _InUse:
    """A claim that Pods of this node use."""

    id: ClaimId
    drivers: list[str]
    pods: set[str]
    """By UID."""
    prepared: list[PreparedDevice] | None = None
    """None until its drivers have said, after a restart once more."""


def _used(pod: Pod) -> Iterator[UsedClaim]:
    yield from used_claims(pod)
    extended = pod.status.extended_resource_claim_status
    if extended is not None:
        yield UsedClaim("", extended.resource_claim_name, own=False)


class ClaimedDevices:
    """Sees to the claims of a node's Pods; `path` is where it notes what is in use."""

    def __init__(self, client: Client, drivers: Sequence[DeviceDriver], path: Path) -> None:
        self._registry = client.resource(ResourceClaim)
        self._drivers = {driver.name: driver for driver in drivers}
        self._path = path
        self._in_use = _read(path)
        self._ready: set[str] = set()
        """The Pods whose claims are all prepared."""
        self._turn = anyio.Lock()
        """Held while drivers are asked, so that none hears of one claim twice at a time."""

    def pods(self) -> set[str]:
        """Return the UIDs of the Pods that have claims here to be given back."""
        return {uid for claim in self._in_use.values() for uid in claim.pods}

    async def prepare(self, pod: Pod) -> None:
        """Make ready all that a Pod claims. Raises `CannotPrepare`, in the kubelet's words."""
        uid = pod.metadata.uid
        if uid in self._ready:
            return
        wanted = list(_used(pod))
        if not wanted:
            return
        try:
            claims = [await self._checked(pod, claim) for claim in wanted]
            async with self._turn:
                fresh = self._note(uid, claims)
                for claim in fresh:
                    await self._prepare(claim)
        except CannotPrepare as error:
            raise CannotPrepare(f"prepare dynamic resources: {error}") from None
        self._ready.add(uid)

    async def _checked(self, pod: Pod, used: UsedClaim) -> ResourceClaim:
        """Return a claim that its Pod may use, has devices, and whose drivers are all here."""
        meta = pod.metadata
        if not used.name:
            raise CannotPrepare(f"Pod {meta.namespace}/{meta.name}: ResourceClaim not created yet")
        try:
            claim = await self._registry.get(Key(meta.namespace, used.name))
        except ApiError as error:
            raise CannotPrepare(f"fetch ResourceClaim {used.name}: {error}") from None
        if used.own and (why := why_not_made_for(claim, str(pod.key), meta.uid)):
            raise CannotPrepare(why)
        if not is_reserved_for(claim, meta.uid):
            identity = claim.metadata.uid
            raise CannotPrepare(
                f"pod {meta.name} ({meta.uid}) is not allowed to use ResourceClaim {used.name} ({identity})"
            )
        if claim.status.allocation is None:
            raise CannotPrepare(f"ResourceClaim {used.name}: not allocated")
        for name in _drivers_of(claim):
            self._driver(name)
        return claim

    def _driver(self, name: str) -> DeviceDriver:
        if name not in self._drivers:
            raise CannotPrepare(f"DRA driver {name} is not registered")
        return self._drivers[name]

    def _note(self, uid: str, claims: Sequence[ResourceClaim]) -> list[ResourceClaim]:
        """Write down that a Pod uses claims; return those that are still to be prepared."""
        fresh = []
        for claim in claims:
            meta, known = claim.metadata, self._in_use.get(claim.key)
            if known is None:
                identity = ClaimId(meta.namespace, meta.name, meta.uid)
                known = self._in_use[claim.key] = _InUse(identity, _drivers_of(claim), set())
            elif known.id.uid != meta.uid:
                raise CannotPrepare(
                    f"old ResourceClaim with same name {meta.name} and different UID {known.id.uid} still exists"
                    " (previous pod force-deleted?!)"
                )
            known.pods.add(uid)
            if known.prepared is None:
                fresh.append(claim)
        self._write()
        return fresh

    async def _prepare(self, claim: ResourceClaim) -> None:
        prepared: list[PreparedDevice] = []
        for name in _drivers_of(claim):
            try:
                prepared += await self._driver(name).prepare(claim)
            except (CannotPrepare, OSError) as error:
                raise CannotPrepare(
                    f"NodePrepareResources failed for ResourceClaim {claim.metadata.name}: {error}"
                ) from None
        self._in_use[claim.key].prepared = prepared

    def given(self, pod: Pod, container: Container) -> list[PreparedDevice]:
        """Return what a container of a Pod gets of what was prepared for that, in the order in which it names its claims."""
        uses = [(use.name, use.request) for use in container.resources.claims]
        names = {claim.entry: claim.name for claim in used_claims(pod)}
        wanted = [(names.get(entry, ""), request) for entry, request in uses]
        extended = pod.status.extended_resource_claim_status
        if extended is not None:
            wanted += [
                (extended.resource_claim_name, mapping.request_name)
                for mapping in extended.request_mappings
                if mapping.container_name == container.name
                and parse_quantity(container.resources.requests.get(mapping.resource_name, "0")).amount
            ]
        found: list[PreparedDevice] = []
        for name, request in wanted:
            claim = self._in_use.get(Key(pod.metadata.namespace, name))
            for device in (claim.prepared or ()) if claim is not None else ():
                # What is for one of several alternatives is for the request that has them.
                requests = {each.partition("/")[0] for each in device.requests}
                if (not (requests and request) or request in requests) and device not in found:
                    found.append(device)
        return found

    async def unprepare(self, uid: str) -> None:
        """Let a Pod that has ended use its claims no more; what no other Pod uses is given back. May be repeated.

        Raises `CannotPrepare`: it is still in use then.
        """
        if not any(uid in claim.pods for claim in self._in_use.values()):
            return
        self._ready.discard(uid)
        async with self._turn:
            for key, claim in list(self._in_use.items()):
                if uid not in claim.pods:
                    continue
                if claim.pods == {uid}:
                    await self._unprepare(claim)
                    del self._in_use[key]
                else:
                    claim.pods.discard(uid)
                self._write()

    async def _unprepare(self, claim: _InUse) -> None:
        claim.prepared = None
        for name in claim.drivers:
            try:
                await self._driver(name).unprepare(claim.id)
            except OSError as error:
                raise CannotPrepare(
                    f"unprepare dynamic resources: NodeUnprepareResources failed for ResourceClaim {claim.id.name}: {error}"
                ) from None
            except CannotPrepare as error:
                raise CannotPrepare(f"unprepare dynamic resources: {error}") from None

    def _write(self) -> None:
        """Note what is in use, all of it or, if this process ends meanwhile, what was noted before."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        entries = [
            {**attrs.asdict(claim.id), "drivers": claim.drivers, "pods": sorted(claim.pods)}
            for claim in self._in_use.values()
        ]
        fresh = self._path.with_name(f"{self._path.name}.new")
        with open(fresh, "w") as file:
            json.dump(entries, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def _drivers_of(claim: ResourceClaim) -> list[str]:
    """Return the drivers of a claim's devices, each once."""
    allocation = claim.status.allocation
    return list(dict.fromkeys(result.driver for result in allocation.devices.results)) if allocation else []


def _read(path: Path) -> dict[Key, _InUse]:
    if not path.exists():
        return {}
    found = {}
    for entry in json.loads(path.read_text()):
        identity = ClaimId(entry["namespace"], entry["name"], entry["uid"])
        found[Key(identity.namespace, identity.name)] = _InUse(identity, entry["drivers"], set(entry["pods"]))
    return found
