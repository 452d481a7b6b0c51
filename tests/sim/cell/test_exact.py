"""Exact runs give the published numbers of the simulator that came with the paper, digit for digit as printed."""

import pytest

from kubelib.sim.cell import Architecture, Cell, DecisionTime, Results, Setup, simulate
from kubelib.sim.cell.architecture import Commit, Detection
from tests.sim.cell.conftest import Runs
from tests.sim.cell.example import example


def printed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


@pytest.mark.parametrize(
    ("t_job", "busy", "batch", "service", "left"),
    [
        (0.1, ".0608", ".097", ".091", 0),
        (1, ".2897", ".361", ".337", 0),
        (10, ".9999", "26559", "25962", 13_447),
        (100, ".9996", "41675", "36305", 21_109),
    ],
)
def test_single_path(run: Runs, t_job: float, busy: str, batch: str, service: str, left: int) -> None:
    decision = DecisionTime(t_job)
    results = run(Architecture.monolithic(decision, decision), exact=True)
    scheduler = results.scheduler("scheduler")
    assert printed(scheduler.busyness, 4).lstrip("0") == busy
    digits = 3 if "." in batch else 0
    assert printed(results.workload("batch").wait_to_first_attempt.mean, digits).lstrip("0") == batch
    assert printed(results.workload("service").wait_to_first_attempt.mean, digits).lstrip("0") == service
    assert scheduler.queue_left == left
    assert results.saturated == (left > 0)
    # one more may be under decision
    unattempted = sum(workload.unattempted for workload in results.workloads)
    assert left <= unattempted <= left + 1


@pytest.mark.parametrize(
    ("t_job", "busy", "batch", "service", "digits"),
    [
        (1, ".0679", ".101", ".096", 3),
        (10, ".1381", ".545", ".437", 3),
        (100, ".8389", "177.6", "163.2", 1),
    ],
)
def test_multi_path(run: Runs, t_job: float, busy: str, batch: str, service: str, digits: int) -> None:
    results = run(Architecture.monolithic(service=DecisionTime(t_job)), exact=True)
    # printed figures may be the last digit's half away from the number
    assert results.scheduler("scheduler").busyness == pytest.approx(float(busy), abs=1e-4)
    waits = [results.workload(name).wait_to_first_attempt.mean for name in ("batch", "service")]
    assert waits == pytest.approx([float(batch), float(service)], abs=0.6 * 10**-digits)
    assert results.scheduler("scheduler").multi_path


@pytest.mark.parametrize(
    ("t_job", "detection", "commit", "fraction"),
    [
        (1, "coarse", "all-or-nothing", ".0059"),
        (10, "fine", "incremental", ".0089"),
        (100, "fine", "incremental", ".0579"),
        (100, "fine", "all-or-nothing", ".0832"),
        (100, "coarse", "incremental", ".2125"),
        (100, "coarse", "all-or-nothing", ".3443"),
    ],
)
def test_conflicts_of_the_service_scheduler(
    run: Runs, t_job: float, detection: Detection, commit: Commit, fraction: str
) -> None:
    architecture = Architecture.shared_state(service=DecisionTime(t_job), detection=detection, commit=commit)
    results = run(architecture, exact=True)
    assert printed(results.scheduler("service").conflict_fraction, 4).lstrip("0") == fraction
    if (t_job, detection, commit) == (100, "fine", "incremental"):
        service = results.scheduler("service")
        assert printed(service.useful / service.end, 4) == "0.7791"
        assert printed(service.wasted / service.end, 4) == "0.0452"
        assert printed(results.workload("service").wait_to_first_attempt.mean, 1) == "177.3"
        assert printed(results.scheduler("batch-0").busyness, 4) == "0.0600"
        assert printed(results.workload("batch").wait_to_first_attempt.mean, 3) == "0.097"


@pytest.mark.parametrize(
    ("schedulers", "fraction", "busy", "wait"),
    [(1, ".0000", ".060", ".097"), (4, ".0035", ".015", ".003"), (32, ".0037", ".0019", ".000")],
)
def test_many_batch_schedulers(run: Runs, schedulers: int, fraction: str, busy: str, wait: str) -> None:
    results = run(Architecture.shared_state(batch_schedulers=schedulers), exact=True)
    assert printed(results.conflict_fraction("batch"), 4).lstrip("0") == fraction
    busyness = sum(s.busyness for s in results.schedulers if s.name.startswith("batch")) / schedulers
    assert printed(busyness, len(busy) - 1).lstrip("0") == busy
    assert printed(results.workload("batch").wait_to_first_attempt.mean, 3).lstrip("0") == wait
    assert printed(results.cell.cpu, 3) == "0.676"


