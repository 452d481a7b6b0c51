"""Rules of device classes, claims and slices."""

from collections.abc import Sequence
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.problems import (
    duplicate,
    each,
    immutable,
    invalid,
    not_supported,
    required,
    too_many,
)
from kubelib.labels.validation import is_dns1123_label, is_dns1123_subdomain, is_qualified_name

MOST = 32
"""How many selectors, requests, constraints and configurations there may be."""
MOST_ALTERNATIVES = 8
MOST_DEVICES = 128
MOST_COUNTER_SETS = 8
_MODES = ("All", "ExactCount")
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


def _name(path: str, value: Any, check: Any) -> list[Problem]:
    return each(path, value, check(value)) if value else [required(path)]


def _limited(path: str, items: Sequence[Any], limit: int) -> list[Problem]:
    return [too_many(path, len(items), limit)] if len(items) > limit else []


def _selectors(path: str, tree: Tree) -> list[Problem]:
    selectors = tree.get("selectors") or []
    problems = _limited(f"{path}.selectors", selectors, MOST)
    for number, selector in enumerate(selectors):
        where = f"{path}.selectors[{number}].cel"
        cel = selector.get("cel")
        if cel is None:
            problems.append(required(where))
        elif not cel.get("expression"):
            problems.append(required(f"{where}.expression"))
        else:
            problems += expression_problems(f"{where}.expression", str(cel["expression"]))
    return problems


def expression_problems(path: str, text: str) -> list[Problem]:
    """Check the expression of a selector."""
    # CEL is loaded by the first selector.
    from kubelib.cel import CelError
    from kubelib.cel.devices import LONGEST_SELECTOR, SELECTOR_LIMIT, environment

    if len(text) > LONGEST_SELECTOR:
        return [
            Problem("FieldValueTooLong", path, f"Too long: may not be more than {LONGEST_SELECTOR} bytes")
        ]
    try:
        expression = environment().compile(text)
    except CelError as error:
        return [invalid(path, text, str(error))]
    if expression.cost.most > SELECTOR_LIMIT:
        return [Problem("FieldValueForbidden", path, "Forbidden: too complex, exceeds cost limit")]
    return []


def _configurations(path: str, items: Sequence[Tree]) -> list[Problem]:
    problems = _limited(path, items, MOST)
    for number, item in enumerate(items):
        opaque, where = item.get("opaque"), f"{path}[{number}].opaque"
        if opaque is None:
            problems.append(required(where, "exactly one configuration must be specified"))
            continue
        problems += _name(f"{where}.driver", opaque.get("driver"), is_dns1123_subdomain)
        if opaque.get("parameters") is None:
            problems.append(required(f"{where}.parameters"))
    return problems


def device_class_problems(tree: Tree) -> list[Problem]:
    """Check a DeviceClass."""
    spec = tree.get("spec") or {}
    return _selectors("spec", spec) + _configurations("spec.config", spec.get("config") or [])


