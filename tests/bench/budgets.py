"""Budgets of the benchmarks: kept where they are measured, and never where the benchmarks run as plain tests."""

from pytest_benchmark.fixture import BenchmarkFixture


def within(benchmark: BenchmarkFixture, what: str, found: float, budget: float) -> None:
    """Note a figure with its budget, and fail if it is larger. What is measured while others work says nothing."""
    benchmark.extra_info[what] = round(found, 3) if found < 10 else round(found)
    benchmark.extra_info[f"{what} budget"] = budget
    if benchmark.enabled:
        assert found <= budget, f"{what}: {found:.4g}, and the budget is {budget:.4g}"


def best_within(benchmark: BenchmarkFixture, budget: float) -> None:
    """Fail if the best round took more seconds than the budget."""
    if benchmark.enabled and benchmark.stats is not None:
        within(benchmark, "best_seconds", benchmark.stats.stats.min, budget)


def median_within(benchmark: BenchmarkFixture, budget: float) -> None:
    """Fail if rounds took more seconds than the budget in the median; a budget of 0 is none."""
    if budget and benchmark.enabled and benchmark.stats is not None:
        within(benchmark, "median_seconds", benchmark.stats.stats.median, budget)


def at_least(benchmark: BenchmarkFixture, what: str, found: float, floor: float) -> None:
    """Note a figure with what it must reach, and fail if it does not; a floor of 0 is none."""
    benchmark.extra_info[what] = round(found)
    if floor:
        benchmark.extra_info[f"{what} floor"] = floor
        if benchmark.enabled:
            assert found >= floor, f"{what}: {found:.4g}, and the least is {floor:.4g}"
