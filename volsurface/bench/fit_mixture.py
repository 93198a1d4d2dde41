"""What does a certified mixture gain over certified SVI, on strikes it has not seen, and what does it cost to keep?

Each surface is fitted whole (in-sample) and three times without a third of its strikes, which are then asked for (held out):
free SVI, certified SVI and the mixture get the same quotes. Then the middles are moved by noise of a fifth of the half-spread and
all are refitted warm. Dates on which constants of the mixture were chosen are left out of every row.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from volsurface.bench.fit_problem import FOLDS, Floats, Problem
from volsurface.surface.calibration import Slices, calibrate
from volsurface.surface.mixture_fit import FEWEST, MixtureFit, MixtureProblem, finished, search
from volsurface.surface.options import FitOptions
from volsurface.surface.repair import is_certified, repair
from volsurface.surface.svi import total_variance

PLAIN = FitOptions(robust=False)  # the quotes are cleaned already
NOISE, DRAWS = 0.2, 3
WARM_ROUNDS = 1  # as the engine's
METHODS = ("free SVI", "certified SVI", "certified mixture")
# Splits, pull and rounds of the mixture were chosen on these.
TUNED = (
    ("2026-01-05", "2026-01-12"), ("2026-01-19", "2026-01-26"), ("2026-02-02", "2026-02-05T05:00"),
    ("2026-02-16", "2026-02-23"), ("2026-05-25", "2026-06-01"),
)  # fmt: skip
CRASH = ("2026-02-05T05:00", "2026-02-09")


@dataclass
class _Tally:
    """Counts by method: quotes asked for, inside bid and ask, squared error in bp."""

    quotes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(METHODS, 0))
    inside: dict[str, int] = field(default_factory=lambda: dict.fromkeys(METHODS, 0))
    squared: dict[str, float] = field(default_factory=lambda: dict.fromkeys(METHODS, 0.0))

    def add(self, problem: Problem, fits: dict[str, Floats], rows: np.ndarray) -> None:
        """Count these quotes; fits: w at every quote of the problem."""
        years = np.repeat(problem.years, np.diff(problem.offsets))
        for method, w in fits.items():
            vol = np.sqrt(np.maximum(w, 0.0) / years)
            inside = (vol >= problem.bid_vol - 1e-9) & (vol <= problem.ask_vol + 1e-9)
            self.quotes[method] += int(rows.sum())
            self.inside[method] += int(inside[rows].sum())
            self.squared[method] += float(np.sum(((vol - problem.mid_vol)[rows] * 1e4) ** 2))

    def row(self, name: str, surfaces: int) -> dict[str, Any]:
        """Return {"mixture": name, "surfaces", method: {"inside", "rmse_bp"}}."""
        figures = {
            method: {"inside": self.inside[method] / n, "rmse_bp": math.sqrt(self.squared[method] / n)}
            for method in METHODS
            if (n := self.quotes[method])
        }
        return {"mixture": name, "surfaces": surfaces, "quotes": self.quotes[METHODS[0]], **figures}


@dataclass
class _Costs:
    """Of searches and warm refits; moves: squared change of vol in bp at each quote, SVI's and the mixture's."""

    search_ms: list[float] = field(default_factory=list)
    warm_ms: list[float] = field(default_factory=list)
    at_once: list[bool] = field(default_factory=list)
    moves: list[list[float]] = field(default_factory=lambda: [[], []])


def mixture_rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return the rows of `_Tally.row` for all surfaces, by coin and for the crash week, then the costs and the stability."""
    tallies: dict[str, tuple[_Tally, _Tally, list[int]]] = {}
    costs = _Costs()
    unfitted = uncertified = 0
    for number, problem in enumerate(problem for problem in problems if not _within(problem, TUNED)):
        groups = ["all", problem.chain.underlying]
        groups += [f"crash week, {problem.chain.underlying}"] if _within(problem, [CRASH]) else []
        everything = np.ones(problem.k.size, bool)
        fits = _fits(problem, everything, costs)
        if fits is None:
            unfitted += 1
            continue
        whole, svi, mixed = fits
        uncertified += 0 if mixed is None else sum(not is_certified(part) for part in mixed.components)
        _disturb(problem, svi, mixed, np.random.default_rng(number), costs)
        folds = []
        for fold in range(FOLDS):
            out = problem.left_out(fold)
            partial = _fits(problem, ~out, _Costs())
            if partial is None:
                break
            folds.append((partial[0], out))
        if len(folds) < FOLDS:
            unfitted += 1
            continue
        for group in groups:
            inner, held, count = tallies.setdefault(group, (_Tally(), _Tally(), []))
            inner.add(problem, whole, everything)
            for partial_fits, out in folds:
                held.add(problem, partial_fits, out)
            count.append(number)
    rows = []
    for group, (inner, held, count) in tallies.items():
        rows += [inner.row(f"in-sample, {group}", len(count)), held.row(f"held out, {group}", len(count))]
    rms = [float(np.sqrt(np.mean(moves))) if moves else None for moves in costs.moves]
    return [
        *rows,
        {"mixture": "surfaces without a certified fit of all folds", "n": unfitted},
        {"mixture": "components not certified", "n": uncertified},
        _cost("search, CPU", costs.search_ms),
        _cost("warm refit of a surface, CPU", costs.warm_ms),
        {"mixture": "share of warm refits certified at once", "n": len(costs.at_once), "share": _mean(costs.at_once)},
        {"mixture": "rms move under noise, certified SVI", "n": len(costs.moves[0]), "bp": rms[0]},
        {"mixture": "rms move under noise, mixture", "n": len(costs.moves[1]), "bp": rms[1]},
    ]