def _demand(path: str, request: Tree) -> list[Problem]:
    """Check what a request or one of its alternatives asks for."""
    problems = _name(f"{path}.deviceClassName", request.get("deviceClassName"), is_dns1123_subdomain)
    problems += _selectors(path, request)
    mode, count = request.get("allocationMode"), request.get("count") or 0
    if mode not in _MODES:
        problems.append(not_supported(f"{path}.allocationMode", mode or "", _MODES))
    elif mode == "ExactCount" and count <= 0:
        problems.append(invalid(f"{path}.count", count, "must be greater than zero"))
    elif mode == "All" and count:
        problems.append(invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    return problems


def _named(path: str, items: Sequence[Tree], limit: int) -> list[Problem]:
    problems, seen = _limited(path, items, limit), set()
    for number, item in enumerate(items):
        name = item.get("name")
        problems += _name(f"{path}[{number}].name", name, is_dns1123_label)
        if name in seen:
            problems.append(duplicate(f"{path}[{number}].name", name))
        seen.add(name)
    return problems


def _claim(path: str, spec: Tree) -> list[Problem]:
    devices = spec.get("devices") or {}
    path = f"{path}.devices"
    requests = devices.get("requests") or []
    problems = _named(f"{path}.requests", requests, MOST)
    names = {request.get("name") for request in requests}
    for number, request in enumerate(requests):
        where = f"{path}.requests[{number}]"
        exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
        if (exactly is None) == (not alternatives):
            detail = "exactly one of `exactly` or `firstAvailable` is required"
            problems.append(invalid(where, request, detail) if alternatives else required(where, detail))
        elif exactly is not None:
            problems += _demand(f"{where}.exactly", exactly)
        problems += _named(f"{where}.firstAvailable", alternatives, MOST_ALTERNATIVES)
        for index, alternative in enumerate(alternatives):
            problems += _demand(f"{where}.firstAvailable[{index}]", alternative)
            names.add(f"{request.get('name')}/{alternative.get('name')}")
    for list_name in ("constraints", "config"):
        items = devices.get(list_name) or []
        for number, item in enumerate(items):
            for index, name in enumerate(item.get("requests") or ()):
                if name not in names:
                    detail = (
                        "must be the name of a request in the claim or the name of a request and a subrequest"
                    )
                    problems.append(invalid(f"{path}.{list_name}[{number}].requests[{index}]", name, detail))
        if list_name == "constraints":
            problems += _limited(f"{path}.constraints", items, MOST)
            problems += [
                required(f"{path}.constraints[{number}].matchAttribute")
                for number, item in enumerate(items)
                if not item.get("matchAttribute") and not item.get("distinctAttribute")
            ]
    return problems + _configurations(f"{path}.config", devices.get("config") or [])


def resource_claim_problems(tree: Tree) -> list[Problem]:
    """Check a ResourceClaim."""
    return _claim("spec", tree.get("spec") or {})


def resource_claim_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the change of a ResourceClaim: what it asks for stays."""
    return resource_claim_problems(new) + immutable("spec", new.get("spec"), old.get("spec"))


def claim_template_problems(tree: Tree) -> list[Problem]:
    """Check a ResourceClaimTemplate."""
    return _claim("spec.spec", (tree.get("spec") or {}).get("spec") or {})


def claim_template_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the change of a ResourceClaimTemplate: the claims that it makes stay the same."""
    return claim_template_problems(new) + immutable("spec", new.get("spec"), old.get("spec"))


def resource_slice_problems(tree: Tree) -> list[Problem]:
    """Check a ResourceSlice."""
    spec = tree.get("spec") or {}
    problems = _name("spec.driver", spec.get("driver"), is_dns1123_subdomain)
    pool = spec.get("pool") or {}
    if not pool.get("name"):
        problems.append(required("spec.pool.name"))
    for part in pool.get("name", "").split("/") if pool.get("name") else ():
        problems += each("spec.pool.name", pool["name"], is_dns1123_subdomain(part))
    if (pool.get("resourceSliceCount") or 0) <= 0:
        problems.append(
            invalid(
                "spec.pool.resourceSliceCount",
                pool.get("resourceSliceCount") or 0,
                "must be greater than zero",
            )
        )
    if (pool.get("generation") or 0) < 0:
        detail = "must be greater than or equal to zero"
        problems.append(invalid("spec.pool.generation", pool["generation"], detail))
    chosen = [place for place in _PLACES if spec.get(place)]
    detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
    if not chosen:
        problems.append(required("spec", detail))
    elif len(chosen) > 1:
        problems.append(invalid("spec", f"{{{', '.join(chosen)}}}", detail))
    devices = spec.get("devices") or []
    problems += _named("spec.devices", devices, MOST_DEVICES)
    for number, device in enumerate(devices):
        for index, taint in enumerate(device.get("taints") or ()):
            where = f"spec.devices[{number}].taints[{index}]"
            problems += _name(f"{where}.key", taint.get("key"), is_qualified_name)
            if not taint.get("effect"):
                problems.append(required(f"{where}.effect"))
            elif taint["effect"] not in _EFFECTS:
                problems.append(not_supported(f"{where}.effect", taint["effect"], _EFFECTS))
    return problems + _named("spec.sharedCounters", spec.get("sharedCounters") or [], MOST_COUNTER_SETS)


def resource_slice_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the change of a ResourceSlice: driver, pool and node stay."""
    now, before = new.get("spec") or {}, old.get("spec") or {}
    problems = resource_slice_problems(new)
    for name in ("driver", "nodeName"):
        problems += immutable(f"spec.{name}", now.get(name), before.get(name))
    pools = [(spec.get("pool") or {}).get("name") for spec in (now, before)]
    return problems + immutable("spec.pool.name", *pools)
