"""Certified fits of recorded chains against free fits, tuning dates and held-out dates apart: what docs/fitting.md reports.

    python benchmarks/bench_certified_fit.py CHAINS_FOLDER [--part tuning|held-out] [--exact] [--every N]

Tuned on: every sixth snapshot of each coin in the files that begin before 2026-03-30. Everything else is held out.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from volsurface.engine import expiry_fits
from volsurface.engine.chain_fit import fit_chain
from volsurface.errors import ArbitrageError
from volsurface.io.chain_files import read_chains
from volsurface.surface.calibration import Calibrated, Slices, calibrate
from volsurface.surface.certificate import verify
from volsurface.surface.options import FitOptions
from volsurface.surface.surface import Surface

TUNING_FILES_BEFORE, TUNING_EVERY = "20260330", 6


def main() -> None:
    """Print one line per part, and one per surface that is not certified."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=("tuning", "held-out"))
    parser.add_argument("--exact", action="store_true", help="verify every surface in rational arithmetic")
    parser.add_argument("--every", type=int, default=1, help="only each Nth chain of a part")
    args = parser.parse_args()
    parts: dict[str, list] = {"tuning": [], "held-out": []}
    for path in sorted(args.folder.glob("*_chain_*.parquet")):
        early = path.stem.split("_")[-2] < TUNING_FILES_BEFORE
        for coin in ("BTC", "ETH"):
            for i, chain in enumerate(read_chains(path, underlying=coin)):
                parts["tuning" if early and i % TUNING_EVERY == 0 else "held-out"].append(chain)
    for name, chains in parts.items():
        if args.part in (None, name):
            print(f"{name}: {report(chains[:: args.every], args.exact)}", flush=True)


def report(chains: list, exact: bool) -> str:
    """Fit all chains cold; return the sentence of results."""
    free: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def watched(quotes: Slices, options: FitOptions, warm: np.ndarray | None = None) -> Calibrated:
        found = calibrate(quotes, options, warm)
        free.append((found.parameters, found.used, quotes.offsets))
        return found

    fit_chain(chains[0])
    expiry_fits.calibrate = watched
    surfaces: list[Surface] = []
    used = inside = free_used = free_inside = violated = 0
    free_rmse: list[float] = []
    milliseconds: list[float] = []
    for chain in chains:
        free.clear()
        started = time.perf_counter()
        fit = fit_chain(chain)
        milliseconds.append(1e3 * (time.perf_counter() - started))
        surface, quotes = fit.surface, fit.quotes
        surfaces.append(surface)
        used, inside = used + int(quotes.used.sum()), inside + int(quotes.inside.sum())
        fitted = quotes.take(quotes.used | (quotes.reason == 10))
        for at, smile in enumerate(surface.smiles):
            rows = fitted.expiry_ns == smile.expiry_ns
            kept = (
                free[0][1][free[0][2][at] : free[0][2][at + 1]] if len(free[0][2]) == len(surface.smiles) + 1 else None
            )
            if kept is None or kept.size != rows.sum():
                break
            a, b, rho, m, sigma = free[0][0][at]
            x = fitted.k[rows] - m
            vol = np.sqrt(np.maximum(a + b * (rho * x + np.sqrt(x * x + sigma * sigma)), 0.0) / smile.years)
            good = (vol >= fitted.bid_vol[rows] - 1e-9) & (vol <= fitted.ask_vol[rows] + 1e-9) & kept
            free_used, free_inside = free_used + int(kept.sum()), free_inside + int(good.sum())
            free_rmse.append(float(1e4 * np.sqrt(np.mean((vol - fitted.mid_vol[rows])[kept] ** 2))))
        if surface.state_reason:
            when = surface.to_dict()["valuation_time"][:19]
            print(f"  {surface.underlying} {when} {surface.state}: {surface.state_reason}", flush=True)
        if exact:
            try:
                verify(surface)
            except ArbitrageError as error:
                violated += 1
                print(f"  {error}", flush=True)
    smiles = [smile for surface in surfaces for smile in surface.smiles]
    fallback = sum(surface.state != "certified" for surface in surfaces)
    partly = sum(bool(surface.state_reason) for surface in surfaces) - fallback
    return (
        f"{len(surfaces)} surfaces, {len(smiles)} smiles, {used:,} quotes; inside {100 * inside / used:.2f} % "
        f"(free {100 * free_inside / max(free_used, 1):.2f} %); median RMSE {np.median([s.rmse_bp for s in smiles]):.1f} bp "
        f"(free {np.median(free_rmse):.1f}); not certified {fallback} ({100 * fallback / len(surfaces):.2f} %), "
        f"an expiry left out {partly} ({100 * partly / len(surfaces):.2f} %); "
        f"{'violations by the exact verifier ' + str(violated) + '; ' if exact else ''}"
        f"ms a surface: median {np.median(milliseconds):.1f}, p95 {np.percentile(milliseconds, 95):.1f}, "
        f"worst {max(milliseconds):.0f}; worst surface inside "
        f"{100 * min(np.mean([s.inside_spread for s in x.smiles] or [0]) for x in surfaces):.0f} %"
    )


if __name__ == "__main__":
    main()
