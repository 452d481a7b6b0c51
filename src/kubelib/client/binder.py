"""Transactions over HTTP: sent again under the same name until it is known what became of them."""

from collections.abc import Mapping

import anyio

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import (
    ApiError,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
    error_from_status,
)
from kubelib.api.meta import ObjectMeta
from kubelib.api.transactions import Transaction as Sent
from kubelib.api.transactions import TransactionClaim, TransactionOutcome, TransactionSpec
from kubelib.client.base import SupportsRequests, TransactionsUnsupported
from kubelib.transactions.base import Cause, Claim, Commit, Detection, Outcome, Result, Transaction

PATH = f"/apis/{Sent.api_version}/transactions"
DETECTIONS: Mapping[Detection, str] = {"fine": "Fine", "coarse": "Coarse"}
COMMITS: Mapping[Commit, str] = {"incremental": "Incremental", "all-or-nothing": "AllOrNothing"}
TRIES = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds before a transaction without an answer is sent again; twice as many each time."""


class HttpBinder:
    """Commits transactions at a server; see `kubelib.registry.binding.Binder`."""

    may_lose_answers = True

    def __init__(self, client: SupportsRequests) -> None:
        self._client = client

    async def commit(self, transaction: Transaction) -> Result:
        """Commit a transaction. One with an id is sent again when its answer is lost, also to a server that has taken over.

        Raises ServiceUnavailable if it is still not known what became of it, and TransactionsUnsupported.
        """
        body = codec.encode(_sent(transaction))
        pause = FIRST_PAUSE
        for attempt in range(TRIES if transaction.id else 1):
            if attempt:
                await anyio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            try:
                answer = await self._client.request("POST", PATH, body=body)
                break
            except (ServiceUnavailable, Timeout, TooManyRequests) as error:
                failure: ApiError = error
            except NotFound as error:
                raise TransactionsUnsupported(str(error)) from None
        else:
            raise failure
        status = Document(answer.body).view(Sent).status
        outcomes = tuple(
            _outcome(claim, outcome)
            for claim, outcome in zip(transaction.claims, status.outcomes, strict=True)
        )
        return Result(outcomes, int(status.landed_resource_version or 0), status.repeated)


def _sent(transaction: Transaction) -> Sent:
    claims = tuple(
        TransactionClaim(
            namespace=claim.pod.namespace,
            name=claim.pod.name,
            uid=claim.uid,
            node=claim.node,
            seen_resource_version=str(claim.seen) if claim.seen else "",
        )
        for claim in transaction.claims
    )
    return Sent(
        metadata=ObjectMeta(name=transaction.id),
        spec=TransactionSpec(
            claims=claims,
            detection=DETECTIONS[transaction.detection],
            commit=COMMITS[transaction.commit],
            scheduler=transaction.scheduler,
        ),
    )


def _outcome(claim: Claim, outcome: TransactionOutcome) -> Outcome:
    if outcome.bound:
        return Outcome(claim)
    cause: Cause = outcome.cause  # type: ignore[assignment]
    return Outcome(claim, error_from_status({"message": outcome.message}, outcome.code), cause)
