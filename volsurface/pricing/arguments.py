"""What users hand in, brought into the one form the kernels take: contiguous float64 columns of n values, or of one."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Right = ArrayLike | str

RIGHTS = {"call": 1.0, "put": -1.0, "c": 1.0, "p": -1.0}
NO_COLUMN = np.empty(0)


def right_sign(right: Any) -> Any:
    """Return +1 for calls and -1 for puts from "call"/"put", "C"/"P" or numbers; an unknown word becomes NaN.

    >>> right_sign("put"), right_sign(["call", "P", "x"])
    (-1.0, array([ 1., -1., nan]))
    """
    if isinstance(right, str):
        return RIGHTS.get(right.lower(), np.nan)
    if isinstance(right, (int, float)) or (isinstance(right, np.ndarray) and right.dtype == np.float64):
        return right
    array = np.asarray(right)
    if array.dtype.kind in "USO":
        words = (RIGHTS.get(word.lower(), np.nan) if isinstance(word, str) else word for word in array.ravel().tolist())
        return np.fromiter(words, np.float64, array.size).reshape(array.shape)
    return array


def columns(*values: ArrayLike) -> tuple[tuple[int, ...], int, list[NDArray[np.float64]]]:
    """Return the shape the values broadcast to, its size n, and each value as a column of shape (n,) or (1,).

    A value that is the same for all options stays one number: it is not copied n times. Columns are writable, because Numba
    compiles another kernel for read-only arrays. Values that do not broadcast raise ValueError.
    """
    arrays = [np.asarray(value, np.float64) for value in values]
    shape: tuple[int, ...] = ()
    for array in arrays:
        if array.shape != shape and array.ndim:
            shape = array.shape if not shape else np.broadcast_shapes(shape, array.shape)
    result = []
    for array in arrays:
        if array.shape != shape and array.size != 1:
            array = np.broadcast_to(array, shape)
        if not array.flags.carray:  # contiguous and writable
            array = array.copy()
        result.append(array if array.ndim == 1 else array.reshape(-1))
    return shape, math.prod(shape), result


def shaped(column: NDArray[Any], shape: tuple[int, ...]) -> Any:
    """Return a column of results in the shape its inputs broadcast to; one number if they were numbers."""
    return column if len(shape) == 1 else column.reshape(shape)[()]
