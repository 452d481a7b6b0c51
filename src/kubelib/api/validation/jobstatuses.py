"""What may change about the status of a Job: whoever runs it, it ends once, and as it was said that it would."""

from collections.abc import Callable
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.times import parse_time
from kubelib.api.validation.indexed import count_indexes, overlap
from kubelib.api.validation.problems import duplicate, faulty, invalid, non_negative, required

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_CONDITIONS = "status.conditions"


class _State:
    """A Job's status, and what its conditions say."""

    def __init__(self, tree: Tree) -> None:
        self.spec: Tree = tree.get("spec") or {}
        self.status: Tree = tree.get("status") or {}
        self.true = {
            condition.get("type")
            for condition in self.status.get("conditions") or ()
            if condition.get("status") == "True"
        }
        self.complete, self.failed = "Complete" in self.true, "Failed" in self.true
        self.finished = self.complete or self.failed
        self.failing, self.succeeding = "FailureTarget" in self.true, "SuccessCriteriaMet" in self.true

    def count(self, field: str) -> int:
        return self.status.get(field) or 0


def job_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to the status of a Job; what was wrong before and has not changed is tolerated."""
    now, then = _State(new), _State(old)

    def changed(*parts: str) -> bool:
        return any(
            getattr(now, part) != getattr(then, part)
            if part in _STATES
            else now.status.get(part) != then.status.get(part)
            for part in parts
        )

    problems: list[Problem] = []
    for field in _COUNTS:
        problems += non_negative(f"status.{field}", now.status.get(field))
    _uncounted_problems(now.status.get("uncountedTerminatedPods") or {}, problems)
    _end_problems(now, changed, problems)
    _index_problems(now, changed, problems)
    if now.count("terminating") > 0 and now.finished and changed("finished", "terminating"):
        why = "terminating>0 is invalid for finished job"
        problems.append(invalid("status.terminating", now.count("terminating"), why))
    if now.count("ready") > now.count("active") and changed("ready", "active"):
        problems.append(invalid("status.ready", now.count("ready"), "cannot set more ready pods than active"))
    if now.succeeding and now.failed:
        problems.append(faulty(_CONDITIONS, "cannot set SuccessCriteriaMet=True and Failed=true conditions"))
    if now.succeeding and now.failing:
        problems.append(
            faulty(_CONDITIONS, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
        )
    if now.spec.get("successPolicy") is not None and now.complete and not now.succeeding:
        why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        problems.append(faulty(_CONDITIONS, why))
    return problems + _history_problems(now, then)


_STATES = frozenset(("complete", "failed", "finished", "failing", "succeeding"))
_Changed = Callable[..., bool]


def _uncounted_problems(pods: Tree, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for part in ("succeeded", "failed"):
        for at, uid in enumerate(pods.get(part) or ()):
            path = f"status.uncountedTerminatedPods.{part}[{at}]"
            if not uid:
                problems.append(invalid(path, uid, "must not be empty"))
            elif uid in seen:
                problems.append(duplicate(path, uid))
            seen.add(uid)


def _end_problems(now: _State, changed: _Changed, problems: list[Problem]) -> None:
    began, ended = now.status.get("startTime"), now.status.get("completionTime")
    where = "status.completionTime"
    if now.complete and now.failed and changed("complete", "failed"):
        problems.append(faulty(_CONDITIONS, "cannot set Complete=True and Failed=true conditions"))
    if now.complete and now.failing and changed("complete", "failing"):
        problems.append(faulty(_CONDITIONS, "cannot set Complete=True and FailureTarget=true conditions"))
    if ended and not now.complete and changed("complete", "completionTime"):
        why = "cannot set completionTime when there is no Complete=True condition"
        problems.append(invalid(where, ended, why))
    if not ended and now.complete and changed("complete", "completionTime"):
        problems.append(required(where, "completionTime is required for Complete jobs"))
    if began and ended and _before(ended, began) and changed("startTime", "completionTime"):
        problems.append(invalid(where, ended, "completionTime cannot be set before startTime"))
    if now.failed and not now.failing and changed("failed", "failedIndexes"):
        why = "cannot set Failed=True condition without the FailureTarget=true condition"
        problems.append(faulty(_CONDITIONS, why))
    if now.complete and not now.succeeding and changed("complete", "succeeding"):
        why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
        problems.append(faulty(_CONDITIONS, why))
    if now.count("active") > 0 and now.finished and changed("finished", "active"):
        why = "active>0 is invalid for finished job"
        problems.append(invalid("status.active", now.count("active"), why))
    nothing = now.spec.get("suspend") is True and now.spec.get("completions") == 0
    if not began and now.finished and not nothing and changed("finished", "startTime"):
        problems.append(required("status.startTime", "startTime is required for finished job"))
    pods = now.status.get("uncountedTerminatedPods") or {}
    if now.finished and any(pods.values()) and changed("finished", "uncountedTerminatedPods"):
        why = "uncountedTerminatedPods needs to be empty for finished job"
        problems.append(invalid("status.uncountedTerminatedPods", pods, why))


def _before(one: str, other: str) -> bool:
    return parse_time(one) < parse_time(other)


def _index_problems(now: _State, changed: _Changed, problems: list[Problem]) -> None:
    completions, each = now.spec.get("completions"), now.spec.get("backoffLimitPerIndex")
    completed, failed = now.status.get("completedIndexes") or "", now.status.get("failedIndexes")
    new_completed, new_failed = changed("completedIndexes"), changed("failedIndexes")
    for field, text, is_new in (
        ("completedIndexes", completed, new_completed),
        ("failedIndexes", failed if each is not None else None, new_failed),
    ):
        if not is_new or completions is None or text is None:
            continue
        try:
            count_indexes(text, completions)
        except ValueError as error:
            problems.append(invalid(f"status.{field}", text, f"error parsing {field}: {error}"))
    if new_completed and completed and now.spec.get("completionMode") != "Indexed":
        why = "cannot set non-empty completedIndexes when non-indexed completion mode"
        problems.append(invalid("status.completedIndexes", completed, why))
    if new_failed and failed is not None and each is None:
        why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        problems.append(invalid("status.failedIndexes", failed, why))
    if (new_completed or new_failed) and completions is not None and failed is not None:
        common = overlap(completed, failed, completions)
        if common is not None:
            why = f"failedIndexes and completedIndexes overlap at index: {common}"
            problems.append(invalid("status.failedIndexes", failed, why))


def _history_problems(now: _State, then: _State) -> list[Problem]:
    problems: list[Problem] = []
    problems += [
        faulty(_CONDITIONS, f"cannot disable the terminal {kind}=True condition")
        for kind in ("Failed", "Complete", "FailureTarget")
        if kind in then.true and kind not in now.true
    ]
    elastic = now.spec.get("completionMode") == "Indexed" and now.spec.get("completions") == now.spec.get(
        "parallelism"
    )
    for field in ("failed", "succeeded"):
        if now.count(field) < then.count(field) and not (field == "succeeded" and elastic):
            why = f"cannot decrease the {field} counter"
            problems.append(invalid(f"status.{field}", now.count(field), why))
    ended, had = now.status.get("completionTime"), then.status.get("completionTime")
    if ended and had and ended != had:
        problems.append(invalid("status.completionTime", ended, "completionTime cannot be mutated"))
    began: Any = then.status.get("startTime")
    # A Job that goes on begins anew.
    resumed = "Suspended" in then.true and "Suspended" not in now.true
    if began and began != now.status.get("startTime") and not now.spec.get("suspend") and not resumed:
        problems.append(required("status.startTime", "startTime cannot be removed for unsuspended job"))
    if then.succeeding and not now.succeeding:
        problems.append(faulty(_CONDITIONS, "cannot disable the SuccessCriteriaMet=True condition"))
    if then.complete and not then.succeeding and now.succeeding:
        why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        problems.append(faulty(_CONDITIONS, why))
    return problems
