"""What proofs and refits cost: the float certificate, the exact verifier, and one expiry fitted between fixed neighbours."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from volsurface.bench.fit_problem import Problem
from volsurface.engine.chain_fit import ChainFit, fit_chain, refit_expiries
from volsurface.surface import repair
from volsurface.surface.certificate import verify
from volsurface.surface.certificate_kernels import answers
from volsurface.surface.surface import Surface

REPEATS = 20
MOST_EXACT = 12  # surfaces that the exact verifier proves
MOVE = 0.006  # share by which the prices of an expiry move before it is refitted
LATER_NS = 1_000_000_000


def proof_costs(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return one row per question: `cost`, `n` (how often measured), `median` and `p95` in `unit`.

    The certificate is that of repaired surfaces, with its rounding bound; a slice comes with the pair to the one before. The
    descent of a refit is the compiled part of all its attempts together; a refit that needed its neighbours is left out.
    """
    fits = [(problem, fit_chain(problem.chain)) for problem in problems]
    fits = [(problem, fit) for problem, fit in fits if fit.surface.state == "certified"]
    surfaces = [fit.surface for _, fit in fits]
    certified = [1e6 * _certificate_s(surface) for surface in surfaces]
    exact = [_verify_s(surface) for surface in surfaces[:: len(surfaces) // MOST_EXACT + 1]]
    descents, refits = _refits(fits)
    return [
        _row("certificate, a slice", "us", [us / len(s.smiles) for us, s in zip(certified, surfaces, strict=True)]),
        _row("certificate, a surface", "us", certified),
        _row("exact verifier, a surface", "s", exact),
        _row("one expiry refitted, descent", "us", descents),
        _row("one expiry refitted, refit_expiries", "us", refits),
    ]


def _certificate_s(surface: Surface) -> float:
    parameters = np.array([smile.parameters for smile in surface.smiles])
    answer, where = np.empty((2, len(parameters)), np.int64), np.empty((2, len(parameters)))
    return min(_timed(lambda: answers(parameters, answer, where)) for _ in range(REPEATS))


def _verify_s(surface: Surface) -> float:
    return _timed(lambda: verify(surface))


def _refits(fits: list[tuple[Problem, ChainFit]]) -> tuple[list[float], list[float]]:
    """Return microseconds of the compiled descent and of the whole refit, for two expiries of each surface."""
    rng = np.random.default_rng(1)
    descents: list[float] = []
    refits: list[float] = []
    compiled, spent = repair.descend_together, [0.0]

    def watched(*arguments: Any) -> Any:
        start = time.perf_counter()
        out = compiled(*arguments)
        spent[0] += time.perf_counter() - start
        return out

    repair.descend_together = watched
    try:
        for problem, fit in fits:
            for smile in rng.choice(
                np.array(fit.surface.smiles, object), min(2, len(fit.surface.smiles)), replace=False
            ):
                chain = problem.chain.take(problem.chain.expiry_ns == smile.expiry_ns)
                factor = 1.0 + MOVE * float(rng.choice([-1.0, 1.0]))
                prices = {name: getattr(chain, name) * factor for name in ("bid", "ask", "mark")}
                later = replace(chain, time_ns=chain.time_ns + LATER_NS, **prices)
                spent[0] = 0.0
                start = time.perf_counter()
                found = refit_expiries(later, fit, [smile.expiry_ns])
                if found is not None:
                    refits.append(1e6 * (time.perf_counter() - start))
                    descents.append(1e6 * spent[0])
    finally:
        repair.descend_together = compiled
    return descents, refits


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _row(cost: str, unit: str, values: list[float]) -> dict[str, Any]:
    median, p95 = (float(np.percentile(values, q)) if values else None for q in (50, 95))
    return {"cost": cost, "unit": unit, "n": len(values), "median": median, "p95": p95}
