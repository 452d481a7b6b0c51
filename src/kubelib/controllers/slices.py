"""EndpointSlices as controllers write them: what should be is paired with what is, and as little as possible is changed."""

from collections.abc import Mapping, Sequence
from typing import Self

import attrs

from kubelib.api.discovery import Endpoint, EndpointPort, EndpointSlice
from kubelib.api.errors import AlreadyExists, Conflict, Forbidden, NotFound
from kubelib.api.meta import Key, Object, ObjectMeta
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.controllers.base import After
from kubelib.controllers.ownership import controller_reference
from kubelib.controllers.podcontrol import namespace_is_ending
from kubelib.controllers.triggers import triggered
from kubelib.informers import Cache
from kubelib.labels import selector_from_match_labels

SERVICE_NAME = "kubernetes.io/service-name"
MANAGER = "endpointslice.kubernetes.io/managed-by"
LARGEST = 100
"""How many endpoints one slice has at most."""


@attrs.frozen
class Part:
    """Endpoints with the same ports as they should be, in one slice or in as many as it takes."""

    ports: tuple[EndpointPort, ...]
    endpoints: tuple[Endpoint, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str] | None = None
    """None leaves them as they are."""
    address_type: str = "IPv4"

    def of(self, endpoints: Sequence[Endpoint]) -> Self:
        """Return the same with other endpoints."""
        return attrs.evolve(self, endpoints=tuple(endpoints))

    def belongs_in(self, existing: EndpointSlice) -> bool:
        """Return whether endpoints can be in a slice whose ports stay as they are."""
        return existing.ports == self.ports and existing.address_type == self.address_type

    def describes(self, existing: EndpointSlice) -> bool:
        """Return whether a slice is as it should be."""
        return (
            self.belongs_in(existing)
            and self.annotations in (None, dict(existing.metadata.annotations))
            and existing.endpoints == self.endpoints
            and dict(existing.metadata.labels) == self.labels
        )


def _who(endpoint: Endpoint) -> tuple[tuple[str, ...], str, str, str]:
    """Return what makes an endpoint the same one, whatever else is said of it."""
    target = endpoint.target_ref
    of = (target.namespace, target.name) if target is not None else ("", "")
    return endpoint.addresses, endpoint.hostname, *of


def _placed(
    part: Part, own: Sequence[EndpointSlice], most: int
) -> tuple[list[tuple[EndpointSlice, Part]], list[Part]]:
    """Return what the slices of a part are to have, and in slices of their own those that have no place there.

    Endpoints stay where they are. New ones fill slices that change anyway, the fullest first, and then, if they fit in
    whole, the fullest of the others: each slice that is written goes to every proxy.
    """
    left = {_who(endpoint): endpoint for endpoint in part.endpoints}
    held: list[tuple[EndpointSlice, list[Endpoint]]] = []
    for slice_ in own:
        stay = [left.pop(who) for endpoint in slice_.endpoints if (who := _who(endpoint)) in left]
        if stay:
            held.append((slice_, stay))
    new = list(left.values())
    same = [stay for slice_, stay in held if part.of(stay).describes(slice_)]
    changing = [stay for slice_, stay in held if not part.of(stay).describes(slice_)]
    for stay in sorted(changing, key=len, reverse=True):
        room = max(0, most - len(stay))
        stay += new[:room]
        del new[:room]
    whole = len(new) - len(new) % most
    others = [part.of(new[start : start + most]) for start in range(0, whole, most)]
    if rest := new[whole:]:
        roomy = [stay for stay in same if len(stay) + len(rest) <= most]
        if roomy:
            max(roomy, key=len).extend(rest)
        else:
            others.append(part.of(rest))
    return [(slice_, part.of(stay)) for slice_, stay in held], others if part.endpoints else [part]


Change = tuple[Part | None, EndpointSlice | None]
"""What is to be in which slice. Without a part the slice goes, without a slice there is to be a new one."""


def with_their_hints(wanted: Sequence[Part], existing: Sequence[EndpointSlice]) -> list[Part]:
    """Return parts whose endpoints are still meant for whom they are: that makes no slice one that has to change."""
    hints = {_who(e): e.hints for slice_ in existing for e in slice_.endpoints if e.hints is not None}
    return [
        part.of([replace(e, hints=hints[who]) if (who := _who(e)) in hints else e for e in part.endpoints])
        for part in wanted
    ]


def match(wanted: Sequence[Part], existing: Sequence[EndpointSlice], most: int = LARGEST) -> list[Change]:
    """Pair what should be with what is, with at most so many endpoints in a slice.

    Slices that are right are left out, those that are needed no more are reused, others are made or deleted.
    """
    spare = list(existing)
    found: list[Change] = []
    todo: list[Part] = []
    for part in wanted:
        held, others = _placed(part, [s for s in spare if part.belongs_in(s)], most)
        todo += others
        for slice_, is_to_have in held:
            spare.remove(slice_)
            if not is_to_have.describes(slice_):
                found.append((is_to_have, slice_))
    for part in todo:
        # What a slice's addresses are like cannot be changed.
        alike = [s for s in spare if s.address_type == part.address_type]
        reused = next((s for s in alike if s.ports == part.ports), alike[0] if alike else None)
        if reused is not None:
            spare.remove(reused)
            if part.describes(reused):
                continue
        found.append((part, reused))
    return found + [(None, slice_) for slice_ in spare]


def pairs(
    owner: Object | None, wanted: Sequence[Part], existing: Sequence[EndpointSlice], most: int = LARGEST
) -> list[Change]:
    """Pair as `match` does, but let slices go that were of an earlier owner of the same name: they go with it anyway."""
    own = [s for s in existing if owner is None or _is_of(owner, s)]
    return match(wanted, own, most) + [(None, slice_) for slice_ in existing if slice_ not in own]


def _is_of(owner: Object, slice_: EndpointSlice) -> bool:
    references = slice_.metadata.owner_references
    return any(r.uid == owner.metadata.uid and r.kind == owner.kind for r in references)


def slices_of(slices: Cache[EndpointSlice], service: Key, manager: str) -> list[EndpointSlice]:
    """Return the slices of a Service that a controller manages, without those that are on their way out."""
    return [
        document.view(EndpointSlice)
        for document in slices.select(
            selector_from_match_labels({SERVICE_NAME: service.name}), service.namespace
        )
        if document.meta.labels.get(MANAGER) == manager and document.meta.deletion_timestamp is None
    ]


async def write_slices(
    client: Client, owner: Object | None, changes: Sequence[Change], *, since: str = ""
) -> After | None:
    """Make, change and delete slices of an owner; without one there are none to make, and for one that is going neither.

    What is made and changed says `since` when it should be so, if that is known. Raises ApiError.
    """
    registry = client.resource(EndpointSlice)
    try:
        for part, current in changes:
            if part is None:
                assert current is not None
                await registry.delete(current.key)
            elif current is None:
                assert owner is not None
                # What collects the slices of one that is going must not find new ones.
                if owner.metadata.deletion_timestamp is None:
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
