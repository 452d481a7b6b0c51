"""What columns of nodes are to the type checker; numpy is not loaded for it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    BoolColumn = NDArray[np.bool_]
    FloatColumn = NDArray[np.float64]
    Rows = NDArray[np.int64] | slice
else:
    BoolColumn = FloatColumn = Rows = Any
