"""Transactions of a scheduler's claims, as they travel: a group of kubelib's own, beside Kubernetes'."""

from typing import ClassVar

import msgspec

from kubelib.api.meta import Object
from kubelib.api.model import Model

GROUP = "scheduling.kubelib.dev"


class TransactionClaim(Model):
    """One placement that a scheduler asks for."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "namespace name node"

    namespace: str = ""
    name: str = ""
    uid: str = ""
    node: str = ""
    seen_resource_version: str = ""


class TransactionSpec(Model):
    """The claims, and how they are to land."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "claims"

    claims: tuple[TransactionClaim, ...] = ()
    detection: str = ""
    commit: str = ""
    scheduler: str = ""


class TransactionOutcome(Model):
    """What became of one claim."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "bound"

    bound: bool = False
    cause: str = ""
    message: str = ""
    code: int = 0


class TransactionStatus(Model):
    """What became of the transaction."""

    __proto__: ClassVar[str] = "1-5"

    outcomes: tuple[TransactionOutcome, ...] = ()
    landed: int = 0
    conflicts: int = 0
    landed_resource_version: str = msgspec.field(default="", name="resourceVersion")
    repeated: bool = False


class Transaction(Object):
    """Puts Pods on nodes: all claims in one write, each only if its node still has room.

    It is carried out once, by whichever API server, however often it is sent under the same name; it is not kept.
    """

    api_version: ClassVar[str] = "scheduling.kubelib.dev/v1alpha1"
    kind: ClassVar[str] = "Transaction"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: TransactionSpec = TransactionSpec()
    status: TransactionStatus = TransactionStatus()
