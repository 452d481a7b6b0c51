"""Every field that Kubernetes publishes, in models that others generated from its own OpenAPI: names, JSON types, necessity.

The models are lightkube's, of the version that we say we are; what is compared with them are the schemas that are served.
"""

import importlib
import json
import re
from typing import Any

import lightkube.models
import msgspec
import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.openapi import group_versions, openapi_v3
from kubelib.api.transactions import GROUP as OURS
from kubelib.server.version import GIT_VERSION

SCHEMAS: dict[str, Any] = {}
for path in group_versions(SCHEME):
    if not path.endswith(f"/{OURS}/v1alpha1"):
        SCHEMAS.update(json.loads(openapi_v3(SCHEME, path))["components"]["schemas"])

OFF = {
    "Device": {"nodeAllocatableResources"},
    "DeviceAttribute": {"bools", "ints", "strings", "versions"},
    "DeviceCounterConsumption": {"compatibilityGroups"},
    "DeviceRequestAllocationResult": {"skipNodeOperations"},
    "DeviceSubRequest": {"derivedAttributes"},
    "ExactDeviceRequest": {"derivedAttributes"},
    "ResourceSliceSpec": {"partitionTypeAttribute", "skipNodeOperations"},
    "PodGroupSpec": {"parentCompositePodGroupName"},
    "WorkloadSpec": {"compositePodGroupTemplates"},
}
"""Alpha fields of devices and of groups of groups, of features that are off by default: Kubernetes does without them then as well."""

REQUIRED_OTHERWISE = {
    "DeviceClass", "HorizontalPodAutoscaler", "ResourceClaim", "ResourceClaimTemplate", "ResourceClaimTemplateSpec",
}  # fmt: skip
"""Kinds of which a spec is wanted by validation in both, but by the schema only in one."""

JSON_TYPES = {
    "str": "string", "int": "integer", "bool": "boolean", "float": "number", "dict": "object", "Time": "string",
    "MicroTime": "string", "Quantity": "quantity", "IntOrString": "integer|string", "Any": "any",
    "RawExtension": "object", "FieldsV1": "object", "JSON": "any", "JSONSchemaPropsOrBool": "any",
    "JSONSchemaPropsOrArray": "any", "JSONSchemaPropsOrStringArray": "any",
}  # fmt: skip
"""What their types are in JSON; what may be of any kind has no type."""


def published(name: str) -> Any:
    """Return the published model for one of our schemas, None if it is not one of fields."""
    *package, kind = name.split(".")
    module = "meta_v1" if "apimachinery" in package else f"{package[-2]}_{package[-1]}"
    try:
        model = getattr(importlib.import_module(f"lightkube.models.{module}"), kind)
    except AttributeError:
        pytest.fail(f"there is no {name}")
    return model if hasattr(model, "__struct_fields__") else None


def published_type(hint: str) -> str:
    hint = hint.strip().strip("'")
    if match := re.fullmatch(r"Optional\[(.*)\]", hint):
        return published_type(match[1])
    if match := re.fullmatch(r"List\[(.*)\]", hint):
        return f"[{published_type(match[1])}]"
    name = hint.rpartition(".")[2]
    return JSON_TYPES.get(name, name)


def served_type(schema: Any) -> str:
    if "allOf" in schema:
        return served_type(schema["allOf"][0])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.endswith("resource.Quantity"):
            return "quantity"
        target = SCHEMAS[name]
        return name.rpartition(".")[2] if "properties" in target else served_type(target)
    if "oneOf" in schema:
        return "|".join(sorted(served_type(one) for one in schema["oneOf"]))
    if schema.get("type") == "array":
        return f"[{served_type(schema['items'])}]"
    return str(schema.get("type", "any"))  # the published models do not say what is in a map


@pytest.mark.parametrize("name", sorted(name for name in SCHEMAS if "properties" in SCHEMAS[name]))
def test_the_fields_are_those_that_kubernetes_publishes(name: str) -> None:
    model = published(name)
    if model is None:
        assert not SCHEMAS[name]["properties"]
        return
    kind, served = name.rpartition(".")[2], SCHEMAS[name]
    hints = {field.encode_name: model.__annotations__[field.name] for field in msgspec.structs.fields(model)}
    wanted = {
        field: published_type(hint)
        for field, hint in hints.items()
        if field not in OFF.get(kind, ()) or not re.search(r"\.(resource\.v1|scheduling\.v1beta1)\.", name)
    }
    assert {field: served_type(schema) for field, schema in served["properties"].items()} == wanted
    if kind not in REQUIRED_OTHERWISE:
        required = {field.encode_name for field in msgspec.structs.fields(model) if field.required}
        assert set(served.get("required", ())) == required


def test_the_published_models_are_of_the_version_that_we_say_we_are() -> None:
    assert GIT_VERSION.startswith(f"v{lightkube.models.__version__.rpartition('.')[0]}+")
