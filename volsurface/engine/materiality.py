"""Whether a result would be visible: the questions each stage asks before the next one runs. Pure functions."""

from dataclasses import dataclass

import numpy as np

from volsurface.surface.smile import Smile

# Where a displayed smile is compared with the one before: in standard deviations of log-moneyness.
DISPLAYED_POINTS = np.linspace(-3.0, 3.0, 25)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is too small to act on, and what is too old to be called current.

    vol_change: a quote's move that refits its expiry; publish_change: a displayed move that publishes; both fractions
    of vol (0.0001 = 1 bp). stale_ns: without a newer quote for this long a surface is stale.
    """

    vol_change: float = 1e-4
    publish_change: float = 1e-4
    stale_ns: int = 10_000_000_000


def moved(now: np.ndarray, then: np.ndarray, threshold: float) -> np.ndarray:
    """Return the mask of vols that moved by at least `threshold`, or appeared, or vanished.

    now, then: vols as fractions, same shape, NaN where a quote has none. threshold: a fraction (0.0001 = 1 bp).
    """
    appeared_or_vanished = np.isnan(now) != np.isnan(then)
    with np.errstate(invalid="ignore"):
        return appeared_or_vanished | (np.abs(now - then) >= threshold)


def displayed_vols(smile: Smile) -> np.ndarray:
    """Return the smile's vols at `DISPLAYED_POINTS`, in the units of its own ATM standard deviation; shape (25,)."""
    return np.asarray(smile.vol_at(DISPLAYED_POINTS * smile.atm_vol * np.sqrt(smile.years)))


def displayed_change(now: np.ndarray | None, then: np.ndarray | None) -> float:
    """Return the largest move of a displayed point as a fraction of vol; inf when a smile appeared or vanished."""
    if now is None or then is None:
        return float("inf")
    change = float(np.max(np.abs(now - then)))
    return change if change == change else float("inf")
