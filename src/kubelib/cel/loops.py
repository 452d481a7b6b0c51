"""The macros as loops of Python. Each pass is charged as the pass of cel-go's fold would be."""

from collections.abc import Callable, Iterator
from typing import Any

from kubelib.cel.base import CostExceeded, EvaluationError
from kubelib.cel.frame import Closure, Compiled, Frame, Reader, no_overload
from kubelib.cel.syntax import MacroName

Part = Compiled | None
Read = Reader | None
Make = Callable[[Closure, list[int], Part, Part, Read], Compiled]


def _passes(over: Closure, slots: list[int], read: Read, cost: int) -> Callable[[Frame], Iterator[Any]]:
    """Return what puts one element, or key and value, after the other into the frame, and charges for it."""
    first, second = slots[0], slots[-1]
    single = len(slots) == 1

    def run(f: Frame) -> Iterator[Any]:
        items = over(f)
        if items.__class__ is list:
            for at, item in enumerate(items):
                f[0] += cost
                if f[0] > f[1]:
                    raise CostExceeded
                if not single:
                    f[first] = at
                f[second] = item if read is None else read(item)
                yield at
        elif items.__class__ is dict:
            for key, value in items.items():
                f[0] += cost
                if f[0] > f[1]:
                    raise CostExceeded
                f[first] = key
                if not single:
                    f[second] = value if read is None else read(value)
                yield key
        else:
            raise no_overload()

    return run


def _need(part: Part) -> Compiled:
    assert part is not None
    return part


def _quantifier(*, stop: bool, per_pass: int) -> Make:
    """Return ``all`` or ``exists``: an element that decides makes up for those that fail."""

    def make(over: Closure, slots: list[int], condition: Part, transform: Part, read: Read) -> Compiled:
        test, cost = _need(condition)
        cost += per_pass
        passes = _passes(over, slots, read, cost)

        def run(f: Frame) -> bool:
            failure: EvaluationError | None = None
            for _ in passes(f):
                try:
                    value = test(f)
                except EvaluationError as error:
                    if isinstance(error, CostExceeded):
                        raise
                    failure = error
                    continue
                if value is stop:
                    return bool(stop)
                if value.__class__ is not bool:
                    failure = no_overload()
            if failure is not None:
                raise failure
            return not stop

        slot = slots[0]

        def run_over_list(f: Frame) -> bool:
            items = over(f)
            if items.__class__ is not list:
                return general(f)
            failure: EvaluationError | None = None
            for item in items:
                f[0] += cost
                if f[0] > f[1]:
                    raise CostExceeded
                f[slot] = item
                try:
                    value = test(f)
                except EvaluationError as error:
                    if isinstance(error, CostExceeded):
                        raise
                    failure = error
                    continue
                if value is stop:
                    return bool(stop)
                if value.__class__ is not bool:
                    failure = no_overload()
            if failure is not None:
                raise failure
            return not stop

        general = run
        return (run_over_list if len(slots) == 1 and read is None else run), 1

    return make


def _exists_one(over: Closure, slots: list[int], condition: Part, _: Part, read: Read) -> Compiled:
    test, cost = _need(condition)
    passes = _passes(over, slots, read, cost + 1)

    def run(f: Frame) -> bool:
        count = 0
        for _ in passes(f):
            value = test(f)
            if value is True:
                count += 1
                f[0] += 1
            elif value is not False:
                raise no_overload()
        return count == 1

    return run, 2


def _filter(over: Closure, slots: list[int], condition: Part, _: Part, read: Read) -> Compiled:
    test, cost = _need(condition)
    passes = _passes(over, slots, read, cost + 1)
    slot = slots[0]

    def run(f: Frame) -> list[Any]:
        out = []
        for _ in passes(f):
            item = f[slot]
            value = test(f)
            if value is True:
                f[0] += 12
                out.append(item)
            elif value is not False:
                raise no_overload()
        return out

    return run, 1


def _map(over: Closure, slots: list[int], condition: Part, transform: Part, read: Read) -> Compiled:
    make, make_cost = _need(transform)
    make_cost += 12
    if condition is None:
        passes = _passes(over, slots, read, make_cost)
        return (lambda f: [make(f) for _ in passes(f)]), 1
    test, cost = condition
    passes = _passes(over, slots, read, cost + 1)

    def run(f: Frame) -> list[Any]:
        out = []
        for _ in passes(f):
            value = test(f)
            if value is True:
                f[0] += make_cost
                out.append(make(f))
            elif value is not False:
                raise no_overload()
        return out

    return run, 1


def _transform_map(over: Closure, slots: list[int], condition: Part, transform: Part, read: Read) -> Compiled:
    make, make_cost = _need(transform)
    test, cost = condition if condition is not None else (lambda f: True, 0)
    passes = _passes(over, slots, read, cost + make_cost + 3)

    def run(f: Frame) -> dict[Any, Any]:
        out = {}
        for key in passes(f):
            value = test(f)
            if value is True:
                out[key] = make(f)
            elif value is not False:
                raise no_overload()
        return out

    return run, 31


def _transform_entry(
    over: Closure, slots: list[int], condition: Part, transform: Part, read: Read
) -> Compiled:
    make, make_cost = _need(transform)
    test, cost = condition if condition is not None else (lambda f: True, 0)
    passes = _passes(over, slots, read, cost + make_cost + 3)

    def run(f: Frame) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for _ in passes(f):
            value = test(f)
            if value is False:
                continue
            if value is not True:
                raise no_overload()
            entry = make(f)
            if entry.__class__ is not dict:
                raise no_overload()
            for key, made in entry.items():
                if key in out:
                    raise EvaluationError(f"insert failed: key {key} already exists")
                out[key] = made
        return out

    return run, 31


LOOPS: dict[MacroName, Make] = {
    "all": _quantifier(stop=False, per_pass=3),
    "exists": _quantifier(stop=True, per_pass=4),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
    "transformList": _map,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entry,
}
