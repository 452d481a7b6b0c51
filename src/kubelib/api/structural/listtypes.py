"""Lists that are sets or maps: what tells their items apart may be there only once."""

from collections.abc import Callable
from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.problems import duplicate

Check = Callable[[Any, str, list[Problem]], None]


def list_check(schema: Tree) -> Check | None:
    """Return what looks for items that are there twice; None where the schema has neither sets nor maps."""
    properties: dict[str, Check] = {}
    for name, inner in (schema.get("properties") or {}).items():
        found = list_check(inner)
        if found is not None:
            properties[name] = found
    extra, items = schema.get("additionalProperties"), schema.get("items")
    others = list_check(extra) if isinstance(extra, dict) else None
    each = list_check(items) if isinstance(items, dict) else None
    kind = schema.get("x-kubernetes-list-type")
    identify = _identity(kind, items if isinstance(items, dict) else {}, schema)
    if not properties and others is None and each is None and identify is None:
        return None

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        if type(value) is dict:
            for name, inner in properties.items():
                if name in value:
                    inner(value[name], f"{path}.{name}" if path else name, problems)
            if others is not None:
                for name, member in value.items():
                    if name not in properties:
                        others(member, f"{path}.{name}" if path else name, problems)
        elif type(value) is list:
            if identify is not None:
                seen: set[bytes] = set()
                told: set[bytes] = set()
                for number, item in enumerate(value):
                    shown = identify(item)
                    key = encode_json(shown)
                    if key in seen and key not in told:
                        told.add(key)
                        problems.append(duplicate(f"{path}[{number}]", shown))
                    seen.add(key)
            if each is not None:
                for number, item in enumerate(value):
                    each(item, f"{path}[{number}]", problems)

    return check


def _identity(kind: str | None, items: Tree, schema: Tree) -> Callable[[Any], Any] | None:
    if kind == "set":
        return lambda item: item
    if kind != "map":
        return None
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    declared = items.get("properties") or {}
    defaults = {key: (declared.get(key) or {}).get("default") for key in keys}

    def identify(item: Any) -> Any:
        if type(item) is not dict:
            return item
        named = {key: item.get(key, defaults[key]) for key in keys}
        return {key: value for key, value in named.items() if value is not None}

    return identify
