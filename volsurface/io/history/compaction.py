"""Turns the many hot segments of a closed block into one cold segment while readers go on, in steps a kill can repeat.

1. A block whose rows are all written gets its cold segment. Readers do not use it yet.
2. `flip_after_s` later, when every query that has listed the folder without it has learnt the mark, the mark moves: cold is
   valid below it, hot at or above. It moves only when nothing lies below it any more.
3. `delete_after_s` after that, when every query that still uses them has ended, the hot segments below are deleted.

Whole days of cold segments go the same way, oldest first: the floor rises, and `delete_after_s` later the files go. Of a
table that is thinned, what lies below the floor is read from thin segments instead, until those have to go too.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import duckdb

from volsurface.errors import HistoryError
from volsurface.io.history.packing import packed_select, unpacked_columns
from volsurface.io.history.schema import COMPACTED, TABLES
from volsurface.io.history.segments import (
    COLD_OPTIONS,
    US_PER_S,
    State,
    cold_path,
    cold_segments,
    day_folder,
    hot_segments,
    quoted,
    start_of,
    thin_path,
    write_segment,
)

DAY_US = 86_400 * US_PER_S
FULL = 0.98  # of the size allowed: what is given up is deleted ten minutes later, and more is written meanwhile


class DamagedSegment(HistoryError):
    """A segment whose ends are sound and whose middle is not: its rows cannot be read."""

    def __init__(self, table: str, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.table, self.path, self.reason = table, path, reason


@dataclass(frozen=True, slots=True)
class Ages:
    """How long each step waits for readers, in seconds of the wall clock; tests shorten them."""

    flip_after_s: float = 60.0
    delete_after_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept. max_bytes: of all segments. max_age_s: by table, of the market's time; a table not named stays.

    thin_after_s: age from which the thinned tables keep one surface a minute; None: never. The newest `keep_s` seconds are
    never removed.
    """

    max_bytes: int = 10_000_000_000
    max_age_s: dict[str, float] | None = None
    keep_s: float = 86_400.0
    thin_after_s: float | None = None


