"""Selectors over 100,000 objects of which few match, and labels against 10,000 selectors."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.labels import LabelIndex, SelectorIndex, parse_selector

OBJECTS = 100_000


@pytest.fixture(scope="module")
def index() -> LabelIndex[int]:
    index: LabelIndex[int] = LabelIndex()
    for number in range(OBJECTS):
        index.put(
            number,
            {
                "app": f"app-{number % 10_000}",
                "number": str(number),
                "rare" if number % 10_000 == 7 else "usual": "yes",
            },
        )
    return index


@pytest.mark.parametrize("text", ["app=app-7", "rare", "!usual", "usual!=yes", "app in (app-7),usual!=yes"])
def test_ten_of_a_hundred_thousand(benchmark: BenchmarkFixture, index: LabelIndex[int], text: str) -> None:
    selector = parse_selector(text)
    assert len(list(benchmark(index.select, selector))) == 10


@pytest.mark.parametrize("text", ["app=app-{}", "app!=app-{}", "tier!=backend"])
def test_labels_against_ten_thousand_selectors(benchmark: BenchmarkFixture, text: str) -> None:
    selectors: SelectorIndex[int] = SelectorIndex()
    for number in range(10_000):
        selectors.add(number, parse_selector(text.format(number)))
    matching = benchmark(lambda: len(list(selectors.matching({"app": "app-7", "tier": "frontend"}))))
    assert matching == {"app=app-{}": 1, "app!=app-{}": 9_999, "tier!=backend": 10_000}[text]
