"""Selectors of devices: what they may say, and what validation says of those that it does not take."""

import pytest

from kubelib.api.validation.devices import expression_problems
from kubelib.cel.devices import environment
from kubelib.cel.libraries.quantities import Amount
from kubelib.quantity import parse_quantity

DEVICE = {
    "driver": "gpu.example.com",
    "attributes": {"gpu.example.com": {"model": "a100", "index": 3}},
    "capacity": {"gpu.example.com": {"memory": Amount(parse_quantity("40Gi"))}},
}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("device.driver == 'gpu.example.com'", True),
        (
            "device.attributes['gpu.example.com'].model == 'a100' && device.attributes['gpu.example.com'].index > 2",
            True,
        ),
        ("device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('80Gi'))", False),
        (
            "cel.bind(own, device.attributes['gpu.example.com'], own.model.startsWith('a') && !('zz' in own))",
            True,
        ),
    ],
)
def test_a_device_is_selected_by_what_it_is(text: str, selected: bool) -> None:
    assert expression_problems("e", text) == []
    assert environment().compile(text).evaluate({"device": DEVICE}) is selected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device.zz == 1", "compilation failed: ERROR: <input>:1:7: undefined field 'zz'"),
        ("device.driver", "must evaluate to bool"),
        ("true || " * 2000 + "true", "Too long: may not be more than 10240 bytes"),
        (
            "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a + b != c + d))))",
            "Forbidden: too complex, exceeds cost limit",
        ),
    ],
)
def test_selectors_that_cannot_be_used_are_refused(text: str, message: str) -> None:
    [problem] = expression_problems("spec.selectors[0].cel.expression", text)
    assert message in problem.message
    assert problem.field == "spec.selectors[0].cel.expression"
