"""A writer killed at any moment has lost nothing it had acknowledged, and readers beside it never notice anything."""

import json
import os
import random
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

import duckdb
import pytest
from store_process import AIMS, COUNTS, START, inconsistent

from volsurface.io.history.segments import load_state

SCRIPT = str(Path(__file__).with_name("store_process.py"))


def start(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, SCRIPT, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def start_writer(root: Path, *aim: object) -> "subprocess.Popen[str]":
    process = start("write", root, *aim)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def acknowledged(process: "subprocess.Popen[str]") -> int:
    """Return the last second the process, dead by now, has called durable."""
    assert process.stdout is not None
    lines = process.stdout.read().split("\n")[:-1]
    process.stdout.close()
    process.wait()
    return int(lines[-1]) if lines else START - 1


def check(root: Path, promised: int) -> None:
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
        [counts] = db.execute(COUNTS).fetchall()
    assert not inconsistent(counts), counts
    assert (counts[3] or START - 1) >= promised


def kill_often(root: Path, kills: int) -> set[str]:
    """Kill writers of one store, in turn at a random moment and at each aim; return the aims that were met."""
    promised, met = START - 1, set()
    chance = random.Random(7)
    for _, aim in zip(range(kills), cycle(("", *AIMS))):
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


def test_a_killed_writer_has_lost_nothing_it_acknowledged(root: Path) -> None:
    met = kill_often(root, kills=14)
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
        assert process.stdout is not None
        lines = [line for line in process.stdout.read().split("\n")[:-1] if line != "ready"]
        process.stdout.close()
        process.wait()
        promised = max([promised, *map(int, lines)])
        check(root, promised)


def test_readers_beside_writer_and_compaction_see_no_error_and_no_inconsistent_count(root: Path) -> None:
    seconds = float(os.environ.get("VOLSURFACE_READ_SECONDS", "5"))
    writer = start_writer(root)
    assert writer.stdout is not None
    writer.stdout.readline()
    readers = [start("read", root, seconds) for _ in range(2)]
    answers, refusals = [], []
    try:
        with duckdb.connect(str(root / "history.duckdb"), read_only=True) as plain:
            while any(reader.poll() is None for reader in readers):
                try:
                    answers.append(plain.execute(COUNTS).fetchall()[0])
                except duckdb.IOException as error:
                    refusals.append(str(error))
                time.sleep(0.2)
        assert answers
        assert not any(map(inconsistent, answers))
        assert all("Cannot open file" in refusal for refusal in refusals), "documented: at the moment of a deletion"
        for reader in readers:
            assert reader.stdout is not None
            found = json.loads(reader.stdout.read())
            assert found["errors"] == []
            assert found["inconsistent"] == 0
            assert found["queries"] > 5
    finally:
        for process in (writer, *readers):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    assert load_state(root).marks["quotes"] >= (START + 120) * 1_000_000
    oldest = min(path.name for path in (root / "quotes/hot").glob("*.parquet") if not path.name.startswith("0000"))
    assert oldest > f"{START * 1_000_000:016d}.parquet", "no hot segment was deleted: the readers were in no danger"
