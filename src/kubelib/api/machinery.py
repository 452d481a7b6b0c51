"""Types that many kinds use: selectors, conditions, options of requests, discovery."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.meta import ListMeta, Time
from kubelib.api.model import Model


class LabelSelectorRequirement(Model):
    """One condition on a label."""

    __proto__: ClassVar[str] = "1-3"

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Model):
    """Selects objects by their labels; all parts must hold."""

    __proto__: ClassVar[str] = "1-2"

    match_labels: Mapping[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Condition(Model):
    """One aspect of the state of an object."""

    __proto__: ClassVar[str] = "1-6"

    type: str = ""
    status: str = ""
    observed_generation: int = 0
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class Preconditions(Model):
    """What must be true of an object for it to be deleted."""

    __proto__: ClassVar[str] = "1-2"

    uid: str = ""
    resource_version: str = ""


class DeleteOptions(Model):
    """How an object is to be deleted."""

    __proto__: ClassVar[str] = "1-6"

    grace_period_seconds: int | None = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None
    propagation_policy: str = ""
    dry_run: tuple[str, ...] = ()
    ignore_store_read_error_with_cluster_breaking_potential: bool | None = None


class StatusCause(Model):
    """A status cause."""

    __proto__: ClassVar[str] = "1-3"

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(Model):
    """Status details."""

    __proto__: ClassVar[str] = "1-6"

    name: str = ""
    group: str = ""
    kind: str = ""
    causes: tuple[StatusCause, ...] = ()
    retry_after_seconds: int | None = None
    uid: str = ""


class Status(Model):
    """The outcome of a request that returns no object."""

    __proto__: ClassVar[str] = "1-6"

    metadata: ListMeta = ListMeta()
    status: str = ""
    message: str = ""
    reason: str = ""
    details: StatusDetails | None = None
    code: int = 0


class APIResource(Model):
    """An API resource."""

    __proto__: ClassVar[str] = "1-10"

    name: str = ""
    namespaced: bool = False
    kind: str = ""
    verbs: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()
    singular_name: str = ""
    categories: tuple[str, ...] = ()
    group: str = ""
    version: str = ""
    storage_version_hash: str = ""


class APIResourceList(Model):
    """An API resource list."""

    __proto__: ClassVar[str] = "1-2"

    group_version: str = ""
    resources: tuple[APIResource, ...] = ()


class GroupVersionForDiscovery(Model):
    """A group version for discovery."""

    __proto__: ClassVar[str] = "1-2"

    group_version: str = ""
    version: str = ""


class ServerAddressByClientCIDR(Model):
    """A server address by client CIDR."""

    __proto__: ClassVar[str] = "1-2"

    client_cidr: str = ""
    server_address: str = ""


class APIGroup(Model):
    """An API group."""

    __proto__: ClassVar[str] = "1-4"

    name: str = ""
    versions: tuple[GroupVersionForDiscovery, ...] = ()
    preferred_version: GroupVersionForDiscovery | None = None
    server_address_by_client_cid_rs: tuple[ServerAddressByClientCIDR, ...] = msgspec.field(
        default=(), name="serverAddressByClientCIDRs"
    )


class APIGroupList(Model):
    """An API group list."""

    __proto__: ClassVar[str] = "1"

    groups: tuple[APIGroup, ...] = ()


class APIVersions(Model):
    """API versions."""

    __proto__: ClassVar[str] = "1-2"

    versions: tuple[str, ...] = ()
    server_address_by_client_cid_rs: tuple[ServerAddressByClientCIDR, ...] = msgspec.field(
        default=(), name="serverAddressByClientCIDRs"
    )


class FieldSelectorRequirement(Model):
    """A field selector requirement."""

    __proto__: ClassVar[str] = "1-3"

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()
