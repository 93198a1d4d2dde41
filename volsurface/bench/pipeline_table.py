"""The pipeline benchmark's figures as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table


def print_figures(console: Console, figures: Mapping[str, Any]) -> None:
    """Print one rate: what was sustained, how late, at what cost, and what was not done."""
    lane = "fast lane" if figures["fast_lane"] else "plain"
    table = Table(title=f"{figures['rate']:,.0f} messages/s, {lane}, {figures['seconds']:.0f} s, everything on")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in _rows(figures):
        table.add_row(name, value)
    console.print(table)
    work = Table("stage", *("offered", "coalesced", "skipped", "done", "CPU ms", "us per done"), title="work ledger")
    for stage, counts in figures["ledger"].items():
        each = 1e3 * counts["cpu_ms"] / counts["done"] if counts["done"] else 0.0
        numbers = [f"{counts[name]:,.0f}" for name in ("offered", "coalesced", "skipped", "done", "cpu_ms")]
        work.add_row(stage, *numbers, f"{each:.2f}")
    console.print(work)


def _rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("sustained", "yes" if figures["sustained"] else "NO"),
        ("sent per second, received", f"{figures['sent_per_s']:,.0f}, {figures['received']:,}"),
        ("instruments, largest pull", f"{figures['instruments']:,}, {figures['largest_backlog']:,} rows"),
        ("tick to row, p50 / p99 / max", _latency(figures["tick_to_row_ms"])),
        ("tick to surface, p50 / p99 / max", _latency(figures["tick_to_surface_ms"])),
        ("oldest tick of a publication to browser", _latency(figures["tick_to_browser_ms"])),
        ("heartbeat reply, p50 / p99 / max", _latency(figures["heartbeat_ms"])),
        ("heartbeats answered, missed", f"{figures['heartbeats']:,}, {figures['missed']}"),
        ("not sent for a full socket", f"{figures['held_back']:,}"),
        ("tickers superseded undecoded", f"{figures['superseded']:,}"),
        ("gaps, rejected, restarts", f"{figures['gaps']}, {figures['rejected']}, {figures['restarts']}"),
        ("publications, page frames", f"{figures['publications']:,}, {figures['page_frames']:,}"),
        (
            "page",
            figures["page_closed"] or f"open, {figures['page_bytes'] / max(figures['page_frames'], 1):,.0f} B a frame",
        ),
    ]
    for kind, audit in figures["audits"].items():
        words = f"{audit['worst_bp']:.3f} of {audit['threshold_bp']:g} bp in {audit['audited']:,.0f}"
        rows.append((f"audit of skipped {kind}, worst", f"{words}, {audit['breaches']:,.0f} beyond"))
    for name, percent in figures["cpu_percent"].items():
        us, rss = figures["cpu_us_per_message"][name], figures["rss_mb"].get(name)
        rows.append((f"CPU, {name}", f"{percent:.1f} %, {us:.2f} us/message" + (f", {rss:.0f} MB" if rss else "")))
    rows.append(("feed + engine + historian + page server", f"{figures['together_percent']:.1f} % of a core"))
    rows.append(("memory of all services", f"{sum(figures['rss_mb'].values()):,.0f} MB"))
    stall = figures.get("stall")
    if stall:
        words = f"{stall['largest_pull']:,} rows of {stall['instruments']:,} instruments"
        rows.append(("engine stopped for 10 s, largest pull", words))
        rows.append(("publication after it goes on", f"{stall['first_publication_ms']:,.0f} ms"))
    return rows


def _latency(values: Mapping[str, float | None]) -> str:
    return " / ".join("-" if values[name] is None else f"{values[name]:,.2f}" for name in ("p50", "p99", "max")) + " ms"


def print_naive(console: Console, baseline: Mapping[float, float], found: Sequence[Mapping[str, Any]]) -> None:
    """Print what a message costs when every message does all the work, and the factor at the rates measured."""
    table = Table("rate", "naive, us/message", "one core carries", "ours, us/message", "factor", title="naive baseline")
    for rate, naive in baseline.items():
        ours = next((figures["together_us"] for figures in found if figures["rate"] == rate), None)
        table.add_row(
            f"{rate:,.0f}", f"{naive:,.0f}", f"{1e6 / naive:,.0f}/s", "-" if ours is None else f"{ours:.2f}",
            "-" if ours is None else f"{naive / ours:,.0f}",
        )  # fmt: skip
    console.print(table)


def print_memory(console: Console, memory: Mapping[str, Any]) -> None:
    """Print each process's memory: at first, at last, and how far it strayed from its mean."""
    table = Table(
        "process", "first MB", "last MB", "farthest from mean, %", title=f"memory over {memory['minutes']:g} min"
    )
    samples = memory["rss_mb"]
    for name in samples[0]:
        values = np.array([sample[name] for sample in samples])
        stray = 100 * float(np.max(np.abs(values / values.mean() - 1.0)))
        table.add_row(name, f"{values[0]:.0f}", f"{values[-1]:.0f}", f"{stray:.1f}")
    table.add_row("all", f"{sum(samples[0].values()):.0f}", f"{sum(samples[-1].values()):.0f}", "")
    console.print(table)
