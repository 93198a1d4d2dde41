"""Chain files as chains: recorded Deribit snapshots, Deribit book summaries, Tardis' options_chain and our own columns.

The layout is told by the columns, not by the name. Whatever the file says, a missing price is NaN, times are UTC, and the
spot index posing as a forward is marked as the index.
"""

import gzip
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from volsurface.errors import ChainFileError, unknown_name
from volsurface.io import tardis_files
from volsurface.market.chain import Chain
from volsurface.market.instrument import CALL, COIN, PUT, STABLE
from volsurface.market.quote import FORWARD_MODEL, FORWARD_NONE
from volsurface.surface.instants import Instant, instant_ns, to_iso
from volsurface.venues.deribit_names import VENUE as DERIBIT
from volsurface.venues.deribit_names import forward_source

# Our own columns; the optional ones may be missing as a whole or null in a row.
NEEDED = ("timestamp", "venue", "underlying", "instrument", "expiry", "strike", "right", "bid", "ask", "settlement")
OPTIONAL = ("bid_size", "ask_size", "mark", "mark_iv", "forward", "index", "open_interest")
SNAPSHOT_NEEDED = (
    "timestamp instrument_name underlying underlying_name option_type strike expiry_datetime bid_price ask_price currency"
).split()
RIGHTS = {"call": CALL, "c": CALL, "1": CALL, "+1": CALL, "put": PUT, "p": PUT, "-1": PUT}
# In the recorded snapshots the ETH answer was fetched after a walk over all BTC tickers, 90 to 135 s after `timestamp`.
ETH_DELAY_NS = 110_000_000_000
FARTHEST_NS = 86_400_000_000_000  # a snapshot further than a day from the time asked for is not what was meant
_MONTHS = {name: i + 1 for i, name in enumerate("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split())}
_OPTION_NAME = re.compile(r"([A-Z0-9]+)(_[A-Z]+)?-(\d{1,2})([A-Z]{3})(\d\d)-(\d+(?:d\d+)?)-([CP])")
_EXPIRY_HOUR = 8  # Deribit's options expire at 08:00 UTC

Columns = dict[str, np.ndarray]


def read_chain(path: str | Path, at: Instant | None = None, underlying: str | None = None) -> Chain:
    """Return the one chain of a file; raises ChainFileError naming the choices when there are several."""
    chains = read_chains(path, at, underlying)
    if len(chains) > 1:
        names = ", ".join(dict.fromkeys(chain.underlying for chain in chains))
        first, last = to_iso(chains[0].time_ns), to_iso(chains[-1].time_ns)
        raise ChainFileError(
            f"{path} holds {len(chains)} chains ({names}; {first} to {last}): choose one with `at` and `underlying`"
        )
    return chains[0]


def read_chains(path: str | Path, at: Instant | None = None, underlying: str | None = None) -> list[Chain]:
    """Return the chains of a file, one per snapshot and underlying, in time order.

    path: .parquet, .csv, .csv.gz, .json or .json.gz. at: only the snapshot nearest to this time (ISO text, datetime or
    nanoseconds UTC), at most a day away. underlying: only this coin. Raises ChainFileError, saying what was found and what
    is needed, when the file cannot be read, has an unknown layout, lacks a column or holds no such snapshot.
    """
    path = Path(path)
    wanted_ns = _wanted(at)
    kind = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if not path.is_file():
        raise ChainFileError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; a chain file is needed")
    if kind in (".json", ".json.gz"):
        chains = _book_summary_chains(path)
    elif kind in (".parquet", ".csv", ".csv.gz"):
        chains = _table_chains(path, kind)
    else:
        raise ChainFileError(f"{path} ends in {kind!r}; known are .parquet, .csv, .csv.gz, .json and .json.gz")
    chains.sort(key=lambda chain: (chain.time_ns, chain.underlying))
    if not chains:
        raise ChainFileError(f"{path} has no option in it")
    return _choose(path, chains, wanted_ns, underlying)


def _wanted(at: Instant | None) -> int | None:
    try:
        return None if at is None else instant_ns(at)
    except ValueError as error:
        raise ChainFileError(f"{at!r} is not a time; write it like 2026-05-25T07:21:31Z") from error


def _choose(path: Path, chains: list[Chain], at_ns: int | None, underlying: str | None) -> list[Chain]:
    if underlying is not None:
        names = sorted({chain.underlying for chain in chains})
        if underlying.upper() not in names:
            raise ChainFileError(f"{path}: {unknown_name('underlying', underlying, names)}")
        chains = [chain for chain in chains if chain.underlying == underlying.upper()]
    if at_ns is not None:
        nearest: dict[str, Chain] = {}
        for chain in chains:
            best = nearest.get(chain.underlying)
            if best is None or abs(chain.time_ns - at_ns) < abs(best.time_ns - at_ns):
                nearest[chain.underlying] = chain
        found = [chain for chain in chains if nearest[chain.underlying] is chain]
        if min(abs(chain.time_ns - at_ns) for chain in found) > FARTHEST_NS:
            first, last = to_iso(chains[0].time_ns), to_iso(chains[-1].time_ns)
            raise ChainFileError(f"{path} has no snapshot within a day of {to_iso(at_ns)}; it spans {first} to {last}")
        chains = found
    return chains


# ---- tables: recorded snapshots and our own columns


def _table_chains(path: Path, kind: str) -> list[Chain]:
    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as database:
        database.execute("set timezone = 'UTC'")
        # Text first: duckdb's guesses about a column's type depend on the rows it looks at.
        source = "read_parquet(?)" if kind == ".parquet" else "read_csv(?, all_varchar = true, header = true)"
        try:
            described = database.execute(f"describe select * from {source}", [str(path)]).fetchall()
            types = {row[0]: row[1] for row in described}
            if {"instrument_name", "option_type", "expiry_datetime"} <= types.keys():
                _need(path, "a recorded Deribit snapshot file", SNAPSHOT_NEEDED, types)
                return _snapshot_chains(path, _fetch(database, source, path, _snapshot_select(types)))
            if types.keys() >= tardis_files.TELLS:
                _need(path, "a table of Tardis' options_chain", tardis_files.NEEDED, types)
                query = tardis_files.select(types).format(source=source)
                return _split(path, tardis_files.snapshots(path, _fetched(database, query, path)))
            _need(path, "a chain file", NEEDED, types)
            return _own_chains(path, _fetch(database, source, path, _own_select(types)))
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise ChainFileError(f"{path} cannot be read as {kind.lstrip('.')}: {reason}") from error


def _need(path: Path, what: str, needed: Sequence[str], found: Mapping[str, str]) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        raise ChainFileError(
            f"{path} lacks {', '.join(missing)}; {what} needs {', '.join(needed)}; found: {', '.join(found)}"
        )


def _fetch(database: duckdb.DuckDBPyConnection, source: str, path: Path, select: str) -> Columns:
    return _fetched(database, f"select {select} from {source}", path)


def _fetched(database: duckdb.DuckDBPyConnection, query: str, path: Path) -> Columns:
    return {
        name: np.asarray(column.filled("") if column.dtype == object else column.filled(0))
        if isinstance(column, np.ma.MaskedArray)
        else column
        for name, column in database.execute(query, [str(path)]).fetchnumpy().items()
    }


def _number(name: str, types: Mapping[str, str]) -> str:
    return f"coalesce(try_cast(\"{name}\" as double), 'nan'::double)" if name in types else "'nan'::double"


def _instant(name: str, types: Mapping[str, str]) -> str:
    """Nanoseconds; 0 where it is no time. A whole number is nanoseconds already; text without an offset is UTC."""
    if types[name] in ("BIGINT", "UBIGINT", "HUGEINT"):
        return f'coalesce(try_cast("{name}" as bigint), 0)'
    if types[name] == "TIMESTAMP_NS":
        return f'coalesce(epoch_ns("{name}"), 0)'
    return f'coalesce(epoch_ns(try_cast("{name}" as timestamptz)), 0)'


def _text(name: str) -> str:
    return f"coalesce(\"{name}\"::varchar, '')"


def _snapshot_select(types: Mapping[str, str]) -> str:
    columns = {
        "time": _instant("timestamp", types),
        "expiry": _instant("expiry_datetime", types),
        "symbol": _text("instrument_name"),
        "underlying": _text("currency"),
        "right": _text("option_type"),
        "claim": _text("underlying_name"),
        "strike": _number("strike", types),
        "bid": _number("bid_price", types),
        "ask": _number("ask_price", types),
        "forward": _number("underlying", types),
        "mark": _number("mark_price", types),
        "mark_iv": _number("implied_volatility", types),
        "open_interest": _number("open_interest", types),
        "index": _number("index_price", types),
    }
    return ", ".join(f'{expression} as "{name}"' for name, expression in columns.items())


def _own_select(types: Mapping[str, str]) -> str:
    columns = {"time": _instant("timestamp", types), "expiry": _instant("expiry", types), "symbol": _text("instrument")}
    columns |= {name: _text(name) for name in ("venue", "underlying", "right", "settlement")}
    columns |= {name: _number(name, types) for name in ("strike", "bid", "ask", *OPTIONAL)}
    return ", ".join(f'{expression} as "{name}"' for name, expression in columns.items())


def _snapshot_chains(path: Path, rows: Columns) -> list[Chain]:
    n = rows["time"].size
    claims = {name: forward_source(name) for name in set(rows["claim"].tolist())}
    rows["forward_source"] = np.array([claims[name] for name in rows["claim"].tolist()], np.uint8)
    rows["venue"] = np.full(n, DERIBIT, object)
    rows["inverse"] = np.ones(n, bool)
    rows["time"] = np.where(rows["underlying"] == "ETH", rows["time"] + ETH_DELAY_NS, rows["time"])
    return _split(path, rows)


def _own_chains(path: Path, rows: Columns) -> list[Chain]:
    settlements = np.array([text.strip().lower() for text in rows["settlement"].tolist()], object)
    for name in dict.fromkeys(settlements.tolist()):
        if name not in (COIN, STABLE):
            raise ChainFileError(f"{path}: {unknown_name('settlement', name, (COIN, STABLE))}")
    rows["inverse"] = settlements == COIN
    known = np.isfinite(rows["forward"]) & (rows["forward"] > 0.0)
    # Nobody says where this forward comes from; `market.forward` refuses it where it equals the index.
    rows["forward_source"] = np.where(known, FORWARD_MODEL, FORWARD_NONE).astype(np.uint8)
    return _split(path, rows)


def _split(path: Path, rows: Columns) -> list[Chain]:
    """One chain per time and underlying, rows in the file's order."""
    if not rows["time"].size:
        return []
    for name, column in (("timestamp", rows["time"]), ("expiry", rows["expiry"])):
        if (column == 0).any():
            raise ChainFileError(f"{path}: row {int(np.argmin(column != 0)) + 1} has no readable {name}")
    bad = ~(rows["strike"] > 0.0)
    if bad.any():
        raise ChainFileError(f"{path}: row {int(np.argmax(bad)) + 1} has no positive strike")
    right = np.array([RIGHTS.get(text.strip().lower(), 0) for text in rows["right"].tolist()], np.int8)
    if (right == 0).any():
        found = rows["right"][int(np.argmax(right == 0))]
        raise ChainFileError(f"{path}: unknown right {found!r}; a right is call or put")
    names = np.array([text.strip().upper() for text in rows["underlying"].tolist()], object)
    nan = np.full(right.size, math.nan)
    chains = []
    number = {name: i for i, name in enumerate(sorted(set(names.tolist())))}
    underlying = np.array([number[name] for name in names.tolist()])
    order = np.lexsort((np.arange(right.size), underlying, rows["time"]))
    cuts = np.flatnonzero((np.diff(rows["time"][order]) != 0) | (np.diff(underlying[order]) != 0)) + 1
    for at in np.split(order, cuts):
        chains.append(
            Chain(
                underlying=names[at[0]],
                time_ns=int(rows["time"][at[0]]),
                venue=rows["venue"][at],
                symbol=rows["symbol"][at],
                expiry_ns=rows["expiry"][at].astype(np.int64),
                strike=rows["strike"][at],
                right=right[at],
                inverse=rows["inverse"][at],
                bid=_price(rows["bid"][at]),
                ask=_price(rows["ask"][at]),
                mark=_price(rows["mark"][at]),
                bid_size=rows.get("bid_size", nan)[at],
                ask_size=rows.get("ask_size", nan)[at],
                open_interest=rows["open_interest"][at],
                mark_iv=_price(rows["mark_iv"][at]),
                forward=_price(rows["forward"][at]),
                forward_source=rows["forward_source"][at],
                index=_price(rows["index"][at]),
                quote_time_ns=rows.get("quote_time", rows["time"])[at].astype(np.int64),
                iid=np.arange(at.size, dtype=np.int32),
            )
        )
    return chains


def _price(values: np.ndarray) -> np.ndarray:
    """A venue's 0 is missing, and so is what is not finite."""
    return np.where(np.isfinite(values) & (values > 0.0), values, np.nan)


# ---- raw book summaries


def _book_summary_chains(path: Path) -> list[Chain]:
    """Deribit's `public/get_book_summary_by_currency`: the list, or the whole answer with it under `result`."""
    try:
        raw = path.read_bytes()
        document = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (OSError, EOFError, ValueError) as error:
        raise ChainFileError(f"{path} cannot be read as JSON: {error}") from error
    entries = document.get("result") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        found = (
            f"an object with {', '.join(map(str, document))}" if isinstance(document, dict) else type(document).__name__
        )
        raise ChainFileError(
            f"{path} is no book summary: a list of entries is needed, or one under 'result'; found {found}"
        )
    options = [(entry, match) for entry in entries if (match := _OPTION_NAME.fullmatch(_name(path, entry)))]
    if not options:
        return []
    rows = [_book_summary_row(path, entry, match) for entry, match in options]
    columns: Columns = {
        name: np.array([row[name] for row in rows], object if isinstance(rows[0][name], str) else None)
        for name in rows[0]
    }
    # One answer is one instant: its newest entry. Entries of a quiet option are made at the same moment.
    columns["time"] = np.full(len(rows), columns["time"].max())
    columns["forward_source"] = columns["forward_source"].astype(np.uint8)
    return _split(path, columns)


def _name(path: Path, entry: Mapping[str, Any]) -> str:
    name = entry.get("instrument_name")
    if not isinstance(name, str):
        raise ChainFileError(
            f"{path}: an entry has no instrument_name; found: {', '.join(map(str, entry)) or 'nothing'}"
        )
    return name


def _book_summary_row(path: Path, entry: Mapping[str, Any], match: re.Match[str]) -> dict[str, Any]:
    base, linear, day, month, year, strike, right = match.groups()
    created = entry.get("creation_timestamp")
    if not isinstance(created, int | float) or not created > 0:
        raise ChainFileError(f"{path}: {match.string} has no creation_timestamp (milliseconds); found {created!r}")
    try:
        expiry = datetime(2000 + int(year), _MONTHS[month], int(day), _EXPIRY_HOUR, tzinfo=UTC)
    except (KeyError, ValueError) as error:
        raise ChainFileError(f"{path}: {match.string} names no day of expiry") from error
    return {
        "time": int(created) * 1_000_000,
        "venue": DERIBIT,
        "underlying": base,
        "symbol": match.string,
        "expiry": instant_ns(expiry),
        "strike": float(strike.replace("d", ".")),
        "right": right,
        "inverse": linear is None,
        "bid": _field(entry, "bid_price"),
        "ask": _field(entry, "ask_price"),
        "mark": _field(entry, "mark_price"),
        "mark_iv": _field(entry, "mark_iv") / 100.0,
        "open_interest": _field(entry, "open_interest"),
        "forward": _field(entry, "underlying_price"),
        "forward_source": forward_source(str(entry.get("underlying_index") or "")),
        "index": _field(entry, "estimated_delivery_price"),
    }


def _field(entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
