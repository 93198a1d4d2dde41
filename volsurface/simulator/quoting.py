"""How market makers quote around a known true price: half-spreads, the tick rule, and quotes that are not there.

Measured on recorded chains of May 2026: bid-ask in vol about 0.5 points at the money beyond two months, 1 point at a
week, 3 at a day (there mostly the tick), up to 10 in the far wings; about 5 % of rows without a bid, 1-2 % without an ask.
"""

from dataclasses import dataclass

import numpy as np

from volsurface.simulator.order_book import COIN_TICKS, TickRule

WEEK_YEARS = 7.0 / 365.0
BASE_HALF_SPREAD = 0.0016  # vol, at the money and at long tenors
SHORT_HALF_SPREAD = 0.0022  # vol, added at one week, growing as 1/sqrt(T)
LONG_HALF_SPREAD = 0.0012  # vol per year of tenor
WING_WIDENING = 0.25  # per squared standard deviation of log-moneyness
MAX_HALF_SPREAD = 0.10  # vol
HEDGE_COST = 0.0003  # of the price: what an in-the-money option costs to hedge
MIN_HALF_SPREAD = 0.1  # of a price unit

WING = 2.0  # standard deviations of log-moneyness beyond which quotes go missing at random
MISSING_BOTH, MISSING_ASK, MISSING_BID = 0.03, 0.12, 0.33  # shares of the wing, cumulative from 0 in this order
MISSING_CYCLE_S = 3 * 3600.0  # within which every wing option is missing once


@dataclass(frozen=True, slots=True)
class Quotes:
    """Wished bid and ask, int32 of shape (n,), in price units; 0 where there is none."""

    bid: np.ndarray
    ask: np.ndarray


def target_quotes(
    mark: np.ndarray,
    vega: np.ndarray,
    z: np.ndarray,
    years: np.ndarray,
    shade: np.ndarray,
    luck: np.ndarray,
    seconds: float,
    *,
    unit: float | np.ndarray = COIN_TICKS.unit,
    ticks: TickRule = COIN_TICKS,
    widening: float = 1.0,
) -> Quotes:
    """Return what the market makers quote; all arrays have shape (n,).

    mark: true price, in the venue's unit. vega: price per unit of vol, likewise. z: log-moneyness in standard deviations. shade: in
    (-1, 1), how far the middle leans, in half-spreads. luck: in [0, 1), who lacks a quote when; `seconds` shifts it.
    unit: the price step of each option. ticks: where coarse steps begin. widening: of this venue's spreads.
    Rounded outwards, so that bid <= mark <= ask wherever both exist and |shade| < 1.
    """
    half_vol = BASE_HALF_SPREAD + SHORT_HALF_SPREAD * np.sqrt(WEEK_YEARS / years) + LONG_HALF_SPREAD * years
    half_vol = np.minimum(half_vol * (1.0 + WING_WIDENING * z * z), MAX_HALF_SPREAD) * widening
    half = vega * half_vol + HEDGE_COST * mark + MIN_HALF_SPREAD * unit
    middle = mark + shade * half
    bid = round_down((middle - half) / unit, ticks)
    ask = np.maximum(round_up((middle + half) / unit, ticks), 1)
    turn = (luck + seconds / MISSING_CYCLE_S) % 1.0
    turn[np.abs(z) < WING] = 1.0
    bid[(turn < MISSING_BOTH) | ((turn >= MISSING_ASK) & (turn < MISSING_BID))] = 0
    ask[turn < MISSING_ASK] = 0
    return Quotes(bid, ask)


def round_down(units: np.ndarray, ticks: TickRule = COIN_TICKS) -> np.ndarray:
    """Return the highest allowed prices not above `units` (price units, float), at least 0, as int32."""
    step = np.where(units < ticks.fine_below, 1, ticks.coarse)
    return np.maximum(np.floor(units / step + 1e-9) * step, 0.0).astype(np.int32)


def round_up(units: np.ndarray, ticks: TickRule = COIN_TICKS) -> np.ndarray:
    """Return the lowest allowed prices not below `units` (price units, float), as int32."""
    step = np.where(units <= ticks.fine_below, 1, ticks.coarse)
    return (np.ceil(units / step - 1e-9) * step).astype(np.int32)
