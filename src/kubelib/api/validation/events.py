"""Rules of Events, of either form: those of events.k8s.io must say more, and stay what they are."""

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import each, immutable, invalid, required

_LONGEST_NOTE, _LONGEST_TEXT = 1024, 128


def event_problems(tree: Tree) -> list[Problem]:
    """Check a new Event."""
    newer = _is_newer(tree)
    problems = _common_problems(tree, newer=newer)
    return problems + _newer_problems(tree) if newer else problems


def event_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to an Event: one of events.k8s.io may only be told again."""
    newer = _is_newer(new)
    problems = _common_problems(new, newer=newer)
    if not newer:
        return problems
    if new.get("series") != old.get("series"):
        problems += _series_problems(new)
    for field, shown in _FIXED:
        problems += immutable(shown, new.get(field), old.get(field))
    return problems


# Kubernetes names fields of both forms as those of the older one.
_FIXED = (
    ("regarding", "involvedObject"), ("reason", "reason"), ("note", "message"), ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"), ("type", "type"), ("eventTime", "eventTime"), ("action", "action"),
    ("related", "related"), ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
)  # fmt: skip
_UNSET = (
    ("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"), ("deprecatedSource", "source"),
)  # fmt: skip


def _is_newer(tree: Tree) -> bool:
    return str(tree.get("apiVersion", "")).startswith("events.k8s.io/")


def _common_problems(tree: Tree, *, newer: bool) -> list[Problem]:
    involved = tree.get("regarding" if newer else "involvedObject") or {}
    namespace, about = tree["metadata"].get("namespace") or "", involved.get("namespace") or ""
    told = bool(tree.get("eventTime"))
    if about:
        wrong = not told and namespace != about
    else:
        wrong = namespace not in (("default", "kube-system") if told else ("", "default"))
    why = "does not match event.namespace"
    problems = [invalid("involvedObject.namespace", about, why)] if wrong else []
    if told:
        problems += _told_problems(tree, newer=newer)
    return problems


def _told_problems(tree: Tree, *, newer: bool) -> list[Problem]:
    """Check who reports an Event of which it is said when it was."""
    controller = tree.get("reportingController" if newer else "reportingComponent") or ""
    path = "reportingController" if newer else "reportingComponent"
    problems = [] if controller else [required(path)]
    problems += each(path, controller, texts.qualified(controller))
    for field in ("reportingInstance", "action", "reason"):
        value = tree.get(field) or ""
        if not value:
            problems.append(required(field))
        if len(value.encode()) > _LONGEST_TEXT:
            problems.append(invalid(field, "", f"can have at most {_LONGEST_TEXT} characters"))
    note = tree.get("note" if newer else "message") or ""
    if len(note.encode()) > _LONGEST_NOTE:
        problems.append(invalid("message", "", f"can have at most {_LONGEST_NOTE} characters"))
    return problems


def _newer_problems(tree: Tree) -> list[Problem]:
    problems = _series_problems(tree)
    if not tree.get("eventTime"):
        problems.append(required("eventTime"))
    kind = tree.get("type") or ""
    if kind not in ("Normal", "Warning"):
        problems.append(invalid("type", "", f"has invalid value: {kind}"))
    return problems + [
        invalid(shown, "", "needs to be unset")
        for field, shown in _UNSET
        if (any(tree[field].values()) if isinstance(tree.get(field), dict) else tree.get(field))
    ]


def _series_problems(tree: Tree) -> list[Problem]:
    series = tree.get("series")
    if series is None:
        return []
    problems = []
    if (series.get("count") or 0) < 2:
        problems.append(invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        problems.append(required("series.lastObservedTime"))
    return problems
