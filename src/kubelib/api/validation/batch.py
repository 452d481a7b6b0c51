"""Rules of Jobs and CronJobs."""

import re
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.indexed import indexed_problems
from kubelib.api.validation.networking import domain_prefixed_problems
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.pods import template_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    immutable,
    invalid,
    non_negative,
    not_supported,
    one_of,
    required,
    too_long,
)

_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
_LONGEST_MANAGER = 63


def job_problems(tree: Tree) -> list[Problem]:
    """Check a Job."""
    spec = tree.get("spec") or {}
    problems = job_spec_problems(spec, "spec")
    if spec.get("completionMode") == "Indexed" and not problems:
        suffix = f"-{(spec.get('completions') or 1) - 1}"
        name = tree["metadata"].get("name") or ""
        if name and (messages := texts.label(name + suffix)):
            problems += [
                invalid(
                    "metadata.name",
                    name,
                    f"will not able to create pod with invalid DNS label: {name}{suffix}",
                )
                for _ in messages[:1]
            ]
    return problems


def job_spec_problems(spec: Tree, path: str) -> list[Problem]:
    """Check what a Job does."""
    problems: list[Problem] = []
    for field in _COUNTS:
        problems += non_negative(f"{path}.{field}", spec.get(field))
    selector = spec.get("selector")
    if selector is not None:
        problems += label_selector_problems(selector, f"{path}.selector")
    manager = spec.get("managedBy")
    if manager is not None:
        problems += domain_prefixed_problems(f"{path}.managedBy", manager)
        if len(manager) > _LONGEST_MANAGER:
            problems.append(too_long(f"{path}.managedBy", _LONGEST_MANAGER))
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        problems.append(not_supported(f"{path}.completionMode", mode, ("Indexed", "NonIndexed")))
    problems += indexed_problems(spec, path)
    replacement = spec.get("podReplacementPolicy")
    if replacement is not None:
        problems += one_of(f"{path}.podReplacementPolicy", replacement, ("Failed", "TerminatingOrFailed"))
    template = spec.get("template")
    template_problems(template, f"{path}.template", problems)
    policy = ((template or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        problems.append(required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    if spec.get("podFailurePolicy") is not None:
        _failure_problems(spec["podFailurePolicy"], policy, f"{path}.podFailurePolicy", problems)
    return problems


def _failure_problems(failure: Tree, restart: Any, path: str, problems: list[Problem]) -> None:
    if restart != "Never":
        problems.append(
            invalid(path.removesuffix("podFailurePolicy") + "template.spec.restartPolicy", restart,
                    'only "Never" is supported when podFailurePolicy is specified')
        )  # fmt: skip
    for at, rule in enumerate(failure.get("rules") or ()):
        here = f"{path}.rules[{at}]"
        problems += one_of(f"{here}.action", rule.get("action"), ("Count", "FailIndex", "FailJob", "Ignore"))
        codes = rule.get("onExitCodes")
        if codes is None and not rule.get("onPodConditions"):
            problems.append(
                invalid(here, rule, "specifying one of OnExitCodes and OnPodConditions is required")
            )
        if codes is not None:
            problems += one_of(f"{here}.onExitCodes.operator", codes.get("operator"), ("In", "NotIn"))
            values = codes.get("values") or []
            if not values:
                problems.append(
                    invalid(f"{here}.onExitCodes.values", values, "at least one value is required")
                )
            for number, value in enumerate(values):
                if value in values[:number]:
                    problems.append(duplicate(f"{here}.onExitCodes.values[{number}]", value))


def job_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a Job: only how much of it runs at once may change."""
    problems = job_problems(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec.get("completions") != before.get("completions"):
        elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get(
            "parallelism"
        )
        if not elastic:
            problems += immutable("spec.completions", spec.get("completions"), before.get("completions"))
    problems += immutable("spec.selector", spec.get("selector"), before.get("selector"))
    template, had = spec.get("template") or {}, before.get("template") or {}
    started = bool((old.get("status") or {}).get("startTime"))
    if before.get("suspend") and not started:
        template, had = _without_directives(template), _without_directives(had)
    problems += immutable("spec.template", template, had)
    for field in (
        "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy", "manualSelector",
    ):  # fmt: skip
        problems += immutable(f"spec.{field}", spec.get(field), before.get(field))
    return problems


_DIRECTIVES = ("nodeSelector", "tolerations", "schedulingGates", "affinity")


def _without_directives(template: Tree) -> Tree:
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in _DIRECTIVES}
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return {**template, "metadata": meta, "spec": spec}


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
        if "TZ" in schedule and zone is not None:
            why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            problems.append(invalid("spec.schedule", schedule, why))
        elif "TZ" in schedule and "TZ" not in (before.get("schedule") or ""):
            why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            problems.append(invalid("spec.schedule", schedule, why))
    if zone is not None and zone != before.get("timeZone"):
        problems += _zone_problems(zone)
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        problems += non_negative(f"spec.{field}", spec.get(field))
    problems += one_of(
        "spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace")
    )
    template = spec.get("jobTemplate")
    job = template.get("spec") if isinstance(template, dict) else None
    return problems + job_spec_problems(job or {}, "spec.jobTemplate.spec")


def _zone_problems(zone: str) -> list[Problem]:
    if not zone:
        return [invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        return [invalid("spec.timeZone", zone, "timeZone must be an explicit time zone as defined in "
                                               "https://www.iana.org/time-zones")]  # fmt: skip
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid("spec.timeZone", zone, f"unknown time zone {zone}")]
    return []


_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_RANGES = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_part = re.compile(r"(\*|\?|[0-9A-Za-z]+(?:-[0-9A-Za-z]+)?)(?:/([0-9]+))?").fullmatch


def schedule_messages(schedule: str) -> list[str]:
    """Check a cron schedule."""
    body = re.sub(r"^(CRON_)?TZ=\S+\s+", "", schedule)
    if body.startswith("@"):
        if body in _MACROS or body.startswith("@every "):
            return []
        return [f"unrecognized descriptor: {body}"]
    fields = body.split()
    if len(fields) != 5:
        return [f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"]
    for field, (_, low, high, words) in zip(fields, _RANGES, strict=True):
        for part in field.split(","):
            if message := _cron_message(part, low, high, words):
                return [message]
    return []


def _cron_message(part: str, low: int, high: int, words: tuple[str, ...]) -> str:
    match = _part(part)
    if match is None:
        return f"failed to parse int from {part}: invalid syntax"
    if match[2] == "0":
        return f"step of range should be a positive number: {part}"
    numbers = []
    for end in match[1].split("-") if match[1] not in "*?" else ():
        if end.lower() in words:
            numbers.append(low + words.index(end.lower()))
        elif end.isdigit() and len(end) < 19:
            numbers.append(int(end))
        else:
            return f'failed to parse int from {end}: strconv.Atoi: parsing "{end}": invalid syntax'
    if numbers and numbers[0] < low:
        return f"beginning of range ({numbers[0]}) below minimum ({low}): {part}"
    if numbers and numbers[-1] > high:
        return f"end of range ({numbers[-1]}) above maximum ({high}): {part}"
    if numbers and numbers[0] > numbers[-1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[-1]}): {part}"
    return ""
