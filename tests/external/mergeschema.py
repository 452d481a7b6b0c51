"""The schema of Kubernetes' merge library, made of OpenAPI as Kubernetes makes it."""

from typing import Any

Tree = dict[str, Any]

UNTYPED, DEDUCED = "__untyped_atomic_", "__untyped_deduced_"
_SCALARS = {"string": "string", "integer": "numeric", "number": "numeric", "boolean": "boolean"}


def merge_schema(definitions: Tree) -> Tree:
    """Return the types of OpenAPI definitions, by the same names."""
    making = _Making(definitions)
    types = [{"name": name, **making.atom(schema)} for name, schema in sorted(definitions.items())]
    return {"types": types + [{"name": name, **_whatever(name)} for name in (UNTYPED, DEDUCED)]}


def _whatever(name: str) -> Tree:
    """Return the atom of what is not declared: members of objects are of the type `name`, lists are units."""
    relationship = "separable" if name == DEDUCED else "atomic"
    return {
        "scalar": "untyped",
        "list": {"elementType": {"namedType": UNTYPED}, "elementRelationship": "atomic"},
        "map": {"elementType": {"namedType": name}, "elementRelationship": relationship},
    }


def _reference(schema: Tree) -> str | None:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    inner = schema.get("allOf", [])
    return _reference(inner[0]) if len(inner) == 1 else None


class _Making:
    def __init__(self, definitions: Tree) -> None:
        self._definitions = definitions

    def _type(self, schema: Tree) -> Tree:
        """Return how a type refers to another: by its name, or with what it is."""
        name = _reference(schema)
        if name is None:
            return self.atom(schema)
        map_type = schema.get("x-kubernetes-map-type")
        if map_type is None:
            return {"namedType": name}
        # A field may say of its objects what their definition does not.
        return self.atom({**self._definitions[name], "x-kubernetes-map-type": map_type})

    def atom(self, schema: Tree) -> Tree:
        """Return what a type is."""
        if (
            schema.get("x-kubernetes-int-or-string")
            or schema.get("format") == "int-or-string"
            or "oneOf" in schema
        ):
            return {"scalar": "untyped"}
        kind = schema.get("type")
        if kind in _SCALARS:
            return {"scalar": _SCALARS[kind]}
        if kind == "array":
            return {"list": self._list(schema)}
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        if "properties" not in schema and not isinstance(extra, dict):
            # What nothing is known of, as what some extension of a built-in kind holds, is a unit.
            return _whatever(DEDUCED if schema.get("x-kubernetes-preserve-unknown-fields") else UNTYPED)
        made: Tree = {"fields": [self._field(name, inner) for name, inner in properties.items()]}
        if isinstance(extra, dict):
            made["elementType"] = self._type(extra)
        elif schema.get("x-kubernetes-preserve-unknown-fields"):
            made["elementType"] = {"namedType": DEDUCED}
        if schema.get("x-kubernetes-map-type") == "atomic":
            made["elementRelationship"] = "atomic"
        return {"map": made}

    def _field(self, name: str, schema: Tree) -> Tree:
        made: Tree = {"name": name, "type": self._type(schema)}
        if "default" in schema:
            made["default"] = schema["default"]
        return made

    def _list(self, schema: Tree) -> Tree:
        made: Tree = {"elementType": self._type(schema["items"]), "elementRelationship": "atomic"}
        match schema.get("x-kubernetes-list-type"):
            case "map":
                made |= {
                    "elementRelationship": "associative",
                    "keys": schema["x-kubernetes-list-map-keys"],
                }
            case "set":
                made["elementRelationship"] = "associative"
        return made
