"""From a checked tree to a closure that evaluates it.

What an expression costs in any case is added up beforehand, so that only branches, loops and functions whose cost depends on their
arguments count while they run. A value read from JSON is made what its type says (a double, a timestamp) when it is read.
"""

import operator
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from kubelib.cel import lists
from kubelib.cel.base import EvaluationError
from kubelib.cel.calling import call_one, compare_any, decide, dispatch_of
from kubelib.cel.estimate import LIST_COST, MAP_COST, OBJECT_COST, tenth
from kubelib.cel.frame import FIRST, SPENT, Compiled, Frame, charge, no_overload
from kubelib.cel.library import Overload
from kubelib.cel.loops import LOOPS
from kubelib.cel.reading import reader
from kubelib.cel.selecting import (
    element,
    has_field,
    has_nullable,
    holds,
    map_key,
    nullable_reader,
    select_any,
    select_key,
    select_of_slot,
)
from kubelib.cel.syntax import (
    Bind,
    Call,
    Constant,
    Construct,
    Ident,
    ListOf,
    Loop,
    MapOf,
    Node,
    OptionalMap,
    Select,
)
from kubelib.cel.values import INT_MAX, INT_MIN, NONE, Constructed, Optional, TypeName, equal, weight

_ORDERED = {"_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge}
_NUMBERS = frozenset(("int", "uint", "double"))
_PLAIN = frozenset(("int", "uint", "double", "bool", "string", "bytes", "duration", "timestamp", "null"))


class Compiler:
    """Turns one tree into closures."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._locals: list[tuple[str, int]] = []
        self.size = FIRST

    @property
    def variables(self) -> dict[str, int]:
        """The variables that the expression reads, and their places in the frame."""
        return self._slots

    def _slot(self) -> int:
        self.size += 1
        return self.size - 1

    def compile(self, node: Node) -> Compiled:
        """Return the closure of an expression."""
        match node:
            case Constant():
                value = node.value
                return (lambda f: value), 0
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListOf():
                return self._list(node)
            case MapOf():
                return self._map(node)
            case Construct():
                return self._construct(node)
            case Loop():
                return self._loop(node)
            case Bind():
                return self._bind(node)
            case OptionalMap():
                return self._optional_map(node)
        raise AssertionError(node)

    def _place(self, name: str) -> int:
        if not name.startswith("."):
            for local, slot in reversed(self._locals):
                if local == name:
                    return slot
        name = name.removeprefix(".")
        slot = self._slots.get(name, 0)
        if not slot:
            slot = self._slots[name] = self._slot()
        return slot

    def _ident(self, node: Ident) -> Compiled:
        if node.names_type is not None:
            named = TypeName(node.names_type.runtime_name)
            return (lambda f: named), 1
        return itemgetter(self._place(node.name)), 1

    def _select(self, node: Select) -> Compiled:
        if not node.field:
            return self.compile(node.operand)
        operand, cost = self.compile(node.operand)
        type_ = node.operand.type
        optional_operand = type_.kind == "optional"
        if optional_operand:
            type_ = type_.parameters[0]
        key, read, test = node.field, None, has_field
        if type_.kind == "object" and type_.fields is not None:
            field = type_.fields()[node.field]
            key, read = field.key, reader(field.type)
            if field.nullable:
                read, test = nullable_reader(key, read), has_nullable
        elif type_.kind == "map":
            read = reader(type_.parameters[1])
        if node.test:
            return test(operand, key), cost
        if node.optional or optional_operand or type_.kind == "dyn":
            return select_any(operand, key, node.field, read, optional=node.optional), cost + 1
        if read is None and isinstance(node.operand, Ident) and node.operand.names_type is None:
            return select_of_slot(self._place(node.operand.name), key, node.field), cost + 1
        return select_key(operand, key, node.field, read), cost + 1

    def _list(self, node: ListOf) -> Compiled:
        parts = [self.compile(element) for element in node.elements]
        if not node.optional and all(isinstance(element, Constant) for element in node.elements):
            constant = [element.value for element in node.elements if isinstance(element, Constant)]
            return (lambda f: constant), 0
        closures, optional = [part[0] for part in parts], node.optional
        cost = LIST_COST + sum(part[1] for part in parts)
        if not optional:
            return (lambda f: [closure(f) for closure in closures]), cost

        def build(f: Frame) -> list[Any]:
            out = []
            for at, closure in enumerate(closures):
                value = closure(f)
                if at in optional:
                    if value.__class__ is not Optional:
                        raise no_overload()
                    if not value.present:
                        continue
                    value = value.value
                out.append(value)
            return out

        return build, cost

    def _map(self, node: MapOf) -> Compiled:
        cost = MAP_COST
        entries = []
        for entry in node.entries:
            assert isinstance(entry.key, Node)
            key, key_cost = self.compile(entry.key)
            value, value_cost = self.compile(entry.value)
            cost += key_cost + value_cost
            entries.append((key, value, entry.optional))

        def build(f: Frame) -> dict[Any, Any]:
            out: dict[Any, Any] = {}
            for key_of, value_of, optional in entries:
                key, value = map_key(key_of(f)), value_of(f)
                if key in out:
                    raise EvaluationError("Failed with repeated key")
                if optional:
                    if value.__class__ is not Optional:
                        raise no_overload()
                    if not value.present:
                        continue
                    value = value.value
                out[key] = value
            return out

        return build, cost

    def _construct(self, node: Construct) -> Compiled:
        cost = OBJECT_COST
        entries = []
        fields = node.type.fields() if node.type.fields is not None else {}
        for entry in node.entries:
            assert isinstance(entry.key, str)
            value, value_cost = self.compile(entry.value)
            cost += value_cost
            entries.append((fields[entry.key].key, value, entry.optional))

        name = node.name

        def build(f: Frame) -> Constructed:
            out = Constructed(name)
            for key, value_of, optional in entries:
                value = value_of(f)
                if optional:
                    if value.__class__ is not Optional:
                        raise no_overload()
                    if not value.present:
                        continue
                    value = value.value
                out[key] = value
            return out

        return build, cost

    def _bind(self, node: Bind) -> Compiled:
        value, value_cost = self.compile(node.value)
        slot = self._slot()
        self._locals.append((node.name, slot))
        body, body_cost = self.compile(node.body)
        self._locals.pop()

        def run(f: Frame) -> Any:
            f[slot] = value(f)
            return body(f)

        return run, LIST_COST + value_cost + body_cost

    def _optional_map(self, node: OptionalMap) -> Compiled:
        target, cost = self.compile(node.target)
        slot = self._slot()
        self._locals.append((node.name, slot))
        body, body_cost = self.compile(node.body)
        self._locals.pop()
        body_cost += LIST_COST + 3
        flat = node.flat

        def run(f: Frame) -> Any:
            value = target(f)
            if value.__class__ is not Optional:
                raise no_overload()
            if not value.present:
                return NONE
            f[SPENT] += body_cost
            f[slot] = value.value
            result = body(f)
            if not flat:
                return Optional(present=True, value=result)
            if result.__class__ is not Optional:
                raise no_overload()
            return result

        return run, cost + 2

    def _loop(self, node: Loop) -> Compiled:
        over, cost = self.compile(node.over)
        names = [node.variable] if node.second is None else [node.variable, node.second]
        slots = [self._slot() for _ in names]
        self._locals += zip(names, slots, strict=True)
        condition = self.compile(node.condition) if node.condition is not None else None
        transform = self.compile(node.transform) if node.transform is not None else None
        del self._locals[len(self._locals) - len(names) :]
        type_ = node.over.type
        read = reader(type_.parameters[-1]) if type_.kind in ("list", "map") else None
        run, base = LOOPS[node.macro](over, slots, condition, transform, read)
        return run, cost + base

    # Calls.

    def _call(self, node: Call) -> Compiled:
        special = _SPECIAL.get(node.function)
        if special is not None:
            found = special(self, node)
            if found is not None:
                return found
        arguments = [node.target, *node.args] if node.target is not None else node.args
        parts = [self._argument(argument) for argument in arguments]
        cost = sum(part[1] for part in parts)
        closures = [part[0] for part in parts]
        overloads: list[Overload] = node.overloads
        sure = len(overloads) == 1 and all(
            argument.type.kind not in ("dyn", "error", "null") or wanted.kind == "dyn"
            for argument, wanted in zip(arguments, overloads[0].parameters, strict=True)
        )
        if sure:
            return call_one(overloads[0], closures, cost)
        dispatch = dispatch_of(node.function, overloads)
        compare = _ORDERED.get(node.function)
        if compare is not None:
            return compare_any(compare, closures[0], closures[1], dispatch), cost
        return (lambda f: dispatch(f, [closure(f) for closure in closures])), cost

    def _argument(self, node: Node) -> Compiled:
        """Return an argument with all of it read: functions look at the elements of lists."""
        closure, cost = self.compile(node)
        if node.type.kind in ("list", "map") and isinstance(node, Select | Ident | Call):
            read = reader(node.type)
            if read is not None:
                inner = closure
                return (lambda f: read(inner(f))), cost
        return closure, cost

    def _both(self, node: Call) -> Compiled:
        (left, cost), (right, right_cost) = (self.compile(argument) for argument in node.args)
        return decide(left, right, right_cost, stop=node.function == "_||_"), cost

    def _not(self, node: Call) -> Compiled:
        operand, cost = self.compile(node.args[0])

        def run(f: Frame) -> bool:
            value = operand(f)
            if value is True:
                return False
            if value is False:
                return True
            raise no_overload()

        return run, cost + 1

    def _if(self, node: Call) -> Compiled:
        (condition, cost), (yes, yes_cost), (no, no_cost) = (self.compile(part) for part in node.args)

        def run(f: Frame) -> Any:
            value = condition(f)
            if value is True:
                f[SPENT] += yes_cost
                return yes(f)
            if value is False:
                f[SPENT] += no_cost
                return no(f)
            raise no_overload()

        return run, cost

    def _equal(self, node: Call) -> Compiled:
        one, other = node.args
        (left, cost), (right, right_cost) = self._argument(one), self._argument(other)
        cost += right_cost
        negated = node.function == "_!=_"
        compare = lists.equality(one.type, other.type)
        plain = one.type.kind == other.type.kind and one.type.kind in _PLAIN
        if plain or compare is None:
            same: Callable[[Any, Any], Any] = operator.eq if plain else equal
            compare = (operator.ne if plain else _unequal) if negated else same
        elif negated:
            differs = compare
            compare = lambda a, b: not differs(a, b)  # noqa: E731  # a closure over what was just decided
        constant = one if isinstance(one, Constant) else other
        if isinstance(constant, Constant):
            size = len(constant.value) if isinstance(constant.value, str | bytes) else 1
            value = constant.value
            moving = right if constant is one else left
            return (lambda f: compare(moving(f), value)), cost + tenth(size)
        if plain and one.type.kind not in ("string", "bytes"):
            return (lambda f: compare(left(f), right(f))), cost + 1

        def run(f: Frame) -> Any:
            a, b = left(f), right(f)
            charge(f, min(weight(a), weight(b)))
            return compare(a, b)

        return run, cost

    def _order(self, node: Call) -> Compiled | None:
        one, other = (argument.type.kind for argument in node.args)
        if not (one == other and one in _PLAIN and one != "null") and not (
            one in _NUMBERS and other in _NUMBERS
        ):
            return None
        (left, cost), (right, right_cost) = (self.compile(argument) for argument in node.args)
        compare = _ORDERED[node.function]
        cost += right_cost
        if one not in ("string", "bytes"):
            constant = node.args[1]
            if isinstance(constant, Constant):
                value = constant.value
                return (lambda f: compare(left(f), value)), cost + 1
            return (lambda f: compare(left(f), right(f))), cost + 1

        def run(f: Frame) -> Any:
            a, b = left(f), right(f)
            f[SPENT] += tenth(min(len(a), len(b)))
            return compare(a, b)

        return run, cost

    def _arithmetic(self, node: Call) -> Compiled | None:
        if any(argument.type.kind != "int" for argument in node.args):
            return None
        (left, cost), (right, right_cost) = (self.compile(argument) for argument in node.args)
        apply = {"_+_": operator.add, "_-_": operator.sub, "_*_": operator.mul}[node.function]

        def run(f: Frame) -> int:
            number: int = apply(left(f), right(f))
            if INT_MIN <= number <= INT_MAX:
                return number
            raise EvaluationError("integer overflow")

        return run, cost + right_cost + 1

    def _plus(self, node: Call) -> Compiled | None:
        if (found := self._arithmetic(node)) is not None:
            return found
        one, other = (argument.type for argument in node.args)
        if one.kind == other.kind == "list" and one.list_type != "atomic":
            (left, cost), (right, right_cost) = map(self.compile, node.args)
            join = lists.join(one)

            def run(f: Frame) -> Any:
                a, b = left(f), right(f)
                f[SPENT] += 1 + tenth(len(a) + len(b))
                return join(a, b)

            return run, cost + right_cost
        return None

    def _in(self, node: Call) -> Compiled | None:
        wanted, within = node.args
        if within.type.kind == "map":
            (key, cost), (table, table_cost) = map(self.compile, node.args)
            return (lambda f: holds(table(f), key(f))), cost + table_cost + 1
        if within.type.kind == "list" and isinstance(within, ListOf) and not within.optional:
            kinds = {element.type.kind for element in within.elements}
            if (
                kinds == {wanted.type.kind}
                and kinds <= {"string", "int"}
                and all(isinstance(element, Constant) for element in within.elements)
            ):
                known = frozenset(
                    element.value for element in within.elements if isinstance(element, Constant)
                )
                value, cost = self.compile(wanted)
                return (lambda f: value(f) in known), cost
        return None

    def _index(self, node: Call) -> Compiled:
        operand = node.args[0]
        (container, cost), (index, index_cost) = map(self.compile, node.args)
        type_ = operand.type
        if type_.kind == "optional":
            type_ = type_.parameters[0]
        read = reader(type_.parameters[-1]) if type_.kind in ("list", "map") else None
        optional = node.function == "_[?_]" or operand.type.kind == "optional"
        always = node.function == "_[?_]"

        def run(f: Frame) -> Any:
            value, at = container(f), index(f)
            if value.__class__ is Optional:
                if not value.present:
                    return NONE
                try:
                    found = element(value.value, at)
                except EvaluationError:
                    return NONE
                return Optional(present=True, value=read(found) if read is not None else found)
            if not optional or not always:
                found = element(value, at)
                return read(found) if read is not None else found
            try:
                found = element(value, at)
            except EvaluationError:
                return NONE
            return Optional(present=True, value=read(found) if read is not None else found)

        return run, cost + index_cost + 1


def _unequal(left: Any, right: Any) -> bool:
    return not equal(left, right)


_SPECIAL: dict[str, Callable[[Compiler, Call], Compiled | None]] = {
    "_&&_": Compiler._both,
    "_||_": Compiler._both,
    "!_": Compiler._not,
    "_?_:_": Compiler._if,
    "_==_": Compiler._equal,
    "_!=_": Compiler._equal,
    "_<_": Compiler._order,
    "_<=_": Compiler._order,
    "_>_": Compiler._order,
    "_>=_": Compiler._order,
    "_+_": Compiler._plus,
    "_-_": Compiler._arithmetic,
    "_*_": Compiler._arithmetic,
    "@in": Compiler._in,
    "_[_]": Compiler._index,
    "_[?_]": Compiler._index,
}
