"""The views and macros over a store's segments, for our own reader and, in `history.duckdb`, for any other DuckDB.

Both see the same tables; they differ in how they learn where cold ends and hot begins. The reader copies that into
variables of its connection and the views compare file names with them, so DuckDB drops files from the list before it
opens any: a file about to be deleted is never touched. The catalogue reads `state.json` inside the query, which is
always consistent, but lists every file: at the moment of a deletion a query may say "Cannot open file". Run it again.
"""

from pathlib import Path

import duckdb

from volsurface.errors import HistoryError
from volsurface.io.history.packing import unpacked_columns
from volsurface.io.history.schema import COMPACTED, TABLES
from volsurface.io.history.segments import (
    CATALOGUE_FILE,
    STATE_FILE,
    State,
    cold_path,
    hot_folder,
    publish,
    quoted,
    segment_name,
    thin_path,
)

# The name of a row's segment, and of the last block it may have rows of: what a question about a time compares with.
_SEGMENT, _BLOCK = "filename[-24:-9] AS segment", "filename[-24:-9] AS last_block"
_DAY_END = "lpad((filename[-24:-9]::BIGINT + 86399999999)::VARCHAR, 16, '0') AS last_block"
STORAGE_VERSION = "v1.2.0"  # also opened by the newest command line of DuckDB that is packaged for pip
MACROS = ("quotes_at", "chain_at", "surface_at", "smile_at", "metric", "event_counts")
METRICS = ("atm_vol", "skew", "curvature", "rr25", "bf25", "rr10", "bf10")


def check_path(root: Path) -> None:
    """Raise HistoryError for a folder whose name DuckDB would take for a pattern."""
    found = sorted(set(str(root)) & set("*?[]{}"))
    if found:
        raise HistoryError(
            f"the history folder {root} has {' '.join(found)} in its path, which DuckDB reads as a pattern"
        )


def variables(root: Path, state: State) -> dict[str, str]:
    """Return the variables the reader's views compare file names with."""
    names = {}
    for table in COMPACTED:
        mark, floor = state.marks[table], state.floors[table]
        names[f"{table}_hot_from"] = str(hot_folder(root, table) / segment_name(max(mark, 1)))
        names[f"{table}_cold_from"] = str(cold_path(root, table, max(floor, 1)))
        names[f"{table}_cold_to"] = str(cold_path(root, table, mark))
        if TABLES[table].thinned:
            names[f"{table}_thin_from"] = str(thin_path(root, table, max(state.thin_floors[table], 1)))
            names[f"{table}_thin_to"] = str(thin_path(root, table, floor))
    return names


def create_views(db: duckdb.DuckDBPyConnection, root: Path, *, pruned: bool) -> None:
    """Create the views of all tables; `pruned`: with the reader's variables, else reading `state.json` in the query."""
    for table in TABLES.values():
        columns = ", ".join(f'"{name}"' for name in table.names)
        if not table.compacted:
            files = _files(hot_folder(root, table.name) / "*.parquet")
            db.execute(f"CREATE VIEW {table.name} AS SELECT {columns} FROM {files}")
            continue
        cold, hot = _files(root / table.name / "cold/*/*.parquet"), _files(hot_folder(root, table.name) / "*.parquet")
        mark = ""
        if pruned:
            is_cold = (
                f"filename >= getvariable('{table.name}_cold_from') AND filename < getvariable('{table.name}_cold_to')"
            )
            is_hot = f"filename >= getvariable('{table.name}_hot_from')"
            is_thin = (
                f"filename >= getvariable('{table.name}_thin_from') AND filename < getvariable('{table.name}_thin_to')"
            )
        else:
            mark = f"WITH mark AS MATERIALIZED ({_mark(root, table.name)}) "
            is_cold = "ts >= (SELECT floor FROM mark) AND ts < (SELECT mark FROM mark)"
            is_hot = "ts >= (SELECT mark FROM mark)"
            is_thin = "ts >= (SELECT thin_floor FROM mark) AND ts < (SELECT floor FROM mark)"
        thin = ""
        if table.thinned:
            files = _files(root / table.name / "thin/*/*.parquet")
            thin = f"UNION ALL BY NAME SELECT {columns}, {_SEGMENT}, {_DAY_END} FROM {files} WHERE {is_thin}"
        db.execute(f"""
            CREATE VIEW {table.name}_segments AS {mark}
            SELECT {unpacked_columns(table)}, {_SEGMENT}, {_BLOCK} FROM {cold} WHERE {is_cold}
            UNION ALL BY NAME
            SELECT {columns}, {_SEGMENT}, {_BLOCK} FROM {hot} WHERE {is_hot}
            {thin}
        """)
        db.execute(f"CREATE VIEW {table.name} AS SELECT {columns} FROM {table.name}_segments")


def _files(pattern: Path) -> str:
    return f"read_parquet({quoted(pattern)}, filename=true, hive_partitioning=false)"


