"""How near are the two ways to interpolate in expiry to quotes they have not seen: each inner expiry from its neighbours."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from volsurface.bench.fit_peers import free_fit
from volsurface.bench.fit_problem import Problem, as_smile
from volsurface.surface import interpolation, price_mixing
from volsurface.surface.region import LINEAR_VARIANCE, PRICE_MIXING


def between_expiries(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return a row per method: expiries predicted, median RMSE to the mid vols (bp), share of quotes inside bid-ask.

    Where a neighbour's free fit leaves no price to read a vol from, the expiry is left out for both methods.
    """
    errors: dict[str, list[float]] = {PRICE_MIXING: [], LINEAR_VARIANCE: []}
    inside, quotes = dict.fromkeys(errors, 0), 0
    for problem in problems:
        parameters = free_fit(problem)
        for i in range(1, problem.years.size - 1):
            one, two = as_smile(problem, parameters, i - 1), as_smile(problem, parameters, i + 1)
            rows, years = problem.rows(i), float(problem.years[i])
            k = problem.k[rows]
            found = {
                PRICE_MIXING: price_mixing.mix(one, two, years).total_variance(k),
                LINEAR_VARIANCE: interpolation.locate((one, two), years).total_variance(k),
            }
            vols = {method: np.sqrt(np.maximum(w, 0.0) / years) for method, w in found.items()}
            if not all(np.isfinite(vol).all() for vol in vols.values()):
                continue
            quotes += k.size
            for method, vol in vols.items():
                errors[method].append(math.sqrt(np.mean((vol - problem.mid_vol[rows]) ** 2)) * 1e4)
                inside[method] += int(((vol >= problem.bid_vol[rows]) & (vol <= problem.ask_vol[rows])).sum())
    return [
        {
            "between": method,
            "expiries": len(found),
            "rmse_bp": float(np.median(found)) if found else None,
            "inside": inside[method] / quotes if quotes else None,
        }
        for method, found in errors.items()
    ]
