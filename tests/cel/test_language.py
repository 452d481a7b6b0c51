"""The language: what expressions mean, as the language definition says it and cel-go does it."""

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.cel import Budget, BudgetExceeded, CelError, CostExceeded, Environment, EvaluationError
from kubelib.cel import types as t
from kubelib.cel.values import Optional, TypeName, Uint

SELF = {"a": 1, "s": "x", "l": [1, 2, 3], "m": {"k": "v"}, "n": None, "f": 1.5}
DYNAMIC = Environment({"self": t.DYN})


def value(text: str, environment: Environment = DYNAMIC, **variables: Any) -> Any:
    return environment.compile(text, result=None).evaluate({"self": SELF, **variables})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4 / 3 % 2", 6),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("-9223372036854775808", -(1 << 63)),
        ("0x1F", 31),
        ("1.0 / 0.0", float("inf")),
        ("0.0 / 0.0 == 0.0 / 0.0", False),
        ("1u + 2u", Uint(3)),
        ("dyn(1) == 1.0 && dyn(1) == 1u", True),
        ("dyn(true) == 1", False),
        ("1 < 1.5 && 1u < 2 && 2.5 > 2", True),
        ("[1, 2] + [3]", [1, 2, 3]),
        ("'a' + \"b\"", "ab"),
        ("b'abc' == b'\\x61bc'", True),
        ("size('é')", 1),
        ("'\\x41\\101\\U0001F600'", "AA😀"),
        ("r'\\n' + '\\t'", "\\n\t"),
        ('"""a\'b"c"""', "a'b\"c"),
        ("1 in [1, 2] && 'k' in self.m && !('z' in self.m)", True),
        ("has(self.a) && !has(self.b) && has(self.n)", True),
        ("self.l[1]", 2),
        ("self.m['k']", "v"),
        ("true ? 'y' : 'n'", "y"),
        ("--1", 1),
        ("{'a': 1, 'b': 2}.size()", 2),
        ("type(1) == int && type(1u) == uint && type([]) == list && type(null) == null_type", True),
        ("type(type(1)) == type", True),
        ("type(self.l)", TypeName("list")),
        ("string(1.5) + string(true) + string(3u) + string(b'a')", "1.5true3a"),
        ("string(123456789.0)", "1.23456789e+08"),
        ("int('12') + int(1.9) + int(-1.9)", 12),
        ("double('1.5')", 1.5),
        ("// a comment\n1 + // and another\n1", 2),
    ],
)
def test_what_an_expression_is_worth(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"),
        ("9223372036854775807 * self.l[1]", "integer overflow"),
        ("18446744073709551615u + 1u", "unsigned integer overflow"),
        ("2u - 3u", "unsigned integer overflow"),
        ("5 / 0", "division by zero"),
        ("5 % 0", "modulus by zero"),
        ("self.b", "no such key: b"),
        ("self.m['z']", "no such key: z"),
        ("self.l[3]", "index out of bounds: 3"),
        ("self.l[-1]", "index out of bounds: -1"),
        ("self.s + 1", "no such overload"),
        ("self.a && true", "no such overload"),
        ("self.a.startsWith('x')", "no such overload: startsWith(int, string)"),
        ("int(1e20)", "integer overflow"),
        ("uint(-1)", "unsigned integer overflow"),
        ("{self.s: 1, 'x': 2}", "Failed with repeated key"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
        ("optional.none().value()", "optional.none() dereference"),
        ("string(b'\\xff')", "invalid UTF-8 in bytes, cannot convert to string"),
    ],
)
def test_what_has_no_value_says_why(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failure:
        value(text)
    assert str(failure.value) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 / 0 == 1 || true", True),
        ("true || 1 / 0 == 1", True),
        ("1 / 0 == 1 && false", False),
        ("self.zz && false", False),
        ("[1, 0].exists(x, 1 / x == 1)", True),
        ("[0, 1].exists(x, 1 / x == 1)", True),
        ("[0, 2].all(x, 1 / x == 1)", False),
    ],
)
def test_an_error_counts_only_when_nothing_else_decides(text: str, expected: bool) -> None:
    assert value(text) is expected