def of_the_example(architecture: Architecture, *, exact: bool = True, horizon: float = 86_400.0) -> Results:
    day = example()
    return simulate(
        Setup(
            Cell(),
            (day.batch, day.service),
            architecture,
            day.prefill,
            exact=exact,
            horizon=horizon,
            engine="numba",
        )
    )


def busy(results: Results, workload: str) -> float:
    """Return the share of time spent on jobs of a workload."""
    return sum(
        sum(scheduler.seconds_by_workload.get(workload, ())) / scheduler.end
        for scheduler in results.schedulers
    )


def test_the_example_of_the_original_has_its_jobs() -> None:
    day = example()
    assert (len(day.batch), day.batch.tasks.sum()) == (59_989, 196_619)
    assert (len(day.service), day.service.tasks.sum()) == (109, 277)


FAST = DecisionTime(0.01, 0.005)


@pytest.mark.parametrize(
    ("architecture", "batch_busy", "service_busy", "mean", "p90", "service_wait", "attempted", "left"),
    [
        (Architecture.monolithic(FAST, DecisionTime(10.0)), ".018321", ".012632", ".07587", "", ".00047", 59_989, 0),
        (Architecture.monolithic(DecisionTime(0.1), DecisionTime(0.1)), ".080809", ".000142", ".05797", ".14789", ".01327", 59_989, 0),
        (Architecture.monolithic(DecisionTime(1.0), DecisionTime(1.0)), ".705679", ".001278", "2.2813", "5.7532", "2.0636", 59_988, 0),
        (Architecture.monolithic(DecisionTime(10.0), DecisionTime(10.0)), ".998940", ".000927", "37038", "66597", "44018", 8_618, 51_471),
        (Architecture.shared_state(DecisionTime(0.1), DecisionTime(0.01, 0.01)), ".080809", ".0000447", ".05795", ".14782", ".0", 59_989, 0),
        (
            Architecture.shared_state(DecisionTime(1.0), DecisionTime(0.01, 0.01), detection="coarse", commit="all-or-nothing"),
            ".705679", ".0000447", "2.2718", "5.7323", ".0", 59_988, 0,
        ),
        (Architecture.shared_state(DecisionTime(10.0), DecisionTime(0.01, 0.01)), ".999867", ".0000447", "37040", "66604", ".0", 8_626, 51_362),
    ],
)  # fmt: skip
def test_the_example_of_the_original(
    architecture: Architecture,
    batch_busy: str,
    service_busy: str,
    mean: str,
    p90: str,
    service_wait: str,
    attempted: int,
    left: int,
) -> None:
    """As printed, to the last of up to six digits."""
    results = of_the_example(architecture)
    batch, service = results.workloads
    figures = {
        batch_busy: busy(results, "batch"),
        service_busy: busy(results, "service"),
        mean: batch.wait_to_first_attempt.mean,
        p90: batch.wait_to_first_attempt.p90,
        service_wait: service.wait_to_first_attempt.mean,
    }
    for figure, measured in figures.items():
        if figure:
            assert printed(measured, len(figure.partition(".")[2])).lstrip("0") == figure
    assert batch.attempted == attempted
    # what is under decision at the end is neither left nor attempted
    assert sum(scheduler.queue_left for scheduler in results.schedulers) == left
    assert results.conflict_fraction() == 0
    assert batch.abandoned == 0
    assert results.cell.cpu < 6e-6


def test_the_example_under_two_level_scheduling_within_two_percent() -> None:
    """Of a quarter of the day, whose jobs are like those of the whole."""
    architecture = Architecture.two_level(FAST, DecisionTime(0.1))
    results = of_the_example(architecture, exact=False, horizon=21_600.0)
    assert results.workload("batch").wait_to_first_attempt.mean == pytest.approx(0.7223, rel=0.02)
    assert results.workload("batch").wait_to_first_attempt.p90 == pytest.approx(1.001, rel=0.02)
    assert busy(results, "batch") == pytest.approx(0.018322, rel=0.02)
