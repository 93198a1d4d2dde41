"""Black-76 implied vols: exact to the last bits, one status per option, never an exception for a value."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volsurface.pricing.approximations import log_ratio
from volsurface.pricing.arguments import float_columns, right_sign
from volsurface.pricing.kernel import kernel
from volsurface.pricing.scalar import implied_std_dev
from volsurface.pricing.status import (
    ABOVE_CAP,
    BAD_INPUT,
    BELOW_INTRINSIC,
    EXPIRED,
    NO_CONVERGENCE,
    NO_TIME_VALUE,
    OK_SCALAR,
)


class ImpliedVols(NamedTuple):
    """vol: float64, per year, NaN where there is none. status: int8, see `volsurface.pricing.status`."""

    vol: NDArray[np.float64]
    status: NDArray[np.int8]


@kernel
def solve_one(price, forward, strike, years, right):
    """(vol, status) of one option by the scalar path; statuses in the order in which they are tested."""
    usable = (0.0 < forward < 1e150) and (0.0 < strike < 1e150) and (forward * strike > 1e-290)
    if not usable or not abs(price) < 1e300 or not abs(years) < 1e6 or right * right != 1.0:
        return math.nan, BAD_INPUT
    if years <= 0.0:
        return math.nan, EXPIRED
    value = price - max(right * (forward - strike), 0.0)
    cap = min(forward, strike)
    if value < 0.0:
        return math.nan, BELOW_INTRINSIC
    if value == 0.0:
        return math.nan, NO_TIME_VALUE
    if value >= cap:
        return math.nan, ABOVE_CAP
    s = implied_std_dev(value / cap, (cap - value) / cap, abs(log_ratio(forward, strike)))
    if not s > 0.0:
        return math.nan, NO_CONVERGENCE
    return s / math.sqrt(years), OK_SCALAR


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], i1[::1])")
def solve_all(price, forward, strike, years, right, vol, status):
    """Fill `vol` and `status`; all arrays of shape (n,)."""
    for i in range(price.shape[0]):
        vol[i], status[i] = solve_one(price[i], forward[i], strike[i], years[i], right[i])


def implied_vols(
    price: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, right: ArrayLike | str
) -> ImpliedVols:
    """Return the Black-76 vols of undiscounted prices; arguments broadcast."""
    right = right_sign(right)
    shape, columns = float_columns(price, forward, strike, years, right)
    n = columns[0].size
    vol, status = np.empty(n), np.empty(n, np.int8)
    solve_all(*columns, vol, status)
    return ImpliedVols(vol.reshape(shape), status.reshape(shape))
