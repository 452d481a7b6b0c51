"""LimitRanges: what a container, a Pod or a claim must ask for at least and may at most, and what it gets when it does not say.

The rules and messages are those of Kubernetes' LimitRanger.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kubelib.api.core.quota import LimitRange
from kubelib.api.podresources import Amounts, amounts, pod_limits, pod_requests
from kubelib.api.quantity import Quantity
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes, Verb

ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger:
    """Applies the LimitRanges of a namespace to what is created there."""

    name = "LimitRanger"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new and resized Pods, and at new and changed claims."""
        if resource.group:
            return False
        if resource.kind == "PersistentVolumeClaim":
            return verb in ("create", "update") and not subresource
        # What a Pod's containers ask for changes only by a resize.
        return resource.kind == "Pod" and (verb, subresource) in (("create", ""), ("update", "resize"))

    async def mutate(self, attributes: Attributes) -> None:
        """Fill in what the containers of a new Pod leave open."""
        if attributes.resource.kind != "Pod" or attributes.verb != "create":
            return
        notes: list[str] = []
        for limits in _limits(attributes):
            requests: dict[str, str] = {}
            bounds: dict[str, str] = {}
            for limit in limits:
                if limit.get("type") == "Container":
                    requests.update(limit.get("defaultRequest") or {})
                    bounds.update(limit.get("default") or {})
            spec = attributes.tree.setdefault("spec", {})
            for part, title in (("containers", "container"), ("initContainers", "init container")):
                for container in spec.get(part) or ():
                    notes += _fill(container, requests, bounds, f"{title} {container.get('name') or ''}")
        if notes:
            meta = attributes.tree["metadata"]
            annotations = meta["annotations"] = dict(meta.get("annotations") or {})
            annotations[ANNOTATION] = f"LimitRanger plugin set: {'; '.join(notes)}"

    async def validate(self, attributes: Attributes) -> None:
        """Refuse what is out of bounds."""
        if attributes.tree["metadata"].get("deletionTimestamp"):
            return
        for limits in _limits(attributes):
            found = list(_breaches(limits, attributes.tree, attributes.resource.kind))
            if found:
                text = found[0] if len(found) == 1 else f"[{', '.join(dict.fromkeys(found))}]"
                raise attributes.forbidden(text)


def _limits(attributes: Attributes) -> Iterable[list[Tree]]:
    """Return the limits of each LimitRange of the namespace, by name."""
    ranges = attributes.cache(LimitRange).within(attributes.key.namespace)
    if not ranges:
        return ()
    return [
        (document.tree().get("spec") or {}).get("limits") or []
        for document in sorted(ranges, key=lambda document: document.meta.name)
    ]


def _fill(container: Tree, requests: Mapping[str, str], limits: Mapping[str, str], title: str) -> list[str]:
    """Give a container the defaults that it lacks; return what was set."""
    resources = container.setdefault("resources", {})
    notes = []
    for part, word, defaults in (("requests", "request", requests), ("limits", "limit", limits)):
        missing = sorted(name for name in defaults if name not in (resources.get(part) or {}))
        if missing:
            resources[part] = {**(resources.get(part) or {}), **{name: defaults[name] for name in missing}}
            notes.append(f"{', '.join(missing)} {word} for {title}")
    return notes


def _breaches(limits: list[Tree], tree: Tree, kind: str) -> Iterable[str]:
    spec: Tree = tree.get("spec") or {}
    for limit in limits:
        match kind, limit.get("type"):
            case "Pod", "Container":
                for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
                    resources = container.get("resources") or {}
                    yield from _bounds(
                        limit, amounts(resources.get("requests")), amounts(resources.get("limits"))
                    )
            case "Pod", "Pod":
                yield from _bounds(
                    limit, pod_requests(spec, overhead=False), pod_limits(spec, overhead=False)
                )
            case "PersistentVolumeClaim", "PersistentVolumeClaim":
                requests = amounts((spec.get("resources") or {}).get("requests"))
                yield from _least(limit, requests, {})
                for name, bound in _of(limit, "max"):
                    what = f"maximum {name} usage per {limit['type']} is {bound}"
                    if name not in requests:
                        yield f"{what}.  No request is specified"
                    elif requests[name] > bound:
                        yield f"{what}, but request is {requests[name]}"


def _of(limit: Tree, part: str) -> list[tuple[str, Quantity]]:
    return sorted(amounts(limit.get(part)).items(), key=lambda pair: pair[0])


def _least(limit: Tree, requests: Amounts, limits: Amounts) -> Iterable[str]:
    for name, bound in _of(limit, "min"):
        what = f"minimum {name} usage per {limit['type']} is {bound}"
        if name not in requests:
            yield f"{what}.  No request is specified"
        elif requests[name] < bound:
            yield f"{what}, but request is {requests[name]}"
        elif name in limits and limits[name] < bound:
            yield f"{what}, but limit is {limits[name]}"


def _bounds(limit: Tree, requests: Amounts, limits: Amounts) -> Iterable[str]:
    kind: Any = limit.get("type")
    yield from _least(limit, requests, limits)
    for name, bound in _of(limit, "max"):
        what = f"maximum {name} usage per {kind} is {bound}"
        if name not in limits:
            yield f"{what}.  No limit is specified"
        elif limits[name] > bound:
            yield f"{what}, but limit is {limits[name]}"
        elif name in requests and requests[name] > bound:
            yield f"{what}, but request is {requests[name]}"
    for name, bound in _of(limit, "maxLimitRequestRatio"):
        what = f"{name} max limit to request ratio per {kind} is {bound}"
        if not requests.get(name):
            yield f"{what}, but no request is specified or request is 0"
        elif not limits.get(name):
            yield f"{what}, but no limit is specified or limit is 0"
        elif (ratio := limits[name].amount / requests[name].amount) > bound.amount:
            yield f"{what}, but provided ratio is {float(ratio):f}"
