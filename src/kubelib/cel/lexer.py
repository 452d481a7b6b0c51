"""From text to tokens, and from literals to values."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from kubelib.cel.source import Problems

TokenKind = Literal["ident", "int", "uint", "float", "string", "bytes", "op", "end"]

_TOKEN = re.compile(
    r"""
    (?P<space>(?:[\t \r\n\f]+|//[^\n]*)+)
  | (?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
  | (?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
  | (?P<int>0x[0-9a-fA-F]+|\d+)
  | (?P<bytes>[bB](?:[rR](?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n\r]*"|'[^'\n\r]*')
      |\"{3}(?:[^\\]|\\[\s\S])*?\"{3}|'{3}(?:[^\\]|\\[\s\S])*?'{3}|"(?:[^"\\\n\r]|\\[^\n\r])*"|'(?:[^'\\\n\r]|\\[^\n\r])*'))
  | (?P<string>[rR](?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n\r]*"|'[^'\n\r]*')
      |\"{3}(?:[^\\]|\\[\s\S])*?\"{3}|'{3}(?:[^\\]|\\[\s\S])*?'{3}|"(?:[^"\\\n\r]|\\[^\n\r])*"|'(?:[^'\\\n\r]|\\[^\n\r])*')
  | (?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<op>==|!=|<=|>=|&&|\|\||[<>.,:?!+\-*/%()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|[abfnrtv\\\"'`?]|[\s\S]?)"
)
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?",
}  # fmt: skip


class Token(NamedTuple):
    """A word of the language and its offset."""

    kind: TokenKind
    text: str
    at: int


def tokens(text: str, problems: Problems) -> Iterator[Token]:
    """Yield the words of a text, then ``end``; what is no word is noted as a problem."""
    at, length = 0, len(text)
    match = _TOKEN.match
    while at < length:
        found = match(text, at)
        if found is None:
            end = at + 1
            if text[at] in "\"'":  # an unfinished string is one error, up to its line's end or its bad escape
                broken = _bad_escape(text, at)
                end = broken or length
            problems.add(at, f"Syntax error: token recognition error at: '{text[at:end]}'")
            at = end
            continue
        kind, word, start, at = found.lastgroup, found.group(), at, found.end()
        if kind == "space":
            continue
        if kind in ("string", "bytes") and (bad := _misescaped(word, bytes_too=kind == "bytes")):
            problems.add(start, f"Syntax error: token recognition error at: '{word[:bad]}'")
            at = start + bad
            continue
        yield Token(kind, word, start)  # type: ignore[arg-type]  # the groups are the kinds
    yield Token("end", "<EOF>", length)


def _bad_escape(text: str, at: int) -> int:
    line_end = text.find("\n", at)
    return line_end if line_end > at else 0


def _raw(word: str) -> bool:
    return word[0] in "rR" or (word[0] in "bB" and word[1] in "rR")


def _misescaped(word: str, *, bytes_too: bool) -> int:
    """Return how far a literal is in order when an escape in it is not; 0 when all are."""
    if "\\" not in word or _raw(word):
        return 0
    for found in _ESCAPE.finditer(word):
        escape = found.group()
        if len(escape) == 2 and escape[1] not in _SIMPLE:
            return found.end()
    return 0


def _body(word: str) -> str:
    word = word.lstrip("bBrR")
    quote = 3 if word[:3] in ('"""', "'''") and len(word) >= 6 else 1
    return word[quote:-quote]


def _code(escape: str) -> int:
    return int(escape[1:], 8) if escape[1] in "0123" else int(escape[2:], 16)


def text_of(word: str) -> str:
    """Return the value of a string literal. Raises ValueError."""
    if _raw(word):
        return _body(word)
    body = _body(word)
    if "\\" not in body:
        return body

    def replace(found: re.Match[str]) -> str:
        escape = found.group()
        if escape[1] in _SIMPLE and len(escape) == 2:
            return _SIMPLE[escape[1]]
        code = _code(escape)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise ValueError("invalid unicode code point")
        return chr(code)

    return _ESCAPE.sub(replace, body)


def bytes_of(word: str) -> bytes:
    """Return the value of a bytes literal: text in UTF-8, numbers as single bytes. Raises ValueError."""
    body = _body(word)
    if _raw(word):
        return body.encode()
    out, at = bytearray(), 0
    for found in _ESCAPE.finditer(body):
        out += body[at : found.start()].encode()
        escape, at = found.group(), found.end()
        if escape[1] in _SIMPLE and len(escape) == 2:
            out += _SIMPLE[escape[1]].encode()
        elif escape[1] in "uU":
            raise ValueError("unicode escapes are not allowed in bytes")
        else:
            out.append(_code(escape))
    return bytes(out + body[at:].encode())
