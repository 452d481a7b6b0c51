"""The checker: gives every expression a type, finds which forms of functions are meant, and says what cannot be.

The rules are those of cel-go's checker with homogeneous literals; the messages are its messages.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from kubelib.cel import types
from kubelib.cel.library import Overload
from kubelib.cel.literals import instantiation_problem, literal_problem
from kubelib.cel.source import Problems
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
from kubelib.cel.types import DYN, ERROR, INT, Type
from kubelib.cel.unify import Unifier

_UNKNOWN = frozenset(("dyn", "error"))


class Scope(Protocol):
    """What a text may refer to."""

    @property
    def variables(self) -> Mapping[str, Type]:
        """The variables by name."""
        ...

    @property
    def functions(self) -> Mapping[str, Sequence[Overload]]:
        """The forms of each function."""
        ...

    @property
    def type_names(self) -> Mapping[str, Type]:
        """The types that have names."""
        ...

    def message(self, name: str) -> Type | None:
        """Return the type of objects that are written ``name{…}``."""
        ...


class Checker:
    """One tree on its way to being typed."""

    def __init__(self, scope: Scope, problems: Problems) -> None:
        self._scope = scope
        self._problems = problems
        self._locals: list[tuple[str, Type]] = []
        self._unify = Unifier()
        self._literals: list[tuple[int, Type, Type]] = []
        self.unusable = ""
        """Why the expression cannot be made ready though it is well typed; empty when it can."""

    def check(self, root: Node) -> Type:
        """Give every node its type. Problems are noted."""
        self._visit(root)
        self._settle(root)
        return root.type

    def _settle(self, node: Node) -> None:
        """Put in what was learnt about parameters after a node was visited."""
        node.type = self._unify.resolve(node.type)
        for child in children(node):
            self._settle(child)

    def _visit(self, node: Node) -> Type:
        match node:
            case Constant():
                type_ = node.kind
            case Ident():
                type_ = self._ident(node)
            case Select():
                type_ = self._select(node)
            case Call():
                type_ = self._call(node)
            case ListOf():
                type_ = self._list(node)
            case MapOf():
                type_ = self._map(node)
            case Construct():
                type_ = self._construct(node)
            case Loop():
                type_ = self._loop(node)
            case Bind():
                with_value = self._visit(node.value)
                type_ = self._within([(node.name, with_value)], node.body)
            case OptionalMap():
                type_ = self._optional_map(node)
            case _:
                raise AssertionError(node)
        node.type = type_
        return type_

    def _within(self, names: list[tuple[str, Type]], body: Node) -> Type:
        self._locals += names
        type_ = self._visit(body)
        del self._locals[len(self._locals) - len(names) :]
        return type_

    def _named(self, name: str) -> tuple[Type, Type | None] | None:
        """Return the type of a name, and the type that it names when it is a type's."""
        root, name = name.startswith("."), name.removeprefix(".")
        if not root:
            for local, type_ in reversed(self._locals):
                if local == name:
                    return type_, None
        if (found := self._scope.variables.get(name)) is not None:
            return found, None
        if (named := self._scope.type_names.get(name)) is not None:
            return types.type_of(named), named
        return None

    def _ident(self, node: Ident) -> Type:
        found = self._named(node.name)
        if found is None:
            self._problems.add(
                node.at, f"undeclared reference to '{node.name.removeprefix('.')}' (in container '')"
            )
            return ERROR
        type_, node.names_type = found
        return type_

    def _select(self, node: Select) -> Type:
        name = _dotted(node)
        if (
            name is not None
            and not node.test
            and (name in self._scope.variables or not self._is_variable(name))
        ):
            found = self._named(name)
            if found is not None:
                # What has dots in its name, such as the type net.IP, is a name and no selection.
                node.operand = Ident(node.at, name)
                node.operand.names_type = found[1]
                node.operand.type = found[0]
                node.field = ""
                return found[0]
        operand = self._unify.resolve(self._visit(node.operand), free=True)
        optional = node.optional or operand.kind == "optional"
        if operand.kind == "optional":
            operand = self._unify.resolve(operand.parameters[0], free=True)
        result = self._field(node, operand)
        if node.test:
            return types.BOOL
        if optional and result.kind != "optional":
            return types.optional_of(result)
        return result

    def _is_variable(self, dotted: str) -> bool:
        first = dotted.partition(".")[0]
        return first in self._scope.variables or any(name == first for name, _ in self._locals)

    def _field(self, node: Select, operand: Type) -> Type:
        match operand.kind:
            case "error" | "dyn":
                return DYN if operand.kind == "dyn" else ERROR
            case "map":
                return operand.parameters[1]
            case "object":
                fields = operand.fields() if operand.fields is not None else {}
                field = fields.get(node.field)
                if field is None:
                    self._problems.add(node.at, f"undefined field '{node.field}'")
                    return ERROR
                return field.type
            case "parameter":
                self._unify.assign(operand, DYN)
                return DYN
        self._problems.add(node.at, f"type '{operand}' does not support field selection")
        return ERROR

    def _call(self, node: Call) -> Type:
        functions = self._scope.functions
        if node.target is not None:
            # A function with a namespace looks like a method of a variable that there is not.
            name = _dotted(node.target)
            if name is not None and not self._is_variable(name) and f"{name}.{node.function}" in functions:
                node.function, node.target = f"{name}.{node.function}", None
        arguments = [node.target, *node.args] if node.target is not None else node.args
        given = [self._visit(argument) for argument in arguments]
        overloads = functions.get(node.function.removeprefix("."))
        if not overloads:
            self._problems.add(node.at, f"undeclared reference to '{node.function}' (in container '')")
            return ERROR
        if any(type_.kind == "error" for type_ in given):
            return ERROR
        method = node.target is not None
        result: Type | None = None
        chosen = []
        for overload in overloads:
            if overload.method != method or len(overload.parameters) != len(given):
                continue
            parameters, returns = overload.parameters, overload.result
            if overload.generic:
                names: dict[str, Type] = {}
                parameters = tuple(self._unify.instantiate(type_, names) for type_ in parameters)
                returns = self._unify.instantiate(returns, names)
            if not self._unify.assign_all(parameters, given):
                continue
            chosen.append(overload)
            returns = self._unify.resolve(returns, free=True)
            if result is None:
                result = returns
            elif result.kind != "dyn" and result != returns:
                result = DYN
        if result is None:
            self._no_overload(node, given)
            return ERROR
        node.overloads = chosen
        problem = literal_problem(node)
        if problem is not None:
            self._problems.add(*problem)
        self.unusable = self.unusable or instantiation_problem(node)
        return result

    def _no_overload(self, node: Call, given: list[Type]) -> None:
        shown = [str(self._unify.resolve(type_)) for type_ in given]
        if node.target is not None:
            signature = f"{shown[0]}.({', '.join(shown[1:])})"
        else:
            signature = f"({', '.join(shown)})"
        self._problems.add(
            node.at, f"found no matching overload for '{node.function}' applied to '{signature}'"
        )

    def _element(self, node: Node, type_: Type, *, optional: bool) -> Type:
        type_ = self._unify.resolve(type_, free=True)
        if not optional:
            return type_
        if type_.kind == "optional":
            return type_.parameters[0]
        if type_.kind not in _UNKNOWN:
            self._problems.add(node.at, f"expected type 'optional_type({type_})' but found '{type_}'")
        return type_

    def _joined(self, node: Node, so_far: Type | None, type_: Type) -> Type:
        if so_far is None:
            return type_
        both = self._unify.join(so_far, type_)
        if both is None:
            self._problems.add(node.at, f"expected type '{so_far}' but found '{self._unify.resolve(type_)}'")
            return so_far
        return both

    def _list(self, node: ListOf) -> Type:
        element: Type | None = None
        for at, item in enumerate(node.elements):
            type_ = self._element(item, self._visit(item), optional=at in node.optional)
            element = self._joined(item, element, type_)
        return types.list_of(element if element is not None else self._unify.fresh())

    def _map(self, node: MapOf) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            assert isinstance(entry.key, Node)
            key = self._joined(entry.key, key, self._unify.resolve(self._visit(entry.key), free=True))
            type_ = self._element(entry.value, self._visit(entry.value), optional=entry.optional)
            value = self._joined(entry.value, value, type_)
        return types.map_of(
            key if key is not None else self._unify.fresh(),
            value if value is not None else self._unify.fresh(),
        )

    def _construct(self, node: Construct) -> Type:
        type_ = self._scope.message(node.name)
        if type_ is None:
            self._problems.add(node.at, f"undeclared reference to '{node.name}' (in container '')")
            for entry in node.entries:
                self._visit(entry.value)
            return ERROR
        fields = type_.fields() if type_.fields is not None else {}
        for entry in node.entries:
            assert isinstance(entry.key, str)
            given = self._element(entry.value, self._visit(entry.value), optional=entry.optional)
            field = fields.get(entry.key)
            if field is None:
                self._problems.add(entry.at, f"undefined field '{entry.key}'")
            elif not self._unify.assign(field.type, given):
                self._problems.add(
                    entry.at,
                    f"expected type of field '{entry.key}' is '{field.type}' but provided type is "
                    f"'{self._unify.resolve(given)}'",
                )
        return type_

    def _range(self, node: Loop) -> list[tuple[str, Type]] | None:
        over = self._unify.resolve(self._visit(node.over), free=True)
        match over.kind:
            case "list":
                single, key, value = over.parameters[0], INT, over.parameters[0]
            case "map":
                single, key, value = over.parameters[0], over.parameters[0], over.parameters[1]
            case "dyn" | "error" | "parameter":
                if over.kind == "parameter":
                    self._unify.assign(over, DYN)
                single = key = value = DYN
            case _:
                self._problems.add(
                    node.over.at,
                    f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)",
                )
                single = key = value = ERROR
        if node.second is None:
            return [(node.variable, single)]
        return [(node.variable, key), (node.second, value)]

    _TESTS = {"all": "_&&_", "exists": "_||_"}

    def _condition(self, node: Loop) -> None:
        if node.condition is None:
            return
        type_ = self._visit(node.condition)
        if type_.kind == "error" or self._unify.assign(types.BOOL, type_):
            return
        shown = str(self._unify.resolve(type_))
        if node.macro in self._TESTS:
            function, signature = self._TESTS[node.macro], f"(bool, {shown})"
        else:
            accumulator = "int" if node.macro == "exists_one" else str(node.type)
            function, signature = "_?_:_", f"({shown}, {accumulator}, {accumulator})"
        self._problems.add(node.at, f"found no matching overload for '{function}' applied to '{signature}'")

    def _loop(self, node: Loop) -> Type:
        names = self._range(node)
        assert names is not None
        self._locals += names
        transformed = self._visit(node.transform) if node.transform is not None else None
        self._condition(node)
        del self._locals[len(self._locals) - len(names) :]
        match node.macro:
            case "all" | "exists" | "exists_one":
                return types.BOOL
            case "filter":
                return types.list_of(names[0][1])
            case "map" | "transformList":
                return types.list_of(transformed if transformed is not None else DYN)
            case "transformMap":
                return types.map_of(names[0][1], transformed if transformed is not None else DYN)
            case "transformMapEntry":
                result = self._unify.resolve(transformed, free=True) if transformed is not None else DYN
                if result.kind not in ("map", "dyn", "error"):
                    self._problems.add(node.at, f"expected type 'map(dyn, dyn)' but found '{result}'")
                return result

    def _optional_map(self, node: OptionalMap) -> Type:
        target = self._unify.resolve(self._visit(node.target), free=True)
        inner: Type = DYN
        if target.kind == "optional":
            inner = target.parameters[0]
        elif target.kind not in _UNKNOWN:
            self._problems.add(node.at, f"found no matching overload for 'hasValue' applied to '{target}.()'")
            inner = ERROR
        body = self._within([(node.name, inner)], node.body)
        return body if node.flat else types.optional_of(body)


def _dotted(node: Node) -> str | None:
    """Return ``a.b.c`` when the expression is that."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test and not node.optional:
        before = _dotted(node.operand)
        return None if before is None else f"{before}.{node.field}"
    return None


def children(node: Node) -> list[Node]:
    """Return the expressions within an expression."""
    match node:
        case Select():
            return [node.operand]
        case Call():
            return [node.target, *node.args] if node.target is not None else node.args
        case ListOf():
            return node.elements
        case MapOf() | Construct():
            found = [entry.value for entry in node.entries]
            return found + [entry.key for entry in node.entries if isinstance(entry.key, Node)]
        case Loop():
            return [part for part in (node.over, node.condition, node.transform) if part is not None]
        case Bind():
            return [node.value, node.body]
        case OptionalMap():
            return [node.target, node.body]
    return []
