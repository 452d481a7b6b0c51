"""Choosers: which of the nodes that fit."""

from random import Random

import numpy as np

from kubelib.sched.base import BoolColumn, FloatColumn


class Best:
    """Picks the best score; of several, the first from a row on that the injected Random draws."""

    def choose(self, fits: BoolColumn, scores: FloatColumn, random: Random) -> int:
        """Pick a row."""
        # Two halves cost what one whole does; gathering all ties to draw from them would cost five times as much.
        start = int(random.random() * len(scores))
        before, after = scores[:start], scores[start:]
        best = start + int(after.argmax())
        if start:
            other = int(before.argmax())
            if before[other] > scores[best]:
                return other
        return best


class AnyOf:
    """Picks any node that fits."""

    def choose(self, fits: BoolColumn, scores: FloatColumn, random: Random) -> int:
        """Pick a row."""
        rows = np.flatnonzero(fits)
        return int(rows[random.randrange(len(rows))])


class InTurn:
    """Picks the next node that fits, in order of rows."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, fits: BoolColumn, scores: FloatColumn, random: Random) -> int:
        """Pick a row."""
        rest = fits[self._last + 1 :]
        following = int(rest.argmax()) if len(rest) else 0
        if len(rest) and rest[following]:
            self._last += 1 + following
        else:
            self._last = int(fits.argmax())
        return self._last
