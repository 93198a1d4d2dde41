"""Black-76 prices of European options on a forward, undiscounted."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volsurface.pricing.approximations import log_ratio
from volsurface.pricing.arguments import Right, columns, right_sign, shaped
from volsurface.pricing.batch import item
from volsurface.pricing.kernel import kernel
from volsurface.pricing.scalar import cap_share, std_dev_of


@kernel(inline=True)
def price_one(forward, strike, years, vol, right):
    """Price of one option; NaN unless forward and strike are positive, years and vol not negative, all finite."""
    s, low = std_dev_of(vol, years)
    in_range = forward > 0.0 and strike > 0.0 and 1e-300 < forward * strike < 1e300
    if not in_range or not (vol >= 0.0 and 0.0 <= s < math.inf) or right * right != 1.0:
        return math.nan
    intrinsic = max(right * (forward - strike), 0.0)
    if s == 0.0:
        return intrinsic
    share, _ = cap_share(abs(log_ratio(forward, strike)), s, low)
    return intrinsic + share * min(forward, strike)


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])")
def price_all(forward, strike, years, vol, right, price):
    """Fill `price` of shape (n,); inputs of shape (n,) or (1,)."""
    for i in range(price.shape[0]):
        price[i] = price_one(item(forward, i), item(strike, i), item(years, i), item(vol, i), item(right, i))


def black76_price(
    forward: ArrayLike, strike: ArrayLike, years: ArrayLike, vol: ArrayLike, right: Right
) -> NDArray[np.float64]:
    """Return undiscounted Black-76 prices, in the currency of forward and strike.

    years: to expiry, 365-day years. vol: per year, 0.60 is 60 %. right: "call"/"put" or +1/-1. All broadcast. At no time or
    no vol the price is intrinsic value; an impossible value (NaN, a forward that is not positive, ...) gives NaN. Relative
    error at most 4 eps (1 + (h^2 + t^2)/2), h = |ln(F/K)|/s, t = s/2, s = vol sqrt(years): far out of the money as well.

    >>> float(black76_price(forward=100.0, strike=110.0, years=0.25, vol=0.6, right="call").round(6))
    8.141012
    >>> black76_price(65_000.0, [60_000.0, 70_000.0], 30 / 365, 0.5, ["put", "call"]).round(2)
    array([1612.52, 1859.88])

    Source: F. Black, "The pricing of commodity contracts", Journal of Financial Economics 3 (1976).
    """
    shape, n, inputs = columns(forward, strike, years, vol, right_sign(right))
    price = np.empty(n)
    price_all(*inputs, price)
    return shaped(price, shape)
