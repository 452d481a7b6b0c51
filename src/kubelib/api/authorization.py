"""What a caller may do."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.machinery import FieldSelectorRequirement, LabelSelectorRequirement
from kubelib.api.meta import Object
from kubelib.api.model import Model


class FieldSelectorAttributes(Model):
    """Field selector attributes."""

    __proto__: ClassVar[str] = "1-2"

    raw_selector: str = ""
    requirements: tuple[FieldSelectorRequirement, ...] = ()


class LabelSelectorAttributes(Model):
    """Label selector attributes."""

    __proto__: ClassVar[str] = "1-2"

    raw_selector: str = ""
    requirements: tuple[LabelSelectorRequirement, ...] = ()


class ResourceAttributes(Model):
    """Resource attributes."""

    __proto__: ClassVar[str] = "1-9"

    namespace: str = ""
    verb: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    field_selector: FieldSelectorAttributes | None = None
    label_selector: LabelSelectorAttributes | None = None


class NonResourceAttributes(Model):
    """Non resource attributes."""

    __proto__: ClassVar[str] = "1-2"

    path: str = ""
    verb: str = ""


class SelfSubjectAccessReviewSpec(Model):
    """What is wanted of a SelfSubjectAccessReview."""

    __proto__: ClassVar[str] = "1-2"

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


class SubjectAccessReviewStatus(Model):
    """What is observed of a SubjectAccessReview."""

    __proto__: ClassVar[str] = "1-4"

    allowed: bool = False
    reason: str = ""
    evaluation_error: str = ""
    denied: bool | None = None


class SelfSubjectAccessReview(Object):
    """A self subject access review."""

    api_version: ClassVar[str] = "authorization.k8s.io/v1"
    kind: ClassVar[str] = "SelfSubjectAccessReview"
    __proto__: ClassVar[str] = "2-3"

    spec: SelfSubjectAccessReviewSpec = SelfSubjectAccessReviewSpec()
    status: SubjectAccessReviewStatus = SubjectAccessReviewStatus()


class SubjectAccessReviewSpec(Model):
    """What is wanted of a SubjectAccessReview."""

    __proto__: ClassVar[str] = "1-6"

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None
    user: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}
    uid: str = ""


class SubjectAccessReview(Object):
    """A subject access review."""

    api_version: ClassVar[str] = "authorization.k8s.io/v1"
    kind: ClassVar[str] = "SubjectAccessReview"
    __proto__: ClassVar[str] = "2-3"

    spec: SubjectAccessReviewSpec = SubjectAccessReviewSpec()
    status: SubjectAccessReviewStatus = SubjectAccessReviewStatus()


class LocalSubjectAccessReview(Object):
    """A local subject access review."""

    api_version: ClassVar[str] = "authorization.k8s.io/v1"
    kind: ClassVar[str] = "LocalSubjectAccessReview"
    __proto__: ClassVar[str] = "2-3"

    spec: SubjectAccessReviewSpec = SubjectAccessReviewSpec()
    status: SubjectAccessReviewStatus = SubjectAccessReviewStatus()


class SelfSubjectRulesReviewSpec(Model):
    """What is wanted of a SelfSubjectRulesReview."""

    __proto__: ClassVar[str] = "1"

    namespace: str = ""


class ResourceRule(Model):
    """A resource rule."""

    __proto__: ClassVar[str] = "1-4"

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


class NonResourceRule(Model):
    """A non resource rule."""

    __proto__: ClassVar[str] = "1-2"

    verbs: tuple[str, ...] = ()
    non_resource_ur_ls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")


class SubjectRulesReviewStatus(Model):
    """What is observed of a SubjectRulesReview."""

    __proto__: ClassVar[str] = "1-4"

    resource_rules: tuple[ResourceRule, ...] = ()
    non_resource_rules: tuple[NonResourceRule, ...] = ()
    incomplete: bool = False
    evaluation_error: str = ""


class SelfSubjectRulesReview(Object):
    """A self subject rules review."""

    api_version: ClassVar[str] = "authorization.k8s.io/v1"
    kind: ClassVar[str] = "SelfSubjectRulesReview"
    __proto__: ClassVar[str] = "2-3"

    spec: SelfSubjectRulesReviewSpec = SelfSubjectRulesReviewSpec()
    status: SubjectRulesReviewStatus = SubjectRulesReviewStatus()
