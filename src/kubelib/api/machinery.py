"""Types that many kinds use: selectors, conditions, options of requests, discovery."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.meta import Int64, ListMeta, Time
from kubelib.api.model import Model


class LabelSelectorRequirement(Model):
    """One condition on a label."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "key operator"

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Model):
    """Selects objects by their labels; all parts must hold."""

    __proto__: ClassVar[str] = "1-2"
    __atomic__: ClassVar[bool] = True

    match_labels: Mapping[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Condition(Model):
    """One aspect of the state of an object."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "type status lastTransitionTime reason message"

    type: str = ""
    status: str = ""
    observed_generation: Int64 = 0
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class GroupResource(Model):
    """A resource in whatever version."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "group resource"

    group: str = ""
    resource: str = ""


class Preconditions(Model):
    """What must be true of an object for it to be deleted."""

    __proto__: ClassVar[str] = "1-2"

    uid: str = ""
    resource_version: str = ""


class DeleteOptions(Model):
    """How an object is to be deleted."""

    __proto__: ClassVar[str] = "1-6"

    grace_period_seconds: Int64 | None = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None
    propagation_policy: str = ""
    dry_run: tuple[str, ...] = ()
    ignore_store_read_error_with_cluster_breaking_potential: bool | None = None


class StatusCause(Model):
    """One thing that is wrong with one field."""

    __proto__: ClassVar[str] = "1-3"

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(Model):
    """Which object a refusal is about, and all that is wrong with it."""

    __proto__: ClassVar[str] = "1-6"

    name: str = ""
    group: str = ""
    kind: str = ""
    causes: tuple[StatusCause, ...] = ()
    retry_after_seconds: int = 0
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
    """One resource as discovery describes it."""

    __proto__: ClassVar[str] = "1-10"
    __required__: ClassVar[str] = "name namespaced kind verbs singularName"

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
    """The resources of a group and version."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "groupVersion resources"

    group_version: str = ""
    resources: tuple[APIResource, ...] = ()


class GroupVersionForDiscovery(Model):
    """One version of a group."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "groupVersion version"

    group_version: str = ""
    version: str = ""


class ServerAddressByClientCIDR(Model):
    """Where clients from a network find the server."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "clientCIDR serverAddress"

    client_cidr: str = ""
    server_address: str = ""


class APIGroup(Model):
    """A group and its versions."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "name versions"

    name: str = ""
    versions: tuple[GroupVersionForDiscovery, ...] = ()
    preferred_version: GroupVersionForDiscovery = GroupVersionForDiscovery()
    server_address_by_client_cid_rs: tuple[ServerAddressByClientCIDR, ...] = msgspec.field(
        default=(), name="serverAddressByClientCIDRs"
    )


class APIGroupList(Model):
    """All groups but the core group."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "groups"

    groups: tuple[APIGroup, ...] = ()


class APIVersions(Model):
    """The versions of the core group."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "versions serverAddressByClientCIDRs"

    versions: tuple[str, ...] = ()
    server_address_by_client_cid_rs: tuple[ServerAddressByClientCIDR, ...] = msgspec.field(
        default=(), name="serverAddressByClientCIDRs"
    )


class FieldSelectorRequirement(Model):
    """One condition on a field."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "key operator"

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()
