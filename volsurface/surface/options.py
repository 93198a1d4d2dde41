"""What a fit may be told, as a plain value. No Numba here, so that settings stay light to import."""

from dataclasses import dataclass

WEIGHTINGS = ("spread", "equal", "vega")
SVI_ONLY, MIXTURE_WHERE_BETTER, AUTOMATIC = "svi", "mixture", "automatic"
MODELS = (SVI_ONLY, MIXTURE_WHERE_BETTER, AUTOMATIC)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Options of one surface fit.

    min_quotes: an expiry with fewer usable strikes borrows its shape from a neighbour, with fewer than 3 it gets no smile.
    max_spread: widest usable quote, ask vol minus bid vol, as a fraction (0.5 = 50 vol points).
    spread_floor: smallest half-spread used as a weight, as a fraction of vol (0.002 = 20 bp).
    weighting: "spread" (residuals in half-spreads), "equal" (in vol), "vega" (in price).
    robust: two-stage loss: Huber first, quotes beyond `outlier_spreads` half-spreads dropped, then refitted.
    outlier_spreads: see `robust`.
    min_days: an expiry nearer than this keeps its last smile (a tick is then several vol points).
    stale_after_s: quotes older than this against their expiry's median age leave the fit.
    excluded_venues: venues whose quotes are shown beside the fit but are no points of it.
    silent_venues: venues that deliver nothing at the moment; their last quotes are shown and are no points either.
    model: "svi"; "mixture" of two SVI surfaces where it is certified and nearer the quotes; "automatic": only where it also
    brings visibly more of them inside.
    calibration_tolerance: relative fall of the objective at which the optimiser stops.
    """

    min_quotes: int = 6
    max_spread: float = 0.5
    spread_floor: float = 0.002
    weighting: str = "spread"
    robust: bool = True
    outlier_spreads: float = 6.0
    min_days: float = 1.0 / 24.0
    stale_after_s: float = 60.0
    excluded_venues: tuple[str, ...] = ()
    silent_venues: tuple[str, ...] = ()
    calibration_tolerance: float = 1e-8
    model: str = SVI_ONLY
