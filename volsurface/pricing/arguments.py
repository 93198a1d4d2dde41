"""What users hand in, brought into the one form the kernels take: contiguous float64 columns of equal length."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RIGHTS = {"call": 1.0, "put": -1.0, "c": 1.0, "p": -1.0}


def right_sign(right: ArrayLike | str) -> Any:
    """Return +1 for calls and -1 for puts; "call"/"put", "C"/"P" and numbers are taken, anything else becomes NaN."""
    if isinstance(right, str):
        return RIGHTS.get(right.lower(), np.nan)
    array = np.asarray(right)
    if array.dtype.kind in "USO":
        flat = [RIGHTS.get(r.lower(), np.nan) if isinstance(r, str) else r for r in array.ravel().tolist()]
        return np.array(flat, dtype=np.float64).reshape(array.shape)
    return array


def float_columns(*values: ArrayLike) -> tuple[tuple[int, ...], list[NDArray[np.float64]]]:
    """Return the broadcast shape and the values as writable, contiguous float64 arrays of shape (n,)."""
    arrays = [np.asarray(value, dtype=np.float64) for value in values]
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    columns = []
    for array in arrays:
        if array.shape != shape:
            array = np.broadcast_to(array, shape)
        column = np.ascontiguousarray(array).reshape(-1)
        columns.append(column if column.flags.writeable else column.copy())
    return shape, columns
