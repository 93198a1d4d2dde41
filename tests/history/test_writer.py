"""One writer per store; what it acknowledges is there, and trouble with the disk costs rows and nothing else."""

import errno
import os
import stat
from pathlib import Path

import duckdb
import numpy as np
import pytest

from volsurface.bench.history_faults import INSTRUMENTS, START, open_writer, write_second
from volsurface.errors import HistoryError, ServiceError
from volsurface.io.history import segments
from volsurface.io.history import writer as writer_module
from volsurface.io.history.schema import VERSION
from volsurface.io.history.segments import hot_segments, load_state
from volsurface.io.history.writer import Writer


def count(root: Path, table: str = "quotes") -> int:
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def test_a_flush_is_one_segment_named_after_its_first_time(writer: Writer, root: Path) -> None:
    for second in range(START + 1, START + 4):
        write_second(writer, second)
    flushed = writer.flush()
    assert (flushed.rows, flushed.dropped, flushed.trouble) == (3 * INSTRUMENTS, 0, "")
    [segment] = hot_segments(root, "quotes")
    assert segment.name == f"{START + 1}000000.parquet"
    assert flushed.bytes == segment.stat().st_size
    assert count(root) == 3 * INSTRUMENTS


def test_a_flush_that_crosses_a_block_is_two_segments(writer: Writer, root: Path) -> None:
    for second in range(START + 58, START + 62):
        write_second(writer, second)
    writer.flush()
    assert [path.name for path in hot_segments(root, "quotes")] == [f"{START + s}000000.parquet" for s in (58, 60)]


def test_a_second_writer_is_refused_and_told_who_writes(writer: Writer, root: Path) -> None:
    with pytest.raises(ServiceError, match=rf"already being written by process {os.getpid()} on .* since 20"):
        open_writer(root)


def test_a_store_is_free_again_after_close(root: Path) -> None:
    open_writer(root).close()
    open_writer(root).close()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("a file")
    with pytest.raises(HistoryError, match=r"cannot write the history in .*: Not a directory"):
        open_writer(tmp_path / "history" / "live")


def test_a_folder_without_rights_is_a_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True)
    root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(root, os.W_OK):  # root may write everywhere: say what the kernel would say to anybody else

        def refused(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(writer_module, "make_folders", refused)
    with pytest.raises(HistoryError, match=r"cannot write the history in .*: Permission denied"):
        open_writer(root)


def test_a_path_that_duckdb_reads_as_a_pattern_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"has \[ \] in its path"):
        open_writer(tmp_path / "a[1]" / "live")


def test_a_quote_in_the_path_is_no_trouble(tmp_path: Path) -> None:
    root = tmp_path / "trader's" / "live"
    writer = open_writer(root)
    write_second(writer, START)
    writer.flush()
    assert writer.maintain() == ""
    assert count(root) == INSTRUMENTS
    writer.close()


def test_another_schema_is_refused_with_both_numbers(root: Path) -> None:
    open_writer(root).close()
    state = load_state(root)
    state.version = 99
    state.save(root)
    with pytest.raises(
        HistoryError, match=rf"has history schema 99 of a newer program; this one reads and writes {VERSION}"
    ):
        open_writer(root)


def test_a_clock_stepped_back_stands_still_and_order_is_kept(writer: Writer, root: Path) -> None:
    write_second(writer, START + 10)
    writer.flush()
    first = writer.tick((START - 3600) * 10**9)
    second = writer.tick((START - 3599) * 10**9)
    assert (START + 10) * 1_000_000 < first < second
    writer.append("quotes", 1, {"ts": second, "iid": 0, "flags": 0})
    writer.flush()
    assert writer.tick((START + 20) * 10**9) == (START + 20) * 1_000_000
    names = [path.name for path in hot_segments(root, "quotes")]
    assert names == sorted(names)
    assert len(names) == 2


def test_a_restart_goes_on_behind_the_newest_time_also_with_an_earlier_clock(root: Path) -> None:
    writer = open_writer(root)
    write_second(writer, START + 10)
    writer.close()
    writer = open_writer(root)
    assert writer.last_us == (START + 10) * 1_000_000
    assert writer.tick(START * 10**9) == (START + 10) * 1_000_000 + 1
    writer.close()


def test_leftovers_of_a_kill_are_removed(root: Path) -> None:
    open_writer(root).close()
    leftover = root / "quotes" / "hot" / f"{START}000000.tmp"
    leftover.write_bytes(b"half")
    open_writer(root).close()
    assert not leftover.exists()


