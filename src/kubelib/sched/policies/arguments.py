"""Arguments of plug-ins in a file of profiles, and what is common to all that is read from one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from kubelib.api.core.affinity import NodeAffinity, TopologySpreadConstraint
from kubelib.api.errors import Problem
from kubelib.api.validation import problems, texts
from kubelib.sched.base import Score
from kubelib.sched.policies.allocation import (
    CPU_AND_MEMORY,
    BalancedAllocation,
    LeastAllocated,
    MostAllocated,
    RequestedToCapacityRatio,
    Shape,
    Weights,
)
from kubelib.sched.policies.filters import FitsResources, IsAllowed
from kubelib.sched.policies.neighbours import SYSTEM_DEFAULTS, LikesCompany, PrefersEven, SpreadsEvenly
from kubelib.sched.policies.scores import PrefersNodeAffinity
from kubelib.sched.policies.spaces import PrefersSpace
from kubelib.sched.selectors import SpreadTerm, spread_term

RESOURCES, BALANCE = "NodeResourcesFit", "NodeResourcesBalancedAllocation"
SPREAD = "PodTopologySpread"
RATIO = "RequestedToCapacityRatio"
MOST_WEIGHT = 100
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
STRATEGIES = ("LeastAllocated", "MostAllocated", RATIO)
_META = ("apiVersion", "kind")


class ConfigurationError(ValueError):
    """A policy cannot be made of a file; the message says why."""


def as_object(value: object, path: str) -> Mapping[str, Any]:
    """Return a value that must be an object."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{path}: must be an object")
    return value


def as_list(value: object, path: str) -> Sequence[Any]:
    """Return a value that must be a list."""
    if not isinstance(value, list):
        raise ConfigurationError(f"{path}: must be a list")
    return value


def only(value: Mapping[str, Any], fields: Sequence[str], path: str) -> None:
    """Check that a value has no other fields."""
    unknown = sorted(set(map(str, value)) - set(fields))
    if unknown:
        raise ConfigurationError(f'{path}: "{unknown[0]}" is not supported; there are: {", ".join(fields)}')


def refuse(problem: Problem) -> None:
    """Raise what is wrong."""
    raise ConfigurationError(f"{problem.field}: {problem.message}")


def _whole(tree: Mapping[str, Any], field: str, path: str, usual: int) -> int:
    value = tree.get(field)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{path}.{field}: must be a whole number")
    return value


def _number(tree: Mapping[str, Any], field: str, path: str, usual: int, least: int, most: int) -> int:
    value = _whole(tree, field, path, usual)
    if not least <= value <= most:
        refuse(problems.invalid(f"{path}.{field}", value, f"not in valid range [{least}, {most}]"))
    return value


def _resources(tree: Mapping[str, Any], path: str) -> Weights:
    weights: dict[str, float] = {}
    for at, item in enumerate(as_list(tree.get("resources") or [], f"{path}.resources")):
        where = f"{path}.resources[{at}]"
        resource = as_object(item, where)
        only(resource, ("name", "weight"), where)
        name = resource.get("name")
        if not isinstance(name, str) or not name:
            refuse(problems.required(f"{where}.name"))
        weight = _whole(resource, "weight", where, 1)
        if not 0 < weight <= MOST_WEIGHT:
            why = f"resource weight of {name} not in valid range (0, {MOST_WEIGHT}]"
            refuse(problems.invalid(f"{where}.weight", weight, why))
        weights[str(name)] = float(weight)
    return weights or CPU_AND_MEMORY


def _shape(tree: Mapping[str, Any], path: str) -> Shape:
    points: list[tuple[int, int]] = []
    for at, item in enumerate(as_list(tree.get("shape") or [], path)):
        point = as_object(item, f"{path}[{at}]")
        only(point, ("utilization", "score"), f"{path}[{at}]")
        percent = _number(point, "utilization", f"{path}[{at}]", 0, 0, 100)
        if points and percent <= points[-1][0]:
            why = "values must be sorted in increasing order"
            refuse(problems.invalid(f"{path}[{at}].utilization", percent, why))
        points.append((percent, _number(point, "score", f"{path}[{at}]", 0, 0, 10)))
    if not points:
        refuse(problems.required(path, "at least one point must be specified"))
    return points


