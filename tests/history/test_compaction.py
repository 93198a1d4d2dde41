"""Hot segments become cold ones behind a mark, old days go, and no answer changes on the way."""

import time
from pathlib import Path

import duckdb
import pytest
from surfaces import publication

from volsurface.bench.history_faults import BLOCK_US, COUNTS, INSTRUMENTS, START, inconsistent, write_second
from volsurface.engine.history_rows import HistoryRows
from volsurface.io.history.compaction import DAY_US, Ages, Limits
from volsurface.io.history.reader import History
from volsurface.io.history.segments import cold_segments, hot_segments, load_state
from volsurface.io.history.writer import Writer

HOUR_US = 3_600_000_000


class Wall:
    """A wall clock for the ages of steps, moved by the test."""

    def __init__(self) -> None:
        self.offset_us = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.offset_us

    def pass_by(self, seconds: float) -> None:
        self.offset_us += round(seconds * 1e6)


@pytest.fixture
def wall() -> Wall:
    return Wall()


def seconds(writer: Writer, first: int, last: int) -> None:
    for second in range(first, last):
        write_second(writer, START + second)
        if second % 5 == 4:
            writer.flush()
    writer.flush()


def same_answer(root: Path, last: int) -> None:
    with History(root) as history:
        answer = history.sql(COUNTS.replace("count(*)", "count(*) AS n"))
    counts = tuple(int(column[0]) for column in answer.columns.values())
    assert not inconsistent(counts)  # type: ignore[arg-type]
    assert counts[3] == START + last
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
        assert db.execute(COUNTS).fetchall() == [counts]


def test_each_step_waits_for_readers_and_no_answer_changes(new_store: Path, root: Path, wall: Wall) -> None:
    writer = Writer(root, "test", block_us=BLOCK_US, ages=Ages(60, 600), min_free_bytes=0, wall_us=wall)
    seconds(writer, 0, 130)  # two closed blocks and ten seconds

    def files() -> tuple[int, int, int]:
        same_answer(root, 129)
        return len(hot_segments(root, "quotes")), len(cold_segments(root, "quotes")), load_state(root).marks["quotes"]

    assert files() == (26, 0, 0)
    writer.maintain()
    assert files() == (26, 1, 0)
    writer.maintain()
    assert files() == (26, 2, 0)
    wall.pass_by(20)
    writer.maintain()
    assert files() == (26, 2, 0)
    wall.pass_by(60)
    writer.maintain()
    mark = START * 1_000_000 + 2 * BLOCK_US
    assert files() == (26, 2, mark)
    wall.pass_by(500)
    writer.maintain()
    assert files() == (26, 2, mark)
    wall.pass_by(200)
    writer.maintain()
    assert files() == (2, 2, mark)
    writer.close()


def test_a_block_is_not_closed_while_rows_of_it_may_come(new_store: Path, root: Path, wall: Wall) -> None:
    writer = Writer(root, "test", block_us=BLOCK_US, min_free_bytes=0, wall_us=wall)
    seconds(writer, 0, 59)
    writer.maintain()
    assert cold_segments(root, "quotes") == []
    seconds(writer, 59, 61)
    writer.maintain()
    assert len(cold_segments(root, "quotes")) == 1
    writer.close()


def test_a_cold_segment_is_in_the_order_of_its_table(new_store: Path, root: Path, wall: Wall) -> None:
    writer = Writer(root, "test", block_us=BLOCK_US, min_free_bytes=0, wall_us=wall)
    seconds(writer, 0, 61)
    writer.maintain()
    [cold] = cold_segments(root, "quotes")
    assert cold.parent.name == "date=2026-11-20"
    rows = duckdb.execute(f"SELECT iid, ts FROM read_parquet('{cold}', hive_partitioning=false)").fetchall()
    assert rows == sorted(rows)
    assert len(rows) == 60 * INSTRUMENTS
    writer.close()


def test_a_mark_does_not_wait_for_ever_when_the_wall_clock_is_stepped_back(
    new_store: Path, root: Path, wall: Wall
) -> None:
    writer = Writer(root, "test", block_us=BLOCK_US, min_free_bytes=0, wall_us=wall)
    seconds(writer, 0, 61)
    writer.maintain()
    wall.pass_by(-7200)
    writer.maintain()
    assert load_state(root).marks["quotes"] > 0
    writer.close()


def days(root: Path, table: str = "quotes") -> list[str]:
    return sorted({path.parent.name for path in cold_segments(root, table)})


def write_days(writer: Writer, wall: Wall, n: int) -> None:
    """Write one row of quotes and of events every six hours of `n` days and let them be compacted."""
    begin = START * 1_000_000 // DAY_US * DAY_US
    for hours in range(0, 24 * n, 6):
        ts = writer.tick((begin + hours * HOUR_US) * 1000)
        writer.append("quotes", 1, {"ts": ts, "iid": 0, "flags": 0})
        writer.append("events", 1, {"ts": ts, "kind": "gap"})
        writer.flush()
        writer.maintain()
    for _ in range(3):
        wall.pass_by(700)
        writer.maintain()