def _mark(root: Path, table: str) -> str:
    fields = ", ".join(f"{name} BIGINT" for name in COMPACTED)
    return f"""SELECT make_timestamp(marks.{table}) AS mark, make_timestamp(floors.{table}) AS floor,
        make_timestamp(thin_floors.{table}) AS thin_floor FROM read_json({quoted(root / STATE_FILE)},
        format='newline_delimited',
        columns={{marks: 'STRUCT({fields})', floors: 'STRUCT({fields})', thin_floors: 'STRUCT({fields})'}})"""


def create_macros(db: duckdb.DuckDBPyConnection, block_us: int) -> None:
    """Create the questions that are asked by name; times are TIMESTAMP (UTC) or TIMESTAMP WITH TIME ZONE.

    Each bounds the names of the segments it needs, so only those are opened.
    """

    # No argument is named as a column: beside a subquery, as the catalogue's views have, DuckDB 2.0 refuses that.
    def within(since: str, until: str) -> str:
        first = f"lpad((epoch_us({since}) // {block_us} * {block_us})::VARCHAR, 16, '0')"
        return (
            f"last_block >= {first} AND segment <= lpad(epoch_us({until})::VARCHAR, 16, '0') "
            f"AND ts BETWEEN make_timestamp(epoch_us({since})) AND make_timestamp(epoch_us({until}))"
        )

    names = {name: ", ".join(f's."{column}"' for column in table.names) for name, table in TABLES.items()}
    # arg_max(bid, ts) would skip a missing bid and bring back a dead quote: whole rows are taken.
    db.execute(f"""
        CREATE MACRO quotes_at(t, lookback := INTERVAL 60 SECOND) AS TABLE
        SELECT unnest(arg_max(s, s.ts)) FROM (
            SELECT {names["quotes"]} FROM quotes_segments s WHERE {within("t - lookback", "t")}
        ) s GROUP BY s.iid
    """)
    directory = ", ".join(
        f"i.{name}" for name in TABLES["instruments"].names if name not in ("ts", "run", "settings_id", "iid")
    )
    db.execute(f"""
        CREATE MACRO chain_at(t, coin, lookback := INTERVAL 60 SECOND) AS TABLE
        SELECT {directory}, q.* FROM quotes_at(t, lookback := lookback) q JOIN instruments i USING (iid)
        WHERE i.underlying = coin AND i.expiry > make_timestamp(epoch_us(t)) AND q.flags & 1024 = 0
        ORDER BY i.expiry, i.strike, i.option_type, i.venue
    """)
    db.execute(f"""
        CREATE MACRO surface_at(t, coin, lookback := INTERVAL 1 HOUR) AS TABLE
        SELECT {names["smiles"]} FROM smiles_segments s SEMI JOIN (
            SELECT max(p.ts) AS ts FROM surfaces_segments p WHERE {within("t - lookback", "t")} AND p.underlying = coin
        ) USING (ts)
        WHERE {within("t - lookback", "t")} AND s.underlying = coin
        ORDER BY s.expiry
    """)
    db.execute("""
        CREATE MACRO smile_at(t, coin, expires, lookback := INTERVAL 1 HOUR) AS TABLE
        SELECT * FROM surface_at(t, coin, lookback := lookback) s WHERE s.expiry = expires
    """)
    chosen = " ".join(f"WHEN '{metric}' THEN s.{metric}" for metric in METRICS)
    db.execute(f"""
        CREATE MACRO metric(name, coin, since, until := TIMESTAMP '2200-01-01', days := NULL, expires := NULL,
            bucket := INTERVAL 1 MICROSECOND) AS TABLE
        SELECT time_bucket(bucket, s.ts) AS ts, arg_max_null(CASE name {chosen} ELSE error(
            'unknown metric ' || name || '; allowed: {", ".join(METRICS)}') END, s.ts) AS value
        FROM metrics_segments s
        WHERE {within("since", "until")} AND s.underlying = coin
            AND CASE WHEN expires IS NULL THEN s.tenor = days ELSE s.expiry = expires END
        GROUP BY ALL ORDER BY ALL
    """)
    db.execute(f"""
        CREATE MACRO event_counts(since, until := TIMESTAMP '2200-01-01') AS TABLE
        SELECT service, kind, severity, count(*) AS events, min(ts) AS first, max(ts) AS last
        FROM events_segments WHERE {within("since", "until")} GROUP BY ALL ORDER BY events DESC, service, kind
    """)


def write_catalogue(root: Path, block_us: int) -> None:
    """Replace `history.duckdb` in one step; it holds absolute paths, so it is written at every start of the writer."""
    temporary = root / "catalogue.tmp"
    temporary.unlink(missing_ok=True)
    with duckdb.connect() as db:
        db.execute(f"ATTACH {quoted(temporary)} AS catalogue (STORAGE_VERSION '{STORAGE_VERSION}')")
        db.execute("USE catalogue")
        create_views(db, root, pruned=False)
        create_macros(db, block_us)
        db.execute("USE memory")
        db.execute("DETACH catalogue")
    publish(temporary, root / CATALOGUE_FILE)
