"""What does the history cost to write, how large is it, and how fast does it answer?

Market time runs as fast as the writer can, through the historian's own path: 1,000 instruments at one row a second
(`history_market`), a surface of ten smiles for each of two underlyings a second, five-second flushes, ten-minute blocks.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from volsurface.bench.history_market import DAY_S, INSTRUMENTS, START_S, UNDERLYINGS, MadeUpMarket
from volsurface.engine.history_rows import HistoryRows
from volsurface.io.history.compaction import Ages
from volsurface.io.history.reader import History
from volsurface.io.history.schema import TABLES
from volsurface.io.history.segments import load_state
from volsurface.io.history.writer import Writer
from volsurface.io.transport.puller import Batch

FLUSH_S = 5
QUESTIONS = 40  # per kind of question


def main(minutes: float = 65.0, as_json: bool = False, restless: bool = False, keep: Path | None = None) -> int:
    """Run the benchmark, print its table (or JSON), and return 0. keep: folder in which the store stays."""
    with tempfile.TemporaryDirectory(prefix="vsbench") as folder:
        result = run(Path(keep or folder) / "history" / "simulated", round(minutes * 60), restless, not as_json)
    if as_json:
        print(json.dumps({name: None if math.isnan(value) else value for name, value in result.items()}))
    else:
        market = "restless market" if restless else "market"
        table = Table(
            title=f"history: {market} of {INSTRUMENTS} instruments at 1 row/s, {minutes:g} minutes of its time"
        )
        table.add_column("figure")
        table.add_column("value", justify="right")
        for name, value in result.items():
            if not math.isnan(value):
                table.add_row(name.replace("_", " "), f"{value:,.4g}")
        Console().print(table)
    return 0


def run(root: Path, seconds: int, restless: bool = False, progress: bool = False) -> dict[str, float]:
    """Return the figures; times are in ms unless the name says otherwise, CPU is of one core."""
    ages = Ages(flip_after_s=0.0, delete_after_s=0.0)  # a market second is not a wall second
    writer = Writer(root, "bench", ages=ages, min_free_bytes=0)
    market, rows_of = MadeUpMarket(restless=restless), HistoryRows(writer)
    append_cpu = flush_cpu = maintain_cpu = 0.0
    flushes, hot_bytes, rows = [], 0, 0
    for second in track(range(seconds), "writing", disable=not progress):
        market.second(START_S + second)
        publications = [market.publication(coin) for coin in range(len(UNDERLYINGS))]
        begin = time.process_time()
        batch = _finished(market.puller.pull())
        rows_of.begin(batch.feed_time_ns)
        rows_of.market(market.puller, batch)
        for publication in publications:
            rows_of.publication(publication)
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
        **{
            f"{name}_gb_per_day": _bytes(root, name, seconds) / 1e9 for name in ("ivs", "smiles", "surfaces", "metrics")
        },
        "all_tables_gb_per_day": float(np.nansum([_bytes(root, name, seconds) for name in TABLES])) / 1e9,
        **_answers(root, seconds),
    }
    writer.close()
    return result


def _finished(pull: Coroutine[Any, Any, Batch]) -> Batch:
    """Return the result of a coroutine that never has to wait."""
    try:
        pull.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise AssertionError("the made-up feed answers at once")


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
    if not TABLES[table].compacted:
        return 0.0  # a few rows, whatever the time
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
        ask("smile_at", lambda s: history.sql(f"FROM surface_at(make_timestamp({s}000000), 'ETH')"))
        last = (START_S + seconds) * 10**9
        since = last - min(seconds, DAY_S) * 10**9
        ask("metric_of_a_day", lambda _: history.metric("rr25", "BTC", tenor=30.0, since=since, until=last))
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
        ask("quotes_at_by_catalogue", lambda s: db.execute(f"FROM quotes_at(make_timestamp({s}000000))").fetchall())
    return figures
