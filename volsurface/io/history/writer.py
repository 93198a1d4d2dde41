"""The one writer of a store: buffers rows, makes a durable segment of them at each flush, and goes on after any kill."""

import fcntl
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import duckdb
import numpy as np

from volsurface.errors import HistoryError, ServiceError
from volsurface.io.history.catalogue import check_path, write_catalogue
from volsurface.io.history.compaction import Ages, Compactor, DamagedSegment, Limits
from volsurface.io.history.migration import migrate
from volsurface.io.history.schema import COMPACTED, TABLES, encode, encoded_select
from volsurface.io.history.segments import (
    BLOCK_US,
    LOCK_FILE,
    QUARANTINE,
    STATE_FILE,
    State,
    cold_segments,
    damage,
    foreign,
    foreign_cold,
    hot_folder,
    hot_segments,
    load_state,
    make_folders,
    quoted,
    segment_name,
    thin_segments,
    write_segment,
)

log = logging.getLogger(__name__)

MIN_FREE_BYTES = 1_000_000_000  # below this nothing but events is written
RETIRE_EVERY_FLUSHES = 12  # whole days go; once a minute is soon enough to look
# What a row needs comes before it, so that it is there also after a kill in between: instruments before quotes, smiles
# before surfaces.
_FLUSH_ORDER = sorted(TABLES, key=lambda name: (name in COMPACTED, name == "surfaces", name == "events"))


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a flush has done. `trouble` is empty when all rows were made durable, else the reason they were dropped."""

    rows: int = 0
    dropped: int = 0
    bytes: int = 0
    ms: float = 0.0
    trouble: str = ""


class Writer:
    """Writes one store. Not thread safe: one caller at a time, in any thread.

    root: the store's folder, made when it is not there. run: id of this start of the program, in every row.
    quarantined: what was found damaged or foreign and put aside, as sentences; the caller takes them away.
    last_us: newest time written; times never go back behind it.

    Raises ServiceError when another process writes the store, HistoryError when the folder cannot be used.
    """

    def __init__(
        self, root: Path, run: str, *, block_us: int = BLOCK_US, ages: Ages | None = None, limits: Limits | None = None,
        min_free_bytes: int = MIN_FREE_BYTES, wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:  # fmt: skip
        self.root, self.run = root.absolute(), run
        self.settings_id = 0
        self.quarantined: list[str] = []
        self.instruments: dict[tuple[str, str], int] = {}
        self.last_us = 0
        self._min_free_bytes = min_free_bytes
        self._buffers: dict[str, list[tuple[int, dict[str, Any]]]] = {name: [] for name in TABLES}
        self._flushes = self._next_iid = 0
        check_path(self.root)
        self._lock = _take_lock(self.root)
        try:
            self._db = duckdb.connect(config={"threads": 1, "memory_limit": "1GB"})
            self._db.execute(f"SET temp_directory = {quoted(self.root / 'spill')}")
            migrate(self.root, self._db)
            make_folders(self.root, self._db)
            if not (self.root / STATE_FILE).exists():
                State(block_us=block_us).save(self.root)
            self._state = load_state(self.root)
            self._known: dict[str, set[str]] = {name: set() for name in TABLES}
            self.inspect(cold=True)
            self._resume()
            write_catalogue(self.root, self._state.block_us)
        except OSError as error:
            self._lock.close()
            raise HistoryError(f"cannot write the history in {self.root}: {error.strerror or error}") from error
        except (duckdb.Error, HistoryError) as error:
            self._lock.close()
            raise HistoryError(f"cannot use the history in {self.root}: {error}") from error
        self._compactor = Compactor(
            self.root, self._db, self._state, ages or Ages(), limits or Limits(), wall_us=wall_us
        )

    @property
    def limits(self) -> Limits:
        """What is kept; may be replaced while running."""
        return self._compactor.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._compactor.limits = limits

    def tick(self, now_ns: int) -> int:
        """Return `now_ns` in microseconds as the time of the next rows: later than every time before it.

        A clock that was stepped back stands still at the last time, a microsecond per tick, until it has caught up.
        """
        self.last_us = max(now_ns // 1000, self.last_us + 1)
        return self.last_us

    def append(self, table: str, rows: int, columns: Mapping[str, Any]) -> None:
        """Take rows for the next flush; a column is one value for all or one each, see `schema.encode`.

        `ts` is needed: of the last `tick`, or between it and the one before. Columns left out are missing.
        """
        if rows:
            encoded = {c.name: encode(c, columns.get(c.name), rows) for c in TABLES[table].columns if c.name != "run"}
            if "settings_id" not in columns:
                encoded["settings_id"] = np.full(rows, self.settings_id, "i4")
            self._buffers[table].append((rows, encoded))

    def iid(self, venue: str, symbol: str) -> tuple[int, bool]:
        """Return the store's number of an instrument, and whether it was given just now (then append its row)."""
        key = (venue, symbol)
        known = key in self.instruments
        if not known:
            self.instruments[key] = self._next_iid
            self._next_iid += 1
        return self.instruments[key], not known

    def flush(self) -> Flushed:
        """Make the buffered rows durable; when the disk refuses, drop and count them and go on.

        Rows of the small tables (instruments, settings, runs) are never dropped: they wait for the next flush.
        """
        start = time.perf_counter()
        rows = dropped = size = 0
        trouble = ""
        free = shutil.disk_usage(self.root).free
        for table in _FLUSH_ORDER:
            chunks, self._buffers[table] = self._buffers[table], []
            count = sum(n for n, _ in chunks)
            if not count:
                continue
            if free < self._min_free_bytes and table in COMPACTED and table != "events":
                trouble = (
                    f"{free / 1e9:.2f} GB free of the {self._min_free_bytes / 1e9:.2f} GB needed: only events are kept"
                )
                dropped += count
                continue
            if table == "quotes" and self._buffers["instruments"]:
                dropped += count  # after a kill their numbers would be given to other instruments
                continue
            try:
                size += self._write(table, chunks)
                rows += count
            except (OSError, duckdb.IOException) as error:
                trouble = f"cannot write {table}: {str(error).splitlines()[0]}"
                if table in COMPACTED:
                    dropped += count
                else:
                    self._buffers[table] = chunks
        return Flushed(rows, dropped, size, (time.perf_counter() - start) * 1e3, trouble)

    def _write(self, table: str, chunks: list[tuple[int, dict[str, np.ndarray]]]) -> int:
        columns = {name: np.concatenate([chunk[name] for _, chunk in chunks]) for name in chunks[0][1]}
        blocks = columns["ts"] // self._state.block_us
        size = 0
        for block in np.unique(blocks):
            part = {name: values[blocks == block] for name, values in columns.items()}
            part["run"] = np.full(part["ts"].size, self.run, object)
            final = hot_folder(self.root, table) / segment_name(int(part["ts"].min()))
            if final.exists():
                raise HistoryError(f"{final} exists already: a time was given twice")
            self._known[table].add(final.name)
            self._db.register("part", part)
            try:
                write_segment(self._db, encoded_select(TABLES[table], "part"), final)
            finally:
                self._db.unregister("part")
            size += final.stat().st_size
        return size

    def maintain(self) -> str:
        """Check files that appeared by hand, compact what is closed, remove what is too old; return the trouble, if any.

        To be called after each flush; a step that fails is tried again at the next call.
        """
        self._flushes += 1
        try:
            self.inspect()
            if not any(self._buffers.values()):
                self._compactor.step(self.last_us + 1)
            if self._flushes % RETIRE_EVERY_FLUSHES == 0:
                self._compactor.retire(self.last_us)
        except DamagedSegment as error:
            self._put_aside(error.table, error.path, f"its rows cannot be read: {error.reason}")
        except (OSError, duckdb.Error, HistoryError) as error:
            return f"cannot compact: {str(error).splitlines()[0]}"
        return ""

    def inspect(self, cold: bool = False) -> None:
        """Put aside segments that are not ours or not whole, so that the rest stays readable; `cold`: look at all."""
        for table in TABLES.values():
            paths = hot_segments(self.root, table.name)
            for path in paths:
                if path.name not in self._known[table.name]:
                    self._put_aside(table.name, path, damage(path) or foreign(self._db, path, table.columns))
            self._known[table.name] = {path.name for path in paths}
            if cold and table.compacted:
                paths = cold_segments(self.root, table.name) + thin_segments(self.root, table.name)
                for path in paths:
                    self._put_aside(table.name, path, damage(path))
                for path, reason in foreign_cold(self._db, [path for path in paths if path.exists()], table):
                    self._put_aside(table.name, path, reason)

    def _put_aside(self, table: str, path: Path, reason: str) -> None:
        if not reason:
            return
        aside = self.root / QUARANTINE / f"{table}-{path.parent.name}-{path.name}"
        aside.parent.mkdir(exist_ok=True)
        os.replace(path, aside)
        text = f"{table}/{path.parent.name}/{path.name} was put aside into {QUARANTINE}: {reason}"
        self.quarantined.append(text)
        log.error("history: %s", text)

    def _resume(self) -> None:
        """Find the newest time of all tables and the numbers of the instruments."""
        self.last_us = max(0, *(mark - 1 for mark in self._state.marks.values()))
        for table in TABLES:
            newest = hot_segments(self.root, table)[-1:]
            if table in COMPACTED:
                newest += cold_segments(self.root, table)[-1:]
            for path in newest:
                newest_us = f"SELECT epoch_us(max(ts)) FROM read_parquet({quoted(path)}, hive_partitioning=false)"
                self.last_us = max(self.last_us, self._db.execute(newest_us).fetchall()[0][0] or 0)
        files = quoted(hot_folder(self.root, "instruments") / "*.parquet")
        rows = self._db.execute(f"SELECT venue, native_symbol, iid FROM read_parquet({files}) ORDER BY iid").fetchall()
        self.instruments = {(venue, symbol): iid for venue, symbol, iid in rows}
        self._next_iid = max(self.instruments.values(), default=-1) + 1

    def clear(self) -> None:
        """Remove every row, oldest first, so that a kill in between is seen and finished at the next start."""
        for buffers in self._buffers.values():
            buffers.clear()
        for table in TABLES:
            if table in COMPACTED:
                for path in thin_segments(self.root, table) + cold_segments(self.root, table):
                    path.unlink()
            for path in hot_segments(self.root, table):
                path.unlink()
        for table in COMPACTED:
            self._state.marks[table] = self._state.floors[table] = self._state.thin_floors[table] = 0
        self._state.save(self.root)
        self.instruments.clear()
        self._next_iid = self.last_us = 0

    def size(self) -> int:
        """Return the bytes of all segments."""
        hot = (path for table in TABLES for path in hot_segments(self.root, table))
        cold = (path for table in COMPACTED for path in cold_segments(self.root, table))
        thin = (path for table in COMPACTED for path in thin_segments(self.root, table))
        return sum(path.stat().st_size for paths in (hot, cold, thin) for path in paths)

    def close(self) -> Flushed:
        """Flush and let the store go."""
        flushed = self.flush()
        self._db.close()
        self._lock.close()
        return flushed


def _take_lock(root: Path) -> IO[str]:
    """Return the open lock file of a store; the kernel lets it go when the process ends, however it ends."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise HistoryError(f"cannot write the history in {root}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = _holder(lock.read())
        lock.close()
        raise ServiceError(f"the history in {root} is already being written by {holder}") from error
    lock.seek(0)
    lock.truncate()
    lock.write(
        json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%FT%TZ", time.gmtime())})
    )
    lock.flush()
    return lock


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
