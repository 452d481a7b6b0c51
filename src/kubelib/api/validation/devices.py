"""Rules of device classes and claims."""

from collections.abc import Callable

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.addresses import interface_address_messages
from kubelib.api.validation.devicenames import (
    binding_problems,
    condition_problems,
    driver_problems,
    effect_problems,
    items_problems,
    label_problems,
    name_of,
    object_problems,
    pool_problems,
    qualified_problems,
    share_problems,
)
from kubelib.api.validation.meta import annotation_problems
from kubelib.api.validation.meta import label_problems as labels_problems
from kubelib.api.validation.placement import node_selector_problems
from kubelib.api.validation.problems import (
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    one_of,
    pointer,
    required,
    too_long,
    too_many,
)
from kubelib.api.validation.resources import is_extended

MOST = 32
"""How many selectors, requests, constraints and configurations there may be."""
MOST_ALTERNATIVES, MOST_TOLERATIONS = 8, 16
MOST_CONSUMERS, MOST_CONDITIONS, MOST_ADDRESSES = 256, 8, 16
LARGEST_PARAMETERS = 10 * 1024
_PARTS_OF_A_NAME = 2
_MODES = ("All", "ExactCount")
_OPERATORS = ("Equal", "Exists")
_SOURCES = ("FromClaim", "FromClass")


def _selectors(path: str, tree: Tree) -> list[Problem]:
    selectors = tree.get("selectors") or []
    if len(selectors) > MOST:
        return [too_many(f"{path}.selectors", len(selectors), MOST)]
    problems: list[Problem] = []
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


def _configuration(item: Tree, path: str) -> list[Problem]:
    opaque, where = item.get("opaque"), f"{path}.opaque"
    if opaque is None:
        return [required(where)]
    problems = driver_problems(f"{where}.driver", opaque.get("driver") or "")
    return problems + object_problems(f"{where}.parameters", opaque.get("parameters"), LARGEST_PARAMETERS)


def device_class_problems(tree: Tree) -> list[Problem]:
    """Check a DeviceClass."""
    spec = tree.get("spec") or {}
    problems = _selectors("spec", spec)
    problems += items_problems("spec.config", spec.get("config") or (), MOST, _configuration)
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended(name):
        here = "spec.extendedResourceName"
        problems.append(invalid(here, name, "must be a valid extended resource name"))
    return problems


