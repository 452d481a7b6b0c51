"""What the parameters of generic functions stand for: types are matched, and what is learnt from one argument holds for the next."""

from collections.abc import Sequence

from kubelib.cel import types
from kubelib.cel.types import DYN, Type

_NULLABLE = frozenset(("null", "duration", "timestamp", "object", "opaque"))
_UNKNOWN = frozenset(("dyn", "error"))


class Unifier:
    """What the parameters of generic functions stand for, as far as it is known."""

    def __init__(self) -> None:
        self._bound: dict[str, Type] = {}
        self._fresh = 0

    def fresh(self) -> Type:
        """Return a parameter that nothing is known about."""
        self._fresh += 1
        return types.parameter(f"_var{self._fresh}")

    def instantiate(self, type_: Type, names: dict[str, Type]) -> Type:
        """Return a type of a signature with its parameters made this call's own."""
        if type_.kind == "parameter":
            found = names.get(type_.name)
            if found is None:
                found = names[type_.name] = self.fresh()
            return found
        if not type_.parameters:
            return type_
        return Type(
            type_.kind, type_.name, tuple(self.instantiate(inner, names) for inner in type_.parameters)
        )

    def resolve(self, type_: Type, *, free: bool = False) -> Type:
        """Return a type with all that is known put in; parameters of which nothing is known are dyn unless `free`."""
        if type_.kind == "parameter":
            bound = self._bound.get(type_.name)
            if bound is not None:
                return self.resolve(bound, free=free)
            return type_ if free else DYN
        if not type_.parameters:
            return type_
        inner = tuple(self.resolve(one, free=free) for one in type_.parameters)
        if all(new is old for new, old in zip(inner, type_.parameters, strict=True)):
            return type_
        return Type(
            type_.kind,
            type_.name,
            inner,
            type_.fields,
            type_.most,
            type_.least_bytes,
            type_.list_type,
            type_.list_keys,
        )

    def assign_all(self, wanted: Sequence[Type], given: Sequence[Type]) -> bool:
        """Return whether arguments can be given to parameters; only then is what was learnt kept."""
        before = dict(self._bound)
        if len(wanted) == len(given) and all(map(self._assign, wanted, given)):
            return True
        self._bound = before
        return False

    def assign(self, wanted: Type, given: Type) -> bool:
        """Return whether a value of one type can be where the other is wanted."""
        return self.assign_all((wanted,), (given,))

    def _known(self, type_: Type) -> Type:
        while type_.kind == "parameter" and type_.name in self._bound:
            type_ = self._bound[type_.name]
        return type_

    def _contains(self, type_: Type, name: str) -> bool:
        type_ = self._known(type_)
        return (type_.kind == "parameter" and type_.name == name) or any(
            self._contains(inner, name) for inner in type_.parameters
        )

    def _bind(self, name: str, type_: Type) -> bool:
        if type_.kind == "parameter" and type_.name == name:
            return True
        if self._contains(type_, name):
            return False
        self._bound[name] = type_
        return True

    def _assign(self, wanted: Type, given: Type) -> bool:
        wanted, given = self._known(wanted), self._known(given)
        if wanted.kind == "parameter":
            return self._bind(wanted.name, given)
        if given.kind == "parameter":
            return self._bind(given.name, wanted)
        if wanted.kind in _UNKNOWN or given.kind in _UNKNOWN:
            return True
        if given.kind == "null":
            return wanted.kind in _NULLABLE
        if wanted.kind == "null":
            return given.kind in _NULLABLE
        if wanted.kind != given.kind:
            return False
        if wanted.kind == "type":
            return True
        if wanted.name != given.name or len(wanted.parameters) != len(given.parameters):
            return False
        return all(map(self._assign, wanted.parameters, given.parameters))

    def join(self, one: Type, other: Type) -> Type | None:
        """Return the type that both are of; None when there is none."""
        if self.assign(one, other):
            return other if one.kind in ("parameter", "null") or other.kind == "dyn" else one
        return other if self.assign(other, one) else None
