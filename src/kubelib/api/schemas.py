"""JSON schemas of the classes, as OpenAPI has them: names, types, what is required, and how things merge."""

from collections.abc import Iterator
from typing import Any, Literal

from kubelib.api.descriptions import FIELDS
from kubelib.api.descriptions import description as describe
from kubelib.api.enums import ENUMS, ZEROS
from kubelib.api.fields import FieldType, default_of, field_types
from kubelib.api.merging import MergeFact, merge_facts
from kubelib.api.meta import Object
from kubelib.api.model import Model, required_fields

Schema = dict[str, Any]
Dialect = Literal[2, 3]
"""The version of OpenAPI."""

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
APIEXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
_PACKAGES = {
    "kubelib.api.meta": META,
    "kubelib.api.machinery": META,
    "kubelib.api.apps_sets": "io.k8s.api.apps.v1",
    "kubelib.api.autoscaling_v2": "io.k8s.api.autoscaling.v2",
    "kubelib.api.apiextensions": APIEXTENSIONS,
    "kubelib.api.apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
    "kubelib.api.runtimeclass": "io.k8s.api.node.v1",
    "kubelib.api.scheduling_v1alpha3": "io.k8s.api.scheduling.v1alpha3",
    "kubelib.api.scheduling_v1beta1": "io.k8s.api.scheduling.v1beta1",
    "kubelib.api.transactions": "dev.kubelib.scheduling.v1alpha1",
}
_BASES = {2: "#/definitions/", 3: "#/components/schemas/"}
_NAMED_SCALARS = {
    "time": f"{META}.Time",
    "microtime": f"{META}.MicroTime",
    "quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "int-or-string": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "json": f"{APIEXTENSIONS}.JSON",
    "schema-or-bool": f"{APIEXTENSIONS}.JSONSchemaPropsOrBool",
    "schema-or-array": f"{APIEXTENSIONS}.JSONSchemaPropsOrArray",
    "schema-or-strings": f"{APIEXTENSIONS}.JSONSchemaPropsOrStringArray",
}


def definition_name(cls: type[Model]) -> str:
    """Return the name of a class's schema: ``io.k8s.api.core.v1.Pod``, ``com.example.v1.Widget`` for custom kinds."""
    module = cls.__module__
    if module.startswith("kubelib.api.core."):
        return f"io.k8s.api.core.v1.{cls.__name__}"
    if module.startswith("kubelib.api."):
        package = _PACKAGES.get(module, f"io.k8s.api.{module.rpartition('.')[2]}.v1")
        return f"{package}.{cls.__name__}"
    if issubclass(cls, Object) and cls.api_version:
        group, _, version = cls.api_version.rpartition("/")
        return ".".join([*reversed(group.split(".")), version, cls.__name__])
    return f"{module}.{cls.__name__}"


def reference(name: str, dialect: Dialect) -> Schema:
    """Return a reference to the definition called `name`."""
    return {"$ref": _BASES[dialect] + name}


def models_of(cls: type[Model]) -> Iterator[type[Model]]:
    """Yield the classes that the fields of `cls` hold."""
    for kind in field_types(cls).values():  # type: ignore[arg-type]
        if kind.model is not None:
            yield kind.model


def schema(cls: type[Model], dialect: Dialect) -> Schema:
    """Return the schema of a class; the classes in its fields are referred to."""
    facts, types = merge_facts(cls), field_types(cls)  # type: ignore[arg-type]
    required = required_fields(cls)
    properties: Schema = {}
    for name, kind in types.items():
        properties[name] = _field(kind, facts.get(name), dialect)
        if cls.__module__.startswith("kubelib.api."):
            _say(properties[name], cls.__name__, name)
            if dialect == 3:
                _default(properties[name], cls, name, kind)
        elif name == "metadata":
            # What other fields of a custom kind mean, only its author knows.
            properties[name]["description"] = FIELDS["metadata"]
    if issubclass(cls, Object) or cls.__name__ in IDENTIFIED:
        properties = {
            "apiVersion": {"type": "string", "description": FIELDS["apiVersion"]},
            "kind": {"type": "string", "description": FIELDS["kind"]},
            **properties,
        }
    result: Schema = {
        "type": "object",
        "description": _summary(cls),
        "properties": dict(sorted(properties.items())),
    }
    if required:
        result["required"] = sorted(required)
    if vars(cls).get("__atomic__"):
        result["x-kubernetes-map-type"] = "atomic"
    return result


