"""What a Pod asks for as a whole: its containers together, or an init container if that is more.

The arithmetic of ``k8s.io/component-helpers/resource``, on decoded documents. While a Pod is being resized in place, what it has been
allocated and what its containers have counts, too: the most of it and of what it asks for, or without what it asks for if
its node says that this is infeasible.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from kubelib.api.quantity import Quantity, parse_quantity
from kubelib.api.scheme import Tree

Amounts = dict[str, Quantity]
N = TypeVar("N", Quantity, int)

_Read = Callable[[Tree], Mapping[str, str] | None]
"""Returns what one container is to count as."""


def amounts(texts: Mapping[str, str] | None) -> Amounts:
    """Return the quantities of a resource list. Raises `kubelib.api.quantity.QuantityError`."""
    return {name: parse_quantity(str(text)) for name, text in (texts or {}).items()}


def add(total: dict[str, N], more: Mapping[str, N]) -> None:
    """Add amounts to a total, in place."""
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise_to(total: dict[str, N], least: Mapping[str, N]) -> None:
    for name, amount in least.items():
        if name not in total or total[name] < amount:
            total[name] = amount


def is_for_pods(resource: str) -> bool:
    """Return whether a resource can be asked for a Pod as a whole."""
    return resource in _COMPUTE or resource.startswith("hugepages-")


def peak(
    containers: Iterable[Mapping[str, N]], first: Iterable[tuple[Mapping[str, N], bool]]
) -> dict[str, N]:
    """Return what containers need at most at once: all of them, or one of those that run `first`.

    Each of these is there with whether it is a sidecar: it stays, beside those that start after it.
    """
    total: dict[str, N] = {}
    for wanted in containers:
        add(total, wanted)
    sidecars: dict[str, N] = {}
    most: dict[str, N] = {}
    for wanted, stays in first:
        if stays:
            add(total, wanted)
            add(sidecars, wanted)
            _raise_to(most, sidecars)
        else:
            beside = dict(wanted)
            add(beside, sidecars)
            _raise_to(most, beside)
    _raise_to(total, most)
    return total


def _summed(spec: Tree, read: _Read, usual: Amounts) -> Amounts:
    def of(container: Tree) -> Amounts:
        return {**usual, **amounts(read(container))}

    return peak(
        map(of, spec.get("containers") or ()),
        ((of(c), c.get("restartPolicy") == "Always") for c in spec.get("initContainers") or ()),
    )


def is_infeasible(status: Tree) -> bool:
    """Return whether a Pod's node has said that the Pod can never be resized to what it asks for."""
    conditions = status.get("conditions") or ()
    pending: Tree = next((c for c in conditions if c.get("type") == "PodResizePending"), {})
    return pending.get("reason") == "Infeasible"


def _together(spec: Tree, status: Tree, part: str, overhead: bool, usual: Amounts) -> Amounts:
    infeasible = is_infeasible(status)
    said = {
        found.get("name"): found
        for field in ("initContainerStatuses", "containerStatuses")
        for found in status.get(field) or ()
    }

    def asked(container: Tree) -> Mapping[str, str] | None:
        return (container.get("resources") or {}).get(part)

    def allocated(container: Tree) -> Mapping[str, str] | None:
        found = said.get(container.get("name"), {}).get("allocatedResources") if part == "requests" else None
        return found or (None if infeasible else asked(container))

    def actual(container: Tree) -> Mapping[str, str] | None:
        found = (said.get(container.get("name"), {}).get("resources") or {}).get(part)
        return found or allocated(container)

    pod_actual = (status.get("resources") or {}).get(part)
    pod_allocated = status.get("allocatedResources") if part == "requests" else None
    total: Amounts = {} if infeasible and said else _summed(spec, asked, usual)
    if pod_actual and (pod_allocated or part == "limits"):
        # Then these are sums over all containers already.
        _raise_to(total, amounts(pod_allocated))
        _raise_to(total, amounts(pod_actual))
    elif said:
        _raise_to(total, _summed(spec, allocated, usual))
        _raise_to(total, _summed(spec, actual, usual))
    # What is asked for the Pod as a whole stands for what its containers ask for.
    whole = amounts((spec.get("resources") or {}).get(part))
    if whole and status.get("resources"):
        whole = {} if infeasible else whole
        _raise_to(whole, amounts(pod_actual))
        _raise_to(whole, amounts(pod_allocated))
    total.update({name: amount for name, amount in whole.items() if is_for_pods(name)})
    if overhead:
        extra = amounts(spec.get("overhead"))
        # A Pod without a limit does not get one by its overhead.
        add(total, extra if part == "requests" else {n: a for n, a in extra.items() if n in total})
    return total


def pod_requests(
    spec: Tree, status: Tree | None = None, *, overhead: bool = True, usual: Amounts | None = None
) -> Amounts:
    """Return what a Pod requests, with its overhead or without.

    With its `status` a Pod counts as much as it may have while it is being resized. `usual` is what a container counts as that does not
    say how much of that it requests.
    """
    return _together(spec, status or {}, "requests", overhead, usual or {})


def pod_limits(spec: Tree, status: Tree | None = None, *, overhead: bool = True) -> Amounts:
    """Return the limits of a Pod as a whole, with its overhead or without; and with its status as `pod_requests` does."""
    return _together(spec, status or {}, "limits", overhead, {})


_COMPUTE = ("cpu", "memory")


def qos_class(spec: Tree) -> str:
    """Return the quality of service of a Pod: Guaranteed, Burstable or BestEffort, by what it asks for."""
    guaranteed, any_resources = True, False
    whole = spec.get("resources") or {}
    asking = (
        [whole]
        if any(map(is_for_pods, {**(whole.get("limits") or {}), **(whole.get("requests") or {})}))
        else [
            container.get("resources") or {}
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        ]
    )
    for resources in asking:
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in _COMPUTE:
            request, limit = requests.get(name, limits.get(name)), limits.get(name)
            any_resources |= request not in (None, "0") or limit not in (None, "0")
            if limit in (None, "0") or request != limit:
                guaranteed = False
    if not any_resources:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
