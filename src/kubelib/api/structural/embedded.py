"""Objects within objects: what is embedded says what it is, and has metadata like any object."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.structural.listtypes import Check
from kubelib.api.validation.meta import annotation_problems, label_problems
from kubelib.api.validation.problems import each, required, type_invalid
from kubelib.api.validation.texts import subdomain


def embedded_check(schema: Tree, *, root: bool = False) -> Check | None:
    """Return what looks at the identities of embedded objects; None where there are none."""
    properties: dict[str, Check] = {}
    for name, inner in (schema.get("properties") or {}).items():
        found = embedded_check(inner)
        if found is not None:
            properties[name] = found
    extra, items = schema.get("additionalProperties"), schema.get("items")
    others = embedded_check(extra) if isinstance(extra, dict) else None
    each_item = embedded_check(items) if isinstance(items, dict) else None
    itself = bool(schema.get("x-kubernetes-embedded-resource")) and not root
    if not itself and not properties and others is None and each_item is None:
        return None

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        if type(value) is dict:
            if itself:
                _identity(value, path, problems)
            for name, member in value.items():
                inner = properties.get(name) or others
                if inner is not None:
                    inner(member, f"{path}.{name}" if path else name, problems)
        elif type(value) is list and each_item is not None:
            for number, item in enumerate(value):
                each_item(item, f"{path}[{number}]", problems)

    return check


def _identity(value: Tree, path: str, problems: list[Problem]) -> None:
    problems += [
        required(f"{path}.{name}", "must not be empty")
        for name in ("apiVersion", "kind")
        if not value.get(name)
    ]
    meta = value.get("metadata")
    if meta is None:
        return
    where = f"{path}.metadata"
    if type(meta) is not dict:
        problems.append(type_invalid(where, meta, "must be an object"))
        return
    for name in ("labels", "annotations"):
        part = meta.get(name)
        if part is not None and not (type(part) is dict and all(type(text) is str for text in part.values())):
            problems.append(type_invalid(f"{where}.{name}", part, "must be a map of texts"))
            return
    if type(meta.get("name")) is str and meta["name"]:
        problems += each(f"{where}.name", meta["name"], subdomain(meta["name"]))
    problems += label_problems(meta.get("labels"), f"{where}.labels")
    problems += annotation_problems(meta.get("annotations"), f"{where}.annotations")
