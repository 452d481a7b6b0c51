"""What a caller may do."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.machinery import FieldSelectorRequirement, LabelSelectorRequirement
from kubelib.api.meta import Object
from kubelib.api.model import Model


class FieldSelectorAttributes(Model):
    """The field selector of a request, raw or parsed."""

    __proto__: ClassVar[str] = "1-2"

    raw_selector: str = ""
    requirements: tuple[FieldSelectorRequirement, ...] = ()


class LabelSelectorAttributes(Model):
    """The label selector of a request, raw or parsed."""

    __proto__: ClassVar[str] = "1-2"

    raw_selector: str = ""
    requirements: tuple[LabelSelectorRequirement, ...] = ()


class ResourceAttributes(Model):
    """A verb on a resource, as an authorizer sees it."""

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
    """A verb on a path that is no resource."""

    __proto__: ClassVar[str] = "1-2"

    path: str = ""
    verb: str = ""


class SelfSubjectAccessReviewSpec(Model):
    """What is wanted of a SelfSubjectAccessReview."""

    __proto__: ClassVar[str] = "1-2"

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


class SubjectAccessReviewStatus(Model):
    """The authorizer's answer. Neither allowed nor denied means: no opinion."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "allowed"

    allowed: bool = False
    reason: str = ""
    evaluation_error: str = ""
    denied: bool = False


class SelfSubjectAccessReview(Object):
    """Asks whether the caller may do something."""

    api_version: ClassVar[str] = "authorization.k8s.io/v1"
    kind: ClassVar[str] = "SelfSubjectAccessReview"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

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
    """Asks whether a user may do something."""

    api_version: ClassVar[str] = "authorization.k8s.io/v1"
    kind: ClassVar[str] = "SubjectAccessReview"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: SubjectAccessReviewSpec = SubjectAccessReviewSpec()
    status: SubjectAccessReviewStatus = SubjectAccessReviewStatus()


class LocalSubjectAccessReview(Object):
    """Asks whether a user may do something in one namespace."""

    api_version: ClassVar[str] = "authorization.k8s.io/v1"
    kind: ClassVar[str] = "LocalSubjectAccessReview"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: SubjectAccessReviewSpec = SubjectAccessReviewSpec()
    status: SubjectAccessReviewStatus = SubjectAccessReviewStatus()


class SelfSubjectRulesReviewSpec(Model):
    """What is wanted of a SelfSubjectRulesReview."""

    __proto__: ClassVar[str] = "1"

    namespace: str = ""


class ResourceRule(Model):
    """Verbs on resources that are allowed."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "verbs"

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


class NonResourceRule(Model):
    """Verbs on paths that are allowed."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "verbs"

    verbs: tuple[str, ...] = ()
    non_resource_ur_ls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")


class SubjectRulesReviewStatus(Model):
    """The rules that were found, and whether there may be more."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "resourceRules nonResourceRules incomplete"

    resource_rules: tuple[ResourceRule, ...] = ()
    non_resource_rules: tuple[NonResourceRule, ...] = ()
    incomplete: bool = False
    evaluation_error: str = ""


class SelfSubjectRulesReview(Object):
    """Asks for everything that the caller may do in a namespace."""

    api_version: ClassVar[str] = "authorization.k8s.io/v1"
    kind: ClassVar[str] = "SelfSubjectRulesReview"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: SelfSubjectRulesReviewSpec = SelfSubjectRulesReviewSpec()
    status: SubjectRulesReviewStatus = SubjectRulesReviewStatus()
