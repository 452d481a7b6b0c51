"""Rules of amounts: what containers ask for, quotas, limits, capacities."""

from collections.abc import Callable
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.podresources import amounts, pod_requests
from kubelib.api.quantity import Quantity, QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import duplicate, each, forbidden, invalid, not_supported, required

_CONTAINER = frozenset(("cpu", "memory", "ephemeral-storage"))
_POD = frozenset(("cpu", "memory"))
_QUOTA = frozenset(
    (
        "cpu", "memory", "ephemeral-storage", "storage", "requests.cpu", "requests.memory", "requests.storage",
        "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods",
        "resourcequotas", "services", "replicationcontrollers", "secrets", "persistentvolumeclaims", "configmaps",
        "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip
_WHOLE = frozenset(
    (
        "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "persistentvolumeclaims",
        "configmaps", "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip
_HUGE = "hugepages-"


def is_native(name: str) -> bool:
    """Return whether a resource is Kubernetes' own: without a prefix, or with one of kubernetes.io."""
    return "/" not in name or "kubernetes.io/" in name


def is_huge_page(name: str) -> bool:
    """Return whether a resource is huge pages of some size."""
    return name.startswith(_HUGE)


def may_overcommit(name: str) -> bool:
    """Return whether requests may be lower than limits."""
    return is_native(name) and not is_huge_page(name)


def is_extended(name: str) -> bool:
    """Return whether a resource is one that nodes advertise beyond Kubernetes' own."""
    return (
        not is_native(name) and not name.startswith("requests.") and not texts.qualified("requests." + name)
    )


def resource_name(name: str) -> list[str]:
    """Check the name of a resource."""
    if messages := texts.qualified(name):
        return messages
    if "/" not in name and name not in _QUOTA and not is_huge_page(name.removeprefix("requests.")):
        return ["must be a standard resource type or fully qualified"]
    return []


def container_resource_name(name: str) -> list[str]:
    """Check the name of a resource that a container asks for."""
    messages = resource_name(name)
    if "/" not in name:
        if name not in _CONTAINER and not is_huge_page(name):
            return [*messages, "must be a standard resource for containers"]
    elif not is_native(name) and not is_extended(name):
        return [*messages, "doesn't follow extended resource name standard"]
    return messages


def quota_resource_name(name: str) -> list[str]:
    """Check the name of a resource that a quota limits."""
    messages = resource_name(name)
    if "/" not in name and not is_standard_quota(name):
        return [*messages, "must be a standard resource for quota"]
    return messages


def is_standard_quota(name: str) -> bool:
    """Return whether quotas know a resource without being told of it."""
    return (name in _QUOTA and name != "storage") or is_huge_page(name.removeprefix("requests."))


def amount(text: Any, path: str, problems: list[Problem]) -> Quantity | None:
    """Return an amount; note it if it is none."""
    try:
        return parse_quantity(text if isinstance(text, str) else str(text))
    except QuantityError as error:
        problems.append(invalid(path, text, str(error)))
        return None


def amount_problems(name: str, text: Any, path: str) -> list[Problem]:
    """Check the amount of a resource: not negative, whole where only whole ones make sense."""
    problems: list[Problem] = []
    quantity = amount(text, path, problems)
    if quantity is None:
        return problems
    if quantity.nano < 0:
        problems.append(invalid(path, text, "must be greater than or equal to 0"))
    if (name in _WHOLE or is_extended(name)) and quantity.nano % 10**9:
        problems.append(invalid(path, text, "must be an integer"))
    return problems


def _container_name_problems(name: str, path: str) -> list[Problem]:
    return each(path, name, container_resource_name(name))


def _pod_name_problems(name: str, path: str) -> list[Problem]:
    if messages := resource_name(name):
        return each(path, name, messages)
    known = name in _POD or is_huge_page(name)
    return [] if known else [not_supported(path, name, ("cpu", _HUGE, "memory"))]


def requirement_problems(
    resources: Tree,
    path: str,
    claims: list[str],
    problems: list[Problem],
    *,
    names: Callable[[str, str], list[Problem]] = _container_name_problems,
) -> None:
    """Check what a container asks for and is limited to; `names` checks how resources are called."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    amounts: dict[str, Quantity] = {}
    for kind, given in (("limits", limits), ("requests", requests)):
        for name, text in given.items():
            try:
                quantity = parse_quantity(text)
                plain = name in _POD and quantity.nano >= 0
            except (QuantityError, TypeError, AttributeError):
                quantity, plain = None, False
            if not plain:
                here = f"{path}.{kind}[{name}]"
                problems += names(name, here)
                problems += amount_problems(name, text, here)
                if quantity is None:
                    continue
                if kind == "limits" and is_huge_page(name) and not _divides(name, quantity):
                    problems.append(_indivisible(name, text, here))
            assert quantity is not None
            if kind == "limits":
                amounts[name] = quantity
            elif name in amounts:
                limit = amounts[name]
                if quantity != limit and not may_overcommit(name):
                    problems.append(
                        invalid(f"{path}.requests", text, f"must be equal to {name} limit of {limits[name]}")
                    )
                elif limit < quantity:
                    problems.append(
                        invalid(
                            f"{path}.requests",
                            text,
                            f"must be less than or equal to {name} limit of {limits[name]}",
                        )
                    )
            elif not may_overcommit(name):
                problems.append(
                    required(f"{path}.limits", "Limit must be set for non overcommitable resources")
                )
            if kind == "requests" and is_huge_page(name) and not _divides(name, quantity):
                problems.append(_indivisible(name, text, f"{path}.requests[{name}]"))
    given_names = {*limits, *requests}
    if any(map(is_huge_page, given_names)) and not given_names & _POD:
        problems.append(forbidden(path, "HugePages require cpu or memory"))
    if resources.get("claims"):
        _claim_problems(resources["claims"], path, claims, problems)


def pod_requirement_problems(spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check what a Pod asks for as a whole: no less than its containers together, and no limit below one of theirs."""
    resources = spec["resources"]
    if resources.get("claims") is not None:
        problems.append(forbidden(f"{path}.claims", "claims cannot be set for Resources at pod-level"))
    whole = {part: resources.get(part) for part in ("limits", "requests")}
    before = len(problems)
    requirement_problems(whole, path, [], problems, names=_pod_name_problems)
    if len(problems) > before:
        return
    try:
        together = pod_requests({**spec, "resources": None}, overhead=False)
    except (QuantityError, TypeError, AttributeError):
        return
    for name, total in together.items():
        text = str((whole["requests"] or {}).get(name) or "0")
        if total > parse_quantity(text):
            here = f"{path}.requests[{name}]"
            why = f"must be greater than or equal to aggregate container requests of {total}"
            problems.append(invalid(here, text, why))
    limits = amounts(whole["limits"])
    for at, container in enumerate(spec.get("containers") or ()):
        own = (container.get("resources") or {}).get("limits") or {}
        for name, limit in amounts(own).items():
            if name in limits and limit > limits[name]:
                why = f"must be less than or equal to pod limits of {(whole['limits'] or {})[name]}"
                problems.append(invalid(f"{path}.containers[{at}][{name}].limits", own[name], why))


def _indivisible(name: str, text: Any, path: str) -> Problem:
    return invalid(path, text, f"{text} is not positive integer multiple of {name}")


def _divides(name: str, quantity: Quantity) -> bool:
    try:
        page = parse_quantity(name.removeprefix(_HUGE))
    except QuantityError:
        return False
    return page.nano > 0 and quantity.nano > 0 and quantity.nano % page.nano == 0


def _claim_problems(given: list[Tree], path: str, claims: list[str], problems: list[Problem]) -> None:
    seen: list[str] = []
    for at, claim in enumerate(given):
        here, name, request = f"{path}.claims[{at}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            problems.append(required(here))
            continue
        key = f"{name}/{request}" if request else name
        if name in seen:
            problems.append(duplicate(here, name))
        else:
            if request:
                problems += each(f"{here}.request", request, texts.label(request))
            if key in seen:
                problems.append(duplicate(here, key))
            elif not request:
                problems += [duplicate(here, name) for known in seen if known.partition("/")[0] == name]
            seen.append(key)
        if name not in claims:
            known = f": {', '.join(sorted(claims))}" if claims else " which is empty"
            why = f"must be one of the names in pod.spec.resourceClaims{known}"
            problems.append(Problem("FieldValueNotFound", here, f'Not found: "{name}": {why}'))
