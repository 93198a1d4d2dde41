"""Other people's implied-vol solvers behind one call, each imported only when it is measured.

A solver takes columns (price, forward, strike, years, right) and returns vols. Libraries that solve one option per call are
looped over in Python, as their user would; a call that raises is a NaN.
"""

import importlib
import math
import sys
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Solver = Callable[..., NDArray[np.float64]]


class Peer(NamedTuple):
    """A library, how its solver is made (ImportError: not installed), and whether it is looped over in Python."""

    name: str
    package: str
    load: Callable[[], Solver]
    looped: bool


def looped(one: Callable[[float, float, float, float, float], float]) -> Solver:
    """Return the solver that calls `one` for each option."""

    def solve(*columns: NDArray[np.float64]) -> NDArray[np.float64]:
        vols = np.full(columns[0].size, math.nan)
        for i, arguments in enumerate(zip(*(column.tolist() for column in columns))):
            try:
                vols[i] = one(*arguments)
            except Exception:  # whatever a foreign library raises for a price it cannot invert
                continue
        return vols

    return solve


def py_lets_be_rational() -> Solver:
    """P. Jaeckel's method, translated to Python."""
    module = importlib.import_module("py_lets_be_rational")
    invert = module.implied_volatility_from_a_transformed_rational_guess
    return looped(lambda price, forward, strike, years, right: invert(price, forward, strike, years, right))


def vollib() -> Solver:
    """The same behind vollib's front door."""
    invert = importlib.import_module("vollib.black.implied_volatility").implied_volatility
    return looped(
        lambda price, forward, strike, years, right: invert(
            price, forward, strike, 0.0, years, "c" if right > 0 else "p"
        )
    )


def quantlib(name: str) -> Callable[[], Solver]:
    """One of QuantLib's two, at an accuracy of 1e-12."""

    def load() -> Solver:
        ql = importlib.import_module("QuantLib")
        kinds = {1.0: ql.Option.Call, -1.0: ql.Option.Put}
        function, guess = getattr(ql, name), ql.nullDouble()
        omega = (1.0,) if name.endswith("LiRS") else ()

        def one(price: float, forward: float, strike: float, years: float, right: float) -> float:
            s = function(kinds[right], strike, forward, price, 1.0, 0.0, guess, *omega, 1e-12, 100)
            return float(s / math.sqrt(years))

        return looped(one)

    return load


def pyfeng() -> Solver:
    """Newton's method in log price, on arrays (GPL: a benchmark, never a dependency)."""
    model = importlib.import_module("pyfeng").Bsm(0.5)
    return lambda price, forward, strike, years, right: np.asarray(
        model.impvol(price, strike, forward, years, cp=right.astype(int))
    )


def py_vollib_vectorized() -> Solver:
    """py_lets_be_rational compiled with Numba; needs a py_lets_be_rational that Numba can compile (1.0.1)."""
    invert = importlib.import_module("py_vollib_vectorized").vectorized_implied_volatility_black

    def solve(
        price: NDArray[np.float64],
        forward: NDArray[np.float64],
        strike: NDArray[np.float64],
        years: NDArray[np.float64],
        right: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        flags = np.where(right > 0, "c", "p")
        return np.asarray(invert(price, forward, strike, 0.0, years, flags, on_error="ignore", return_as="numpy"))

    try:
        solve(*(np.array([x]) for x in (13.0, 100.0, 110.0, 0.5, 1.0)))
    except Exception as error:  # numba.TypingError with the split packages of today
        raise ImportError(f"it does not compile beside the py_lets_be_rational here: {type(error).__name__}") from error
    return solve


def black_and_vega(
    s: NDArray[np.float64], x: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return price and its derivative by s, both over sqrt(FK)."""
    special = importlib.import_module("scipy.special")
    d1 = x / s + 0.5 * s
    price = right * (np.exp(0.5 * x) * special.ndtr(right * d1) - np.exp(-0.5 * x) * special.ndtr(right * (d1 - s)))
    return price, np.exp(0.5 * x - 0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)


def scipy_newton() -> Solver:
    """scipy.optimize.newton on arrays, from the inflection of the price, or near the money from its slope there."""
    newton = importlib.import_module("scipy.optimize").newton

    def solve(
        price: NDArray[np.float64],
        forward: NDArray[np.float64],
        strike: NDArray[np.float64],
        years: NDArray[np.float64],
        right: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        x, b = np.log(forward / strike), price / np.sqrt(forward * strike)
        start = np.maximum(np.sqrt(2.0 * np.abs(x)), 0.1)
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            try:
                s = newton(
                    lambda s: black_and_vega(s, x, right)[0] - b,
                    start,
                    fprime=lambda s: black_and_vega(s, x, right)[1],
                    tol=1e-10,
                    maxiter=60,
                )
            except RuntimeError:
                return np.full(price.size, math.nan)
        return np.asarray(s / np.sqrt(years))

    return solve


def scipy_brentq() -> Solver:
    """scipy.optimize.brentq, one option after the other."""
    brentq = importlib.import_module("scipy.optimize").brentq

    def one(price: float, forward: float, strike: float, years: float, right: float) -> float:
        x, half = math.log(forward / strike), math.sqrt(0.5)
        up, down = math.exp(0.5 * x), math.exp(-0.5 * x)
        b = price / math.sqrt(forward * strike)

        def excess(s: float) -> float:
            d1 = x / s + 0.5 * s
            n1, n2 = 0.5 * math.erfc(-right * d1 * half), 0.5 * math.erfc(-right * (d1 - s) * half)
            return right * (up * n1 - down * n2) - b

        return float(brentq(excess, 1e-6, 30.0, xtol=1e-14, rtol=1e-14)) / math.sqrt(years)

    return looped(one)


PEERS = (
    Peer("pyfeng", "pyfeng", pyfeng, False),
    Peer("py_vollib_vectorized", "py_vollib_vectorized", py_vollib_vectorized, False),
    Peer("scipy newton", "scipy", scipy_newton, False),
    Peer("QuantLib LiRS, 1e-12", "QuantLib", quantlib("blackFormulaImpliedStdDevLiRS"), True),
    Peer("QuantLib ImpliedStdDev, 1e-12", "QuantLib", quantlib("blackFormulaImpliedStdDev"), True),
    Peer("py_lets_be_rational", "py_lets_be_rational", py_lets_be_rational, True),
    Peer("scipy brentq", "scipy", scipy_brentq, True),
    Peer("vollib", "vollib", vollib, True),
)


def version_of(package: str) -> str:
    """Return the installed version of a package, or nothing."""
    metadata = importlib.import_module("importlib.metadata")
    for name in (package, package.replace("_", "-")):
        try:
            return str(metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return ""


def interpreter() -> str:
    """Return the versions a reader needs to repeat a table."""
    return f"Python {sys.version.split()[0]}, numpy {np.__version__}, numba {version_of('numba')}"
