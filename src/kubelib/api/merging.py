"""How fields merge: the facts behind strategic merge patch and server-side apply.

A class declares them as ``__merge__``, by JSON name; lists that it does not name are atomic. A class whose objects are
owned and replaced as a whole says ``__atomic__ = True``.
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from kubelib.api.model import json_fields, model_in


@attrs.frozen
class MergeFact:
    """How one field merges."""

    list_type: Literal["", "atomic", "set", "map"] = ""
    """For server-side apply: ``map`` (items are known by their keys), ``set`` (scalars), ``atomic``; empty if no list."""
    map_keys: tuple[str, ...] = ()
    """The fields that tell the items of a ``map`` list apart."""
    patch_merge_key: str = ""
    """The one field that tells items apart in a strategic merge patch; empty for lists of scalars that merge."""
    patch_strategy: tuple[str, ...] = ()
    """Of ``merge``, ``retainKeys`` and ``replace``, what a strategic merge patch does."""
    map_type: Literal["", "atomic", "granular"] = ""
    """For server-side apply of objects and maps; empty means granular, unless the class is atomic."""

    @property
    def strategic(self) -> bool:
        """Whether a strategic merge patch merges the list instead of replacing it."""
        return "merge" in self.patch_strategy


Merging = Mapping[str, MergeFact]
"""The merge facts of a class, by JSON name."""


def keyed_by(*keys: str) -> MergeFact:
    """Return the fact of a list that server-side apply merges by `keys`, and a strategic merge patch replaces."""
    return MergeFact("map", keys)


def by(*keys: str) -> MergeFact:
    """Return the fact of a list that both merge: server-side apply by all `keys`, a strategic patch by the first."""
    return MergeFact("map", keys, keys[0], ("merge",))


def merged_by(key: str) -> MergeFact:
    """Return the fact of a list that a strategic merge patch merges, and server-side apply replaces."""
    return MergeFact("atomic", (), key, ("merge",))


ATOMIC = MergeFact("atomic")
SET = MergeFact("set")
MERGED_SET = MergeFact("set", patch_strategy=("merge",))
BY_NAME = by("name")
BY_TYPE = by("type")
BY_NAME_RETAINING = MergeFact("map", ("name",), "name", ("merge", "retainKeys"))
MAP_BY_NAME = keyed_by("name")
ATOMIC_MAP = MergeFact(map_type="atomic")
GRANULAR_MAP = MergeFact(map_type="granular")
RETAIN_KEYS = MergeFact(patch_strategy=("retainKeys",))
REPLACE = MergeFact(patch_strategy=("replace",))


@functools.cache
def merge_facts(cls: type[Any]) -> Mapping[str, MergeFact]:
    """Return the merge facts of a class by JSON name: of every list, and of objects and maps that have some."""
    declared: dict[str, MergeFact] = {}
    for base in reversed(cls.__mro__):
        declared.update(base.__dict__.get("__merge__", {}))
    facts: dict[str, MergeFact] = {}
    for name, hint in json_fields(cls).items():  # type: ignore[arg-type]
        shape, model = model_in(hint)
        if name in declared:
            facts[name] = declared[name]
        elif shape == "list":
            facts[name] = ATOMIC
        elif shape == "one" and model is not None and vars(model).get("__atomic__"):
            facts[name] = ATOMIC_MAP
    return facts
