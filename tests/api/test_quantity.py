"""Quantities: Kubernetes' grammar and canonical text, arithmetic without error."""

from decimal import ROUND_UP, Context, Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api.quantity import Quantity, QuantityError, canonical, from_bytes, from_milli, parse_quantity

_FACTORS = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6, "G": Decimal(10) ** 9, "T": Decimal(10) ** 12, "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20, "e3": Decimal(10) ** 3, "E-2": Decimal("0.01"),
}  # fmt: skip

numbers = st.from_regex(r"[+-]?([0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12})", fullmatch=True)
suffixes = st.sampled_from(sorted(_FACTORS))


def exact(number: str, suffix: str) -> Decimal:
    with localcontext(Context(prec=200)):
        return (Decimal(number) * _FACTORS[suffix]).quantize(Decimal("1e-9"), rounding=ROUND_UP)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("0", "0"), ("0.0Mi", "0"), ("-0", "0"), ("1", "1"), ("1000", "1k"), ("1024", "1024"), ("0.5", "500m"),
        ("100m", "100m"), ("1000m", "1"), ("1500m", "1500m"), ("2048Ki", "2Mi"), ("1Gi", "1Gi"), ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"), ("1023Ki", "1023Ki"), ("0.001Ki", "1024m"), ("1e3", "1e3"), ("1E3", "1e3"), ("12e-1", "1200e-3"),
        ("1.0e3", "1e3"), ("0.1n", "1n"), ("1.1n", "2n"), ("-0.1n", "-1n"), ("-1.25", "-1250m"), ("+1", "1"),
        ("5.", "5"), (".5", "500m"), ("1000E", "1e21"), ("9999999Ei", "9223372036854775807"), (" 1 ", "1"), ("1E", "1E"),
        ("123456789.123456789", "123456789123456789n"), ("1.2Ti", "1319413953331200m"),
    ],
)  # fmt: skip
def test_a_quantity_is_stored_in_the_canonical_form_of_its_family(text: str, stored: str) -> None:
    assert canonical(text) == stored


@pytest.mark.parametrize(
    "text", ["", "aoeu", "1.1.M", "1+1.0M", "-", ".", "1 2", "1e3.5", "k", "--1", "1_000", "\u0661"]
)
def test_what_is_no_number_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(QuantityError, match="quantities must match the regular expression"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1i", "0.1mi", "-3.01i", "-3.01e-", "1ki", "1kk", "1e99999999999"])
def test_an_unknown_suffix_is_named_as_such(text: str) -> None:
    with pytest.raises(QuantityError, match="unable to parse quantity's suffix"):
        parse_quantity(text)


@settings(max_examples=60)
@given(numbers, suffixes)
def test_parsing_is_exact_and_rounds_away_from_zero(number: str, suffix: str) -> None:
    assert Decimal(parse_quantity(number + suffix).nano).scaleb(-9) == exact(number, suffix)


@settings(max_examples=60)
@given(numbers, suffixes)
def test_the_canonical_form_means_the_same_and_is_stable(number: str, suffix: str) -> None:
    quantity = parse_quantity(number + suffix)
    again = parse_quantity(str(quantity))
    assert again == quantity
    assert str(again) == str(quantity)
    assert "." not in str(quantity)


@settings(max_examples=60)
@given(numbers, suffixes, numbers, suffixes)
def test_arithmetic_and_order_are_those_of_exact_decimals(a: str, x: str, b: str, y: str) -> None:
    one, other = parse_quantity(a + x), parse_quantity(b + y)
    left, right = exact(a, x), exact(b, y)
    assert Decimal((one + other).nano).scaleb(-9) == left + right
    assert Decimal((one - other).nano).scaleb(-9) == left - right
    assert (one < other, one == other, one >= other) == (left < right, left == right, left >= right)
    assert -one + one == Quantity(0)
    assert (one * 3).nano == one.nano * 3


@settings(max_examples=60)
@given(numbers, suffixes)
def test_whole_and_milli_values_round_away_from_zero(number: str, suffix: str) -> None:
    quantity, amount = parse_quantity(number + suffix), exact(number, suffix)
    assert quantity.value() == int(amount.to_integral_value(rounding=ROUND_UP))
    assert quantity.milli() == int((amount * 1000).to_integral_value(rounding=ROUND_UP))


def test_a_sum_is_written_in_the_family_of_its_first_amount_that_is_not_zero() -> None:
    assert str(parse_quantity("1Gi") + parse_quantity("1G")) == "2073741824"
    assert str(parse_quantity("0") + parse_quantity("1Gi")) == "1Gi"
    assert str(from_bytes(3 * 2**20)) == "3Mi"
    assert str(from_milli(250)) == "250m"


def test_equal_amounts_are_equal_however_written() -> None:
    assert parse_quantity("1") == parse_quantity("1000m")
    assert len({parse_quantity("1Ki"), parse_quantity("1024"), parse_quantity("1.024e3")}) == 1
