"""What every object has: metadata, identity, ownership; and lists of objects."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

import msgspec

from kubelib.api.merging import MERGED_SET, Merging, by
from kubelib.api.model import Model

Time = datetime
"""A date and time in UTC, whole seconds on the wire (``metav1.Time``)."""

MicroTime = Annotated[str, "microtime"]
"""A date and time with six digits of microseconds, kept as text: see `kubelib.api.times`."""

Quantity = Annotated[str, "quantity"]
"""An amount such as ``250m`` or ``64Mi``, as text: see `kubelib.api.quantity` for arithmetic."""

Base64 = Annotated[str, "bytes"]
"""Bytes, in the base64 text that JSON has of them."""

Int64 = Annotated[int, "int64"]
"""A number of 64 bits; plain ``int`` fields have 32."""


class Key(NamedTuple):
    """Where an object is within its resource: namespace (empty for cluster-scoped kinds) and name.

    A tuple, as every cache looks objects up by it: hashing and comparing happen without calling Python.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class OwnerReference(Model):
    """The owner of an object: when the owner goes, the garbage collector deletes the object."""

    __proto__: ClassVar[str] = "5 1 3 4 6 7"
    __required__: ClassVar[str] = "apiVersion kind name uid"
    __atomic__: ClassVar[bool] = True

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ManagedFieldsEntry(Model):
    """The fields that one manager set with one operation, for server-side apply."""

    __proto__: ClassVar[str] = "1-4 6-8"

    manager: str = ""
    operation: str = ""
    api_version: str = ""
    time: Time | None = None
    fields_type: str = ""
    fields_v1: Mapping[str, Any] | None = msgspec.field(default=None, name="fieldsV1")
    subresource: str = ""


class ObjectMeta(Model):
    """Metadata that all persisted objects have."""

    __proto__: ClassVar[str] = "1-14 17"
    __merge__: ClassVar[Merging] = {
        "ownerReferences": by("uid"),
        "finalizers": MERGED_SET,
    }

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    self_link: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: Int64 = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: Int64 | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    managed_fields: tuple[ManagedFieldsEntry, ...] = ()


class Object(Model):
    """An object with an identity of its own. `kind` and `api_version` belong to the class."""

    api_version: ClassVar[str] = ""
    kind: ClassVar[str] = ""

    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> Key:
        """Where the object is within its resource."""
        return Key(self.metadata.namespace, self.metadata.name)


R = TypeVar("R", bound=Object)
"""A kind of object: what registries, clients and listers are generic in."""


class ShardInfo(Model):
    """Which part of a list this is, when clients share one out among themselves."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "selector"

    selector: str = ""


class ListMeta(Model):
    """Metadata of a list: the revision at which it was taken, and where it continues."""

    __proto__: ClassVar[str] = "1-5"

    self_link: str = ""
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: Int64 | None = None
    shard_info: ShardInfo | None = None


def controller_of(obj: Object) -> OwnerReference | None:
    """Return the owner that controls `obj`, or None."""
    for reference in obj.metadata.owner_references:
        if reference.controller:
            return reference
    return None
