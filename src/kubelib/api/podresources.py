"""What a Pod asks for as a whole: its containers together, or an init container if that is more.

The arithmetic of ``k8s.io/component-helpers/resource``, on decoded documents.
"""

from collections.abc import Mapping

from kubelib.api.quantity import Quantity, parse_quantity
from kubelib.api.scheme import Tree

Amounts = dict[str, Quantity]


def amounts(texts: Mapping[str, str] | None) -> Amounts:
    """Return the quantities of a resource list. Raises `kubelib.api.quantity.QuantityError`."""
    return {name: parse_quantity(str(text)) for name, text in (texts or {}).items()}


def add(total: Amounts, more: Mapping[str, Quantity]) -> None:
    """Add amounts to a total, in place."""
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise_to(total: Amounts, least: Mapping[str, Quantity]) -> None:
    for name, amount in least.items():
        if name not in total or total[name] < amount:
            total[name] = amount


def _together(spec: Tree, part: str, overhead: bool) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers") or ():
        add(total, amounts((container.get("resources") or {}).get(part)))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        wanted = amounts((container.get("resources") or {}).get(part))
        if container.get("restartPolicy") == "Always":
            add(total, wanted)
            add(sidecars, wanted)
            wanted = dict(sidecars)
        else:
            add(wanted, sidecars)
        _raise_to(peak, wanted)
    _raise_to(total, peak)
    # What is asked for the Pod as a whole stands for what its containers ask for.
    total.update(amounts((spec.get("resources") or {}).get(part)))
    if overhead:
        extra = amounts(spec.get("overhead"))
        # A Pod without a limit does not get one by its overhead.
        add(total, extra if part == "requests" else {n: a for n, a in extra.items() if n in total})
    return total


def pod_requests(spec: Tree, *, overhead: bool = True) -> Amounts:
    """Return what a Pod requests, with its overhead or without."""
    return _together(spec, "requests", overhead)


def pod_limits(spec: Tree, *, overhead: bool = True) -> Amounts:
    """Return the limits of a Pod as a whole, with its overhead or without."""
    return _together(spec, "limits", overhead)


_COMPUTE = ("cpu", "memory")


def qos_class(spec: Tree) -> str:
    """Return the quality of service of a Pod: Guaranteed, Burstable or BestEffort, by what it asks for."""
    guaranteed, any_resources = True, False
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in _COMPUTE:
            request, limit = requests.get(name, limits.get(name)), limits.get(name)
            any_resources |= request not in (None, "0") or limit not in (None, "0")
            if limit in (None, "0") or request != limit:
                guaranteed = False
    if not any_resources:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