class Compactor:
    """Carries out the steps for one store; only its writer has one."""

    def __init__(
        self, root: Path, db: duckdb.DuckDBPyConnection, state: State, ages: Ages, limits: Limits,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:  # fmt: skip
        self._root, self._db, self._state, self._ages, self.limits = root, db, state, ages, limits
        self._wall_us = wall_us

    def step(self, closed_us: int) -> int:
        """Do what is due for rows before `closed_us`, of which none will come any more; return the blocks compacted.

        At most one block per table and call, so that a long backlog does not hold up the writer.
        """
        compacted = 0
        for table in COMPACTED:
            hot, cold = hot_segments(self._root, table), cold_segments(self._root, table)
            compacted += self._compact(table, hot, cold, closed_us)
            self._flip_or_delete(table, hot, cold)
        return compacted

    def _compact(self, table: str, hot: list[Path], cold: list[Path], closed_us: int) -> int:
        block_us = self._state.block_us
        begin = max(self._state.marks[table], _start(cold[-1]) + block_us if cold else 0)
        waiting = [path for path in hot if _start(path) >= begin]
        if not waiting:
            return 0
        block = _start(waiting[0]) // block_us * block_us
        if block + block_us > closed_us:
            return 0
        paths = [path for path in waiting if _start(path) < block + block_us]
        files = "[" + ", ".join(quoted(path) for path in paths) + "]"
        final = cold_path(self._root, table, block)
        final.parent.mkdir(parents=True, exist_ok=True)
        order = ", ".join(TABLES[table].order)
        rows = f"read_parquet({files}, hive_partitioning=false)"
        query = f"SELECT * FROM ({packed_select(TABLES[table], rows)}) ORDER BY {order}"
        try:
            write_segment(self._db, query, final, COLD_OPTIONS)
        except duckdb.Error as error:
            self._blame(table, paths, error)
        before = self._content(table, rows, ", ".join(f'"{name}"' for name in TABLES[table].names))
        after = self._content(
            table, f"read_parquet({quoted(final)}, hive_partitioning=false)", unpacked_columns(TABLES[table])
        )
        if before != after:
            final.unlink()
            raise HistoryError(f"{final} would not hold what its hot segments do; they stay")
        return 1

    def _blame(self, table: str, paths: list[Path], error: duckdb.Error) -> NoReturn:
        """Raise DamagedSegment for the first segment that cannot be read whole, else `error`."""
        names = ", ".join(f'"{name}"' for name in TABLES[table].names)
        for path in paths:
            try:
                self._content(table, f"read_parquet({quoted(path)}, hive_partitioning=false)", names)
            except duckdb.Error as own:
                raise DamagedSegment(table, path, str(own).splitlines()[0]) from error
        raise error

    def _content(self, table: str, rows: str, columns: str) -> tuple[int, int]:
        """Return number and fingerprint of the rows, in whatever order they are."""
        names = ", ".join(f'"{name}"' for name in TABLES[table].names)
        query = f"SELECT count(*), bit_xor(hash({names})) FROM (SELECT {columns} FROM {rows})"
        # fetchall: after fetchone the connection would refuse other work as long as the result is not read to its end
        [content] = self._db.execute(query).fetchall()
        return content

    def _flip_or_delete(self, table: str, hot: list[Path], cold: list[Path]) -> None:
        mark = self._state.marks[table]
        below = [path for path in hot if _start(path) < mark]
        if below:
            if self._waited(self._state.flipped[table], self._ages.delete_after_s):
                for path in below:
                    path.unlink(missing_ok=True)
            return
        ready = [path for path in cold if _start(path) >= mark and self._aged(path)]
        if ready:
            self._state.marks[table] = _start(ready[-1]) + self._state.block_us
            self._state.flipped[table] = self._wall_us()
            self._state.save(self._root)

    def _aged(self, path: Path) -> bool:
        return self._waited(path.stat().st_mtime_ns // 1000, self._ages.flip_after_s)

    def _waited(self, since_us: int, seconds: float) -> bool:
        # A wall clock that was stepped back makes the age negative: waiting for it to catch up could take for ever.
        age_us = self._wall_us() - since_us
        return age_us > seconds * US_PER_S or age_us < -seconds * US_PER_S

    def retire(self, now_us: int) -> int:
        """Thin and remove whole days that are too old or too much; return how many day folders were deleted."""
        deleted = self._delete_days()
        floors, thin_floors = dict(self._state.floors), dict(self._state.thin_floors)
        self._thin(now_us, floors)
        for table, name in self._excess(self._sizes(floors), now_us):
            end_us = _day_start(name) + DAY_US
            floors[table], thin_floors[table] = max(floors[table], end_us), max(thin_floors[table], end_us)
        raised = [
            table
            for table in COMPACTED
            if floors[table] > self._state.floors[table] or thin_floors[table] > self._state.thin_floors[table]
        ]
        if raised:
            for table in raised:
                self._state.floors[table], self._state.thin_floors[table] = floors[table], thin_floors[table]
                self._state.raised[table] = self._wall_us()
            self._state.save(self._root)
        return deleted

    def _delete_days(self) -> int:
        """Delete the folders of days below the floors that no query can still use; return how many."""
        deleted = 0
        for table in COMPACTED:
            if not self._waited(self._state.raised[table], self._ages.delete_after_s):
                continue
            for kind, floor_us in (("cold", self._state.floors[table]), ("thin", self._state.thin_floors[table])):
                for folder in self._days(table, kind):
                    if folder.name < day_folder(floor_us):
                        shutil.rmtree(folder)
                        deleted += 1
        return deleted

    def _days(self, table: str, kind: str = "cold") -> list[Path]:
        folders = (self._root / table / kind).glob("date=*")
        return sorted(folder for folder in folders if folder.name != day_folder(0))

    def _sizes(self, floors: dict[str, int]) -> dict[str, dict[str, int]]:
        """Return the bytes of each day that is in use, by table and day."""
        sizes: dict[str, dict[str, int]] = {}
        for table in COMPACTED:
            floor, thin_floor = day_folder(floors[table]), day_folder(self._state.thin_floors[table])
            sizes[table] = {f.name: _size(f) for f in self._days(table, "thin") if thin_floor <= f.name < floor}
            sizes[table] |= {f.name: _size(f) for f in self._days(table) if f.name >= floor}
        return sizes

    def _thin(self, now_us: int, floors: dict[str, int]) -> None:
        """Reduce the oldest day that is old enough to one surface a minute, in all thinned tables together.

        Raises their floors in `floors`: below, readers use the thin segments. A kill before the floors are saved leaves
        thin segments nobody uses, which are written again.
        """
        if self.limits.thin_after_s is None:
            return
        newest = day_folder(int(now_us - self.limits.thin_after_s * US_PER_S))
        tables = [table for table in COMPACTED if TABLES[table].thinned]
        floor, mark = min(floors[table] for table in tables), min(self._state.marks[table] for table in tables)
        for name in sorted({folder.name for table in tables for folder in self._days(table)}):
            end_us = _day_start(name) + DAY_US
            if day_folder(floor) <= name < newest and end_us <= mark:
                for table in tables:
                    self._write_thin(table, name)
                    floors[table] = max(floors[table], end_us)
                return  # one day at a call: the writer waits meanwhile

    def _write_thin(self, table: str, day: str) -> None:
        folder = self._root / table / "cold" / day
        if not folder.exists():
            return
        surfaces = f"read_parquet({quoted(self._root / 'surfaces/cold' / day / '*.parquet')}, hive_partitioning=false)"
        rows = f"read_parquet({quoted(folder / '*.parquet')}, hive_partitioning=false)"
        # The surfaces say which smiles stay.
        query = f"""
            SELECT r.* FROM {rows} r SEMI JOIN (
                SELECT underlying, max(ts) AS ts FROM {surfaces} GROUP BY underlying, time_bucket(INTERVAL 1 MINUTE, ts)
            ) USING (underlying, ts) ORDER BY {", ".join(f"r.{column}" for column in TABLES[table].order)}
        """
        final = thin_path(self._root, table, _day_start(day))
        final.parent.mkdir(parents=True, exist_ok=True)
        write_segment(self._db, query, final, COLD_OPTIONS)

    def _excess(self, sizes: dict[str, dict[str, int]], now_us: int) -> Iterator[tuple[str, str]]:
        """Yield what has to go: first by age, then by size, the oldest day first and the kept tables last."""
        newest = day_folder(int(now_us - self.limits.keep_s * US_PER_S))
        ages = self.limits.max_age_s or {}
        total = sum(sum(days.values()) for days in sizes.values())
        total += sum(path.stat().st_size for table in COMPACTED for path in hot_segments(self._root, table))
        gone = set()
        for table, age_s in ages.items():
            for name in sizes[table]:
                if name < min(newest, day_folder(int(now_us - age_s * US_PER_S))):
                    gone.add((table, name))
                    yield table, name
        total -= sum(sizes[table][name] for table, name in gone)
        for kept in (False, True):
            candidates = [(name, table) for table in COMPACTED if TABLES[table].kept is kept for name in sizes[table]]
            for name, table in sorted(candidates):
                if total > FULL * self.limits.max_bytes and name < newest and (table, name) not in gone:
                    total -= sizes[table][name]
                    yield table, name


def _start(path: Path) -> int:
    start = start_of(path)
    assert start is not None
    return start


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _day_start(name: str) -> int:
    return int(datetime.strptime(name, "date=%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * US_PER_S