def test_a_full_disk_drops_and_counts_and_recovers(writer: Writer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_second(writer, START)
    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "fsync", full)
        flushed = writer.flush()
    assert (flushed.rows, flushed.dropped) == (0, INSTRUMENTS)
    assert "cannot write quotes" in flushed.trouble
    assert "No space left on device" in flushed.trouble
    assert list(root.rglob("*.tmp")) == []
    write_second(writer, START + 1)
    assert writer.flush().rows == INSTRUMENTS
    assert count(root) == INSTRUMENTS


def test_numbers_of_instruments_are_durable_before_quotes_use_them(
    writer: Writer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iid, is_new = writer.iid("deribit", "BTC-1")
    assert is_new
    ts = writer.tick(START * 10**9)
    writer.append("instruments", 1, {"ts": ts, "iid": iid, "venue": "deribit", "native_symbol": "BTC-1"})
    writer.append("quotes", 1, {"ts": ts, "iid": iid, "flags": 0})
    write = Writer._write

    def refuse_instruments(self: Writer, table: str, chunks: list) -> int:
        if table == "instruments":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, table, chunks)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_write", refuse_instruments)
        assert writer.flush().dropped == 1
    assert writer.flush().rows == 1  # the instrument has waited
    assert (count(root, "quotes"), count(root, "instruments")) == (0, 1)
    writer.close()
    again = open_writer(root)
    assert again.iid("deribit", "BTC-1") == (iid, False)
    assert again.iid("deribit", "BTC-2") == (iid + 1, True)
    again.close()


def test_on_a_nearly_full_disk_only_events_are_written(root: Path) -> None:
    writer = Writer(root, "test", min_free_bytes=1 << 62)
    ts = writer.tick(START * 10**9)
    writer.append("quotes", 1, {"ts": ts, "iid": 0, "flags": 0})
    writer.append("events", 1, {"ts": ts, "kind": "disk"})
    flushed = writer.flush()
    assert (flushed.rows, flushed.dropped) == (1, 1)
    assert "only events are kept" in flushed.trouble
    assert (count(root, "quotes"), count(root, "events")) == (0, 1)
    writer.close()


@pytest.mark.parametrize("harm", ["cut", "text", "foreign"])
@pytest.mark.parametrize("when", ["while running", "before the start"])
def test_a_file_that_is_not_ours_is_named_and_put_aside(root: Path, harm: str, when: str) -> None:
    writer = open_writer(root)
    write_second(writer, START)
    write_second(writer, START + 7)
    writer.flush()
    if when == "before the start":
        writer.close()
    good = hot_segments(root, "quotes")[0]
    bad = good.with_name(f"{START + 30}000000.parquet")
    if harm == "cut":
        bad.write_bytes(good.read_bytes()[:-200])
    elif harm == "text":
        bad.write_text("not a Parquet file at all")
    else:
        duckdb.execute(f"COPY (SELECT 1 AS x) TO '{bad}' (FORMAT parquet)")
    if when == "before the start":
        writer = open_writer(root)
    else:
        assert writer.maintain() == ""
    [sentence] = writer.quarantined
    assert f"quotes/hot/{bad.name} was put aside into quarantine: " in sentence
    assert {"cut": "cut off", "text": "not a Parquet file", "foreign": "its columns differ"}[harm] in sentence
    assert (root / "quarantine" / f"quotes-hot-{bad.name}").exists()
    assert count(root) == 2 * INSTRUMENTS
    writer.close()


def test_missing_values_become_null_and_floats_keep_every_bit(writer: Writer, root: Path) -> None:
    values = np.array([0.1 + 0.2, -0.0, np.nan, 5e-324, np.inf])
    ts = writer.tick(START * 10**9)
    writer.append("quotes", 5, {"ts": ts, "iid": np.arange(5, dtype="i4"), "bid": values, "ask": None, "flags": 0})
    writer.flush()
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as db:
        rows = db.execute("SELECT bid, ask, ts_venue, seq, age_ms, fwd_source FROM quotes ORDER BY iid").fetchall()
    bids = [row[0] for row in rows]
    assert bids[2] is None
    kept = np.array([bid for bid in bids if bid is not None])
    assert kept.tobytes() == np.delete(values, 2).tobytes()
    assert {row[1:] for row in rows} == {(None,) * 5}


def test_a_column_of_the_wrong_length_is_refused(writer: Writer) -> None:
    with pytest.raises(ValueError, match="column iid: 3 values are needed"):
        writer.append("quotes", 3, {"ts": 1, "iid": [1, 2]})


def test_clear_empties_the_store(writer: Writer, root: Path) -> None:
    for second in range(START, START + 130):
        write_second(writer, second)
    writer.flush()
    writer.maintain()
    writer.clear()
    assert count(root) == 0
    assert writer.last_us == 0
    write_second(writer, START)
    writer.flush()
    assert count(root) == INSTRUMENTS
