"""The schema of traces: a CSV (``.csv``, ``.csv.gz``) or Parquet file with a row per job, and one with a row per kind of machine.

========== ======================================================================================
workload   ``batch``, ``service``, or ``prefill`` for what ran before the trace begins
submit     seconds since the begin of the trace; 0 for the prefill
tasks      how many equal tasks the job has
duration   seconds that a task runs
cpu        what a task asks for: CPUs
memory     and GB, or shares of the largest machine, in the units of the machines
priority   a whole number, larger is more important; may be left out (0)
constraint a label selector over machines, as ``zone in (a, b), cores>4``; may be left out (none)
resources  what a task asks for beside these, as ``gpu=2,disk=100``; may be left out (nothing)
========== ======================================================================================

Machines have the columns ``count``, ``cpu``, ``memory``, ``labels`` (``key=value`` pairs with commas) and ``resources``; the last two may
be left out.
Rows may come in any order. Everything that is wrong is a `TraceError` of one sentence with the line.
"""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from attrs import evolve

from kubelib.labels.parse import SelectorError, parse_selector
from kubelib.sim.cell.base import RESOURCE, Cell, Job, Machines, Workload
from kubelib.sim.cell.workloads import Day
from kubelib.sim.sweep.base import Row
from kubelib.sim.sweep.tables import write_table

WORKLOADS = ("prefill", "batch", "service")
MOST = 10_000_000
"""More tasks of a job, or machines of a kind, are a mistake: there would be no memory for them."""
_OPTIONAL = ("priority", "constraint", "labels", "resources")


class TraceError(ValueError):
    """A file is no trace that could be read; the message is a sentence that says where and why."""


