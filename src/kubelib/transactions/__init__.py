"""Transactions of claims: the rules by which they land, the policies that order them, and the figures that judge schedulers."""

from kubelib.transactions.base import (
    CONFLICTS,
    Cause,
    Claim,
    Commit,
    Detection,
    Outcome,
    Result,
    Transaction,
)

__all__ = ["CONFLICTS", "Cause", "Claim", "Commit", "Detection", "Outcome", "Result", "Transaction"]
