"""Rules of the schemas of custom kinds: what Kubernetes calls structural, and what it does not support."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.structural.embedded import embedded_check, embedded_types
from kubelib.api.structural.listtypes import list_check
from kubelib.api.structural.normalizing import IDENTITY, normalizer
from kubelib.api.structural.patterns import PatternError, compile_pattern
from kubelib.api.structural.rules import rules_of
from kubelib.api.structural.validating import Validator, same
from kubelib.api.validation.problems import forbidden, invalid, not_supported, required

TYPES = ("array", "boolean", "integer", "number", "object", "string")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_AT_ROOT = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems",
    "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs", "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip
_LEVELS = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
_JUNCTIONS = ("allOf", "anyOf", "oneOf")


def schema_problems(schema: Tree, path: str, *, has_status: bool) -> list[Problem]:
    """Return what is wrong with the schema of a version; its rules in CEL apart."""
    problems: list[Problem] = []
    if has_status:
        problems += _root_problems(schema, path)
    if schema.get("nullable"):
        problems.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    others = _openapi_problems(schema, path, _Context(), root=True)
    if not any(problem.message.endswith(_UNREADABLE) for problem in others):
        structural = sorted(
            [*_invariants(schema, "root", path), *_completeness(schema, path)], key=lambda p: str(p)
        )
        problems += structural or _default_problems(schema, path, root=True, inside_meta=False)
    return problems + others


_UNREADABLE = (" is not supported", "items must be a schema object and not an array")
"""What is told of parts that no structural schema can have: then it is not looked at as one."""


def _root_problems(schema: Tree, path: str) -> list[Problem]:
    kind = schema.get("type")
    if kind and kind != "object":
        detail = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        return [invalid(f"{path}.type", kind, detail)]
    for name, value in schema.items():
        if value not in (None, "", [], {}, False) and name not in _AT_ROOT:
            allowed = " ".join(_AT_ROOT.values())
            detail = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
            return [invalid(path, schema, detail)]
    return []


# Structural schemas


def _invariants(schema: Tree, level: str, path: str) -> Iterator[Problem]:
    kind, items = schema.get("type") or "", schema.get("items")
    if kind == "array" and not isinstance(items, dict):
        yield required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        yield from _invariants(items, "item", f"{path}.items")
    properties = schema.get("properties") or {}
    for name, inner in properties.items():
        yield from _invariants(inner, "field", f"{path}.properties[{name}]")
    extra = schema.get("additionalProperties")
    if extra is not None:
        if level == "root":
            yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if isinstance(extra, dict):
            yield from _invariants(extra, "field", f"{path}.additionalProperties")
    number_or_text = bool(schema.get("x-kubernetes-int-or-string"))
    preserves = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if number_or_text and preserves:
        detail = "must be false if x-kubernetes-int-or-string is true"
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", True, detail)
    if number_or_text and embedded:
        detail = "must be false if x-kubernetes-int-or-string is true"
        yield invalid(f"{path}.x-kubernetes-embedded-resource", True, detail)
    yield from _values(
        schema,
        path,
        skip_any_of=schema.get("anyOf") == _INT_OR_STRING,
        skip_first=bool(schema.get("allOf")) and schema["allOf"][0].get("anyOf") == _INT_OR_STRING,
    )
    if embedded and kind != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail)
    elif not kind and not number_or_text and not preserves:
        yield required(f"{path}.type", _LEVELS[level])
    if embedded and extra is not None:
        detail = "must not be used if x-kubernetes-embedded-resource is set"
        yield forbidden(f"{path}.additionalProperties", detail)
    if level == "root" and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")
    yield from _identity_invariants(properties, level, path, embedded=embedded)
    if embedded and not preserves and not properties:
        yield required(
            f"{path}.properties",
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        )


def _identity_invariants(properties: Tree, level: str, path: str, *, embedded: bool) -> Iterator[Problem]:
    identified = level == "root" or embedded
    for name in ("kind", "apiVersion"):
        if identified and name in properties and properties[name].get("type") != "string":
            where = f"{path}.properties[{name}].type"
            yield invalid(where, properties[name].get("type") or "", "must be string")
    meta = properties.get("metadata")
    if meta is None:
        return
    where = f"{path}.properties[metadata]"
    if identified and meta.get("type") != "object":
        yield invalid(f"{where}.type", meta.get("type") or "", "must be object")
    if level == "root":
        inner = set(meta.get("properties") or {})
        beyond = {
            name
            for name, value in meta.items()
            if name not in ("type", "default") and value not in (None, "", [], {}) and value is not False
        } - {"properties", "description"}
        if (inner - {"name", "generateName"}) or (beyond & _STRUCTURAL):
            detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield forbidden(where, detail)


_STRUCTURAL = {
    "items", "additionalProperties", "nullable", "title", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations", "required", "maxProperties",
    "minProperties", "allOf", "anyOf", "oneOf", "not", "enum", "format", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "multipleOf",
}  # fmt: skip


def _values(schema: Tree, path: str, *, skip_any_of: bool, skip_first: bool) -> Iterator[Problem]:
    if not skip_any_of:
        for at, inner in enumerate(schema.get("anyOf") or ()):
            yield from _nested(inner, f"{path}.anyOf[{at}]")
    for at, inner in enumerate(schema.get("allOf") or ()):
        yield from _nested(inner, f"{path}.allOf[{at}]", skip_any_of=skip_first and at == 0)
    for at, inner in enumerate(schema.get("oneOf") or ()):
        yield from _nested(inner, f"{path}.oneOf[{at}]")
    if isinstance(schema.get("not"), dict):
        yield from _nested(schema["not"], f"{path}.not")
    if schema.get("pattern"):
        try:
            compile_pattern(schema["pattern"])
        except PatternError as error:
            detail = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", schema["pattern"], detail)


_EMPTY = "must be empty to be structural"
_FALSE = "must be false to be structural"
_UNDEFINED = "must be undefined to be structural"
_NOT_NESTED = {
    "type": _EMPTY,
    "additionalProperties": _UNDEFINED,
    "default": _UNDEFINED,
    "title": _EMPTY,
    "description": _EMPTY,
    "nullable": _FALSE,
    "externalDocs": _UNDEFINED,
    "x-kubernetes-preserve-unknown-fields": _FALSE,
    "x-kubernetes-embedded-resource": _FALSE,
    "x-kubernetes-int-or-string": _FALSE,
    "x-kubernetes-list-map-keys": _EMPTY,
    "x-kubernetes-list-type": _UNDEFINED,
    "x-kubernetes-map-type": _UNDEFINED,
    "x-kubernetes-validations": _EMPTY,
}


def _nested(schema: Tree, path: str, *, skip_any_of: bool = False) -> Iterator[Problem]:
    yield from _values(schema, path, skip_any_of=skip_any_of, skip_first=False)
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], f"{path}.items")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _nested(inner, f"{path}.properties[{name}]")
    for name, detail in _NOT_NESTED.items():
        value = schema.get(name)
        given = value is not None if detail is _UNDEFINED else bool(value)
        if given:
            yield forbidden(f"{path}.{name}", detail)
    if "metadata" in (schema.get("properties") or {}):
        yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _completeness(schema: Tree, path: str) -> Iterator[Problem]:
    yield from _complete_values(schema, schema, path, path)
    if isinstance(schema.get("items"), dict):
        yield from _completeness(schema["items"], f"{path}.items")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _completeness(inner, f"{path}.properties[{name}]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _completeness(schema["additionalProperties"], f"{path}.additionalProperties")


def _complete_values(values: Tree, schema: Tree, path: str, where: str) -> Iterator[Problem]:
    for junction in _JUNCTIONS:
        for at, inner in enumerate(values.get(junction) or ()):
            yield from _complete(inner, schema, path, f"{where}.{junction}[{at}]")
    if isinstance(values.get("not"), dict):
        yield from _complete(values["not"], schema, path, f"{where}.not")


def _complete(values: Tree, schema: Any, path: str, where: str) -> Iterator[Problem]:
    if not isinstance(schema, dict):
        yield required(path, f"because it is defined in {where}")
        return
    yield from _complete_values(values, schema, path, where)
    if isinstance(values.get("items"), dict):
        yield from _complete(values["items"], schema.get("items"), f"{path}.items", f"{where}.items")
    for name, inner in (values.get("properties") or {}).items():
        yield from _complete(
            inner,
            (schema.get("properties") or {}).get(name),
            f"{path}.properties[{name}]",
            f"{where}.properties[{name}]",
        )


# Defaults


def _default_problems(schema: Tree, path: str, *, root: bool, inside_meta: bool) -> list[Problem]:
    problems: list[Problem] = []
    embedded = root or bool(schema.get("x-kubernetes-embedded-resource"))
    inside_meta = inside_meta and not embedded
    default = schema.get("default")
    if default is not None:
        where = f"{path}.default"
        if not inside_meta:
            pruned = copy.deepcopy(default)
            bare = _prunes_only(schema)
            normalizer(bare, root=embedded)(pruned, [])
            if not same(pruned, default):
                problems.append(invalid(where, default, "must not have unknown fields"))
        found: list[Problem] = []
        Validator(schema)(default, "", found)
        for check in (list_check(schema), embedded_types(schema)):
            if check is not None:
                check(default, "", found)
        identity = None if found else embedded_check(schema)  # what is no object has none
        if identity is not None:
            identity(default, "", found)
        rules = None if found else rules_of(schema, root=False)
        if rules is not None:
            found += [Problem(v.reason, v.path, v.message) for v in rules.validate(default)]
        problems += [attrs.evolve(p, field=f"{where}.{p.field}" if p.field else where) for p in found]
    if isinstance(schema.get("items"), dict):
        problems += _default_problems(schema["items"], f"{path}.items", root=False, inside_meta=inside_meta)
    for name, inner in (schema.get("properties") or {}).items():
        problems += _default_problems(
            inner,
            f"{path}.properties[{name}]",
            root=False,
            inside_meta=inside_meta or (embedded and name in IDENTITY),
        )
    return problems


def _prunes_only(schema: Tree) -> Tree:
    """Return a schema that sets no defaults and keeps the metadata of what is embedded as it is."""
    result = {name: value for name, value in schema.items() if name != "default"}
    if result.get("properties"):
        result["properties"] = {name: _prunes_only(p) for name, p in result["properties"].items()}
    if result.pop("x-kubernetes-embedded-resource", False):
        kept = {name: {"x-kubernetes-preserve-unknown-fields": True} for name in IDENTITY}
        result["properties"] = {**(result.get("properties") or {}), **kept}
    for name in ("items", "additionalProperties"):
        if isinstance(result.get(name), dict):
            result[name] = _prunes_only(result[name])
    return result


# What OpenAPI has and Kubernetes does not support


@attrs.frozen
class _Context:
    no_defaults: str = ""
    """Why there may be no defaults here; empty where there may."""
    inside_meta: bool = False


def _openapi_problems(schema: Tree, path: str, context: _Context, *, root: bool = False) -> list[Problem]:
    problems = _unsupported(schema, path, context)
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        problems.append(forbidden(f"{path}.uniqueItems", detail))
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    if extra is not None:
        if properties and (extra is False or isinstance(extra, dict)):
            detail = "additionalProperties and properties are mutual exclusive"
            problems.append(forbidden(f"{path}.additionalProperties", detail))
        if isinstance(extra, dict):
            inner_context = (
                attrs.evolve(context, no_defaults="inside additionalProperties applying to object metadata")
                if context.inside_meta
                else context
            )
            problems += _openapi_problems(extra, f"{path}.additionalProperties", inner_context)
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    for name, inner in properties.items():
        inner_context = context
        if (root or embedded) and name in IDENTITY:
            inner_context = attrs.evolve(context, inside_meta=True)
            if root:
                inner_context = attrs.evolve(inner_context, no_defaults=f"in top-level {name}")
        problems += _openapi_problems(inner, f"{path}.properties[{name}]", inner_context)
    if isinstance(schema.get("not"), dict):
        problems += _openapi_problems(schema["not"], f"{path}.not", context)
    for junction in ("allOf", "oneOf", "anyOf"):
        for at, inner in enumerate(schema.get(junction) or ()):
            problems += _openapi_problems(inner, f"{path}.{junction}[{at}]", context)
    if isinstance(schema.get("items"), dict):
        problems += _openapi_problems(schema["items"], f"{path}.items", context)
    return problems + _extension_problems(schema, path)


def _unsupported(schema: Tree, path: str, context: _Context) -> list[Problem]:
    problems: list[Problem] = []
    kind = schema.get("type")
    if kind and kind not in TYPES:
        problems.append(not_supported(f"{path}.type", kind, TYPES))
    if schema.get("default") is not None and context.no_defaults:
        problems.append(forbidden(f"{path}.default", f"must not be set {context.no_defaults}"))
    problems += [
        forbidden(f"{path}.{name}", f"{name} is not supported")
        for name in ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
        if schema.get(name) not in (None, "", {})
    ]
    if kind == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        problems.append(forbidden(f"{path}.type", detail))
    if isinstance(schema.get("items"), list) and schema["items"]:
        problems.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if context.inside_meta and schema.get("x-kubernetes-embedded-resource"):
        detail = "must not be used inside of resource meta"
        problems.append(forbidden(f"{path}.x-kubernetes-embedded-resource", detail))
    return problems


def _extension_problems(schema: Tree, path: str) -> list[Problem]:
    problems: list[Problem] = []
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        where = f"{path}.x-kubernetes-preserve-unknown-fields"
        problems.append(invalid(where, False, "must be true or undefined"))
    kind = schema.get("type") or ""
    map_type, list_type = schema.get("x-kubernetes-map-type"), schema.get("x-kubernetes-list-type")
    items = schema.get("items")
    if map_type is not None:
        if kind != "object":
            detail = "must be object if x-kubernetes-map-type is specified"
            problems.append(
                invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail)
            )
        if map_type not in ("atomic", "granular"):
            where = f"{path}.x-kubernetes-map-type"
            problems.append(not_supported(where, map_type, ("atomic", "granular")))
    if list_type is not None and kind != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        problems.append(invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail))
    elif list_type == "set" and isinstance(items, dict):
        detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
        inner_list, inner_map = items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type")
        if items.get("type") == "array" and inner_list not in (None, "atomic"):
            problems.append(invalid(f"{path}.items.x-kubernetes-list-type", inner_list, detail))
        if items.get("type") == "object" and inner_map != "atomic":
            # Kubernetes shows the type of a list here.
            shown = "null" if inner_list is None else inner_list
            problems.append(invalid(f"{path}.items.x-kubernetes-map-type", shown, detail))
    if list_type is not None and list_type not in ("atomic", "set", "map"):
        where = f"{path}.x-kubernetes-list-type"
        problems.append(not_supported(where, list_type, ("atomic", "set", "map")))
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if keys and list_type != "map":
        detail, where = (
            "must be map if x-kubernetes-list-map-keys is non-empty",
            f"{path}.x-kubernetes-list-type",
        )
        problems.append(required(where, detail) if list_type is None else invalid(where, list_type, detail))
    if list_type == "map":
        problems += _map_list_problems(items, keys, path)
    if list_type in ("set", "map") and isinstance(items, dict):
        problems += _item_problems(items, keys if list_type == "map" else (), list_type, path)
    return problems


def _map_list_problems(items: Any, keys: Sequence[str], path: str) -> list[Problem]:
    problems: list[Problem] = []
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        problems.append(required(where, "must not be empty if x-kubernetes-list-type is map"))
    if items is None:
        problems.append(required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map"))
        return problems
    if not isinstance(items, dict):
        detail = "must only have a single schema if x-kubernetes-list-type is map"
        return [*problems, invalid(f"{path}.items", items, detail)]
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        return [*problems, invalid(f"{path}.items.type", items.get("type") or "", detail)]
    declared = items.get("properties") or {}
    seen: set[str] = set()
    for key in keys:
        if key not in declared:
            problems.append(invalid(where, list(keys), "entries must all be names of item properties"))
        elif declared[key].get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            problems.append(invalid(f"{path}.items.properties[{key}].type", items["type"], detail))
        if key in seen:
            problems.append(invalid(where, list(keys), "must not contain duplicate entries"))
        seen.add(key)
    return problems


def _item_problems(items: Tree, keys: Sequence[str], list_type: str, path: str) -> list[Problem]:
    problems: list[Problem] = []
    if items.get("nullable"):
        detail = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        problems.append(forbidden(f"{path}.items.nullable", detail))
    for key in keys:
        declared = (items.get("properties") or {}).get(key)
        if declared is None:
            continue
        where = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and declared.get("default") is None:
            detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            problems.append(required(f"{where}.default", detail))
        if declared.get("nullable"):
            detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            problems.append(forbidden(f"{where}.nullable", detail))
    return problems


def schema_at(schema: Tree, path: str) -> Tree | None:
    """Return the schema at a path such as ``.spec.a['b']``; None if the schema has no such field."""
    from kubelib.api.structural.fieldpaths import plain_steps

    if not path.startswith((".", "[")):
        return None
    found: Any = schema
    for name in plain_steps(path):
        extra = found.get("additionalProperties")
        found = (found.get("properties") or {}).get(name) or (extra if isinstance(extra, dict) else None)
        if found is None:
            return None
    return found if isinstance(found, dict) else None