def test_days_too_old_go_but_never_the_newest_one(new_store: Path, root: Path, wall: Wall) -> None:
    limits = Limits(max_age_s={"quotes": 2 * 86400.0})
    writer = Writer(root, "test", min_free_bytes=0, wall_us=wall, limits=limits)
    write_days(writer, wall, 5)
    assert len(days(root)) == 5
    compactor = writer._compactor
    compactor.retire(writer.last_us)
    assert len(days(root)) == 5, "the floor rises first"
    with History(root) as history:
        assert len(history.sql("SELECT * FROM quotes WHERE ts < '2026-11-22'")) == 0, (
            "readers do not list them any more"
        )
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM quotes WHERE ts < '2026-11-22'").fetchall() == [(0,)]
    wall.pass_by(601)
    assert compactor.retire(writer.last_us) == 2
    assert days(root) == ["date=2026-11-22", "date=2026-11-23", "date=2026-11-24"]
    assert len(days(root, "events")) == 5
    writer.close()


def test_a_store_too_large_loses_its_oldest_days_and_events_last(new_store: Path, root: Path, wall: Wall) -> None:
    writer = Writer(root, "test", min_free_bytes=0, wall_us=wall)
    write_days(writer, wall, 4)
    size = sum(path.stat().st_size for path in root.rglob("*.parquet"))
    day = sum(path.stat().st_size for path in (root / "quotes/cold/date=2026-11-20").iterdir())
    writer.limits = Limits(max_bytes=size - 3 * day // 2)
    writer._compactor.retire(writer.last_us)
    wall.pass_by(601)
    writer._compactor.retire(writer.last_us)
    assert days(root)[0] in ("date=2026-11-21", "date=2026-11-22")
    assert len(days(root, "events")) == 4
    writer.limits = Limits(max_bytes=1)
    for _ in range(3):
        writer._compactor.retire(writer.last_us)
        wall.pass_by(601)
    assert days(root) == days(root, "events") == ["date=2026-11-22", "date=2026-11-23"], "a day is always left"
    writer.close()


def write_surfaces(writer: Writer, days: int, every_s: int) -> None:
    """Write two surfaces within each `every_s` seconds, 20 s apart, for whole days."""
    rows = HistoryRows(writer)
    begin_ns = START * 10**9 // (DAY_US * 1000) * DAY_US * 1000
    for number, second in enumerate(s + more for s in range(0, days * 86_400, every_s) for more in (0, 20)):
        rows.begin(begin_ns + second * 10**9)
        rows.publication(publication(number + 1, shift=1e-4 * number))
        if number % 4 == 3:
            writer.flush()
            writer.maintain()
    writer.flush()


def test_old_days_keep_one_surface_a_minute_and_then_go_when_there_is_too_much(
    new_store: Path, root: Path, wall: Wall
) -> None:
    writer = Writer(root, "test", block_us=12 * HOUR_US, min_free_bytes=0, wall_us=wall)
    write_surfaces(writer, days=4, every_s=4 * 3600)
    for _ in range(8):
        wall.pass_by(700)
        writer.maintain()
    writer.limits = Limits(thin_after_s=1.5 * 86400)
    compactor = writer._compactor

    def stored() -> list[tuple[int, int]]:
        query = (
            "SELECT count(*), count(DISTINCT ts) FROM {} GROUP BY date_trunc('day', ts) ORDER BY date_trunc('day', ts)"
        )
        with History(root) as history, duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
            for name in ("surfaces", "smiles"):
                ours = history.sql(query.format(name).replace("count(*)", "count(*) AS n"))
                assert (
                    list(zip(*(c.tolist() for c in ours.columns.values()))) == db.execute(query.format(name)).fetchall()
                )
            return [(n, times) for n, times in db.execute(query.format("smiles")).fetchall()]

    whole, thinned = (3 * 12, 12), (3 * 6, 6)
    assert stored() == [whole] * 4
    for before, after in (([whole] * 4, 1), ([thinned, whole, whole, whole], 2), ([thinned, thinned, whole, whole], 2)):
        assert stored() == before
        compactor.retire(writer.last_us)
        assert stored() == [thinned] * after + [whole] * (4 - after), "as soon as the floor has risen"
        wall.pass_by(601)
    compactor.retire(writer.last_us)
    assert days(root, "smiles") == ["date=2026-11-22", "date=2026-11-23"]
    with History(root) as history:
        second = 12 * 3600 + 20
        surface = history.surface_at((START // 86400 * 86400 + second) * 10**9, "BTC")
        number = 2 * 3 + 1
        assert surface.digest == publication(number + 1, shift=1e-4 * number).surface.digest
        found = history.sql(f"FROM surface_at(make_timestamp({START // 86400 * 86400 + second}000000), 'BTC')")
        assert len(found) == 3
    assert writer.size() > 0
    writer.limits = Limits(max_bytes=1)
    compactor.retire(writer.last_us)
    assert len(stored()) == 2, "the newest day and what stands beside it stay"
    wall.pass_by(601)
    compactor.retire(writer.last_us)
    assert not [path for path in (root / "surfaces/thin").glob("*/*.parquet") if path.stem.strip("0")]
    writer.close()