def _fit(args: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    only(args, (*_META, "ignoredResources", "ignoredResourceGroups", "scoringStrategy"), path)
    ignored = _names(args, "ignoredResources", path)
    groups = _names(args, "ignoredResourceGroups", path)
    for number, group in enumerate(groups):
        if "/" in group:
            why = "resource group name can't contain '/'"
            refuse(problems.invalid(f"{path}.ignoredResourceGroups[{number}]", group, why))
    path = f"{path}.scoringStrategy"
    strategy = as_object(args.get("scoringStrategy") or {}, path)
    only(strategy, ("type", "resources", "requestedToCapacityRatio"), path)
    wanted = strategy.get("type", "LeastAllocated")
    if wanted not in STRATEGIES:
        refuse(problems.not_supported(f"{path}.type", wanted, STRATEGIES))
    resources = _resources(strategy, path)
    score: Score
    ratio, at = strategy.get("requestedToCapacityRatio"), f"{path}.requestedToCapacityRatio"
    if wanted == RATIO:
        if ratio is None:
            refuse(problems.required(at, f"must be specified when type is {RATIO}"))
        shape = as_object(ratio, at)
        only(shape, ("shape",), at)
        score = RequestedToCapacityRatio(_shape(shape, f"{at}.shape"), resources)
    else:
        if ratio is not None:
            refuse(problems.forbidden(at, f"must be nil when type is not {RATIO}"))
        score = (LeastAllocated if wanted == "LeastAllocated" else MostAllocated)(resources)
    return {"filter": FitsResources(ignored, groups), "score": score}


def _names(args: Mapping[str, Any], field: str, path: str) -> Sequence[str]:
    names = as_list(args.get(field) or [], f"{path}.{field}")
    for at, name in enumerate(names):
        if not isinstance(name, str):
            raise ConfigurationError(f"{path}.{field}[{at}]: must be a text")
        _check_label_name(name, f"{path}.{field}[{at}]")
    return names


def _check_label_name(name: str, path: str) -> None:
    for why in texts.qualified(name):
        refuse(problems.invalid(path, name, why))


def _balance(args: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    only(args, (*_META, "resources"), path)
    weights = _resources(args, path)
    names = [item["name"] for item in args.get("resources") or []]
    for at, name in enumerate(names):
        if name in names[:at]:
            refuse(problems.duplicate(f"{path}.resources[{at}].name", name))
    for at, weight in enumerate(weights.values()):
        if weight != 1:
            refuse(problems.invalid(f"{path}.resources[{at}].weight", int(weight), "must be 1"))
    return {"score": BalancedAllocation(tuple(weights))}


def _company(args: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    only(args, (*_META, "hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"), path)
    theirs = args.get("ignorePreferredTermsOfExistingPods") or False
    if not isinstance(theirs, bool):
        raise ConfigurationError(f"{path}.ignorePreferredTermsOfExistingPods: must be true or false")
    weight = _number(args, "hardPodAffinityWeight", path, 1, 0, 100)
    return {"score": LikesCompany(required=weight, theirs=not theirs)}


def _affinity(args: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    only(args, (*_META, "addedAffinity"), path)
    added = args.get("addedAffinity")
    if added is None:
        return {}
    try:
        affinity = msgspec.convert(added, NodeAffinity)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}.addedAffinity: {error}") from None
    made: dict[str, Any] = {}
    required = affinity.required_during_scheduling_ignored_during_execution
    if required is not None:
        made["filter"] = IsAllowed(required)
    preferred = affinity.preferred_during_scheduling_ignored_during_execution
    if preferred:
        made["score"] = PrefersNodeAffinity(preferred)
    return made


def _spread(args: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    only(args, (*_META, "defaultConstraints", "defaultingType"), path)
    listed = as_list(args.get("defaultConstraints") or [], f"{path}.defaultConstraints")
    kind = args.get("defaultingType") or "System"
    if kind not in ("List", "System"):
        refuse(problems.not_supported(f"{path}.defaultingType", kind, ("List", "System")))
    if kind == "System":
        if listed:
            refuse(problems.invalid(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty"))
        return {"filter": SpreadsEvenly(), "score": PrefersEven(SYSTEM_DEFAULTS, anywhere=True)}
    terms: list[SpreadTerm] = []
    for at, item in enumerate(listed):
        term = _constraint(item, f"{path}.defaultConstraints[{at}]")
        if any((term.topology, term.required) == (other.topology, other.required) for other in terms):
            which = f"{{{term.topology}, {item['whenUnsatisfiable']}}}"
            refuse(problems.duplicate(f"{path}.defaultConstraints[{at}]", which))
        terms.append(term)
    return {"filter": SpreadsEvenly(terms), "score": PrefersEven(terms)}


def _space(args: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    only(args, (*_META, "shape"), path)
    return {"score": PrefersSpace(_shape(args, f"{path}.shape"))} if args.get("shape") else {}


def _constraint(item: Any, path: str) -> SpreadTerm:
    try:
        constraint = msgspec.convert(as_object(item, path), TopologySpreadConstraint)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if constraint.max_skew <= 0:
        refuse(problems.invalid(f"{path}.maxSkew", constraint.max_skew, "not in valid range (0, inf)"))
    if not constraint.topology_key:
        refuse(problems.required(f"{path}.topologyKey", "can not be empty"))
    _check_label_name(constraint.topology_key, f"{path}.topologyKey")
    if not constraint.when_unsatisfiable:
        refuse(problems.required(f"{path}.whenUnsatisfiable", "can not be empty"))
    if constraint.when_unsatisfiable not in UNSATISFIABLE:
        refuse(
            problems.not_supported(f"{path}.whenUnsatisfiable", constraint.when_unsatisfiable, UNSATISFIABLE)
        )
    if constraint.label_selector is not None:
        why = "constraint must not define a selector, as they deduced for each pod"
        refuse(problems.forbidden(f"{path}.labelSelector", why))
    return attrs.evolve(spread_term(constraint, "", {}), pods=None)


ARGUMENTS: Mapping[str, Callable[[Mapping[str, Any], str], Mapping[str, Any]]] = {
    RESOURCES: _fit,
    BALANCE: _balance,
    "InterPodAffinity": _company,
    "NodeAffinity": _affinity,
    SPREAD: _spread,
    "VolumeBinding": _space,
}
"""By plug-in: what makes of its arguments, which stand at a path, the plug-ins for the points that they change."""
