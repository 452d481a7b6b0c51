"""Audit policies: which rule of an ``audit.k8s.io/v1`` Policy a request meets first, and how much it says to write."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from kubelib.registry.base import User
from kubelib.server.audit.base import API_VERSION, LEVELS, STAGES, Stage, Verdict
from kubelib.server.requestinfo import RequestInfo

REMEMBERED = 50_000
_LISTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages")
_FIELDS = {"level", "resources", "omitManagedFields", *_LISTS}


class PolicyError(ValueError):
    """The policy cannot be used; the message says why."""


@attrs.frozen
class _Resources:
    group: str
    resources: tuple[str, ...]
    names: tuple[str, ...]

    def matches(self, info: RequestInfo) -> bool:
        if self.group != info.group:
            return False
        if not self.resources:
            return True
        if self.names and info.name not in self.names:
            return False
        wanted = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        for resource in self.resources:
            if resource in (wanted, "*"):
                return True
            if info.subresource and resource in (f"*/{info.subresource}", f"{info.resource}/*"):
                return True
        return False


@attrs.frozen
class _Rule:
    verdict: Verdict
    users: tuple[str, ...]
    groups: tuple[str, ...]
    verbs: tuple[str, ...]
    namespaces: tuple[str, ...]
    resources: tuple[_Resources, ...]
    paths: tuple[str, ...]

    def matches(self, user: User, info: RequestInfo) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and not any(group in user.groups for group in self.groups):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if not info.resource:
                return False
            if self.namespaces and info.namespace not in self.namespaces:
                return False
            return not self.resources or any(part.matches(info) for part in self.resources)
        if self.paths:
            return not info.resource and any(_matches_path(path, info.path) for path in self.paths)
        return True


def _matches_path(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern


class Policy:
    """The rules of a policy, in order."""

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self._rules = tuple(rules)
        self._names_objects = any(part.names for rule in self._rules for part in rule.resources)
        self._known: dict[tuple[User, object], Verdict] = {}

    def verdict(self, user: User, info: RequestInfo) -> Verdict:
        """Return what is written of a request: what the first rule says that matches it; without one, nothing."""
        key = (user, info if self._names_objects else info.kind)
        verdict = self._known.get(key)
        if verdict is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = (rule.verdict for rule in self._rules if rule.matches(user, info))
            verdict = self._known[key] = next(found, NOTHING)
        return verdict


NOTHING = Verdict()


def read_policy(document: object) -> Policy:
    """Read a policy from a decoded document. Raises `PolicyError`, which names the field."""
    if not isinstance(document, Mapping):
        raise PolicyError("an audit policy must be an object")
    if document.get("kind") != "Policy" or document.get("apiVersion") != API_VERSION:
        raise PolicyError(f"an audit policy must have kind Policy and apiVersion {API_VERSION}")
    unknown = sorted(
        set(document) - {"kind", "apiVersion", "metadata", "rules", "omitStages", "omitManagedFields"}
    )
    if unknown:
        raise PolicyError(f'unknown field "{unknown[0]}"')
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules:
        raise PolicyError("rules: a policy with no rules writes nothing: add one")
    stages = _stages(document, "")
    without_managed = _flag(document, "omitManagedFields", False, "")
    return Policy([_rule(rule, f"rules[{at}]", stages, without_managed) for at, rule in enumerate(rules)])


def load_policy(text: str) -> Policy:
    """Read a policy from YAML or JSON. Raises `PolicyError`."""
    from kubelib.api.codec import DecodeError, parse_yaml

    try:
        return read_policy(parse_yaml(text.encode()))
    except DecodeError as error:
        raise PolicyError(f"the policy is no YAML: {error}") from None


def _rule(rule: object, path: str, stages: frozenset[Stage], without_managed: bool) -> _Rule:
    if not isinstance(rule, Mapping):
        raise PolicyError(f"{path}: a rule must be an object")
    unknown = sorted(set(rule) - _FIELDS)
    if unknown:
        raise PolicyError(f'{path}: unknown field "{unknown[0]}"')
    level = rule.get("level")
    if level not in LEVELS:
        raise PolicyError(f"{path}.level: {level!r} is not among {', '.join(LEVELS)}")
    texts = {name: _texts(rule, name, path) for name in _LISTS}
    paths = texts["nonResourceURLs"]
    resources = tuple(_resources(rule, path))
    if paths and (resources or texts["namespaces"]):
        raise PolicyError(
            f"{path}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
        )
    for text in paths:
        if text != "*" and not text.startswith("/"):
            raise PolicyError(f'{path}.nonResourceURLs: {text!r} must begin with a "/"')
        if "*" in text[:-1]:
            raise PolicyError(f'{path}.nonResourceURLs: "*" must be the last character of {text!r}')
    verdict = Verdict(
        level, stages | _stages(rule, path), _flag(rule, "omitManagedFields", without_managed, path)
    )
    return _Rule(
        verdict, texts["users"], texts["userGroups"], texts["verbs"], texts["namespaces"], resources, paths
    )


def _resources(rule: Mapping[str, Any], path: str) -> Iterator[_Resources]:
    for at, part in enumerate(rule.get("resources") or ()):
        where = f"{path}.resources[{at}]"
        if not isinstance(part, Mapping) or set(part) - {"group", "resources", "resourceNames"}:
            raise PolicyError(f"{where}: only group, resources and resourceNames are known")
        names, resources = _texts(part, "resourceNames", where), _texts(part, "resources", where)
        if names and not resources:
            raise PolicyError(f"{where}.resourceNames: using resourceNames requires at least one resource")
        group = part.get("group", "")
        if not isinstance(group, str) or "/" in group:
            raise PolicyError(f"{where}.group: {group!r} is no API group; write it without a version")
        yield _Resources(group, resources, names)


def _texts(part: Mapping[str, Any], name: str, path: str) -> tuple[str, ...]:
    values = part.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise PolicyError(f"{path}.{name}: write a list of texts")
    return tuple(values)


def _stages(part: Mapping[str, Any], path: str) -> frozenset[Stage]:
    found: set[Stage] = set()
    for text in _texts(part, "omitStages", path):
        stage = next((stage for stage in STAGES if stage == text), None)
        if stage is None:
            raise PolicyError(f"{path}.omitStages: {text!r} is not among {', '.join(STAGES)}".lstrip("."))
        found.add(stage)
    return frozenset(found)


def _flag(part: Mapping[str, Any], name: str, default: bool, path: str) -> bool:
    value = part.get(name, default)
    if not isinstance(value, bool):
        raise PolicyError(f"{path}.{name}: write true or false".lstrip("."))
    return value
