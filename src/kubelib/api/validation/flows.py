"""Rules of flow schemas and priority levels."""

import math
from collections.abc import Sequence

from kubelib.api.errors import Problem
from kubelib.api.mandatoryflows import fixed
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    invalid,
    not_supported,
    one_of,
    required,
)

_MOST_BITS = 60
"""How many bits of a flow's hash may be used to deal it a hand of queues."""
_ROUND_TRIP = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"
"""With which v1beta3 tells shares of zero from none: it does not outlive its version."""
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")


def _one_or_star(path: str, values: Sequence[str], what: str, none: str) -> list[Problem]:
    if not values:
        return [required(path, none)]
    if len(values) > 1 and "*" in values:
        return [invalid(path, list(values), f"if '*' is present, must not specify other {what}")]
    return []


def _fixed_problems(kind: str, tree: Tree) -> list[Problem]:
    name, spec = tree["metadata"].get("name") or "", tree.get("spec") or {}
    wanted = fixed(kind, name, spec)
    if wanted is None or wanted == spec:
        return []
    but = (
        " except the 'spec.exempt' field" if (kind, name) == ("PriorityLevelConfiguration", "exempt") else ""
    )
    return [invalid("spec", spec, f"spec of '{name}'{but} must equal the fixed value")]


def _verb_problems(path: str, verbs: Sequence[str]) -> list[Problem]:
    problems = _one_or_star(path, verbs, "verbs", "verbs must contain at least one value")
    if verbs and "*" not in verbs and any(verb not in _VERBS for verb in verbs):
        problems.append(not_supported(path, list(verbs), _VERBS))
    return problems


def _resource_rule(rule: Tree, path: str) -> list[Problem]:
    problems = _verb_problems(f"{path}.verbs", rule.get("verbs") or ())
    problems += _one_or_star(
        f"{path}.apiGroups",
        rule.get("apiGroups") or (),
        "api groups",
        "resource rules must supply at least one api group",
    )
    problems += _one_or_star(
        f"{path}.resources",
        rule.get("resources") or (),
        "resources",
        "resource rules must supply at least one resource",
    )
    namespaces = rule.get("namespaces") or ()
    if not namespaces and not rule.get("clusterScope"):
        problems.append(
            required(
                f"{path}.namespaces",
                "resource rules that are not cluster scoped must supply at least one namespace",
            )
        )
    elif "*" in namespaces:
        problems += _one_or_star(f"{path}.namespaces", namespaces, "namespaces", "")
    else:
        for at, name in enumerate(namespaces):
            problems += [
                invalid(
                    f"{path}.namespaces[{at}]",
                    name,
                    f"each member of this list must be '*' or a DNS-1123 label; {message}",
                )
                for message in texts.label(name)
            ]
    return problems


def _url_path(path: str, url: str) -> list[Problem]:
    if not url:
        return [invalid(path, url, "must not be empty")]
    if url == "/":
        return []
    if not url.startswith("/"):
        return [invalid(path, url, "must start with slash")]
    if " " in url:
        return [invalid(path, url, "must not contain white-space")]
    if "//" in url:
        return [invalid(path, url, "must not contain double slash")]
    if "*" in url and (url.count("*") > 1 or not url.endswith("/*")):
        return [invalid(path, url, "wildcard can only do suffix matching")]
    return []


def _non_resource_rule(rule: Tree, path: str) -> list[Problem]:
    problems = _verb_problems(f"{path}.verbs", rule.get("verbs") or ())
    urls = rule.get("nonResourceURLs") or ()
    problems += _one_or_star(
        f"{path}.nonResourceURLs",
        urls,
        "non-resource URLs",
        "nonResourceURLs must contain at least one value",
    )
    if "*" not in urls:
        for at, url in enumerate(urls):
            problems += _url_path(f"{path}.nonResourceURLs[{at}]", url)
    return problems


_SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}


def _subject(subject: Tree, path: str) -> list[Problem]:
    kind = subject.get("kind") or ""
    if kind not in _SUBJECTS:
        return [not_supported(f"{path}.kind", kind, sorted(_SUBJECTS))]
    problems: list[Problem] = []
    field = _SUBJECTS[kind]
    value = subject.get(field)
    if value is None:
        problems.append(required(f"{path}.{field}", f"{field} is required when subject kind is '{kind}'"))
    else:
        if not (name := value.get("name") or ""):
            problems.append(required(f"{path}.{field}.name"))
        elif kind == "ServiceAccount" and name != "*":
            problems += each(f"{path}.{field}.name", name, texts.subdomain(name))
        if kind == "ServiceAccount":
            if not value.get("namespace"):
                problems.append(
                    required(f"{path}.{field}.namespace", "must specify namespace for service account")
                )
            else:
                problems += each(
                    f"{path}.{field}.namespace", value["namespace"], texts.label(value["namespace"])
                )
    for other, name in _SUBJECTS.items():
        if other != kind and subject.get(name) is not None:
            problems.append(
                forbidden(f"{path}.{name}", f"{name} is forbidden when subject kind is not '{other}'")
            )
    return problems


