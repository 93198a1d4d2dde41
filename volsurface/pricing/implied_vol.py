"""Black-76 implied vols: right to the last bits, one status per option, never an exception for a value.

Accuracy is bounded by the price itself: deep in the money it carries little of the vol. The bound (P. Jaeckel, "Let's be
rational", 2015) is `attainable_error`; the solver stays within four times it, everywhere.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volsurface.pricing.arguments import NO_COLUMN, Right, columns, right_sign, shaped
from volsurface.pricing.batch import solve


class ImpliedVols(NamedTuple):
    """vol: per year, 0.60 is 60 %; NaN where there is none. status: int8, an index into `status.STATUS_NAMES`."""

    vol: NDArray[np.float64]
    status: NDArray[np.int8]


def implied_vols(
    price: ArrayLike,
    forward: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    right: Right,
    *,
    start: ArrayLike | None = None,
) -> ImpliedVols:
    """Return the Black-76 vols of undiscounted option prices.

    price, forward, strike: in one currency. years: to expiry, 365-day years. right: "call"/"put" or +1/-1. All broadcast, and
    the results have their common shape. start: earlier vols of the same options. Where they are within 1e-3 of the answer one
    step from them suffices (and agrees with a start from nothing to 1e-12); elsewhere they are ignored, so any values, also
    NaN, are allowed.

    A price without a vol gives NaN and a status that says why (`volsurface.pricing.status`); options never affect their
    neighbours. A coin-settled premium is turned into a price by times the forward. Only shapes that do not broadcast raise
    (ValueError).

    >>> vol, status = implied_vols(price=[4.0, 30.0], forward=100.0, strike=[110.0, 80.0], years=0.25, right="call")
    >>> vol.round(6), status
    (array([0.384215, 1.034232]), array([0, 0], dtype=int8))
    >>> implied_vols(price=15.0, forward=100.0, strike=80.0, years=0.25, right="call")  # 4: below intrinsic
    ImpliedVols(vol=np.float64(nan), status=np.int8(4))

    Source: F. Black, "The pricing of commodity contracts", Journal of Financial Economics 3 (1976).
    """
    shape, n, inputs = columns(price, forward, strike, years, right_sign(right), *(() if start is None else (start,)))
    if start is None:
        inputs.append(NO_COLUMN)
    out, status = np.empty((1, n)), np.empty(n, np.int8)
    solve(*inputs, out, status)
    return ImpliedVols(shaped(out[0], shape), shaped(status, shape))


implied_vol = implied_vols  # its name at the front door: `volsurface.implied_vol`


def attainable_error(price: ArrayLike, vol: ArrayLike, vega: ArrayLike) -> NDArray[np.float64]:
    """Return the relative error of a vol that one rounding of its price causes: 2^-52 (1 + price / (vol * vega)).

    price is the full one, with intrinsic value; vega per 1.00 of vol. Large deep in the money: there a noisy vol is the
    price's fault, and this number says so better than any filter.

    >>> bool(attainable_error(price=60.0, vol=0.5, vega=1e-9) > 1e-6)
    True
    """
    return np.asarray(2.0**-52 * (1.0 + np.asarray(price) / (np.asarray(vol) * np.asarray(vega))))
