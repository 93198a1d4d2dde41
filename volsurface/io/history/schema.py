"""The tables of a history: each column's type, unit and meaning, from which files, views and documentation are made.

The number of the schema is in every store's `state.json`; a change only ever adds columns or tables and raises it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# 2: quoted range of a smile, reason for a state; 3: venue of a forward; 4: ivs, trades, venues, ledger, packing; 5: a venue's
# delays, clock, coverage and connections, mixtures; 6: thinned days.
VERSION = 6

# How a value of each SQL type comes in: a numpy type, the value that stands for NULL there, and the SQL that turns the
# one into the other. Times come as integers (microseconds or nanoseconds since 1970 UTC), a missing float as NaN.
NO_TIME = int(np.iinfo(np.int64).min)
NO_INTEGER = int(np.iinfo(np.int32).min)
ENCODINGS: dict[str, tuple[str, object, str]] = {
    "TIMESTAMP": ("i8", NO_TIME, f"make_timestamp(nullif({{}}, {NO_TIME}))"),
    "TIMESTAMP_NS": ("i8", NO_TIME, f"make_timestamp_ns(nullif({{}}, {NO_TIME}))"),
    "BIGINT": ("i8", NO_TIME, f"nullif({{}}, {NO_TIME})"),
    "INTEGER": ("i4", NO_INTEGER, f"nullif({{}}, {NO_INTEGER})"),
    "DOUBLE": ("f8", float("nan"), "nullif({}, 'NaN'::DOUBLE)"),
    "BOOLEAN": ("?", False, "{}"),
    "VARCHAR": ("O", None, "{}::VARCHAR"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `unit` is empty where there is none."""

    name: str
    type: str
    unit: str
    doc: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    row: what one row stands for. order: the order of rows in a compacted file, the fastest question first.
    compacted: kept as hot and cold segments; otherwise a few small files in one folder.
    kept: removed only when nothing else is left to remove. packed: decimals are integers in cold segments, see `packing`.
    thinned: what is too old is not removed but reduced to one surface a minute.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    order: tuple[str, ...] = ("ts",)
    compacted: bool = True
    kept: bool = False
    packed: bool = False
    thinned: bool = False

    @property
    def names(self) -> list[str]:
        """Return the column names in order."""
        return [column.name for column in self.columns]


def _table(name: str, row: str, text: str, order: tuple[str, ...] = ("ts",), **kept: bool) -> Table:
    """Return a table whose own columns are the lines `name | type | unit | doc`, after the three every table has."""
    lines = [line for line in (_COMMON + text).splitlines() if line.strip()]
    columns = tuple(Column(*(part.strip() for part in line.split("|"))) for line in lines)
    return Table(name, row, columns, order, **kept)


_COMMON = """
ts          | TIMESTAMP | UTC | when it was true for the market; strictly ordered within a table's writer, so a row never holds news later than its ts
run         | VARCHAR   |     | which start of the program wrote it (table runs)
settings_id | INTEGER   |     | version of the settings in force within the run (table settings)
"""

