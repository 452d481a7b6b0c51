"""Where schedulers' decisions land: a transaction of claims is one atomic commit of the store, or, if it need not land as a whole
and the store takes fewer operations at once, one for each of its parts.

Every scheduler goes through here, those of other processes by ``transactions`` or ``pods/binding``. A Pod is written only if it is still as
it was, so it is bound once, whoever tries; and only if its node still has room for it, so that no interleaving of schedulers
overcommits one. A transaction with an id writes what became of it in the same commit: sent again, to this API server or to
another, it is answered from that.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from kubelib.api import codec
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import (
    ApiError,
    Conflict,
    Invalid,
    ServiceUnavailable,
    already_exists,
    conflict,
    error_from_status,
)
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.registry.keys import store_key
from kubelib.registry.room import Held
from kubelib.store import (
    ABSENT,
    CommitTooLarge,
    Lease,
    Put,
    Revision,
    RevisionMismatch,
    StoreUnavailable,
    most_operations,
)
from kubelib.transactions.base import Cause, Claim, Outcome, Result, Transaction
from kubelib.transactions.commitpoint import Asking
from kubelib.transactions.parts import parts_of
from kubelib.transactions.rules import judge

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry
    from kubelib.registry.registries import ResourceRegistries

TRIES = 8
"""How often a transaction looks again when somebody else was quicker with a Pod or, where servers share a store, a node."""
NO_ROOM = "no longer has room"
"""What a refusal says of a node that is too full, to people and to schedulers, which then look elsewhere at once."""
RECORDS = "/transactions/"
"""Keys that say what became of transactions, by user and id."""
REMEMBERED = 900.0
"""For how many seconds a transaction that has landed is remembered."""

Refused = Mapping[Claim, ApiError]
"""Claims that may not even be tried, and why."""
Brought = Mapping[Key, Tree]
"""The metadata of Bindings, by Pod: labels and annotations that the Pods get."""


class Binder:
    """Commits transactions of claims."""

    may_lose_answers = False
    """Nothing gets lost on the way here: what is not known of a commit, only the store can tell."""

    def __init__(self, registries: "ResourceRegistries", *, user: str = "") -> None:
        self._pods = registries.of(registries.scheme.of(Pod))
        self._user = user

    async def commit(self, transaction: Transaction) -> Result:
        """Bind Pods: those that can be (incremental), or all if all can be. Losers learn why.

        Raises ServiceUnavailable if it is not known what became of it: a transaction with an id may then be committed again.
        """
        return await land(self._pods, transaction, user=self._user)


async def land(
    pods: "GenericRegistry",
    transaction: Transaction,
    *,
    user: str = "",
    resource: str = "pods",
    dry_run: bool = False,
    refused: Refused = {},  # noqa: B006 - never changed
    brought: Brought = {},  # noqa: B006 - never changed
) -> Result:
    """Carry out a transaction of claims; errors speak of `resource`."""
    result = await _land(pods, transaction, user, resource, refused, brought, dry_run)
    if not dry_run:
        pods.owner.landings.count(transaction.scheduler, result)
    return result


async def _land(
    pods: "GenericRegistry",
    transaction: Transaction,
    user: str,
    resource: str,
    refused: Refused,
    brought: Brought,
    dry_run: bool,
) -> Result:
    await pods.catch_up()
    point = pods.owner.commit_point
    if point is None or dry_run:
        return await _in_parts(pods, transaction, user, resource, refused, brought, dry_run)
    asking = _asking(pods, transaction)
    async with point.turn(asking):
        refused = dict(refused)
        for claim in transaction.claims:
            if why := point.refusal(asking, claim):
                refused.setdefault(claim, conflict(resource, claim.pod.name, why))
        result = await _in_parts(pods, transaction, user, resource, refused, brought, dry_run)
        point.decided(asking, result)
        return result


def _asking(pods: "GenericRegistry", transaction: Transaction) -> Asking:
    specs = [
        document.tree()["spec"]
        for claim in transaction.claims
        if (document := pods.cache.get(claim.pod)) is not None
    ]
    return Asking(
        transaction=transaction,
        schedulers=tuple(dict.fromkeys(spec.get("schedulerName") or "" for spec in specs)),
        priority=max((spec.get("priority") or 0 for spec in specs), default=0),
    )


async def _in_parts(
    pods: "GenericRegistry",
    transaction: Transaction,
    user: str,
    resource: str,
    refused: Refused,
    brought: Brought,
    dry_run: bool,
) -> Result:
    """Carry out a transaction, in as many commits as the store needs for it."""
    parts = parts_of(transaction, most_operations(pods.owner.store))
    results = [
        await _Landing(pods, part, user, resource, refused, brought).carry_out(dry_run=dry_run)
        for part in parts
    ]
    if len(results) == 1:
        return results[0]
    outcomes = {outcome.claim.pod: outcome for result in results for outcome in result.outcomes}
    return Result(
        tuple(outcomes[claim.pod] for claim in transaction.claims),
        max(result.revision for result in results),
        repeated=all(result.repeated for result in results),
    )


class _Landing:
    """One transaction on its way."""

    def __init__(
        self,
        pods: "GenericRegistry",
        transaction: Transaction,
        user: str,
        resource: str,
        refused: Refused,
        brought: Brought,
    ) -> None:
        self._pods = pods
        self._owner = pods.owner
        self._transaction = transaction
        self._resource = resource
        self._refused = refused
        self._brought = brought
        self._plugins = pods.owner.admission.binding
        self._nodes = pods.owner.of(pods.owner.scheme.of(Node))
        self._now = format_time(pods.owner.clock.now())
        self._record = f"{RECORDS}{quote(user, safe='')}/{transaction.id}" if transaction.id else ""
        # By position: a claim is hashed more slowly than it is judged.
        self._outcomes: dict[int, Outcome] = {}

    async def carry_out(self, *, dry_run: bool) -> Result:
        remaining: Sequence[int] = range(len(self._transaction.claims))
        together = self._transaction.commit == "all-or-nothing"
        for _ in range(TRIES):
            with self._owner.room.holding() as held:
                puts = self._decide(remaining, held)
                guards = self._guards(puts)
                if self._record and self._outcomes:
                    # What is in the way may be ourselves, the first time that this was sent.
                    known = await self._known()
                    if known is not None:
                        return known
                if together and self._outcomes:
                    return self._result("Together", Conflict("another claim of the transaction conflicts"))
                if not puts:
                    break
                if dry_run:
                    self._landed(puts)
                    break
                try:
                    return await self._commit(puts, guards, held)
                except RevisionMismatch as mismatch:
                    if mismatch.key == self._record:
                        known = await self._known()
                        if known is not None:
                            return known
                    # Somebody changed a Pod or bound on a node between our look and the commit: look again, decide again.
                    remaining = tuple(puts)
        return self._result("Outdated", None)

    def _result(self, cause: Cause, error: ApiError | None, revision: int = 0) -> Result:
        """Return what is decided; claims of which nothing is said did not land, for `cause`."""
        outcomes = self._outcomes
        return Result(
            tuple(
                outcomes.get(position)
                or Outcome(claim, error or conflict(self._resource, claim.pod.name), cause)
                for position, claim in enumerate(self._transaction.claims)
            ),
            revision,
        )

    def _landed(self, positions: Iterable[int]) -> None:
        claims = self._transaction.claims
        self._outcomes.update((position, Outcome(claims[position])) for position in positions)

    # Deciding

    def _decide(self, positions: Sequence[int], held: Held) -> dict[int, Put]:
        """Judge claims: note those that do not land, and return what is to be written for the others, by position."""
        claims = self._transaction.claims
        puts: dict[int, Put] = {}

        def take(position: int) -> Outcome | None:
            found = self._take(claims[position], held)
            if isinstance(found, Outcome):
                return found
            puts[position] = found
            return None

        def changed(position: int) -> Outcome | None:
            claim = claims[position]
            if self._owner.room.given(claim.node, held) <= claim.seen:
                return None
            why = f'node "{claim.node}" has been given a pod since {claim.pod.name} was decided on'
            return self._lost(claim, "Outdated", why)

        coarse = self._transaction.detection == "coarse"
        found = judge(positions, take, changed=changed if coarse else None)
        for position, outcome in zip(positions, found, strict=True):
            if outcome is not None:
                self._outcomes[position] = outcome
        return puts

    def _lost(self, claim: Claim, cause: Cause, why: str) -> Outcome:
        return Outcome(claim, conflict(self._resource, claim.pod.name, why), cause)

    def _take(self, claim: Claim, held: Held) -> Outcome | Put:
        """Take room for a claim, and return what binds its Pod; or why that cannot be."""
        pods = self._pods
        refused = self._refused.get(claim) if self._refused else None
        if refused is not None:
            return Outcome(claim, refused, "Refused")
        document = pods.cache.get(claim.pod)
        if document is None:
            return Outcome(claim, pods.not_found(claim.pod), "Gone")
        meta = document.meta
        if claim.uid and claim.uid != meta.uid:
            return self._lost(
                claim,
                "Gone",
                f"Precondition failed: UID in precondition: {claim.uid}, UID in object meta: {meta.uid}",
            )
        tree = document.tree()
        try:
            bind(tree, claim.node, self._now, self._resource)
        except ApiError as error:
            return Outcome(claim, error, "Assigned" if tree["spec"].get("nodeName") else "Refused")
        lacking = held.claim(claim.pod, claim.node, tree)
        if lacking:
            why = f'node "{claim.node}" {NO_ROOM} for pod {claim.pod.name}: it has too little {", ".join(lacking)}'
            return self._lost(claim, "NoRoom", why)
        if self._brought or self._plugins:
            self._bring(tree, claim)
        raw = codec.encode_tree(tree, pods.resource)
        pods.cache.announce(raw, tree["metadata"])
        return Put(store_key(pods.prefix, claim.pod), raw, Revision(int(meta.resource_version)))

    def _bring(self, tree: Tree, claim: Claim) -> None:
        """Give a Pod what comes with its Binding, and with its node."""
        for part in ("labels", "annotations"):
            if more := (self._brought.get(claim.pod) or {}).get(part):
                tree["metadata"][part] = {**(tree["metadata"].get(part) or {}), **more}
        if self._plugins and (node := self._nodes.cache.get(Key("", claim.node))) is not None:
            for plugin in self._plugins:
                plugin.bound(tree, node)

    # Committing

    def _guards(self, positions: Iterable[int]) -> list[Put]:
        """Return the guards of the nodes that are given Pods, as they were when it was decided: at once, before anything else is known.

        Where one server has the store to itself all bindings are made here, and what others have under way is held.
        """
        if not self._owner.shared:
            return []
        claims = self._transaction.claims
        return [self._owner.room.guard(node) for node in sorted({claims[p].node for p in positions})]

    async def _commit(self, puts: Mapping[int, Put], guards: Sequence[Put], held: Held) -> Result:
        claims = [self._transaction.claims[position] for position in puts]
        room, nodes, shared = self._owner.room, {claim.node for claim in claims}, self._owner.shared
        writes = [*puts.values(), *guards]
        self._landed(puts)
        try:
            if self._record:
                noted = [self._noted(position) for position in range(len(self._transaction.claims))]
                writes.append(Put(self._record, codec.encode_json(noted), ABSENT, Lease(REMEMBERED)))
            revision = await self._pods.commit(*writes)
        except CommitTooLarge as error:
            raise Invalid(f"the transaction is too large for the store: {error}") from None
        except RevisionMismatch as mismatch:
            for position in puts:
                del self._outcomes[position]
            try:
                await room.learn(mismatch, nodes)
            except StoreUnavailable as error:
                raise ServiceUnavailable(str(error), retry_after=1) from None
            raise
        room.landed(held, (claim.pod for claim in claims), nodes, revision, guarded=shared)
        return self._result("Outdated", None, revision)

    # Remembering

    def _noted(self, position: int) -> Tree:
        outcome = self._outcomes[position]
        noted: Tree = {"claim": _name(outcome.claim), "cause": outcome.cause}
        if outcome.error is not None:
            noted["status"] = outcome.error.status()
        return noted

    async def _known(self) -> Result | None:
        """Return what became of the transaction when it was carried out before."""
        try:
            entry = await self._owner.store.get(self._record)
        except StoreUnavailable as error:
            raise ServiceUnavailable(str(error), retry_after=1) from None
        if entry is None:
            return None
        noted, claims = cast("list[Tree]", codec.parse_json(entry.value)), self._transaction.claims
        if [note["claim"] for note in noted] != [_name(claim) for claim in claims]:
            raise already_exists("transactions.scheduling.kubelib.dev", self._transaction.id)
        outcomes = tuple(
            Outcome(claim, error_from_status(note["status"]) if "status" in note else None, note["cause"])
            for claim, note in zip(claims, noted, strict=True)
        )
        return Result(outcomes, entry.modified, repeated=True)


def _name(claim: Claim) -> list[str]:
    return [claim.pod.namespace, claim.pod.name, claim.node]


def bind(tree: Tree, node: str, now: str, group_resource: str = "pods") -> None:
    """Put a Pod on a node, in place. Raises Conflict if it is on one, or is being deleted."""
    meta, spec = tree["metadata"], tree["spec"]
    if meta.get("deletionTimestamp"):
        raise conflict(
            group_resource, meta["name"], f"pod {meta['name']} is being deleted, cannot be assigned to a host"
        )
    if spec.get("nodeName"):
        raise conflict(
            group_resource,
            meta["name"],
            f'pod {meta["name"]} is already assigned to node "{spec["nodeName"]}"',
        )
    if spec.get("schedulingGates"):
        raise conflict(
            group_resource, meta["name"], f"pod {meta['name']} has non-empty .spec.schedulingGates"
        )
    spec["nodeName"] = node
    status = tree.setdefault("status", {})
    # It was a hint for others as long as the Pod waited.
    status.pop("nominatedNodeName", None)
    conditions = status.setdefault("conditions", [])
    conditions[:] = [c for c in conditions if c.get("type") != "PodScheduled"]
    conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": now})
