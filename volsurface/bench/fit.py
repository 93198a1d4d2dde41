"""How near, how fast and how free of arbitrage are fitted surfaces, ours and other people's, on the same chains?

Every fitter gets the same cleaned quotes. Columns: milliseconds a surface (median, p95; cold), share of quotes with the fit
inside bid and ask, RMSE to the mid vol of the median slice, then violations (slices with a butterfly / pairs that cross) as
three checks see them: at the quotes, on a grid of |k| <= 1.5, and everywhere, which is a proof either way. In-sample, but
for "left out": each third of the strikes predicted by a fit without it, over the in-sample error (median of slices).
"""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from volsurface.bench.fit_between import between_expiries
from volsurface.bench.fit_mixture import mixture_rows, sentence
from volsurface.bench.fit_peers import PEERS, Fitter, Peer
from volsurface.bench.fit_problem import FOLDS, Floats, Problem, fitted_errors, problem_of, score
from volsurface.bench.fit_proof import proof_costs
from volsurface.bench.iv_peers import interpreter, version_of
from volsurface.engine.warm import compile_kernels
from volsurface.errors import ChainFileError
from volsurface.io.chain_files import read_chains
from volsurface.market.chain import Chain
from volsurface.simulator.chain import simulated_chain

QUICK_S = 0.02  # a fit is repeated for this long and its best time taken; a slower one is timed once
SMOKE_SURFACES = 2
SIMULATED_SEEDS = range(1, 6)
ENDINGS = (".parquet", ".csv", ".csv.gz", ".json", ".json.gz")


@dataclass
class Tally:
    """What has been measured of one peer so far."""

    name: str
    milliseconds: list[float] = field(default_factory=list)
    warm_us: list[float] = field(default_factory=list)
    slice_us: list[float] = field(default_factory=list)
    quotes: int = 0
    inside: int = 0
    slices: int = 0
    pairs: int = 0
    failed: int = 0
    rmse_bp: list[float] = field(default_factory=list)
    costs: dict[tuple[int, int], float] = field(default_factory=dict)
    admissible: set[tuple[int, int]] = field(default_factory=set)
    violations: Any = field(default_factory=lambda: np.zeros((3, 2), int))
    left_out: list[tuple[float, float, float]] = field(default_factory=list)
    surfaces_with_violation: int = 0


def main(
    chains: Path | None = None, every: int = 1, smoke: bool = False, as_json: bool = False, only_mixture: bool = False
) -> int:
    """Print the table, what was skipped and how it was measured, or the rows as JSON."""
    console = Console(stderr=as_json, width=None if Console().is_terminal else 170)
    compile_kernels()
    chosen = list(chosen_chains(chains, every, lambda text: Console(stderr=True).print(text, highlight=False)))
    if smoke:
        chosen = chosen[:SMOKE_SURFACES]
    problems = [problem for chain in chosen if (problem := problem_of(chain))]
    rows = [] if only_mixture else _without_mixture(problems, smoke, console)
    rows += mixture_rows(problems[:1] if smoke else problems)
    if as_json:
        print(json.dumps(rows))
        return 0
    source = f"{chains}, every {every}" if chains else "simulated chains (--chains DIR for recorded ones)"
    title = f"{len(chosen)} chains: {source}; {interpreter()}; violations: butterfly / calendar"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    names = (
        "fitter", "surfaces", "ms", "p95", "us/slice cold", "warm", "inside %", "RMSE bp", "left out", "objective",
        "on quotes", "|k|<=1.5", "everywhere", "failed",
    )  # fmt: skip
    for name in names:
        table.add_column(name, justify="left" if name == "fitter" else "right", no_wrap=True)
    for row in rows:
        if "fitter" in row and "surfaces" in row:
            table.add_row(*_cells(row))
    if not only_mixture:
        console.print(table)
    for row in rows:
        if "mixture" in row:
            console.print(sentence(row), highlight=False)
        elif "skipped" in row:
            console.print(f"{row['fitter']} is skipped: {row['skipped']}")
        elif row.get("expiries"):
            console.print(
                f"an expiry predicted from its two neighbours by {row['between']}: {row['rmse_bp']:.0f} bp, "
                f"{100 * row['inside']:.0f} % inside ({row['expiries']} expiries)"
            )
        elif row.get("n"):
            console.print(
                f"{row['cost']}: {row['median']:.3g} {row['unit']} median, {row['p95']:.3g} p95 ({row['n']} measured)"
            )
    console.print(
        "objective: cost over scipy LM's, median of the slices where LM keeps our bounds, and the share of them within 1 % "
        "of it or below. left out: error on left-out strikes over the in-sample error, all / without the outermost two."
    )
    return 0


