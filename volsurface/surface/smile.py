"""A smile: the vols of one expiry as an immutable value, evaluated only through its methods."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from volsurface.surface import metrics, mixture, svi
from volsurface.surface.jump_wings import JumpWings, to_jump_wings
from volsurface.surface.metrics import DensityShares
from volsurface.surface.mixture import Term
from volsurface.surface.svi import Derivatives, Numbers

# What a smile or a surface may be; the same words everywhere.
# "uncertified" is the preview of a first start, the free fit: shown as such, never published.
STATES = ("certified", "uncertified", "stale", "fallback", "failed")
SVI, MIXTURE = "svi", "mixture"
PARAMETER_NAMES = {
    SVI: ("a", "b", "rho", "m", "sigma"),
    MIXTURE: ("weight", "a1", "b1", "rho1", "m1", "sigma1", "a2", "b2", "rho2", "m2", "sigma2"),
}
_WIDTH = len(PARAMETER_NAMES[SVI])


class Component(NamedTuple):
    """One SVI slice of a smile and the weight of its prices; a plain SVI smile has one, of weight 1."""

    weight: float
    parameters: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Smile:
    """One fitted expiry.

    expiry_ns: expiry instant, nanoseconds since 1970 UTC. years: ACT/365 from the valuation to it.
    forward: of this expiry, quote currency per coin. forward_source: "future", "synthetic", "parity" or "stale".
    model, parameters: "svi" with raw (a, b, rho, m, sigma), or "mixture" with the weight of the first component's prices
    and the raw parameters of both (PARAMETER_NAMES); read by the certificate, the store and diagnostics alone. Components of
    a mixture are not identified: others fit as well.
    n_quotes, n_rejected: quotes used as points, quotes left out with a reason.
    inside_spread: share (0 to 1) of the used quotes whose bid and ask vol enclose the smile; in-sample.
    rmse_bp, max_error_bp: distance to the mid vols, in basis points of vol.
    state: one of STATES. quote_time_ns: newest quote in the fit. fit_time_ns: market time of the fit.
    method: how the parameters came about: "free" (this expiry on its own), "repaired" (with its neighbours,
    under no-arbitrage conditions), "borrowed" (too few strikes: m and sigma from a neighbour), "mixture"
    (refined from one of these), "essvi" (the fallback).
    quoted_k: least and largest log-moneyness of the quotes used, None when not known; beyond it a vol is extrapolated.
    """

    expiry_ns: int
    years: float
    forward: float
    forward_source: str
    model: str
    parameters: tuple[float, ...]
    n_quotes: int
    n_rejected: int
    inside_spread: float
    rmse_bp: float
    max_error_bp: float
    state: str
    quote_time_ns: int
    fit_time_ns: int
    method: str
    quoted_k: tuple[float, float] | None = None

    def total_variance(self, k: Numbers) -> Numbers:
        """Return w(k) = vol^2 * years at log-moneyness k = ln(strike / forward)."""
        if self.model == SVI:
            return svi.total_variance(self.parameters, k)
        return mixture.total_variance(self.terms(), k)

    def derivatives(self, k: Numbers) -> Derivatives:
        """Return w, w' and w'' at log-moneyness k."""
        if self.model == SVI:
            return svi.derivatives(self.parameters, k)
        return mixture.derivatives(self.terms(), k)

    @property
    def components(self) -> tuple[Component, ...]:
        """Return the SVI slices of the smile, with their weights."""
        if self.model == SVI:
            return (Component(1.0, self.parameters),)
        weight, *rest = self.parameters
        return Component(weight, tuple(rest[:_WIDTH])), Component(1.0 - weight, tuple(rest[_WIDTH:]))

    def terms(self, weight: float = 1.0, scale: float = 1.0) -> tuple[Term, ...]:
        """Return the components as terms of a mixture that gives this smile `weight` and multiplies its w by `scale`."""
        return tuple(Term(weight * own, parameters, scale) for own, parameters in self.components)

    def scaled(self, factor: float, lift: float = 0.0) -> "Smile":
        """Return the smile whose every component has factor * w + lift; its other fields are as they were."""
        head = self.parameters[: -_WIDTH * len(self.components)]
        parts = [(factor * a + lift, factor * b, rho, m, sigma) for _, (a, b, rho, m, sigma) in self.components]
        return replace(self, parameters=(*head, *(number for part in parts for number in part)))

    def vol_at(self, k: Numbers) -> Numbers:
        """Return the vol at log-moneyness k; 0 where an uncertified smile has negative variance."""
        return np.sqrt(np.maximum(self.total_variance(k), 0.0) / self.years)

    def vol(self, strike: Numbers) -> Numbers:
        """Return the vol at a strike (quote currency per coin)."""
        return self.vol_at(np.log(np.asarray(strike, float) / self.forward)[()])

    def density(self, strike: Numbers) -> Numbers:
        """Return the risk-neutral density of the price at expiry, per unit of strike."""
        strike = np.asarray(strike, float)
        k = np.log(strike / self.forward)
        return (svi.density_of(self.derivatives(k), k) / strike)[()]

    def density_shares(self, low: float, high: float) -> DensityShares:
        """Return how the risk-neutral probability divides over the strikes `low` to `high` and over the quoted ones."""
        k = np.log(np.array([low, high]) / self.forward)
        return metrics.density_shares(self.derivatives, float(k[0]), float(k[1]), self.quoted_k)

    @property
    def atm_vol(self) -> float:
        """Return the vol at the forward."""
        return metrics.atm_vol(self.derivatives, self.years)

    @property
    def skew(self) -> float:
        """Return dvol/dk at the forward."""
        return metrics.skew(self.derivatives, self.years)

    @property
    def curvature(self) -> float:
        """Return d2vol/dk2 at the forward."""
        return metrics.curvature(self.derivatives, self.years)

    def jump_wings(self) -> JumpWings:
        """Return the smile in SVI's jump-wings; ValueError for a model that is no single SVI slice."""
        if self.model != SVI:
            raise ValueError(f"jump-wings describe the model {SVI!r}, this smile has {self.model!r}")
        return to_jump_wings(self.parameters, self.years)

    def risk_reversal(self, delta: float = 0.25) -> float:
        """Return the vol of the `delta` call minus that of the `delta` put."""
        return metrics.risk_reversal(self.derivatives, self.years, delta)

    def butterfly(self, delta: float = 0.25) -> float:
        """Return the mean vol of the `delta` call and put, minus the vol at the forward."""
        return metrics.butterfly(self.derivatives, self.years, delta)

    def strike_at_delta(self, delta: float, right: str = "call") -> float:
        """Return the strike whose call or put has the absolute Black delta `delta`; NaN where there is none."""
        if right not in ("call", "put"):
            raise ValueError(f'right is "call" or "put", found {right!r}')
        k = metrics.k_at_delta(self.derivatives, delta, metrics.CALL if right == "call" else metrics.PUT)
        return float(self.forward * np.exp(k))
