"""Rules of Jobs and CronJobs."""

import re
from collections.abc import Sequence
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.cronschedules import schedule_messages
from kubelib.api.validation.indexed import indexed_problems, success_problems
from kubelib.api.validation.networking import domain_prefixed_problems
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.pods import template_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    faulty,
    immutable,
    invalid,
    non_negative,
    not_supported,
    one_of,
    quote,
    required,
    too_long,
    too_many,
)
from kubelib.api.validation.workloads import selector_matches

_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
_LONGEST_MANAGER = 63


_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_MOST_RULES, _MOST_PATTERNS, _MOST_CODES = 20, 20, 255
_STATUSES = ("False", "True", "Unknown")
_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def job_problems(tree: Tree) -> list[Problem]:
    """Check a new Job."""
    meta, spec = tree["metadata"], tree.get("spec") or {}
    problems = _generated_problems(meta, spec) + _selected_job_problems(spec)
    completions = spec.get("completions") or 0
    name = meta.get("name") or ""
    if spec.get("completionMode") == "Indexed" and completions > 0:
        host = f"{name}-{completions - 1}"
        if texts.label(host):
            why = f"will not able to create pod with invalid DNS label: {host}"
            problems.append(invalid("metadata.name", name, why))
    return problems


def _generated_problems(meta: Tree, spec: Tree) -> list[Problem]:
    """Check the selector that the server has made for a Job, and the labels that it looks for."""
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    uid, name = meta.get("uid") or "", meta.get("name") or ""
    problems = [] if uid else [required("metadata.uid")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    expected = dict(zip(_LABELS, (uid, name, uid, name), strict=True))
    for key, value in expected.items():
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            problems.append(required(path, f"must be '{value}'"))
        elif labels[key] != value:
            problems.append(invalid(path, labels, f"must be '{value}'"))
    if not label_selector_problems(spec["selector"], "") and not selector_matches(spec["selector"], expected):
        problems.append(invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))
    return problems


