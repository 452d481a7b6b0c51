"""Names that are made up, and names that are checked."""

from random import Random

import pytest

from kubelib.api.intorstring import scaled
from kubelib.api.names import ALPHABET, generate_name, name_problems, safe_encode
from kubelib.labels.validation import is_dns1123_label, is_label_value, is_qualified_name


def test_a_generated_name_is_its_base_and_five_characters_and_repeats_with_the_seed() -> None:
    name = generate_name("web-", Random(7))
    assert name == generate_name("web-", Random(7))
    assert name.startswith("web-")
    assert len(name) == 9
    assert set(name[4:]) <= set(ALPHABET)


def test_a_long_base_is_cut_so_that_the_name_stays_a_label() -> None:
    name = generate_name("a" * 80, Random(1))
    assert len(name) == 63
    assert name[:58] == "a" * 58


def test_a_hash_becomes_letters_of_the_alphabet() -> None:
    assert set(safe_encode(4294967295)) <= set(ALPHABET)
    assert safe_encode(0) != safe_encode(1)


@pytest.mark.parametrize(
    ("kind", "name", "fine"),
    [
        ("Pod", "a.b-c", True), ("Pod", "A", False), ("Pod", "a" * 254, False), ("Namespace", "a.b", False),
        ("Service", "1a", True), ("Service", "a.b", False), ("Service", "a1", True), ("ClusterRole", "system:node", True), ("Role", "a/b", False),
        ("Role", "..", False), ("CronJob", "a" * 52, True), ("CronJob", "a" * 53, False), ("ConfigMap", "", False),
    ],
)  # fmt: skip
def test_each_kind_has_its_rule_for_names(kind: str, name: str, fine: bool) -> None:
    assert (name_problems(kind, name) == []) is fine


def test_the_base_of_a_generated_name_may_end_in_a_dash() -> None:
    assert name_problems("Pod", "web-", prefix=True) == []
    assert name_problems("Pod", "web-") != []
    assert name_problems("Pod", "Web-", prefix=True) != []


def test_path_segments_name_what_they_may_not_contain() -> None:
    assert name_problems("Role", "a%b") == ["may not contain '%'"]
    assert name_problems("Role", ".") == ["may not be '.'"]


def test_percentages_are_taken_of_a_total() -> None:
    assert scaled("30%", 10, round_up=True) == 3
    assert scaled("25%", 3, round_up=True) == 1
    assert scaled("25%", 3, round_up=False) == 0
    with pytest.raises(ValueError, match="not a percentage"):
        scaled("3", 10, round_up=True)


def test_names_are_as_long_as_their_bytes_and_a_label_is_told_of_its_dots() -> None:
    assert is_dns1123_label("a.b") == ["must not contain dots"]
    assert is_dns1123_label(f"{'a' * 62}.b") == ["must be no more than 63 bytes", "must not contain dots"]
    assert is_qualified_name("a" * 64) == ["name part must be no more than 63 bytes"]
    assert is_label_value("é" * 32)[0] == "must be no more than 63 bytes"
    assert is_label_value("é" * 31)[0].startswith("a valid label must be an empty string")
