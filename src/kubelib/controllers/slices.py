"""EndpointSlices as controllers write them: what should be is paired with what is, and as little as possible is changed."""

from collections.abc import Mapping, Sequence

import attrs

from kubelib.api.discovery import Endpoint, EndpointPort, EndpointSlice
from kubelib.api.errors import AlreadyExists, Conflict, Forbidden, NotFound
from kubelib.api.meta import Object, ObjectMeta
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.controllers.base import After
from kubelib.controllers.ownership import controller_reference
from kubelib.controllers.podcontrol import namespace_is_ending
from kubelib.controllers.triggers import triggered

SERVICE_NAME = "kubernetes.io/service-name"
MANAGER = "endpointslice.kubernetes.io/managed-by"
LARGEST = 100
"""How many endpoints one slice has at most."""


@attrs.frozen
class Part:
    """A slice as it should be: its labels, its ports and its endpoints."""

    ports: tuple[EndpointPort, ...]
    endpoints: tuple[Endpoint, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str] | None = None
    """None leaves them as they are."""
    address_type: str = "IPv4"

    def describes(self, existing: EndpointSlice) -> bool:
        """Return whether a slice is as it should be."""
        return (
            existing.ports == self.ports
            and existing.address_type == self.address_type
            and self.annotations in (None, dict(existing.metadata.annotations))
            and existing.endpoints == self.endpoints
            and dict(existing.metadata.labels) == self.labels
        )


def match(
    wanted: Sequence[Part], existing: Sequence[EndpointSlice]
) -> list[tuple[Part | None, EndpointSlice | None]]:
    """Pair what should be with what is: slices that are right stay, others are reused, made or deleted."""
    left = list(existing)
    pairs: list[tuple[Part | None, EndpointSlice | None]] = []
    todo: list[Part] = []
    for part in wanted:
        same = next((s for s in left if part.describes(s)), None)
        if same is None:
            todo.append(part)
        else:
            left.remove(same)
    for part in todo:
        # What a slice's addresses are like cannot be changed.
        alike = [s for s in left if s.address_type == part.address_type]
        reused = next((s for s in alike if s.ports == part.ports), alike[0] if alike else None)
        if reused is not None:
            left.remove(reused)
        pairs.append((part, reused))
    return pairs + [(None, slice_) for slice_ in left]


def pairs(
    owner: Object | None, wanted: Sequence[Part], existing: Sequence[EndpointSlice]
) -> list[tuple[Part | None, EndpointSlice | None]]:
    """Pair as `match` does, but let slices go that were of an earlier owner of the same name: they go with it anyway."""
    own = [s for s in existing if owner is None or _is_of(owner, s)]
    return match(wanted, own) + [(None, slice_) for slice_ in existing if slice_ not in own]


def _is_of(owner: Object, slice_: EndpointSlice) -> bool:
    references = slice_.metadata.owner_references
    return any(r.uid == owner.metadata.uid and r.kind == owner.kind for r in references)


async def write_slices(
    client: Client,
    owner: Object | None,
    wanted: Sequence[Part],
    existing: Sequence[EndpointSlice],
    *,
    since: str = "",
) -> After | None:
    """Make, change and delete slices of an owner; without one there are none to make.

    What is made and changed says `since` when it should be so, if that is known. Raises ApiError.
    """
    registry = client.resource(EndpointSlice)
    try:
        for part, current in pairs(owner, wanted, existing):
            if part is None:
                assert current is not None
                await registry.delete(current.key)
            elif current is None:
                assert owner is not None
                await registry.create(_new(owner, part, since))
            else:
                kept = current.metadata.annotations if part.annotations is None else part.annotations
                meta = replace(current.metadata, labels=part.labels, annotations=triggered(kept, since))
                await registry.update(
                    replace(current, metadata=meta, ports=part.ports, endpoints=part.endpoints)
                )
    except (AlreadyExists, Conflict):
        return After(0.05)  # the cache is behind
    except NotFound:
        return None  # gone meanwhile
    except Forbidden as error:
        if not namespace_is_ending(error):
            raise
    return None


def _new(owner: Object, part: Part, since: str) -> EndpointSlice:
    meta = owner.metadata
    return EndpointSlice(
        metadata=ObjectMeta(
            generate_name=f"{meta.name}-",
            namespace=meta.namespace,
            labels=part.labels,
            annotations=triggered(part.annotations or {}, since),
            owner_references=(controller_reference(owner),),
        ),
        address_type=part.address_type,
        ports=part.ports,
        endpoints=part.endpoints,
    )