def test_an_error_that_decides_is_raised() -> None:
    for text in ("1 / 0 == 1 || false", "true && 1 / 0 == 1", "[0, 1].all(x, 1 / x == 1)"):
        with pytest.raises(EvaluationError, match="division by zero"):
            value(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("self.l.all(x, x > 0)", True),
        ("self.l.exists(x, x == 2)", True),
        ("self.l.exists_one(x, x > 2)", True),
        ("self.l.map(x, x * 2)", [2, 4, 6]),
        ("self.l.map(x, x > 1, x * 2)", [4, 6]),
        ("self.l.filter(x, x != 2)", [1, 3]),
        ("self.m.all(k, k == 'k')", True),
        ("self.m.map(k, self.m[k])", ["v"]),
        ("self.l.all(i, x, x == i + 1)", True),
        ("self.m.exists(k, v, k == 'k' && v == 'v')", True),
        ("self.l.existsOne(i, x, x == 2)", True),
        ("self.l.transformList(i, x, i * x)", [0, 2, 6]),
        ("self.l.transformList(i, x, i > 0, i * x)", [2, 6]),
        ("self.m.transformMap(k, v, k + v)", {"k": "kv"}),
        ("self.m.transformMapEntry(k, v, {v: k})", {"v": "k"}),
        ("[[1, 2], [3]].map(x, x.map(y, y + 1))", [[2, 3], [4]]),
        ("self.l.all(x, self.l.exists(y, y >= x))", True),
        ("cel.bind(x, self.a + 1, x * x)", 4),
    ],
)
def test_macros(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("self.?a.orValue(5)", 1),
        ("self.?zz.?yy.orValue(5)", 5),
        ("self.?zz.yy.hasValue()", False),
        ("self.l[?0].orValue(9) + self.l[?7].orValue(9)", 10),
        ("self.m[?'q'].hasValue()", False),
        ("[?self.?zz, ?self.?a]", [1]),
        ("{?'k': self.?zz, 'b': 1}", {"b": 1}),
        ("optional.of(2).optMap(x, x + 1)", Optional(present=True, value=3)),
        ("optional.none().optMap(x, x + 1).hasValue()", False),
        ("optional.of(2).optFlatMap(x, optional.of(x + 1)).value()", 3),
        ("optional.ofNonZeroValue(0).hasValue() || optional.ofNonZeroValue('').hasValue()", False),
        ("optional.of(1).or(optional.of(2)).value()", 1),
        ("optional.of(1) == optional.of(1) && optional.none() != optional.of(1)", True),
    ],
)
def test_optional_values(text: str, expected: Any) -> None:
    assert value(text) == expected


TYPED = Environment(
    {
        "s": t.STRING,
        "l": t.list_of(t.INT),
        "m": t.map_of(t.STRING, t.INT),
        "o": t.object_of("thing", lambda: {"name": t.Field("name", t.STRING)}),
    }
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "foo == 1",
            "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo == 1\n | ^",
        ),
        (
            "s == foo",
            "ERROR: <input>:1:6: undeclared reference to 'foo' (in container '')\n | s == foo\n | .....^",
        ),
        ("o.nme == 'x'", "ERROR: <input>:1:2: undefined field 'nme'\n | o.nme == 'x'\n | .^"),
        ("s.foo", "ERROR: <input>:1:2: type 'string' does not support field selection\n | s.foo\n | .^"),
        (
            "s.startsWith(1)",
            (
                "ERROR: <input>:1:13: found no matching overload for 'startsWith' applied to 'string.(int)'\n"
                " | s.startsWith(1)\n | ............^"
            ),
        ),
        (
            "s == 1",
            "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(string, int)'\n | s == 1\n | ..^",
        ),
        (
            "l.all(x, x + 'a' == x)",
            (
                "ERROR: <input>:1:12: found no matching overload for '_+_' applied to '(int, string)'\n"
                " | l.all(x, x + 'a' == x)\n | ...........^"
            ),
        ),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        (
            "1.all(x, true)",
            (
                "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n"
                " | 1.all(x, true)\n | ^"
            ),
        ),
        (
            "foo.bar(1) + s.x",
            (
                "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo.bar(1) + s.x\n | ^\n"
                "ERROR: <input>:1:8: undeclared reference to 'bar' (in container '')\n | foo.bar(1) + s.x\n | .......^\n"
                "ERROR: <input>:1:15: type 'string' does not support field selection\n | foo.bar(1) + s.x\n | ..............^"
            ),
        ),
        (
            "s ==\n  foo",
            "ERROR: <input>:2:3: undeclared reference to 'foo' (in container '')\n |   foo\n | ..^",
        ),
        ("if", "ERROR: <input>:1:1: reserved identifier: if\n | if\n | ^"),
        ("has(s)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(s)\n | ....^"),
        (
            "l.all(1, true)",
            "ERROR: <input>:1:7: all() variable name must be a simple identifier\n | l.all(1, true)\n | ......^",
        ),
        (
            "duration('x') == null",
            "ERROR: <input>:1:10: invalid duration argument\n | duration('x') == null\n | .........^",
        ),
        (
            "s.matches('(')",
            "ERROR: <input>:1:11: invalid matches argument\n | s.matches('(')\n | ..........^",
        ),
        ("9223372036854775808", "ERROR: <input>:1:1: invalid int literal\n | 9223372036854775808\n | ^"),
        ("1 2", "ERROR: <input>:1:3: Syntax error: extraneous input '2' expecting <EOF>\n | 1 2\n | ..^"),
        ("(1", "ERROR: <input>:1:3: Syntax error: missing ')' at '<EOF>'\n | (1\n | ..^"),
        ("s.", "ERROR: <input>:1:3: Syntax error: no viable alternative at input '.'\n | s.\n | ..^"),
    ],
)
def test_what_does_not_compile_is_shown_with_its_place(text: str, message: str) -> None:
    with pytest.raises(CelError) as failure:
        TYPED.compile(text, result=None)
    assert str(failure.value) == f"compilation failed: {message}"


