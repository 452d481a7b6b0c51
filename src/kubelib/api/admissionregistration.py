"""Who else decides what may be stored: admission webhooks and admission policies."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.machinery import Condition, LabelSelector
from kubelib.api.merging import BY_NAME, SET, Merging, keyed_by
from kubelib.api.meta import Base64, Int64, Object
from kubelib.api.model import Model


class Rule(Model):
    """Resources, by group, version, name and scope."""

    __proto__: ClassVar[str] = "1-4"

    api_groups: tuple[str, ...] = ()
    api_versions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    scope: str = ""


class RuleWithOperations(Rule):
    """Operations on resources."""

    __proto__: ClassVar[str] = "1"
    __embeds__: ClassVar[Mapping[str, int]] = {"Rule": 2}

    operations: tuple[str, ...] = ()


class NamedRuleWithOperations(RuleWithOperations):
    """Operations on resources, of some names only."""

    __proto__: ClassVar[str] = "1"
    __embeds__: ClassVar[Mapping[str, int]] = {"RuleWithOperations": 2}
    __atomic__: ClassVar[bool] = True

    resource_names: tuple[str, ...] = ()


class ServiceReference(Model):
    """A Service that answers, at a path and port."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "namespace name"

    namespace: str = ""
    name: str = ""
    path: str | None = None
    port: int | None = None


class WebhookClientConfig(Model):
    """How a webhook is reached: by URL or through a Service, and which certificates it may show."""

    __proto__: ClassVar[str] = "3 1-2"

    url: str | None = None
    service: ServiceReference | None = None
    ca_bundle: Base64 = ""


class MatchCondition(Model):
    """An expression that must be true of a request."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name expression"

    name: str = ""
    expression: str = ""


class ValidatingWebhook(Model):
    """A webhook that may refuse requests."""

    __proto__: ClassVar[str] = "1-4 9 5 10 6-8 11"
    __required__: ClassVar[str] = "name clientConfig sideEffects admissionReviewVersions"
    __merge__: ClassVar[Merging] = {"matchConditions": BY_NAME}

    name: str = ""
    client_config: WebhookClientConfig = WebhookClientConfig()
    rules: tuple[RuleWithOperations, ...] = ()
    failure_policy: str = ""
    match_policy: str = ""
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    side_effects: str = ""
    timeout_seconds: int | None = None
    admission_review_versions: tuple[str, ...] = ()
    match_conditions: tuple[MatchCondition, ...] = ()


class ValidatingWebhookConfiguration(Object):
    """Webhooks that may refuse requests."""

    api_version: ClassVar[str] = "admissionregistration.k8s.io/v1"
    kind: ClassVar[str] = "ValidatingWebhookConfiguration"
    __proto__: ClassVar[str] = "2"
    __merge__: ClassVar[Merging] = {"webhooks": BY_NAME}

    webhooks: tuple[ValidatingWebhook, ...] = ()


class MutatingWebhook(Model):
    """A webhook that may refuse requests and change objects."""

    __proto__: ClassVar[str] = "1-4 9 5 11 6-8 10 12"
    __required__: ClassVar[str] = "name clientConfig sideEffects admissionReviewVersions"
    __merge__: ClassVar[Merging] = {"matchConditions": BY_NAME}

    name: str = ""
    client_config: WebhookClientConfig = WebhookClientConfig()
    rules: tuple[RuleWithOperations, ...] = ()
    failure_policy: str = ""
    match_policy: str = ""
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    side_effects: str = ""
    timeout_seconds: int | None = None
    admission_review_versions: tuple[str, ...] = ()
    reinvocation_policy: str = ""
    match_conditions: tuple[MatchCondition, ...] = ()


class MutatingWebhookConfiguration(Object):
    """Webhooks that may refuse requests and change objects."""

    api_version: ClassVar[str] = "admissionregistration.k8s.io/v1"
    kind: ClassVar[str] = "MutatingWebhookConfiguration"
    __proto__: ClassVar[str] = "2"
    __merge__: ClassVar[Merging] = {"webhooks": BY_NAME}

    webhooks: tuple[MutatingWebhook, ...] = ()


class ParamKind(Model):
    """The kind of a policy's parameters."""

    __proto__: ClassVar[str] = "1-2"
    __atomic__: ClassVar[bool] = True

    api_version: str = ""
    kind: str = ""


class MatchResources(Model):
    """Which requests a policy is about."""

    __proto__: ClassVar[str] = "1-4 7"
    __atomic__: ClassVar[bool] = True

    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    resource_rules: tuple[NamedRuleWithOperations, ...] = ()
    exclude_resource_rules: tuple[NamedRuleWithOperations, ...] = ()
    match_policy: str = ""


class Validation(Model):
    """An expression that must be true of the object, and what is said when it is not."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "expression"

    expression: str = ""
    message: str = ""
    reason: str | None = None
    message_expression: str = ""


class AuditAnnotation(Model):
    """A value that is noted in the audit log."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "key valueExpression"

    key: str = ""
    value_expression: str = ""


