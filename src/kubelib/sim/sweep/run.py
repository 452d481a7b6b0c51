"""Running a sweep to its end, through interruptions."""

from collections.abc import Callable, Sequence
from pathlib import Path

from kubelib.sim.sweep.base import PARAMETERS, Executor, Outcome, Work
from kubelib.sim.sweep.journal import Journal
from kubelib.sim.sweep.summary import summarize
from kubelib.sim.sweep.tables import check_table, write_table

Progress = Callable[[int, int], None]
"""Is told how many points are finished, of how many."""


def journal_of(out: Path) -> Path:
    """Return where finished points are kept while the table is not complete."""
    return out.with_name(f"{out.name}.points")


def summary_of(out: Path) -> Path:
    """Return where means over seeds are written, if there are several."""
    return out.with_name(f"{out.stem}.mean{out.suffix}")


def run_sweep(work: Sequence[Work], out: Path, executor: Executor, progress: Progress) -> list[Outcome]:
    """Run what is not finished yet, write the table, and return all outcomes in the order of the work.

    Each point is kept as soon as it is finished: after an interruption, of any kind, the same call goes on where it was. The
    table is written when all are finished; if there are several seeds, a second one has their means.
    Raises `SweepError`, `PointFailed` or `Lost`; what is finished is kept then, too.
    """
    check_table(out)
    with Journal(journal_of(out)) as journal:
        missing = [one for one in work if one.key not in journal.finished]
        done = len(work) - len(missing)
        progress(done, len(work))
        if missing:
            for one, outcome in executor.run(missing):
                journal.add(one, outcome)
                done += 1
                progress(done, len(work))
        outcomes = [journal.finished[one.key] for one in work]
    # columns are written in one order, whatever the journal's
    rows = [
        {name: outcome.row[name] for name in (*PARAMETERS, *outcome.row) if name in outcome.row}
        for outcome in outcomes
    ]
    write_table(out, rows)
    if len({one.point.seed for one in work}) > 1:
        write_table(summary_of(out), summarize(rows))
    journal.remove()
    return outcomes
