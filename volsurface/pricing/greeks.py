"""Greeks of Black-76 options, from a vol or together with the vol from a price, in three named conventions.

`black` (default): derivatives of the undiscounted price in USD; delta is N(d1), what Deribit's and Bybit's tickers show, also
for coin-settled options. `coin`: derivatives of the coin premium c = price / forward. `premium_adjusted`: delta is the black
delta less the premium in coin, the position that hedges a coin-settled option held against coin; gamma and vanna are the
derivatives of that delta, the rest is as in `black`.

Raw units are per 1.00 of vol and per year; `display_units` turns them into per vol point and per day. All are forward
Greeks: the forward is held fixed as time passes, and there is no discounting.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volsurface.errors import SettingsError, unknown_name
from volsurface.pricing.approximations import log_ratio
from volsurface.pricing.arguments import NO_COLUMN, Right, columns, right_sign, shaped
from volsurface.pricing.batch import greeks_of, item, solve
from volsurface.pricing.black76 import price_one
from volsurface.pricing.implied_vol import ImpliedVols
from volsurface.pricing.kernel import kernel
from volsurface.pricing.scalar import density_share, std_dev_of

CONVENTIONS = ("black", "coin", "premium_adjusted")
DAYS_PER_YEAR = 365.0
POINTS_PER_VOL = 100.0


class Greeks(NamedTuple):
    """Greeks of one convention, NaN where there is no vol. P is the price (`black`) or the coin premium (`coin`).

    delta: dP/dF. gamma: d(delta)/dF. vega: dP/dvol, per 1.00 of vol. theta: dP/dt per year, as time passes. vanna:
    d(delta)/dvol. volga: d(vega)/dvol. For `premium_adjusted` delta is (dP/dF) - P/F, P in USD.
    """

    delta: NDArray[np.float64]
    gamma: NDArray[np.float64]
    vega: NDArray[np.float64]
    theta: NDArray[np.float64]
    vanna: NDArray[np.float64]
    volga: NDArray[np.float64]
    convention: str


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[:, ::1])")
def greeks_all(forward, strike, years, vol, right, out):
    """Fill `out` of shape (7, n): price, delta, gamma, vega, theta, vanna, volga; inputs of shape (n,) or (1,)."""
    for i in range(out.shape[1]):
        f, k, t, v, cp = item(forward, i), item(strike, i), item(years, i), item(vol, i), item(right, i)
        out[0, i] = price_one(f, k, t, v, cp)
        s, low = std_dev_of(v, t)
        if not s > 0.0 or not out[0, i] >= 0.0:
            for row in range(1, 7):
                out[row, i] = math.nan
            continue
        phi_forward = min(f, k) * density_share(abs(log_ratio(f, k)), s, low)
        greeks = greeks_of(phi_forward, f, k, s, v, math.sqrt(t), cp)
        out[1, i], out[2, i], out[3, i], out[4, i], out[5, i], out[6, i] = greeks


def greeks(
    forward: ArrayLike, strike: ArrayLike, years: ArrayLike, vol: ArrayLike, right: Right, *, convention: str = "black"
) -> Greeks:
    """Return the Greeks of options with known vols.

    years: to expiry, 365-day years. vol: per year, 0.60 is 60 %. right: "call"/"put" or +1/-1. All broadcast. Without time or
    vol, and for impossible values, they are NaN. convention: "black", "coin" or "premium_adjusted", see the module.

    >>> g = greeks(forward=100.0, strike=110.0, years=0.25, vol=0.6, right="call")
    >>> round(float(g.delta), 6), round(float(g.gamma), 6), round(float(g.vega), 4), g.convention
    (0.433409, 0.013112, 19.6686, 'black')
    >>> coin = greeks(65_000.0, 70_000.0, 30 / 365, 0.5, "call", convention="premium_adjusted")
    >>> round(float(coin.delta), 6)
    0.299432
    """
    check_convention(convention)
    shape, n, inputs = columns(forward, strike, years, vol, right_sign(right))
    out = np.empty((7, n))
    greeks_all(*inputs, out)
    return in_convention(out[0], inputs[0], out[1:], convention, shape)


def implied_vols_and_greeks(
    price: ArrayLike,
    forward: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    right: Right,
    *,
    start: ArrayLike | None = None,
    convention: str = "black",
) -> tuple[ImpliedVols, Greeks]:
    """Return vols and Greeks in one pass, for little more than the vols alone; arguments as of `implied_vols`.

    >>> vols, g = implied_vols_and_greeks(price=[4.0, 4.0], forward=100.0, strike=[110.0, 105.0], years=0.25, right="call")
    >>> vols.vol.round(6), g.vega.round(4)
    (array([0.384215, 0.302655]), array([18.4129, 19.349 ]))
    """
    check_convention(convention)
    shape, n, inputs = columns(price, forward, strike, years, right_sign(right), *(() if start is None else (start,)))
    if start is None:
        inputs.append(NO_COLUMN)
    out, status = np.empty((7, n)), np.empty(n, np.int8)
    solve(*inputs, out, status)
    vols = ImpliedVols(shaped(out[0], shape), shaped(status, shape))
    return vols, in_convention(inputs[0], inputs[1], out[1:], convention, shape)


def in_convention(
    price: NDArray[np.float64],
    forward: NDArray[np.float64],
    rows: NDArray[np.float64],
    convention: str,
    shape: tuple[int, ...],
) -> Greeks:
    """Return black Greeks, rows of shape (6, n), in another convention and with the given shape; price and forward in USD."""
    delta, gamma, vega, theta, vanna, volga = rows
    if convention != "black":
        adjusted = delta - price / forward
        if convention == "coin":
            gamma = gamma / forward - 2.0 * adjusted / forward**2
            vanna = vanna / forward - vega / forward**2
            delta, vega, theta, volga = adjusted / forward, vega / forward, theta / forward, volga / forward
        else:
            gamma = gamma - adjusted / forward
            vanna = vanna - vega / forward
            delta = adjusted
    delta, gamma, vega, theta, vanna, volga = (
        shaped(part, shape) for part in (delta, gamma, vega, theta, vanna, volga)
    )
    return Greeks(delta, gamma, vega, theta, vanna, volga, convention)


def display_units(raw: Greeks, time_value: ArrayLike | None = None) -> Greeks:
    """Return the Greeks per vol point and per day, as venues print them: vega/100, theta/365, vanna/100, volga/10,000.

    time_value: price less intrinsic value, in the currency of the convention. If given, theta is at most that: an option
    cannot lose more in a day than it has, and Deribit prints it so in the last hours.

    >>> g = display_units(greeks(100.0, 110.0, 0.25, 0.6, "call"))
    >>> round(float(g.vega), 6), round(float(g.theta), 6)
    (0.196686, -0.064664)
    """
    theta = raw.theta / DAYS_PER_YEAR
    if time_value is not None:
        theta = np.maximum(theta, -np.asarray(time_value))
    return raw._replace(
        vega=raw.vega / POINTS_PER_VOL,
        theta=theta,
        vanna=raw.vanna / POINTS_PER_VOL,
        volga=raw.volga / POINTS_PER_VOL**2,
    )


def charm(black: Greeks, vol: ArrayLike, years: ArrayLike) -> NDArray[np.float64]:
    """Return d(delta)/dt per year as time passes, from black Greeks: -vanna vol / (2 years)."""
    return np.asarray(-black.vanna * np.asarray(vol) / (2.0 * np.asarray(years)))


def check_convention(convention: str) -> None:
    """Raise SettingsError for a convention that does not exist."""
    if convention not in CONVENTIONS:
        raise SettingsError(unknown_name("convention of Greeks", convention, CONVENTIONS))
