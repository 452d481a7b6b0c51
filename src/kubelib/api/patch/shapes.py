"""What merging has to know of a field: whether its parts are owned one by one, and what tells them apart.

Built-in kinds have their shapes from their classes (`shape_of`), custom ones from their schemas.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs

from kubelib.api.fields import FieldType, default_of, field_types
from kubelib.api.merging import MergeFact, merge_facts
from kubelib.api.model import Model, required_fields

Kind = Literal["atomic", "object", "map", "keyed", "set", "deduced"]
"""``atomic`` is owned as a whole; ``object`` has named fields; a ``map`` entries; ``keyed`` and ``set`` are lists. What is not
declared is ``deduced``: objects as if they were maps, lists as a whole."""


@attrs.frozen(eq=False)
class Shape:
    """How a value merges."""

    kind: Kind = "atomic"
    _fields: Callable[[], "Mapping[str, Field]"] = dict
    """The named fields of an ``object``: looked at when first needed, for kinds that contain themselves."""
    item: "Shape | None" = None
    """What a ``map``, a ``keyed`` list or a ``set`` holds; for an ``object``, what fields that it does not name hold."""
    keys: tuple[str, ...] = ()
    """What tells the items of a ``keyed`` list apart, sorted."""
    defaults: Mapping[str, Any] = attrs.field(factory=dict)
    """What a key is that an item does not have."""

    @functools.cached_property
    def fields(self) -> "Mapping[str, Field]":
        """The named fields of an ``object``."""
        return self._fields()

    @functools.cached_property
    def loose(self) -> bool:
        """Whether there is something in it that is not declared, so that it may be a number one day and a boolean the next."""
        return _is_loose(self, set())


@attrs.frozen
class Field:
    """A named field."""

    shape: Shape
    always: bool = False
    """Whether an object of the kind has the field even when it is empty, as Go writes structs that are no pointers."""


def _is_loose(shape: Shape, seen: set[Shape]) -> bool:
    if shape.kind == "deduced":
        return True
    seen.add(shape)
    inner = [field.shape for field in shape.fields.values()] + ([shape.item] if shape.item else [])
    return any(one not in seen and _is_loose(one, seen) for one in inner)


ATOMIC = Shape()
DEDUCED = Shape("deduced")
_SCALAR_MAP = Shape("map", item=ATOMIC)
_SET = Shape("set", item=ATOMIC)
_NO_FACT = MergeFact()


def field_in(shape: Shape, name: str) -> Shape:
    """Return the shape of a member of an object or map."""
    if shape.kind == "object":
        field = shape.fields.get(name)
        if field is not None:
            return field.shape
    return shape.item or DEDUCED


@functools.cache
def shape_of(cls: type[Any]) -> Shape:
    """Return how objects of a class merge."""
    if vars(cls).get("__atomic__"):
        return ATOMIC
    return _object(cls)


def _object(cls: type[Any]) -> Shape:
    return Shape("object", lambda: _fields_of(cls))


def _fields_of(cls: type[Model]) -> Mapping[str, Field]:
    facts, required = merge_facts(cls), set(required_fields(cls))  # type: ignore[arg-type]
    fields = {}
    for name, kind in field_types(cls).items():  # type: ignore[arg-type]
        fact = facts.get(name, _NO_FACT)
        inner = shape_of(kind.model) if kind.model is not None else ATOMIC  # type: ignore[arg-type]
        if fact.map_type == "granular" and kind.shape == "one" and kind.model is not None:
            inner = _object(kind.model)  # though elsewhere objects of its class are units
        always = name in required or (kind.shape == "one" and kind.model is not None and not kind.optional)
        fields[name] = Field(_combined(kind, fact, inner), always)
    return fields


def _key_defaults(cls: type[Any] | None, keys: Sequence[str]) -> Mapping[str, Any]:
    """Return what the keys of an item are that it leaves out, as far as the schema of a built-in class says that."""
    if cls is None or not cls.__module__.startswith("kubelib.api."):
        return {}
    defaults = {key: default_of(cls, key) for key in keys}
    return {key: default for key, default in defaults.items() if default is not None}


def _combined(kind: FieldType, fact: MergeFact, inner: Shape) -> Shape:
    if fact.map_type == "atomic":
        return ATOMIC
    match kind.shape:
        case "map":
            return _SCALAR_MAP if inner is ATOMIC else Shape("map", item=inner)
        case "list":
            if fact.list_type == "set":
                return _SET
            if fact.list_type == "map":
                keys = tuple(sorted(fact.map_keys))
                return Shape("keyed", item=inner, keys=keys, defaults=_key_defaults(kind.model, keys))
            return ATOMIC
    return inner
