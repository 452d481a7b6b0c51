"""The types of CEL's checker, and what a schema adds to them: fields, sizes, and how lists merge.

Two types are equal when they are the same type to CEL; sizes and list semantics do not take part.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import attrs

Kind = Literal[
    "dyn", "bool", "int", "uint", "double", "string", "bytes", "null", "duration", "timestamp",
    "list", "map", "object", "optional", "type", "parameter", "opaque", "error",
]  # fmt: skip
"""What a type is made of; ``parameter`` is a variable of a generic function, ``opaque`` a type of a library."""


@attrs.frozen(eq=False, repr=False)
class Type:
    """A CEL type; made by the constants and functions of this module.

    >>> str(map_of(STRING, list_of(INT)))
    'map(string, list(int))'
    """

    kind: Kind
    name: str = ""
    """Of an object, a library's type or a parameter."""
    parameters: "tuple[Type, ...]" = ()
    fields: "Callable[[], Mapping[str, Field]] | None" = None
    """Of an object: its fields by their CEL names, worked out when somebody asks, since schemas may contain themselves."""
    most: int | None = None
    """The largest number of elements, or of bytes of a text, that a value can have; None when nothing bounds it."""
    least_bytes: int = 0
    """The smallest number of bytes that a value takes in JSON."""
    list_type: Literal["atomic", "set", "map"] = "atomic"
    """How two lists are compared and joined."""
    list_keys: tuple[str, ...] = ()
    """The fields that identify an element of a list that is a map."""

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Type):
            return NotImplemented
        return self.kind == other.kind and self.name == other.name and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.parameters))

    def __str__(self) -> str:
        if self.kind in ("object", "opaque", "parameter") and not self.parameters:
            return self.name
        name = {"optional": "optional_type", "opaque": self.name, "error": "!error!"}.get(
            self.kind, self.kind
        )
        return f"{name}({', '.join(map(str, self.parameters))})" if self.parameters else name

    __repr__ = __str__

    @property
    def runtime_name(self) -> str:
        """The name that ``type()`` gives at run time: without parameters, and with the names of protocol buffers."""
        names = {
            "null": "null_type",
            "duration": "google.protobuf.Duration",
            "timestamp": "google.protobuf.Timestamp",
            "optional": "optional_type",
        }
        return names.get(self.kind, self.name or self.kind)


@attrs.frozen(eq=False)
class Field:
    """A field of an object type."""

    key: str
    """Its name in JSON, which may need escaping in CEL (see `kubelib.cel.names`)."""
    type: Type
    required: bool = False
    nullable: bool = False
    """Whether it may be null, which counts as absent."""


DYN = Type("dyn")
BOOL = Type("bool", least_bytes=4)
INT = Type("int", least_bytes=1)
UINT = Type("uint", least_bytes=1)
DOUBLE = Type("double", least_bytes=1)
STRING = Type("string", least_bytes=2)
BYTES = Type("bytes", least_bytes=2)
NULL = Type("null", least_bytes=4)
DURATION = Type("duration", least_bytes=4)
TIMESTAMP = Type("timestamp", least_bytes=22)
ERROR = Type("error")


def list_of(
    element: Type,
    *,
    most: int | None = None,
    list_type: Literal["atomic", "set", "map"] = "atomic",
    list_keys: tuple[str, ...] = (),
) -> Type:
    """Return the type of lists of `element`."""
    return Type(
        "list", parameters=(element,), most=most, least_bytes=2, list_type=list_type, list_keys=list_keys
    )


def map_of(key: Type, value: Type, *, most: int | None = None) -> Type:
    """Return the type of maps."""
    return Type("map", parameters=(key, value), most=most, least_bytes=2)


def object_of(name: str, fields: Callable[[], Mapping[str, Field]], *, least_bytes: int = 2) -> Type:
    """Return the type of objects with these fields; two of one name are the same type."""
    return Type("object", name, fields=fields, least_bytes=least_bytes)


def optional_of(value: Type) -> Type:
    """Return the type of what may be absent: ``self.?field``."""
    return Type("optional", parameters=(value,))


def type_of(value: Type) -> Type:
    """Return the type of the name of a type: ``type(x)``, ``int``."""
    return Type("type", parameters=(value,))


def parameter(name: str) -> Type:
    """Return a variable of a generic function's signature."""
    return Type("parameter", name)


def opaque(name: str, *parameters: Type) -> Type:
    """Return a library's own type, such as ``kubernetes.Quantity``."""
    return Type("opaque", name, parameters)
