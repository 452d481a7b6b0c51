"""Rules in CEL, for those schemas that have any: the language is a large room, entered only when somebody needs it."""

from typing import TYPE_CHECKING, Any

from kubelib.api.scheme import Tree

if TYPE_CHECKING:
    from kubelib.cel.schema_rules import Rules


def has_rules(schema: Any) -> bool:
    """Return whether a schema has rules anywhere."""
    if not isinstance(schema, dict):
        return False
    if schema.get("x-kubernetes-validations"):
        return True
    inner = [schema.get("items"), schema.get("additionalProperties"), *(schema.get("allOf") or ())]
    return any(map(has_rules, [*inner, *(schema.get("properties") or {}).values()]))


def rules_of(schema: Tree, *, root: bool = True) -> "Rules | None":
    """Return the rules of a schema, compiled; None if it has none."""
    if not has_rules(schema):
        return None
    from kubelib.cel.schema_rules import compile_rules

    return compile_rules(schema, root=root)
