"""The random streams of schedulers, number for number those of ``numpy.random.PCG64`` and ``java.util.Random``."""

from typing import Any

import numpy as np

from kubelib.sim.cell.compiled.compiling import inner
from kubelib.sim.cell.compiled.state import Records

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_FACTOR_HIGH, _FACTOR_LOW = np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645)
_TURN, _WIDTH = np.uint64(58), np.uint64(63)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_SPENT, _PART = np.uint64(11), 2.0**-53  # of the 64 bits of a number 53 make a fraction
_JAVA_FACTOR, _JAVA_SUMMAND = np.uint64(0x5DEECE66D), np.uint64(0xB)
_JAVA_MASK, _JAVA_SHIFT = np.uint64((1 << 48) - 1), np.uint64(17)


def words_of(generator: np.random.Generator) -> tuple[int, ...]:
    """Return the state of a generator of PCG64 as the words of `STREAM`."""
    state: Any = generator.bit_generator.state
    inner_state, word = state["state"], (1 << 64) - 1
    return (
        inner_state["state"] >> 64,
        inner_state["state"] & word,
        inner_state["inc"] >> 64,
        inner_state["inc"] & word,
    )


@inner
def _product_high(a: np.uint64, b: np.uint64) -> np.uint64:
    """Return the upper half of a product of 128 bits."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    middle = a_high * b_low + ((a_low * b_low) >> _HALF)
    other = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _HALF) + (other >> _HALF)


@inner
def below(desk: Records, bound: int) -> np.int64:
    """Return the next number from 0 to below `bound` of a desk's stream, as ``(Generator.random() * bound)`` without its fraction."""
    high, low = desk.state_high, desk.state_low
    high = _product_high(low, _FACTOR_LOW) + high * _FACTOR_LOW + low * _FACTOR_HIGH
    low = low * _FACTOR_LOW
    summed = low + desk.step_low
    high = high + desk.step_high + (_ONE if summed < low else _ZERO)
    desk.state_high = high
    desk.state_low = summed
    mixed, turn = high ^ summed, high >> _TURN
    word = (mixed >> turn) | (mixed << ((_WIDTH - turn + _ONE) & _WIDTH))
    return np.int64(np.float64(word >> _SPENT) * _PART * bound)


@inner
def java_below(desk: Records, bound: int) -> np.int64:
    """Return the next number from 0 to below `bound` of a desk's stream, as ``nextInt(bound)`` draws it."""
    while True:
        desk.java = (desk.java * _JAVA_FACTOR + _JAVA_SUMMAND) & _JAVA_MASK
        bits = np.int64(desk.java >> _JAVA_SHIFT)
        if bound & -bound == bound:
            return (bound * bits) >> 31
        value = bits % bound
        if bits - value + bound <= 1 << 31:
            return value
