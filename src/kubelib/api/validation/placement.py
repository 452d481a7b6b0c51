"""Rules of where a Pod may run: selectors, affinities, tolerations, spreading."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.meta import label_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    invalid,
    not_supported,
    required,
)

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def label_selector_problems(selector: Any, path: str) -> list[Problem]:
    """Check a ``metav1.LabelSelector``."""
    if not isinstance(selector, dict):
        return []
    problems: list[Problem] = []
    if selector.get("matchLabels"):
        problems += label_problems(selector["matchLabels"], f"{path}.matchLabels")
    for at, expression in enumerate(selector.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{at}]"
        operator, values = expression.get("operator") or "", expression.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                problems.append(
                    required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
                )
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                problems.append(
                    forbidden(
                        f"{here}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    )
                )
        else:
            problems.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        key = expression.get("key") or ""
        problems += each(f"{here}.key", key, texts.qualified(key))
        for number, value in enumerate(values):
            problems += each(f"{here}.values[{number}]", value, texts.label_value(value))
    return problems


def node_selector_problems(selector: Tree, path: str) -> list[Problem]:
    """Check a NodeSelector."""
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    problems: list[Problem] = []
    for at, term in enumerate(terms):
        problems += _term_problems(term, f"{path}.nodeSelectorTerms[{at}]", strict=True)
    return problems


def _term_problems(term: Tree, path: str, *, strict: bool) -> list[Problem]:
    problems: list[Problem] = []
    for at, wanted in enumerate(term.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{at}]"
        operator, values, key = (
            wanted.get("operator") or "",
            wanted.get("values") or (),
            wanted.get("key") or "",
        )
        if operator in ("In", "NotIn"):
            if not values:
                problems.append(
                    required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
                )
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                problems.append(
                    forbidden(
                        f"{here}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    )
                )
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                problems.append(
                    required(
                        f"{here}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"
                    )
                )
        else:
            problems.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        problems += each(f"{here}.key", key, texts.qualified(key))
        if strict:
            for number, value in enumerate(values):
                problems += each(f"{here}.values[{number}]", value, texts.label_value(value))
    for at, wanted in enumerate(term.get("matchFields") or ()):
        here = f"{path}.matchFields[{at}]"
        operator, values, key = (
            wanted.get("operator") or "",
            wanted.get("values") or (),
            wanted.get("key") or "",
        )
        if operator not in ("In", "NotIn"):
            problems.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        elif len(values) != 1:
            problems.append(
                required(
                    f"{here}.values",
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                )
            )
        if key != "metadata.name":
            problems.append(invalid(f"{here}.key", key, "not a valid field selector key"))
        else:
            for number, value in enumerate(values):
                problems += each(f"{here}.values[{number}]", value, texts.subdomain(value))
    return problems


def affinity_problems(affinity: Tree, path: str, problems: list[Problem]) -> None:
    """Check a Pod's affinities."""
    node = affinity.get("nodeAffinity")
    if node:
        if node.get(_REQUIRED) is not None:
            problems += node_selector_problems(node[_REQUIRED], f"{path}.nodeAffinity.{_REQUIRED}")
        for at, term in enumerate(node.get(_PREFERRED) or ()):
            here = f"{path}.nodeAffinity.{_PREFERRED}[{at}]"
            _weight(term, here, problems)
            problems += _term_problems(term.get("preference") or {}, f"{here}.preference", strict=False)
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind)
        if not pods:
            continue
        for at, term in enumerate(pods.get(_REQUIRED) or ()):
            _pod_term_problems(term, f"{path}.{kind}.{_REQUIRED}[{at}]", problems)
        for at, weighted in enumerate(pods.get(_PREFERRED) or ()):
            here = f"{path}.{kind}.{_PREFERRED}[{at}]"
            _weight(weighted, here, problems)
            _pod_term_problems(weighted.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm", problems)


def _weight(term: Tree, path: str, problems: list[Problem]) -> None:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        problems.append(invalid(f"{path}.weight", weight, "must be in the range 1-100"))


def _pod_term_problems(term: Tree, path: str, problems: list[Problem]) -> None:
    problems += label_selector_problems(term.get("labelSelector"), f"{path}.labelSelector")
    problems += label_selector_problems(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        problems += each(f"{path}.namespace", name, texts.label(name))
    _label_keys(term, path, problems)
    key = term.get("topologyKey") or ""
    if not key:
        problems.append(required(f"{path}.topologyKey", "can not be empty"))
    problems += each(f"{path}.topologyKey", key, texts.qualified(key))


_LIST = "matchLabelKeys"
_BOTH = "exists in both matchLabelKeys and "


def _key_problems(term: Tree, field: str, path: str) -> list[Problem]:
    keys = term.get(field) or ()
    if keys and term.get("labelSelector") is None:
        return [forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set")]
    return [
        problem
        for at, key in enumerate(keys)
        for problem in each(f"{path}.{field}[{at}]", key, texts.qualified(key))
    ]


def _label_keys(term: Tree, path: str, problems: list[Problem]) -> None:
    problems += _key_problems(term, _LIST, path)
    problems += _key_problems(term, "mismatchLabelKeys", path)
    matched, selector = term.get(_LIST) or [], term.get("labelSelector") or {}
    # The server has put each of these keys among the expressions already: one that is there besides was the user's.
    known = set(selector.get("matchLabels") or ())
    for expression in selector.get("matchExpressions") or ():
        key = expression.get("key") or ""
        if key in matched and key in known:
            problems.append(invalid(f"{path}[{matched.index(key)}]", key, f"{_BOTH}labelSelector"))
        known.add(key)
    mismatched = term.get("mismatchLabelKeys") or ()
    problems += [
        invalid(f"{path}.{_LIST}[{at}]", key, f"{_BOTH}mismatchLabelKeys")
        for at, key in enumerate(matched)
        if key in mismatched
    ]


def taint_problems(taints: Any, path: str) -> list[Problem]:
    """Check a node's taints."""
    problems: list[Problem] = []
    seen: set[tuple[str, str]] = set()
    for at, taint in enumerate(taints or ()):
        here = f"{path}[{at}]"
        key, value, effect = taint.get("key") or "", taint.get("value") or "", taint.get("effect") or ""
        problems += each(f"{here}.key", key, texts.qualified(key))
        if messages := texts.label_value(value):
            problems.append(invalid(f"{here}.value", value, ";".join(messages)))
        if not effect:
            problems.append(required(f"{here}.effect"))
        elif effect not in EFFECTS:
            problems.append(not_supported(f"{here}.effect", effect, EFFECTS))
        if (key, effect) in seen:
            found = duplicate(here, taint)
            problems.append(
                Problem(found.type, here, f"{found.message}: taints must be unique by key and effect pair")
            )
        seen.add((key, effect))
    return problems


def toleration_problems(tolerations: Any, path: str, problems: list[Problem]) -> None:
    """Check a Pod's tolerations."""
    for at, toleration in enumerate(tolerations):
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        value, effect = toleration.get("value") or "", toleration.get("effect") or ""
        if key:
            if messages := texts.qualified(key):
                problems += each(f"{path}[{at}].key", key, messages)
        elif operator != "Exists":
            problems.append(
                invalid(
                    f"{path}[{at}].operator",
                    operator,
                    'operator must be Exists when `key` is empty, which means "match all values and all keys"',
                )
            )
        if effect != "NoExecute" and toleration.get("tolerationSeconds") is not None:
            problems.append(
                invalid(
                    f"{path}[{at}].effect",
                    effect,
                    "effect must be 'NoExecute' when `tolerationSeconds` is set",
                )
            )
        if operator in ("", "Equal"):
            if messages := texts.label_value(value):
                problems.append(invalid(f"{path}[{at}].operator", value, ";".join(messages)))
        elif operator == "Exists":
            if value:
                problems.append(
                    invalid(
                        f"{path}[{at}].operator", value, "value must be empty when `operator` is 'Exists'"
                    )
                )
        else:
            problems.append(not_supported(f"{path}[{at}].operator", operator, ("Equal", "Exists")))
        if effect and effect not in EFFECTS:
            problems.append(not_supported(f"{path}[{at}].effect", effect, EFFECTS))


def spread_problems(constraints: Any, path: str, problems: list[Problem]) -> None:
    """Check topology spread constraints."""
    pairs = [(one.get("topologyKey") or "", one.get("whenUnsatisfiable") or "") for one in constraints]
    for at, constraint in enumerate(constraints):
        here, (key, action) = f"{path}[{at}]", pairs[at]
        skew, least = constraint.get("maxSkew") or 0, constraint.get("minDomains")
        if skew <= 0:
            problems.append(invalid(f"{here}.maxSkew", skew, "must be greater than zero"))
        if not key:
            problems.append(required(f"{here}.topologyKey", "can not be empty"))
        if action not in _ACTIONS:
            problems.append(not_supported(f"{here}.whenUnsatisfiable", action, _ACTIONS))
        if pairs[at] in pairs[at + 1 :]:
            problems.append(duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        if least is not None:
            if least <= 0:
                problems.append(invalid(f"{here}.minDomains", least, "must be greater than zero"))
            if action != "DoNotSchedule":
                why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                problems.append(invalid(f"{here}.minDomains", least, why))
        problems += [
            not_supported(f"{here}.{field}", constraint[field], _INCLUSIONS)
            for field in ("nodeAffinityPolicy", "nodeTaintsPolicy")
            if constraint.get(field) is not None and constraint[field] not in _INCLUSIONS
        ]
        _spread_keys(constraint, f"{here}.{_LIST}", problems)
        problems += label_selector_problems(constraint.get("labelSelector"), f"{here}.labelSelector")


_ACTIONS, _INCLUSIONS = ("DoNotSchedule", "ScheduleAnyway"), ("Honor", "Ignore")


def _spread_keys(constraint: Tree, path: str, problems: list[Problem]) -> None:
    keys, selector = constraint.get(_LIST) or (), constraint.get("labelSelector")
    if keys and selector is None:
        problems.append(forbidden(path, "must not be specified when labelSelector is not set"))
    selector = selector or {}
    known = {
        *(selector.get("matchLabels") or ()),
        *((expression.get("key") or "") for expression in selector.get("matchExpressions") or ()),
    }
    for at, key in enumerate(keys):
        problems += each(f"{path}[{at}]", key, texts.qualified(key))
        if key in known:
            problems.append(invalid(f"{path}[{at}]", key, f"{_BOTH}labelSelector"))