def test_a_pattern_to_search_for_that_is_none_is_told_of_once_all_else_is_right() -> None:
    with pytest.raises(CelError) as failure:
        TYPED.compile("s.find('a)') == ''")
    assert str(failure.value) == "program instantiation failed: error parsing regexp: unexpected ): `a)`"
    with pytest.raises(CelError, match="must evaluate to bool"):
        TYPED.compile("s.find('a)')")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a(", "missing closing ): `a(`"),
        ("[a", "missing closing ]: `[a`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("a\\", "trailing backslash at end of expression: ``"),
    ],
)
def test_what_is_wrong_with_a_pattern_is_said_as_go_says_it(pattern: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failure:
        value("s.find(p)", Environment({"s": t.STRING, "p": t.STRING}), s="", p=pattern)
    assert str(failure.value) == f"Illegal regex: error parsing regexp: {message}"


def test_an_expression_must_have_the_wanted_type() -> None:
    with pytest.raises(CelError, match="must evaluate to bool"):
        TYPED.compile("s")
    assert TYPED.compile("s", result=t.STRING).evaluate({"s": "x"}) == "x"


def test_a_variable_is_made_only_when_it_is_read() -> None:
    made = []

    def make() -> int:
        made.append(1)
        return 1

    environment = Environment({"a": t.INT, "b": t.INT})
    assert environment.compile("a == 1").evaluate({"a": 1, "b": make}) and not made
    assert environment.compile("b == 1 && b < 2").evaluate({"a": 1, "b": make}) and made == [1]


def test_the_variables_that_are_read_are_known() -> None:
    assert TYPED.compile("s == 'x' && l.all(m, m > 0)").reads == {"s", "l"}


def test_nesting_is_bounded() -> None:
    for text in ("(" * 5000 + "1" + ")" * 5000, "!" * 9 + "[" * 400 + "]" * 400, " + ".join(["1"] * 3000)):
        with pytest.raises(CelError, match="expression recursion limit exceeded: 250"):
            DYNAMIC.compile(text, result=None)
    assert DYNAMIC.compile(" && ".join(["true"] * 3000)).evaluate({}) is True


def test_an_evaluation_that_costs_too_much_is_given_up() -> None:
    expression = DYNAMIC.compile("self.all(a, self.all(b, self.all(c, self.all(d, a + b + c + d >= 0))))")
    with pytest.raises(CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        expression.evaluate({"self": list(range(100))})


@pytest.mark.parametrize(
    "text",
    [
        (
            "[1].map(a, self).map(b, b + b).map(c, c + c).map(d, d + d).map(e, e + e).map(f, f + f).map(g, g + g).map(h, h + h)"
            ".map(i, i + i).map(j, j + j).map(k, k + k).map(l, l + l).map(m, m + m).map(n, n + n).map(o, o + o).size() == 1"
        ),
        (
            "cel.bind(a, 'xxxxxxxxxxxxxxxx'.replace('x', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'),"
            " cel.bind(b, a.replace('x', a), cel.bind(c, b.replace('x', b), c.replace('x', c)))) == ''"
        ),
    ],
)
def test_values_cannot_grow_without_bound(text: str) -> None:
    with pytest.raises(EvaluationError):
        DYNAMIC.compile(text).evaluate({"self": list(range(1000))})


@pytest.mark.parametrize(
    "text",
    [
        "self.distinct().size() == 1",
        "self.sort()[0] == [0]",
        "sets.contains(self, self)",
        "self.all(x, [self] == [self])",
        "self.all(x, self in [self, self, self])",
        "self.all(x, [self].indexOf(self) == 0)",
        "self.map(x, lists.range(100000)).size() == 1",
        "self.all(x, self.map(y, [y]).flatten() != [])",
    ],
)
def test_what_would_take_long_is_given_up_before_it_does(text: str) -> None:
    expression = DYNAMIC.compile(text)
    begun = time.process_time()
    with pytest.raises(EvaluationError, match="cost limit exceeded"):
        expression.evaluate({"self": [[number] for number in range(20000)]})
    assert time.process_time() - begun < 5


def test_a_budget_is_used_up_by_several_evaluations() -> None:
    expression, budget = DYNAMIC.compile("self.all(x, x >= 0)"), Budget(1000)
    expression.evaluate({"self": list(range(50))}, budget)
    assert 0 < budget.remaining < 900
    with pytest.raises(BudgetExceeded):
        for _ in range(20):
            expression.evaluate({"self": list(range(50))}, budget)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("1 + 1 == 2", 2),
        ("s == 'abc'", 2),
        ("l.all(x, x > 0)", 2 + 5 * 3),
        ("l.exists(x, x > 9)", 2 + 6 * 3),
        ("l.map(x, x + 1).size() == 3", 1 + 1 + 14 * 3 + 1 + 1),
        ("m['a'] == 1", 3),
        ("false && l.all(x, x > 0)", 0),
    ],
)
def test_what_an_evaluation_costs(text: str, cost: int) -> None:
    budget = Budget(1000)
    TYPED.compile(text).evaluate({"s": "abc", "l": [1, 2, 3], "m": {"a": 1}}, budget)
    assert 1000 - budget.remaining == cost


