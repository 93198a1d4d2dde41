"""What a venue's ticker computes from quotes, the forward and the true vol: implied vols and Greeks, in Deribit's units."""

import math
from dataclasses import dataclass

import numpy as np

from volsurface.pricing.implied_vol import implied_vols

INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
LARGEST_IV = 999.0  # percent


@dataclass(slots=True, eq=False)
class TickerValues:
    """One list entry per option; prices in the venue's unit, vols in percent with 0.0 for none.

    delta: N(d1) of Black-76, less 1 for puts. gamma: per unit of quote currency. vega: per vol point. theta: per day, or
    for what is left of the last day. rho: per percent of the rate. All four in quote currency per coin of underlying.
    """

    forward: list[float]
    index: list[float]
    mark: list[float]
    mark_iv: list[float]
    bid_iv: list[float]
    ask_iv: list[float]
    delta: list[float]
    gamma: list[float]
    vega: list[float]
    theta: list[float]
    rho: list[float]


def ticker_values(
    *,
    index: np.ndarray,
    forward: np.ndarray,
    strike: np.ndarray,
    years: np.ndarray,
    right: np.ndarray,
    vol: np.ndarray,
    mark: np.ndarray,
    bid: np.ndarray,
    ask: np.ndarray,
    numeraire: np.ndarray,
) -> TickerValues:
    """Return the values; all arrays have shape (n,), `bid` and `ask` with 0 for none. numeraire: quote currency per unit of price, so
    the forward for prices in coin and 1 for prices in quote currency.

    The normal distribution is the C library's erfc, on purpose not our kernels': tests compare the two.
    """
    implied = implied_vols(
        np.concatenate([bid, ask]) * np.tile(numeraire, 2),
        np.tile(forward, 2), np.tile(strike, 2), np.tile(years, 2), np.tile(right, 2),
    ).vol  # fmt: skip
    percent = np.minimum(np.nan_to_num(implied * 100.0), LARGEST_IV)
    root = np.sqrt(years)
    std_dev = vol * root
    d1 = np.log(forward / strike) / std_dev + 0.5 * std_dev
    density = INV_SQRT_2PI * np.exp(-0.5 * d1 * d1)
    to_erfc = (-math.sqrt(0.5)) * right * d1
    delta = right * 0.5 * np.array([math.erfc(x) for x in to_erfc.tolist()])
    return TickerValues(
        forward=forward.tolist(),
        index=index.tolist(),
        mark=mark.tolist(),
        mark_iv=(vol * 100.0).tolist(),
        bid_iv=percent[: bid.size].tolist(),
        ask_iv=percent[bid.size :].tolist(),
        delta=delta.tolist(),
        gamma=(density / (forward * std_dev)).tolist(),
        vega=(forward * density * root * 0.01).tolist(),
        theta=(-0.5 * forward * density * vol / root * np.minimum(1.0 / 365.0, years)).tolist(),
        rho=(0.01 * years * (forward * delta - numeraire * mark)).tolist(),
    )
