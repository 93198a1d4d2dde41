"""A reader's handle on a history: tables, surfaces and metrics as of any time, while the writer goes on."""

import json
import math
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import numpy as np

from volsurface.errors import HistoryError, unknown_name
from volsurface.io.history.catalogue import METRICS, check_path, create_macros, create_views, variables
from volsurface.io.history.schema import TABLES
from volsurface.io.history.segments import STATE_FILE, load_state, quoted
from volsurface.io.history.table import Table, fetch
from volsurface.surface.instants import from_iso, instant_ns, to_iso
from volsurface.surface.smile import PARAMETER_NAMES, Smile
from volsurface.surface.surface import Surface

SOURCES = ("live", "simulated", "replay")  # the order in which a folder of several stores is tried
LOOKBACK_S = 3600.0  # how old a surface may be that is still given as the one of a time

When = datetime | int | str


class History:
    """Reads one store; never locks it and never writes.

    folder: the history folder (with `live/`, `simulated/`, ...) or one store in it. source: which store; by default live
    when there is one, else the first there is.

    Times are given as datetime (naive: UTC), ISO text or nanoseconds since 1970 UTC. Every query sees the store as it is
    at that moment; one query must be shorter than the 10 minutes after which compacted files are deleted. May be used by
    several threads, one query at a time.

    >>> history = History("history/")                                      # doctest: +SKIP
    >>> history.sql("SELECT kind, count(*) FROM events GROUP BY kind")     # doctest: +SKIP
    >>> history.surface_at("2026-11-20T18:00:00Z", "BTC").smiles[0].atm_vol  # doctest: +SKIP
    """

    def __init__(self, folder: Path | str, source: str | None = None) -> None:
        self.root = find_store(Path(folder), source)
        self.source = self.root.name
        check_path(self.root)
        self._block_us = load_state(self.root).block_us
        self._seen: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._db = duckdb.connect()
        try:
            self._db.execute("SET TimeZone = 'UTC'")
            self._refresh()
            create_views(self._db, self.root, pruned=True)
            create_macros(self._db, self._block_us)
        except duckdb.Error as error:
            self._db.close()
            raise HistoryError(f"cannot read the history in {self.root}: {_first_line(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"History({str(self.root)!r}, source={self.source!r})"

    def close(self) -> None:
        """Let the connection go."""
        self._db.close()

    def _refresh(self) -> None:
        """Copy the marks into the connection's variables when they have moved."""
        try:
            status = (self.root / STATE_FILE).stat()
        except OSError as error:
            raise HistoryError(f"{self.root} is no longer a history store: {error.strerror}") from error
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            for name, value in variables(self.root, load_state(self.root)).items():
                self._db.execute(f"SET VARIABLE {name} = {quoted(value)}")
            self._seen = seen

    def sql(self, query: str, *parameters: Any) -> Table:
        """Return the answer to a query; `?` or `$1` in it are `parameters`.

        Tables and macros are those of docs/history.md. Raises HistoryError with DuckDB's own reason.
        """
        with self._lock:
            for attempt in (1, 2):
                self._refresh()
                try:
                    return fetch(self._db.execute(query, parameters or None))
                except duckdb.IOException as error:
                    # A store being emptied, or a query longer than files are kept: the list of files is new the second time.
                    if attempt == 2:
                        raise HistoryError(_first_line(error)) from error
                except duckdb.Error as error:
                    raise HistoryError(str(error)) from error
        raise AssertionError("unreachable")

    def lock_down(self, memory_mb: int) -> None:
        """Give up for good what a query needs not: other files, settings, more memory than `memory_mb` and a thread."""
        with self._lock:
            for statement in (
                f"SET memory_limit = '{memory_mb}MB'",
                "SET threads = 1",
                "SET temp_directory = ''",
                "SET python_enable_replacements = false",  # a query must not find our variables by name
                f"SET allowed_directories = [{quoted(f'{self.root}/')}]",
                "SET enable_external_access = false",
                "SET lock_configuration = true",
            ):
                self._db.execute(statement)

    def refusal(self, query: str, judge: Callable[[duckdb.DuckDBPyConnection, str], str]) -> str:
        """Return what `judge` says of a query, asked with this connection's parser."""
        with self._lock:
            return judge(self._db, query)

    def interrupt(self) -> None:
        """End the query that is running, from another thread; `sql` then raises."""
        self._db.interrupt()

    def tables(self) -> Table:
        """Return every table with what one row stands for."""
        return fetch(
            duckdb.execute(
                "SELECT unnest($1::VARCHAR[]) AS table, unnest($2::VARCHAR[]) AS row",
                [list(TABLES), [table.row for table in TABLES.values()]],
            )
        )

    def surface_at(self, when: When, underlying: str, lookback_s: float = LOOKBACK_S) -> Surface:
        """Return the surface that was the newest at `when`, equal in every bit to the one published.

        Raises HistoryError when there is none in the `lookback_s` seconds before.
        """
        rows_of = "WHERE s.underlying = $1 AND s.ts BETWEEN $2 AND $3 AND s.last_block >= $4 AND s.segment <= $5"
        # First the time alone: a certificate is long, and an hour holds thousands of them.
        newest = self.sql(
            f"SELECT epoch_us(max(s.ts)) AS us FROM surfaces_segments s {rows_of}",
            underlying, *self._bounds(when, lookback_s),
        )["us"][0]  # fmt: skip
        if np.ma.is_masked(newest):
            raise HistoryError(self._nothing(underlying, when, lookback_s))
        us = int(newest)
        bounds = self._bounds(us * 1000, 0.0)
        [row] = self.sql(f"SELECT s.* FROM surfaces_segments s {rows_of}", underlying, *bounds).rows()
        smiles = self.sql(
            f"""SELECT s.*, epoch_ns(expiry) AS expiry_ns, epoch_ns(quote_time) AS quote_time_ns,
            epoch_ns(fit_time) AS fit_time_ns FROM smiles_segments s {rows_of} ORDER BY s.expiry""",
            underlying, *bounds,
        )  # fmt: skip
        if len(smiles) != row["n_smiles"]:
            raise HistoryError(
                f"the surface of {underlying} at {to_iso(us * 1000)} is incomplete: "
                f"{len(smiles)} of {row['n_smiles']} smiles are left"
            )
        return _surface(row, [_smile(smile) for smile in smiles.rows()])

    def smile_at(self, when: When, underlying: str, expiry: When, lookback_s: float = LOOKBACK_S) -> Smile:
        """Return one smile of `surface_at`; raises HistoryError naming the expiries there are when it is not one."""
        surface = self.surface_at(when, underlying, lookback_s)
        smile = surface.smile(_ns(expiry))
        if smile is None:
            there = ", ".join(to_iso(smile.expiry_ns) for smile in surface.smiles)
            raise HistoryError(f"no smile of {underlying} for {to_iso(_ns(expiry))} at that time; there are: {there}")
        return smile

    def quotes_at(self, when: When, underlying: str, lookback_s: float = 60.0) -> Table:
        """Return the newest quote of each live instrument of `underlying` at `when`, with what the instrument is."""
        return self.sql(
            "FROM chain_at($1, $2, lookback := to_seconds($3))", _datetime(_ns(when)), underlying, lookback_s
        )

    def metric(
        self, name: str, underlying: str, *, tenor: float | None = None, expiry: When | None = None,
        since: When | None = None, until: When | None = None, bucket_s: float = 0.0,
    ) -> Table:  # fmt: skip
        """Return columns `ts` and `value` of one metric over time.

        name: atm_vol, skew, curvature, rr25, bf25, rr10 or bf10. tenor: constant days; expiry: an instant; exactly one of
        them. since, until: default everything. bucket_s: the last value of each so many seconds; 0: every value.
        """
        if name not in METRICS:
            raise HistoryError(unknown_name("metric", name, METRICS))
        if (tenor is None) == (expiry is None):
            raise HistoryError(f"a metric is of a tenor (days) or of an expiry, found tenor={tenor}, expiry={expiry}")
        return self.sql(
            "FROM metric($1, $2, $3, until := $4, days := $5, expires := $6, bucket := to_microseconds($7))",
            name, underlying, _datetime(0 if since is None else _ns(since)),
            _datetime(4102444800 * 10**9 if until is None else _ns(until)), tenor,
            None if expiry is None else _datetime(_ns(expiry)), max(1, round(bucket_s * 1e6)),
        )  # fmt: skip

    def events(self, since: When | None = None, kind: str | None = None) -> Table:
        """Return the events from `since` on, oldest first; `kind`: only these."""
        return self.sql(
            "SELECT * FROM events WHERE ts >= $1 AND ($2 IS NULL OR kind = $2) ORDER BY ts",
            _datetime(0 if since is None else _ns(since)), kind,
        )  # fmt: skip

    def _bounds(self, when: When, lookback_s: float) -> tuple[datetime, datetime, str, str]:
        """Return first and last time, and the names of the first and last segment that may hold rows between them."""
        until = _ns(when) // 1000
        since = max(0, until - round(lookback_s * 1e6))
        block = since // self._block_us * self._block_us
        return _datetime(since * 1000), _datetime(until * 1000), f"{block:016d}", f"{until:016d}"

    def _nothing(self, underlying: str, when: When, lookback_s: float) -> str:
        ranges = self.sql(
            "SELECT underlying, min(ts) AS first, max(ts) AS last FROM surfaces GROUP BY ALL ORDER BY ALL"
        )
        there = "; ".join(f"{r['underlying']} {r['first']}Z to {r['last']}Z" for r in ranges.rows()) or "nothing yet"
        return f"no surface of {underlying} in the {lookback_s:g} s up to {to_iso(_ns(when))}; stored: {there}"


def find_store(folder: Path, source: str | None) -> Path:
    """Return the folder of a store; raises HistoryError saying what is there."""
    folder = folder.absolute()
    if source is None and (folder / STATE_FILE).exists():
        return folder
    if not folder.is_dir():
        raise HistoryError(f"there is no history folder {folder}")
    try:
        there = sorted(path.parent.name for path in folder.glob(f"*/{STATE_FILE}"))
    except OSError as error:
        raise HistoryError(f"cannot read {folder}: {error.strerror}") from error
    if not there:
        raise HistoryError(f"{folder} holds no history: neither it nor a folder in it has a {STATE_FILE}")
    if source is not None and source not in there:
        raise HistoryError(unknown_name("history source", source, there))
    return folder / (source or min(there, key=lambda name: (SOURCES.index(name) if name in SOURCES else 9, name)))


def _surface(row: dict[str, Any], smiles: list[dict[str, Any]]) -> Surface:
    """Return the surface of a row of `surfaces` and its smiles; raises HistoryError when it is not the one stored."""
    try:
        surface = Surface.from_dict(
            {
                "underlying": row["underlying"],
                "valuation_time": to_iso(int(row["valuation_time"].astype("int64"))),
                "state": row["state"],
                "state_reason": row["state_reason"] or "",
                "smiles": smiles,
                "certificate": json.loads(row["certificate"]),
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise HistoryError(
            f"the stored surface of {row['underlying']} at {row['ts']}Z is damaged: {error!r}"
        ) from error
    if surface.digest != row["digest"]:
        raise HistoryError(f"the stored surface of {row['underlying']} at {row['ts']}Z does not have its own digest")
    return surface


def _smile(row: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
    model = plain["model"]
    return {
        **plain,
        model: {name: plain[name] for name in PARAMETER_NAMES.get(model, ())},
        "expiry": to_iso(plain["expiry_ns"]),
        "quote_time": to_iso(plain["quote_time_ns"]),
        "fit_time": to_iso(plain["fit_time_ns"]),
        "quoted_k": None if math.isnan(plain["quoted_low"]) else (plain["quoted_low"], plain["quoted_high"]),
    }


def _ns(when: When) -> int:
    if isinstance(when, str):
        try:
            return from_iso(when)
        except ValueError as error:
            raise HistoryError(f"not a time: {when!r}; write it as 2026-11-20T18:00:00Z") from error
    return instant_ns(when)


def _datetime(time_ns: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(microseconds=time_ns // 1000)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