IDENTIFIED = frozenset(
    {"APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "DeleteOptions", "List", "Status"}
)
"""Classes that are sent with kind and apiVersion although they are not objects."""


def _summary(cls: type[Model]) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _say(field: Schema, cls: str, name: str) -> None:
    """Add what a field means and which values it has."""
    if text := describe(cls, name):
        field["description"] = text
    values = ENUMS.get(f"{cls}.{name}")
    if values is not None:
        (_inner(field) or field)["enum"] = list(values)


def _inner(field: Schema) -> Schema | None:
    """Return the schema of the items of a list or a map."""
    return field.get("items") or field.get("additionalProperties")


def _default(field: Schema, cls: type[Model], name: str, kind: FieldType) -> None:
    """Add the default of a field, or that of its items."""
    default, inner = default_of(cls, name), _inner(field)
    if default is not None:
        field["default"] = default
    elif inner is not None and kind.model is None and kind.scalar in ZEROS:
        inner["default"] = ZEROS[kind.scalar]


def _field(kind: FieldType, fact: MergeFact | None, dialect: Dialect) -> Schema:
    item = _item(kind, dialect)
    if kind.shape == "list":
        result: Schema = {"type": "array", "items": item}
    elif kind.shape == "map":
        result = {"type": "object", "additionalProperties": item}
    elif "$ref" in item and dialect == 3:
        # OpenAPI 3.0 allows nothing beside a reference.
        result = {"allOf": [item]}
        if kind.model is not None and not kind.optional:
            result["default"] = {}
    else:
        result = item
    if description := _summary(kind.model) if kind.model is not None else "":
        result = {**result, "description": description}
    if fact is not None:
        result.update(_merging(fact, named=kind.shape == "one" and kind.model is not None))
    return result


def _item(kind: FieldType, dialect: Dialect) -> Schema:
    if kind.model is not None:
        result = reference(definition_name(kind.model), dialect)
        return {"allOf": [result], "default": {}} if dialect == 3 and kind.shape != "one" else result
    match kind.scalar:
        case "time" | "microtime" | "quantity" | "int-or-string" | "json":
            return reference(_NAMED_SCALARS[kind.scalar], dialect)
        case "int32" | "int64":
            return {"type": "integer", "format": kind.scalar}
        case "bool":
            return {"type": "boolean"}
        case "double":
            return {"type": "number", "format": "double"}
        case "bytes":
            return {"type": "string", "format": "byte"}
        case "strings":
            return {"type": "array", "items": {"type": "string"}}
        case "any":
            return {"type": "object"}
        case "schema-or-bool" | "schema-or-array" | "schema-or-strings":
            return reference(_NAMED_SCALARS[kind.scalar], dialect)
    return {"type": "string"}


def _merging(fact: MergeFact, *, named: bool) -> Schema:
    result: Schema = {}
    if fact.list_type:
        result["x-kubernetes-list-type"] = fact.list_type
    if fact.map_keys:
        result["x-kubernetes-list-map-keys"] = list(fact.map_keys)
    if fact.patch_merge_key:
        result["x-kubernetes-patch-merge-key"] = fact.patch_merge_key
    if fact.patch_strategy:
        result["x-kubernetes-patch-strategy"] = ",".join(fact.patch_strategy)
    # An atomic class says so in its own definition.
    if fact.map_type and not (named and fact.map_type == "atomic"):
        result["x-kubernetes-map-type"] = fact.map_type
    return result


def scalar_definitions(dialect: Dialect) -> dict[str, Schema]:
    """Return the schemas of the scalars that have names."""
    number_or_text = {"oneOf": [{"type": "string"}, {"type": "number"}]}
    integer_or_text = {"oneOf": [{"type": "integer"}, {"type": "string"}]}
    text = {"type": "string"}
    return {
        _NAMED_SCALARS["quantity"]: {
            **(text if dialect == 2 else number_or_text),
            "description": "An amount: a number with a suffix, such as 250m, 1.5, 64Mi or 2G.",
        },
        _NAMED_SCALARS["int-or-string"]: {
            **(
                {**text, "format": "int-or-string"}
                if dialect == 2
                else {**integer_or_text, "format": "int-or-string"}
            ),
            "description": "A number, or a text such as a name or a percentage.",
        },
        _NAMED_SCALARS["time"]: {
            **text,
            "format": "date-time",
            "description": "A date and time, in RFC 3339 form.",
        },
        _NAMED_SCALARS["microtime"]: {
            **text,
            "format": "date-time",
            "description": "A date and time with microseconds, in RFC 3339 form.",
        },
    }


def schema_definitions() -> dict[str, Schema]:
    """Return the schemas of what is in schemas: of any type, as those who read them must find out for themselves."""
    return {
        _NAMED_SCALARS["json"]: {"description": "Any JSON value."},
        _NAMED_SCALARS["schema-or-bool"]: {"description": "A schema, or whether anything is allowed."},
        _NAMED_SCALARS["schema-or-array"]: {"description": "A schema, or a list of them."},
        _NAMED_SCALARS["schema-or-strings"]: {"description": "A schema, or a list of names."},
    }
