"""Black-76 prices of European options on a forward, undiscounted."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volsurface.pricing.approximations import log_ratio
from volsurface.pricing.arguments import float_columns, right_sign
from volsurface.pricing.kernel import kernel
from volsurface.pricing.scalar import cap_share


@kernel("f8(f8, f8, f8, f8, f8)")
def price_one(forward, strike, years, vol, right):
    """Price of one option; NaN for a forward, strike, time or vol that is not positive and finite, or another right."""
    s = vol * np.sqrt(years)
    usable = 0.0 < forward < np.inf and 0.0 < strike < np.inf and vol >= 0.0 and years >= 0.0 and s < np.inf
    if not usable or right * right != 1.0:
        return np.nan
    intrinsic = max(right * (forward - strike), 0.0)
    if s == 0.0:
        return intrinsic
    u, v = cap_share(abs(log_ratio(forward, strike)), s)
    cap = min(forward, strike)
    return intrinsic + u * cap


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1])")
def price_all(forward, strike, years, vol, right, price):
    """Fill `price`; all arrays of shape (n,)."""
    for i in range(price.shape[0]):
        price[i] = price_one(forward[i], strike[i], years[i], vol[i], right[i])


def black76_price(
    forward: ArrayLike, strike: ArrayLike, years: ArrayLike, vol: ArrayLike, right: ArrayLike | str
) -> NDArray[np.float64]:
    """Return undiscounted Black-76 prices; arguments broadcast."""
    right = right_sign(right)
    shape, columns = float_columns(forward, strike, years, vol, right)
    price = np.empty(columns[0].size)
    price_all(*columns, price)
    return price.reshape(shape)
