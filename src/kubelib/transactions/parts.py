"""Transactions that are larger than what a store takes in one commit. Pure."""

from collections.abc import Iterator, Sequence
from itertools import chain, groupby

import attrs

from kubelib.transactions.base import Claim, Transaction


def parts_of(transaction: Transaction, most: int) -> Sequence[Transaction]:
    """Return what lands in one commit each where a commit takes `most` operations (0: any number).

    A claim needs its Pod's key and its node's, and a transaction one for itself. What lands as a whole is never divided. Each part is
    remembered by a name of its own, and is the same part when the transaction is sent again. To a claim on a node that another part gave
    a Pod the node looks changed, so with coarse detection those of a node stay together as far as they can.
    """
    if not most or transaction.commit == "all-or-nothing" or _operations(transaction.claims) <= most:
        return (transaction,)
    claims: Sequence[Claim] = transaction.claims
    if transaction.detection == "coarse":
        by_node: dict[str, list[Claim]] = {}
        for claim in claims:
            by_node.setdefault(claim.node, []).append(claim)
        claims = tuple(chain.from_iterable(by_node.values()))
    return [
        attrs.evolve(transaction, claims=part, id=transaction.id and f"{transaction.id}~{number}")
        for number, part in enumerate(_filled(claims, most))
    ]


def _filled(claims: Sequence[Claim], most: int) -> Iterator[list[Claim]]:
    """Return claims in parts; neighbours on the same node begin a new part rather than be divided, if they fit into one."""
    part: list[Claim] = []
    nodes: set[str] = set()
    for node, neighbours in groupby(claims, key=lambda claim: claim.node):
        together = list(neighbours)
        for number, claim in enumerate(together):
            wanted = len(together) if not number and len(together) + 2 <= most else 1
            if part and len(part) + wanted + len(nodes | {node}) + 1 > most:
                yield part
                part, nodes = [], set()
            part.append(claim)
            nodes.add(node)
    yield part


def _operations(claims: Sequence[Claim]) -> int:
    return len(claims) + len({claim.node for claim in claims}) + 1
