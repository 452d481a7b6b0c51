"""What may be stored, and who is told: the verbs on objects, over a store."""

from kubelib.registry.base import (
    NO_PRECONDITIONS,
    WHOLE_CLUSTER,
    ObjectList,
    Patch,
    Preconditions,
    Query,
    Registry,
    User,
    WatchEvent,
    WriteOptions,
)
from kubelib.registry.registries import ResourceRegistries

__all__ = [
    "NO_PRECONDITIONS",
    "WHOLE_CLUSTER",
    "ObjectList",
    "Patch",
    "Preconditions",
    "Query",
    "Registry",
    "ResourceRegistries",
    "User",
    "WatchEvent",
    "WriteOptions",
]
