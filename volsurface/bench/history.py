"""What does the history cost to write, how large is it, and how fast does it answer?

Market time runs as fast as the writer can: 1,000 instruments at one row a second with random-walk prices on ticks, two
underlyings with twelve smiles each a second, five-second flushes, ten-minute blocks.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from rich.console import Console
from rich.table import Table

from volsurface.engine.history_rows import HistoryRows
from volsurface.io.history.compaction import Ages
from volsurface.io.history.reader import History
from volsurface.io.history.schema import TABLES
from volsurface.io.history.segments import load_state
from volsurface.io.history.writer import Writer
from volsurface.io.publication import Publication
from volsurface.surface.certificate import Certificate, Verdict
from volsurface.surface.quoted import COLUMNS, QuotedVols
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

INSTRUMENTS, SMILES, UNDERLYINGS, FLUSH_S = 1000, 12, ("BTC", "ETH"), 5
START_S = 1_795_200_000
DAY_S = 86_400
QUESTIONS = 40  # per kind of question


def main(minutes: float = 65.0, as_json: bool = False) -> int:
    """Run the benchmark, print its table (or JSON), and return 0."""
    with tempfile.TemporaryDirectory(prefix="vsbench") as folder:
        result = run(Path(folder) / "history" / "simulated", round(minutes * 60))
    if as_json:
        print(json.dumps({name: None if math.isnan(value) else value for name, value in result.items()}))
    else:
        table = Table(title=f"history: {INSTRUMENTS} instruments at 1 row/s, {minutes:g} minutes of market time")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for name, value in result.items():
            if not math.isnan(value):
                table.add_row(name.replace("_", " "), f"{value:,.4g}")
        Console().print(table)
    return 0


def run(root: Path, seconds: int) -> dict[str, float]:
    """Return the figures; times are in ms unless the name says otherwise, CPU is of one core."""
    ages = Ages(flip_after_s=0.0, delete_after_s=0.0)  # a market second is not a wall second
    writer = Writer(root, "bench", ages=ages, min_free_bytes=0)
    feed = _Feed(np.random.default_rng(1), HistoryRows(writer), writer)
    append_cpu = flush_cpu = maintain_cpu = 0.0
    flushes, hot_bytes, rows = [], 0, 0
    for second in range(seconds):
        begin = time.process_time()
        feed.second(START_S + second)
        append_cpu += time.process_time() - begin
        if second % FLUSH_S == FLUSH_S - 1:
            begin = time.process_time()
            flushed = writer.flush()
            middle = time.process_time()
            trouble = writer.maintain()
            assert not flushed.trouble, flushed.trouble
            assert not trouble, trouble
            flush_cpu, maintain_cpu = flush_cpu + middle - begin, maintain_cpu + time.process_time() - middle
            flushes.append(flushed.ms)
            hot_bytes, rows = hot_bytes + flushed.bytes, rows + flushed.rows
    while _waiting(writer):
        assert not writer.maintain()
    quotes = _bytes(root, "quotes", seconds)
    result = {
        "rows": float(rows),
        "cpu_percent_rows": 100 * (append_cpu + flush_cpu) / seconds,
        "cpu_percent_with_compaction": 100 * (append_cpu + flush_cpu + maintain_cpu) / seconds,
        "cpu_us_per_row": 1e6 * (append_cpu + flush_cpu) / rows,
        "flush_ms_p50": float(np.median(flushes)),
        "flush_ms_p99": float(np.percentile(flushes, 99)),
        "quotes_gb_per_day": quotes / 1e9,
        "quotes_bytes_per_row": quotes / DAY_S / INSTRUMENTS,
        "other_tables_gb_per_day": sum(_bytes(root, name, seconds) for name in TABLES if name != "quotes") / 1e9,
        **_answers(root, seconds),
    }
    writer.close()
    return result


def _waiting(writer: Writer) -> bool:
    """Tell whether closed blocks are still to be compacted."""
    state = load_state(writer.root)
    closed_us = (writer.last_us + 1) // state.block_us * state.block_us
    return closed_us > START_S * 1_000_000 and state.marks["quotes"] < closed_us  # a short run closes no block


def _bytes(root: Path, table: str, seconds: int) -> float:
    """Return a table's compacted bytes per day (a table that is not compacted: its bytes)."""
    cold = list((root / table / "cold").rglob("*.parquet")) if TABLES[table].compacted else []
    covered = 600.0 * (len(cold) - 1)  # the empty first segment
    size = sum(path.stat().st_size for path in cold)
    return size * DAY_S / covered if covered > 0 else math.nan  # a short run has no compacted block to measure


