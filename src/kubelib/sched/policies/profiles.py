"""One profile of a file: plug-ins by name, as it switches them on and off and sets them up."""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from kubelib.api.validation import problems
from kubelib.sched.base import Policy, Score
from kubelib.sched.policies.allocation import BalancedAllocation, LeastAllocated
from kubelib.sched.policies.arguments import (
    ARGUMENTS,
    BALANCE,
    RESOURCES,
    SPREAD,
    ConfigurationError,
    as_list,
    as_object,
    only,
)
from kubelib.sched.policies.choosers import Best
from kubelib.sched.policies.plugins import make_plugin
from kubelib.sched.policies.scores import SpreadOwner, SpreadZones

PLUGINS = "kubelib.scheduler_plugins"
"""The entry point group of plug-ins: functions that return a `Filter` or a `Score`."""

SORT, PREEMPT, BIND = "PrioritySort", "DefaultPreemption", "DefaultBinder"
ONLY_ONES = {"queueSort": SORT, "postFilter": PREEMPT, "bind": BIND}
"""Points at which there is one plug-in."""
POINTS = ("queueSort", "filter", "postFilter", "score", "bind")


class Profile:
    """Plug-ins by name, as one profile has them. Raises `ConfigurationError`."""

    def __init__(self, usual: Policy, profile: Mapping[str, Any], path: str) -> None:
        """Make the profile that stands at `path` from what is `usual`."""
        self._path = path
        scores = {_kubernetes_name(score): (score, weight) for score, weight in usual.scores}
        more: tuple[tuple[str, Score], ...] = (
            (BALANCE, BalancedAllocation()),
            ("SelectorSpread", SpreadOwner()),
            ("ZoneSpread", SpreadZones()),
        )
        self._known: dict[str, dict[str, Any]] = {point: {name: name} for point, name in ONLY_ONES.items()}
        self._known["filter"] = {condition.name: condition for condition in usual.filters}
        self._known["score"] = {name: (score, 1.0) for name, score in more} | scores
        self._spreads = False
        self._set_up(as_list(profile.get("pluginConfig") or [], f"{path}.pluginConfig"))
        self._chosen = {point: dict(known) for point, known in self._known.items()}
        self._chosen["score"] = {name: self._known["score"][name] for name in scores}
        if self._spreads:
            # They do what default constraints do.
            for score in (SpreadOwner.name, SpreadZones.name):
                self._chosen["score"].pop(score, None)
        plugins = as_object(profile.get("plugins") or {}, f"{path}.plugins")
        only(plugins, ("multiPoint", *POINTS), f"{path}.plugins")
        for point in ("multiPoint", *POINTS):
            at = f"{path}.plugins.{point}"
            self._switch(point, as_object(plugins.get(point) or {}, at), at)

    def policy(self, name: str) -> Policy:
        """Return the policy for Pods of the scheduler `name`."""
        if not self._chosen["queueSort"]:
            raise ConfigurationError(f"{self._path}: no queue sort plugin is enabled")
        if not self._chosen["bind"]:
            raise ConfigurationError(
                f'{self._path}: at least one bind plugin is needed for profile with scheduler name "{name}"'
            )
        return Policy(
            name=name,
            filters=tuple(self._chosen["filter"].values()),
            scores=tuple(self._chosen["score"].values()),
            choose=Best(),
            preempts=bool(self._chosen["postFilter"]),
        )

    def _switch(self, point: str, switches: Mapping[str, Any], path: str) -> None:
        only(switches, ("enabled", "disabled"), path)
        points = POINTS if point == "multiPoint" else (point,)
        for item in as_list(switches.get("disabled") or [], f"{path}.disabled"):
            name = _name(item, f"{path}.disabled")
            if name != "*":
                self._find(name, path)
            for place in points:
                if name == "*":
                    self._chosen[place].clear()
                else:
                    self._chosen[place].pop(name, None)
        for item in as_list(switches.get("enabled") or [], f"{path}.enabled"):
            name = _name(item, f"{path}.enabled")
            found = self._find(name, path)
            if not found.keys() & set(points):
                raise ConfigurationError(f"{path}.enabled: {name} is no {point} plug-in")
            for place in points:
                if place == "score" and place in found:
                    score, usual = found[place]
                    weight = item.get("weight") or usual
                    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
                        raise ConfigurationError(
                            f"{path}.enabled: the weight of {name} must be a number above 0"
                        )
                    self._chosen[place][name] = (score, float(weight))
                elif place in found:
                    self._chosen[place][name] = found[place]

    def _find(self, name: str, path: str) -> Mapping[str, Any]:
        """Return a plug-in by the points at which it can be used."""
        found = {point: known[name] for point, known in self._known.items() if name in known}
        if found:
            return found
        installed = {point.name: point for point in entry_points(group=PLUGINS)}
        if name not in installed:
            names = sorted({*(name for known in self._known.values() for name in known), *installed})
            raise ConfigurationError(f"{path}: no plug-in {name!r}; there are: {', '.join(names)}")
        try:
            plugin = make_plugin(installed[name])
        except LookupError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        if hasattr(plugin, "fits"):
            found["filter"] = plugin
        if hasattr(plugin, "score"):
            found["score"] = (plugin, 1.0)
        return found

    # Arguments

    def _set_up(self, configs: Sequence[Any]) -> None:
        seen: set[str] = set()
        weight = self._known["score"].get(RESOURCES, (None, 1.0))[1]
        self._known["score"][RESOURCES] = (LeastAllocated(), weight)
        for at, item in enumerate(configs):
            path = f"{self._path}.pluginConfig[{at}]"
            config = as_object(item, path)
            only(config, ("name", "args"), path)
            name = str(config.get("name"))
            if name in seen:
                problem = problems.duplicate(path, name)
                raise ConfigurationError(f"{problem.field}: {problem.message}")
            seen.add(name)
            self._spreads = self._spreads or name == SPREAD
            args = as_object(config.get("args") or {}, f"{path}.args")
            if args.get("kind", f"{name}Args") != f"{name}Args":
                problem = problems.invalid(f"{path}.args", args["kind"], "has to match plugin args")
                raise ConfigurationError(f"{problem.field}: {problem.message}")
            if name not in ARGUMENTS:
                raise ConfigurationError(f"{path}: {name} takes no arguments here")
            for point, plugin in ARGUMENTS[name](args, f"{path}.args").items():
                known = self._known[point]
                known[name] = (
                    (plugin, known[name][1] if name in known else 1.0) if point == "score" else plugin
                )


def _kubernetes_name(score: Score) -> str:
    return {"LeastAllocated": RESOURCES, "MostAllocated": RESOURCES, "BalancedAllocation": BALANCE}.get(
        score.name, score.name
    )


def _name(item: object, path: str) -> str:
    found = as_object(item, path)
    only(found, ("name", "weight"), path)
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{path}: a plug-in must have a name")
    return name