TABLES = {
    table.name: table
    for table in (
        _table(
            "quotes",
            "instrument and change, at most one a second; all live instruments at least once a minute",
            """
            iid        | INTEGER   |               | instrument, numbered within this store (table instruments)
            ts_venue   | TIMESTAMP | UTC           | the venue's own time of the quote; data, never an order
            age_ms     | INTEGER   | ms            | how long before ts the quote was received
            seq        | BIGINT    |               | the venue's sequence number
            bid        | DOUBLE    | venue's price | best bid as quoted (coin on coin-settled options)
            ask        | DOUBLE    | venue's price | best ask as quoted
            bid_sz     | DOUBLE    | coins         | size at the bid
            ask_sz     | DOUBLE    | coins         | size at the ask
            mark       | DOUBLE    | venue's price | the venue's mark price
            iv_bid     | DOUBLE    | decimal/year  | the venue's bid vol; compared, never an input
            iv_ask     | DOUBLE    | decimal/year  | the venue's ask vol
            iv_mark    | DOUBLE    | decimal/year  | the venue's mark vol
            fwd        | DOUBLE    | quote currency per coin | the venue's forward of the expiry
            fwd_source | VARCHAR   |               | what the venue says that forward is: none, future, synthetic, index, model
            index      | DOUBLE    | quote currency per coin | spot index
            oi         | DOUBLE    | coins         | open interest
            flags      | INTEGER   |               | bits of market.quote: 1 crossed, 2 locked, 4 one-sided, 8 stale, 16 book gap, 1024 closed, ...
            """,
            order=("iid", "ts"),
            packed=True,
        ),
        _table(
            "ivs",
            "option, every ten seconds in which one of its vols has moved by 1 bp, when its use changes, and at least once a minute",
            """
            iid    | INTEGER |               | option (table instruments)
            k      | DOUBLE  | log-moneyness | ln(strike / forward of the expiry's smile), to 1e-6
            iv_bid | DOUBLE  | decimal/year  | vol implied by the bid, to 1e-6 (0.01 bp), as the next three; quotes hold every digit
            iv_ask | DOUBLE  | decimal/year  | vol implied by the ask
            iv_mid | DOUBLE  | decimal/year  | vol implied by the middle of both
            iv_fit | DOUBLE  | decimal/year  | the smile at k
            used   | VARCHAR |               | used, or why the quote is not a point of the fit: no_bid, wide, stale, outlier, ...
            """,
            order=("iid", "ts"),
            packed=True,
        ),
        _table(
            "smiles",
            "expiry of each stored surface, with the exact parameters",
            """
            underlying     | VARCHAR      |               | coin
            surface_id     | BIGINT       |               | publication of that underlying since the engine started
            expiry         | TIMESTAMP    | UTC           | instant of expiry
            model          | VARCHAR      |               | svi: w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)), w = vol^2 years; mixture: prices of two such slices, weighted
            a              | DOUBLE       | variance      | level
            b              | DOUBLE       | variance      | slope of the wings
            rho            | DOUBLE       |               | tilt, -1 to 1
            m              | DOUBLE       | log-moneyness | shift
            sigma          | DOUBLE       | log-moneyness | width of the bend
            forward        | DOUBLE       | quote currency per coin | forward that k = ln(strike / forward) uses
            forward_source | VARCHAR      |               | future, synthetic, parity or stale
            years          | DOUBLE       | years         | ACT/365 from the valuation to the expiry
            n_quotes       | INTEGER      |               | quotes used as points
            n_rejected     | INTEGER      |               | quotes left out with a reason
            inside_spread  | DOUBLE       | share 0 to 1  | used quotes whose bid and ask vol enclose the smile
            rmse_bp        | DOUBLE       | bp of vol     | root mean square distance to the mid vols
            max_error_bp   | DOUBLE       | bp of vol     | largest distance to a mid vol
            state          | VARCHAR      |               | certified, stale, fallback or failed
            method         | VARCHAR      |               | how the parameters came about
            quote_time     | TIMESTAMP_NS | UTC           | newest quote in the fit
            fit_time       | TIMESTAMP_NS | UTC           | market time of the fit
            quoted_low     | DOUBLE       | log-moneyness | least k = ln(strike / forward) of the quotes used; NULL where not known
            quoted_high    | DOUBLE       | log-moneyness | largest; a vol beyond the two is extrapolated
            weight         | DOUBLE       |               | of the first slice of a mixture; NULL otherwise, as the ten after it
            a1             | DOUBLE       | as a          | a of the first slice
            b1             | DOUBLE       | as b          | b of the first slice
            rho1           | DOUBLE       | as rho        | rho of the first slice
            m1             | DOUBLE       | as m          | m of the first slice
            sigma1         | DOUBLE       | as sigma      | sigma of the first slice
            a2             | DOUBLE       | as a          | a of the second slice
            b2             | DOUBLE       | as b          | b of the second slice
            rho2           | DOUBLE       | as rho        | rho of the second slice
            m2             | DOUBLE       | as m          | m of the second slice
            sigma2         | DOUBLE       | as sigma      | sigma of the second slice
            """,
            order=("underlying", "expiry", "ts"),
            thinned=True,
        ),
        _table(
            "surfaces",
            "stored surface: the newest complete one of each second",
            """
            underlying           | VARCHAR      |          | coin
            surface_id           | BIGINT       |          | publication of that underlying since the engine started
            digest               | VARCHAR      |          | SHA-256 over what was decided from the market
            valuation_time       | TIMESTAMP_NS | UTC      | market time the surface is valued at
            newest_quote         | TIMESTAMP    | UTC      | receive time of the newest quote in it
            published            | TIMESTAMP    | UTC      | wall clock when it was published
            spot                 | DOUBLE       | quote currency per coin | index
            state                | VARCHAR      |          | certified, stale, fallback or failed
            state_reason         | VARCHAR      |          | in words, why it is not certified; NULL when it is
            certificate_ok       | BOOLEAN      |          | no static arbitrage, proved for every strike
            min_butterfly_margin | DOUBLE       |          | smallest butterfly function g over all smiles; negative is arbitrage
            min_calendar_margin  | DOUBLE       |          | smallest (w_later - w_earlier) / w_later(0) over adjacent expiries
            certificate          | VARCHAR      | JSON     | every verdict, as in volsurface fit --json
            n_smiles             | INTEGER      |          | rows of smiles with the same underlying and ts
            """,
            order=("underlying", "ts"),
            thinned=True,
        ),
        _table(
            "metrics",
            "expiry or constant tenor, when one moved by 1 bp or a minute has passed",
            """
            underlying | VARCHAR   |                    | coin
            expiry     | TIMESTAMP | UTC                | instant of expiry; NULL on a row of a constant tenor
            tenor      | DOUBLE    | days               | constant tenor; NULL on a row of an expiry
            atm_vol    | DOUBLE    | decimal/year       | vol at the forward
            skew       | DOUBLE    | vol per unit of k  | dvol/dk at the forward
            curvature  | DOUBLE    | vol per unit of k2 | d2vol/dk2 at the forward
            rr25       | DOUBLE    | decimal/year       | 25-delta risk reversal: call vol minus put vol
            bf25       | DOUBLE    | decimal/year       | 25-delta butterfly: mean of call and put vol minus atm_vol
            rr10       | DOUBLE    | decimal/year       | 10-delta risk reversal
            bf10       | DOUBLE    | decimal/year       | 10-delta butterfly
            """,
            order=("underlying", "tenor", "expiry", "ts"),
            kept=True,
        ),
        _table(
            "forwards",
            "venue, underlying, expiry and source, when it has changed, at most one a second",
            """
            venue      | VARCHAR   |                         | whose forward or index it is
            underlying | VARCHAR   |                         | coin
            expiry     | TIMESTAMP | UTC                     | instant of expiry; NULL: the spot index
            value      | DOUBLE    | quote currency per coin | forward or index
            source     | VARCHAR   |                         | future, synthetic, index or model
            """,
            order=("underlying", "expiry", "ts"),
        ),
        _table(
            "trades",
            "trade a venue has told of",
            """
            iid   | INTEGER |               | instrument (table instruments)
            venue | VARCHAR |               | venue
            price | DOUBLE  | venue's price | price as traded
            size  | DOUBLE  | coins         | size
            side  | VARCHAR |               | buy or sell: what the one did who took the other's quote
            iv    | DOUBLE  | decimal/year  | vol of the trade as the venue says
            """,
            order=("iid", "ts"),
            kept=True,
        ),
        _table(
            "venues",
            "venue, every ten seconds and when its state, gaps or reconnects change",
            """
            venue      | VARCHAR |    | venue
            state      | VARCHAR |    | connecting, listing, subscribing, live or down
            lag_ms     | DOUBLE  | ms | newest message: from the venue's own time to ours
            delay_ms   | DOUBLE  | ms | the same of all quotes of the last second, median
            floor_ms   | DOUBLE  | ms | lower envelope of the delays of ten minutes, now: the clocks' difference and the shortest way
            drift_ppm  | DOUBLE  | 1e-6 | slope of that envelope: how much faster our clock runs
            round_trip_ms | DOUBLE | ms | a ping to the venue and back
            age_ms     | DOUBLE  | ms | how long before ts the newest message came
            messages   | BIGINT  |    | messages since the feed started, as the next three
            rejected   | BIGINT  |    | messages that were not understood
            gaps       | BIGINT  |    | holes in the venue's numbering
            reconnects | BIGINT  |    | connections made again
            subscribed | BIGINT  |    | channels
            listed     | BIGINT  |    | open instruments
            quoted     | BIGINT  |    | of these, with a bid or an ask
            connections | BIGINT |    | connections the venue is read through
            connections_live | BIGINT | | of these, live
            """,
            order=("venue", "ts"),
        ),
        _table(
            "ledger",
            "stage of the work, every ten seconds: what came to it since the row before, and what it left out",
            """
            service | VARCHAR |    | engine, or another service that counts its work
            stage   | VARCHAR |    | rows, reprice, refit, publish, ...
            offered | BIGINT  |    | pieces of work that came
            skipped | BIGINT  |    | of these, not done because nobody would have seen a difference
            done    | BIGINT  |    | of these, done
            detail  | VARCHAR | JSON | what else the service says of the stage
            """,
            order=("service", "stage", "ts"),
        ),
        _table(
            "events",
            "event of a service",
            """
            service  | VARCHAR |               | feed, engine or historian
            venue    | VARCHAR |               | venue it concerns, where one is known
            kind     | VARCHAR |               | gap, resubscribe, connect, disconnect, reject_frame, reject_quote, fit_failure, stale, settings, dropped, disk, restart, published, listed, notice
            iid      | INTEGER |               | instrument it concerns (table instruments)
            severity | VARCHAR |               | info, warning or error
            text     | VARCHAR |               | what happened, as a sentence
            value    | DOUBLE  |               | a number of the kind: how many were listed, lost or refused
            size     | DOUBLE  |               | another
            extra    | DOUBLE  |               | another
            detail   | VARCHAR | JSON          | what else is known
            """,
            kept=True,
        ),
        _table(
            "instruments",
            "instrument, when it is first seen; ts is the time it is valid from",
            """
            iid             | INTEGER   |               | number of the instrument within this store; never reused
            venue           | VARCHAR   |               | venue
            native_symbol   | VARCHAR   |               | the venue's own name
            underlying      | VARCHAR   |               | coin
            expiry          | TIMESTAMP | UTC           | instant of expiry
            strike          | DOUBLE    | quote currency per coin | strike
            option_type     | VARCHAR   |               | call or put (right is a word of SQL)
            settlement      | VARCHAR   |               | coin (prices in coin) or stable (prices in quote currency)
            contract_size   | DOUBLE    | coins         | coins per contract
            price_unit_size | DOUBLE    | coins         | coins a quoted price refers to
            tick            | DOUBLE    | venue's price | smallest price step
            """,
            compacted=False,
        ),
        _table(
            "settings",
            "accepted change of settings",
            """
            who    | VARCHAR |      | who changed them, where known
            values | VARCHAR | JSON | all settings after the change, {section: {name: value}}
            """,
            compacted=False,
        ),
        _table(
            "runs",
            "start of the historian",
            """
            source  | VARCHAR | | simulated, live, replay or refit
            version | VARCHAR | | version of the program
            host    | VARCHAR | | machine
            pid     | INTEGER | | process
            """,
            compacted=False,
        ),
    )
}
COMPACTED = [table.name for table in TABLES.values() if table.compacted]


