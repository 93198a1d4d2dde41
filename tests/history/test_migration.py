"""A store of an older schema is brought up to date with all its rows, also when a kill came in between."""

import json
from pathlib import Path

import duckdb
import pytest
from surfaces import publication

from volsurface.bench.history_faults import START, open_writer, write_second
from volsurface.engine.history_rows import HistoryRows
from volsurface.errors import HistoryError
from volsurface.io.history import migration
from volsurface.io.history.packing import unpacked_columns
from volsurface.io.history.reader import History
from volsurface.io.history.schema import TABLES, VERSION
from volsurface.io.history.segments import cold_segments, hot_segments

NEW_COLUMNS = {"smiles": ["quoted_low", "quoted_high"], "surfaces": ["state_reason"], "forwards": ["venue"]}
NEW_TABLES = ("ivs", "trades", "venues", "ledger")


def old_store(root: Path) -> None:
    """Leave a store as schema 1 was: fewer columns and tables, trades among the events, cold quotes as they came."""
    writer = open_writer(root)
    rows = HistoryRows(writer)
    for second in range(70):
        write_second(writer, START + second)
        if second == 20:
            rows._now_us = writer.last_us
            rows.publication(publication())
            ts = writer.last_us
            writer.append("forwards", 1, {"ts": ts, "underlying": "BTC", "value": 86_000.0, "source": "index"})
            trade = {"kind": "trade", "iid": 3, "venue": "deribit", "value": 0.05, "size": -2.0, "extra": 0.6}
            writer.append("events", 1, {"ts": ts, "service": "feed", **trade})
            writer.append("events", 1, {"ts": ts, "service": "feed", "kind": "gap"})
        if second % 5 == 4:
            writer.flush()
            writer.maintain()
    for _ in range(3):
        writer.maintain()
    writer.close()
    for name in NEW_TABLES:
        for path in sorted((root / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (root / name).rmdir()
    with duckdb.connect() as db:
        for table in TABLES.values():
            old = [name for name in table.names if name not in NEW_COLUMNS.get(table.name, [])]
            paths = sorted(root.glob(f"{table.name}/**/*.parquet"))
            for path in paths:
                source = f"read_parquet('{path}', hive_partitioning=false)"
                if table.packed and "cold" in path.parts:
                    source = f"(SELECT {unpacked_columns(table)} FROM {source})"
                columns = ", ".join(f'"{name}"' for name in old)
                db.execute(f"COPY (SELECT {columns} FROM {source}) TO '{path}' (FORMAT parquet)")
    state = json.loads((root / "state.json").read_text())
    state["version"] = 1
    for kind in ("marks", "floors", "flipped", "raised"):
        state[kind] = {name: value for name, value in state[kind].items() if name not in NEW_TABLES}
    (root / "state.json").write_text(json.dumps(state))


def check(root: Path) -> None:
    with History(root) as history:
        counts = history.sql("SELECT count(*) AS n, count(DISTINCT epoch_us(ts) + iid) AS keys FROM quotes")
        assert (counts["n"][0], counts["keys"][0]) == (70 * 20, 70 * 20)
        assert history.surface_at((START + 30) * 10**9, "BTC").smiles[0].parameters
        assert history.sql("SELECT venue, value FROM forwards")["value"][0] == 86_000.0
        assert list(history.sql("SELECT kind FROM events")["kind"]) == ["gap"]
        [trade] = history.sql("SELECT iid, price, size, side, iv, venue FROM trades").rows()
        assert tuple(trade.values()) == (3, 0.05, 2.0, "sell", 0.6, "deribit")
        assert len(history.sql("SELECT * FROM ivs")) == 0
    assert json.loads((root / "state.json").read_text())["version"] == VERSION


def test_an_old_store_keeps_every_row_and_gets_the_new_columns(root: Path) -> None:
    old_store(root)
    assert cold_segments(root, "quotes")
    with pytest.raises(
        HistoryError, match=rf"has history schema 1, this program reads {VERSION}: its historian brings the folder"
    ):
        History(root)
    open_writer(root).close()
    check(root)
    open_writer(root).close()


@pytest.mark.parametrize("after", [1, 5])
def test_a_kill_while_it_is_brought_up_to_date_is_finished_at_the_next_start(
    root: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_store(root)
    write, left = migration.write_segment, [len(TABLES) * 2 + after]

    def dies(*arguments: object, **named: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        write(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(migration, "write_segment", dies)
        with pytest.raises(KeyboardInterrupt):
            open_writer(root)
    open_writer(root).close()
    check(root)


def test_a_schema_older_than_any_known_is_refused(root: Path) -> None:
    open_writer(root).close()
    state = json.loads((root / "state.json").read_text())
    (root / "state.json").write_text(json.dumps(state | {"version": 0}))
    with pytest.raises(HistoryError, match="has history schema 0; the oldest that can be read is 1"):
        open_writer(root)
    assert hot_segments(root, "quotes") == []
