"""The options of requests, read from their query: what may be combined with what is Kubernetes' decision."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kubelib.api.codec import DecodeError, typed_check
from kubelib.api.errors import BadRequest, Problem, invalid
from kubelib.api.machinery import DeleteOptions
from kubelib.api.scheme import Tree
from kubelib.api.times import parse_duration
from kubelib.api.validation import problems
from kubelib.registry.base import Propagation
from kubelib.server.request import parse_int

META = "meta.k8s.io"
FieldValidation = Literal["Ignore", "Warn", "Strict"]

_POLICIES: dict[str, Propagation] = {
    "Foreground": "Foreground",
    "Background": "Background",
    "Orphan": "Orphan",
}
_MATCHES = ("Exact", "NotOlderThan", "")
_LONGEST_MANAGER = 128


def _require(found: Sequence[Problem], kind: str) -> None:
    if found:
        raise invalid(kind, META, "", found)


def require_list_options(query: Mapping[str, str], *, watching: bool) -> None:
    """Refuse options of a list or watch that contradict each other. Raises Invalid, BadRequest."""
    match = query.get("resourceVersionMatch", "")
    initial = "sendInitialEvents" in query
    if not match and not initial:
        return
    found: list[Problem] = []
    if watching:
        if initial and match != "NotOlderThan":
            found.append(
                problems.forbidden(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                )
            )
        if match and not initial:
            found.append(
                problems.forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                )
            )
        if match and match != "NotOlderThan":
            found.append(problems.not_supported("resourceVersionMatch", match, ["NotOlderThan"]))
        if match and query.get("continue"):
            found.append(_with_continue())
    else:
        version = query.get("resourceVersion", "")
        if match and not version:
            found.append(
                problems.forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                )
            )
        if match and query.get("continue"):
            found.append(_with_continue())
        if match not in _MATCHES:
            found.append(problems.not_supported("resourceVersionMatch", match, _MATCHES))
        if match == "Exact" and version == "0":
            found.append(
                problems.forbidden(
                    "resourceVersionMatch",
                    'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
                )
            )
        if initial:
            found.append(problems.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    _require(found, "ListOptions")


def _with_continue() -> Problem:
    return problems.forbidden(
        "resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"
    )


def time_allowed(timeout: str) -> float | None:
    """Return the seconds in which who asks wants an answer; None if they are not said. Raises BadRequest."""
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise BadRequest(f"invalid timeout specified in the request URL - {error}") from None
    return seconds if seconds > 0 else None


def require_table_options(query: Mapping[str, str]) -> None:
    """Refuse an unknown `includeObject`. Raises BadRequest."""
    include = query.get("includeObject", "")
    if include not in ("", "Metadata", "Object", "None"):
        problem = problems.invalid("includeObject", include, "must be 'Metadata', 'Object', 'None', or empty")
        raise BadRequest(f"Unable to convert to Table as requested: {problem}")


def require_write_options(query: Mapping[str, str], verb: str, *, apply: bool = False) -> None:
    """Refuse options of a create, update or patch. Raises Invalid, BadRequest."""
    found: list[Problem] = []
    manager = query.get("fieldManager", "")
    if verb == "patch":
        if "force" in query and not apply:
            found.append(problems.forbidden("force", "may not be specified for non-apply patch"))
        if apply and not manager:
            found.append(problems.required("fieldManager", "is required for apply patch"))
    if len(manager.encode()) > _LONGEST_MANAGER:
        found.append(problems.too_long("fieldManager", _LONGEST_MANAGER))
    found += [
        problems.invalid(
            "fieldManager", manager, f"invalid character U+{ord(sign):04X} (at position {position})"
        )
        for position, sign in enumerate(manager)
        if not sign.isprintable()
    ]
    found += _dry_run(query)
    validation = query.get("fieldValidation", "")
    if validation not in ("", "Ignore", "Warn", "Strict"):
        found.append(problems.not_supported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    _require(found, f"{verb.capitalize()}Options")


def _dry_run(options: Mapping[str, Any]) -> list[Problem]:
    wanted = options.get("dryRun") or []
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if all(value == "All" for value in wanted):
        return []
    return [problems.not_supported("dryRun", wanted, ["All"])]


def delete_options(query: Mapping[str, str], body: Tree) -> Tree:
    """Return the options of a delete: those of the body, or without one those of the query. Raises Invalid, BadRequest."""
    if body:
        if body.get("kind", "DeleteOptions") != "DeleteOptions":
            raise BadRequest(
                f"the body of a delete must be DeleteOptions, not {body.get('kind')}: leave it out, or send that"
            )
        try:
            typed_check(body, DeleteOptions)
        except DecodeError as error:
            raise BadRequest(f"the options of a delete cannot be understood: {error}") from None
        options = dict(body)
        if dry_run := query.get(
            "dryRun"
        ):  # asked for anywhere, it is one: better nothing deleted than too much
            options.setdefault("dryRun", dry_run)
    else:
        options = {name: query[name] for name in _DELETE_TEXTS if query.get(name)}
        if grace := query.get("gracePeriodSeconds"):
            options["gracePeriodSeconds"] = parse_int(grace)
        if orphan := query.get("orphanDependents"):
            options["orphanDependents"] = orphan.lower() not in ("false", "0")
    found: list[Problem] = []
    policy = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        found.append(problems.invalid("propagationPolicy", policy, detail))
    if policy is not None and policy not in _POLICIES:
        found.append(
            problems.not_supported("propagationPolicy", policy, ("Foreground", "Background", "Orphan", "nil"))
        )
    found += _dry_run(options)
    _require(found, "DeleteOptions")
    return options


_DELETE_TEXTS = ("propagationPolicy", "dryRun")


def grace_of(options: Tree) -> float | None:
    """Return the grace period that a delete asks for, in seconds. A negative one is one second, as in Kubernetes."""
    grace: int | None = options.get("gracePeriodSeconds")
    return grace if grace is None or grace >= 0 else 1


def propagation_of(options: Tree) -> Propagation | None:
    """Return what is to become of the objects that a deleted one owns; None if the request does not say."""
    if policy := options.get("propagationPolicy"):
        return _POLICIES[policy]
    orphan = options.get("orphanDependents")
    return None if orphan is None else ("Orphan" if orphan else "Background")
