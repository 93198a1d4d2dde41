"""Is anything lost when the writer of a history is killed, and does a reader beside it ever see something wrong?

    python -m volsurface.bench.history_faults write ROOT [AIM COUNT]   writes for ever, prints each durable second; kills
                                                                       itself when it comes to the place AIM the COUNT-th time
    python -m volsurface.bench.history_faults read ROOT QUERIES SECONDS    asks, prints what was found as JSON

Market time runs as fast as it can, a block is a minute, and readers are waited for a second instead of ten minutes, so that
many compactions, flips and deletions happen. One market second is one row per instrument, so that a second that is lost,
doubled or half there shows in a count.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from volsurface.errors import HistoryError
from volsurface.io.history import segments
from volsurface.io.history.compaction import Ages
from volsurface.io.history.reader import History
from volsurface.io.history.segments import load_state
from volsurface.io.history.writer import Writer

INSTRUMENTS = 20
START = 1_795_200_000  # market second of the first row
FLUSH = 5  # market seconds in a hot segment
BLOCK_US = 60_000_000
AGES = Ages(flip_after_s=0.1, delete_after_s=1.0)
COUNTS = (
    "SELECT count(*), count(DISTINCT epoch_us(ts) + iid), epoch(min(ts))::BIGINT, epoch(max(ts))::BIGINT FROM quotes"
)
AIMS = ("after tmp", "before rename", "after rename", "after cold", "between state.tmp and replace", "mid-deletion")
Process = subprocess.Popen[str]


def open_writer(root: Path) -> Writer:
    """Return a writer with short blocks and waits."""
    return Writer(root, "test", block_us=BLOCK_US, ages=AGES, min_free_bytes=0)


def write_second(writer: Writer, second: int) -> None:
    """Buffer a market second's rows."""
    ts = writer.tick(second * 10**9)
    assert ts == second * 1_000_000
    iids = np.arange(INSTRUMENTS, dtype="i4")
    writer.append("quotes", INSTRUMENTS, {"ts": ts, "iid": iids, "bid": np.random.rand(INSTRUMENTS), "flags": 0})


def inconsistent(counts: tuple[Any, ...]) -> bool:
    """Tell whether the answer to COUNTS cannot be that of whole seconds, each there once, from the first on."""
    rows, distinct, first, last = counts
    return bool(rows) and not (rows == distinct == (last - START + 1) * INSTRUMENTS and first == START)


# --- the processes


def arm(aim: str, count: int) -> None:
    """Make this process kill itself at the `count`-th time it comes to the place `aim`."""
    left = [count]

    def here() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    publish, replace, unlink = segments.publish, os.replace, Path.unlink

    def published(temporary: Path, final: Path) -> None:
        if aim == "after tmp" and "hot" in final.parts:
            here()
        publish(temporary, final)
        if aim == "after cold" and "cold" in final.parts:
            here()

    def replaced(source: Path, target: Path) -> None:
        if aim == "before rename" and "hot" in Path(target).parts:
            here()
        if aim == "between state.tmp and replace" and Path(target).name == "state.json":
            here()
        replace(source, target)
        if aim == "after rename" and "hot" in Path(target).parts:
            here()

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if aim == "mid-deletion" and "hot" in path.parts and path.suffix == ".parquet":
            here()

    segments.publish = published
    os.replace = replaced  # type: ignore[assignment]
    Path.unlink = unlinked  # type: ignore[method-assign, assignment]


