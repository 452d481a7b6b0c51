"""Kinds that users define: CustomResourceDefinition, and the schemas of their versions."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Optional

import msgspec

from kubelib.api.merging import BY_TYPE, Merging, keyed_by
from kubelib.api.meta import Base64, Int64, Object, Time
from kubelib.api.model import Model

Json = Annotated[Any, "json"]
"""Any value."""
SchemaOrBool = Annotated[Any, "schema-or-bool"]
"""A schema, or whether anything is allowed."""
SchemaOrArray = Annotated[Any, "schema-or-array"]
"""A schema, or a list of them."""
SchemaOrStrings = Annotated[Any, "schema-or-strings"]
"""A schema, or a list of names."""


class ExternalDocumentation(Model):
    """Where more is said."""

    __proto__: ClassVar[str] = "1-2"

    description: str = ""
    url: str = msgspec.field(default="", name="url")


class ValidationRule(Model):
    """A rule in the Common Expression Language."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "rule"

    rule: str = ""
    message: str = ""
    message_expression: str = ""
    reason: str | None = None
    field_path: str = ""
    optional_old_self: bool | None = None


class JSONSchemaProps(Model):
    """A JSON schema, as far as OpenAPI 3.0 has it, with Kubernetes' extensions."""

    __proto__: ClassVar[str] = "1-44"
    __merge__: ClassVar[Merging] = {"x-kubernetes-validations": keyed_by("rule")}

    id: str = msgspec.field(default="", name="id")
    schema: str = msgspec.field(default="", name="$schema")
    ref: str | None = msgspec.field(default=None, name="$ref")
    description: str = ""
    type: str = ""
    format: str = ""
    title: str = ""
    default: Json = None
    maximum: float | None = None
    exclusive_maximum: bool = False
    minimum: float | None = None
    exclusive_minimum: bool = False
    max_length: Int64 | None = None
    min_length: Int64 | None = None
    pattern: str = ""
    max_items: Int64 | None = None
    min_items: Int64 | None = None
    unique_items: bool = False
    multiple_of: float | None = None
    enum: tuple[Json, ...] = ()
    max_properties: Int64 | None = None
    min_properties: Int64 | None = None
    required: tuple[str, ...] = ()
    items: SchemaOrArray = None
    all_of: tuple["JSONSchemaProps", ...] = ()
    one_of: tuple["JSONSchemaProps", ...] = ()
    any_of: tuple["JSONSchemaProps", ...] = ()
    not_: Optional["JSONSchemaProps"] = None
    properties: Mapping[str, "JSONSchemaProps"] = {}
    additional_properties: SchemaOrBool = None
    pattern_properties: Mapping[str, "JSONSchemaProps"] = {}
    dependencies: Mapping[str, SchemaOrStrings] = {}
    additional_items: SchemaOrBool = None
    definitions: Mapping[str, "JSONSchemaProps"] = {}
    external_docs: ExternalDocumentation | None = None
    example: Json = None
    nullable: bool = False
    preserve_unknown_fields: bool | None = msgspec.field(
        default=None, name="x-kubernetes-preserve-unknown-fields"
    )
    embedded_resource: bool = msgspec.field(default=False, name="x-kubernetes-embedded-resource")
    int_or_string: bool = msgspec.field(default=False, name="x-kubernetes-int-or-string")
    list_map_keys: tuple[str, ...] = msgspec.field(default=(), name="x-kubernetes-list-map-keys")
    list_type: str | None = msgspec.field(default=None, name="x-kubernetes-list-type")
    map_type: str | None = msgspec.field(default=None, name="x-kubernetes-map-type")
    validations: tuple[ValidationRule, ...] = msgspec.field(default=(), name="x-kubernetes-validations")


class CustomResourceValidation(Model):
    """How objects of a version are checked."""

    __proto__: ClassVar[str] = "1"

    openapi_v3_schema: JSONSchemaProps | None = msgspec.field(default=None, name="openAPIV3Schema")


class CustomResourceSubresourceStatus(Model):
    """That the status is written apart from the rest."""


class CustomResourceSubresourceScale(Model):
    """Where the numbers of replicas are in an object."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "specReplicasPath statusReplicasPath"

    spec_replicas_path: str = ""
    status_replicas_path: str = ""
    label_selector_path: str | None = None


class CustomResourceSubresources(Model):
    """Which subresources objects have."""

    __proto__: ClassVar[str] = "1-2"

    status: CustomResourceSubresourceStatus | None = None
    scale: CustomResourceSubresourceScale | None = None


class CustomResourceColumnDefinition(Model):
    """A printed column."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "name type jsonPath"

    name: str = ""
    type: str = ""
    format: str = ""
    description: str = ""
    priority: int = 0
    json_path: str = ""


class SelectableField(Model):
    """A field that selectors may name."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "jsonPath"

    json_path: str = ""


class CustomResourceDefinitionVersion(Model):
    """One version of a custom kind."""

    __proto__: ClassVar[str] = "1-9"
    __required__: ClassVar[str] = "name served storage"

    name: str = ""
    served: bool = False
    storage: bool = False
    schema: CustomResourceValidation | None = None
    subresources: CustomResourceSubresources | None = None
    additional_printer_columns: tuple[CustomResourceColumnDefinition, ...] = ()
    deprecated: bool = False
    deprecation_warning: str | None = None
    selectable_fields: tuple[SelectableField, ...] = ()


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

    url: str | None = msgspec.field(default=None, name="url")
    service: ServiceReference | None = None
    ca_bundle: Base64 = ""


class WebhookConversion(Model):
    """The webhook that makes one version of another."""

    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "conversionReviewVersions"

    client_config: WebhookClientConfig | None = None
    conversion_review_versions: tuple[str, ...] = ()


class CustomResourceConversion(Model):
    """How one version becomes another."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "strategy"

    strategy: str = ""
    webhook: WebhookConversion | None = None


class CustomResourceDefinitionNames(Model):
    """What a custom kind is called."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "plural kind"

    plural: str = ""
    singular: str = ""
    short_names: tuple[str, ...] = ()
    kind: str = ""
    list_kind: str = ""
    categories: tuple[str, ...] = ()


class CustomResourceDefinitionSpec(Model):
    """What is wanted of a custom kind."""

    __proto__: ClassVar[str] = "1 3-4 7 9-10"
    __required__: ClassVar[str] = "group names scope versions"

    group: str = ""
    names: CustomResourceDefinitionNames = CustomResourceDefinitionNames()
    scope: str = ""
    versions: tuple[CustomResourceDefinitionVersion, ...] = ()
    conversion: CustomResourceConversion | None = None
    preserve_unknown_fields: bool = False


class CustomResourceDefinitionCondition(Model):
    """One aspect of the state of a definition."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""
    observed_generation: Int64 = 0


class CustomResourceDefinitionStatus(Model):
    """What is observed of a definition."""

    __proto__: ClassVar[str] = "1-4"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    conditions: tuple[CustomResourceDefinitionCondition, ...] = ()
    accepted_names: CustomResourceDefinitionNames = CustomResourceDefinitionNames()
    stored_versions: tuple[str, ...] = ()
    observed_generation: Int64 = 0


class CustomResourceDefinition(Object):
    """A kind that is served from the moment on that this object is there."""

    api_version: ClassVar[str] = "apiextensions.k8s.io/v1"
    kind: ClassVar[str] = "CustomResourceDefinition"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: CustomResourceDefinitionSpec = CustomResourceDefinitionSpec()
    status: CustomResourceDefinitionStatus = CustomResourceDefinitionStatus()
