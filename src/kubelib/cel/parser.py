"""From tokens to a tree: the grammar of the language definition, with cel-go's messages for what does not follow it."""

from kubelib.cel import lexer
from kubelib.cel.lexer import Token
from kubelib.cel.macros import FUNCTION_MACROS, METHOD_MACROS, MacroError
from kubelib.cel.names import RESERVED
from kubelib.cel.source import Problems
from kubelib.cel.syntax import Call, Constant, Construct, Entry, Ident, ListOf, MapOf, Node, Select
from kubelib.cel.types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT
from kubelib.cel.values import Uint

MOST_NESTING = 250
LONGEST = 100_000

_RELATIONS = frozenset(("<", "<=", ">", ">=", "==", "!=", "in"))
_STARTS = "'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER"
_EXPECTED = f"{{{_STARTS}}}"
_EXPECTED_ARGUMENT = _EXPECTED.replace("'(', ", "'(', ')', ")


class _Broken(Exception):
    """The text does not follow the grammar; the problem is noted."""


class Parser:
    """One text on its way to a tree."""

    def __init__(self, text: str, problems: Problems) -> None:
        self.problems = problems
        self._tokens = list(lexer.tokens(text, problems))
        self._next = 0
        self._depth = 0

    def parse(self) -> Node | None:
        """Return the tree; None when there are problems."""
        try:
            node = self._expression()
            token = self._peek()
            if token.kind != "end":
                last = self._tokens[self._next + 1].kind == "end"
                self._fail(
                    token, f"{'extraneous' if last else 'mismatched'} input '{token.text}' expecting <EOF>"
                )
        except _Broken:
            return None
        return None if self.problems else node

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _fail(self, token: Token, message: str) -> None:
        self.problems.add(token.at, f"Syntax error: {message}")
        raise _Broken

    def _at(self, operator: str) -> bool:
        token = self._tokens[self._next]
        return token.text == operator and token.kind == "op"

    def _take(self, operator: str) -> Token | None:
        token = self._tokens[self._next]
        if token.text == operator and token.kind == "op":
            self._next += 1
            return token
        return None

    def _need(self, operator: str, *, missing: bool = True) -> None:
        if self._take(operator) is None:
            token = self._peek()
            if missing:
                self._fail(token, f"missing '{operator}' at '{token.text}'")
            self._fail(token, f"mismatched input '{token.text}' expecting '{operator}'")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MOST_NESTING:
            self.problems.add(0, f"expression recursion limit exceeded: {MOST_NESTING}")
            raise _Broken

    def _expression(self) -> Node:
        self._deeper()
        node = self._either()
        if (token := self._take("?")) is not None:
            yes = self._either()
            self._need(":", missing=False)
            node = Call(token.at, "_?_:_", None, [node, yes, self._expression()])
        self._depth -= 1
        return node

    def _balanced(self, function: str, operands: list[Node], at: list[int]) -> Node:
        """Return a tree of equal terms that is as flat as can be: long chains nest no deeper than their logarithm."""
        if len(operands) == 1:
            return operands[0]
        middle = (len(operands)) // 2
        return Call(
            at[middle - 1],
            function,
            None,
            [
                self._balanced(function, operands[:middle], at[: middle - 1]),
                self._balanced(function, operands[middle:], at[middle:]),
            ],
        )

    def _either(self) -> Node:
        operands, at = [self._both()], []
        while (token := self._take("||")) is not None:
            at.append(token.at)
            operands.append(self._both())
        return self._balanced("_||_", operands, at)

    def _both(self) -> Node:
        operands, at = [self._relation()], []
        while (token := self._take("&&")) is not None:
            at.append(token.at)
            operands.append(self._relation())
        return self._balanced("_&&_", operands, at)

    def _relation(self) -> Node:
        node = self._sum()
        before = self._depth
        while (token := self._peek()).text in _RELATIONS and token.kind in ("op", "ident"):
            self._next += 1
            self._deeper()
            function = "@in" if token.text == "in" else f"_{token.text}_"
            node = Call(token.at, function, None, [node, self._sum()])
        self._depth = before
        return node

    def _sum(self) -> Node:
        node = self._product()
        before = self._depth
        while (token := self._take("+") or self._take("-")) is not None:
            self._deeper()
            node = Call(token.at, f"_{token.text}_", None, [node, self._product()])
        self._depth = before
        return node

    def _product(self) -> Node:
        node = self._unary()
        before = self._depth
        while (token := self._take("*") or self._take("/") or self._take("%")) is not None:
            self._deeper()
            node = Call(token.at, f"_{token.text}_", None, [node, self._unary()])
        self._depth = before
        return node

    def _unary(self) -> Node:
        first = self._peek()
        if first.text not in ("!", "-") or first.kind != "op":
            return self._member()
        count = 0
        while self._take(first.text) is not None:
            count += 1
        if first.text == "-" and self._peek().kind in ("int", "float"):
            count -= 1
            node = self._member(negative=first)
        else:
            node = self._member()
        if count % 2:
            node = Call(first.at, f"{first.text}_", None, [node])
        return node

    def _member(self, *, negative: Token | None = None) -> Node:
        node = self._primary(negative=negative)
        before = self._depth
        while True:
            if (token := self._take(".")) is not None:
                self._deeper()
                optional = self._take("?") is not None
                name = self._peek()
                if name.kind != "ident" or name.text in ("true", "false", "null", "in"):
                    self._fail(name, f"no viable alternative at input '.{name.text.removeprefix('<EOF>')}'")
                self._next += 1
                opening = None if optional else self._take("(")
                if opening is None:
                    node = Select(token.at, node, name.text, optional=optional)
                else:
                    node = self._method(opening, node, name.text)
            elif (token := self._take("[")) is not None:
                self._deeper()
                optional = self._take("?") is not None
                key = self._expression()
                self._need("]")
                node = Call(token.at, "_[?_]" if optional else "_[_]", None, [node, key])
            else:
                self._depth = before
                return node

    def _arguments(self) -> list[Node]:
        if self._take(")") is not None:
            return []
        if self._peek().kind == "end":
            self._fail(self._peek(), f"mismatched input '<EOF>' expecting {_EXPECTED_ARGUMENT}")
        arguments = [self._expression()]
        while self._take(",") is not None:
            arguments.append(self._expression())
        self._need(")")
        return arguments

    def _method(self, opening: Token, target: Node, name: str) -> Node:
        arguments = self._arguments()
        macro = METHOD_MACROS.get((name, len(arguments)))
        if macro is not None:
            try:
                expanded = macro(opening.at, target, arguments)
            except MacroError as error:
                self.problems.add(error.at, str(error))
                return target
            if expanded is not None:
                return expanded
        return Call(opening.at, name, target, arguments)

    def _function(self, opening: Token, name: str) -> Node:
        arguments = self._arguments()
        macro = FUNCTION_MACROS.get((name, len(arguments)))
        if macro is not None:
            try:
                return macro(opening.at, arguments)
            except MacroError as error:
                self.problems.add(error.at, str(error))
        return Call(opening.at, name, None, arguments)

    def _primary(self, *, negative: Token | None) -> Node:
        token = self._peek()
        if token.kind == "op":
            if token.text == "(":
                self._next += 1
                node = self._expression()
                self._need(")")
                return node
            if token.text == "[":
                return self._list()
            if token.text == "{":
                self._next += 1
                return MapOf(token.at, self._entries(fields=False))
            if token.text == ".":
                self._next += 1
                name = self._peek()
                if name.kind != "ident":
                    self._fail(name, f"no viable alternative at input '.{name.text}'")
                return self._named(at=token.at, root=True)
        elif token.kind == "ident":
            if token.text in ("true", "false"):
                self._next += 1
                return Constant(token.at, token.text == "true", BOOL)
            if token.text == "null":
                self._next += 1
                return Constant(token.at, None, NULL)
            if token.text != "in":
                return self._named(at=token.at)
        elif token.kind != "end":
            self._next += 1
            return self._literal(token, negative)
        follows = self._tokens[self._next + 1] if token.kind != "end" else token
        wrong = (
            "extraneous"
            if follows.kind not in ("end", "op") or follows.text in ("(", "[", "{")
            else "mismatched"
        )
        self._fail(token, f"{wrong} input '{token.text}' expecting {_EXPECTED}")
        raise AssertionError

    def _named(self, *, at: int, root: bool = False) -> Node:
        token = self._peek()
        self._next += 1
        if (opening := self._take("(")) is not None:
            return self._function(opening, token.text)
        if (path := self._message_name()) is not None:
            opening, name = path
            return Construct(opening.at, name, self._entries(fields=True))
        if token.text in RESERVED:
            self.problems.add(token.at, f"reserved identifier: {token.text}")
        return Ident(at, f".{token.text}" if root else token.text)

    def _message_name(self) -> tuple[Token, str] | None:
        """Return the opening brace and the name when a name with dots stands before a brace."""
        words, at = [self._tokens[self._next - 1].text], self._next
        while (
            self._tokens[at].text == "."
            and self._tokens[at].kind == "op"
            and self._tokens[at + 1].kind == "ident"
        ):
            words.append(self._tokens[at + 1].text)
            at += 2
        if self._tokens[at].text != "{" or self._tokens[at].kind != "op":
            return None
        self._next = at + 1
        return self._tokens[at], ".".join(words)

    def _list(self) -> Node:
        opening = self._peek()
        self._next += 1
        elements: list[Node] = []
        optional: set[int] = set()
        while not self._at("]"):
            if self._peek().kind == "end":
                self._need("]")
            if self._take("?") is not None:
                optional.add(len(elements))
            elements.append(self._expression())
            if self._take(",") is None:
                break
        self._need("]")
        return ListOf(opening.at, elements, frozenset(optional))

    def _entries(self, *, fields: bool) -> list[Entry]:
        entries: list[Entry] = []
        while not self._at("}"):
            optional = self._take("?") is not None
            if fields:
                name = self._peek()
                if name.kind != "ident":
                    self._fail(
                        name, f"mismatched input '{name.text}' expecting {{'}}', ',', '?', IDENTIFIER}}"
                    )
                self._next += 1
                key: Node | str = name.text
            else:
                key = self._expression()
            colon = self._peek()
            self._need(":", missing=False)
            entries.append(Entry(colon.at, key, self._expression(), optional))
            if self._take(",") is None:
                break
        if self._take("}") is None:
            token = self._peek()
            self._fail(token, f"mismatched input '{token.text}' expecting {{'}}', ','}}")
        return entries

    def _literal(self, token: Token, negative: Token | None) -> Node:
        at = negative.at if negative is not None else token.at
        sign = -1 if negative is not None else 1
        text = token.text
        try:
            if token.kind in ("int", "uint"):
                digits = text.rstrip("uU") if token.kind == "uint" else text
                number = sign * int(digits, 16 if digits[:2] == "0x" else 10) if len(digits) < 40 else 1 << 70
                if token.kind == "uint":
                    if number >= 1 << 64:
                        raise ValueError("invalid uint literal")
                    return Constant(at, Uint(number), UINT)
                if not -(1 << 63) <= number < 1 << 63:
                    raise ValueError("invalid int literal")
                return Constant(at, number, INT)
            if token.kind == "float":
                return Constant(at, sign * float(text), DOUBLE)
            if token.kind == "string":
                return Constant(at, lexer.text_of(text), STRING)
            return Constant(at, lexer.bytes_of(text), BYTES)
        except ValueError as error:
            self.problems.add(at, str(error))
            return Constant(at, None, NULL)


def parse(text: str) -> Node:
    """Return the tree of a text. Raises CelError."""
    problems = Problems(text)
    if len(text) > LONGEST:
        problems.text = ""
        problems.add(0, f"expression code point size exceeds limit: size: {len(text)}, limit {LONGEST}")
        problems.raise_any()
    try:
        node = Parser(text, problems).parse()
    except RecursionError:
        node = None
        problems.add(0, f"expression recursion limit exceeded: {MOST_NESTING}")
    problems.raise_any()
    if node is None:
        raise AssertionError("a parser without a tree has problems")
    return node
