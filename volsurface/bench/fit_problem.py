"""The quotes of a chain as every fitter of the benchmark gets them, and what a fit of them is worth.

The points are those our own fit keeps: out of the money, two-sided, cleaned, outliers dropped. So no peer is judged by quotes
it would have thrown away, and none is helped by a filter of its own.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from volsurface.engine.chain_fit import fit_chain
from volsurface.market.chain import Chain
from volsurface.surface import svi
from volsurface.surface.calibration import Slices, slices
from volsurface.surface.certificate import OK, certify
from volsurface.surface.cold_start import LEE, STEEPEST
from volsurface.surface.options import FitOptions
from volsurface.surface.slice_fit import FLOOR
from volsurface.surface.smile import Smile

Floats = NDArray[np.float64]
NEAR = np.linspace(-1.5, 1.5, 601)
FOLDS = 3
FEWEST_TO_LEAVE_OUT = 9  # a slice with fewer quotes stays whole: two thirds of it would not determine five numbers


@dataclass(frozen=True, slots=True)
class Problem:
    """One chain to fit: columns of shape (n_quotes,) by expiry, then strike; expiry i owns offsets[i] : offsets[i + 1].

    years, forward, expiry_ns: shape (n_expiries,). points: the same quotes with the weights of our objective.
    """

    chain: Chain
    expiry_ns: NDArray[np.int64]
    years: Floats
    forward: Floats
    offsets: NDArray[np.int64]
    k: Floats
    bid_vol: Floats
    ask_vol: Floats
    mid_vol: Floats
    points: Slices

    def rows(self, i: int) -> slice:
        """Return the rows of expiry i."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))

    def left_out(self, fold: int) -> NDArray[np.bool_]:
        """Return the mask of every third quote of each expiry that has enough of them."""
        out = np.zeros(self.k.size, bool)
        for i in range(self.years.size):
            rows = self.rows(i)
            if rows.stop - rows.start >= FEWEST_TO_LEAVE_OUT:
                out[rows.start + fold : rows.stop : FOLDS] = True
        return out

    def without(self, fold: int) -> "Problem":
        """Return the problem without the quotes of `left_out`, gone from its chain too (call and put of the strike)."""
        out = self.left_out(fold)
        slot = np.repeat(np.arange(self.years.size), np.diff(self.offsets))
        gone = {
            (int(self.expiry_ns[i]), round(k, 9)) for i, k in zip(slot[out].tolist(), self.k[out].tolist(), strict=True)
        }
        place = np.searchsorted(self.expiry_ns, self.chain.expiry_ns).clip(max=self.years.size - 1)
        chain_k = np.log(self.chain.strike / self.forward[place])
        stays = np.array(
            [
                (expiry, round(k, 9)) not in gone
                for expiry, k in zip(self.chain.expiry_ns.tolist(), chain_k.tolist(), strict=True)
            ]
        )
        counts = np.bincount(slot[~out], minlength=self.years.size)
        return _problem(
            self.chain.take(stays),
            self.expiry_ns,
            self.years,
            self.forward,
            np.concatenate([[0], np.cumsum(counts)]),
            *(column[~out] for column in (self.k, self.bid_vol, self.ask_vol, self.mid_vol)),
        )

    def moved(self, seed: int) -> "Problem":
        """Return the problem a moment later: all vols of an expiry 10 bp away, and 2 bp of noise, as a warm start meets it."""
        rng = np.random.default_rng(seed)
        shift = np.repeat(1e-3 * rng.standard_normal(self.years.size), np.diff(self.offsets))
        shift = np.maximum(shift + 2e-4 * rng.standard_normal(self.k.size), -0.5 * self.bid_vol)
        vols = (vol + shift for vol in (self.bid_vol, self.ask_vol, self.mid_vol))
        return _problem(self.chain, self.expiry_ns, self.years, self.forward, self.offsets, self.k, *vols)


def problem_of(chain: Chain) -> Problem | None:
    """Return the fitting problem of a chain, None when no expiry of it can be fitted."""
    fit = fit_chain(chain)
    quotes = fit.quotes
    smiles = [smile for smile in fit.surface.smiles if (quotes.used & (quotes.expiry_ns == smile.expiry_ns)).sum() >= 6]
    if not smiles:
        return None
    expiries = np.array([smile.expiry_ns for smile in smiles])
    used = quotes.used & np.isin(quotes.expiry_ns, expiries)
    counts = np.bincount(np.searchsorted(expiries, quotes.expiry_ns[used]), minlength=expiries.size)
    return _problem(
        chain,
        expiries,
        np.array([smile.years for smile in smiles]),
        np.array([smile.forward for smile in smiles]),
        np.concatenate([[0], np.cumsum(counts)]),
        quotes.k[used],
        quotes.bid_vol[used],
        quotes.ask_vol[used],
        quotes.mid_vol[used],
    )


def _problem(
    chain: Chain,
    expiry_ns: NDArray[np.int64],
    years: Floats,
    forward: Floats,
    offsets: NDArray[np.int64],
    k: Floats,
    bid_vol: Floats,
    ask_vol: Floats,
    mid_vol: Floats,
) -> Problem:
    of_quotes = np.repeat(years, np.diff(offsets))
    points = slices(offsets, k, bid_vol, ask_vol, mid_vol, of_quotes, FitOptions())
    return Problem(chain, expiry_ns, years, forward, offsets, k, bid_vol, ask_vol, mid_vol, points)