def rows_of(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the number of the line and the fields of each row of a table with a header. Raises `TraceError`."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    with_header = lines_of(path)
    header = next(with_header, None)
    if header is None:
        raise TraceError(f"{path} is empty: its first line must name the columns.")
    names = [name.strip() for name in header[1]]
    for number, fields in with_header:
        if len(fields) != len(names):
            raise TraceError(
                f"Line {number} of {path} has {len(fields)} fields, but there are {len(names)} columns."
            )
        yield number, dict(zip(names, fields, strict=True))


def lines_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line of a CSV file that is not blank. Raises `TraceError`."""
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (UnicodeDecodeError, EOFError, zlib.error):
        raise TraceError(f"{path} is broken: it ends early, or is not text in UTF-8.") from None
    except csv.Error as error:
        raise TraceError(f"{path} is not CSV: {error}.") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    from kubelib.sim.sweep.tables import read_parquet

    try:
        yield from enumerate(read_parquet(path), 1)
    except (OSError, ValueError) as error:
        raise TraceError(f"{path} cannot be read: {str(error).splitlines()[0].rstrip('.')}.") from None


class Fields:
    """The fields of a row, read with sentences about what is wrong."""

    def __init__(self, path: Path, line: int, fields: Mapping[str, Any]) -> None:
        self._where = f"Line {line} of {path}"
        self._fields = fields

    def has(self, name: str) -> bool:
        """Return whether there is such a column."""
        return name in self._fields

    def text(self, name: str) -> str:
        """Return a field's text; raises `TraceError` if the column is missing and needed."""
        if name not in self._fields:
            if name in _OPTIONAL:
                return ""
            raise TraceError(f"{self._where}: there is no column {name}.")
        value = self._fields[name]
        return "" if value is None else str(value).strip()

    def number(self, name: str, *, least: float = 0.0, above: bool = True) -> float:
        """Return a number; raises `TraceError` unless it is finite and above `least`, or at least that."""
        text = self.text(name)
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not isfinite(value) or value < least or (above and value == least):
            bound = f"above {least:g}" if above else f"from {least:g}"
            raise TraceError(f"{self._where}: {name} is {text!r}, not a number {bound}.")
        return value

    def whole(self, name: str, *, least: int | None = 1, most: int = MOST) -> int:
        """Return a whole number; raises `TraceError` unless it is one, of at least `least`, which is not further from 0 than `most`."""
        text = self.text(name) or ("0" if name in _OPTIONAL else "")
        try:
            value = int(text) if "." not in text else int(float(text)) if float(text).is_integer() else None
        except ValueError:
            value = None
        if value is None or (least is not None and value < least):
            raise TraceError(f"{self._where}: {name} is {text!r}, not a whole number{'' if least is None else f' from {least}'}.")  # fmt: skip
        if abs(value) > most:
            raise TraceError(f"{self._where}: {name} is {text!r}, further from 0 than {most:,}.")
        return value

    def fail(self, message: str) -> TraceError:
        """Return an error about this row."""
        return TraceError(f"{self._where}: {message}")


def read_day(path: Path) -> Day:
    """Return the jobs of a trace. Raises `TraceError`."""
    jobs: dict[str, list[Job]] = {name: [] for name in WORKLOADS}
    selectors: dict[str, None] = {"": None}
    for line, row in rows_of(path):
        fields = Fields(path, line, row)
        name = fields.text("workload")
        if name not in jobs:
            raise fields.fail(f"workload is {name!r}, none of {', '.join(WORKLOADS)}.")
        constraint = fields.text("constraint")
        if constraint not in selectors:
            try:
                parse_selector(constraint)
            except SelectorError as error:
                raise fields.fail(f"constraint {constraint!r} is no label selector: {error}.") from None
            selectors[constraint] = None
        jobs[name].append(
            Job(
                fields.number("submit", above=False),
                fields.whole("tasks"),
                fields.number("duration"),
                fields.number("cpu"),
                fields.number("memory"),
                fields.whole("priority", least=None, most=2**31 - 1),
                constraint,
                _resources(fields),
            )
        )
    if not any(jobs.values()):
        raise TraceError(f"{path} has no jobs.")
    prefill, batch, service = (Workload.of(name, jobs[name]) for name in WORKLOADS)
    return Day(batch, service, prefill)


def write_day(path: Path, day: Day) -> None:
    """Write a trace. Raises `kubelib.sim.sweep.base.SweepError` if the file cannot be written."""
    rows: list[Row] = []
    for name, workload in zip(WORKLOADS, (day.prefill, day.batch, day.service), strict=True):
        rows += (
            {"workload": name, "submit": job.submit, "tasks": job.tasks, "duration": job.duration, "cpu": job.cpu,
             "memory": job.memory, "priority": job.priority, "constraint": job.constraint,
             "resources": _resources_text(job.more)}
            for job in workload
        )  # fmt: skip
    write_table(path, _without_unused(rows))


def read_cell(path: Path) -> Cell:
    """Return the machines of a cell. Raises `TraceError`."""
    groups = []
    for line, row in rows_of(path):
        fields = Fields(path, line, row)
        groups.append(
            Machines(
                fields.whole("count"),
                fields.number("cpu"),
                fields.number("memory"),
                _labels(fields),
                _resources(fields),
            )
        )
    if not groups:
        raise TraceError(f"{path} has no machines.")
    return Cell(tuple(groups))


def _pairs(fields: Fields, name: str) -> dict[str, str]:
    pairs = {}
    for pair in filter(None, fields.text(name).split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise fields.fail(f"{name} has {pair!r}, which is no key=value.")
        pairs[key.strip()] = value.strip()
    return pairs


def _labels(fields: Fields) -> dict[str, str]:
    return _pairs(fields, "labels")


def _resources(fields: Fields) -> dict[str, float]:
    resources = {}
    for name, text in _pairs(fields, "resources").items():
        try:
            amount = float(text)
        except ValueError:
            amount = float("nan")
        if not 0 <= amount < float("inf") or name in ("cpu", "memory") or not RESOURCE.fullmatch(name):
            raise fields.fail(f"resources has {name}={text}, which is no amount of a further resource.")
        resources[name] = amount
    return resources


def _resources_text(resources: Mapping[str, float]) -> str:
    return ",".join(f"{name}={amount!r}" for name, amount in sorted(resources.items()))


def _without_unused(rows: list[Row]) -> list[Row]:
    """Return rows without the column of resources if none names any."""
    if any(row["resources"] for row in rows):
        return rows
    return [{name: value for name, value in row.items() if name != "resources"} for row in rows]


def write_cell(path: Path, cell: Cell) -> None:
    """Write the machines of a cell. Raises `kubelib.sim.sweep.base.SweepError` if the file cannot be written."""
    rows: list[Row] = [
        {
            "count": group.count,
            "cpu": group.cpu,
            "memory": group.memory,
            "labels": labels_text(group.labels),
            "resources": _resources_text(group.more),
        }
        for group in cell.machines
    ]
    write_table(path, _without_unused(rows))


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as a trace has them.

    >>> labels_text({"zone": "a", "ssd": ""})
    'ssd=,zone=a'
    """
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def grouped(machines: Iterable[Machines]) -> Cell:
    """Return a cell of machines given one by one; equal ones make a group, in the order in which they first appear."""
    groups: dict[tuple[float, float, str, str], Machines] = {}
    for one in machines:
        key = (one.cpu, one.memory, labels_text(one.labels), _resources_text(one.more))
        known = groups.get(key)
        groups[key] = one if known is None else evolve(known, count=known.count + one.count)
    return Cell(tuple(groups.values()))