def sentence(row: dict[str, Any]) -> str:
    """Return a row of `mixture_rows` in words."""
    if "free SVI" in row:
        parts = [f"{name} {100 * row[name]['inside']:.2f} % / {row[name]['rmse_bp']:.0f} bp" for name in METHODS]
        return (
            f"{row['mixture']}, inside / RMSE: {', '.join(parts)} ({row['surfaces']} surfaces, {row['quotes']} quotes)"
        )
    if row.get("ms_median") is not None:
        return f"{row['mixture']}: {row['ms_median']:.1f} ms median, {row['ms_p95']:.1f} p95 ({row['n']} measured)"
    if row.get("share") is not None:
        return f"{row['mixture']}: {100 * row['share']:.1f} % of {row['n']}"
    if row.get("bp") is not None:
        return f"{row['mixture']}: {row['bp']:.2f} bp"
    return f"{row['mixture']}: {row['n']}"


def _within(problem: Problem, spans: Iterable[tuple[str, str]]) -> bool:
    at = problem.chain.time_ns / 1e9
    return any(
        datetime.fromisoformat(a).replace(tzinfo=UTC).timestamp()
        <= at
        < datetime.fromisoformat(b).replace(tzinfo=UTC).timestamp()
        for a, b in spans
    )


def _fits(
    problem: Problem, kept: np.ndarray, costs: _Costs
) -> tuple[dict[str, Floats], tuple[Floats, Floats], MixtureFit | None] | None:
    """Return w at every quote by method from the quotes `kept`, (free, certified) SVI, the mixture (None: SVI stays)."""
    points = _part(problem, kept)
    free = calibrate(points, PLAIN).parameters
    used = np.ones(points.k.size, bool)
    repaired = repair(points, used, free.copy()) if np.isfinite(free).all() else None
    if repaired is None:
        return None
    certified = repaired.parameters
    of = MixtureProblem(points, used, certified, np.diff(points.offsets) >= FEWEST)
    start = time.process_time()
    mixed = finished(search(of))
    costs.search_ms.append(1e3 * (time.process_time() - start))
    if mixed is not None and not mixed.cost < of.cost(np.stack([certified, certified])):
        mixed = None
    everywhere = MixtureProblem(problem.points, np.ones(problem.k.size, bool), certified, of.free)
    fits = {METHODS[0]: _variance(problem, free), METHODS[1]: _variance(problem, certified)}
    fits[METHODS[2]] = fits[METHODS[1]] if mixed is None else everywhere.variance(mixed.components)
    return fits, (free, certified), mixed


def _part(problem: Problem, kept: np.ndarray) -> Slices:
    counts = np.add.reduceat(kept, problem.offsets[:-1])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Slices(offsets, *(np.ascontiguousarray(column[kept]) for column in problem.points[1:]))


def _variance(problem: Problem, parameters: Floats) -> Floats:
    a, b, rho, m, sigma = np.repeat(parameters, np.diff(problem.offsets), axis=0).T
    return np.asarray(total_variance((a, b, rho, m, sigma), problem.k))


def _disturb(
    problem: Problem, svi: tuple[Floats, Floats], mixed: MixtureFit | None, rng: np.random.Generator, costs: _Costs
) -> None:
    """Refit both warm after noise; where SVI stays there is no mixture to keep."""
    if mixed is None:
        return
    points, used = problem.points, np.ones(problem.k.size, bool)
    years = np.repeat(problem.years, np.diff(problem.offsets))
    half = 0.5 * (problem.ask_vol - problem.bid_vol)
    base = MixtureProblem(points, used, svi[1], np.diff(points.offsets) >= FEWEST)
    before = [_variance(problem, svi[1]), base.variance(mixed.components)]
    for _ in range(DRAWS):
        vol = np.maximum(problem.mid_vol + NOISE * half * rng.standard_normal(half.size), 0.5 * problem.mid_vol)
        moved = points._replace(w=vol * vol * years)
        free = calibrate(moved, PLAIN, svi[0]).parameters
        repaired = repair(moved, used, free.copy(), warm=svi[1])
        if repaired is None:
            continue
        start = time.process_time()
        of = MixtureProblem(moved, used, repaired.parameters, base.free)
        warm = finished(of.rounds(mixed.components, WARM_ROUNDS))
        costs.warm_ms.append(1e3 * (time.process_time() - start))
        costs.at_once.append(warm.components is not mixed.components)
        for moves, then, now in zip(
            costs.moves, before, (_variance(problem, repaired.parameters), of.variance(warm.components)), strict=True
        ):
            moves += ((np.sqrt(now / years) - np.sqrt(then / years)) ** 2 * 1e8).tolist()


def _cost(name: str, ms: list[float]) -> dict[str, Any]:
    median, p95 = (float(np.percentile(ms, q)) if ms else None for q in (50, 95))
    return {"mixture": name, "n": len(ms), "ms_median": median, "ms_p95": p95}


def _mean(values: list[bool]) -> float | None:
    return sum(values) / len(values) if values else None
