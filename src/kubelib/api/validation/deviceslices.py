"""Rules of resource slices: the devices that drivers offer."""

import re
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.quantity import Quantity, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.devicenames import (
    binding_problems,
    condition_problems,
    driver_problems,
    effect_problems,
    items_problems,
    label_problems,
    name_of,
    pool_problems,
    qualified_problems,
)
from kubelib.api.validation.placement import node_selector_problems
from kubelib.api.validation.problems import (
    each,
    forbidden,
    immutable,
    invalid,
    pointer,
    required,
    too_long,
    too_many,
)

_MOST_DEVICES, _MOST_SPECIAL_DEVICES = 128, 64
_MOST_COUNTER_SETS, _MOST_COUNTERS, _MOST_CONSUMPTIONS = 8, 32, 2
_MOST_PROPERTIES, _MOST_TAINTS, _MOST_OPTIONS = 32, 16, 10
_MOST_CONDITIONS = 8
_LONGEST_VALUE = 64
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_EXACTLY_ONE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_EXACTLY_ONE_OF_A_DEVICE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the"
    " ResourceSlice spec"
)
_IDENTIFIER = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-{_IDENTIFIER}(\.{_IDENTIFIER})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
).fullmatch


def resource_slice_problems(tree: Tree) -> list[Problem]:
    """Check a ResourceSlice."""
    return _slice_problems(tree.get("spec") or {}, {})


