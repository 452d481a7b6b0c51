"""Policies from files: the profiles of a ``kubescheduler.config.k8s.io/v1`` KubeSchedulerConfiguration."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from kubelib.api.codec import DecodeError, parse_yaml
from kubelib.api.times import parse_duration
from kubelib.api.validation import problems
from kubelib.sched.base import Policy
from kubelib.sched.policies.arguments import ConfigurationError, as_list, as_object, only, refuse
from kubelib.sched.policies.profiles import Profile

API_VERSION = "kubescheduler.config.k8s.io/v1"
KIND = "KubeSchedulerConfiguration"
DEFAULT_SCHEDULER = "default-scheduler"
FIELDS = (
    "apiVersion",
    "kind",
    "parallelism",
    "leaderElection",
    "percentageOfNodesToScore",
    "podInitialBackoffSeconds",
    "podMaxBackoffSeconds",
    "profiles",
)


@attrs.frozen(kw_only=True)
class Leading:
    """Whether and how one of several copies of a scheduler leads; None: as is usual. Times are in seconds."""

    elect: bool | None = None
    lease: float | None = None
    renew: float | None = None
    retry: float | None = None
    name: str = ""
    """Of the lease."""


@attrs.frozen(kw_only=True)
class Configuration:
    """What a file says of a scheduler."""

    policies: Mapping[str, Policy]
    """By the ``spec.schedulerName`` of Pods, in the order of the file."""
    first_backoff: float = 1.0
    longest_backoff: float = 10.0
    """How many seconds a Pod that fitted nowhere waits at least, after the first time and at most."""
    leading: Leading = Leading()


def read_configuration(text: str, usual: Policy, scheduler: str = DEFAULT_SCHEDULER) -> Policy:
    """Return the policy of the profile for Pods of `scheduler`, made from `usual`. Raises `ConfigurationError`."""
    policies = read_profiles(text, usual).policies
    if scheduler not in policies:
        raise ConfigurationError(f"no profile is for {scheduler!r}; there are: {', '.join(policies)}")
    return policies[scheduler]


def read_profiles(text: str, usual: Policy) -> Configuration:
    """Return what a file says, each profile made from `usual`. Raises `ConfigurationError`."""
    try:
        tree = parse_yaml(text.encode())
    except DecodeError as error:
        raise ConfigurationError(f"the configuration is no YAML: {error}") from None
    document = as_object(tree, "the configuration")
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise ConfigurationError(f"the configuration is no {KIND} of {API_VERSION}")
    only(document, FIELDS, "the configuration")
    first = _whole(document, "podInitialBackoffSeconds", 1)
    longest = _whole(document, "podMaxBackoffSeconds", max(10, first))
    if _whole(document, "parallelism", 16) <= 0:
        refuse(
            problems.invalid(
                "parallelism", document["parallelism"], "should be an integer value greater than zero"
            )
        )
    _check_percentage("percentageOfNodesToScore", document)
    if first <= 0:
        refuse(problems.invalid("podInitialBackoffSeconds", first, "must be greater than 0"))
    if longest < first:
        why = "must be greater than or equal to PodInitialBackoffSeconds"
        refuse(problems.invalid("podMaxBackoffSeconds", longest, why))
    return Configuration(
        policies=_policies(document, usual),
        first_backoff=float(first),
        longest_backoff=float(longest),
        leading=_leading(as_object(document.get("leaderElection") or {}, "leaderElection")),
    )


def _policies(document: Mapping[str, Any], usual: Policy) -> dict[str, Policy]:
    items = as_list(document.get("profiles") or [{}], "profiles")
    profiles: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for at, item in enumerate(items):
        path = f"profiles[{at}]"
        profile = as_object(item, path)
        only(profile, ("schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"), path)
        # A lone profile may leave out its name.
        name = profile.get("schedulerName") or (DEFAULT_SCHEDULER if len(items) == 1 else "")
        if not name:
            refuse(problems.required(f"{path}.schedulerName"))
        if not isinstance(name, str):
            raise ConfigurationError(f"{path}.schedulerName: must be a string")
        if name in profiles:
            first = f"profiles[{profiles[name][0]}].schedulerName"
            refuse(problems.duplicate(f"{path}.schedulerName", first))
        _check_percentage(f"{path}.percentageOfNodesToScore", profile)
        profiles[name] = at, profile
    _check_queue_sort([profile for _, profile in profiles.values()])
    return {
        name: Profile(usual, profile, f"profiles[{at}]").policy(name)
        for name, (at, profile) in profiles.items()
    }


def _check_queue_sort(profiles: Sequence[Mapping[str, Any]]) -> None:
    """Check that all profiles put their Pods in the same order: they wait in one queue."""
    sorts = [(profile.get("plugins") or {}).get("queueSort") or {} for profile in profiles]
    enabled = len(as_list(as_object(sorts[0], "queueSort").get("enabled") or [], "queueSort.enabled"))
    if enabled > 1:
        why = "only one queue sort plugin can be enabled"
        refuse(problems.invalid("profiles[0].plugins.queueSort.Enabled", enabled, why))
    for at, sort in enumerate(sorts):
        if sort != sorts[0]:
            path = f"profiles[{at}].plugins.queueSort"
            refuse(problems.invalid(path, sort, "must be the same for all profiles"))


def _leading(tree: Mapping[str, Any]) -> Leading:
    path = "leaderElection"
    only(
        tree,
        ("leaderElect", "leaseDuration", "renewDeadline", "retryPeriod", "resourceLock", "resourceName"),
        path,
    )
    elect = tree.get("leaderElect")
    if elect is not None and not isinstance(elect, bool):
        raise ConfigurationError(f"{path}.leaderElect: must be true or false")
    lock = tree.get("resourceLock") or "leases"
    if lock != "leases":
        refuse(problems.invalid(f"{path}.resourceLock", lock, 'resourceLock value must be "leases"'))
    times: dict[str, float | None] = {}
    for field in ("leaseDuration", "renewDeadline", "retryPeriod"):
        value = tree.get(field)
        try:
            times[field] = parse_duration(str(value)) if value is not None else None
        except ValueError as error:
            raise ConfigurationError(f"{path}.{field}: {error}") from None
    return Leading(
        elect=elect,
        lease=times["leaseDuration"],
        renew=times["renewDeadline"],
        retry=times["retryPeriod"],
        name=str(tree.get("resourceName") or ""),
    )


def _whole(tree: Mapping[str, Any], field: str, usual: int) -> int:
    value = tree.get(field)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{field}: must be a whole number")
    return value


def _check_percentage(path: str, tree: Mapping[str, Any]) -> None:
    percentage = _whole(tree, "percentageOfNodesToScore", 0)
    if not 0 <= percentage <= 100:
        refuse(problems.invalid(path, percentage, "not in valid range [0-100]"))
