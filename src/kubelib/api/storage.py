"""Storage classes."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import TopologySelectorTerm
from kubelib.api.meta import Object


class StorageClass(Object):
    """A kind of storage that claims can ask for."""

    api_version: ClassVar[str] = "storage.k8s.io/v1"
    kind: ClassVar[str] = "StorageClass"
    __proto__: ClassVar[str] = "2-8"
    __required__: ClassVar[str] = "provisioner"

    provisioner: str = ""
    parameters: Mapping[str, str] = {}
    reclaim_policy: str = ""
    mount_options: tuple[str, ...] = ()
    allow_volume_expansion: bool | None = None
    volume_binding_mode: str = ""
    allowed_topologies: tuple[TopologySelectorTerm, ...] = ()
