"""Namespaces: rooms for names."""

from typing import ClassVar

from kubelib.api.merging import BY_TYPE, Merging
from kubelib.api.meta import Object, Time
from kubelib.api.model import Model


class NamespaceSpec(Model):
    """What is wanted of a Namespace."""

    __proto__: ClassVar[str] = "1"

    finalizers: tuple[str, ...] = ()


class NamespaceCondition(Model):
    """One aspect of the state of a Namespace."""

    __proto__: ClassVar[str] = "1-2 4-6"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class NamespaceStatus(Model):
    """What is observed of a Namespace."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    phase: str = ""
    conditions: tuple[NamespaceCondition, ...] = ()


class Namespace(Object):
    """A room for names: most kinds live in one."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Namespace"
    __proto__: ClassVar[str] = "2-3"

    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()
