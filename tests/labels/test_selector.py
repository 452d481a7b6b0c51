from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.labels import (
    EVERYTHING,
    NOTHING,
    LabelIndex,
    Requirement,
    Selector,
    SelectorError,
    SelectorIndex,
    parse_field_selector,
    parse_selector,
    selector_from_match_labels,
)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        ("x=a,y=b", "x=a,y=b"),
        ("x==a", "x==a"),
        ("x!=a", "x!=a"),
        ("x in (b,a)", "x in (a,b)"),
        ("x notin (a)", "x notin (a)"),
        ("x", "x"),
        ("!x", "!x"),
        ("x in ()", "x in ()"),
        ("x in (a,)", "x in (,a)"),
        ("x=", "x="),
        ("x=,z", "x=,z"),
        (" x >  5 , y<7", "x>5,y<7"),
        ("in in (in)", "in in (in)"),
        ("b,a", "a,b"),
    ],
)
def test_text_is_read_and_printed_canonically(text: str, printed: str) -> None:
    assert str(parse_selector(text)) == printed
    assert parse_selector(printed) == parse_selector(text)


@pytest.mark.parametrize(
    "text",
    [
        "x=a,",
        "x=a||y=b",
        "!x=a",
        "x in",
        "x in (a",
        "x in a",
        "!",
        "x>a",
        "=a",
        "x=a y",
        "a b",
        "x=-",
        "-x=a",
        ",",
    ],
)
def test_what_is_not_a_selector_is_refused_with_its_position(text: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert 0 <= caught.value.position <= len(text)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("x=a", {"x": "a"}, True),
        ("x!=a", {}, True),
        ("x notin (a,b)", {"x": "c"}, True),
        ("x notin (a,b)", {"x": "a"}, False),
        ("x", {"x": ""}, True),
        ("!x", {"x": ""}, False),
        ("x>4", {"x": "5"}, True),
        ("x<4", {"x": "b"}, False),
        ("x=a,y", {"x": "a"}, False),
    ],
)
def test_requirements_mean_what_kubernetes_says(text: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_selector(text).matches(labels) is expected


def test_nothing_and_everything_are_what_they_say() -> None:
    assert EVERYTHING.matches({}) and not NOTHING.matches({})
    assert selector_from_match_labels({}) == NOTHING


labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz4"), max_size=3)
one_value, some_values = (
    st.sampled_from("xyz4").map(lambda v: (v,)),
    st.lists(st.sampled_from("xyz4"), min_size=1),
)
requirements = st.one_of(
    st.builds(Requirement, st.sampled_from("abc"), st.sampled_from(["=", "!="]), one_value),
    st.builds(Requirement, st.sampled_from("abc"), st.sampled_from(["in", "notin"]), some_values),
    st.builds(Requirement, st.sampled_from("abc"), st.sampled_from(["exists", "!"])),
    st.builds(
        Requirement,
        st.sampled_from("abc"),
        st.sampled_from(["gt", "lt"]),
        st.sampled_from(["3", "4", "5"]).map(lambda v: (v,)),
    ),
)
selectors = st.builds(Selector, st.lists(requirements, max_size=3))


@given(selectors)
def test_printing_and_reading_compose_to_nothing(selector: Selector) -> None:
    assert parse_selector(str(selector)) == selector


@given(st.lists(labels, max_size=12), st.lists(labels, max_size=4), selectors)
def test_the_index_finds_what_a_scan_finds(
    first: list[dict[str, str]], later: list[dict[str, str]], selector: Selector
) -> None:
    index: LabelIndex[int] = LabelIndex()
    world = dict(enumerate(first))
    for key, value in world.items():
        index.put(key, value)
    index.select(selector)  # what is remembered for the next time has to follow the changes
    for key, value in enumerate(later):
        world[key] = value
        index.put(key, value)
    if world:
        key, _ = world.popitem()
        index.remove(key)
    assert sorted(index.select(selector)) == sorted(k for k, v in world.items() if selector.matches(v))


def test_the_index_remembers_the_objects_without_a_label_for_a_few_labels_only() -> None:
    index: LabelIndex[int] = LabelIndex()
    index.put(1, {"a": "x"})
    for number in range(100):
        assert list(index.select(parse_selector(f"!label-{number}"))) == [1]
    assert len(index._lacking) < 20
    index.put(1, {"label-99": ""})
    assert list(index.select(parse_selector("!label-99"))) == []


@given(st.lists(selectors, max_size=10), labels)
def test_the_reverse_index_finds_every_interested_selector_once(
    many: list[Selector], of: dict[str, str]
) -> None:
    index: SelectorIndex[int] = SelectorIndex()
    for number, selector in enumerate(many):
        index.add(number, selector)
    assert sorted(index.matching(of)) == [n for n, s in enumerate(many) if s.matches(of)]
    for number in range(len(many)):
        index.discard(number)
    assert list(index.matching(of)) == []
    assert not (index._owners or index._places or index._at or index._excluding or index._uses)


class Asked(dict[str, str]):
    """Labels that count how often they are looked at."""

    times = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.times += 1
        return super().get(key, default)


@pytest.mark.parametrize(
    "text",
    [
        "app=app-{},rare!=r{}",
        "team in (t{},u{})",
        "k{}",
        "k{}>{}",
        "rare=r7,k{}",
        "app=app-7,rare=r{}",
        "app!=app-7,k{}!=v",
        "!app,k{} notin (a,b)",
    ],
)
def test_few_of_the_selectors_are_looked_at_that_do_not_match(text: str) -> None:
    index: SelectorIndex[int] = SelectorIndex()
    index.add(-1, parse_selector("app=app-7"))
    for number in range(1000, 2000):
        index.add(number, parse_selector(text.format(number, number)))
    of = Asked(app="app-7", rare="r7")
    assert list(index.matching(of)) == [-1]
    assert of.times < 50


def test_field_selectors_are_read_matched_and_printed() -> None:
    selector = parse_field_selector(r"metadata.name=a\,b,status.phase!=Running,x==y")
    assert selector.exact("metadata.name") == "a,b"
    assert selector.matches({"metadata.name": "a,b", "x": "y"})
    assert not selector.matches({"metadata.name": "a,b", "x": "y", "status.phase": "Running"})
    assert str(selector) == r"metadata.name=a\,b,status.phase!=Running,x=y"


@pytest.mark.parametrize("text", ["metadata.name", "a=b=c", "a=\\", "a=\\x"])
def test_what_is_not_a_field_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        parse_field_selector(text)


@pytest.mark.parametrize("text", ["x>1_0", "x<1e3", "x>9223372036854775808", "x>one"])
def test_a_bound_is_a_whole_number_of_64_bits(text: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert str(caught.value) == (
        f"unable to parse requirement: values[0]: Invalid value: \"{text[2:]}\": for 'Gt', 'Lt' operators,"
        " the value must be an integer"
    )


def test_a_label_that_is_no_number_is_neither_greater_nor_less() -> None:
    for value in ("1_0", " 10", "", "ten", "99999999999999999999"):
        assert not parse_selector("x>1").matches({"x": value})
        assert not parse_selector("x<1").matches({"x": value})
    assert parse_selector("x>1").matches({"x": "+10"})
