"""The shape of everything on the wire: frozen structs whose attribute names are Python's and JSON names Kubernetes'.

An object in memory is a view of a document. It is frozen, so it is shared and never copied to be safe; to change
one, build another with `replace`. Fields at their default are not written, as Kubernetes leaves out empty fields.
"""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, dataclass_transform, get_args, get_origin

import msgspec

_INITIALISMS = {
    name.lower(): name
    for name in (
        "ID", "IDs", "IP", "IPs", "IPC", "PID", "CIDR", "CIDRs", "UID", "UUID", "URL", "URI", "FQDN", "TLS", "DNS", "API",
        "WWNs", "GMSA", "CA", "CSI", "NS",
    )
}  # fmt: skip


def json_name(attribute: str) -> str:
    """Return the JSON name of a Python attribute.

    >>> json_name("restart_policy"), json_name("pod_ip"), json_name("host_ips"), json_name("uid")
    ('restartPolicy', 'podIP', 'hostIPs', 'uid')
    """
    first, *rest = attribute.rstrip("_").split("_")
    return first + "".join(_INITIALISMS.get(word, word.capitalize()) for word in rest)


if TYPE_CHECKING:
    # msgspec tells type checkers neither that frozen is inherited nor that every field may be left out.
    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
    class _Struct:
        __struct_fields__: ClassVar[tuple[str, ...]]
        __struct_encode_fields__: ClassVar[tuple[str, ...]]

    class Model(_Struct):
        """Part of an object: a struct whose fields all have defaults."""

        __proto__: ClassVar[str]
        __embeds__: ClassVar[Mapping[str, int]]
        __required__: ClassVar[str]
        __merge__: ClassVar[Mapping[str, Any]]
        __atomic__: ClassVar[bool]

else:

    class Model(msgspec.Struct, frozen=True, omit_defaults=True, rename=json_name, gc=False):
        """Part of an object: a struct whose fields all have defaults.

        Models never form cycles, so the garbage collector need not look at them.

        Where the automatic JSON name is wrong, a field states its own with ``msgspec.field(name=...)``.
        """

        __proto__: ClassVar[str] = ""
        """Protocol-buffer field numbers of this class's own fields in their order, as ranges: ``"1-8 10 12-14"``."""

        __embeds__: ClassVar[Mapping[str, int]] = {}
        """Base classes whose fields are flattened in JSON but nested under a field number in protocol buffers."""

        __required__: ClassVar[str] = ""
        """JSON names of this class's own fields that every document has: in the schema, and with zero values too."""

        __merge__: ClassVar[Mapping[str, Any]] = {}
        """How fields merge, where that is not as usual: see `kubelib.api.merging`."""

        __atomic__: ClassVar[bool] = False
        """Whether server-side apply owns and replaces an object of this class as a whole."""


M = TypeVar("M", bound=Model)


@functools.cache
def json_fields(cls: type[Any]) -> Mapping[str, Any]:
    """Return the JSON names of a class's fields with their types."""
    fields = msgspec.structs.fields(cls)
    return {field.encode_name: field.type for field in fields}


@functools.cache
def model_in(hint: Any) -> tuple[Literal["one", "list", "map"], type["Model"] | None]:
    """Return the shape of a field's type, and the class of model in it, if any."""
    origin = get_origin(hint)
    if origin is tuple:
        return "list", model_in(get_args(hint)[0])[1]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "map", model_in(get_args(hint)[1])[1]
    for candidate in get_args(hint) or (hint,):
        if get_origin(candidate) is not None:
            return model_in(candidate)
        if isinstance(candidate, type) and issubclass(candidate, Model):
            return "one", candidate
    return "one", None


def required_fields(cls: type[Any]) -> tuple[str, ...]:
    """Return the JSON names of the fields that a document of this class always has."""
    return tuple(
        name for base in reversed(cls.__mro__) for name in base.__dict__.get("__required__", "").split()
    )


def always_fields(cls: type[Any]) -> tuple[str, ...]:
    """Return the JSON names of the fields that are written even when they are zero: the required ones, and some by history."""
    return (
        *required_fields(cls),
        *(name for base in reversed(cls.__mro__) for name in base.__dict__.get("__always__", "").split()),
    )


def replace(model: M, /, **changes: Any) -> M:
    """Return a copy of `model` with some attributes changed."""
    return msgspec.structs.replace(model, **changes)  # type: ignore[type-var]
