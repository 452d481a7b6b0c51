"""Who controls what: adopting what matches and belongs to nobody, releasing what does not match any more."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from kubelib.api.document import Document, PeekMeta
from kubelib.api.errors import Invalid, NotFound
from kubelib.api.meta import Key, Object, OwnerReference
from kubelib.client.base import Client
from kubelib.informers import BY_CONTROLLER, Cache
from kubelib.labels import Selector
from kubelib.registry.base import Patch

R = TypeVar("R", bound=Object)
O = TypeVar("O", bound=Object)  # noqa: E741 - an owner


def controller_reference(owner: Object) -> OwnerReference:
    """Return the reference of what `owner` controls: it goes when the owner goes, and the owner waits for it."""
    return OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


def controller_in(meta: PeekMeta) -> OwnerReference | None:
    """Return the reference to the owner that controls an object."""
    for reference in meta.owner_references:
        if reference.controller:
            return reference
    return None


def _any(document: Document) -> bool:
    return True


class CannotAdopt(Exception):
    """The owner has been replaced or is being deleted: its cached state must not act any more."""


class Claims(Generic[O, R]):
    """Finds, adopts and releases the objects of kind `cls` for owners of one kind."""

    def __init__(
        self, client: Client, owner_kind: type[O], cache: Cache[R], *, finalizers: Sequence[str] = ()
    ) -> None:
        """Objects that are adopted get `finalizers`, which they lose when they are released."""
        self._finalizers = list(finalizers)
        self._owners = client.resource(owner_kind)
        self._objects = client.resource(cache.cls)
        self._cache = cache

    async def claim(
        self,
        owner: O,
        selector: Selector,
        *,
        among: Callable[[Document], bool] = _any,
        belongs: Callable[[Document], bool] = _any,
    ) -> list[Document]:
        """Return the objects `among` those considered that `owner` controls from now on.

        Objects that match, which means that their labels do and that they may belong to the owner, are adopted if nobody
        controls them; controlled ones that do not match are released. Raises `CannotAdopt` when the owner turns out to be
        deleted or replaced, and what requests raise.
        """
        meta = owner.metadata
        candidates = {d.key: d for d in self._cache.by_index(BY_CONTROLLER, meta.uid)}
        for document in self._cache.select(selector, meta.namespace):
            candidates.setdefault(document.key, document)
        owner_confirmed = False
        claimed = []
        for document in candidates.values():
            if not among(document):
                continue
            reference = controller_in(document.meta)
            matches = selector.matches(document.meta.labels) and belongs(document)
            if reference is not None:
                if reference.uid != meta.uid:
                    continue
                if matches:
                    claimed.append(document)
                elif meta.deletion_timestamp is None:
                    await self._quietly(self._release(document, owner))
                continue
            if not matches or meta.deletion_timestamp is not None or document.meta.deletion_timestamp:
                continue
            if not owner_confirmed:
                await self._confirm(owner)
                owner_confirmed = True
            if await self._quietly(self._adopt(document, owner)):
                claimed.append(document)
        return claimed

    async def _confirm(self, owner: O) -> None:
        """Ask the API, not the cache, whether the owner may adopt."""
        meta = owner.metadata
        fresh = await self._owners.get(owner.key)
        if fresh.metadata.uid != meta.uid:
            raise CannotAdopt(
                f"original {owner.kind} {owner.key} is gone: got uid {fresh.metadata.uid}, wanted {meta.uid}"
            )
        if fresh.metadata.deletion_timestamp is not None:
            raise CannotAdopt(f"{owner.key} has just been deleted at {fresh.metadata.deletion_timestamp}")

    async def _adopt(self, document: Document, owner: O) -> None:
        reference = {
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": owner.metadata.name,
            "uid": owner.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        await self._patch(document, [reference], {"finalizers": self._finalizers} if self._finalizers else {})

    async def _release(self, document: Document, owner: O) -> None:
        rest = {"$deleteFromPrimitiveList/finalizers": self._finalizers} if self._finalizers else {}
        await self._patch(document, [{"$patch": "delete", "uid": owner.metadata.uid}], rest)

    async def _patch(
        self, document: Document, references: Sequence[dict[str, object]], rest: Mapping[str, object]
    ) -> None:
        # With the uid in it, the patch cannot meet another object that has taken the name.
        body = {"metadata": {"uid": document.meta.uid, "ownerReferences": list(references), **rest}}
        await self._objects.patch(Key(document.meta.namespace, document.meta.name), Patch("strategic", body))

    @staticmethod
    async def _quietly(request: Awaitable[None]) -> bool:
        """Carry out a request; return False when the object is gone or has got another owner."""
        try:
            await request
        except (NotFound, Invalid):
            return False
        return True
