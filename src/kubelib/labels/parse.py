"""Text to selectors, with Kubernetes' grammar:

requirement { "," requirement }
requirement = [ "!" ] KEY | KEY ( "=" | "==" | "!=" | ">" | "<" ) VALUE | KEY ( "in" | "notin" ) "(" values ")"
"""

import functools

import attrs

from kubelib.labels.selector import Operator, Requirement, Selector, whole_number
from kubelib.labels.validation import is_label_value, is_qualified_name


class SelectorError(ValueError):
    """The text is not a selector. `position` is where in the text reading stopped."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@attrs.frozen
class _Token:
    kind: str
    text: str
    position: int


_SYMBOLS = "=!(),><"


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character in " \t\r\n":
            at += 1
            continue
        start = at
        if character in _SYMBOLS:
            at += 1
            if character in "=!" and text[at : at + 1] == "=":
                at += 1
            word = text[start:at]
            tokens.append(_Token(word, word, start))
            continue
        while at < len(text) and text[at] not in _SYMBOLS and text[at] not in " \t\r\n":
            at += 1
        word = text[start:at]
        tokens.append(_Token(word if word in ("in", "notin") else "identifier", word, start))
    tokens.append(_Token("end", "", len(text)))
    return tokens


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0

    def peek(self, *, values: bool = False) -> _Token:
        token = self.tokens[self.at]
        if values and token.kind in ("in", "notin"):
            return attrs.evolve(token, kind="identifier")
        return token

    def take(self, *, values: bool = False) -> _Token:
        token = self.peek(values=values)
        if token.kind != "end":
            self.at += 1
        return token

    def fail(self, token: _Token, expected: str) -> SelectorError:
        return SelectorError(
            f"unable to parse requirement: found '{token.text}', expected: {expected}", token.position
        )

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            token = self.peek(values=True)
            if token.kind == "end":
                if requirements:
                    raise SelectorError("found '', expected: identifier after ','", token.position)
                return requirements
            if token.kind not in ("identifier", "!"):
                raise SelectorError(
                    f"found '{token.text}', expected: !, identifier, or 'end of string'", token.position
                )
            requirements.append(self.requirement())
            token = self.take()
            if token.kind == "end":
                return requirements
            if token.kind != ",":
                raise SelectorError(f"found '{token.text}', expected: ',' or 'end of string'", token.position)

    def requirement(self) -> Requirement:
        token = self.take(values=True)
        negated = token.kind == "!"
        if negated:
            token = self.take(values=True)
        if token.kind != "identifier":
            raise self.fail(token, "identifier")
        key = token
        problems = is_qualified_name(key.text)
        if problems:
            raise SelectorError(
                f'unable to parse requirement: <nil>: Invalid value: "{key.text}": {"; ".join(problems)}',
                key.position,
            )
        following = self.peek()
        if negated or following.kind in ("end", ","):
            return Requirement(key.text, "!" if negated else "exists")
        operator = self.take()
        match operator.kind:
            case "in" | "notin":
                kind: Operator = "in" if operator.kind == "in" else "notin"
                return self._checked(key, kind, self.value_set())
            case "=" | "==" | "!=":
                return self._checked(key, operator.kind, [self.exact_value()])
            case ">" | "<":
                value = self.exact_value()
                try:
                    whole_number(value.text)
                except ValueError:
                    raise SelectorError(
                        f"unable to parse requirement: values[0]: Invalid value: \"{value.text}\": for 'Gt', 'Lt' operators,"
                        " the value must be an integer",
                        value.position,
                    ) from None
                return self._checked(key, "gt" if operator.kind == ">" else "lt", [value])
        raise self.fail(operator, "in, notin, =, ==, !=, gt, lt")

    def exact_value(self) -> _Token:
        token = self.peek(values=True)
        if token.kind in ("end", ","):
            return _Token("identifier", "", token.position)
        token = self.take(values=True)
        if token.kind != "identifier":
            raise self.fail(token, "identifier")
        return token

    def value_set(self) -> list[_Token]:
        token = self.take(values=True)
        if token.kind != "(":
            raise self.fail(token, "'('")
        values: list[_Token] = []
        while True:
            token = self.take(values=True)
            if token.kind == "identifier":
                values.append(token)
                token = self.take(values=True)
            elif token.kind in (",", ")"):
                values.append(_Token("identifier", "", token.position))
            if token.kind == ")":
                return values
            if token.kind != ",":
                raise self.fail(token, "',', ')' or identifier")

    def _checked(self, key: _Token, operator: Operator, values: list[_Token]) -> Requirement:
        for number, value in enumerate(values):
            problems = is_label_value(value.text)
            if problems:
                raise SelectorError(
                    f'unable to parse requirement: values[{number}][{key.text}]: Invalid value: "{value.text}":'
                    f" {'; '.join(problems)}",
                    value.position,
                )
        return Requirement(key.text, operator, [value.text for value in values])


@functools.lru_cache(maxsize=1024)
def parse_selector(text: str) -> Selector:
    """Return the selector that `text` denotes. Raises `SelectorError` with Kubernetes' message.

    >>> str(parse_selector("tier in (backend, cache), !canary,app==web"))
    'app==web,!canary,tier in (backend,cache)'
    """
    return Selector(_Parser(text).parse())