class Variable(Model):
    """A named expression that others use."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name expression"
    __atomic__: ClassVar[bool] = True

    name: str = ""
    expression: str = ""


class ValidatingAdmissionPolicySpec(Model):
    """What is wanted of a ValidatingAdmissionPolicy."""

    __proto__: ClassVar[str] = "1-7"
    __merge__: ClassVar[Merging] = {"matchConditions": BY_NAME, "variables": BY_NAME}

    param_kind: ParamKind | None = None
    match_constraints: MatchResources | None = None
    validations: tuple[Validation, ...] = ()
    failure_policy: str = ""
    audit_annotations: tuple[AuditAnnotation, ...] = ()
    match_conditions: tuple[MatchCondition, ...] = ()
    variables: tuple[Variable, ...] = ()


class ExpressionWarning(Model):
    """What is doubtful about an expression."""

    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "fieldRef warning"

    field_ref: str = ""
    warning: str = ""


class TypeChecking(Model):
    """What checking the types of the expressions has found."""

    __proto__: ClassVar[str] = "1"

    expression_warnings: tuple[ExpressionWarning, ...] = ()


class ValidatingAdmissionPolicyStatus(Model):
    """What is observed of a ValidatingAdmissionPolicy."""

    __proto__: ClassVar[str] = "1-3"
    __merge__: ClassVar[Merging] = {"conditions": keyed_by("type")}

    observed_generation: Int64 = 0
    type_checking: TypeChecking | None = None
    conditions: tuple[Condition, ...] = ()


class ValidatingAdmissionPolicy(Object):
    """Expressions that objects must satisfy; in force where a binding says so."""

    api_version: ClassVar[str] = "admissionregistration.k8s.io/v1"
    kind: ClassVar[str] = "ValidatingAdmissionPolicy"
    __proto__: ClassVar[str] = "2-3"

    spec: ValidatingAdmissionPolicySpec = ValidatingAdmissionPolicySpec()
    status: ValidatingAdmissionPolicyStatus = ValidatingAdmissionPolicyStatus()


class ParamRef(Model):
    """Where a policy's parameters are."""

    __proto__: ClassVar[str] = "1-4"
    __atomic__: ClassVar[bool] = True

    name: str = ""
    namespace: str = ""
    selector: LabelSelector | None = None
    parameter_not_found_action: str = ""


class ValidatingAdmissionPolicyBindingSpec(Model):
    """What is wanted of a ValidatingAdmissionPolicyBinding."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "policyName validationActions"
    __merge__: ClassVar[Merging] = {"validationActions": SET}

    policy_name: str = ""
    param_ref: ParamRef | None = None
    match_resources: MatchResources | None = None
    validation_actions: tuple[str, ...] = ()


class ValidatingAdmissionPolicyBinding(Object):
    """Puts a policy in force."""

    api_version: ClassVar[str] = "admissionregistration.k8s.io/v1"
    kind: ClassVar[str] = "ValidatingAdmissionPolicyBinding"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "spec"

    spec: ValidatingAdmissionPolicyBindingSpec = ValidatingAdmissionPolicyBindingSpec()


class ApplyConfiguration(Model):
    """An expression whose value is merged into the object, as by server-side apply."""

    __proto__: ClassVar[str] = "1"

    expression: str = ""


class JSONPatch(Model):
    """An expression whose value is a list of operations of a JSON patch."""

    __proto__: ClassVar[str] = "1"

    expression: str = ""


class Mutation(Model):
    """A change to the object."""

    __proto__: ClassVar[str] = "2-4"
    __required__: ClassVar[str] = "patchType"

    patch_type: str = ""
    apply_configuration: ApplyConfiguration | None = None
    json_patch: JSONPatch | None = None


class MutatingAdmissionPolicySpec(Model):
    """What is wanted of a MutatingAdmissionPolicy."""

    __proto__: ClassVar[str] = "1-7"
    __merge__: ClassVar[Merging] = {"matchConditions": BY_NAME}

    param_kind: ParamKind | None = None
    match_constraints: MatchResources | None = None
    variables: tuple[Variable, ...] = ()
    mutations: tuple[Mutation, ...] = ()
    failure_policy: str = ""
    match_conditions: tuple[MatchCondition, ...] = ()
    reinvocation_policy: str = ""


class MutatingAdmissionPolicy(Object):
    """Expressions that change objects; in force where a binding says so."""

    api_version: ClassVar[str] = "admissionregistration.k8s.io/v1"
    kind: ClassVar[str] = "MutatingAdmissionPolicy"
    __proto__: ClassVar[str] = "2"

    spec: MutatingAdmissionPolicySpec = MutatingAdmissionPolicySpec()


class MutatingAdmissionPolicyBindingSpec(Model):
    """What is wanted of a MutatingAdmissionPolicyBinding."""

    __proto__: ClassVar[str] = "1-3"

    policy_name: str = ""
    param_ref: ParamRef | None = None
    match_resources: MatchResources | None = None


class MutatingAdmissionPolicyBinding(Object):
    """Puts a policy that changes objects in force."""

    api_version: ClassVar[str] = "admissionregistration.k8s.io/v1"
    kind: ClassVar[str] = "MutatingAdmissionPolicyBinding"
    __proto__: ClassVar[str] = "2"

    spec: MutatingAdmissionPolicyBindingSpec = MutatingAdmissionPolicyBindingSpec()
