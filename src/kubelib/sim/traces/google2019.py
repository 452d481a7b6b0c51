"""Google's traces of 2019 (``clusterdata-2019``): tables as BigQuery exports them, in lines of JSON or CSV with a header.

Of each part the table is known by the name of its file or directory: ``instance_events``, ``machine_events``,
``machine_attributes``; all but the first may be left out. Nested fields of JSON (``resource_request.cpus``) are flattened in CSV, with
a dot or an underscore; only JSON has constraints. Names of enumerations may stand for their numbers. Jobs of priority 120 and above
(production) whose scheduling class is 2 or 3 are service jobs; alloc sets are left out.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubelib.sim.traces.google import BEGAN, ENDED, SUBMITTED, Gathering, Trace, label, machines, requirement
from kubelib.sim.traces.schema import TraceError, rows_of

TABLES = ("instance_events", "machine_events", "machine_attributes")
_TYPES = ("SUBMIT", "QUEUE", "ENABLE", "SCHEDULE", "EVICT", "FAIL", "FINISH", "KILL", "LOST", "UPDATE_PENDING", "UPDATE_RUNNING")  # fmt: skip
_RELATIONS = ("EQUAL", "NOT_EQUAL", "LESS_THAN", "GREATER_THAN", "LESS_THAN_EQUAL", "GREATER_THAN_EQUAL", "PRESENT", "NOT_PRESENT")  # fmt: skip
_BEGIN, _ENDS = 3, range(4, 9)
_REMOVED = ("2", "REMOVE")
_PRODUCTION = 120
_SENSITIVE = 2

Record = Mapping[str, Any]


def read(paths: Sequence[Path]) -> Trace:
    """Return the trace in some parts of its tables. Raises `TraceError`."""
    tables: dict[str, list[Path]] = {name: [] for name in TABLES}
    for path in paths:
        tables[_table_of(path)].append(path)
    if not tables["instance_events"]:
        raise TraceError("The traces of 2019 need their instance_events: name a file of them.")
    gathering = Gathering()
    for path in sorted(tables["instance_events"]):
        for line, record in _records(path):
            try:
                _read_instance(record, gathering)
            except (KeyError, TypeError, ValueError) as error:
                raise TraceError(f"Line {line} of {path} is no instance event: {_reason(error)}.") from None
    attributes: dict[str, dict[str, str]] = {}
    for path in sorted(tables["machine_attributes"]):
        for _, record in _records(path):
            if str(record.get("deleted", "false")).lower() not in ("true", "1"):
                name, value = label(str(record.get("name"))), label(str(record.get("value") or ""))
                attributes.setdefault(str(record.get("machine_id")), {})[name] = value
    capacities: dict[str, tuple[float, float]] = {}
    for path in sorted(tables["machine_events"]):
        for line, record in _records(path):
            try:
                cpu, memory = _pair(record, "capacity")
            except ValueError as error:
                raise TraceError(f"Line {line} of {path} is no machine event: {_reason(error)}.") from None
            if str(record.get("type")) not in _REMOVED and cpu and memory:
                capacities[str(record.get("machine_id"))] = (cpu, memory)
    cell = machines(
        ((name, cpu, memory) for name, (cpu, memory) in capacities.items()),
        attributes,
        gathering.attributes(),
    )
    return Trace(gathering.day(), cell, gathering.left_out)


def _reason(error: Exception) -> str:
    return f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error).rstrip(".")


def _table_of(path: Path) -> str:
    for name in TABLES:
        if name in path.name or name == path.parent.name:
            return name
    raise TraceError(
        f"{path} is none of the tables {', '.join(TABLES)}: its name or directory must say which."
    )


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    if ".json" not in "".join(path.suffixes):
        yield from rows_of(path)
        return
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise TraceError(f"Line {number} of {path} is no JSON object.")
                    yield number, record
    except json.JSONDecodeError as error:
        raise TraceError(f"Line {number} of {path} is no JSON: {error.msg}.") from None
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (UnicodeDecodeError, EOFError, zlib.error):
        raise TraceError(f"{path} is broken: it ends early, or is not text in UTF-8.") from None


def _pair(record: Record, name: str) -> tuple[float | None, float | None]:
    """Return the CPUs and memory of a nested field, or of its flattened columns."""
    nested = record.get(name)
    values = []
    for part in ("cpus", "memory"):
        value = (
            nested.get(part)
            if isinstance(nested, dict)
            else record.get(f"{name}.{part}", record.get(f"{name}_{part}"))
        )
        number = None if value in (None, "") else float(value)
        if number is not None and not 0 <= number < float("inf"):
            raise ValueError(f"{name}.{part} is {value}")
        values.append(number)
    return values[0], values[1]


def _one_of(value: Any, names: Sequence[str]) -> int:
    text = str(value)
    number = names.index(text) if text in names else int(text)
    if not 0 <= number < len(names):
        raise ValueError(f"{text} is none of {', '.join(names)}")
    return number


def _read_instance(record: Record, gathering: Gathering) -> None:
    if str(record.get("collection_type") or 0) in ("1", "ALLOC_SET"):
        gathering.left_out["events of alloc sets"] += 1
        return
    kind = _one_of(record["type"], _TYPES)
    priority = int(record.get("priority") or 0)
    cpu, memory = _pair(record, "resource_request")
    job = str(record["collection_id"])
    gathering.event(
        int(record["time"]),
        job,
        int(record["instance_index"]),
        BEGAN if kind == _BEGIN else ENDED if kind in _ENDS else SUBMITTED,
        service=priority >= _PRODUCTION and int(record.get("scheduling_class") or 0) >= _SENSITIVE,
        priority=priority,
        cpu=cpu,
        memory=memory,
    )
    for constraint in record.get("constraint") or () if not isinstance(record.get("constraint"), str) else ():
        relation = _one_of(constraint.get("relation") or 0, _RELATIONS)
        text = requirement(str(constraint["name"]), relation, str(constraint.get("value") or ""))
        if text is None:
            gathering.left_out["constraints that selectors cannot say"] += 1
        else:
            gathering.constrain(job, text)