def resource_slice_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the change of a ResourceSlice: driver, pool and node stay."""
    return _slice_problems(new.get("spec") or {}, old.get("spec") or {})


def _same_source_problems(now: Tree, before: Tree) -> list[Problem]:
    pools = [(spec.get("pool") or {}).get("name") for spec in (now, before)]
    problems = immutable("spec.pool.name", *pools)
    for name in ("driver", "nodeName"):
        problems += immutable(f"spec.{name}", now.get(name), before.get(name))
    return problems


def _slice_problems(spec: Tree, before: Tree) -> list[Problem]:
    pool, path = spec.get("pool") or {}, "spec.pool"
    problems = driver_problems("spec.driver", spec.get("driver") or "")
    problems += pool_problems(f"{path}.name", pool.get("name") or "")
    if (count := pool.get("resourceSliceCount") or 0) <= 0:
        problems.append(invalid(f"{path}.resourceSliceCount", count, "must be greater than zero"))
    if (generation := pool.get("generation") or 0) < 0:
        why = "must be greater than or equal to zero"
        problems.append(invalid(f"{path}.generation", generation, why))
    problems += _same_source_problems(spec, before) if before else []
    problems += _place_problems(spec, "spec", _PLACES, _EXACTLY_ONE)
    devices, counters = spec.get("devices") or (), spec.get("sharedCounters") or ()
    if devices and counters:
        problems.append(invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    special = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    known = {name_of(device): device for device in before.get("devices") or ()}

    def check(device: Tree, here: str) -> list[Problem]:
        own = bool(spec.get("perDeviceNodeSelection"))
        return _device_problems(device, here, known.get(name_of(device)), own_places=own)

    most = _MOST_SPECIAL_DEVICES if special else _MOST_DEVICES
    problems += items_problems("spec.devices", devices, most, check, name_of)
    return problems + items_problems(
        "spec.sharedCounters", counters, _MOST_COUNTER_SETS, _counter_set_problems, name_of
    )


def _place_problems(tree: Tree, path: str, places: tuple[str, ...], why: str) -> list[Problem]:
    """Check from which nodes something can be used: one way of saying it."""
    problems: list[Problem] = []
    said: list[str] = []
    for place in places:
        here, value = f"{path}.{place}", tree.get(place)
        if value is None:
            continue
        match place:
            case "nodeName" if not value:
                empty = "must be either unset or set to a non-empty string"
                problems.append(invalid(here, value, empty if path == "spec" else "must not be empty"))
                continue
            case "nodeName":
                problems += each(here, value, texts.subdomain(value))
            case "nodeSelector":
                problems += node_selector_problems(value, here)
                terms = value.get("nodeSelectorTerms")
                if path == "spec" and len(terms or ()) != 1:
                    why_not = "must have exactly one node selector term"
                    problems.append(invalid(f"{here}.nodeSelectorTerms", terms, why_not))
            case _ if not value:
                problems.append(invalid(here, value, "must be either unset or set to true"))
                continue
        said.append(f"`{place}`")
    if not said:
        problems.append(required(path, why))
    elif len(said) > 1:
        more = ", but multiple fields are set" if path == "spec" else ""
        problems.append(invalid(path, f"{{{', '.join(said)}}}", why + more))
    return problems


def _device_problems(device: Tree, path: str, before: Tree | None, *, own_places: bool) -> list[Problem]:
    problems = label_problems(f"{path}.name", name_of(device))
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    if (count := len(attributes) + len(capacity)) > _MOST_PROPERTIES:
        why = f"the total number of attributes and capacities must not exceed {_MOST_PROPERTIES}"
        problems.append(invalid(path, count, why))
    for name, attribute in attributes.items():
        here = f"{path}.attributes[{name}]"
        problems += qualified_problems(f"{path}.attributes", name)
        problems += _attribute_problems(attribute or {}, here)
    for name, amount in capacity.items():
        here = f"{path}.capacity[{name}]"
        problems += qualified_problems(f"{path}.capacity", name)
        policy = (amount or {}).get("requestPolicy")
        if policy is not None and not device.get("allowMultipleAllocations"):
            problems.append(forbidden(f"{here}.requestPolicy", "allowMultipleAllocations must be true"))
        elif policy is not None:
            whole = parse_quantity(str(amount.get("value") or "0"))
            problems += _policy_problems(policy, whole, f"{here}.requestPolicy")
    if before is None or before.get("taints") != device.get("taints"):
        problems += items_problems(
            f"{path}.taints", device.get("taints") or (), _MOST_TAINTS, _taint_problems
        )
    problems += items_problems(
        f"{path}.consumesCounters",
        device.get("consumesCounters") or (),
        _MOST_CONSUMPTIONS,
        _consumption_problems,
        lambda consumption: consumption.get("counterSet") or "",
    )
    if own_places:
        problems += _place_problems(device, path, _PLACES[:3], _EXACTLY_ONE_OF_A_DEVICE)
    elif any(device.get(place) is not None for place in _PLACES[:3]):
        why = (
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the"
            " ResourceSlice spec"
        )
        problems.append(invalid(path, pointer(None), why))
    return problems + binding_problems(device, path)


def _attribute_problems(attribute: Tree, path: str) -> list[Problem]:
    given = [part for part in ("bool", "int", "string", "version") if attribute.get(part) is not None]
    problems: list[Problem] = []
    for part in ("string", "version"):
        text = attribute.get(part)
        if part == "version" and text is not None and not _VERSION(text):
            why = "must be a string compatible with semver.org spec 2.0.0"
            problems.append(invalid(f"{path}.version", text, why))
        if text is not None and len(text.encode()) > _LONGEST_VALUE:
            problems.append(too_long(f"{path}.{part}", _LONGEST_VALUE))
    if len(given) != 1:
        problems.append(invalid(path, attribute if given else "", "exactly one value must be specified"))
    return problems


def _taint_problems(taint: Tree, path: str) -> list[Problem]:
    key, effect = taint.get("key") or "", taint.get("effect") or ""
    problems = each(f"{path}.key", key, texts.qualified(key))
    if value := taint.get("value"):
        problems += each(f"{path}.value", value, texts.label_value(value))
    if not effect:
        return [*problems, required(f"{path}.effect")]
    return problems + effect_problems(f"{path}.effect", effect)


def _counters_problems(counters: Any, path: str) -> list[Problem]:
    if not counters:
        return [required(path)]
    if len(counters) > _MOST_COUNTERS:
        return [too_many(path, len(counters), _MOST_COUNTERS)]
    return [problem for name in counters for problem in each(path, name, texts.label(name))]


def _counter_set_problems(counters: Tree, path: str) -> list[Problem]:
    problems = label_problems(f"{path}.name", name_of(counters))
    return problems + _counters_problems(counters.get("counters"), f"{path}.counters")


def _consumption_problems(consumption: Tree, path: str) -> list[Problem]:
    problems = label_problems(f"{path}.counterSet", consumption.get("counterSet") or "")
    return problems + _counters_problems(consumption.get("counters"), f"{path}.counters")


# How much of a device may be asked for


def _policy_problems(policy: Tree, whole: Quantity, path: str) -> list[Problem]:
    values, bounds, usual = policy.get("validValues") or (), policy.get("validRange"), policy.get("default")
    if values and bounds is not None:
        why = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        return [forbidden(path, why)]
    if not values and bounds is None:
        return []
    if usual in (None, ""):
        how = "validValues" if values else "validRange"
        return [required(f"{path}.default", f"required when {how} is defined")]
    default = parse_quantity(str(usual))
    if values:
        return _options_problems(
            [parse_quantity(str(v)) for v in values], default, whole, f"{path}.validValues"
        )
    return _range_problems(bounds or {}, default, whole, f"{path}.validRange")


def _options_problems(
    options: list[Quantity], default: Quantity, whole: Quantity, path: str
) -> list[Problem]:
    problems = [
        invalid(f"{path}[{at}]", str(option), "values must be sorted in ascending order")
        for at, option in enumerate(options)
        if at and options[at - 1] > option
    ]

    def check(option: Quantity, here: str) -> list[Problem]:
        why = f"option is larger than capacity value: {whole}"
        return [invalid(here, str(option), why)] if option > whole else []

    problems += items_problems(path, options, _MOST_OPTIONS, check, str)
    if default not in options:
        why = "default value is not valid according to the requestPolicy"
        problems.append(invalid(path, str(default), why))
    return problems


def _range_problems(bounds: Tree, default: Quantity, whole: Quantity, path: str) -> list[Problem]:
    least, most, step = (
        parse_quantity(str(bounds[part])) if bounds.get(part) not in (None, "") else None
        for part in ("min", "max", "step")
    )
    if least is None:
        return [required(f"{path}.min", "required when validRange is defined")]
    found: list[tuple[bool, str, Quantity, str]] = [
        (least > whole, "min", least, f"min is larger than capacity value: {whole}"),
        (default < least, "min", default, f"default is less than min: {least}"),
    ]
    if most is not None:
        found += [
            (least > most, "max", least, f"min is larger than max: {most}"),
            (most > whole, "max", most, f"max is larger than capacity value: {whole}"),
            (default > most, "max", default, f"default is more than max: {most}"),
        ]
    if step is not None and step.nano <= 0:
        found.append((True, "step", step, "must be greater than zero"))
    elif step is not None:
        one = least + step
        found.append((one > whole, "step", step, f"one step {one} is larger than capacity value: {whole}"))
        why = f"value is not a multiple of a given step ({step}) from ({least})"
        found += [
            (bool((value.nano - least.nano) % step.nano), "step", value, why)
            for value in (default, *([most] if most is not None else []))
        ]
    return [invalid(f"{path}.{part}", str(value), why) for wrong, part, value, why in found if wrong]


def taint_rule_problems(tree: Tree) -> list[Problem]:
    """Check a DeviceTaintRule."""
    spec = tree.get("spec") or {}
    selector, path = spec.get("deviceSelector") or {}, "spec.deviceSelector"
    problems: list[Problem] = []
    for part, check in (("driver", driver_problems), ("pool", pool_problems), ("device", label_problems)):
        if selector.get(part) is not None:
            problems += check(f"{path}.{part}", selector[part])
    return problems + _taint_problems(spec.get("taint") or {}, "spec.taint")


def taint_rule_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check what is said of a DeviceTaintRule."""
    path, conditions = "status.conditions", (new.get("status") or {}).get("conditions") or ()
    problems = condition_problems(path, conditions)
    if len(conditions) > _MOST_CONDITIONS:
        problems.append(too_many(path, len(conditions), _MOST_CONDITIONS))
    return problems
