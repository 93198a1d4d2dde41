"""Immutable Parquet segments: how one is named, made durable, checked, and found again after a kill.

    <store>/<table>/hot/<start>.parquet                   one flush
    <store>/<table>/cold/date=YYYY-MM-DD/<start>.parquet  one block, in the table's order
    <store>/<table>/thin/date=YYYY-MM-DD/<start>.parquet  one day of one surface a minute, of tables that are thinned
    <store>/<table>/<start>.parquet                       a table of few rows
    <store>/state.json                                    where cold ends and hot begins: the only file that changes

`start` is the first row's time (cold: the block's, thin: the day's) in microseconds since 1970 UTC, padded with zeros so that names sort
as times. A file with start 0 and no rows is in each folder: DuckDB refuses a pattern without files, and takes the
columns from the first.
"""

import json
import os
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import duckdb

from volsurface.errors import HistoryError
from volsurface.io.history.packing import stored_columns
from volsurface.io.history.schema import COMPACTED, TABLES, VERSION, Column, Table, empty_select

US_PER_S = 1_000_000
BLOCK_US = 600 * US_PER_S  # a block never crosses midnight: 86,400 s is a whole number of blocks
STATE_FILE, CATALOGUE_FILE, LOCK_FILE, QUARANTINE = "state.json", "history.duckdb", "writer.lock", "quarantine"
COLD_OPTIONS = ", COMPRESSION_LEVEL 12, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1000"  # small first: written once
_MAGIC = b"PAR1"
_FOOTER = 8  # length of the metadata (4) and the magic word (4) end a Parquet file


def segment_name(start_us: int) -> str:
    """Return the file name of a segment.

    >>> segment_name(1795200000000000)
    '1795200000000000.parquet'
    """
    return f"{start_us:016d}.parquet"


def hot_folder(root: Path, table: str) -> Path:
    """Return where a table's flushes go; for a table that is not compacted that is its only folder."""
    return root / table / "hot" if TABLES[table].compacted else root / table


def cold_path(root: Path, table: str, start_us: int) -> Path:
    """Return the path of the cold segment of the block that starts at `start_us`."""
    return root / table / "cold" / day_folder(start_us) / segment_name(start_us)


def thin_path(root: Path, table: str, start_us: int) -> Path:
    """Return the path of the thin segment of the day that starts at `start_us`."""
    return root / table / "thin" / day_folder(start_us) / segment_name(start_us)


