"""A writer killed at any moment has lost nothing it had acknowledged, and readers beside it never notice anything."""

import time
from pathlib import Path

import pytest

from volsurface.bench.history_faults import (
    AIMS,
    START,
    acknowledged,
    check,
    kill_often,
    read_beside,
    start,
    start_writer,
)
from volsurface.io.history.segments import load_state


def test_a_killed_writer_has_lost_nothing_it_acknowledged(root: Path) -> None:
    met = kill_often(root, kills=20)
    assert met == set(AIMS)
    assert load_state(root).marks["quotes"] > 0, "no block was compacted: the kills have tested nothing"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills(root: Path) -> None:
    kill_often(root, kills=210)


def test_a_writer_killed_while_it_starts_does_not_harm(root: Path) -> None:
    process = start_writer(root)
    while load_state(root).marks["quotes"] == 0:
        time.sleep(0.01)
    process.kill()
    promised = acknowledged(process)
    for delay in (0.25, 0.35, 0.45):
        process = start("write", root)
        time.sleep(delay)
        process.kill()
        promised = max(promised, acknowledged(process))
        check(root, promised)


def beside(root: Path, queries: int, seconds: float) -> None:
    found = read_beside(root, queries, seconds)
    assert found["errors"] == []
    assert (found["inconsistent"], found["plain_inconsistent"]) == (0, 0)
    assert found["queries"] > 10
    assert found["plain"] > 0
    assert all("Cannot open file" in text for text in found["plain_refused"]), "documented: at the moment of a deletion"
    assert found["compactions"] >= 2
    oldest = min(path.name for path in (root / "quotes/hot").glob("*.parquet") if not path.name.startswith("0000"))
    assert oldest > f"{START * 1_000_000:016d}.parquet", "no hot segment was deleted: the readers were in no danger"


def test_readers_beside_writer_and_compaction_see_no_error_and_no_inconsistent_count(root: Path) -> None:
    beside(root, 10_000, seconds=5.0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_queries(root: Path) -> None:
    beside(root, 10_000, seconds=3000.0)