def _demand(request: Tree, path: str) -> list[Problem]:
    """Check what a request or one of its alternatives asks for."""
    name = request.get("deviceClassName") or ""
    problems = (
        each(f"{path}.deviceClassName", name, texts.subdomain(name))
        if name
        else [required(f"{path}.deviceClassName")]
    )
    problems += _selectors(path, request)
    mode, count = request.get("allocationMode"), request.get("count") or 0
    if mode not in _MODES:
        problems.append(not_supported(f"{path}.allocationMode", mode or "", _MODES))
    elif mode == "ExactCount" and count <= 0:
        problems.append(invalid(f"{path}.count", count, "must be greater than zero"))
    elif mode == "All" and count:
        problems.append(invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    return problems + items_problems(
        f"{path}.tolerations", request.get("tolerations") or (), MOST_TOLERATIONS, _toleration
    )


def _toleration(toleration: Tree, path: str) -> list[Problem]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    value, effect = toleration.get("value") or "", toleration.get("effect") or ""
    problems = each(f"{path}.key", key, texts.qualified(key)) if key else []
    if not operator:
        problems.append(required(f"{path}.operator"))
    elif operator not in _OPERATORS:
        problems.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    elif operator == "Equal":
        problems += each(f"{path}.value", value, texts.label_value(value))
    elif value:
        problems.append(invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    return problems + (effect_problems(f"{path}.effect", effect) if effect else [])


def _request(request: Tree, path: str) -> list[Problem]:
    problems = label_problems(f"{path}.name", name_of(request))
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or ()
    why = "exactly one of `exactly` or `firstAvailable` is required"
    if exactly is None and not alternatives:
        problems.append(required(path, why))
    elif exactly is not None and alternatives:
        problems.append(invalid(path, pointer(None), f"{why}, but multiple fields are set"))
    elif exactly is not None:
        problems += _demand(exactly, f"{path}.exactly")
    else:
        problems += items_problems(
            f"{path}.firstAvailable", alternatives, MOST_ALTERNATIVES, _alternative, name_of
        )
    return problems


def _alternative(alternative: Tree, path: str) -> list[Problem]:
    return label_problems(f"{path}.name", name_of(alternative)) + _demand(alternative, path)


def _names(devices: Tree) -> set[str]:
    """Return how the requests of a claim can be named, with their alternatives."""
    requests = devices.get("requests") or ()
    return {name_of(request) for request in requests} | {
        f"{name_of(request)}/{name_of(alternative)}"
        for request in requests
        for alternative in request.get("firstAvailable") or ()
    }


def _reference(names: set[str]) -> Callable[[str, str], list[Problem]]:
    why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"

    def check(name: str, path: str) -> list[Problem]:
        parts = name.split("/")
        if len(parts) > _PARTS_OF_A_NAME:
            return [invalid(path, name, why)]
        problems = [problem for part in parts for problem in label_problems(path, part)]
        return problems if name in names else [*problems, invalid(path, name, why)]

    return check


def _claim(path: str, spec: Tree) -> list[Problem]:
    devices, path = spec.get("devices") or {}, f"{path}.devices"
    reference = _reference(_names(devices))

    def requests(item: Tree, here: str) -> list[Problem]:
        return items_problems(f"{here}.requests", item.get("requests") or (), MOST, reference, str)

    def constraint(item: Tree, here: str) -> list[Problem]:
        problems = requests(item, here)
        for part in ("matchAttribute", "distinctAttribute"):
            if item.get(part) is not None:
                return problems + qualified_problems(f"{here}.{part}", item[part], fully=True)
        # So is Kubernetes' sentence.
        why = (
            'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
        )
        return [*problems, required(here, why)]

    def configuration(item: Tree, here: str) -> list[Problem]:
        return requests(item, here) + _configuration(item, here)

    return [
        *items_problems(f"{path}.requests", devices.get("requests") or (), MOST, _request, name_of),
        *items_problems(f"{path}.constraints", devices.get("constraints") or (), MOST, constraint),
        *items_problems(f"{path}.config", devices.get("config") or (), MOST, configuration),
    ]


def resource_claim_problems(tree: Tree) -> list[Problem]:
    """Check a ResourceClaim."""
    return _claim("spec", tree.get("spec") or {})


def resource_claim_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the change of a ResourceClaim: what it asks for stays."""
    return immutable("spec", new.get("spec"), old.get("spec"))


def resource_claim_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check what was allocated for a ResourceClaim, for whom it is reserved, and what drivers say of their devices."""
    status, before = new.get("status") or {}, old.get("status") or {}
    allocation, reserved = status.get("allocation"), status.get("reservedFor") or ()
    path = "status.reservedFor"
    problems = items_problems(path, reserved, MOST_CONSUMERS, _consumer, lambda user: user.get("uid") or "")
    allocated = {
        _identity(result) for result in ((allocation or {}).get("devices") or {}).get("results") or ()
    }

    def device(one: Tree, here: str) -> list[Problem]:
        return _device_status(one, here, allocated)

    devices = status.get("devices") or ()
    problems += items_problems("status.devices", devices, len(devices), device, _identity)
    if reserved and allocation is None:
        problems.append(forbidden(path, "may not be specified when `allocated` is not set"))
    elif (new.get("metadata") or {}).get("deletionTimestamp") and any(
        consumer not in (before.get("reservedFor") or ()) for consumer in reserved
    ):
        why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        problems.append(forbidden(path, why))
    if allocation is None:
        return problems
    if before.get("allocation") is not None:
        return problems + immutable("status.allocation", allocation, before["allocation"])
    names = _names((new.get("spec") or {}).get("devices") or {})
    return problems + _allocation(allocation, "status.allocation", names)


def _consumer(consumer: Tree, path: str) -> list[Problem]:
    return [required(f"{path}.{part}") for part in ("resource", "name", "uid") if not consumer.get(part)]


def _identity(device: Tree) -> str:
    parts = (device.get(part) or "" for part in ("driver", "pool", "device"))
    share = device.get("shareID")
    return "/".join(parts) + (f"/{share}" if share else "")


def _device(device: Tree, path: str) -> list[Problem]:
    """Check by what names a device of a pool of a driver is meant."""
    problems = driver_problems(f"{path}.driver", device.get("driver") or "")
    problems += pool_problems(f"{path}.pool", device.get("pool") or "")
    return problems + label_problems(f"{path}.device", device.get("device") or "")


def _device_status(device: Tree, path: str, allocated: set[str]) -> list[Problem]:
    problems = _device(device, path) + share_problems(device, path)
    if (identity := _identity(device)) not in allocated:
        problems.append(invalid(path, identity, "must be an allocated device in the claim"))
    conditions = device.get("conditions") or ()
    if len(conditions) > MOST_CONDITIONS:
        problems.append(too_many(f"{path}.conditions", len(conditions), MOST_CONDITIONS))
    problems += condition_problems(f"{path}.conditions", conditions)
    if device.get("data") is not None:
        problems += object_problems(f"{path}.data", device["data"], LARGEST_PARAMETERS)
    network, here = device.get("networkData") or {}, f"{path}.networkData"
    for part, longest in (("interfaceName", 256), ("hardwareAddress", 128)):
        if len(network.get(part) or "") > longest:
            problems.append(too_long(f"{here}.{part}", longest))

    def address(text: str, where: str) -> list[Problem]:
        return each(where, text, interface_address_messages(text))

    return problems + items_problems(f"{here}.ips", network.get("ips") or (), MOST_ADDRESSES, address, str)


def _allocation(allocation: Tree, path: str, names: set[str]) -> list[Problem]:
    reference, devices, here = _reference(names), allocation.get("devices") or {}, f"{path}.devices"

    def result(one: Tree, where: str) -> list[Problem]:
        problems = reference(one.get("request") or "", f"{where}.request")
        problems += _device(one, where) + binding_problems(one, where)
        for at, toleration in enumerate(one.get("tolerations") or ()):
            problems += _toleration(toleration, f"{where}.tolerations[{at}]")
        return problems + share_problems(one, where)

    def configuration(one: Tree, where: str) -> list[Problem]:
        problems = one_of(f"{where}.source", one.get("source"), _SOURCES)
        requests = one.get("requests") or ()
        problems += items_problems(f"{where}.requests", requests, MOST, reference, str)
        return problems + _configuration(one, where)

    problems = items_problems(f"{here}.results", devices.get("results") or (), MOST, result)
    problems += items_problems(f"{here}.config", devices.get("config") or (), 2 * MOST, configuration)
    selector = allocation.get("nodeSelector")
    if selector is not None:
        problems += node_selector_problems(selector, f"{path}.nodeSelector")
    return problems


def claim_template_problems(tree: Tree) -> list[Problem]:
    """Check a ResourceClaimTemplate."""
    spec = tree.get("spec") or {}
    metadata = spec.get("metadata") or {}
    problems = annotation_problems(metadata.get("annotations"), "spec.metadata.annotations")
    problems += labels_problems(metadata.get("labels"), "spec.metadata.labels")
    return problems + _claim("spec.spec", spec.get("spec") or {})


def claim_template_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the change of a ResourceClaimTemplate: the claims that it makes stay the same."""
    return immutable("spec", new.get("spec"), old.get("spec"))
