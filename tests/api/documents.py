"""Generated documents: of any kind, of the right types, with values that are sometimes sensible."""

from random import Random
from typing import Any

from kubelib.api.fields import FieldType, field_types
from kubelib.api.merging import MergeFact, merge_facts
from kubelib.api.model import Model
from kubelib.api.scheme import Resource, Tree

TEXTS = (
    "a", "b", "c-1", "web", "TCP", "UDP", "Always", "Never", "ClusterIP", "Local", "Exists", "In", "True", "10.0.0.1",
    "2001:db8::1", "example.com/x", "v1", "Pod", "text é", "UPPER_case", "50%", "x" * 70, "-", " ",
)  # fmt: skip
NUMBERS = (1, 2, 80, 8080, 65536, -1, 2**31 - 1, -(2**31))
_NO_FACT = MergeFact()


class Generator:
    """Makes documents, the same for the same `random`. No value in them is the zero that Go would leave out."""

    def __init__(self, random: Random, *, deepest: int = 7) -> None:
        self._random = random
        self._deepest = deepest

    def document(self, resource: Resource) -> Tree:
        """Return a document of a kind."""
        tree = self.model(resource.cls)
        metadata = {**tree.get("metadata", {}), "name": "generated"}
        metadata.pop("managedFields", None)
        return {**tree, "kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}

    def model(self, cls: type[Model], depth: int = 0) -> Tree:
        """Return an object of a class with some of its fields."""
        facts = merge_facts(cls)  # type: ignore[arg-type]
        chance = 0.7 if depth < 2 else 0.4
        return {
            name: self._field(kind, facts.get(name, _NO_FACT), depth)
            for name, kind in field_types(cls).items()  # type: ignore[arg-type]
            if self._random.random() < (chance if kind.model is not cls else 0.05)
            and (kind.model is None or depth < self._deepest)
        }

    def _field(self, kind: FieldType, fact: MergeFact, depth: int) -> Any:
        count = self._random.randint(1, 3)
        if kind.shape == "list":
            return self._distinct([self._one(kind, depth) for _ in range(count)], kind, fact)
        if kind.shape == "map":
            return {self._random.choice("xyz"): self._one(kind, depth) for _ in range(count)}
        return self._one(kind, depth)

    def _distinct(self, items: list[Any], kind: FieldType, fact: MergeFact) -> list[Any]:
        """Return a list whose items are told apart by their keys, if it is one whose items have keys."""
        keys = fact.map_keys or ((fact.patch_merge_key,) if fact.patch_merge_key else ())
        if kind.model is None:
            return list(dict.fromkeys(items)) if fact.list_type == "set" or fact.strategic else items
        types = field_types(kind.model)  # type: ignore[arg-type]
        found: dict[Any, Any] = {}
        seen: set[Any] = set()
        for item in items:
            for key in {*keys, fact.patch_merge_key} - {""}:
                item[key] = self._one(types[key], 0)
            one, all_ = item.get(fact.patch_merge_key), tuple(item.get(key) for key in keys)
            if not keys or (all_ not in found and (not fact.patch_merge_key or one not in seen)):
                found[all_ if keys else len(found)] = item
                seen.add(one)
        return list(found.values())

    def _one(self, kind: FieldType, depth: int) -> Any:
        if kind.model is not None:
            return self.model(kind.model, depth + 1)
        choice = self._random.choice
        match kind.scalar:
            case "int32" | "int64":
                return choice(NUMBERS)
            case "double":
                return choice((0.5, 1.25, -3.0))
            case "bool":
                return True
            case "time":
                return choice(("2026-01-02T03:04:05Z", "1970-01-01T00:00:01Z"))
            case "microtime":
                return "2026-01-02T03:04:05.000006Z"
            case "quantity":
                return choice(("64Mi", "1", "250m", "1e3"))
            case "bytes":
                return choice(("AP8=", "YQ=="))
            case "int-or-string":
                return choice((8080, "50%", "http", -1))
            case "strings":
                return ["a", "b"]
            case "schema-or-bool":
                return choice((True, False, {"type": "string"}))
            case "schema-or-array":
                return choice(({"type": "string"}, [{"type": "string"}, {"nullable": True}]))
            case "schema-or-strings":
                return choice(({"type": "string"}, ["a", "b"]))
            case "any":
                return {"x": [1, "two", None, {"y": True}]}
        return choice(TEXTS)
