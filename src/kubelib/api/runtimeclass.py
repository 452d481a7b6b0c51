"""Runtime classes: by which runtime a Pod's containers run, at what cost, and where."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.affinity import Toleration
from kubelib.api.merging import ATOMIC_MAP, Merging
from kubelib.api.meta import Object, Quantity
from kubelib.api.model import Model


class Overhead(Model):
    """What a Pod costs beyond its containers."""

    __proto__: ClassVar[str] = "1"

    pod_fixed: Mapping[str, Quantity] = {}


class Scheduling(Model):
    """The nodes that have the runtime."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {"nodeSelector": ATOMIC_MAP}

    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()


class RuntimeClass(Object):
    """A runtime that Pods can ask for."""

    api_version: ClassVar[str] = "node.k8s.io/v1"
    kind: ClassVar[str] = "RuntimeClass"
    __proto__: ClassVar[str] = "2-4"
    __required__: ClassVar[str] = "handler"

    handler: str = ""
    overhead: Overhead | None = None
    scheduling: Scheduling | None = None