def flow_schema_problems(tree: Tree) -> list[Problem]:
    """Check a FlowSchema."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    precedence, path = spec.get("matchingPrecedence") or 0, "spec.matchingPrecedence"
    if precedence <= 0:
        problems.append(invalid(path, precedence, "must be a positive value"))
    if precedence > 10000:
        problems.append(invalid(path, precedence, "must not be greater than 10000"))
    if precedence == 1 and tree["metadata"].get("name") != "exempt":
        problems.append(
            invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
        )
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        # So Kubernetes shows the method as a whole.
        shown = {"Type": method.get("type") or ""}
        problems.append(not_supported("spec.distinguisherMethod.type", shown, ("ByNamespace", "ByUser")))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name") or ""
    path = "spec.priorityLevelConfiguration.name"
    problems += (
        each(path, level, texts.subdomain(level))
        if level
        else [required(path, "must reference a priority level")]
    )
    for at, rule in enumerate(spec.get("rules") or ()):
        path = f"spec.rules[{at}]"
        subjects = rule.get("subjects") or ()
        resources, others = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
        if not subjects:
            problems.append(required(f"{path}.subjects", "subjects must contain at least one value"))
        for index, subject in enumerate(subjects):
            problems += _subject(subject, f"{path}.subjects[{index}]")
        if not resources and not others:
            problems.append(
                required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
            )
        for index, part in enumerate(resources):
            problems += _resource_rule(part, f"{path}.resourceRules[{index}]")
        for index, part in enumerate(others):
            problems += _non_resource_rule(part, f"{path}.nonResourceRules[{index}]")
    return problems + _fixed_problems("FlowSchema", tree)


def priority_level_problems(tree: Tree) -> list[Problem]:
    """Check a PriorityLevelConfiguration."""
    spec = tree.get("spec") or {}
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    problems: list[Problem] = []
    if _ROUND_TRIP in (tree["metadata"].get("annotations") or {}):
        problems.append(forbidden("metadata.annotations", f"annotation '{_ROUND_TRIP}' is forbidden"))
    if (tree["metadata"].get("name") == "exempt") != (kind == "Exempt"):
        problems.append(invalid("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            problems.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
        problems += _share_problems(exempt or {}, "spec.exempt")
        problems += _lending_problems(exempt or {}, "spec.exempt")
    elif kind == "Limited":
        if exempt is not None:
            problems.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            problems.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            problems += _limited(limited)
    else:
        problems += one_of("spec.type", kind, ("Exempt", "Limited"))
    return problems + _fixed_problems("PriorityLevelConfiguration", tree)


def _share_problems(level: Tree, path: str) -> list[Problem]:
    shares = level.get("nominalConcurrencyShares") or 0
    if shares >= 0:
        return []
    return [invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")]


def _lending_problems(level: Tree, path: str) -> list[Problem]:
    lendable = level.get("lendablePercent") or 0
    if 0 <= lendable <= 100:
        return []
    return [invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive")]


def status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the status of a flow schema or priority level: each condition once, and of a type."""
    problems: list[Problem] = []
    types: set[str] = set()
    for at, condition in enumerate((new.get("status") or {}).get("conditions") or ()):
        kind = condition.get("type") or ""
        if kind in types:
            problems.append(duplicate(f"status.conditions[{at}].type", kind))
        types.add(kind)
        if not kind:
            problems.append(required(f"status.conditions[{at}].type"))
    return problems


def _limited(limited: Tree) -> list[Problem]:
    path = "spec.limited"
    problems = _share_problems(limited, path)
    problems += _response_problems(limited.get("limitResponse") or {}, f"{path}.limitResponse")
    problems += _lending_problems(limited, path)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        problems.append(
            invalid(
                f"{path}.borrowingLimitPercent",
                borrowing,
                "if specified, must be a non-negative integer",
            )
        )
    return problems


def _response_problems(response: Tree, path: str) -> list[Problem]:
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        why = "must be nil if limited.limitResponse.type is not Limited"
        return [] if queuing is None else [forbidden(f"{path}.queuing", why)]
    if kind == "Queue":
        why = "must not be empty if limited.limitResponse.type is Limited"
        where = f"{path}.queuing"
        return [required(where, why)] if queuing is None else _queuing(queuing, where)
    return one_of(f"{path}.type", kind, ("Queue", "Reject"))


def _queuing(queuing: Tree, path: str) -> list[Problem]:
    limit, queues, hand = (queuing.get(name) or 0 for name in ("queueLengthLimit", "queues", "handSize"))
    problems: list[Problem] = []
    if limit <= 0:
        problems.append(invalid(f"{path}.queueLengthLimit", limit, "must be positive"))
    if queues <= 0:
        problems.append(invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > 10_000_000:
        problems.append(invalid(f"{path}.queues", queues, "must not be greater than 10000000"))
    if hand <= 0:
        problems.append(invalid(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        problems.append(invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif queues > 0 and math.ceil(math.log2(queues) * hand) > _MOST_BITS:
        why = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {_MOST_BITS}"
        problems.append(invalid(f"{path}.handSize", hand, why))
    return problems
