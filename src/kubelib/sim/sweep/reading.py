"""Sweeps in TOML files: a parameter that is given as a list is swept over."""

import tomllib
from difflib import get_close_matches
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import attrs

from kubelib.sim.cell.base import Cell, Machines
from kubelib.sim.sweep.base import PARAMETERS, Point, SweepError, Work
from kubelib.sim.traces.schema import read_cell
from kubelib.sim.traces.synthetic import Demand, mixed_cell

_TOP = ("seeds", "trace", "cell", "demand", "sweep")
_GROUP = ("count", "cpu", "memory", "labels", "resources")
MOST_POINTS = 1_000_000
_TYPES: dict[str, type] = {field.name: type(field.default) for field in attrs.fields(Point)}


def read_sweep(path: Path) -> list[Work]:
    """Return what a sweep's file asks for, in the order of its parameters. Raises `SweepError`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SweepError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SweepError(f"{path} is not text in UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise SweepError(f"{path} is not TOML: {error}.") from None
    try:
        return sweep_of(document, path.parent)
    except (ValueError, TypeError) as error:
        raise SweepError(f"{path}: {error}") from None


def sweep_of(document: dict[str, Any], directory: Path = Path()) -> list[Work]:
    """Return what a sweep's document asks for; a trace is looked for in `directory`. Raises ValueError."""
    _known(document, _TOP, "A sweep")
    tables = document.get("sweep", [])
    tables = tables if isinstance(tables, list) else [tables]
    if not tables or not all(isinstance(table, dict) and table for table in tables):
        raise ValueError("There is nothing to simulate: give parameters under [sweep].")
    cell = _cell(document["cell"], directory) if "cell" in document else Cell()
    trace, digest = _trace(document.get("trace"), directory)
    seeds = _seeds(document.get("seeds", 1))
    demands = _demands(document.get("demand", {}), cell)
    count = len(seeds) * sum(map(_size, tables))
    if count > MOST_POINTS:
        raise ValueError(f"The sweep has {count:,} points: give at most {MOST_POINTS:,}.")
    points = [
        point for table in tables for choice in _choices(table) for point in _points(choice, seeds, cell)
    ]
    if trace and any(_shapes_jobs(point) for point in points):
        raise ValueError(
            "A trace says itself what is submitted: load, prefill, constrained and priorities are for synthetic jobs."
        )
    if trace and demands:
        raise ValueError("A trace says itself what is submitted: demand is for synthetic jobs.")
    return list(dict.fromkeys(Work(point, cell, trace, digest, demands) for point in points))


def _size(table: dict[str, Any]) -> int:
    return prod(len(value) if isinstance(value, list) else 1 for value in table.values())


def _known(table: dict[str, Any], names: tuple[str, ...], what: str) -> None:
    for name in table:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}."
            raise ValueError(f"{what} has no {name!r}: {hint}")


def _cell(table: Any, directory: Path) -> Cell:
    if isinstance(table, dict) and isinstance(table.get("file"), str):
        _known(table, ("file",), "A cell with a file")
        return read_cell(directory / table["file"])
    if isinstance(table, dict) and "mixed" in table:
        _known(table, ("mixed",), "A mixed cell")
        if type(table["mixed"]) is not int:
            raise ValueError(f"mixed is {table['mixed']!r}: give how many machines.")
        return mixed_cell(table["mixed"])
    if not isinstance(table, dict) or not isinstance(table.get("machines"), list):
        raise ValueError(
            "A cell gives its machines as a list: [[cell.machines]] with count, cpu and memory, or a file."
        )
    _known(table, ("machines",), "A cell")
    return Cell(tuple(map(_machines, table["machines"])))


