"""Columns of a node table that hold other things than numbers: each distinct value once, and a code per row."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from kubelib.sched.arrays import BoolColumn, FloatColumn, Rows

V = TypeVar("V", bound=Hashable)

SLACK = 1024
"""How many values that no row has any more are borne before the codes are given out anew."""


class CodedColumn(Generic[V]):
    """Values by row; code 0 is what a row has that was never set. Judging costs one call per distinct value."""

    def __init__(self, size: int, default: V) -> None:
        self.codes: NDArray[np.int64] = np.zeros(size, np.int64)
        self.values: list[V] = [default]
        self._code_of: dict[V, int] = {default: 0}

    def __getitem__(self, row: int) -> V:
        return self.values[int(self.codes[row])]

    def __setitem__(self, row: int, value: V) -> None:
        code = self._code_of.get(value)
        if code is None:
            if len(self.values) > 2 * len(self.codes) + SLACK:
                self._recode()
            code = self._code_of[value] = len(self.values)
            self.values.append(value)
        self.codes[row] = code

    def _recode(self) -> None:
        used, codes = np.unique(np.append(self.codes, 0), return_inverse=True)
        self.values = [self.values[code] for code in used]
        self._code_of = {value: code for code, value in enumerate(self.values)}
        self.codes = codes[:-1].astype(np.int64)

    def grow(self, size: int) -> None:
        """Make room for `size` rows."""
        self.codes = np.concatenate([self.codes, np.zeros(size - len(self.codes), np.int64)])

    def among(self, values: Sequence[V], rows: Rows) -> BoolColumn:
        """Return which rows have one of `values`."""
        codes = self.codes[rows]
        found = np.zeros(len(codes), bool)
        for value in values:
            code = self._code_of.get(value)
            if code is not None:
                found |= codes == code
        return found

    def judge(self, test: Callable[[V], bool], rows: Rows) -> BoolColumn:
        """Return which rows have a value that passes `test`."""
        return self._apply(test, bool, rows)  # type: ignore[no-any-return]

    def rate(self, rating: Callable[[V], float], rows: Rows) -> FloatColumn:
        """Return the rating of each row's value."""
        return self._apply(rating, np.float64, rows)  # type: ignore[no-any-return]

    def _apply(self, function: Callable[[V], Any], dtype: Any, rows: Rows) -> Any:
        codes = self.codes[rows]
        if len(codes) < len(self.values):
            return np.fromiter((function(self.values[code]) for code in codes), dtype, len(codes))
        return np.fromiter(map(function, self.values), dtype, len(self.values))[codes]

    def totals(self, amounts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return, for each code, the sum of `amounts` over the rows that have it; rows without a value count nowhere."""
        sums = np.bincount(self.codes, weights=amounts, minlength=len(self.values)).astype(np.int64)
        sums[0] = 0
        return sums