def empty_select(columns: Sequence[Column]) -> str:
    """Return the query of no rows with these columns: what a store holds before the first row."""
    return "SELECT " + ", ".join(f'NULL::{c.type} AS "{c.name}"' for c in columns) + " WHERE false"


def encoded_select(table: Table, source: str) -> str:
    """Return the query that reads `source`, whose columns are numpy arrays of ENCODINGS, as the table's columns."""
    columns = (ENCODINGS[c.type][2].format(f'"{c.name}"') + f' AS "{c.name}"' for c in table.columns)
    return f"SELECT {', '.join(columns)} FROM {source}"


def encode(column: Column, values: object, n: int) -> np.ndarray:
    """Return `n` values (one for all, or one each; None or absent: missing) as the array `encoded_select` reads."""
    dtype, missing, _ = ENCODINGS[column.type]
    if isinstance(values, np.ndarray) and values.dtype == np.dtype(dtype):
        array = values
    elif values is None or isinstance(values, str | int | float | bool | np.generic):
        array = np.full(n, missing if values is None else values, dtype)
    else:
        array = np.array([missing if value is None else value for value in values], dtype)  # type: ignore[attr-defined]
    if array.shape != (n,):
        raise ValueError(f"column {column.name}: {n} values are needed, found shape {array.shape}")
    return array


def markdown() -> str:
    """Return the tables as they stand in docs/history.md."""
    parts = []
    for table in TABLES.values():
        parts += [f"### {table.name}", "", f"One row per {table.row}.", ""]
        parts += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        parts += [f"| `{c.name}` | {c.type} | {c.unit} | {c.doc.replace('|', chr(92) + '|')} |" for c in table.columns]
        parts.append("")
    return "\n".join(parts)
