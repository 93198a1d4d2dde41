"""Child processes of the history tests: a writer to be killed, and a reader beside it.

    store_process.py write ROOT [AIM COUNT]   writes for ever, prints each durable second; kills itself at the COUNT-th AIM
    store_process.py read ROOT SECONDS        asks for ever, prints what was found as JSON

One market second is one row per instrument, so that a second that is lost, doubled or half there shows in a count.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from volsurface.io.history import segments
from volsurface.io.history.compaction import Ages
from volsurface.io.history.reader import History
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


def open_writer(root: Path) -> Writer:
    return Writer(root, "test", block_us=BLOCK_US, ages=AGES, min_free_bytes=0)


def write_second(writer: Writer, second: int) -> None:
    ts = writer.tick(second * 10**9)
    assert ts == second * 1_000_000
    iids = np.arange(INSTRUMENTS, dtype="i4")
    writer.append("quotes", INSTRUMENTS, {"ts": ts, "iid": iids, "bid": np.random.rand(INSTRUMENTS), "flags": 0})


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(aim: str, count: int) -> None:
    """Make this process kill itself at the `count`-th time it comes to the place `aim`."""
    left = [count]

    def here() -> None:
        left[0] -= 1
        if left[0] == 0:
            die()

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

    segments.publish, os.replace, Path.unlink = published, replaced, unlinked  # type: ignore[assignment]


def write(root: Path, aim: str = "", count: int = 0) -> None:
    writer = open_writer(root)
    print("ready", flush=True)
    arm(aim, count)
    second = max(START, writer.last_us // 1_000_000 + 1)
    while True:
        for _ in range(FLUSH):
            write_second(writer, second)
            second += 1
        assert not writer.flush().trouble
        print(second - 1, flush=True)  # the acknowledgement: durable up to this second
        assert not writer.maintain()
        time.sleep(0.005)


def inconsistent(counts: tuple[int, int, int, int]) -> bool:
    rows, distinct, first, last = counts
    return bool(rows) and not (rows == distinct == (last - START + 1) * INSTRUMENTS and first == START)


def read(root: Path, seconds: float) -> None:
    found: dict[str, Any] = {"queries": 0, "inconsistent": 0, "errors": []}
    end = time.monotonic() + seconds
    with History(root) as history:
        while time.monotonic() < end:
            found["queries"] += 1
            try:
                counts = tuple(
                    int(column[0])
                    for column in history.sql(COUNTS.replace("count(*)", "count(*) AS n")).columns.values()
                )
                found["inconsistent"] += inconsistent(counts)  # type: ignore[arg-type]
                as_of = f"SELECT count(*) AS n, epoch(min(ts))::BIGINT AS first FROM quotes_at(make_timestamp({counts[3]}000000))"
                answer = history.sql(as_of)
                found["inconsistent"] += (int(answer["n"][0]), int(answer["first"][0])) != (INSTRUMENTS, counts[3])
            except Exception as error:
                found["errors"].append(f"{type(error).__name__}: {error}")
    print(json.dumps(found))


if __name__ == "__main__":
    role, folder, *rest = sys.argv[1:]
    commands: dict[str, Callable[[], None]] = {
        "write": lambda: write(Path(folder), *(rest[:1]), *(int(n) for n in rest[1:])),
        "read": lambda: read(Path(folder), float(rest[0])),
    }
    commands[role]()