@dataclass(frozen=True, slots=True)
class Score:
    """What a fit of one problem is worth; parameters that are not numbers count as failed slices and nowhere else.

    quotes, inside: counts. rmse_bp, cost: per slice, NaN where it failed; cost is our objective. violations: on the quotes,
    on |k| <= 1.5 and everywhere, each (slices with a butterfly, pairs that cross). pairs: adjacent pairs judged. admissible:
    per slice, whether it keeps the bounds of our fit (a fit without them may cost less).
    """

    quotes: int
    inside: int
    rmse_bp: Floats
    cost: Floats
    violations: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    pairs: int
    failed: int
    admissible: NDArray[np.bool_]


def score(problem: Problem, parameters: Floats) -> Score:
    """Return the worth of raw SVI parameters of shape (n_expiries, 5)."""
    n = problem.years.size
    error, inside = fitted_errors(problem, parameters)
    weighted = problem.points.weight * (fitted_variance(problem, parameters) - problem.points.w)
    rmse, cost = np.full(n, math.nan), np.full(n, math.nan)
    good = np.all(np.isfinite(parameters), axis=1)
    for i in np.flatnonzero(good).tolist():
        rows = problem.rows(i)
        rmse[i], cost[i] = math.sqrt(np.mean(error[rows] ** 2)), 0.5 * np.sum(weighted[rows] ** 2)
    which = np.flatnonzero(good).tolist()
    on_quotes = _violations(problem, parameters, which, on_quotes=True)
    near = _violations(problem, parameters, which, on_quotes=False)
    certificate = certify([as_smile(problem, parameters, i) for i in which])
    everywhere = (
        sum(verdict.verdict != OK for verdict in certificate.butterfly),
        sum(verdict.verdict != OK for verdict in certificate.calendar),
    )
    of_good = np.repeat(good, np.diff(problem.offsets))
    return Score(
        int(of_good.sum()),
        int(inside[of_good].sum()),
        rmse,
        cost,
        (on_quotes, near, everywhere),
        max(len(which) - 1, 0),
        n - len(which),
        np.array([good[i] and within_bounds(problem, parameters, i) for i in range(n)]),
    )


def within_bounds(problem: Problem, parameters: Floats, i: int) -> bool:
    """Return whether slice i keeps the bounds of our fit: Lee's wings, |rho|, least variance, the box of m and sigma."""
    _, b, rho, m, sigma = parameters[i].tolist()
    rows, slack = problem.rows(i), 1.0 + 1e-6
    low, high = box(problem.points.k[rows])
    return (
        b >= 0.0
        and abs(rho) <= STEEPEST * slack
        and b * (1.0 + abs(rho)) <= LEE * slack
        and svi.least_variance(parameters[i]) >= FLOOR * problem.points.w[rows].min() / slack
        and sigma > 0.0
        and bool((np.array([m, math.log(sigma)]) >= low - 1e-6).all())
        and bool((np.array([m, math.log(sigma)]) <= high + 1e-6).all())
    )


def box(k: Floats) -> tuple[Floats, Floats]:
    """Return the bounds of (m, ln sigma) of our fit for quotes at k."""
    reach = max(float(np.ptp(k)), 1e-6)
    low = np.array([k.min() - 0.5 * reach, math.log(0.005 * reach)])
    return low, np.array([k.max() + 0.5 * reach, math.log(4.0 * reach)])


def fitted_variance(problem: Problem, parameters: Floats) -> Floats:
    """Return w of the fit at every quote."""
    a, b, rho, m, sigma = np.repeat(parameters, np.diff(problem.offsets), axis=0).T
    return np.asarray(svi.total_variance((a, b, rho, m, sigma), problem.k))


def fitted_errors(problem: Problem, parameters: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return for every quote the distance to the mid vol in bp, and whether the fit lies within bid and ask."""
    years = np.repeat(problem.years, np.diff(problem.offsets))
    vol = np.sqrt(np.maximum(fitted_variance(problem, parameters), 0.0) / years)
    inside = (vol >= problem.bid_vol - 1e-9) & (vol <= problem.ask_vol + 1e-9)
    return (vol - problem.mid_vol) * 1e4, inside


def as_smile(problem: Problem, parameters: Floats, i: int) -> Smile:
    """Return expiry i as a smile, for the certificate."""
    return Smile(
        expiry_ns=int(problem.expiry_ns[i]),
        years=float(problem.years[i]),
        forward=float(problem.forward[i]),
        forward_source="",
        model="svi",
        parameters=tuple(parameters[i].tolist()),
        n_quotes=0,
        n_rejected=0,
        inside_spread=0.0,
        rmse_bp=0.0,
        max_error_bp=0.0,
        state="uncertified",
        quote_time_ns=0,
        fit_time_ns=0,
        method="free",
    )


def _violations(problem: Problem, parameters: Floats, which: list[int], on_quotes: bool) -> tuple[int, int]:
    """Count slices with g < 0 (or w <= 0) and pairs with w2 < w1 at sampled strikes: what a check on a grid sees."""
    butterflies = crossings = 0
    for i in which:
        k = problem.k[problem.rows(i)] if on_quotes else NEAR
        with np.errstate(all="ignore"):
            g = svi.butterfly_function(parameters[i], k)
        butterflies += bool((g < 0.0).any() or (svi.total_variance(parameters[i], k) <= 0.0).any())
    for i, j in pairwise(which):
        k = NEAR
        if on_quotes:
            one, two = problem.k[problem.rows(i)], problem.k[problem.rows(j)]
            k = np.concatenate([one, two])
            k = k[(k >= max(one.min(), two.min())) & (k <= min(one.max(), two.max()))]
        crossings += bool((svi.total_variance(parameters[j], k) < svi.total_variance(parameters[i], k)).any())
    return butterflies, crossings