def _without_mixture(problems: list[Problem], smoke: bool, console: Console) -> list[dict[str, Any]]:
    rows = run(problems, PEERS[:3] if smoke else PEERS, console)
    return rows + between_expiries(problems) + proof_costs(problems)


def chosen_chains(folder: Path | None, every: int, say: Callable[[str], None] = print) -> Iterable[Chain]:
    """Yield every N-th chain of a folder (or one file) in time order, per underlying; without one, simulated chains.

    A file of the folder that holds no chains is passed over with a sentence to `say`.
    """
    if every < 1:
        raise ChainFileError(f"--every takes a number from 1 on, found {every}")
    if folder is None:
        for seed in list(SIMULATED_SEEDS)[::every]:
            for coin in ("BTC", "ETH"):
                yield simulated_chain(coin, seed=seed)
        return
    files = [folder] if folder.is_file() else sorted(f for f in folder.glob("*") if f.name.lower().endswith(ENDINGS))
    if not files:
        raise ChainFileError(
            f"no chain file in {folder}; known are {', '.join(ENDINGS)} (docs/data.md says how to get some)"
        )
    seen: dict[str, int] = {}
    for file in files:
        try:
            found = read_chains(file)
        except ChainFileError as error:
            if file == folder:
                raise
            say(f"passed over: {str(error).split(';')[0]}")
            continue
        for chain in found:
            number = seen.get(chain.underlying, 0)
            seen[chain.underlying] = number + 1
            if number % every == 0:
                yield chain


