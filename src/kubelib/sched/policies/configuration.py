"""Policies from files: the profiles of a ``kubescheduler.config.k8s.io/v1`` KubeSchedulerConfiguration."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from kubelib.api.codec import DecodeError, parse_yaml
from kubelib.sched.base import Filter, Policy, Score
from kubelib.sched.policies.choosers import Best
from kubelib.sched.policies.scores import BalancedAllocation, LeastAllocated, MostAllocated, SpreadOwner

API_VERSION = "kubescheduler.config.k8s.io/v1"
KIND = "KubeSchedulerConfiguration"
DEFAULT_SCHEDULER = "default-scheduler"
PLUGINS = "kubelib.scheduler_plugins"
"""The entry point group of plug-ins: functions that return a `Filter` or a `Score`."""

POINTS = ("multiPoint", "filter", "score")
STRATEGIES: Mapping[str, Callable[[], Score]] = {
    "LeastAllocated": LeastAllocated,
    "MostAllocated": MostAllocated,
}
RESOURCES, BALANCE = "NodeResourcesFit", "NodeResourcesBalancedAllocation"


class ConfigurationError(ValueError):
    """A policy cannot be made of a file; the message says why."""


def read_configuration(text: str, usual: Policy, scheduler: str = DEFAULT_SCHEDULER) -> Policy:
    """Return the policy of the profile for Pods of `scheduler`, made from `usual`. Raises `ConfigurationError`."""
    try:
        tree = parse_yaml(text.encode())
    except DecodeError as error:
        raise ConfigurationError(f"the configuration is no YAML: {error}") from None
    document = _object(tree, "the configuration")
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise ConfigurationError(f"the configuration is no {KIND} of {API_VERSION}")
    _only(document, ("apiVersion", "kind", "profiles"), "the configuration")
    profiles: dict[str, Mapping[str, Any]] = {}
    for at, item in enumerate(_list(document.get("profiles", [{}]), "profiles")):
        profile = _object(item, f"profiles[{at}]")
        _only(profile, ("schedulerName", "plugins", "pluginConfig"), f"profiles[{at}]")
        name = profile.get("schedulerName", DEFAULT_SCHEDULER)
        if name in profiles:
            raise ConfigurationError(f"profiles[{at}].schedulerName: {name!r} is there twice")
        profiles[name] = profile
    if scheduler not in profiles:
        raise ConfigurationError(
            f"no profile is for {scheduler!r}; there are: {', '.join(map(str, profiles))}"
        )
    return _Profile(usual, profiles[scheduler]).policy(scheduler)


class _Profile:
    """Plug-ins by name, as one profile switches them on and off."""

    def __init__(self, usual: Policy, profile: Mapping[str, Any]) -> None:
        self._known_filters = {condition.name: condition for condition in usual.filters}
        self._known_scores: dict[str, tuple[Score, float]] = {
            _kubernetes_name(score): (score, weight) for score, weight in usual.scores
        }
        self._known_scores |= {
            name: (score, 1.0)
            for name, score in ((BALANCE, BalancedAllocation()), ("SelectorSpread", SpreadOwner()))
            if name not in self._known_scores
        }
        strategy = _strategy(_list(profile.get("pluginConfig", []), "pluginConfig"))
        self._known_scores[RESOURCES] = (strategy, self._known_scores.get(RESOURCES, (None, 1.0))[1])
        self._filters = dict(self._known_filters)
        self._scores = {
            name: self._known_scores[name] for name in map(_kubernetes_name, (s for s, _ in usual.scores))
        }
        plugins = _object(profile.get("plugins", {}), "plugins")
        _only(plugins, POINTS, "plugins")
        for point in POINTS:
            self._switch(point, _object(plugins.get(point, {}), f"plugins.{point}"))

    def policy(self, name: str) -> Policy:
        return Policy(
            name=name,
            filters=tuple(self._filters.values()),
            scores=tuple(self._scores.values()),
            choose=Best(),
        )

    def _switch(self, point: str, switches: Mapping[str, Any]) -> None:
        path = f"plugins.{point}"
        _only(switches, ("enabled", "disabled"), path)
        for item in _list(switches.get("disabled", []), f"{path}.disabled"):
            name = _name(item, f"{path}.disabled")
            if name != "*":
                self._find(name, path)
            for place in self._places(point):
                if name == "*":
                    place.clear()
                else:
                    place.pop(name, None)
        for item in _list(switches.get("enabled", []), f"{path}.enabled"):
            name = _name(item, f"{path}.enabled")
            condition, scored = self._find(name, path)
            weight = item.get("weight") or (scored[1] if scored is not None else 1)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
                raise ConfigurationError(f"{path}.enabled: the weight of {name} must be a number above 0")
            if condition is not None and point != "score":
                self._filters[name] = condition
            if scored is not None and point != "filter":
                self._scores[name] = (scored[0], float(weight))
            if (condition is None and point == "filter") or (scored is None and point == "score"):
                raise ConfigurationError(f"{path}.enabled: {name} is no {point} plug-in")

    def _places(self, point: str) -> Sequence[dict[str, Any]]:
        return [
            place for place, other in ((self._filters, "score"), (self._scores, "filter")) if point != other
        ]

    def _find(self, name: str, path: str) -> tuple[Filter | None, tuple[Score, float] | None]:
        condition, scored = self._known_filters.get(name), self._known_scores.get(name)
        if condition is None and scored is None:
            installed = {point.name: point for point in entry_points(group=PLUGINS)}
            if name not in installed:
                names = sorted({*self._known_filters, *self._known_scores, *installed})
                raise ConfigurationError(f"{path}: no plug-in {name!r}; there are: {', '.join(names)}")
            plugin = installed[name].load()()
            condition = plugin if hasattr(plugin, "fits") else None
            scored = (plugin, 1.0) if hasattr(plugin, "score") else None
        return condition, scored


def _kubernetes_name(score: Score) -> str:
    return {"LeastAllocated": RESOURCES, "MostAllocated": RESOURCES, "BalancedAllocation": BALANCE}.get(
        score.name, score.name
    )


def _strategy(configs: Sequence[Any]) -> Score:
    """Return the score of what is free, as the arguments of NodeResourcesFit want it."""
    wanted = "LeastAllocated"
    for at, item in enumerate(configs):
        config = _object(item, f"pluginConfig[{at}]")
        if config.get("name") != RESOURCES:
            raise ConfigurationError(f"pluginConfig[{at}]: {config.get('name')} takes no arguments here")
        args = _object(config.get("args", {}), f"pluginConfig[{at}].args")
        _only(args, ("apiVersion", "kind", "scoringStrategy"), f"pluginConfig[{at}].args")
        strategy = _object(args.get("scoringStrategy", {}), "scoringStrategy")
        _only(strategy, ("type",), "scoringStrategy")
        wanted = strategy.get("type", wanted)
    if wanted not in STRATEGIES:
        raise ConfigurationError(f"scoringStrategy.type: {wanted!r} is not among {', '.join(STRATEGIES)}")
    return STRATEGIES[wanted]()


def _object(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{path}: must be an object")
    return value


def _list(value: object, path: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ConfigurationError(f"{path}: must be a list")
    return value


def _name(item: object, path: str) -> str:
    found = _object(item, path)
    _only(found, ("name", "weight"), path)
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{path}: a plug-in must have a name")
    return name


def _only(value: Mapping[str, Any], fields: Sequence[str], path: str) -> None:
    unknown = sorted(set(map(str, value)) - set(fields))
    if unknown:
        raise ConfigurationError(f'{path}: "{unknown[0]}" is not supported; there are: {", ".join(fields)}')
