"""Black-76 at 50 digits with mpmath: the truth that float64 solvers are measured against.

All inputs are exact float64 numbers, so their rounding is charged to nobody: the vol is solved for the very price, forward,
strike and years that the solver saw.
"""

from typing import Any, NamedTuple

DIGITS = 50


class ExactGreeks(NamedTuple):
    """Black Greeks in raw units, as mpmath numbers."""

    delta: Any
    gamma: Any
    vega: Any
    theta: Any
    vanna: Any
    volga: Any


def exact_price(forward: Any, strike: Any, years: Any, vol: Any, right: float) -> Any:
    """Return the undiscounted price F N(d1) - K N(d2), or that of the put."""
    import mpmath as mp

    with mp.workdps(DIGITS + 20):
        f, k, s = mp.mpf(forward), mp.mpf(strike), mp.mpf(vol) * mp.sqrt(mp.mpf(years))
        d1 = mp.log(f / k) / s + s / 2
        return right * (f * normal(right * d1) - k * normal(right * (d1 - s)))


def normal(x: Any) -> Any:
    """Return N(x) with full relative accuracy for negative x."""
    import mpmath as mp

    return mp.erfc(-x / mp.sqrt(2)) / 2


def exact_vol(price: float, forward: float, strike: float, years: float, right: float, guess: float) -> Any:
    """Return the vol of a price strictly between intrinsic value and cap; `guess` only decides how long it takes.

    Newton with Halley's correction on ln(time value), or on ln(cap - time value) above half the cap.
    """
    import mpmath as mp

    with mp.workdps(DIGITS):
        f, k, root = mp.mpf(forward), mp.mpf(strike), mp.sqrt(mp.mpf(years))
        a, cap = abs(mp.log(f / k)), min(f, k)
        u = (mp.mpf(price) - max(mp.mpf(right) * (f - k), 0)) / cap
        s = mp.mpf(guess) * root
        ratio = mp.exp(a)  # max(F, K) / min(F, K)
        for _ in range(200):
            h, t = a / s, s / 2
            share = normal(t - h) - ratio * normal(-t - h)
            slope = mp.npdf(h - t)
            if share > mp.mpf("0.5"):
                rest = normal(h - t) + ratio * normal(-t - h)
                r, d = mp.log(rest / (1 - u)), -rest / slope
            else:
                r, d = mp.log(share / u), share / slope
            nu = -r * d
            step = nu / (1 + nu * ((h * h - t * t) / s - 1 / d) / 2)
            s = s + step if s + step > 0 else s / 2
            if abs(step) < s * mp.mpf(10) ** -17:  # cubic: the next step would be below 1e-50
                return s / root
        return mp.nan


def attainable(price: float, forward: float, strike: float, years: float, vol: Any) -> float:
    """Return eta = 2^-52 (1 + price/(s V)), V the derivative of the price by s = vol sqrt(years)."""
    import mpmath as mp

    with mp.workdps(DIGITS):
        s = vol * mp.sqrt(mp.mpf(years))
        d1 = mp.log(mp.mpf(forward) / mp.mpf(strike)) / s + s / 2
        return float((1 + mp.mpf(price) / (s * mp.mpf(forward) * mp.npdf(d1))) * mp.mpf(2) ** -52)


def exact_greeks(forward: float, strike: float, years: float, vol: Any, right: float) -> ExactGreeks:
    """Return the Greeks at a vol, which may be an mpmath number."""
    import mpmath as mp

    with mp.workdps(DIGITS):
        f, t, v = mp.mpf(forward), mp.mpf(years), mp.mpf(vol)
        root = mp.sqrt(t)
        s = v * root
        d1 = mp.log(f / mp.mpf(strike)) / s + s / 2
        d2, density = d1 - s, mp.npdf(d1)
        vega = f * density * root
        return ExactGreeks(
            delta=right * normal(right * d1),
            gamma=density / (f * s),
            vega=vega,
            theta=-f * density * v / (2 * root),
            vanna=-density * d2 / v,
            volga=vega * d1 * d2 / v,
        )


def relative_error(value: float, exact: Any) -> float:
    """Return |value/exact - 1|, infinite for NaN."""
    import mpmath as mp

    with mp.workdps(DIGITS):
        return float(abs(mp.mpf(value) / exact - 1)) if value == value else float("inf")
