"""`history.duckdb` answers in any DuckDB, in another process, while the store is being written."""

import subprocess
import sys
from pathlib import Path

import duckdb
from surfaces import publication

from volsurface.bench.history_faults import START, write_second
from volsurface.engine.history_rows import HistoryRows
from volsurface.io.history.reader import History
from volsurface.io.history.writer import Writer

AT = f"make_timestamp({START + 5}000000)"
QUESTIONS = {
    "quotes_at": f"FROM quotes_at({AT})",
    "with time zone": f"FROM quotes_at(to_timestamp({START + 5}))",
    "lookback": f"FROM quotes_at({AT}, lookback := INTERVAL 1 SECOND)",
    "chain_at": f"FROM chain_at({AT}, 'BTC')",
    "surface_at": f"FROM surface_at({AT}, 'BTC')",
    "smile_at": f"FROM smile_at({AT}, 'BTC', TIMESTAMP '2026-11-27 08:00:00')",
    "metric": f"FROM metric('rr25', 'BTC', {AT} - INTERVAL 1 HOUR, days := 30)",
    "metric of an expiry": f"FROM metric('bf10', 'BTC', {AT} - INTERVAL 1 HOUR, expires := TIMESTAMP '2026-11-27 08:00:00')",
    "event_counts": f"FROM event_counts({AT} - INTERVAL 1 HOUR)",
    "tables": "SELECT * FROM runs UNION ALL BY NAME SELECT * FROM settings",
}


def fill(writer: Writer) -> None:
    rows = HistoryRows(writer)
    for second in range(START, START + 5):
        write_second(writer, second)
    writer.append(
        "instruments", 1, {"ts": writer.last_us, "iid": 3, "underlying": "BTC", "expiry": (START + 999) * 10**6}
    )
    rows.event("gap", "a gap")
    rows.begin((START + 5) * 10**9)
    rows.publication(publication())
    writer.flush()


def test_every_question_has_the_same_answer_as_with_our_reader(writer: Writer) -> None:
    fill(writer)
    sizes = {}
    with duckdb.connect(str(writer.root / "history.duckdb"), read_only=True) as plain, History(writer.root) as history:
        for name, question in QUESTIONS.items():
            rows = plain.execute(question).fetchall()
            sizes[name] = len(rows)
            assert len(history.sql(question)) == len(rows), name
    assert sizes == {
        "quotes_at": 20, "with time zone": 20, "lookback": 20, "chain_at": 1, "surface_at": 3, "smile_at": 1,
        "metric": 1, "metric of an expiry": 1, "event_counts": 1, "tables": 0,
    }  # fmt: skip


def test_plain_duckdb_in_a_second_process_reads_while_the_store_is_written(writer: Writer, tmp_path: Path) -> None:
    program = """
import sys, duckdb
db = duckdb.connect("history/simulated/history.duckdb", read_only=True)
for _ in sys.stdin:
    print(db.execute("SELECT count(*), count(DISTINCT iid) FROM quotes").fetchall(), flush=True)
"""
    reader = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdin is not None
    assert reader.stdout is not None
    with reader:
        for second in range(3):
            write_second(writer, START + second)
            writer.flush()
            reader.stdin.write("now\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == f"[({20 * (second + 1)}, 20)]\n"
        reader.stdin.close()
    assert reader.returncode == 0


def test_an_open_notebook_does_not_hold_up_the_next_writer(root: Path) -> None:
    Writer(root, "a").close()
    with duckdb.connect(str(root / "history.duckdb"), read_only=True) as open_notebook:
        writer = Writer(root, "b")
        write_second(writer, START)
        writer.close()
        assert open_notebook.execute("SELECT count(*) FROM quotes").fetchall() == [(20,)]


def test_a_segment_outside_the_asked_time_is_not_opened(writer: Writer) -> None:
    for second in (START, START + 61, START + 125):
        write_second(writer, second)
        writer.flush()
    for unreadable in (f"{START + 61}000000", f"{START + 125}000000"):
        (writer.root / "quotes" / "hot" / f"{unreadable}.parquet").write_bytes(b"cannot be opened")
    with duckdb.connect(str(writer.root / "history.duckdb"), read_only=True) as plain, History(writer.root) as history:
        assert len(plain.execute(f"FROM quotes_at({AT})").fetchall()) == 20
        assert len(history.sql(f"FROM quotes_at({AT})")) == 20


def test_the_catalogue_opens_with_the_storage_version_of_older_programs(writer: Writer) -> None:
    with duckdb.connect() as db:
        db.execute(f"ATTACH '{writer.root / 'history.duckdb'}' AS catalogue (READ_ONLY)")
        [(tags,)] = db.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'catalogue'").fetchall()
    assert tags["storage_version"].startswith("v1.2.0")
