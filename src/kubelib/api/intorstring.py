"""Values that are a number or a percentage: ``maxSurge: 3``, ``maxUnavailable: 25%``."""

from typing import Any


def is_percentage(value: Any) -> bool:
    """Return whether a value is a percentage: digits, no more than a number has, and a percent sign."""
    return (
        isinstance(value, str)
        and len(value) < 20
        and value[-1:] == "%"
        and value[:-1].isdecimal()
        and value.isascii()
    )


def scaled(value: Any, total: int, *, round_up: bool) -> int:
    """Return what a number or a percentage of `total` comes to. Raises ValueError.

    >>> scaled(3, 10, round_up=True), scaled("25%", 10, round_up=True), scaled("25%", 10, round_up=False)
    (3, 3, 2)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not is_percentage(value):
        raise ValueError("invalid value for IntOrString: invalid type: string is not a percentage")
    share = int(value[:-1]) * total
    return -(-share // 100) if round_up else share // 100
