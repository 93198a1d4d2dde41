"""Fit every coefficient of the pricing kernels and measure its error: `python scripts/fit_coefficients.py` (about a minute).

Writes `scripts/pricing_coefficients.json`; `scripts/generate_pricing.py` turns that into the kernel module. Notation as in
`volsurface/pricing/scalar.py`: a = |ln(F/K)|, s total volatility, Y the Mills ratio N(-z)/phi(z), M1(h) = 1 - h Y(h).

Rational fits are iterated linear least squares (C. K. Sanathanan and J. Koerner, 1963) with C. L. Lawson's (1961) weights,
which turn the least-squares error into one that is level. For the Mills fits only solutions with positive coefficients are
accepted: then nothing can cancel, and float64 evaluates them to a few units in the last place.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import mpmath as mp
import numpy as np
from scipy.special import erfcx

TARGET = Path(__file__).parent / "pricing_coefficients.json"
DIGITS = 120
EDGE_S = 1.69  # the certified domain ends a little before s = 1.7, where the series of D still holds
LARGEST_A = 1.7
SPLIT_D = 1.2  # strike distance, in standard deviations, where the two seeds meet
MILLS_SHIFT = "0.9"


def mills(z: mp.mpf) -> mp.mpf:
    """Return Y(z) = N(-z)/phi(z)."""
    return mp.sqrt(mp.pi / 2) * mp.exp(z * z / 2) * mp.erfc(z / mp.sqrt(2))


def mills_one(h: mp.mpf) -> mp.mpf:
    """Return M1(h) = 1 - h Y(h)."""
    return 1 - h * mills(h)


def half_line(count: int) -> list[mp.mpf]:
    """Return nodes on [0, inf) that resolve both ends: 1.5 (1+u)/(1-u), u the Chebyshev nodes."""
    nodes = [mp.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count)]
    return [mp.mpf("1.5") * (1 + u) / (1 - u) for u in nodes]


def horner(coefficients: Sequence, x):
    """Return the polynomial of ascending coefficients at x."""
    value = 0 * x
    for c in reversed(coefficients):
        value = value * x + c
    return value


def fit_half_line(function: Callable, degrees: tuple[int, int], nodes: list[mp.mpf], rounds: int = 8) -> tuple:
    """Fit p/q to a function on [0, inf) at 120 digits; returns float64 (p, q) and the error before rounding."""
    top, bottom = degrees
    values = [function(z) for z in nodes]
    weights, levels = [mp.mpf(1)] * len(nodes), [mp.mpf(1)] * len(nodes)
    best: tuple = (mp.inf, None, None)
    for _ in range(rounds):
        rows = []
        for z, f, weight, level in zip(nodes, values, weights, levels):
            row = [z**k for k in range(top + 1)] + [-f * z**k for k in range(1, bottom + 1)]
            rows.append([weight * level / f * entry for entry in row] + [weight * level])
        matrix = mp.matrix(rows)
        count = top + bottom + 1
        scale = [mp.norm(matrix[:, k]) for k in range(count)]
        design = mp.matrix([[matrix[i, k] / scale[k] for k in range(count)] for i in range(len(nodes))])
        solution = mp.lu_solve(design.T * design, design.T * matrix[:, count])
        x = [solution[k] / scale[k] for k in range(count)]
        p, q = x[: top + 1], [mp.mpf(1)] + x[top + 1 :]
        errors = [abs(horner(p, z) / (horner(q, z) * f) - 1) for z, f in zip(nodes, values)]
        worst = max(errors)
        if worst < best[0] and min(p + q) > 0:
            best = (worst, p, q)
        weights = [1 / horner(q, z) for z in nodes]
        levels = [level * mp.sqrt(e / worst + mp.mpf("0.02")) for level, e in zip(levels, errors)]
        largest = max(levels)
        levels = [level / largest for level in levels]
    return [float(c) for c in best[1]], [float(c) for c in best[2]], float(best[0])


def fit_rational(x: np.ndarray, f: np.ndarray, degrees: tuple[int, int], rounds: int = 30) -> tuple[list, list]:
    """Fit p/q to the values f at x in float64, by the same loop."""
    top, bottom = degrees
    weights, levels, best = np.ones_like(x), np.ones_like(x), (np.inf, [], [])
    for _ in range(rounds):
        powers = x[:, None] ** np.arange(max(degrees) + 1)
        design = np.hstack([powers[:, : top + 1], -f[:, None] * powers[:, 1 : bottom + 1]])
        row_weight = weights * levels / f
        solution = np.linalg.lstsq(design * row_weight[:, None], f * row_weight, rcond=None)[0]
        p, q = solution[: top + 1], np.concatenate([[1.0], solution[top + 1 :]])
        denominator = powers[:, : bottom + 1] @ q
        errors = np.abs(powers[:, : top + 1] @ p / (denominator * f) - 1.0)
        if errors.max() < best[0]:
            best = (errors.max(), p.tolist(), q.tolist())
        weights = 1.0 / denominator
        levels *= np.sqrt(errors / errors.max() + 0.02)
        levels /= levels.max()
    return best[1], best[2]


def rational_error(p: list, q: list, function: Callable, points: Sequence, shift: mp.mpf | int = 0) -> float:
    """Return the largest relative error of the float64 coefficients, evaluated exactly at `points` (before the shift)."""
    p, q = [mp.mpf(c) for c in p], [mp.mpf(c) for c in q]
    return float(max(abs(horner(p, z) / (horner(q, z) * function(z - shift)) - 1) for z in points))


def fit_mills_one() -> dict:
    """M1 on [0, inf)."""
    p, q, unrounded = fit_half_line(mills_one, (10, 12), half_line(80))
    error = rational_error(p, q, mills_one, half_line(301))
    return {
        "what": "M1(h) = 1 - h Y(h), Y the Mills ratio",
        "domain": "h in [0, infinity)",
        "numerator": p,
        "denominator": q,
        "max_rel_error": error,
        "error_before_rounding": unrounded,
    }


def fit_mills() -> dict:
    """Y on [-0.9, inf), in y = z + 0.9."""
    shift = mp.mpf(MILLS_SHIFT)
    p, q, unrounded = fit_half_line(lambda y: mills(y - shift), (11, 12), half_line(90))
    error = rational_error(p, q, mills, half_line(301), shift)
    return {
        "what": "Mills ratio Y(z) = N(-z)/phi(z) as P/Q in y = z + 0.9",
        "domain": "z in [-0.9, infinity)",
        "numerator": p,
        "denominator": q,
        "max_rel_error": error,
        "error_before_rounding": unrounded,
    }


def bachelier_ratio(d: np.ndarray) -> np.ndarray:
    """Return Bachelier's time value over the strike distance, d standard deviations away: phi(d) M1(d)/d."""
    m1 = np.array([float(mills_one(mp.mpf(z))) for z in d])
    return np.exp(-0.5 * d * d) / math.sqrt(2 * math.pi) * m1 / d


