"""Leases: who holds what until when."""

from typing import ClassVar

from kubelib.api.meta import MicroTime, Object
from kubelib.api.model import Model


class LeaseSpec(Model):
    """What is wanted of a Lease."""

    __proto__: ClassVar[str] = "1-7"

    holder_identity: str = ""
    lease_duration_seconds: int | None = None
    acquire_time: MicroTime = ""
    renew_time: MicroTime = ""
    lease_transitions: int | None = None
    strategy: str = ""
    preferred_holder: str = ""


class Lease(Object):
    """Who holds something, and until when."""

    api_version: ClassVar[str] = "coordination.k8s.io/v1"
    kind: ClassVar[str] = "Lease"
    __proto__: ClassVar[str] = "2"

    spec: LeaseSpec = LeaseSpec()
