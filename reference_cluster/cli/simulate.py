"""`kubelib simulate`: sweeps over simulated cells."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reference_cluster.cli import shapes

if TYPE_CHECKING:
    from kubelib.sim.cell.setup import Engine
    from kubelib.sim.sweep.base import Executor, Outcome


MOST_DAYS, MOST_SEEDS, MOST_MACHINES = 10_000, 1000, 10_000_000


class Number(click.FloatRange):
    """A number of a range: click lets what is no number pass any bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


@click.group()
def simulate() -> None:
    """Simulate how schedulers share a cell of thousands of machines."""


@simulate.command(epilog="Example: kubelib simulate cell sweep.toml --out results.csv")
@click.argument("sweep", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The table to write, .csv or .parquet (default: SWEEP's name with .csv).")  # fmt: skip
@click.option("--processes", type=click.IntRange(1), metavar="N", help="How many points to run at once (default: one for each processor).")  # fmt: skip
@click.option("--dask", metavar="ADDRESS", help="Run the points on the Dask cluster with this scheduler, as tcp://host:8786; 'threads' is threads of this process.")  # fmt: skip
@shapes.choice("--engine", ["python", "numba"], "numba compiles runs, which is faster and gives the same results; none with constraints, further resources, preemption, failures or policies.")  # fmt: skip
def cell(sweep: Path, out: Path | None, processes: int | None, dask: str | None, engine: "Engine") -> None:
    """Run every point of a sweep and write a table with a row for each.

    A sweep that is interrupted, or killed, goes on where it was when the same command is given again.
    """
    from kubelib.sim.sweep.reading import read_sweep
    from kubelib.sim.sweep.run import run_sweep

    table = out or sweep.with_suffix(".csv")
    with plain_errors(table):
        work = read_sweep(sweep)
        with progress("points") as tell:
            outcomes = run_sweep(work, table, executor_of(processes, dask, engine), tell)
    click.echo(f"{len(outcomes)} points are in {table}.")
    for line in remarks(outcomes):
        click.echo(line)


@simulate.command(
    epilog="Example: kubelib simulate figure 5a 5b 5c --out ./figures; `all` makes all of them."
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("figures"), show_default=True, help="The directory to write to.")  # fmt: skip
@click.option("--days", type=Number(0.01, MOST_DAYS), default=1.0, show_default=True, help="How long to simulate; some figures take a part of it.")  # fmt: skip
@shapes.number("--seeds", 3, "How many times, with other jobs.", least=1, most=MOST_SEEDS)  # fmt: skip
@shapes.number("--machines", 10_000, "How many machines the cell has; arrivals go with them.", least=50, most=MOST_MACHINES)  # fmt: skip
@click.option("--processes", type=click.IntRange(1), metavar="N", help="How many points to run at once (default: one for each processor).")  # fmt: skip
@click.option("--dask", metavar="ADDRESS", help="Run the points on the Dask cluster with this scheduler.")
@shapes.choice("--engine", ["python", "numba"], "numba compiles runs, which is faster and gives the same results; none with constraints, further resources, preemption, failures or policies.")  # fmt: skip
def figure(
    names: tuple[str, ...],
    out: Path,
    days: float,
    seeds: int,
    machines: int,
    processes: int | None,
    dask: str | None,
    engine: "Engine",
) -> None:
    """Make figures of the Omega paper anew: for each its data (CSV) and picture (PNG), and one report (HTML)."""
    from kubelib.sim.figures.base import Scale
    from kubelib.sim.figures.make import PLANS, make_figures

    chosen = list(PLANS) if "all" in names else list(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in PLANS]
    if unknown:
        raise click.ClickException(f"There is no figure {unknown[0]}: there are {', '.join(PLANS)}, and all.")
    with plain_errors(out / "points.csv"), progress("points") as tell:
        out.mkdir(parents=True, exist_ok=True)
        made = make_figures(
            chosen, out, Scale(days, seeds, machines), executor_of(processes, dask, engine), tell
        )
    for name, claim in made.claims:
        click.echo(
            f"{name:>3} {'holds' if claim.holds else 'DOES NOT HOLD'}: {claim.text} ({claim.measured})."
        )
    click.echo(f"{len(made.files)} files are in {out}; begin with {out / 'report.html'}.")
    if made.outcomes:
        click.echo(list(remarks(list(made.outcomes)))[-1])


@simulate.group()
def trace() -> None:
    """Make traces: of published ones, or synthetic."""


@trace.command(
    epilog="Example: kubelib simulate trace convert --format google-2011 --out trace.csv task_events/part-*.csv.gz"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "name", required=True, type=click.Choice(["google-2011", "google-2019", "openb", "swf"]), help="What the files are.")  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The trace to write, .csv or .parquet."
)
@click.option(
    "--machines", type=click.Path(path_type=Path), help="A file for the machines, if the files name any."
)
def convert(files: tuple[Path, ...], name: str, out: Path, machines: Path | None) -> None:
    """Write the jobs of published files as a trace that sweeps read."""
    from kubelib.sim.traces.formats import FORMATS, possible
    from kubelib.sim.traces.schema import write_cell, write_day

    with plain_errors(out):
        read = possible(FORMATS[name](files))
        write_day(out, read.day)
        if machines and read.cell:
            write_cell(machines, read.cell)
    day = read.day
    click.echo(
        f"{len(day.batch)} batch jobs, {len(day.service)} service jobs and {len(day.prefill)} from before are in {out}."
    )
    for reason, count in sorted(read.left_out.items()):
        click.echo(f"Left out: {count} {reason}.")
    if machines:
        click.echo(
            f"{read.cell.size} machines are in {machines}." if read.cell else "The files name no machines."
        )


@trace.command(
    epilog="Example: kubelib simulate trace generate --out trace.csv --machines machines.csv --count 500 --load 0.05"
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The trace to write, .csv or .parquet."
)
@click.option("--machines", type=click.Path(path_type=Path), required=True, help="The file for the machines.")
@shapes.number("--count", 10_000, "How many machines.", least=50, most=MOST_MACHINES)
@click.option("--hours", type=Number(0.01), default=24.0, show_default=True, help="How long.")
@click.option("--load", type=Number(0, min_open=True), default=1.0, show_default=True, help="The rate of batch jobs, times the paper-like day's.")  # fmt: skip
@click.option("--prefill", type=Number(0, 0.99), default=0.6, show_default=True, help="The share of CPUs in use before.")  # fmt: skip
@click.option("--constrained", type=Number(0, 1), default=0.3, show_default=True, help="The share of jobs with constraints.")  # fmt: skip
@shapes.number("--seed", 1, "Another seed is another trace.", least=1)
def generate(
    out: Path,
    machines: Path,
    count: int,
    hours: float,
    load: float,
    prefill: float,
    constrained: float,
    seed: int,
) -> None:
    """Write a synthetic trace: a paper-like day on machines of several kinds, with constraints."""
    from kubelib.sim.traces.schema import write_cell, write_day
    from kubelib.sim.traces.synthetic import constrained_day, mixed_cell

    cell = mixed_cell(count)
    with plain_errors(out):
        try:
            day = constrained_day(
                cell, seed=seed, load=load, horizon=3600 * hours, prefill=prefill, share=constrained
            )
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        write_day(out, day)
        write_cell(machines, cell)
    click.echo(
        f"{len(day.batch)} batch jobs, {len(day.service)} service jobs and {len(day.prefill)} from before are in {out}."
    )
    click.echo(f"{count} machines are in {machines}.")


def executor_of(processes: int | None, dask: str | None, engine: "Engine") -> "Executor":
    """Return where points are run, and by which engine."""
    from kubelib.sim.sweep.executors import Inline, OnDask, Processes

    if dask:
        return OnDask(dask, engine)
    return Inline(engine) if processes == 1 else Processes(processes, engine)


@contextmanager
def plain_errors(table: Path) -> Iterator[None]:
    """Turn what stops a sweep into a sentence, and say what is kept."""
    import signal

    from kubelib.sim.figures.plot import PlotError
    from kubelib.sim.sweep.base import Lost, PointFailed, SweepError
    from kubelib.sim.sweep.run import journal_of
    from kubelib.sim.traces.schema import TraceError

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except (SweepError, PointFailed, Lost, PlotError, TraceError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        if error.filename is None:
            raise
        raise click.ClickException(f"{error.filename}: {error.strerror}.") from None
    except KeyboardInterrupt:
        kept = journal_of(table)
        if kept.exists():
            click.echo(f"Interrupted: what is finished is kept in {kept}; give the command again to go on.", err=True)  # fmt: skip
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far it is, on a terminal."""
    from rich.console import Console
    from rich.progress import (  # fmt: skip
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def remarks(outcomes: "list[Outcome]") -> Iterator[str]:
    """Yield what is to be known before the figures are believed, and what they cost."""
    rows = [outcome.row for outcome in outcomes]
    saturated = sum(bool(row["batch_saturated"]) or bool(row["service_saturated"]) for row in rows)
    if saturated:
        yield f"{saturated} of them are saturated: waits leave out jobs that were never attempted, and grow with the horizon."
    oversize = max(int(row["batch_larger_than_the_cell"]) + int(row["service_larger_than_the_cell"]) for row in rows)  # fmt: skip
    if oversize:
        yield f"Up to {oversize} jobs of a point ask for more than the whole cell and never run all at once."
    events = sum(int(row["events"]) for row in rows)
    seconds = max(sum(outcome.seconds for outcome in outcomes), 1e-9)
    peak = max(outcome.megabytes for outcome in outcomes)
    yield (
        f"{events:,} events in {seconds:.1f} s of processor time ({events / seconds:,.0f}/s);"
        f" no process took more than {peak:.0f} MB."
    )