def run(problems: list[Problem], peers: Iterable[Peer], console: Console | None = None) -> list[dict[str, Any]]:
    """Return one row per peer; a peer that is not installed has the key `skipped` with the reason."""
    rows: list[dict[str, Any]] = []
    loaded: list[tuple[Peer, Fitter, Tally]] = []
    for peer in peers:
        try:
            fitter = peer.load()
        except ImportError as error:
            rows.append({"fitter": peer.name, "skipped": f"{error} (docs/data.md says how to install it)"})
            continue
        version = f" {version_of(peer.package)}" if peer.package else ""
        loaded.append((peer, fitter, Tally(peer.name + version)))
    columns = (TextColumn("{task.description:36s}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console or Console(stderr=True), transient=True) as bar:
        for peer, fitter, tally in loaded:
            few = problems[:: max(1, len(problems) // peer.most)][: peer.most] if peer.most else problems
            for number, problem in enumerate(bar.track(few, description=peer.name)):
                _measure(peer, fitter, tally, problem, number)
    # LM knows no bounds: where its answer breaks ours it is no reference
    costs = next((tally for peer, _, tally in loaded if peer.name.startswith("scipy LM")), Tally(""))
    reference = {at: costs.costs[at] for at in costs.admissible}
    return [_row(tally, reference) for _, _, tally in loaded] + rows


def _measure(peer: Peer, fitter: Fitter, tally: Tally, problem: Problem, number: int) -> None:
    n = problem.years.size
    if not tally.milliseconds:
        fitter(problem)  # imports, caches and compilers are not part of a fit
    parameters, seconds = _timed(lambda: fitter(problem))
    tally.milliseconds.append(1e3 * seconds)
    tally.slice_us.append(1e6 * seconds / n)
    if peer.warm is not None:
        moved, start, warm = problem.moved(number), parameters, peer.warm
        if np.isfinite(start).all():
            tally.warm_us.append(1e6 * _timed(lambda: warm(moved, start))[1] / n)
    found = score(problem, parameters)
    tally.quotes += found.quotes
    tally.inside += found.inside
    tally.slices += n - found.failed
    tally.pairs += found.pairs
    tally.failed += found.failed
    tally.rmse_bp += found.rmse_bp[np.isfinite(found.rmse_bp)].tolist()
    tally.costs |= {(number, i): cost for i, cost in enumerate(found.cost.tolist())}
    tally.admissible |= {(number, int(i)) for i in np.flatnonzero(found.admissible)}
    tally.violations += np.array(found.violations)
    tally.surfaces_with_violation += sum(found.violations[2]) > 0
    if peer.leave_out:
        tally.left_out += left_out_errors(fitter, problem, parameters)


def left_out_errors(fitter: Fitter, problem: Problem, parameters: Floats) -> list[tuple[float, float, float]]:
    """Return, per slice with enough quotes, its error on left-out quotes (bp), that over its in-sample error, and the same
    ratio without the two outermost quotes, which are beyond what is left when they are left out.
    """
    inner = fitted_errors(problem, parameters)[0]
    errors = np.full(problem.k.size, math.nan)
    for fold in range(FOLDS):
        out = problem.left_out(fold)
        errors[out] = fitted_errors(problem, fitter(problem.without(fold)))[0][out]
    found = []
    for i in range(problem.years.size):
        mine, same = errors[problem.rows(i)] ** 2, inner[problem.rows(i)] ** 2
        if np.isfinite(mine).all() and same[1:-1].sum() > 0.0:
            whole, between = (math.sqrt(mine[cut].mean() / same[cut].mean()) for cut in (slice(None), slice(1, -1)))
            found.append((math.sqrt(mine.mean()), whole, between))
    return found


def _timed(work: Callable[[], Floats]) -> tuple[Floats, float]:
    best, end = math.inf, time.perf_counter() + QUICK_S
    while True:
        start = time.perf_counter()
        out = work()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return out, best


def _row(tally: Tally, reference: dict[tuple[int, int], float]) -> dict[str, Any]:
    """Return the figures of a peer as plain values; None where there is none."""
    ratios = np.array([cost / reference[at] for at, cost in tally.costs.items() if reference.get(at, 0.0) > 0.0])
    ratios = ratios[np.isfinite(ratios)]
    left_out = np.array(tally.left_out).reshape(-1, 3)
    return {
        "fitter": tally.name,
        "surfaces": len(tally.milliseconds),
        "slices": tally.slices,
        "pairs": tally.pairs,
        "failed": tally.failed,
        "ms": _at(tally.milliseconds, 50),
        "ms_p95": _at(tally.milliseconds, 95),
        "us_per_slice": _at(tally.slice_us, 50),
        "warm_us_per_slice": _at(tally.warm_us, 50),
        "quotes": tally.quotes,
        "inside": tally.inside / tally.quotes if tally.quotes else None,
        "rmse_bp": _at(tally.rmse_bp, 50),
        "left_out_bp": _at(left_out[:, 0], 50),
        "left_out_ratio": _at(left_out[:, 1], 50),
        "left_out_ratio_between": _at(left_out[:, 2], 50),
        "cost_over_lm": _at(ratios, 50),
        "cost_within_1_percent": float((ratios <= 1.01).mean()) if ratios.size else None,
        **{
            f"{kind}_{where}": int(tally.violations[i, j])
            for i, where in enumerate(("on_quotes", "near", "everywhere"))
            for j, kind in enumerate(("butterfly", "calendar"))
        },
        "surfaces_with_violation": tally.surfaces_with_violation,
    }


def _at(values: Any, percent: int) -> float | None:
    return float(np.percentile(values, percent)) if len(values) else None


def _cells(row: dict[str, Any]) -> list[str]:
    def number(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:,.{digits}f}"

    left_out = row["left_out_ratio"]
    cost = row["cost_over_lm"]
    return [
        row["fitter"],
        f"{row['surfaces']:,}",
        number(row["ms"], 2),
        number(row["ms_p95"], 2),
        number(row["us_per_slice"], 0),
        number(row["warm_us_per_slice"], 0),
        number(None if row["inside"] is None else 100 * row["inside"], 1),
        number(row["rmse_bp"], 1),
        "" if left_out is None else f"{left_out:.2f} / {row['left_out_ratio_between']:.2f}",
        "" if cost is None else f"{cost:.3f} ({100 * row['cost_within_1_percent']:.0f} %)",
        *(
            f"{row[f'butterfly_{where}']:,} / {row[f'calendar_{where}']:,}"
            for where in ("on_quotes", "near", "everywhere")
        ),
        f"{row['failed']:,} of {row['slices'] + row['failed']:,}",
    ]
