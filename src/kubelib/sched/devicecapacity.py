"""How much of a device's capacity a request takes: devices that may be allocated several times are shared out by it."""

from collections.abc import Mapping

from kubelib.api.resource import CapacityRequestPolicy, CapacityRequirements, DeviceCapacity
from kubelib.quantity import Quantity, parse_quantity

Consumed = dict[str, Quantity]


def consumed(request: CapacityRequirements | None, capacity: Mapping[str, DeviceCapacity]) -> Consumed | None:
    """Return what a request takes of each capacity of a device; None if it asks for what there is not, or may not be asked for.

    Who does not say how much takes what the device says, or all of it. Amounts are rounded up to those that the device allows.
    """
    wanted = request.requests if request is not None else {}
    if not wanted.keys() <= capacity.keys():
        return None
    found: Consumed = {}
    for name, there in capacity.items():
        amount = _taken(wanted.get(name), there)
        policy = there.request_policy
        if policy is not None and not _is_allowed(amount, policy):
            return None
        found[name] = amount
    return found


def _taken(wanted: str | None, there: DeviceCapacity) -> Quantity:
    policy = there.request_policy
    if wanted is None:
        return parse_quantity((policy.default if policy is not None else "") or there.value)
    amount = parse_quantity(wanted)
    if policy is None:
        return amount
    allowed = policy.valid_range
    if allowed is not None and allowed.min:
        least = parse_quantity(allowed.min)
        if amount < least:
            return least
        step = parse_quantity(allowed.step).nano if allowed.step else 0
        if step:
            steps = -(-(amount.nano - least.nano) // step)
            return Quantity(least.nano + steps * step, "binary")
        return amount
    return next((value for value in map(parse_quantity, policy.valid_values) if amount <= value), amount)


def _is_allowed(amount: Quantity, policy: CapacityRequestPolicy) -> bool:
    if policy.default and amount == parse_quantity(policy.default):
        return True
    allowed = policy.valid_range
    if allowed is not None:
        if allowed.max and amount > parse_quantity(allowed.max):
            return False
        if not allowed.step:
            return True
        return (amount.nano - parse_quantity(allowed.min).nano) % parse_quantity(allowed.step).nano == 0
    return not policy.valid_values or amount in map(parse_quantity, policy.valid_values)
