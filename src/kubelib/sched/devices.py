"""Devices as a scheduler knows them: which claims there are, which have been given devices, and where those can be used.

Whoever gives devices to claims is somebody else: the status of a claim says what became of it.
"""

from collections.abc import Iterator

import attrs

from kubelib.api.core.references import NodeSelector
from kubelib.api.meta import Key, controller_of
from kubelib.api.resource import DeviceClass, ResourceClaim
from kubelib.sched.pods import PodInfo

DeviceObject = ResourceClaim | DeviceClass


@attrs.frozen
class Needs:
    """The claims of a Pod to devices, by what they need of a node."""

    outright: str = ""
    """Why the Pod can be nowhere at all, whatever the nodes are like."""
    lacking: bool = False
    """Whether one of them has no devices yet."""
    where: tuple[NodeSelector, ...] = ()
    """Where the devices can be used that the others have; each of these must match."""


class Devices:
    """What is known of claims to devices, and of classes of devices. Kept in step by `Following`."""

    def __init__(self) -> None:
        self._claims: dict[Key, ResourceClaim] = {}
        self._classes: set[str] = set()

    def claim(self, key: Key) -> ResourceClaim | None:
        """Return a claim."""
        return self._claims.get(key)

    def put_claim(self, key: Key, claim: ResourceClaim | None) -> bool:
        """Learn of a claim, or that it is gone (None); return whether that may help a Pod."""
        old = self._claims.pop(key, None)
        if claim is None:
            return False
        self._claims[key] = claim
        return (
            old is None
            or old.metadata.uid != claim.metadata.uid
            or old.status.allocation != claim.status.allocation
        )

    def put_class(self, name: str, found: DeviceClass | None) -> bool:
        """Learn of a class, or that it is gone (None); return whether that may help a Pod."""
        helps = found is not None and name not in self._classes
        if found is None:
            self._classes.discard(name)
        else:
            self._classes.add(name)
        return helps

    def put(self, thing: DeviceObject) -> bool:
        """Learn of any object about devices; return whether that may help a Pod."""
        if isinstance(thing, ResourceClaim):
            return self.put_claim(thing.key, thing)
        return self.put_class(thing.metadata.name, thing)

    def needs(self, pod: PodInfo) -> Needs:
        """Return what a Pod's claims need of a node. The reasons are in kube-scheduler's words."""
        claims: list[ResourceClaim] = []
        for name, own in pod.devices:
            key = Key(pod.namespace, name)
            claim = self._claims.get(key)
            if not name:
                return Needs(f"Pod {pod.key}: ResourceClaim not created yet")
            if claim is None:
                return Needs(f'could not find ResourceClaim "{key}"')
            if claim.metadata.deletion_timestamp is not None:
                return Needs(f'resourceclaim "{name}" is being deleted')
            if own and ((owner := controller_of(claim)) is None or owner.uid != pod.uid):
                return Needs(f"ResourceClaim {key} was not created for Pod {pod.key} (Pod is not owner)")
            claims.append(claim)
        lacking = [claim for claim in claims if claim.status.allocation is None]
        for claim in lacking:
            for request, wanted in _classes(claim):
                if wanted not in self._classes:
                    return Needs(f"request {request}: device class {wanted} does not exist")
        selectors = (claim.status.allocation.node_selector for claim in claims if claim.status.allocation)
        return Needs("", bool(lacking), tuple(selector for selector in selectors if selector is not None))


def _classes(claim: ResourceClaim) -> Iterator[tuple[str, str]]:
    """Yield the requests of a claim, alternatives too, and the classes that they ask for."""
    for request in claim.spec.devices.requests:
        if request.exactly is not None:
            yield request.name, request.exactly.device_class_name
        for other in request.first_available:
            yield f"{request.name}/{other.name}", other.device_class_name
