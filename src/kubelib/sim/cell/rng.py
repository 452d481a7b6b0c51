"""Random numbers as the Java library defines them, made in blocks."""

from typing import Final

import numpy as np

_MULTIPLIER: Final = 0x5DEECE66D
_INCREMENT: Final = 0xB
_MASK: Final = (1 << 48) - 1
_BLOCK: Final = 8192


def _jumps() -> (
    "tuple[np.ndarray[tuple[int], np.dtype[np.uint64]], np.ndarray[tuple[int], np.dtype[np.uint64]]]"
):
    """Return a[k], c[k] such that the state after k + 1 steps is ``a[k] * state + c[k]``."""
    factors, summands = [], []
    a, c = 1, 0
    for _ in range(_BLOCK):
        a, c = a * _MULTIPLIER & _MASK, (c * _MULTIPLIER + _INCREMENT) & _MASK
        factors.append(a)
        summands.append(c)
    return np.array(factors, dtype=np.uint64), np.array(summands, dtype=np.uint64)


def seeded(seed: int) -> int:
    """Return the state that a seed leads to."""
    return (seed ^ _MULTIPLIER) & _MASK


class JavaRandom:
    """The 48-bit linear congruential generator of ``java.util.Random``."""

    _factors, _summands = _jumps()

    def __init__(self, seed: int) -> None:
        self._state = seeded(seed)
        self._left: list[int] = []

    def bits(self) -> list[int]:
        """Return the generator's next 31-bit numbers, the next one last; what is popped from the list is used up."""
        if not self._left:
            # products wrap at 2**64, of which 2**48 is a divisor: the lower bits stay right
            states = (self._factors * np.uint64(self._state) + self._summands) & np.uint64(_MASK)
            self._state = int(states[-1])
            self._left = (states >> np.uint64(17)).tolist()
            self._left.reverse()
        return self._left

    def below(self, bound: int) -> int:
        """Return a number from 0 to below `bound`, as ``nextInt(bound)`` does."""
        if bound & -bound == bound:
            return bound * self.bits().pop() >> 31
        while True:
            bits = self.bits().pop()
            value = bits % bound
            if bits - value + bound <= 1 << 31:
                return value
