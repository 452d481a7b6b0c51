"""Dominant-resource fairness and offers keep what their authors promise of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.sched.fairness import Offers, dominant_share, fair_shares, neediest

amounts = st.floats(0.1, 8.0)
needs = st.lists(st.tuples(amounts, amounts), min_size=1, max_size=4)


def test_the_dominant_share_is_that_of_the_scarcest_resource() -> None:
    assert dominant_share([1.0, 4.0], [9.0, 18.0]) == 4 / 18
    assert dominant_share([3.0, 1.0], [9.0, 18.0]) == 3 / 9
    assert dominant_share([3.0, 1.0], [9.0, 18.0], weight=3.0) == 1 / 9
    assert dominant_share([1.0, 5.0], [2.0, 0.0]) == 0.5


def test_who_has_least_comes_first_and_of_equals_the_first() -> None:
    assert neediest([[4.0], [2.0], [3.0]], [8.0]) == 1
    assert neediest([[2.0], [2.0]], [8.0]) == 0
    assert neediest([[4.0], [2.0]], [8.0], weights=[4.0, 1.0]) == 0
    with pytest.raises(ValueError, match="nobody"):
        neediest([], [8.0])


def test_a_task_that_asks_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="any number of times"):
        fair_shares([[0.0, 0.0]], [1.0, 1.0])


@settings(max_examples=60, deadline=None)
@given(needs, st.tuples(st.floats(10.0, 40.0), st.floats(10.0, 40.0)))
def test_shares_are_feasible_efficient_envy_free_and_better_than_equal_parts(
    needs: list[tuple[float, float]], total: tuple[float, float]
) -> None:
    counts = fair_shares(needs, total)
    used = np.array(counts)[:, None] * np.array(needs)
    left = np.array(total) - used.sum(axis=0)
    assert (left >= -1e-6).all()
    # nobody's next task fits
    assert all((np.array(need) > left + 1e-9).any() for need in needs)
    for mine, count in zip(needs, counts, strict=True):
        share = dominant_share([count * need for need in mine], total)
        step = dominant_share(mine, total)
        # as good as a part of one's own, but for what cannot be divided
        biggest = sum(max(dominant_share(need, total) for need in needs) for _ in needs)
        assert share + step + biggest >= 1 / len(needs)
        for theirs, number in zip(needs, counts, strict=True):
            possible = min(number * there / here for here, there in zip(mine, theirs, strict=True))
            # another's bundle is worth no more to me than mine and one more task of either
            assert possible <= count + 1 + max(there / here for here, there in zip(mine, theirs, strict=True))


def columns(*rows: list[float]) -> Any:
    return tuple(np.array(row) for row in rows)


def test_an_offer_has_all_that_is_free_and_locks_it_until_it_is_settled() -> None:
    offers = Offers(columns([4.0, 4.0], [16.0, 8.0]))
    first = offers.make("batch", columns([1.0, 4.0], [0.0, 8.0]))
    assert [column.tolist() for column in first.amounts] == [[3.0, 0.0], [16.0, 0.0]]
    assert first.totals == (3.0, 16.0)
    # what ended since goes to the next; what the first offer holds does not
    second = offers.make("service", columns([0.0, 2.0], [0.0, 7.0]))
    assert [column.tolist() for column in second.amounts] == [[1.0, 2.0], [0.0, 1.0]]
    assert len(offers) == 2
    offers.settle(first)
    assert [column.tolist() for column in offers.locked] == [[1.0, 2.0], [0.0, 1.0]]
    offers.settle(second)
    assert len(offers) == 0
    assert not any(column.any() for column in offers.locked)
    with pytest.raises(ValueError, match="to batch is not open"):
        offers.settle(first)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.floats(0, 1), min_size=3, max_size=3)), max_size=12))
def test_open_offers_and_use_never_exceed_what_there_is(steps: list[tuple[bool, list[float]]]) -> None:
    total = columns([4.0, 2.0, 1.0])
    used = np.zeros(3)
    offers = Offers(total)
    held: list[Any] = []
    for make, shares in steps:
        if make:
            held.append(offers.make("one", (used,)))
        elif held:
            offer = held.pop(0)
            offers.settle(offer)
            used += offer.amounts[0] * np.array(shares)
        assert (used + offers.locked[0] <= total[0] + 1e-9).all()
