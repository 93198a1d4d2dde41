"""Queries that somebody typed: a process of their own reads one store, may do nothing else, and ends what takes too long.

Three fences, each enough against a mistake: exactly one statement of type SELECT, as DuckDB's own parser says, which uses no
table function but the store's macros; a connection whose other files, settings and threads are locked away; a process with
a limit of memory, which is interrupted, and killed when it does not obey. A SELECT is not harmless by itself: COPY writes
files over a read-only connection, `read_text` reads them, and a CTE may hold a DELETE.
"""

import contextlib
import json
import os
import re
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from volsurface.errors import HistoryError
from volsurface.io.history.catalogue import MACROS
from volsurface.io.history.reader import History

SECONDS = 10.0
ROWS = 1_000
MEMORY_MB = 512
GRACE_S = 2.0  # between the interrupt and the kill
CELL = 500  # letters of a text value that are handed over
_HEADROOM_MB = (
    1_000  # address space of a process beyond its data: stacks, allocator, what a query needs besides its buffers
)
_HARMLESS = {"range", "generate_series", "unnest", "json_each", "json_tree", "pg_timezone_names"}
_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "STATEMENT_NODE"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave: `rows` are values by column (text, number, bool or None), or `error` says why there are none.

    more: there are rows beyond those handed over.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    more: bool = False
    seconds: float = 0.0
    error: str = ""


class Sandbox:
    """Asks one store, one query at a time, from any thread; the process starts with the first query."""

    def __init__(
        self, store: Path | str, *, seconds: float = SECONDS, rows: int = ROWS, memory_mb: int = MEMORY_MB
    ) -> None:
        self.store = Path(store)
        self._arguments = [str(self.store), str(seconds), str(rows), str(memory_mb)]
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, query: str) -> Answer:
        """Return the answer; never raises for what is in the query."""
        with self._lock:
            start = time.monotonic()
            try:
                process = self._started()
                assert process.stdin is not None
                process.stdin.write(json.dumps(query).encode() + b"\n")
                process.stdin.flush()
                line = self._line(process, start + self._seconds + GRACE_S)
            except OSError as error:
                self._stop()
                return Answer(error=f"the query's process does not answer: {error.strerror}")
            if line is None:
                self._stop()
                return Answer(error=f"interrupted: the query took more than {self._seconds:g} s", seconds=self._seconds)
            if not line.endswith(b"\n"):
                self._stop()
                return Answer(error="the query needed more memory than it may have, or its process was ended")
            fields = json.loads(line)
            rows = tuple(tuple(row) for row in fields.pop("rows", ()))
            columns = tuple(fields.pop("columns", ()))
            return Answer(columns=columns, rows=rows, seconds=time.monotonic() - start, **fields)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "volsurface.io.history.sandbox", *self._arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            ready = self._line(self._process, time.monotonic() + 60)  # importing is not the query's time
            if ready is None or not ready.endswith(b"\n"):
                self._stop()
                raise OSError(0, "it could not be started")
        return self._process

    @staticmethod
    def _line(process: "subprocess.Popen[bytes]", until: float) -> bytes | None:
        """Return what the process says next: a line, less than one when it has ended, None when it is late."""
        assert process.stdout is not None
        handle, line = process.stdout.fileno(), b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            part = os.read(handle, 1 << 20)
            if not part:
                return line
            line += part
        return line

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None


def refusal(db: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return why a query is not asked, or "" for one SELECT that only uses what the store offers."""
    try:
        statements = db.extract_statements(query)
    except duckdb.Error as error:
        return str(error)
    if not statements:
        return "there is no query"
    kinds = [statement.type.name for statement in statements]
    if kinds != ["SELECT"]:
        return f"one SELECT is allowed, found {' and '.join(kinds)}"
    [(text,)] = db.execute("SELECT json_serialize_sql($1)", [query]).fetchall()
    tree = json.loads(text)
    if tree.get("error"):
        return f"one SELECT is allowed: {tree.get('error_message')}"
    for node in _nodes(tree):
        kind = str(node.get("type", ""))
        if kind.endswith("_NODE") and kind not in _QUERIES:
            return f"one SELECT is allowed, found {kind.removesuffix('_QUERY_NODE').removesuffix('_NODE')} in it"
        if kind == "TABLE_FUNCTION":
            name = str(node.get("function", {}).get("function_name", "")).lower()
            if name not in _HARMLESS and name not in MACROS:
                return f"{name}() is not allowed: tables and macros of this store only ({', '.join(MACROS)})"
        if kind == "BASE_TABLE" and any(mark in str(node.get("table_name", "")) for mark in "/\\.*"):
            return f"{node['table_name']!r} is a file: tables and macros of this store only"
    return ""


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a parsed query."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def answer(history: History, query: str, seconds: float, rows: int) -> dict[str, Any]:
    """Return the fields of an Answer to a query over a locked history."""
    reason = history.refusal(query, refusal)
    if reason:
        return {"error": reason}
    timer = threading.Timer(seconds, history.interrupt)
    timer.start()
    try:
        table = history.sql(f"SELECT * FROM (\n{query.strip().rstrip(';')}\n) LIMIT {rows + 1}")
    except HistoryError as error:
        if "INTERRUPT" in str(error):
            return {"error": f"interrupted: the query took more than {seconds:g} s"}
        # The query stands one line lower than it was typed.
        return {"error": re.sub(r"LINE (\d+):", lambda m: f"LINE {int(m[1]) - 1}:", str(error))}
    finally:
        timer.cancel()
    shown = [[_plain(value) for value in row.values()] for row, _ in zip(table.rows(), range(rows))]
    return {"columns": list(table.columns), "rows": shown, "more": len(table) > rows}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; times in UTC."""
    if value is None or value is np.ma.masked or (isinstance(value, float | np.floating) and value != value):
        return None
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else f"{value}Z"
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool | int) or (isinstance(plain, float) and abs(plain) != float("inf")):
        return plain
    text = str(plain)
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def main(store: str, seconds: str, rows: str, memory_mb: str) -> None:
    """Answer queries, a JSON text a line, until standard input ends."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever else prints must not stand among the answers
    os.nice(10)
    with History(store) as history:
        history.lock_down(int(memory_mb))
        used = _address_space()
        limit = used + (int(memory_mb) + _HEADROOM_MB) * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file can be written, whatever was overlooked above
        replies.write(b"{}\n")
        for line in sys.stdin.buffer:
            try:
                fields = answer(history, json.loads(line), float(seconds), int(rows))
            except (MemoryError, HistoryError, duckdb.Error) as error:
                fields = {"error": str(error) or "the query needed more memory than it may have"}
            replies.write(json.dumps(fields).encode() + b"\n")


def _address_space() -> int:
    """Return the bytes of address space this process has by now (Linux), else a guess that is large enough."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 4_000_000_000


if __name__ == "__main__":
    main(*sys.argv[1:])
