"""Do all venues at once keep alive, and how near does the composite come to the truth that the simulator knows?

A simulator of every venue in a process of its own, the page server started as a user starts it, and a reader of its
engine. A heartbeat that is missed shows as a connection lost: every simulated venue hangs up then, as the real ones do.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from volsurface.bench.browser import wait_for_page
from volsurface.commands.serve import panel_command
from volsurface.engine.client import LiveClient
from volsurface.engine.supervisor import free_port
from volsurface.errors import ServiceError
from volsurface.io.places import run_folder
from volsurface.simulator.true_surface import TrueSurface
from volsurface.surface.surface import Surface

START_WITHIN_S = 120.0
SAMPLE_S = 5.0
WIDTH = 2.0  # standard deviations of the strikes that count
COUNTS = ("messages", "gaps", "reconnects", "rejected")


def main(
    rate: float, seconds: float, venues: Sequence[str], underlyings: Sequence[str], seed: int, as_json: bool
) -> int:
    """Run the benchmark and print it; return 1 when a connection was lost or the composite was not the nearest."""
    figures = asyncio.run(run(rate, seconds, venues, underlyings, seed))
    if as_json:
        print(json.dumps(figures))
    else:
        _print(Console(), figures)
    medians = {name: errors["median_bp"] for name, errors in figures["errors"].items()}
    composite = medians.pop("composite", float("inf"))
    kept = not any(venue["reconnects"] for venue in figures["venues"].values())
    return 0 if kept and composite < min(medians.values(), default=float("inf")) else 1


async def run(
    rate: float, seconds: float, venues: Sequence[str], underlyings: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return {"venues": counts by venue, "errors": distance from the true vols by venue and of the composite, ...}."""
    command = [
        sys.executable, "-m", "volsurface", "simulate", "--venues", ",".join(venues), "--rate", str(rate), "--seed",
        str(seed), "--underlyings", ",".join(underlyings), "--quiet",
    ]  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="vsbench") as folder,
        open(Path(folder) / "server.log", "w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as simulator,
    ):
        server = None
        try:
            assert simulator.stdout is not None
            told = (await asyncio.to_thread(simulator.stdout.readline)).split()
            if not told:
                log.flush()
                raise ServiceError(f"the simulator ended: {(Path(folder) / 'server.log').read_text()[-500:]}")
            data = Path(folder).resolve() / "data"
            data.mkdir()
            ours = ["--data", str(data), "--underlyings", *underlyings, "--venue-url", *told[1::2]]
            port = free_port()
            server = subprocess.Popen(
                panel_command(ours, port=port, address="127.0.0.1"), stdout=log, stderr=log, cwd=data,
                env={**os.environ, "BOKEH_RESOURCES": "server"},
            )  # fmt: skip
            await asyncio.to_thread(wait_for_page, port, server)
            return await _watch(LiveClient(run_folder(data)), seconds, venues, underlyings, seed)
        finally:
            if server is not None:
                server.terminate()
                server.wait(15)
            simulator.terminate()


async def _watch(
    client: LiveClient, seconds: float, venues: Sequence[str], underlyings: Sequence[str], seed: int
) -> dict[str, Any]:
    lost: list[str] = []
    following = asyncio.create_task(_follow(client, lost))
    loop = asyncio.get_running_loop()
    truths = {name: TrueSurface(name, seed) for name in underlyings}
    errors: dict[str, list[np.ndarray]] = {name: [] for name in ("composite", *venues)}
    lags: dict[str, list[float]] = {name: [] for name in venues}
    try:
        async with asyncio.timeout(START_WITHIN_S):
            while not all(len(client.venue_surfaces.get(name, ())) == len(venues) for name in underlyings):
                await asyncio.sleep(0.2)
        first, began = _counts(client), loop.time()
        lost.clear()
        while loop.time() - began < seconds:
            await asyncio.sleep(SAMPLE_S)
            for name, truth in truths.items():
                errors["composite"].append(_errors_bp(client.surfaces[name].surface, truth))
                for venue, surface in client.venue_surfaces[name].items():
                    errors[venue].append(_errors_bp(surface, truth))
            for venue in client.status["venues"]:
                lags[venue["name"]].append(venue["lag_ms"] or 0.0)
        elapsed, last = loop.time() - began, _counts(client)
    finally:
        following.cancel()
        await client.close()
    return {
        "seconds": elapsed,
        "venues": {
            venue: {
                **{name: last[venue][name] - first[venue][name] for name in COUNTS},
                "per_s": (last[venue]["messages"] - first[venue]["messages"]) / elapsed,
                "coverage": last[venue]["coverage"],
                "lag_ms": float(np.median(lags[venue])),
            }
            for venue in venues
        },
        "lost": lost,
        "errors": {
            name: {
                "median_bp": float(np.median(np.concatenate(found))),
                "p90_bp": float(np.percentile(np.concatenate(found), 90)),
                "samples": len(found),
            }
            for name, found in errors.items()
            if found
        },
    }


async def _follow(client: LiveClient, lost: list[str]) -> None:
    """Read the engine for ever; keep the words of every connection lost."""
    newest = 0
    while True:
        if not await client.poll():
            await asyncio.sleep(0.02)
        fresh = [event for event in client.events if event["seq"] > newest]
        newest = max((event["seq"] for event in fresh), default=newest)
        lost += [event["text"] for event in fresh if event["kind"] == "disconnect"]


def _counts(client: LiveClient) -> dict[str, dict[str, Any]]:
    return {venue["name"]: venue for venue in client.status["venues"]}


def _errors_bp(surface: Surface, truth: TrueSurface) -> np.ndarray:
    """Distance of the surface from the true vols at its own instant and moneyness, in bp, at 41 places per expiry."""
    smiles = [smile for smile in surface.smiles if smile.state == "certified"]
    if not smiles:
        return np.empty(0)
    true = truth.at(surface.valuation_time_ns, [smile.expiry_ns for smile in smiles])
    found = []
    for row, smile in enumerate(smiles):
        k = np.linspace(-WIDTH, WIDTH, 41) * smile.atm_vol * np.sqrt(true.years[row])
        exact = np.sqrt(true.total_variance(np.full(k.size, row), k) / true.years[row])
        found.append(np.abs(np.asarray(smile.vol_at(k)) - exact) * 1e4)
    return np.concatenate(found)


def _print(console: Console, figures: dict[str, Any]) -> None:
    table = Table("venue", "messages/s", "quoted", "lag ms", "gaps", "reconnects", "error bp, median", "p90")
    for column in table.columns[1:]:
        column.justify = "right"
    for venue, counts in figures["venues"].items():
        table.add_row(
            venue, f"{counts['per_s']:,.0f}", f"{100 * (counts['coverage'] or 0):.0f} %", f"{counts['lag_ms']:.0f}",
            f"{counts['gaps']}", f"{counts['reconnects']}", *_error_cells(figures["errors"].get(venue)),
        )  # fmt: skip
    total = sum(counts["per_s"] for counts in figures["venues"].values())
    table.add_row("composite", f"{total:,.0f}", "", "", "", "", *_error_cells(figures["errors"].get("composite")))
    console.print(table)
    console.print(f"{figures['seconds']:.0f} s; connections lost: {len(figures['lost'])}", highlight=False)
    for text in figures["lost"][:5]:
        console.print(f"  {text}", highlight=False, markup=False)


def _error_cells(errors: dict[str, float] | None) -> list[str]:
    return ["", ""] if errors is None else [f"{errors['median_bp']:.2f}", f"{errors['p90_bp']:.2f}"]
