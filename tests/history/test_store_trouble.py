"""A disk that is full and files that are not ours or not whole cost what they must, are named and counted, and nothing else."""

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from volsurface.bench.history_faults import INSTRUMENTS, START, open_writer, write_second
from volsurface.io.history.reader import History
from volsurface.io.history.writer import Writer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def stored(root: Path) -> tuple[int, int]:
    with History(root) as history:
        table = history.sql("SELECT count(*) AS n, count(DISTINCT epoch_us(ts) + iid) AS keys FROM quotes")
        return int(table["n"][0]), int(table["keys"][0])


def seconds(writer: Writer, first: int, n: int = 5) -> None:
    for second in range(first, first + n):
        write_second(writer, START + second)


def test_a_disk_that_fills_up_and_is_emptied_again(small_disk: Path) -> None:
    root = small_disk / "simulated"
    writer = open_writer(root)
    seconds(writer, 0)
    kept = writer.flush().rows
    assert kept == 5 * INSTRUMENTS
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    assert shutil.disk_usage(small_disk).free == 0
    second, dropped = 5, 0
    for _ in range(4):
        seconds(writer, second)
        second += 5
        flushed = writer.flush()
        assert (flushed.rows, flushed.dropped) == (0, 5 * INSTRUMENTS)
        assert "cannot write quotes" in flushed.trouble
        dropped += flushed.dropped
        writer.maintain()
        assert stored(root) == (kept, kept)
    ballast.unlink()
    seconds(writer, second)
    flushed = writer.flush()
    assert (flushed.rows, flushed.trouble) == (5 * INSTRUMENTS, "")
    assert writer.maintain() == ""
    assert stored(root) == (kept + 5 * INSTRUMENTS,) * 2
    assert list(root.rglob("*.tmp")) == []
    writer.close()
    open_writer(root).close()


def test_a_file_that_may_not_grow_is_a_full_disk_too(writer: Writer, root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    seconds(writer, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        flushed = writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (flushed.rows, flushed.dropped) == (0, 5 * INSTRUMENTS)
    assert "cannot write quotes" in flushed.trouble
    seconds(writer, 5)
    assert writer.flush().rows == 5 * INSTRUMENTS
    assert stored(root) == (5 * INSTRUMENTS,) * 2
    assert list(root.rglob("*.tmp")) == []


def test_a_segment_damaged_in_its_middle_is_named_and_put_aside_at_its_compaction(writer: Writer, root: Path) -> None:
    for first in range(0, 65, 5):
        seconds(writer, first)
        writer.flush()
    victim = sorted((root / "quotes" / "hot").glob("1*.parquet"))[2]
    content = bytearray(victim.read_bytes())
    for at in range(8, 8 + (len(content) - 8) // 3):
        content[at] ^= 0x5A
    victim.write_bytes(content)
    for _ in range(4):
        assert writer.maintain() == ""
    [sentence] = writer.quarantined
    assert f"quotes/hot/{victim.name} was put aside into quarantine: its rows cannot be read" in sentence
    assert stored(root) == (12 * 5 * INSTRUMENTS,) * 2
    assert len(list((root / "quotes" / "cold").glob("*/1*.parquet"))) == 1


@pytest.mark.parametrize("harm", ["foreign", "cut", "metadata"])
def test_a_compacted_segment_that_is_not_ours_is_named_and_put_aside_at_the_start(root: Path, harm: str) -> None:
    writer = open_writer(root)
    seconds(writer, 0, 65)
    writer.flush()
    writer.maintain()
    [cold] = (root / "quotes" / "cold").glob("*/1*.parquet")
    other = cold.with_name(f"{START - 60}000000.parquet")
    if harm == "foreign":
        duckdb.execute(f"COPY (SELECT 1 AS x) TO '{other}' (FORMAT parquet)")
    elif harm == "cut":
        other.write_bytes(cold.read_bytes()[:-100])
    else:
        content = bytearray(cold.read_bytes())
        for at in range(len(content) - 400, len(content) - 12):
            content[at] ^= 0x5A
        other.write_bytes(content)
    writer.close()
    again = open_writer(root)
    [sentence] = again.quarantined
    assert f"{other.name} was put aside into quarantine" in sentence
    assert stored(root) == (65 * INSTRUMENTS,) * 2
    again.close()
