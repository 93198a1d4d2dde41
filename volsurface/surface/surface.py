"""A surface: the smiles of one underlying at one instant with their certificate; what is published, stored and drawn."""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from volsurface.surface import interpolation, metrics, price_mixing
from volsurface.surface.certificate import Certificate, certify
from volsurface.surface.instants import NS_PER_S, Instant, from_iso, instant_ns, to_iso
from volsurface.surface.metrics import TenorMetrics
from volsurface.surface.region import METHODS, PRICE_MIXING, Region
from volsurface.surface.smile import PARAMETER_NAMES, STATES, Smile
from volsurface.surface.svi import Numbers

YEAR_NS = 365 * 86400 * NS_PER_S


@dataclass(frozen=True)
class Surface:
    """All smiles of `underlying` valued at `valuation_time_ns` (market time), nearest expiry first.

    state: "certified" when the certificate is ok; "stale", "fallback" and "failed" otherwise. state_reason: in words, why
    it is not "certified", or which expiry is left out of it because no surface near its quotes and the others' is. Two surfaces are equal when every field is.
    """

    underlying: str
    valuation_time_ns: int
    smiles: tuple[Smile, ...]
    certificate: Certificate
    state: str
    state_reason: str = ""

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 (hex) over what was decided from the market, for "same result" comparisons.

        In order: underlying, valuation time; per smile expiry, quote time, years, forward, its source, model, state and
        parameters; then the verdict words. Text is UTF-8 ended by a zero byte, times are little-endian int64, numbers
        little-endian float64 (so also -0.0 differs from 0.0). No wall-clock time, duration or quality number is in it.
        """
        digest = hashlib.sha256(_text(self.underlying) + struct.pack("<qq", self.valuation_time_ns, len(self.smiles)))
        for smile in self.smiles:
            digest.update(struct.pack("<qq2d", smile.expiry_ns, smile.quote_time_ns, smile.years, smile.forward))
            digest.update(_text(smile.forward_source) + _text(smile.model) + _text(smile.state))
            digest.update(struct.pack(f"<{len(smile.parameters)}d", *smile.parameters))
        for verdict in (*self.certificate.butterfly, *self.certificate.calendar):
            digest.update(_text(verdict.verdict))
        return digest.hexdigest()

    def smile(self, expiry: Instant) -> Smile | None:
        """Return the smile of an expiry (nanoseconds, datetime or ISO text; UTC), or None."""
        expiry_ns = instant_ns(expiry)
        return next((smile for smile in self.smiles if smile.expiry_ns == expiry_ns), None)

    def years(self, expiry: Instant) -> float:
        """Return the ACT/365 years from the valuation time to an instant."""
        return (instant_ns(expiry) - self.valuation_time_ns) / YEAR_NS

    def vol(self, strike: Numbers, expiry: Instant, method: str = PRICE_MIXING) -> Numbers:
        """Return the vol at a strike for an instant of expiry (nanoseconds, datetime or ISO text; UTC).

        At a fitted expiry it is that smile's vol; elsewhere that of `total_variance` around a forward interpolated in its
        logarithm. `region` says what stands behind the answer. Raises ValueError for an instant not after the valuation
        time.
        """
        smile = self.smile(expiry)
        if smile is not None:
            return smile.vol(strike)
        years = self.years(expiry)
        k = self._log_moneyness(strike, years)
        return np.sqrt(np.maximum(self.total_variance(k, years, method), 0.0) / years)

    def total_variance(self, k: Numbers, years: float, method: str = PRICE_MIXING) -> Numbers:
        """Return w at log-moneyness k for a time in years, at, between and beyond the expiries.

        method: between two expiries, "price_mixing" (proved free of arbitrage when the surface is certified; see that
        module) or "linear_variance" (for display: quick, smooth, proved in time only). At and beyond the expiries they are
        the same.
        """
        if method not in METHODS:
            raise ValueError(f"method is one of {', '.join(METHODS)}, found {method!r}")
        place = interpolation.locate(self.smiles, years)
        if method == PRICE_MIXING and place.region == interpolation.BETWEEN_NODES:
            return price_mixing.mix(place.first, place.second, years).total_variance(k)
        return place.total_variance(k)

    def region(self, strike: Numbers, expiry: Instant, method: str = PRICE_MIXING) -> Region:
        """Return what stands behind `vol` at the same arguments: quotes, extrapolation, proof."""
        smile = self.smile(expiry)
        years = self.years(expiry) if smile is None else smile.years
        place = interpolation.locate(self.smiles, years)
        k = self._log_moneyness(strike, years)
        quoted = [each.quoted_k or (np.nan, np.nan) for each in (place.first, place.second)]
        within = (k >= max(low for low, _ in quoted)) & (k <= min(high for _, high in quoted))
        beyond = (k < max(low for low, _ in quoted)) | (k > min(high for _, high in quoted))
        between = place.region == interpolation.BETWEEN_NODES
        outside_time = place.region == interpolation.EXTRAPOLATED_TIME
        proved = self.certificate.ok and (method == PRICE_MIXING or not between)
        if proved and place.lift > 0.0:
            proved = certify([place.moved]).ok
        return Region(within & (not outside_time), between, beyond, outside_time, proved)

    def forward_vol(self, start: Instant, end: Instant, k: float = 0.0, method: str = PRICE_MIXING) -> float:
        """Return the vol between two instants at fixed log-moneyness k; NaN where w falls between them.

        `start` may be the valuation time itself: then it is the vol to `end`.
        """
        early, late = self.years(start), self.years(end)
        early_w = float(self.total_variance(k, early, method)) if early > 0.0 else 0.0
        return metrics.forward_vol(early_w, float(self.total_variance(k, late, method)), early, late)

    def _log_moneyness(self, strike: Numbers, years: float) -> Numbers:
        return np.log(np.asarray(strike, float) / interpolation.forward_at(self.smiles, years))[()]

    def constant_tenor(self, days: float) -> TenorMetrics:
        """Return ATM vol, skew, curvature, risk reversals and butterflies at a fixed number of days.

        Between expiries in linear total variance at fixed k, the market's convention for constant tenors.
        """
        place = interpolation.locate(self.smiles, days / 365.0)
        return metrics.tenor_metrics(place.derivatives, days / 365.0, place.region)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times as ISO text, floats as they are (repr writes them round-trip exact)."""
        return {
            "underlying": self.underlying,
            "valuation_time": to_iso(self.valuation_time_ns),
            "state": self.state,
            "state_reason": self.state_reason,
            "smiles": [_smile_to_dict(smile) for smile in self.smiles],
            "certificate": self.certificate.to_dict(),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "Surface":
        """Return the surface that `to_dict` has written, equal to it in every bit; other keys are not looked at.

        Raises ValueError, KeyError or TypeError, saying what was found, when it is not such a record.
        """
        return Surface(
            underlying=str(fields["underlying"]),
            valuation_time_ns=from_iso(fields["valuation_time"]),
            smiles=tuple(_smile_from_dict(smile) for smile in fields["smiles"]),
            certificate=Certificate.from_dict(fields["certificate"]),
            state=_state(fields["state"]),
            state_reason=str(fields.get("state_reason", "")),  # records of before it existed have none
        )


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _smile_to_dict(smile: Smile) -> dict[str, Any]:
    return {
        "expiry": to_iso(smile.expiry_ns),
        "years": smile.years,
        "forward": smile.forward,
        "forward_source": smile.forward_source,
        "model": smile.model,
        smile.model: dict(zip(PARAMETER_NAMES[smile.model], smile.parameters, strict=True)),
        "n_quotes": smile.n_quotes,
        "n_rejected": smile.n_rejected,
        "inside_spread": smile.inside_spread,
        "rmse_bp": smile.rmse_bp,
        "max_error_bp": smile.max_error_bp,
        "state": smile.state,
        "quote_time": to_iso(smile.quote_time_ns),
        "fit_time": to_iso(smile.fit_time_ns),
        "method": smile.method,
        "quoted_k": None if smile.quoted_k is None else list(smile.quoted_k),
    }


def _smile_from_dict(fields: Mapping[str, Any]) -> Smile:
    model = fields["model"]
    if model not in PARAMETER_NAMES:
        raise ValueError(f"unknown smile model {model!r}; known: {', '.join(PARAMETER_NAMES)}")
    return Smile(
        expiry_ns=from_iso(fields["expiry"]),
        years=_number(fields, "years"),
        forward=_number(fields, "forward"),
        forward_source=fields["forward_source"],
        model=model,
        parameters=tuple(_number(fields[model], name) for name in PARAMETER_NAMES[model]),
        n_quotes=int(fields["n_quotes"]),
        n_rejected=int(fields["n_rejected"]),
        inside_spread=_number(fields, "inside_spread"),
        rmse_bp=_number(fields, "rmse_bp"),
        max_error_bp=_number(fields, "max_error_bp"),
        state=_state(fields["state"]),
        quote_time_ns=from_iso(fields["quote_time"]),
        fit_time_ns=from_iso(fields["fit_time"]),
        method=fields["method"],
        quoted_k=_quoted_k(fields.get("quoted_k")),
    )


def _quoted_k(ends: Any) -> tuple[float, float] | None:
    if ends is None:
        return None
    low, high = (_number({"quoted_k": end}, "quoted_k") for end in ends)
    return low, high


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, found {value!r}")
    return float(value)


def _state(word: str) -> str:
    if word not in STATES:
        raise ValueError(f"unknown state {word!r}; known: {', '.join(STATES)}")
    return word