def _selected_job_problems(spec: Tree) -> list[Problem]:
    problems = job_spec_problems(spec, "spec")
    selector = spec.get("selector")
    if selector is None:
        # The server makes one unless it is asked not to.
        return [*problems, required("spec.selector")] if spec.get("manualSelector") else problems
    found = label_selector_problems(selector, "spec.selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not found and not selector_matches(selector, labels):
        why = "`selector` does not match template `labels`"
        found = [invalid("spec.template.metadata.labels", labels, why)]
    return problems + found


def job_spec_problems(spec: Tree, path: str) -> list[Problem]:
    """Check what a Job does."""
    problems: list[Problem] = []
    for field in _COUNTS:
        problems += non_negative(f"{path}.{field}", spec.get(field))
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        problems.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    manager = spec.get("managedBy")
    if manager is not None:
        problems += domain_prefixed_problems(f"{path}.managedBy", manager)
        if len(manager) > _LONGEST_MANAGER:
            problems.append(too_long(f"{path}.managedBy", _LONGEST_MANAGER))
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        problems.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    problems += indexed_problems(spec, path)
    failure = spec.get("podFailurePolicy")
    if failure is not None:
        _failure_problems(spec, failure, f"{path}.podFailurePolicy.rules", problems)
    problems += success_problems(spec, f"{path}.successPolicy")
    replacement = spec.get("podReplacementPolicy")
    replacements = ("Failed",) if failure is not None else ("Failed", "TerminatingOrFailed")
    if replacement is not None and replacement not in replacements:
        problems.append(not_supported(f"{path}.podReplacementPolicy", replacement, replacements))
    template = spec.get("template")
    template_problems(template, f"{path}.template", problems)
    policy = ((template or {}).get("spec") or {}).get("restartPolicy") or ""
    where = f"{path}.template.spec.restartPolicy"
    if policy in ("", "Always"):
        problems.append(required(where, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        problems.append(not_supported(where, policy, ("OnFailure", "Never")))
    elif failure is not None and policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        problems.append(invalid(where, policy, why))
    return problems


def _valid(values: Sequence[str]) -> str:
    return f"valid values: [{' '.join(map(quote, values))}]"


def _choice(path: str, value: str, allowed: Sequence[str]) -> list[Problem]:
    if not value:
        return [required(path, _valid(allowed))]
    return [] if value in allowed else [not_supported(path, value, allowed)]


def _failure_problems(spec: Tree, failure: Tree, path: str, problems: list[Problem]) -> None:
    rules = failure.get("rules") or ()
    if len(rules) > _MOST_RULES:
        problems.append(too_many(path, len(rules), _MOST_RULES))
    pod = (spec.get("template") or {}).get("spec") or {}
    names = [
        container.get("name")
        for part in ("containers", "initContainers")
        for container in pod.get(part) or ()
    ]
    for at, rule in enumerate(rules):
        here, action = f"{path}[{at}]", rule.get("action") or ""
        if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            why = "requires the backoffLimitPerIndex to be set"
            problems.append(invalid(f"{here}.action", action, why))
        else:
            problems += _choice(f"{here}.action", action, _ACTIONS)
        codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            _code_problems(codes, names, f"{here}.onExitCodes", problems)
        if len(patterns) > _MOST_PATTERNS:
            problems.append(too_many(f"{here}.onPodConditions", len(patterns), _MOST_PATTERNS))
        for number, pattern in enumerate(patterns):
            where, kind = f"{here}.onPodConditions[{number}]", pattern.get("type") or ""
            problems += each(f"{where}.type", kind, texts.qualified(kind))
            problems += _choice(f"{where}.status", pattern.get("status") or "", _STATUSES)
        if codes is not None and patterns:
            why = "specifying both OnExitCodes and OnPodConditions is not supported"
            problems.append(faulty(here, why))
        if codes is None and not patterns:
            problems.append(faulty(here, "specifying one of OnExitCodes and OnPodConditions is required"))


def _code_problems(codes: Tree, names: Sequence[Any], path: str, problems: list[Problem]) -> None:
    operator, name, values = (
        codes.get("operator") or "",
        codes.get("containerName"),
        codes.get("values") or [],
    )
    problems += _choice(f"{path}.operator", operator, ("In", "NotIn"))
    if name is not None and name not in names:
        why = "must be one of the container or initContainer names in the pod template"
        problems.append(invalid(f"{path}.containerName", name, why))
    where = f"{path}.values"
    if not values:
        problems.append(invalid(where, values, "at least one value is required"))
    elif len(values) > _MOST_CODES:
        problems.append(too_many(where, len(values), _MOST_CODES))
    for at, value in enumerate(values):
        if operator == "In" and value == 0:
            problems.append(invalid(f"{where}[{at}]", value, "must not be 0 for the In operator"))
        if value in values[:at]:
            problems.append(duplicate(f"{where}[{at}]", value))
    if sorted(values) != values:
        problems.append(invalid(where, values, "must be ordered"))


def job_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a Job: only how much of it runs at once may change, and before it has begun, where."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    problems = _selected_job_problems(spec)
    completions, had = spec.get("completions"), before.get("completions")
    if spec.get("completionMode") != "Indexed":
        problems += immutable("spec.completions", completions, had)
    elif completions not in (None, had, spec.get("parallelism")):
        why = "can only be modified in tandem with spec.parallelism"
        problems.append(invalid("spec.completions", completions, why))
    problems += immutable("spec.selector", spec.get("selector"), before.get("selector"))
    template, was = spec.get("template") or {}, before.get("template") or {}
    movable = before.get("suspend") and not (old.get("status") or {}).get("startTime")
    if template != was and not (movable and _without_directives(template) == _without_directives(was)):
        problems.append(invalid("spec.template", template, "field is immutable"))
    for field in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        problems += immutable(f"spec.{field}", spec.get(field), before.get(field))
    return problems


_DIRECTIVES = ("nodeSelector", "tolerations", "schedulingGates", "affinity")


def _without_directives(template: Tree) -> Tree:
    """Return a template without what says where its Pods run, as far as that may change before a Job begins."""
    spec = template.get("spec") or {}
    kept = {field: value for field, value in spec.items() if field not in _DIRECTIVES}
    affinity = {part: value for part, value in (spec.get("affinity") or {}).items() if part != "nodeAffinity"}
    if affinity:
        kept["affinity"] = affinity
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return {**template, "metadata": meta, "spec": kept}


def cron_job_problems(tree: Tree) -> list[Problem]:
    """Check a CronJob."""
    return _cron_job_problems(tree, {})


def cron_job_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a CronJob: a time zone may stay where it once was allowed."""
    return _cron_job_problems(new, old.get("spec") or {})


def _cron_job_problems(tree: Tree, before: Tree) -> list[Problem]:
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        problems.append(required("spec.schedule"))
    else:
        problems += each("spec.schedule", schedule, schedule_messages(schedule))
        zoned = "TZ" in (before.get("schedule") or "")
        if "TZ" in schedule and zoned and zone is not None:
            why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            problems.append(invalid("spec.schedule", schedule, why))
        elif "TZ" in schedule and not zoned:
            why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            problems.append(invalid("spec.schedule", schedule, why))
    problems += non_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    if zone is not None and zone != before.get("timeZone"):
        problems += _zone_problems(zone)
    problems += one_of(
        "spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace")
    )
    template, path = spec.get("jobTemplate"), "spec.jobTemplate.spec"
    job: Tree = (template.get("spec") if isinstance(template, dict) else None) or {}
    problems += job_spec_problems(job, path)
    if job.get("selector") is not None:
        problems.append(invalid(f"{path}.selector", job["selector"], "`selector` will be auto-generated"))
    if job.get("manualSelector"):
        problems.append(not_supported(f"{path}.manualSelector", True, ("nil", "false")))
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        problems += non_negative(f"spec.{field}", spec.get(field))
    return problems


_zone_part = re.compile(r"[A-Za-z._0-9+][A-Za-z.\-_0-9+]{0,13}").fullmatch


def _zone_problems(zone: str) -> list[Problem]:
    if not zone:
        return [invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")]
    unknown = invalid("spec.timeZone", zone, f"unknown time zone {zone}")
    if any(part in (".", "..") or not _zone_part(part) for part in zone.split("/")):
        return [unknown]
    problems = []
    if zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        problems.append(invalid("spec.timeZone", zone, why))
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        # Go knows the one of the machine by this name.
        ZoneInfo("UTC" if zone == "Local" else zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problems.append(unknown)
    return problems
