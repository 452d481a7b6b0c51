"""What both of Google's traces have in common: tasks that are submitted, run and end, gathered into jobs of equal tasks."""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from math import nan

import attrs

from kubelib.sim.cell.base import Cell, Job, Machines, Workload
from kubelib.sim.cell.workloads import Day
from kubelib.sim.traces.schema import TraceError

SUBMITTED, BEGAN, ENDED = "submitted", "began", "ended"
_BEGIN = 600.0
"""Both traces begin at this second; what is at 0 was there before."""
_LEAST = 1e-6
_NEVER = (1 << 63) - 1
_UNKNOWN, _ABSENT = -1, -2
_MOST_TASKS = 10_000_000


@attrs.frozen
class Trace:
    """What was read: the jobs, the machines if they were given, and what was left out, by reason."""

    day: Day
    cell: Cell | None
    left_out: Mapping[str, int]


@attrs.define
class _Job:
    """A job, with a place in each column for each of its tasks: traces have tens of millions of them."""

    submit: float
    before: bool
    service: bool
    priority: int
    began: "array[float]" = attrs.field(factory=lambda: array("d"))
    """NaN: it does not run."""
    longest: "array[float]" = attrs.field(factory=lambda: array("d"))
    request: "array[int]" = attrs.field(factory=lambda: array("i"))
    """Which of the `requests`; or `_UNKNOWN`, or `_ABSENT` where there is no such task."""
    requests: list[tuple[float, float]] = attrs.field(factory=list)

    def know(self, index: int, request: tuple[float, float] | None) -> None:
        """Note that there is a task, and what it asks for if that is known."""
        missing = index + 1 - len(self.request)
        if missing > 0:
            self.began.extend([nan] * missing)
            self.longest.extend([0.0] * missing)
            self.request.extend([_ABSENT] * missing)
        if request is not None:
            if request not in self.requests:
                self.requests.append(request)
            self.request[index] = self.requests.index(request)
        elif self.request[index] == _ABSENT:
            self.request[index] = _UNKNOWN

    def end(self, index: int, time: float) -> None:
        """Note that a task ends, if it runs."""
        began = self.began[index]
        if began == began:
            self.longest[index] = max(self.longest[index], time - began)
            self.began[index] = nan


class Gathering:
    """Jobs in the making.

    A task's duration is that of its longest run (a task that is evicted runs again); one that still runs at the end of
    the trace ran until then. A job takes the mean of its tasks: their duration and what they ask for. What is kept is twenty bytes
    for each task and nothing for each event.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._constraints: dict[str, dict[str, None]] = {}
        self._last = 0.0
        self.left_out: Counter[str] = Counter()

    def event(
        self, microseconds: int, job: str, index: int, what: str, *, service: bool, priority: int,
        cpu: float | None, memory: float | None,
    ) -> None:  # fmt: skip
        """Note what happened to a task. Raises ValueError for one that no job can have."""
        if not 0 <= index < _MOST_TASKS:
            raise ValueError(f"there is no task {index} of a job")
        if microseconds >= _NEVER:
            # after the end of the trace
            return
        time = max(0.0, microseconds / 1e6 - _BEGIN)
        self._last = max(self._last, time)
        found = self._jobs.get(job)
        if found is None:
            found = self._jobs[job] = _Job(time, microseconds == 0, service, priority)
        found.know(index, None if cpu is None or memory is None else (cpu, memory))
        if what in (BEGAN, ENDED):
            found.end(index, time)
        if what == BEGAN:
            found.began[index] = time

    def constrain(self, job: str, requirement: str) -> None:
        """Note a requirement of a job's tasks; equal ones count once."""
        self._constraints.setdefault(job, {})[requirement] = None

    def attributes(self) -> set[str]:
        """Return the labels that any constraint looks at."""
        texts = (text for requirements in self._constraints.values() for text in requirements)
        return {re.split(r"[=!<>]", text.lstrip("!"))[0] for text in texts}

    def day(self) -> Day:
        """Return the jobs. Raises `TraceError` if there are none."""
        jobs: dict[str, list[Job]] = {"prefill": [], "batch": [], "service": []}
        for name, job in self._jobs.items():
            made = self._job(name, job)
            if made:
                # what is at time 0 was there before the trace began
                kind = "prefill" if job.before else ("service" if job.service else "batch")
                jobs[kind].append(made)
        if not any(jobs.values()):
            raise TraceError("No job of the trace ever ran.")
        prefill, batch, service = (Workload.of(kind, found) for kind, found in jobs.items())
        return Day(batch, service, prefill)

    def _job(self, name: str, job: _Job) -> Job | None:
        for index in range(len(job.request)):
            job.end(index, self._last)
        ran = [longest for longest in job.longest if longest > 0]
        asked = [job.requests[request] for request in job.request if request >= 0]
        if not ran:
            self.left_out["jobs that never ran"] += 1
            return None
        if not asked:
            self.left_out["jobs without a request"] += 1
            return None
        return Job(
            submit=job.submit,
            tasks=len(job.request) - job.request.count(_ABSENT),
            duration=sum(ran) / len(ran),
            cpu=max(sum(cpu for cpu, _ in asked) / len(asked), _LEAST),
            memory=max(sum(memory for _, memory in asked) / len(asked), _LEAST),
            priority=job.priority,
            constraint=",".join(self._constraints.get(name, ())),
        )


_RELATIONS = {0: "=", 1: "!=", 2: "<", 3: ">", 4: "<=", 5: ">=", 6: "exists", 7: "!"}


def requirement(name: str, relation: int, value: str) -> str | None:
    """Return a comparison of a machine's attribute as a label selector, None if selectors cannot say it.

    Names and values are obfuscated, with characters that labels may not have: these are replaced. Equality with nothing means
    that there is no such attribute. Order is that of whole numbers.

    >>> requirement("9eCGRtl/", 0, "2"), requirement("wN", 5, "4"), requirement("wN", 0, "")
    ('x9eCGRtl-x=2', 'wN>3', '!wN')
    """
    key, operator = label(name), _RELATIONS.get(relation)
    if operator in ("exists", "!"):
        return key if operator == "exists" else f"!{key}"
    if operator in ("=", "!="):
        if not value:
            return f"!{key}" if operator == "=" else key
        return f"{key}{operator}{label(value) if not value.isdigit() else value}"
    try:
        bound = int(float(value or "0"))
    except ValueError:
        return None
    match operator:
        case "<" | ">":
            return f"{key}{operator}{bound}"
        case "<=":
            return f"{key}<{bound + 1}"
        case ">=":
            return f"{key}>{bound - 1}"
    return None


def label(text: str) -> str:
    """Return a text as the name or value of a label: what labels may not have becomes ``-``, and the ends are letters or digits."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:61]
    if plain[:1].isdigit() and not plain.isdigit():
        plain = f"x{plain}"
    if plain and not plain[0].isalnum():
        plain = f"x{plain}"
    return plain if not plain or plain[-1].isalnum() else f"{plain}x"


def machines(
    capacities: Iterable[tuple[str, float, float]],
    attributes: Mapping[str, Mapping[str, str]],
    wanted: set[str],
) -> Cell | None:
    """Return the cell of machines by name, with the attributes as labels that constraints look at; None of none."""
    from kubelib.sim.traces.schema import grouped

    found = [
        Machines(
            1, cpu, memory, {key: value for key, value in attributes.get(name, {}).items() if key in wanted}
        )
        for name, cpu, memory in capacities
    ]
    return grouped(found) if found else None
