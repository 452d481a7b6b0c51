"""Limits per object and quotas per namespace."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.meta import Object, Quantity
from kubelib.api.model import Model


class LimitRangeItem(Model):
    """Bounds and defaults for one type of object."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "type"

    type: str = ""
    max: Mapping[str, Quantity] = {}
    min: Mapping[str, Quantity] = {}
    default: Mapping[str, Quantity] = {}
    default_request: Mapping[str, Quantity] = {}
    max_limit_request_ratio: Mapping[str, Quantity] = {}


class LimitRangeSpec(Model):
    """What is wanted of a LimitRange."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "limits"

    limits: tuple[LimitRangeItem, ...] = ()


class LimitRange(Object):
    """Limits and defaults for the objects of a namespace."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "LimitRange"
    __proto__: ClassVar[str] = "2"

    spec: LimitRangeSpec = LimitRangeSpec()


class ScopedResourceSelectorRequirement(Model):
    """One condition on the objects that a quota counts."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "scopeName operator"

    scope_name: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class ScopeSelector(Model):
    """Which objects a quota counts."""

    __proto__: ClassVar[str] = "1"
    __atomic__: ClassVar[bool] = True

    match_expressions: tuple[ScopedResourceSelectorRequirement, ...] = ()


class ResourceQuotaSpec(Model):
    """What is wanted of a ResourceQuota."""

    __proto__: ClassVar[str] = "1-3"

    hard: Mapping[str, Quantity] = {}
    scopes: tuple[str, ...] = ()
    scope_selector: ScopeSelector | None = None


class ResourceQuotaStatus(Model):
    """What is observed of a ResourceQuota."""

    __proto__: ClassVar[str] = "1-2"

    hard: Mapping[str, Quantity] = {}
    used: Mapping[str, Quantity] = {}


class ResourceQuota(Object):
    """How much the objects of a namespace may use together."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "ResourceQuota"
    __proto__: ClassVar[str] = "2-3"

    spec: ResourceQuotaSpec = ResourceQuotaSpec()
    status: ResourceQuotaStatus = ResourceQuotaStatus()
