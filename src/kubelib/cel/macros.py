"""What looks like a call but binds variables: ``all``, ``map``, ``has``, ``cel.bind`` and their like."""

from collections.abc import Callable, Mapping

from kubelib.cel.syntax import Bind, Call, Ident, Loop, MacroName, Node, OptionalMap, Select


class MacroError(Exception):
    """A macro is not used as it must be."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


Method = Callable[[int, Node, list[Node]], Node | None]
Function = Callable[[int, list[Node]], Node]
_SORTED = "@__sortBy_input__"
"""What a list is called while it is sorted by keys. Nobody can write this name."""


def _name(node: Node, macro: str, what: str = "variable name must be a simple identifier") -> str:
    if not isinstance(node, Ident) or node.name.startswith("."):
        raise MacroError(node.at, f"{macro}() {what}")
    if node.name == "__result__":
        raise MacroError(node.at, "iteration variable overwrites accumulator variable")
    return node.name


def _predicate(macro: MacroName) -> Method:
    def expand(at: int, target: Node, args: list[Node]) -> Node:
        return Loop(at, macro, target, _name(args[0], macro), None, args[1], None)

    return expand


def _predicate_of_two(macro: MacroName) -> Method:
    def expand(at: int, target: Node, args: list[Node]) -> Node:
        first, second = _two(macro, args)
        return Loop(at, macro, target, first, second, args[2], None)

    return expand


def _two(macro: str, args: list[Node]) -> tuple[str, str]:
    names = []
    for node in args[:2]:
        if not isinstance(node, Ident):
            raise MacroError(node.at, "argument must be a simple name")
        names.append(_name(node, macro))
    if names[0] == names[1]:
        raise MacroError(args[1].at, f"duplicate variable name: {names[0]}")
    return names[0], names[1]


def _map(at: int, target: Node, args: list[Node]) -> Node:
    name = _name(args[0], "map", "variable name must be a simple identifier")
    return Loop(at, "map", target, name, None, args[1] if len(args) == 3 else None, args[-1])


def _sort_by(at: int, target: Node, args: list[Node]) -> Node:
    name = _name(args[0], "sortBy")
    keys = Loop(at, "map", Ident(at, _SORTED), name, None, None, args[1])
    return Bind(at, _SORTED, target, Call(at, "@sortByAssociatedKeys", None, [Ident(at, _SORTED), keys]))


def _transform(macro: MacroName) -> Method:
    def expand(at: int, target: Node, args: list[Node]) -> Node:
        first, second = _two(macro, args)
        return Loop(at, macro, target, first, second, args[2] if len(args) == 4 else None, args[-1])

    return expand


def _opt_map(macro: str, *, flat: bool) -> Method:
    def expand(at: int, target: Node, args: list[Node]) -> Node:
        return OptionalMap(at, target, _name(args[0], macro), args[1], flat)

    return expand


def _bind(at: int, target: Node, args: list[Node]) -> Node | None:
    if not isinstance(target, Ident) or target.name != "cel":
        return None
    return Bind(at, _name(args[0], "cel.bind"), args[1], args[2])


def _has(at: int, args: list[Node]) -> Node:
    operand = args[0]
    if not isinstance(operand, Select) or operand.optional:
        raise MacroError(operand.at, "invalid argument to has() macro")
    return Select(at, operand.operand, operand.field, test=True)


METHOD_MACROS: Mapping[tuple[str, int], Method] = {
    ("all", 2): _predicate("all"),
    ("exists", 2): _predicate("exists"),
    ("exists_one", 2): _predicate("exists_one"),
    ("existsOne", 2): _predicate("exists_one"),
    ("filter", 2): _predicate("filter"),
    ("map", 2): _map,
    ("map", 3): _map,
    ("sortBy", 2): _sort_by,
    ("all", 3): _predicate_of_two("all"),
    ("exists", 3): _predicate_of_two("exists"),
    ("existsOne", 3): _predicate_of_two("exists_one"),
    ("exists_one", 3): _predicate_of_two("exists_one"),
    ("transformList", 3): _transform("transformList"),
    ("transformList", 4): _transform("transformList"),
    ("transformMap", 3): _transform("transformMap"),
    ("transformMap", 4): _transform("transformMap"),
    ("transformMapEntry", 3): _transform("transformMapEntry"),
    ("transformMapEntry", 4): _transform("transformMapEntry"),
    ("optMap", 2): _opt_map("optMap", flat=False),
    ("optFlatMap", 2): _opt_map("optFlatMap", flat=True),
    ("bind", 3): _bind,
}
FUNCTION_MACROS: Mapping[tuple[str, int], Function] = {("has", 1): _has}
