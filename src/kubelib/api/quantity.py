"""Amounts of resources, for those who look for them beside the objects; see `kubelib.quantity`."""

from kubelib.quantity import (
    ZERO,
    Format,
    Quantity,
    QuantityError,
    canonical,
    from_bytes,
    from_milli,
    parse_quantity,
)

__all__ = [
    "ZERO",
    "Format",
    "Quantity",
    "QuantityError",
    "canonical",
    "from_bytes",
    "from_milli",
    "parse_quantity",
]
