"""Where schedulers' decisions land: a transaction of claims is one atomic commit of the store.

Every scheduler goes through here or through ``pods/binding``; both write the Pod only if it is still as it was, so a
Pod is bound once, whoever tries.
"""

from collections.abc import Sequence
from typing import Literal

import attrs

from kubelib.api import codec
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, Conflict
from kubelib.api.meta import Key
from kubelib.api.times import format_time
from kubelib.registry.keys import store_key
from kubelib.registry.registries import ResourceRegistries
from kubelib.registry.strategies.pods import bind
from kubelib.store import Put, Revision, RevisionMismatch


@attrs.frozen
class Claim:
    """One placement that a scheduler asks for."""

    pod: Key
    uid: str
    node: str


@attrs.frozen
class Outcome:
    """What became of a claim: bound, or the error that says why not."""

    claim: Claim
    error: ApiError | None = None


class Binder:
    """Commits transactions of claims."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._pods = registries.of(registries.scheme.of(Pod))

    async def commit(
        self, claims: Sequence[Claim], *, mode: Literal["incremental", "all-or-nothing"] = "incremental"
    ) -> tuple[Outcome, ...]:
        """Bind Pods: those that can be (incremental), or all if all can be. Losers learn why."""
        pods = self._pods
        now = format_time(pods.owner.clock.now())
        outcomes: dict[Claim, Outcome] = {}
        remaining = list(claims)
        while remaining:
            puts: list[Put] = []
            landing: list[Claim] = []
            for claim in remaining:
                try:
                    puts.append(self._put(claim, now))
                    landing.append(claim)
                except ApiError as error:
                    outcomes[claim] = Outcome(claim, error)
            if mode == "all-or-nothing" and len(landing) < len(claims):
                refused = Conflict("another claim of the transaction conflicts")
                return tuple(outcomes.get(claim) or Outcome(claim, refused) for claim in claims)
            if not puts:
                break
            try:
                await pods._commit(*puts)
            except RevisionMismatch:
                # Somebody changed a Pod between our look and the commit: look again, decide again.
                remaining = landing
                continue
            outcomes.update((claim, Outcome(claim)) for claim in landing)
            break
        return tuple(outcomes[claim] for claim in claims)

    def _put(self, claim: Claim, now: str) -> Put:
        pods = self._pods
        document = pods.cache.get(claim.pod)
        if document is None or (claim.uid and document.meta.uid != claim.uid):
            raise pods.not_found(claim.pod)
        tree = document.tree()
        bind(tree, claim.node, now)
        raw = codec.encode_tree(tree, pods.resource)
        return Put(store_key(pods.prefix, claim.pod), raw, Revision(int(document.meta.resource_version)))