def _machines(group: Any) -> Machines:
    if not isinstance(group, dict):
        raise ValueError(f"A group of machines is {group!r}: give a table with count, cpu and memory.")
    _known(group, _GROUP, "A group of machines")
    for name in ("count", "cpu", "memory"):
        if not _is_number(group.get(name), whole=name == "count"):
            raise ValueError(f"{name} of a group of machines must be a{' whole' * (name == 'count')} number.")
        if not 0 < group[name] < float("inf"):
            raise ValueError(f"{name} of a group of machines is {group[name]}: give a number above 0.")
    for name in ("labels", "resources"):
        if not isinstance(group.get(name, {}), dict):
            raise ValueError(f"{name} of a group of machines is {group[name]!r}: give a table.")
    labels = {str(key): str(value) for key, value in group.get("labels", {}).items()}
    resources = group.get("resources", {})
    for name, amount in resources.items():
        if not _is_number(amount):
            raise ValueError(f"{name} among the resources of a group of machines must be a number.")
    try:
        more = {name: float(amount) for name, amount in resources.items()}
        return Machines(group["count"], float(group["cpu"]), float(group["memory"]), labels, more)
    except ValueError as error:
        raise ValueError(
            str(error).replace("more of Machines has", "resources of a group of machines has", 1)
        ) from None


def _is_number(value: Any, *, whole: bool = False) -> bool:
    return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)


def _demands(table: Any, cell: Cell) -> tuple[Demand, ...]:
    if not isinstance(table, dict):
        raise ValueError("demand must be a table: [demand.gpu] with share and mean, for example.")
    demands = []
    for resource, demand in table.items():
        if not isinstance(demand, dict):
            raise ValueError(f"demand.{resource} is {demand!r}: give a table with share and mean.")
        _known(demand, ("share", "mean"), f"demand.{resource}")
        for name in ("share", "mean"):
            if not _is_number(demand.get(name)):
                raise ValueError(f"{name} of demand.{resource} must be a number.")
        if resource not in cell.more:
            raise ValueError(f"No machine has any {resource}: give it under resources of cell.machines.")
        try:
            demands.append(Demand(resource, float(demand["share"]), float(demand["mean"])))
        except ValueError as error:
            raise ValueError(str(error).replace(f"of {resource}", f"of demand.{resource}", 1)) from None
    return tuple(demands)


def _trace(name: Any, directory: Path) -> tuple[Path | None, str]:
    if name is None:
        return None, ""
    if not isinstance(name, str):
        raise ValueError("trace must be the name of a file.")
    path = directory / name
    try:
        return path, sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"The trace {path} cannot be read: {error.strerror}.") from None


def _seeds(value: Any) -> list[int]:
    if _is_number(value, whole=True) and value > MOST_POINTS:
        raise ValueError(f"seeds is {value}: give at most {MOST_POINTS:,}.")
    seeds = list(range(1, value + 1)) if _is_number(value, whole=True) else value
    whole = isinstance(seeds, list) and all(_is_number(seed, whole=True) and seed > 0 for seed in seeds)
    if not whole or not seeds:
        raise ValueError(f"seeds is {value!r}: give how many, or a list of numbers above 0.")
    return list(seeds)


def _choices(table: dict[str, Any]) -> list[dict[str, Any]]:
    _known(table, tuple(name for name in PARAMETERS if name != "seed"), "A point")
    axes = []
    for name, value in table.items():
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError(f"{name} is an empty list: give at least one value.")
        axes.append([(name, _typed(name, one)) for one in values])
    return [dict(choice) for choice in product(*axes)]


def _typed(name: str, value: Any) -> Any:
    kind = _TYPES[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        words = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
        raise ValueError(f"{name} is {value!r}: give {words[kind]}.")
    if kind is float and value != value:
        raise ValueError(f"{name} is not a number.")
    return value


_SYNTHETIC = ("load", "prefill", "constrained", "batch_priority", "service_priority")


def _shapes_jobs(point: Point) -> bool:
    default = Point()
    return any(getattr(point, name) != getattr(default, name) for name in _SYNTHETIC)


def _points(choice: dict[str, Any], seeds: list[int], cell: Cell) -> list[Point]:
    points = [Point(**choice, seed=seed) for seed in seeds]
    points[0].check(cell)
    return points
