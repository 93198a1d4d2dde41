"""Brings a store of an older schema up to date, segment by segment, so that a kill in between is finished at the next start.

Only its writer does this, before anything else; readers refuse the store until `state.json` says that it is done. What
older schemas did not have is missing (NULL) in their rows.
"""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import duckdb

from volsurface.errors import HistoryError
from volsurface.io.history.packing import packed_select, stored_columns
from volsurface.io.history.schema import COMPACTED, TABLES, VERSION, Table, empty_select
from volsurface.io.history.segments import (
    COLD_OPTIONS,
    STATE_FILE,
    State,
    cold_path,
    cold_segments,
    hot_folder,
    hot_segments,
    quoted,
    segment_name,
    thin_path,
    thin_segments,
    write_segment,
)

log = logging.getLogger(__name__)

OLDEST = 1  # schema that can still be brought up to date
_TRADES_AS_EVENTS = 4  # before this schema trades were events


def migrate(root: Path, db: duckdb.DuckDBPyConnection) -> int:
    """Bring the store in `root` to the schema of this program; return how many segments were rewritten.

    Does nothing for a store that is up to date or newer. Raises HistoryError for a schema older than any known.
    """
    found = _found(root)
    if found is None or found["version"] >= VERSION:
        return 0
    if found["version"] < OLDEST:
        raise HistoryError(f"{root} has history schema {found['version']}; the oldest that can be read is {OLDEST}")
    log.info("history: bringing %s from schema %d to %d", root, found["version"], VERSION)
    rewritten = 0
    for table in TABLES.values():
        _make_empty(root, db, table)
    for table in TABLES.values():
        if (root / table.name).is_dir():
            paths = [(path, False) for path in hot_segments(root, table.name)]
            paths += [(path, True) for path in cold_segments(root, table.name)] if table.compacted else []
            paths += [(path, True) for path in thin_segments(root, table.name)]
            for path, cold in paths:
                if table.name == "events" and found["version"] < _TRADES_AS_EVENTS:
                    _move_trades(root, db, path, cold)
                rewritten += _rewrite(db, table, path, cold)
    values = asdict(State()) | {name: value for name, value in found.items() if name != "version"}
    for kind in ("marks", "floors", "thin_floors", "flipped", "raised"):
        values[kind] = dict.fromkeys(COMPACTED, 0) | values[kind]
        if "trades" not in found.get(kind, {}):
            values[kind]["trades"] = values[kind]["events"]
    State(**values).save(root)
    log.info("history: %s has schema %d now, %d segments were rewritten", root, VERSION, rewritten)
    return rewritten


def _found(root: Path) -> dict | None:
    """Return what `state.json` says when it is that of some schema; what is wrong with it is said when it is loaded."""
    try:
        found = json.loads((root / STATE_FILE).read_text(encoding="utf-8"))
        return found if isinstance(found["version"], int) and isinstance(found["marks"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make_empty(root: Path, db: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Write a table's empty first segments anew, from which DuckDB takes the columns."""
    places = [(hot_folder(root, table.name) / segment_name(0), False)]
    places += [(cold_path(root, table.name, 0), True)] if table.compacted else []
    places += [(thin_path(root, table.name, 0), True)] if table.thinned else []
    for path, cold in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_segment(db, empty_select(stored_columns(table, cold)), path)


def _columns(db: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    rows = db.execute(f"DESCRIBE SELECT * FROM {_read(path)}").fetchall()
    return {row[0]: row[1] for row in rows}


def _read(path: Path) -> str:
    return f"read_parquet({quoted(path)}, hive_partitioning=false)"


def _rewrite(db: duckdb.DuckDBPyConnection, table: Table, path: Path, cold: bool) -> bool:
    """Give a segment the table's columns of today if it has others; one that cannot be read is left to the inspection."""
    try:
        found = _columns(db, path)
        if found == {column.name: column.type for column in stored_columns(table, cold)}:
            return False
        columns = ", ".join(
            f'"{c.name}"' if c.name in found else f'NULL::{c.type} AS "{c.name}"' for c in table.columns
        )
        rows = f"(SELECT {columns} FROM {_read(path)})"
        query = (
            f"SELECT * FROM ({packed_select(table, rows)}) ORDER BY {', '.join(table.order)}"
            if cold
            else f"FROM {rows}"
        )
        write_segment(db, query, path, COLD_OPTIONS if cold else "")
    except duckdb.InvalidInputException as error:
        log.warning("history: %s cannot be brought up to date: %s", path, str(error).splitlines()[0])
        return False
    return True


def _move_trades(root: Path, db: duckdb.DuckDBPyConnection, path: Path, cold: bool) -> None:
    """Write the trades among a segment's events as a segment of trades, then the events without them."""
    try:
        [(trades,)] = db.execute(f"SELECT count(*) FROM {_read(path)} WHERE kind = 'trade'").fetchall()
    except duckdb.Error:
        return
    if not trades:
        return
    target = cold_path(root, "trades", int(path.stem)) if cold else hot_folder(root, "trades") / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    write_segment(
        db,
        f"""SELECT ts, run, settings_id, iid, venue, value AS price, abs(size) AS size,
        CASE WHEN size < 0 THEN 'sell' ELSE 'buy' END AS side, extra AS iv
        FROM {_read(path)} WHERE kind = 'trade' ORDER BY iid, ts""",
        target,
        COLD_OPTIONS if cold else "",
    )
    write_segment(db, f"SELECT * FROM {_read(path)} WHERE kind <> 'trade'", path, COLD_OPTIONS if cold else "")