def write(root: Path, aim: str = "", count: int = 0) -> None:
    """Write for ever, and print each second that is durable."""
    writer = open_writer(root)
    print("ready", flush=True)
    arm(aim, count)
    second = max(START, writer.last_us // 1_000_000 + 1)
    while True:
        for _ in range(FLUSH):
            write_second(writer, second)
            second += 1
        assert not writer.flush().trouble
        print(second - 1, flush=True)  # the acknowledgement
        assert not writer.maintain()
        time.sleep(0.005)


def read(root: Path, queries: int, seconds: float) -> None:
    """Ask until there were `queries` or `seconds` have passed; print counts and errors."""
    found: dict[str, Any] = {"queries": 0, "inconsistent": 0, "errors": []}
    end = time.monotonic() + seconds
    with History(root) as history:
        while time.monotonic() < end and found["queries"] < queries:
            found["queries"] += 2
            try:
                answer = history.sql(COUNTS.replace("count(*)", "count(*) AS n"))
                counts = tuple(int(column[0]) for column in answer.columns.values())
                found["inconsistent"] += inconsistent(counts)
                as_of = f"""SELECT count(*) AS n, epoch(min(ts))::BIGINT AS first
                FROM quotes_at(make_timestamp({counts[3]}000000))"""
                answer = history.sql(as_of)
                found["inconsistent"] += (int(answer["n"][0]), int(answer["first"][0])) != (INSTRUMENTS, counts[3])
            except HistoryError as error:
                found["errors"].append(f"{type(error).__name__}: {error}")
    print(json.dumps(found))


# --- what starts, kills and checks them


def start(*arguments: object) -> Process:
    """Start one of the processes above."""
    command = [sys.executable, "-m", "volsurface.bench.history_faults", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def start_writer(root: Path, *aim: object) -> Process:
    """Start a writer and wait until it writes."""
    process = start("write", root, *aim)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def acknowledged(process: Process) -> int:
    """Return the last second the process, dead by now, has called durable."""
    assert process.stdout is not None
    lines = [line for line in process.stdout.read().split("\n")[:-1] if line != "ready"]
    process.stdout.close()
    process.wait()
    return int(lines[-1]) if lines else START - 1


def check(root: Path, promised: int) -> None:
    """Raise AssertionError when a second is lost, doubled or half there, or the store cannot be read."""
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
        [counts] = db.execute(COUNTS).fetchall()
    assert not inconsistent(counts), counts
    assert (counts[3] or START - 1) >= promised, (counts, promised)


def kill_often(root: Path, kills: int, progress: bool = False) -> set[str]:
    """Kill writers of one store, in turn at a random moment and at each aim, and check; return the aims that were met."""
    promised, met = START - 1, set()
    chance = random.Random(7)
    places = zip(range(kills), cycle(("", *AIMS)))
    for _, aim in track(places, "killing", total=kills, disable=not progress):
        if aim:
            count = chance.randint(1, 6) if "cold" not in aim and "state" not in aim else 1
            process = start_writer(root, aim, count)
            process.wait(timeout=60)
            met.add(aim)
        else:
            process = start_writer(root)
            time.sleep(chance.uniform(0.0, 0.5))
            process.kill()
        promised = max(promised, acknowledged(process))
        check(root, promised)
    return met


def read_beside(root: Path, queries: int, seconds: float, readers: int = 2) -> dict[str, Any]:
    """Let readers ask beside a writer until each has its share of `queries`; return what they and a plain DuckDB found.

    plain: answers through the catalogue file; plain_refused: its refusals, which may only say "Cannot open file".
    """
    found: dict[str, Any] = {"queries": 0, "inconsistent": 0, "errors": [], "plain": 0, "plain_inconsistent": 0}
    found["plain_refused"] = []
    writer = start_writer(root)
    processes = [writer]
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        asking = [start("read", root, queries // readers, seconds) for _ in range(readers)]
        processes += asking
        with duckdb.connect(str(root / "history.duckdb"), read_only=True) as plain:
            while any(process.poll() is None for process in asking):
                try:
                    found["plain_inconsistent"] += inconsistent(plain.execute(COUNTS).fetchall()[0])
                    found["plain"] += 1
                except duckdb.IOException as error:
                    found["plain_refused"].append(str(error))
                time.sleep(0.2)
        for process in asking:
            assert process.stdout is not None
            told = json.loads(process.stdout.read())
            for name in ("queries", "inconsistent", "errors"):
                found[name] += told[name]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    found["compactions"] = (load_state(root).marks["quotes"] - START * 1_000_000) // BLOCK_US
    return found


def main(kills: int = 210, queries: int = 10_000, as_json: bool = False) -> int:
    """Kill and ask, print what was found; return 0 when nothing was lost, unreadable or inconsistent."""
    with tempfile.TemporaryDirectory(prefix="vsfaults") as folder:
        kill_often(Path(folder) / "killed", kills, progress=not as_json)
        found = read_beside(Path(folder) / "read", queries, seconds=3600.0)
    bad = found["inconsistent"] + found["plain_inconsistent"] + len(found["errors"])
    rows: dict[str, Any] = {
        "kills survived, nothing acknowledged lost, doubled or unreadable": kills,
        "queries beside writing and compaction": found["queries"],
        "blocks compacted meanwhile": found["compactions"],
        "errors": len(found["errors"]),
        "inconsistent answers": found["inconsistent"],
        "queries through the catalogue": found["plain"],
        "of these inconsistent": found["plain_inconsistent"],
        "of these 'Cannot open file', to be asked again": len(found["plain_refused"]),
    }
    if as_json:
        print(json.dumps(rows))
    else:
        table = Table("fault", "count", title="history: killed writers and readers beside one")
        for name, value in rows.items():
            table.add_row(name, f"{value:,}")
        Console().print(table)
    for error in found["errors"][:5]:
        print(error, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    role, folder, *rest = sys.argv[1:]
    roles: dict[str, Callable[[], None]] = {
        "write": lambda: write(Path(folder), rest[0] if rest else "", int(rest[1]) if rest else 0),
        "read": lambda: read(Path(folder), int(rest[0]), float(rest[1])),
    }
    roles[role]()