def _answers(root: Path, seconds: int) -> dict[str, float]:
    moments = np.random.default_rng(2).integers(START_S + 60, START_S + seconds - 1, QUESTIONS)
    figures: dict[str, float] = {}

    def ask(name: str, question: Callable[[int], Any]) -> None:
        times = []
        for moment in moments.tolist():
            begin = time.perf_counter()
            question(moment)
            times.append((time.perf_counter() - begin) * 1e3)
        figures[f"{name}_ms_p50"] = float(np.median(times))

    with History(root) as history:
        ask("surface_at", lambda s: history.surface_at(s * 10**9, "BTC"))
        ask("quotes_at", lambda s: history.sql(f"SELECT count(*) AS n FROM quotes_at(make_timestamp({s}000000))"))
        ask("metric_whole_run", lambda _: history.metric("rr25", "BTC", tenor=30.0))
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
        ask("quotes_at_by_catalogue", lambda s: db.execute(f"FROM quotes_at(make_timestamp({s}000000))").fetchall())
    return figures


class _Feed:
    """A made-up market, straight into the writer: what arrives is not what is measured here."""

    def __init__(self, rng: np.random.Generator, rows: HistoryRows, writer: Writer) -> None:
        self._rng, self._rows, self._writer = rng, rows, writer
        self._mid = rng.uniform(0.001, 0.2, INSTRUMENTS)
        self._level = 0.5
        self._surface_id = 0

    def second(self, second: int) -> None:
        rng, n = self._rng, INSTRUMENTS
        self._rows.begin(second * 10**9)
        self._mid = np.maximum(0.0005, self._mid * (1 + rng.normal(0, 1e-3, n)))
        bid = np.round(self._mid / 0.0005 - 0.5) * 0.0005
        columns = {
            "ts": np.full(n, self._writer.last_us), "iid": np.arange(n, dtype="i4"),
            "ts_venue": self._writer.last_us - rng.integers(0, 1000, n) * 1000,
            "age_ms": rng.integers(0, 1000, n).astype("i4"), "seq": 71_001_469_291 + second * 977 + np.arange(n),
            "bid": np.where(bid > 0, bid, np.nan), "ask": bid + 0.001, "bid_sz": np.round(rng.gamma(1, 5, n), 1),
            "ask_sz": np.round(rng.gamma(1, 5, n), 1), "mark": np.round(self._mid, 6),
            "iv_bid": np.round(0.5 + self._mid, 4), "iv_ask": np.round(0.52 + self._mid, 4),
            "iv_mark": np.round(0.51 + self._mid, 4), "fwd": np.full(n, round(86_000 + 50 * rng.normal(), 2)),
            "fwd_source": "synthetic", "index": np.full(n, round(86_000 + 50 * rng.normal(), 2)),
            "oi": np.arange(n) * 0.1, "flags": np.zeros(n, "i4"),
        }  # fmt: skip
        self._writer.append("quotes", n, columns)
        self._level += rng.normal(0, 1e-4)
        self._surface_id += 1
        for underlying in UNDERLYINGS:
            self._rows.publication(self._publication(underlying, second * 10**9))

    def _publication(self, underlying: str, now_ns: int) -> Publication:
        smiles = []
        for days in range(7, 7 + 30 * SMILES, 30):
            years, noise = days / 365.0, self._rng.normal(0, 1e-5, 5)
            parameters = (
                np.array([self._level**2 * years * 0.6, 0.1 * years**0.5, -0.2, 0.01, 0.2 * years**0.5]) + noise
            )
            smiles.append(
                Smile(
                    (START_S + days * DAY_S) * 10**9, years, 86_000.0 + self._rng.normal(), "synthetic", "svi",
                    tuple(parameters.tolist()), 40, 5, 0.95, 20 + self._rng.normal(), 80.0, "certified", now_ns, now_ns, "free",
                )
            )  # fmt: skip
        verdicts = tuple(Verdict("ok", self._rng.normal(), self._rng.random(), False, None) for _ in range(SMILES))
        surface = Surface(underlying, now_ns, tuple(smiles), Certificate.of(verdicts, verdicts[1:]), "certified")
        quotes = QuotedVols((), **{name: np.empty(0, dtype) for name, dtype in COLUMNS.items()})
        return Publication(
            underlying, self._surface_id, now_ns, now_ns, now_ns, now_ns, 4095, 86_000.0, 1, surface, quotes
        )
