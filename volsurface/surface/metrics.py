"""The numbers a trader reads off one smile: ATM vol, skew, curvature, strikes at a delta, risk reversal and butterfly; the
probability it gives to ranges of strikes; the vol between two times.

A smile is given here as a function k -> (w, w', w''), so that a fitted smile and one interpolated in time share the code.
ATM is at the forward (k = 0). Deltas are Black forward deltas N(d+), the convention of Deribit's own Greeks; not the
premium-adjusted coin delta.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

from volsurface.surface.svi import Derivatives

Variance = Callable[[float], Derivatives]
CALL, PUT = 1, -1
_FARTHEST = 1e12  # |k|: wings at the cap of 1.999 reach a delta of 10 % at 5e7 only


@dataclass(frozen=True, slots=True)
class TenorMetrics:
    """The metrics of one tenor.

    days, years: time to the tenor. region: "node" (an expiry), "between_nodes" (linear in total variance at fixed k
    between two) or "extrapolated_time". atm_vol, rr25 (25-delta call vol minus put vol), bf25 (their mean minus ATM), rr10,
    bf10: vols as fractions. skew: dvol/dk at k = 0. curvature: d2vol/dk2 at k = 0.
    """

    days: float
    years: float
    region: str
    atm_vol: float
    skew: float
    curvature: float
    rr25: float
    bf25: float
    rr10: float
    bf10: float


@dataclass(frozen=True, slots=True)
class DensityShares:
    """Risk-neutral probability (1 is all of it; negative somewhere when the smile has butterflies).

    plotted: within the range asked for. below, above: on either side of it. extrapolated_below, extrapolated_above: beyond
    the quoted strikes, whatever the range; NaN when these are not known.
    """

    plotted: float
    below: float
    above: float
    extrapolated_below: float
    extrapolated_above: float


def atm_vol(variance: Variance, years: float) -> float:
    """Return the vol at the forward."""
    return vol_at(variance, years, 0.0)


def vol_at(variance: Variance, years: float, k: float) -> float:
    """Return sqrt(w(k) / years); 0 where an uncertified smile has w < 0."""
    return math.sqrt(max(float(variance(k).w), 0.0) / years)


def skew(variance: Variance, years: float) -> float:
    """Return dvol/dk at the forward, w' / (2 vol years)."""
    w, slope, _ = variance(0.0)
    return float(slope) / (2.0 * math.sqrt(float(w) * years))


def curvature(variance: Variance, years: float) -> float:
    """Return d2vol/dk2 at the forward, (w'' - w'^2 / (2w)) / (2 vol years)."""
    w, slope, bend = variance(0.0)
    return float(bend - slope * slope / (2.0 * w)) / (2.0 * math.sqrt(float(w) * years))


@cache
def _normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def k_at_delta(variance: Variance, delta: float, right: int) -> float:
    """Return the log-moneyness whose call (right +1) or put (-1) has the absolute Black delta `delta`, 0 < delta < 1.

    Solves d+(k) = -k/sqrt(w) + sqrt(w)/2 = N^-1(delta) for a call, -N^-1(delta) for a put, by Newton kept inside a bracket.
    d+ falls in k on a smile without butterflies, so the root is unique (Fukasawa 2012); on another smile it is one of the
    roots. NaN when the smile has no positive variance on the way or the wings are too steep to reach the delta.
    """
    if not 0.0 < delta < 1.0:
        raise ValueError(f"a delta lies between 0 and 1, found {delta!r}")
    target = right * _normal_quantile(delta)
    w0 = float(variance(0.0).w)
    if not w0 > 0.0:
        return math.nan
    k = 0.5 * w0 - target * math.sqrt(w0)
    low, high = -math.inf, math.inf
    for _ in range(100):
        w, slope, _ = variance(k)
        w, slope = float(w), float(slope)
        if not w > 0.0:
            return math.nan
        root = math.sqrt(w)
        miss = -k / root + 0.5 * root - target
        if miss > 0.0:
            low = k
        else:
            high = k
        fall = -1.0 / root + 0.5 * k * slope / (w * root) + 0.25 * slope / root
        step = -miss / fall if fall < 0.0 else math.nan
        if abs(step) <= 1e-13 * (1.0 + abs(k)):
            return k
        new = k + step
        if not low < new < high:  # also when the step is nan
            if math.isinf(low) or math.isinf(high):
                new = k + math.copysign(max(root, abs(k)), miss)
            else:
                new = 0.5 * (low + high)
        if new == k or abs(new) > _FARTHEST:
            return k if abs(miss) < 1e-9 else math.nan
        k = new
    return k if abs(miss) < 1e-9 else math.nan


def risk_reversal(variance: Variance, years: float, delta: float = 0.25) -> float:
    """Return the vol of the call at `delta` minus the vol of the put at `delta`."""
    return vol_at(variance, years, k_at_delta(variance, delta, CALL)) - vol_at(
        variance, years, k_at_delta(variance, delta, PUT)
    )


def butterfly(variance: Variance, years: float, delta: float = 0.25) -> float:
    """Return the mean vol of the call and the put at `delta`, minus the vol at the forward."""
    call = vol_at(variance, years, k_at_delta(variance, delta, CALL))
    put = vol_at(variance, years, k_at_delta(variance, delta, PUT))
    return 0.5 * (call + put) - atm_vol(variance, years)


def tenor_metrics(variance: Variance, years: float, region: str) -> TenorMetrics:
    """Return all metrics of a tenor of `years`."""
    middle = atm_vol(variance, years)
    wings = []
    for delta in (0.25, 0.10):
        call = vol_at(variance, years, k_at_delta(variance, delta, CALL))
        put = vol_at(variance, years, k_at_delta(variance, delta, PUT))
        wings += [call - put, 0.5 * (call + put) - middle]
    return TenorMetrics(years * 365.0, years, region, middle, skew(variance, years), curvature(variance, years), *wings)


def probability_below(variance: Variance, k: float) -> float:
    """Return the risk-neutral probability that the price ends below F e^k.

    It is 1 plus the derivative of the normalised call by e^k: N(-d-) + n(d-) w' / (2 sqrt w).
    """
    w, slope, _ = variance(k)
    root = math.sqrt(float(w))
    lower = -k / root - 0.5 * root
    bell = math.exp(-0.5 * lower * lower) / math.sqrt(2.0 * math.pi)
    return 0.5 * math.erfc(lower / math.sqrt(2.0)) + bell * float(slope) / (2.0 * root)


def density_shares(
    variance: Variance, low: float, high: float, quoted_k: tuple[float, float] | None = None
) -> DensityShares:
    """Return the probability inside and beside log-moneyness `low` to `high` and beyond the quoted strikes."""
    if not low < high:
        raise ValueError(f"the range must have low < high, found {low!r} and {high!r}")
    below, above = probability_below(variance, low), 1.0 - probability_below(variance, high)
    left = probability_below(variance, quoted_k[0]) if quoted_k else math.nan
    right = 1.0 - probability_below(variance, quoted_k[1]) if quoted_k else math.nan
    return DensityShares(1.0 - below - above, below, above, left, right)


def forward_vol(early_w: float, late_w: float, early_years: float, late_years: float) -> float:
    """Return the vol between two times, sqrt((w_late - w_early) / (late - early)); NaN where w falls (calendar arbitrage)."""
    if not 0.0 <= early_years < late_years:
        raise ValueError(f"a forward vol needs 0 <= early < late, found {early_years!r} and {late_years!r} years")
    gain = (late_w - early_w) / (late_years - early_years)
    return math.sqrt(gain) if gain >= 0.0 else math.nan