def chebyshev(low: float, high: float, count: int) -> np.ndarray:
    """Return Chebyshev nodes of an interval."""
    u = np.cos(np.pi * (2 * np.arange(count) + 1) / (2 * count))
    return low + 0.5 * (high - low) * (1.0 + u)


def near_data(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """w = delta/(b+delta) and v/(b+delta)."""
    w = 1.0 / (1.0 + bachelier_ratio(d))
    return w, w / d


def far_data(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y = sqrt(-ln(b/delta)) and d; the logarithm is taken before it underflows."""
    m1 = np.array([float(mills_one(mp.mpf(z))) for z in d])
    return np.sqrt(0.5 * d * d + 0.5 * math.log(2 * math.pi) - np.log(m1 / d)), d


def fit_seed_near() -> dict:
    """Bachelier's inverse near the money."""
    x, f = near_data(chebyshev(0.0, SPLIT_D, 1500))
    p, q = fit_rational(x, f, (5, 5))
    x, f = near_data(np.linspace(1e-9, SPLIT_D, 2001))
    error = np.abs(np.polyval(p[::-1], x) / np.polyval(q[::-1], x) / f - 1.0).max()
    split = float(bachelier_ratio(np.array([SPLIT_D]))[0])
    return {
        "what": "v/(b + delta) as P/Q in w = delta/(b + delta)",
        "domain": "d = delta/v in [0, 1.2], that is b/delta above the split",
        "split_b_over_delta": float(f"{split:.6f}"),
        "numerator": p,
        "denominator": q,
        "max_rel_error": float(error),
    }


def fit_seed_far() -> dict:
    """Bachelier's inverse away from the money."""
    p, q = fit_rational(*far_data(chebyshev(1.0, 39.0, 4000)), (6, 5))
    x, f = far_data(np.linspace(SPLIT_D, 39.0, 2001))
    error = np.abs(np.polyval(p[::-1], x) / np.polyval(q[::-1], x) / f - 1.0).max()
    return {
        "what": "d = delta/v as P/Q in y = sqrt(-ln(b/delta)); the kernel takes its reciprocal",
        "domain": "d in [1, 39]; the error is for d >= 1.2",
        "numerator": p,
        "denominator": q,
        "max_rel_error": float(error),
    }


def black_sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (a, v, s): Black's total volatility s and the total normal volatility v with the same time value."""
    s = 1.7 * rng.uniform(size=count) ** 0.7
    a = np.minimum(1.7 * rng.uniform(size=count), 30.0 * s)
    a[: count // 10] = 0.0
    h, t = a / s, 0.5 * s
    y = math.sqrt(math.pi / 2)
    log_b = np.log(y * (erfcx((h - t) / math.sqrt(2)) - erfcx((h + t) / math.sqrt(2)))) - 0.5 * (h * h + t * t)
    delta = 2.0 * np.sinh(0.5 * a)  # b and phi0 share the factor 1/sqrt(2 pi), left out on both sides
    v = s.copy()
    for _ in range(60):  # Newton on the logarithm: v M1(d) exp(-d^2/2) = b
        d = delta / v
        m1 = 1.0 - d * y * erfcx(d / math.sqrt(2))
        v *= np.exp(np.clip((log_b - np.log(v * m1) + 0.5 * d * d) * m1, -0.5, 0.5))
    return a, v, s


def fit_bachelier_to_black() -> dict:
    """The factor C between the two total volatilities: s = v (a/delta) C(a^2, v^2)."""

    def design(a: np.ndarray, v: np.ndarray) -> np.ndarray:
        u, q = a * a, v * v
        return np.stack([u**i * q**j for i in range(4) for j in range(5)], axis=1)

    def target(a: np.ndarray, v: np.ndarray, s: np.ndarray) -> np.ndarray:
        return s / v * np.where(a > 0, 2.0 * np.sinh(0.5 * a) / np.where(a > 0, a, 1.0), 1.0)

    a, v, s = black_sample(np.random.default_rng(1), 20000)
    solution = np.linalg.lstsq(design(a, v), target(a, v, s), rcond=None)[0]
    a, v, s = black_sample(np.random.default_rng(2), 20000)
    error = np.abs(design(a, v) @ solution / target(a, v, s) - 1.0).max()
    return {
        "what": "C = s/v * delta/a; row i is the polynomial in v^2 that multiplies a^(2i)",
        "domain": "a < 1.7, s < 1.7",
        "coefficients": solution.reshape(4, 5).tolist(),
        "max_rel_error": float(error),
    }


def edge_value(a: mp.mpf) -> mp.mpf:
    """Return b(a, 1.69)."""
    s = mp.mpf(str(EDGE_S))
    h, t = a / s, s / 2
    return mp.exp(-(h * h + t * t) / 2) / mp.sqrt(2 * mp.pi) * (mills(h - t) - mills(h + t))


def fit_domain_edge() -> dict:
    """The largest time value of the fast domain."""
    nodes = chebyshev(0.0, LARGEST_A, 60)
    values = np.array([float(edge_value(mp.mpf(a))) for a in nodes])
    solution = np.linalg.lstsq((nodes[:, None] ** np.arange(7)) / values[:, None], np.ones(60), rcond=None)[0]
    grid = np.linspace(0.0, LARGEST_A, 501)
    exact = np.array([float(edge_value(mp.mpf(a))) for a in grid])
    error = np.abs(np.polyval(solution[::-1], grid) / exact - 1.0).max()
    return {
        "what": "b(a, s = 1.69), time value over sqrt(FK)",
        "domain": "a in [0, 1.7]",
        "coefficients": solution.tolist(),
        "max_rel_error": float(error),
    }


def log_series(z: mp.mpf) -> mp.mpf:
    """Return 2 atanh(f)/f for z = f^2."""
    if z == 0:
        return mp.mpf(2)
    f = mp.sqrt(z)
    return mp.log((1 + f) / (1 - f)) / f


def fit_log_atanh() -> dict:
    """2 atanh(f)/f with its first coefficient exactly 2: interpolation of the rest at Chebyshev nodes."""
    # The bits of x and y differ by log2(x/y) to within max(log2(1+m) - m) = 0.0861, so |log2| of the reduced ratio < 0.5861.
    largest = mp.tanh(mp.mpf("0.5862") * mp.log(2) / 2) ** 2
    count = 8
    nodes = [largest * (1 + mp.cos(mp.pi * (2 * k + 1) / (2 * count))) / 2 for k in range(count)]
    system = mp.matrix([[z**k for k in range(count)] for z in nodes])
    solution = mp.lu_solve(system, mp.matrix([(log_series(z) - 2) / z for z in nodes]))
    coefficients = [2.0] + [float(solution[k]) for k in range(count)]
    exact = [mp.mpf(c) for c in coefficients]
    error = max(abs(horner(exact, largest * k / 1000) / log_series(largest * k / 1000) - 1) for k in range(1, 1001))
    return {
        "what": "2 atanh(f)/f in z = f^2; ln x = f * this for f = (x-1)/(x+1)",
        "domain": "|f| < 0.2004",
        "coefficients": coefficients,
        "max_rel_error": float(error),
    }


FITS: dict[str, Callable[[], dict]] = {
    "mills_m1": fit_mills_one,
    "mills_y": fit_mills,
    "seed_near": fit_seed_near,
    "seed_far": fit_seed_far,
    "seed_bachelier_to_black": fit_bachelier_to_black,
    "domain_edge": fit_domain_edge,
    "log_atanh": fit_log_atanh,
}


def main() -> None:
    """Fit all, print the errors, write the file."""
    result: dict[str, dict] = {}
    with mp.workdps(DIGITS):
        for name, fit in FITS.items():
            result[name] = fit()
            print(f"{name:26s} max relative error {result[name]['max_rel_error']:.2e}", flush=True)
    TARGET.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
