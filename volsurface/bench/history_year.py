"""Does a year of a live market stay under the size that was allowed? At one thousandth of its size, in some minutes.

What a thousand instruments write in a day, one writes here, and of every thousand seconds one has surfaces; the limit is a
thousandth of the default, `history.max_gb`. Ages and days are real: the historian's own limits, 365 market days.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from volsurface.bench.history_market import DAY_S, START_S, UNDERLYINGS, MadeUpMarket
from volsurface.engine.historian import limits
from volsurface.engine.history_rows import HistoryRows
from volsurface.io.history.compaction import Ages
from volsurface.io.history.reader import History
from volsurface.io.history.writer import RETIRE_EVERY_FLUSHES, Writer
from volsurface.settings import HistorySettings

SCALE = 1000
HALF_DAY_S = DAY_S // 2  # two blocks a day: their number is not what is measured
SURFACE_SECONDS = HALF_DAY_S // SCALE


def run(root: Path, days: int = 365, progress: bool = False) -> dict[str, float]:
    """Write the days and return the largest size seen, in bytes, and what is left at the end, in days."""
    live = limits(HistorySettings(), "live")
    scaled = replace(live, max_bytes=live.max_bytes // SCALE)
    writer = Writer(root, "year", block_us=HALF_DAY_S * 1_000_000, ages=Ages(0.0, 0.0), limits=scaled, min_free_bytes=0)
    market, rows = MadeUpMarket(life_days=days + 400), HistoryRows(writer)
    largest = written = 0
    for half in track(range(2 * days), "a year", disable=not progress):
        begin = START_S // DAY_S * DAY_S + half * HALF_DAY_S
        for second in range(begin, begin + SURFACE_SECONDS):
            market.pass_to(second)
            rows.begin(second * 10**9)
            for coin in range(len(UNDERLYINGS)):
                rows.publication(market.publication(coin, quoted=False))
        _quotes(writer, begin + SURFACE_SECONDS, begin + HALF_DAY_S, half)
        flushed = writer.flush()
        assert not flushed.trouble, flushed.trouble
        written += flushed.bytes
        for _ in range(2 * RETIRE_EVERY_FLUSHES):  # half a day is time enough to give a day up and to delete it
            assert writer.maintain() == ""
        largest = max(largest, writer.size())
    with History(root) as history:
        kept = {
            f"{name}_days": float(len(history.sql(f"SELECT DISTINCT ts::DATE AS day FROM {name}")))
            for name in ("quotes", "smiles", "surfaces", "metrics")
        }
    writer.close()
    return {"limit": scaled.max_bytes, "largest": largest, "written_before_compaction": written, **kept}


def _quotes(writer: Writer, first: int, last: int, half: int) -> None:
    """Write one instrument's row of each second, with a random walk as random as the benchmark's market."""
    rng, n = np.random.default_rng(half), last - first
    mark = 0.05 + np.cumsum(rng.normal(0, 2e-5, n))
    bid = np.round(np.abs(mark) / 5e-4) * 5e-4
    vols = np.round(0.5 + np.cumsum(rng.normal(0, 2e-4, (3, n)), axis=1), 4)
    us = np.arange(first, last) * 1_000_000
    writer.tick(last * 10**9)
    columns = {
        "ts": us, "iid": np.zeros(n, "i4"), "ts_venue": us - rng.integers(25, 1025, n) * 1000,
        "age_ms": rng.integers(0, 1000, n).astype("i4"), "bid": bid, "ask": bid + 5e-4, "mark": np.round(mark, 6),
        "bid_sz": np.repeat(np.round(rng.gamma(1, 5, n // 10 + 1), 1), 10)[:n], "iv_bid": vols[0], "iv_ask": vols[1],
        "ask_sz": np.repeat(np.round(rng.gamma(1, 5, n // 10 + 1), 1), 10)[:n], "iv_mark": vols[2],
        "fwd": np.round(86_000 + np.cumsum(rng.normal(0, 9, n)), 2), "fwd_source": "synthetic", "flags": 0,
    }  # fmt: skip
    writer.append("quotes", n, columns)


def main(days: int = 365, as_json: bool = False) -> int:
    """Print the sizes as a table or JSON; return 0 when the limit has held."""
    with tempfile.TemporaryDirectory(prefix="vsyear") as folder:
        result: dict[str, Any] = run(Path(folder) / "live", days, progress=not as_json)
    if as_json:
        print(json.dumps(result))
    else:
        table = Table("figure", "value", title=f"history: {days} days at 1:{SCALE} of their size")
        for name, value in result.items():
            is_days = name.endswith("_days")
            table.add_row(name.replace("_", " "), f"{value:.0f}" if is_days else f"{value * SCALE / 1e9:.2f} GB")
        Console().print(table)
    return 0 if result["largest"] <= result["limit"] else 1
