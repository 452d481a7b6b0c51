"""The options that say with what a node is registered: labels, taints, and how much Pods may use of it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import click

from kubelib.api.core.node import Taint
from reference_cluster.cli import shapes


@attrs.frozen
class Registration:
    """What a node says of itself when it is registered."""

    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    capacity: Mapping[str, str]


def registration_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options, and call it with ``registration``, a `Registration`."""

    @functools.wraps(command)
    def with_registration(*, node_labels: str, taints: str, capacity: str, **others: Any) -> None:
        registration = Registration(
            labels=_pairs(node_labels, "--node-labels"),
            taints=tuple(_taint(text) for text in _items(taints)),
            capacity=_quantities(capacity),
        )
        command(registration=registration, **others)

    return _labels(_taints(_capacity(with_registration)))


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _pairs(text: str, option: str) -> dict[str, str]:
    pairs = {}
    for item in _items(text):
        key, found, value = item.partition("=")
        if not found or not key:
            raise click.BadParameter(f"{item!r} is not KEY=VALUE", param_hint=option)
        pairs[key] = value
    return pairs


def _taint(text: str) -> Taint:
    rest, found, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    if not found or not key or effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise click.BadParameter(
            f"{text!r} is not KEY=VALUE:EFFECT with NoSchedule, PreferNoSchedule or NoExecute",
            param_hint="--register-with-taints",
        )
    return Taint(key=key, value=value, effect=effect)


def _quantities(text: str) -> dict[str, str]:
    from kubelib.api.quantity import QuantityError, parse_quantity

    amounts = _pairs(text, "--capacity")
    for resource, amount in amounts.items():
        try:
            good = parse_quantity(amount).milli() >= 0
        except QuantityError:
            good = False
        if not good:
            raise click.BadParameter(
                f"{amount!r} of {resource} is no quantity: write, for example, cpu=2,memory=4Gi,pods=50",
                param_hint="--capacity",
            )
    return amounts


_labels = shapes.text("--node-labels", "KEY=VALUE,...", "Labels of the node when it is registered.")
_taints = shapes.text(
    "--register-with-taints",
    "KEY=VALUE:EFFECT,...",
    "Taints of the node when it is registered.",
    into="taints",
)
_capacity = shapes.text(
    "--capacity",
    "RESOURCE=QUANTITY,...",
    "What Pods may use, instead of what the machine has: cpu, memory, pods, ephemeral-storage.",
)
