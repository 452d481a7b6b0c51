"""How documents of a custom kind merge, for server-side apply."""

from kubelib.api.meta import ObjectMeta
from kubelib.api.patch.shapes import ATOMIC, DEDUCED, Field, Shape, shape_of
from kubelib.api.scheme import Tree


def root_shape(schema: Tree) -> Shape:
    """Return how objects of a schema merge; their metadata merge as those of every object."""
    fields = {name: Field(shape(inner)) for name, inner in (schema.get("properties") or {}).items()}
    fields["metadata"] = Field(shape_of(ObjectMeta), always=True)
    return Shape("object", lambda: fields, item=_others(schema))


def _others(schema: Tree) -> Shape | None:
    """Return how fields merge that a schema does not name; None where it lets there be none."""
    return DEDUCED if schema.get("x-kubernetes-preserve-unknown-fields") else None


def shape(schema: Tree) -> Shape:
    """Return how values of a schema merge."""
    if schema.get("x-kubernetes-map-type") == "atomic":
        return ATOMIC
    if schema.get("x-kubernetes-int-or-string"):
        return ATOMIC
    items = schema.get("items")
    if schema.get("type") == "array" and isinstance(items, dict):
        return _list(schema, items)
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    if schema.get("x-kubernetes-embedded-resource"):
        return _embedded(schema, properties)
    if properties:
        fields = {name: Field(shape(inner)) for name, inner in properties.items()}
        return Shape("object", lambda: fields, item=_others(schema))
    if isinstance(extra, dict):
        return Shape("map", item=shape(extra))
    if schema.get("type") in ("string", "integer", "number", "boolean", "array"):
        return ATOMIC
    return DEDUCED


def _embedded(schema: Tree, properties: Tree) -> Shape:
    fields = {name: Field(shape(inner)) for name, inner in properties.items()}
    fields |= {"apiVersion": Field(ATOMIC), "kind": Field(ATOMIC)}
    fields["metadata"] = Field(shape_of(ObjectMeta))
    return Shape("object", lambda: fields, item=_others(schema))


def _list(schema: Tree, items: Tree) -> Shape:
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return Shape("set", item=ATOMIC)
        case "map":
            keys = tuple(sorted(schema.get("x-kubernetes-list-map-keys") or ()))
            declared = items.get("properties") or {}
            defaults = {
                key: declared[key]["default"]
                for key in keys
                if key in declared and declared[key].get("default") is not None
            }
            return Shape("keyed", item=shape(items), keys=keys, defaults=defaults)
    return ATOMIC
