"""The option sets that implied-vol solvers are measured on: a chain as traded, its other side, and everything that breaks them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsurface.pricing.black76 import black76_price

MINUTE_YEARS = 1.0 / (365.0 * 24.0 * 60.0)


class OptionSet(NamedTuple):
    """Columns of shape (n,); `vol` is what the prices were made from, before they were rounded to float64."""

    price: NDArray[np.float64]
    forward: NDArray[np.float64]
    strike: NDArray[np.float64]
    years: NDArray[np.float64]
    right: NDArray[np.float64]
    vol: NDArray[np.float64]

    @property
    def inputs(self) -> tuple[NDArray[np.float64], ...]:
        """Return what a solver gets: price, forward, strike, years, right."""
        return self[:5]

    @property
    def std_dev(self) -> NDArray[np.float64]:
        """Return s = vol sqrt(years)."""
        return self.vol * np.sqrt(self.years)

    @property
    def out_of_the_money(self) -> NDArray[np.bool_]:
        """Return the mask of options without intrinsic value."""
        return self.right * (self.forward - self.strike) <= 0.0


def chain_set(count: int = 1000, seed: int = 7, in_the_money: bool = False) -> OptionSet:
    """Return a chain as traded: expiries of 1 day to 1 year, strikes within 4.5 standard deviations, vols of 30 to 150 %."""
    rng = np.random.default_rng(seed)
    years = rng.choice([1, 2, 3, 7, 14, 30, 60, 90, 180, 365], count) / 365.0
    forward = 65_000.0 * (1.0 + 0.08 * years)
    vol = rng.uniform(0.3, 1.5, count)
    strike = forward * np.exp(rng.uniform(-4.5, 4.5, count) * vol * np.sqrt(years))
    strike = np.round(np.clip(strike, 0.3 * forward, 3.0 * forward) / 500.0) * 500.0
    right = np.where((strike >= forward) != in_the_money, 1.0, -1.0)
    chain = OptionSet(black76_price(forward, strike, years, vol, right), forward, strike, years, right, vol)
    return _solvable(chain)


def stress_set(count: int = 4400, seed: int = 11) -> OptionSet:
    """Return options from everywhere: s in [1e-4, 8] log-uniform, h = |ln(F/K)|/s in [0, 3] and [0, 36] and down to 1e-12 and
    0, one minute to five years, time values down to 1e-300, one in five in the money. Some 7 % of `count` have no vol and fall
    out.
    """
    rng = np.random.default_rng(seed)
    s = np.exp(rng.uniform(np.log(1e-4), np.log(8.0), count))
    h = np.where(rng.uniform(size=count) < 0.5, rng.uniform(0.0, 3.0, count), rng.uniform(0.0, 36.0, count))
    few = count // 40
    h[:few] = 0.0
    h[few : 4 * few] = 10.0 ** rng.uniform(-12.0, 0.0, 3 * few)
    years = np.exp(rng.uniform(np.log(MINUTE_YEARS), np.log(5.0), count))
    middle, side = 10.0 ** rng.uniform(-2.0, 5.0, count), rng.choice([-0.5, 0.5], count)
    forward, strike = middle * np.exp(side * h * s), middle * np.exp(-side * h * s)
    forward[:few] = strike[:few]
    right = np.where((strike >= forward) != (rng.uniform(size=count) < 0.2), 1.0, -1.0)
    vol = s / np.sqrt(years)
    return _solvable(OptionSet(black76_price(forward, strike, years, vol, right), forward, strike, years, right, vol))


def _solvable(options: OptionSet) -> OptionSet:
    """Return the options whose price still says something: strictly between intrinsic value and cap, above 1e-300."""
    value = options.price - np.maximum(options.right * (options.forward - options.strike), 0.0)
    low = np.minimum(options.forward, options.strike)
    keep = (value > 1e-300 * np.sqrt(options.forward * options.strike)) & (value < low)
    return OptionSet(*(column[keep] for column in options))
