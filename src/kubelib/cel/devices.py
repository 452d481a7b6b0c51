"""What the expressions that select devices may use: one `device`, with its driver, attributes and capacities."""

import functools

import attrs

from kubelib.cel import types
from kubelib.cel.environment import Environment
from kubelib.cel.libraries.quantities import QUANTITY
from kubelib.cel.types import DYN, STRING, Field, map_of, object_of

SELECTOR_LIMIT = 1_000_000
"""The most that selecting by one expression may cost, by estimate and when it runs."""
LONGEST_SELECTOR = 10 * 1024
_MOST_ATTRIBUTES, _LONGEST_VALUE = 32, 64


@functools.lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the environment of selectors of device classes and resource claims."""
    name = attrs.evolve(STRING, most=63)
    value = attrs.evolve(DYN, most=_LONGEST_VALUE)
    fields = {
        "driver": Field("driver", name),
        "attributes": Field(
            "attributes", map_of(name, map_of(name, value, most=_MOST_ATTRIBUTES), most=_MOST_ATTRIBUTES)
        ),
        "capacity": Field(
            "capacity", map_of(name, map_of(name, QUANTITY, most=_MOST_ATTRIBUTES), most=_MOST_ATTRIBUTES)
        ),
        "allowMultipleAllocations": Field("allowMultipleAllocations", types.BOOL),
    }
    return Environment({"device": object_of("kubernetes.DRADevice", lambda: fields)})
