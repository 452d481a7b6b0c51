"""YAML bodies against the library that Kubernetes reads them with: which JSON they stand for."""

import json
from collections.abc import Iterator

import pytest

from kubelib.api.codec import DecodeError, parse_yaml
from kubelib.server.responses import to_yaml
from tests.external.golang import Oracle, oracle

NUMBERS = """
    1 01 0o17 017 0x1F 0X1F 0b11 0B1 1_000 -1 +1 1.5 .5 5. 1. -1. 0. 1e3 1E3 1.e3 1.0 1e-2 -.5 +.5 0 -0 00 08 09 0.0 1__0 _1 1_ 0x
    0b 0o 0o8 0xg 1e e1 1e400 1e+3 +12e03 0777 -0777 -0x10 +0x10 -0b1 9223372036854775807 1,000 1.2.3 12:30 12:30:45 190:20:30.15
    2001-12-14 2001-12-14T21:59:43.10-05:00
""".split()  # noqa: SIM905 - a list of them would be four times as long
WORDS = """
    ~ null Null NULL nuLL true True TRUE TrUe tRUE yes Yes YES no No NO on On ON off Off OFF y n Y N é . - .. = << a#b
    'it''s' 'a'
""".split()  # noqa: SIM905
TAGGED = ("!!str 1", '!!int "3"', "!!float 1", "!!bool yes", "!!binary aGVsbG8=", "!!null ''", "!foo bar")
SCALARS = (*NUMBERS, *WORDS, *TAGGED)
INFINITE = (".inf", "-.inf", "+.INF", ".Inf", ".nan", ".NaN")
DOCUMENTS = (
    "a: |\n  x\n  y\n", "a: >\n  x\n  y\n\n  z\n", "a: |-\n  x\n", "a: |+\n  x\n\n", "a: &x {b: 1}\nc: *x\n",
    "a: &x {b: 1}\nc: {<<: *x, d: 2}\n", "a: 1\na: 2\n", "? a\n: b\n", "- 1\n- 2\n", "", "# c\n", "---\na: 1\n",
    "---\na: 1\n---\nb: 2\n", "a: 1\n...\n", "{a: 1, b: [x, z]}", "a:\n- b\n- c: d\n", "a: [1,2,]\n", "{a, b}", "a: {b}\n",
    "a:\tb\n", "\ta: b\n", "a: 'x\n  y'\n", "%YAML 1.1\n---\na: 1\n", "a: b: c\n", "a: [\n", "'a': 1\n", '"a": 1\n',
    "1: {2: 3}\ntrue: x\n1.5: z\n", "[a]: b\n", "{a: b}: c\n", "\ufeffa: 1\n", 'a: "x\\\n  y"\n', "a:    \n  b\n", "a: @x\n",
    "a: `x\n", "a: %x\n", "a: *nope\n", "a: x  # c\n", "a: #c\n", "a: 'x' # c\n", "a: {b: 1,\n  c: 2}\n", "- - 1\n  - 2\n",
    "a:\n  -b\n", 'a: "a\\u00e9\\x41\\n"\n',
)  # fmt: skip


@pytest.fixture(scope="module")
def library() -> Iterator[Oracle]:
    with oracle("patches") as running:
        yield running


def read(text: str) -> str:
    """Return what a text stands for, as JSON."""
    try:
        return json.dumps(parse_yaml(text.encode()), sort_keys=True)
    except DecodeError:
        return "refused"


def read_by(library: Oracle, text: str) -> str:
    answer = library.ask({"kind": "yaml", "text": text})
    return "refused" if "error" in answer else json.dumps(answer["document"], sort_keys=True)


@pytest.mark.parametrize("form", ["a: {}\n", "{}: 1\n", "- {}\n- b\n", "a: [{}, c]\n", "{}\n"])
def test_scalars_are_read_as_by_kubernetes_library(library: Oracle, form: str) -> None:
    texts = [form.replace("{}", scalar) for scalar in SCALARS]
    assert {text: read(text) for text in texts} == {text: read_by(library, text) for text in texts}


def test_what_is_no_number_in_json_is_refused_as_by_kubernetes_library(library: Oracle) -> None:
    texts = [f"a: {scalar}\n" for scalar in INFINITE]
    assert {read(text) for text in texts} == {read_by(library, text) for text in texts} == {"refused"}


def test_documents_are_read_as_by_kubernetes_library(library: Oracle) -> None:
    assert {text: read(text) for text in DOCUMENTS} == {text: read_by(library, text) for text in DOCUMENTS}


def test_what_is_written_as_yaml_is_text_to_kubernetes_library(library: Oracle) -> None:
    texts = [
        *SCALARS,
        *INFINITE,
        "",
        " ",
        "a: b",
        "- a",
        "# c",
        "@x",
        "%x",
        "*x",
        "&x",
        "{",
        "[",
        "a\nb",
        "a\n",
        "\t",
        "'",
        '"',
        "\\",
    ]
    written = to_yaml(json.dumps({"values": texts, "keys": dict.fromkeys(texts, "")}).encode()).decode()
    assert library.ask({"kind": "yaml", "text": written})["document"] == parse_yaml(written.encode())
    assert parse_yaml(written.encode()) == {"values": texts, "keys": dict.fromkeys(texts, "")}