def day_folder(time_us: int) -> str:
    """Return the folder name of a time's UTC day.

    >>> day_folder(1795200000000000)
    'date=2026-11-20'
    """
    return time.strftime("date=%Y-%m-%d", time.gmtime(time_us // US_PER_S))


def start_of(path: Path) -> int | None:
    """Return the start in a segment's name, or None when it is not such a name."""
    return int(path.stem) if path.suffix == ".parquet" and path.stem.isdigit() and len(path.stem) == 16 else None


def hot_segments(root: Path, table: str) -> list[Path]:
    """Return a table's hot segments, oldest first, without the empty first one."""
    return _segments(hot_folder(root, table).iterdir())


def cold_segments(root: Path, table: str) -> list[Path]:
    """Return a table's cold segments, oldest first, without the empty first one."""
    return _segments(path for day in (root / table / "cold").iterdir() if day.is_dir() for path in day.iterdir())


def thin_segments(root: Path, table: str) -> list[Path]:
    """Return a table's thin segments, oldest first, without the empty first one; none of a table that has none."""
    folder = root / table / "thin"
    if not folder.is_dir():
        return []
    return _segments(path for day in folder.iterdir() if day.is_dir() for path in day.iterdir())


def _segments(paths: Iterable[Path]) -> list[Path]:
    return sorted((path for path in paths if start_of(path)), key=lambda path: path.name)


def quoted(text: object) -> str:
    """Return text as a SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(temporary: Path, final: Path) -> None:
    """Make a finished file durable, then visible, then its name durable; what is not finished is never seen."""
    handle = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, final)
    sync_folder(final.parent)


def write_segment(db: duckdb.DuckDBPyConnection, query: str, final: Path, options: str = "") -> None:
    """Write a query's rows as a durable segment; a failure leaves nothing behind and is an OSError or duckdb.Error."""
    temporary = final.with_suffix(".tmp")
    try:
        db.execute(f"COPY ({query}) TO {quoted(temporary)} (FORMAT parquet, COMPRESSION zstd{options})")
        publish(temporary, final)
    except (OSError, duckdb.Error):
        temporary.unlink(missing_ok=True)
        raise


def damage(path: Path) -> str:
    """Return what is wrong with a file as a Parquet file, judged by its two ends, or "" when they are sound."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
            size = file.seek(0, os.SEEK_END)
            if head != _MAGIC or size < 3 * 4:
                return f"not a Parquet file ({size} bytes)"
            file.seek(size - _FOOTER)
            length, magic = struct.unpack("<I4s", file.read(_FOOTER))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if magic != _MAGIC:
        return f"cut off: it ends after {size} bytes without the closing word"
    return "" if length <= size - _FOOTER - 4 else f"cut off: {length} bytes of metadata do not fit into {size} bytes"


def foreign(db: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[Column]) -> str:
    """Return in what a Parquet file's columns differ from those, or ""."""
    try:
        rows = db.execute(f"DESCRIBE SELECT * FROM read_parquet({quoted(path)}, hive_partitioning=false)").fetchall()
    except duckdb.Error as error:
        return f"cannot be read: {str(error).splitlines()[0]}"
    found = {row[0]: row[1] for row in rows}
    wanted = {column.name: column.type for column in columns}
    if found == wanted:
        return ""
    return "its columns differ from the table's in " + ", ".join(sorted(set(found.items()) ^ set(wanted.items()))[0])


def foreign_cold(db: duckdb.DuckDBPyConnection, paths: Sequence[Path], table: Table) -> list[tuple[Path, str]]:
    """Return those of a table's compacted segments that have other columns, and which; all in one question, for speed."""
    if not paths:
        return []
    wanted = {column.name for column in stored_columns(table, cold=True)}
    query = "SELECT file_name, list(name) FROM parquet_schema($1) WHERE num_children IS NULL GROUP BY ALL"
    try:
        found = db.execute(query, [[str(path) for path in paths]]).fetchall()
    except duckdb.Error as error:
        if len(paths) == 1:
            return [(paths[0], f"cannot be read: {str(error).splitlines()[0]}")]
        return [problem for path in paths for problem in foreign_cold(db, [path], table)]
    return [
        (Path(name), f"its columns differ from the table's in {min(set(names) ^ wanted)}")
        for name, names in found
        if set(names) != wanted
    ]


@dataclass(slots=True)
class State:
    """What `state.json` says; per compacted table, in microseconds.

    marks: cold segments are valid below, hot segments at or above. floors: cold segments below are about to be removed;
    of a table that is thinned, thin segments are valid below. thin_floors: thin segments below are about to be removed.
    flipped, raised: wall clock when the mark was moved and the floor was raised.
    """

    version: int = VERSION
    block_us: int = BLOCK_US
    marks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COMPACTED, 0))
    floors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COMPACTED, 0))
    thin_floors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COMPACTED, 0))
    flipped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COMPACTED, 0))
    raised: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COMPACTED, 0))

    def save(self, root: Path) -> None:
        """Replace `state.json` in one durable step."""
        temporary = root / "state.tmp"
        temporary.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        publish(temporary, root / STATE_FILE)


def load_state(root: Path) -> State:
    """Return what a store's `state.json` says; raises HistoryError when it is not there or of another version."""
    path = root / STATE_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        state = State(**{name: values[name] for name in State.__slots__})
    except FileNotFoundError as error:
        raise HistoryError(f"{root} is not a history store: it has no {STATE_FILE}") from error
    except OSError as error:
        raise HistoryError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise HistoryError(f"{path} is damaged: {error!r}") from error
    if state.version > VERSION:
        raise HistoryError(
            f"{root} has history schema {state.version} of a newer program; this one reads and writes {VERSION}"
        )
    if state.version < VERSION:
        raise HistoryError(
            f"{root} has history schema {state.version}, this program reads {VERSION}: "
            "its historian brings the folder up to date when it next writes there"
        )
    return state


def make_folders(root: Path, db: duckdb.DuckDBPyConnection) -> None:
    """Make every table's folders with their empty first segments, and remove what a kill has left unfinished."""
    for table in TABLES.values():
        folders = [hot_folder(root, table.name)]
        if table.compacted:
            folders.append(cold_path(root, table.name, 0).parent)
        if table.thinned:
            folders.append(thin_path(root, table.name, 0).parent)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            empty = folder / segment_name(0)
            if not empty.exists() or damage(empty):
                write_segment(db, empty_select(stored_columns(table, folder != folders[0])), empty)
    for leftover in root.rglob("*.tmp"):
        leftover.unlink()