@given(st.lists(st.integers(-(10**6), 10**6), max_size=30))
def test_an_estimate_is_never_below_what_an_evaluation_costs(numbers: list[int]) -> None:
    bounded = Environment({"l": t.list_of(t.INT, most=30)})
    for text in (
        "l.all(x, x > 0)",
        "l.map(x, x * 2).exists(y, y > 9)",
        "l.filter(x, x % 2 == 0).size() > 3",
        "5 in l",
    ):
        expression, budget = bounded.compile(text), Budget()
        expression.evaluate({"l": numbers}, budget)
        spent = Budget().remaining - budget.remaining
        assert spent <= expression.cost.most


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers_are_those_of_64_bits(a: int, b: int) -> None:
    environment = Environment({"a": t.INT, "b": t.INT})
    dynamic = Environment({"a": t.DYN, "b": t.DYN})
    for operator, result in (("+", a + b), ("-", a - b), ("*", a * b)):
        for scope in (environment, dynamic):
            expression = scope.compile(f"a {operator} b", result=None)
            if -(1 << 63) <= result < 1 << 63:
                assert expression.evaluate({"a": a, "b": b}) == result
            else:
                with pytest.raises(EvaluationError, match="integer overflow"):
                    expression.evaluate({"a": a, "b": b})
    if b and not (a == -(1 << 63) and b == -1):
        quotient = environment.compile("a / b", result=t.INT).evaluate({"a": a, "b": b})
        remainder = environment.compile("a % b", result=t.INT).evaluate({"a": a, "b": b})
        assert (
            quotient * b + remainder == a
            and abs(remainder) < abs(b)
            and (remainder == 0 or (remainder < 0) == (a < 0))
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_equality_is_symmetric_and_agrees_with_inequality(a: Any, b: Any) -> None:
    environment = Environment({"a": t.DYN, "b": t.DYN})
    equal = environment.compile("a == b").evaluate({"a": a, "b": b})
    assert environment.compile("b == a").evaluate({"a": a, "b": b}) is equal
    assert environment.compile("a != b").evaluate({"a": a, "b": b}) is not equal
    assert environment.compile("a == a").evaluate({"a": a, "b": b}) is True


@given(st.text(alphabet="ab1.+-*/%()[]{}?:<>=!&|, '\"\\\n", max_size=40))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    with contextlib.suppress(CelError, EvaluationError):
        Environment({"a": t.DYN, "b": t.DYN}).compile(text, result=None).evaluate(
            {"a": {"b": [1, 2]}, "b": 1}
        )
