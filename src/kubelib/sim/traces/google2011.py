"""Google's trace of 2011 (``clusterdata-2011-2``): tables of CSV without headers, many parts each.

Of each part the table is known by the name of its file or directory: ``task_events``, ``task_constraints``, ``machine_events``,
``machine_attributes``; all but the first may be left out. Times are in microseconds, resources are shares of the largest machine.
Jobs of priority 9 and above whose scheduling class is 2 or 3 are service jobs.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kubelib.sim.traces.google import BEGAN, ENDED, SUBMITTED, Gathering, Trace, label, machines, requirement
from kubelib.sim.traces.schema import TraceError, lines_of

TABLES = ("task_events", "task_constraints", "machine_events", "machine_attributes")
_EVENTS = {
    0: SUBMITTED,
    1: BEGAN,
    2: ENDED,
    3: ENDED,
    4: ENDED,
    5: ENDED,
    6: ENDED,
    7: SUBMITTED,
    8: SUBMITTED,
}
_PRODUCTION = 9
_SENSITIVE = 2


def read(paths: Sequence[Path]) -> Trace:
    """Return the trace in some parts of its tables. Raises `TraceError`."""
    tables: dict[str, list[Path]] = {name: [] for name in TABLES}
    for path in paths:
        tables[_table_of(path)].append(path)
    if not tables["task_events"]:
        raise TraceError("The trace of 2011 needs its task_events: name a file of them.")
    gathering = Gathering()
    for path in sorted(tables["task_events"]):
        _read_tasks(path, gathering)
    for path in sorted(tables["task_constraints"]):
        _read_constraints(path, gathering)
    attributes: dict[str, dict[str, str]] = {}
    for path in sorted(tables["machine_attributes"]):
        for fields in _rows(path, 4):
            if len(fields) < 5 or fields[4] not in ("1", "true"):
                attributes.setdefault(fields[1], {})[label(fields[2])] = label(fields[3])
    capacities: dict[str, tuple[float, float]] = {}
    for path in sorted(tables["machine_events"]):
        for fields in _rows(path, 6):
            if fields[2] != "1" and fields[4] and fields[5]:
                capacities[fields[1]] = (_number(path, fields[4]), _number(path, fields[5]))
    cell = machines(
        ((name, cpu, memory) for name, (cpu, memory) in capacities.items() if cpu > 0 and memory > 0),
        attributes,
        gathering.attributes(),
    )
    return Trace(gathering.day(), cell, gathering.left_out)


def _table_of(path: Path) -> str:
    for name in TABLES:
        if name in path.name or name == path.parent.name:
            return name
    raise TraceError(
        f"{path} is none of the tables {', '.join(TABLES)}: its name or directory must say which."
    )


def _rows(path: Path, least: int) -> Iterator[list[str]]:
    for line, fields in lines_of(path):
        if len(fields) < least:
            raise TraceError(f"Line {line} of {path} has {len(fields)} fields, not {least}.")
        yield fields


def _number(path: Path, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise TraceError(f"{path} has {text!r} where a number belongs.")
    return value


def _whole(path: Path, text: str) -> int:
    try:
        return int(text or "0")
    except ValueError:
        raise TraceError(f"{path} has {text!r} where a whole number belongs.") from None


def _read_tasks(path: Path, gathering: Gathering) -> None:
    for fields in _rows(path, 11):
        event = _whole(path, fields[5])
        if event not in _EVENTS:
            raise TraceError(f"{path} has an event of type {event}, which the trace of 2011 has not.")
        priority = _whole(path, fields[8])
        arguments = (_whole(path, fields[0]), fields[2], _whole(path, fields[3]), _EVENTS[event])
        cpu, memory = (_number(path, text) if text else None for text in fields[9:11])
        service = priority >= _PRODUCTION and _whole(path, fields[7]) >= _SENSITIVE
        try:
            gathering.event(*arguments, service=service, priority=priority, cpu=cpu, memory=memory)
        except ValueError as error:
            raise TraceError(f"{path} cannot be right: {error}.") from None


def _read_constraints(path: Path, gathering: Gathering) -> None:
    """Read requirements; the operator stands before the name in the data, but after the value in the published description."""
    for fields in _rows(path, 6):
        operator, name, value = (
            fields[3:6] if fields[3] in tuple("0123") else (fields[5], fields[3], fields[4])
        )
        text = requirement(name, _whole(path, operator), value)
        if text is None:
            gathering.left_out["constraints that selectors cannot say"] += 1
        else:
            gathering.constrain(fields[1], text)
