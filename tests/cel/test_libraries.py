"""Every function of Kubernetes' libraries does what the documentation says."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.cel import Budget, Environment, EvaluationError
from kubelib.cel import types as t
from kubelib.cel.estimate import UNBOUNDED
from kubelib.cel.libraries import FUNCTIONS
from kubelib.cel.libraries.addresses import parse_cidr, parse_ip
from kubelib.cel.libraries.authorization import AUTHORIZER, Answer, Authorizer, Question
from kubelib.cel.libraries.formats import NamedFormat
from kubelib.cel.libraries.images import parse as parse_image
from kubelib.cel.libraries.quantities import Amount
from kubelib.cel.libraries.semvers import parse as parse_semver
from kubelib.cel.libraries.urls import parse as parse_url
from kubelib.cel.values import NONE, Duration, Optional, Timestamp, TypeName, Uint, kind_of
from kubelib.quantity import parse_quantity

EMPTY = Environment({})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # texts
        ("'abc'.charAt(1) + 'abc'.charAt(3)", "b"),
        ("'hello mellow'.indexOf('ello', 2)", 7),
        ("'hello mellow'.lastIndexOf('ello', 6)", 1),
        ("['a', 'b'].join('-') + ['c'].join()", "a-bc"),
        ("'TacoCÆt'.lowerAscii() + 'xÆ'.upperAscii()", "tacocÆtXÆ"),
        ("'hello hello'.replace('he', 'we', 1)", "wello hello"),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("'tacocat'.substring(1, 4) + 'x'.substring(1)", "aco"),
        ("'\\t trim '.trim()", "trim"),
        ("strings.quote('a\"b\\n')", '"a\\"b\\n"'),
        ("'%s is %d, %.2f, %x, %b, %o, %e, %%'.format([dyn('x'), 1, 1.005, 255, 5, 8, 1234.5])", "x is 1, 1.00, ff, 101, 10, 1.234500e+03, %"),
        ("'%s'.format([[dyn(1), true, null, {'b': dyn(2), 'a': [1.5]}]])", "[1, true, null, {a: [1.5], b: 2}]"),
        # lists
        ("[1, 2, 2].isSorted() && !['b', 'a'].isSorted()", True),
        ("[1, 2, 3].sum() + [4].min() + [5, 6].max()", 16),
        ("[1.5, 2.5].sum()", 4.0),
        ("dyn([1.5, 2.5]).sum() == 4.0 && dyn([1, 2]).sum() == 3 && dyn(['b', 'a']).max() == 'b' && dyn([]).sum() == 0", True),
        ("[dyn([1]), dyn([1.5]), dyn([])].map(l, l.sum()).size()", 3),
        ("[duration('1m'), duration('30s')].sum() == duration('90s')", True),
        ("['a', 'b', 'a'].indexOf('a') + ['a', 'b', 'a'].lastIndexOf('a')", 2),
        ("[1, 2, 3, 4].slice(1, 3)", [2, 3]),
        ("[[1], [2, 3]].flatten()", [1, 2, 3]),
        ("[3, 1, 2].sort()", [1, 2, 3]),
        ("[3, 1, 2].sortBy(x, -x) + ['bb', 'a'].sortBy(x, x.size()).map(x, x.size())", [3, 2, 1, 1, 2]),
        ("[{'n': 'b'}, {'n': 'a'}].sortBy(x, x.n).map(x, x.n) == ['a', 'b'] && [1].sortBy(x, dyn('k')) == [1]", True),
        ("[1, 2, 1].distinct()", [1, 2]),
        ("[1, 2].reverse() + lists.range(2)", [2, 1, 0, 1]),
        # sets
        ("sets.contains([1, 2, 3], [2, 1]) && !sets.contains([1], [2])", True),
        ("sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [2])", True),
        ("sets.equivalent([1, 2, 2], [2, 1])", True),
        # patterns
        ("'abc 123'.find('[0-9]+') + 'x'.find('[0-9]+')", "123"),
        ("'123 abc 456'.findAll('[0-9]+')", ["123", "456"]),
        ("'1 2 3'.findAll('[0-9]', 2)", ["1", "2"]),
        ("'abc'.matches('^a.c$') && matches('xaby', 'ab')", True),
        # URLs
        ("url('https://user@example.com:80/a%20b?x=1&x=2&y=').getHost()", "example.com:80"),
        ("url('https://example.com:80/').getHostname() + url('https://[::1]:80/').getPort()", "example.com80"),
        ("url('https://example.com/a b').getEscapedPath()", "/a%20b"),
        ("url('/path?x=1&x=2').getQuery()", {"x": ["1", "2"]}),
        ("isURL('https://example.com/') && isURL('/abs') && !isURL('../rel') && !isURL('example.com')", True),
        # addresses
        ("ip('127.0.0.1').isLoopback() && ip('::').isUnspecified() && ip('fe80::1').isLinkLocalUnicast()", True),
        ("ip('224.0.0.1').isLinkLocalMulticast() && ip('8.8.8.8').isGlobalUnicast()", True),
        ("ip('10.0.0.1').family() + ip('::1').family()", 10),
        ("isIP('10.0.0.1') && !isIP('10.0.0.1.1') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0')", True),
        ("ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')", True),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsIP(ip('10.1.2.3'))", True),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))", True),
        ("string(cidr('10.1.2.3/8').masked()) + string(cidr('10.1.2.3/8').ip())", "10.0.0.0/810.1.2.3"),
        ("cidr('10.0.0.0/8').prefixLength()", 8),
        ("isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0')", True),
        ("type(ip('1.2.3.4')) == net.IP && type(cidr('1.0.0.0/8')) == net.CIDR", True),
        # quantities
        ("quantity('1Gi').isGreaterThan(quantity('1Mi')) && quantity('1k').compareTo(quantity('1000')) == 0", True),
        ("quantity('50k').add('20k' == '' ? quantity('1') : quantity('20k')) == quantity('70k')", True),
        ("quantity('50k').add(20) == quantity('50020') && quantity('50k').sub(20000) == quantity('30k')", True),
        ("quantity('50M').isInteger() && !quantity('1500m').isInteger() && quantity('-1').sign() == -1", True),
        ("quantity('50k').asInteger()", 50000),
        ("quantity('1500m').asApproximateFloat()", 1.5),
        ("isQuantity('1.3G') && !isQuantity('1.3 G') && !isQuantity('x') && !isQuantity(' 1')", True),
        # versions
        ("semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && semver('1.10.0').isGreaterThan(semver('1.9.0'))", True),
        ("semver('1.2.3').major() * 100 + semver('1.2.3').minor() * 10 + semver('1.2.3').patch()", 123),
        ("isSemver('1.0.0') && !isSemver('1.0') && !isSemver('v1.0.0') && !isSemver('01.0.0')", True),
        ("semver('v1.01', true) == semver('1.1.0') && isSemver('v1', true)", True),
        ("semver('1.0.0-alpha.9').compareTo(semver('1.0.0-alpha.10'))", -1),
        # formats
        ("format.dns1123Label().validate('good-name').hasValue()", False),
        ("format.dns1123Label().validate('Bad').value().size()", 1),
        ("format.named('dns1123Subdomain').value().validate('a.b').hasValue() || format.named('zzz').hasValue()", False),
        ("!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", True),
        ("!format.date().validate('2024-02-29').hasValue() && format.date().validate('2024-02-30').hasValue()", True),
        ("!format.qualifiedName().validate('a.b/c').hasValue() && format.qualifiedName().validate('a/b/c').hasValue()", True),
        ("!format.dns1123LabelPrefix().validate('abc-').hasValue() && format.dns1123Label().validate('abc-').hasValue()", True),
        ("!format.labelValue().validate('').hasValue() && format.byte().validate('*').hasValue()", True),
        # images
        ("image('nginx').registry() + image('nginx').repository() + image('nginx').identifier()", "docker.iolibrary/nginxlatest"),
        ("image('reg.example:5000/a/b:v1').tag() + string(isImage('UPPER/x'))", "v1false"),
        # times
        ("timestamp('2024-02-29T12:34:56.789Z').getFullYear()", 2024),
        ("timestamp('2024-02-29T12:34:56Z').getMonth() + timestamp('2024-02-29T12:34:56Z').getDayOfYear()", 60),
        ("timestamp('2024-02-29T12:34:56Z').getDate() - timestamp('2024-02-29T12:34:56Z').getDayOfMonth()", 1),
        ("timestamp('2024-02-29T12:34:56Z').getHours('+02:00')", 14),
        ("timestamp('2024-02-29T12:34:56Z').getHours('America/New_York')", 7),
        ("timestamp('2024-02-29T12:34:56Z') + duration('1h') == timestamp('2024-02-29T13:34:56Z')", True),
        ("string(timestamp('2024-02-29T12:34:56.5Z')) + string(duration('1h1.5s'))", "2024-02-29T12:34:56.5Z3601.5s"),
        ("string(timestamp('2011-08-18T19:03:37.01+01:00'))", "2011-08-18T19:03:37.01+01:00"),
        ("string(timestamp('2011-08-18T23:00:00-03:30') + duration('2h'))", "2011-08-19T01:00:00-03:30"),
        ("timestamp('2011-08-18T19:03:37+01:00').getHours() * 100 + timestamp('2011-08-18T19:03:37+01:00').getHours('UTC')", 1918),
        ("timestamp('2011-08-18T19:03:37+01:00') == timestamp('2011-08-18T18:03:37Z')", True),
        ("duration('-90m').getHours() + duration('90m').getMinutes()", 89),
        ("int(timestamp('1970-01-01T00:01:00Z'))", 60),
    ],
)  # fmt: skip
def test_functions(text: str, expected: Any) -> None:
    assert EMPTY.compile(text, result=None).evaluate({}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'abc'.charAt(4)", "index out of range: 4"),
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("[1].slice(0, 2)", "cannot slice(0, 2), list is length 1"),
        ("quantity('x')", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("quantity('1500m').asInteger()", "cannot convert value to integer"),
        ("semver('1')", "No Major.Minor.Patch elements found"),
        ("semver('')", "Version string empty"),
        ("semver('v1.0.0')", 'Invalid character(s) found in major number "v1"'),
        ("semver('1.02.0')", 'Minor number must not contain leading zeroes "02"'),
        ("semver('1.2.x')", 'Invalid character(s) found in patch number "x"'),
        ("semver('1.2.3-01')", 'Numeric PreRelease version must not contain leading zeroes "01"'),
        ("semver('1.2.3-a..b')", "Prerelease is empty"),
        ("semver('1.2.3+a_b')", 'Invalid character(s) found in build meta data "a_b"'),
        ("ip('1.2.3.4.5')", 'IP Address "1.2.3.4.5" parse error during conversion from string: ParseAddr("1.2.3.4.5"): IPv4 address too long'),
        ("ip('1.2.3')", 'IP Address "1.2.3" parse error during conversion from string: ParseAddr("1.2.3"): IPv4 address too short'),
        ("ip('1.2.300.4')", 'IP Address "1.2.300.4" parse error during conversion from string: ParseAddr("1.2.300.4"): IPv4 field has value >255'),
        ("ip('1.02.3.4')", 'IP Address "1.02.3.4" parse error during conversion from string: ParseAddr("1.02.3.4"): IPv4 field has octet with leading zero'),
        ("ip('1..3.4')", 'IP Address "1..3.4" parse error during conversion from string: ParseAddr("1..3.4"): IPv4 field must have at least one digit (at ".3.4")'),
        ("ip('1.x')", 'IP Address "1.x" parse error during conversion from string: ParseAddr("1.x"): unexpected character (at "x")'),
        ("'%d'.format(['a'])", "error during formatting: decimal clause can only be used on integers, was given string"),
        ("'%s'.format([])", "index 0 out of range"),
        ("dyn([1]).map(x, [dyn(x), 'a']).all(y, y.min() == 1)", "no such overload"),
    ],
)  # fmt: skip
def test_what_functions_refuse(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failure:
        EMPTY.compile(text, result=None).evaluate({})
    assert str(failure.value) == message


TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "10.0.0.1", "::1", "10.0.0.0/8", "1Gi", "1.2.3", "v1.2", "https://a:1/b?c=d", "http://[::1", "%zz", "%d %s %.3f", "1h", "-",
        "2024-01-01T00:00:00Z", "(a+)+$", "nginx:1@sha256:" + "0" * 64, "Europe/Paris", "+01:00", "../x", "1e400", "0x1",
    ]
)  # fmt: skip
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "int": st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-3, 12),
    "uint": st.integers(0, (1 << 64) - 1).map(Uint),
    "double": st.floats(),
    "bool": st.booleans(),
    "bytes": st.binary(max_size=6),
    "null": st.none(),
    "timestamp": st.integers(-62135596800, 253402300799).map(lambda seconds: Timestamp(seconds * 10**9)),
    "duration": st.integers(-(1 << 63), (1 << 63) - 1).map(Duration),
    "type": st.just(TypeName("int")),
}
ANY = st.recursive(
    st.one_of(*SCALARS.values()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OPAQUE: dict[str, Any] = {
    "net.IP": parse_ip("10.0.0.1"),
    "net.CIDR": parse_cidr("10.0.0.0/8"),
    "kubernetes.Quantity": Amount(parse_quantity("1500m")),
    "kubernetes.Semver": parse_semver("1.2.3-a.1"),
    "kubernetes.URL": parse_url("https://a:1/b?c=d"),
    "kubernetes.Image": parse_image("nginx"),
    "kubernetes.NamedFormat": NamedFormat("dns1123Label"),
}


def of_type(type_: t.Type) -> st.SearchStrategy[Any]:
    match type_.kind:
        case "list":
            return st.lists(of_type(type_.parameters[0]), max_size=4)
        case "map":
            return st.dictionaries(TEXTS, of_type(type_.parameters[1]), max_size=3)
        case "optional":
            return st.just(NONE) | of_type(type_.parameters[0]).map(
                lambda value: Optional(present=True, value=value)
            )
        case "opaque":
            return st.just(OPAQUE[type_.name])
    return SCALARS.get(type_.kind, ANY)


BUILT_IN = ("_&&_", "_||_", "_?_:_", "_[_]", "_[?_]")
OVERLOADS = [
    overload
    for name, overloads in FUNCTIONS.items()
    for overload in overloads
    if name not in BUILT_IN and not any("authorization" in str(one) for one in overload.parameters)
]


@given(st.data())
@settings(max_examples=600)
def test_a_function_has_a_value_of_its_type_or_says_why_not(data: st.DataObject) -> None:
    overload = data.draw(st.sampled_from(OVERLOADS))
    arguments = [data.draw(of_type(parameter)) for parameter in overload.parameters]
    assert overload.accepts(arguments)
    try:
        value = overload.call(*arguments)
    except EvaluationError:
        return
    cost = overload.cost if isinstance(overload.cost, int) else overload.cost(value, *arguments)
    assert cost >= 0
    if overload.result.kind not in ("parameter", "dyn", "object"):
        assert kind_of(value) == overload.result.kind


def test_patterns_take_linear_time() -> None:
    assert EMPTY.compile(f"'{'a' * 5000}!'.matches('^(a+)+$')").evaluate({}) is False


def test_the_authorizer_is_asked_what_the_expression_says() -> None:
    asked: list[Question] = []

    def ask(question: Question) -> Answer:
        asked.append(question)
        return Answer(allowed=question.verb == "create", reason="because")

    environment = Environment({"authorizer": AUTHORIZER})
    variables = {"authorizer": Authorizer(ask)}
    text = "authorizer.group('apps').resource('deployments').subresource('status').namespace('n').name('x').check('create').allowed()"
    assert environment.compile(text).evaluate(variables) is True
    assert asked == [
        Question(
            verb="create", group="apps", resource="deployments", subresource="status", namespace="n", name="x"
        )
    ]
    assert (
        environment.compile("authorizer.path('/healthz').check('get').reason()", result=t.STRING).evaluate(
            variables
        )
        == "because"
    )
    assert asked[-1] == Question(verb="get", path="/healthz")
    environment.compile(
        "!authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').allowed()"
    ).evaluate(variables)
    assert asked[-1].service_account == "ns:sa"


def test_two_authorization_checks_are_all_that_one_expression_may_make() -> None:
    environment = Environment({"authorizer": AUTHORIZER})
    check = "authorizer.group('').resource('pods').check('get').allowed()"
    variables = {"authorizer": Authorizer(lambda question: Answer(allowed=True))}
    assert environment.compile(f"{check} && {check}").evaluate(variables)
    with pytest.raises(EvaluationError, match="actual cost limit exceeded"):
        environment.compile(f"{check} && {check} && {check}").evaluate(variables)


@pytest.mark.parametrize(
    ("text", "least", "most", "spent"),
    [
        # A call that makes a list costs eleven in cel-go. A list of literals costs ten by estimate, and nothing when it is used.
        ("lists.range(5)", 16, 16, 16),
        ("lists.range(-5)", 11, 11, 11),
        ("lists.range(n)", UNBOUNDED, UNBOUNDED, 1 + 11 + 3),
        ("[1, 2, 3, 4, 5].slice(1, 3)", 10 + 13, 10 + 13, 13),
        ("[1, 2, 3, 4, 5].slice(n, 5)", 10 + 1 + 16, 10 + 1 + 16, 1 + 13),
        ("[1, 2, 3].reverse()", 10 + 14, 10 + 14, 14),
        ("nested.flatten()", 1 + 11, 1 + 11 + 10, 1 + 11 + 2),
        ("nested.flatten(2)", 1 + 11, 1 + 11 + 20, 1 + 11 + 4),
        ("[3, 1, 2].sort()", 10 + 11 + 18, 10 + 11 + 18, 11 + 18),
        ("['c', 'a', 'b'].sort()", 10 + 11 + 19, 10 + 11 + 19, 11 + 18),
        ("['c', 'a', 'b'].distinct()", 10 + 11 + 18, 10 + 11 + 18, 11 + 18),
        ("l.sort()", 1 + 11, 1 + 11 + 200, 1 + 11 + 18),
        ("l.distinct()", 1 + 11, 1 + 11 + 200, 1 + 11 + 18),
        ("unbounded.sort()", 12, UNBOUNDED, 1 + 11 + 18),
    ],
)
def test_lists_cost_what_they_cost_in_kubernetes(text: str, least: int, most: int, spent: int) -> None:
    numbers = t.list_of(t.INT)
    environment = Environment(
        {
            "n": t.INT,
            "l": t.list_of(t.INT, most=10),
            "nested": t.list_of(numbers, most=10),
            "unbounded": numbers,
        }
    )
    expression, budget = environment.compile(text, result=None), Budget()
    begun = budget.remaining
    variables = {"n": 3, "l": [3, 1, 2], "nested": [[1, 2], [3]], "unbounded": [3, 1, 2]}
    expression.evaluate(variables, budget)
    assert (expression.cost.least, expression.cost.most) == (least, most)
    assert begun - budget.remaining == spent
