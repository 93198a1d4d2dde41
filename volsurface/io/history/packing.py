"""How a cold segment holds numbers that are short decimals: as whole numbers of a unit, which compress to a few bits.

A quoted price of 0.0515 is 515 units of 1/10,000; as a float64 its last bytes look random and do not compress. For each
key of the table (an instrument) and column the least unit is chosen that gives the values back bit for bit; a value it does
not give back stays a float64 beside it. Whole numbers are counted from the least of their key, so that the steps from one
row to the next, which Parquet's delta encoding stores, are small also where one instrument ends and the next begins.

A column `bid` becomes four: bid = (bid_n + bid_base) / bid_unit, or with a negative unit (n + base) / -unit / 100, as the
percents are that venues send for vols; else `bid`. A time `ts_venue` becomes `ts_venue_ms`, the whole milliseconds before
ts, or stays where it is not whole; `age_ms` then is what it is more or less than that. The views undo all of it.
"""

from volsurface.io.history.schema import Column, Table

UNITS = (1, 10, 100, 1_000, 10_000, 1_000_000, 100_000_000, -100)
USUAL = 0.9  # share of the values a unit must give back
EXACT_BELOW = 9e15  # whole numbers a float64 holds exactly
_BESIDE = {"age_ms": "ts_venue"}  # a duration in ms that is nearly the one of a time before ts


def stored_columns(table: Table, cold: bool) -> list[Column]:
    """Return the columns of a table's files, as they are in cold or in hot segments."""
    if not (cold and table.packed):
        return list(table.columns)
    columns: list[Column] = []
    for column in table.columns:
        if column.type == "DOUBLE":
            columns += [
                Column(f"{column.name}_n", "BIGINT", "", column.doc), Column(f"{column.name}_base", "BIGINT", "", column.doc),
                Column(f"{column.name}_unit", "DOUBLE", "", column.doc),
            ]  # fmt: skip
        elif _is_time(column):
            columns.append(Column(f"{column.name}_ms", "INTEGER", "ms", column.doc))
        elif column.name in _BESIDE:
            columns.append(Column(f"{column.name}_more", "INTEGER", "ms", column.doc))
        columns.append(column)
    return columns


def packed_select(table: Table, rows: str) -> str:
    """Return the query that turns `rows` (a query or table function of the table's columns) into its cold columns."""
    if not table.packed:
        return f"SELECT * FROM {rows}"
    keys, doubles = table.order[:-1], [c.name for c in table.columns if c.type == "DOUBLE"]
    chosen = ", ".join(f"{_unit_of(name)} AS {name}_unit, min({_quoted(name)}) AS {name}_least" for name in doubles)
    based = ", ".join(
        f"{name}_unit, coalesce(TRY_CAST({_whole(f'{name}_least', f'{name}_unit')} AS BIGINT), 0) AS {name}_base"
        for name in doubles
    )
    columns = ", ".join(_packed(column) for column in table.columns)
    return f"""
        WITH rows AS (SELECT * FROM {rows}),
        chosen AS (SELECT {", ".join(keys)}, {chosen} FROM rows GROUP BY ALL),
        units AS MATERIALIZED (SELECT {", ".join(keys)}, {based} FROM chosen)
        SELECT {columns} FROM rows r JOIN units u ON ({" AND ".join(f"r.{key} IS NOT DISTINCT FROM u.{key}" for key in keys)})
    """


def unpacked_columns(table: Table) -> str:
    """Return the expressions over cold columns that give the table's own, as a select list."""
    return ", ".join(_unpacked(column) if table.packed else _quoted(column.name) for column in table.columns)


def _is_time(column: Column) -> bool:
    return column.type == "TIMESTAMP" and column.name != "ts"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _whole(value: str, unit: str) -> str:
    return f"round({value} * CASE WHEN {unit} < 0 THEN -{unit} * 1e2 ELSE {unit} END)"


def _gives_back(value: str, whole: str, restored: str) -> str:
    # -0.0 would come back as 0.0, and an infinity is no whole number.
    return f"(abs({whole}) < {EXACT_BELOW:e} AND {restored} = {value} AND NOT ({value} = 0 AND signbit({value})))"


def _unit_of(name: str) -> str:
    """Return the aggregate that chooses the unit: a larger one gives back what a smaller one does, so ranks are enough."""
    value, ranks, sizes = _quoted(name), [], []
    for rank, unit in enumerate(UNITS):
        size = f"{abs(unit):e}"
        whole = f"round({value} * {size})" if unit > 0 else f"round({value} * {size} * 1e2)"
        restored = f"{whole} / {size}" if unit > 0 else f"{whole} / {size} / 1e2"
        ranks.append(f"WHEN abs({whole}) < {EXACT_BELOW:e} AND {restored} = {value} THEN {rank}")
        sizes.append(f"WHEN {rank} THEN {unit:e}")
    least = f"CASE WHEN {value} IS NOT NULL THEN CASE {' '.join(ranks)} ELSE {len(UNITS)} END END::TINYINT"
    return f"CASE quantile_disc({least}, {USUAL}) {' '.join(sizes)} END::DOUBLE"


def _packed(column: Column) -> str:
    name, value = column.name, f"r.{_quoted(column.name)}"
    if column.type == "DOUBLE":
        unit = f"u.{name}_unit"
        whole = _whole(value, unit)
        good = f"coalesce({_gives_back(value, whole, _restored(whole, unit))}, false)"
        return (
            f"CASE WHEN {good} THEN {whole}::BIGINT - u.{name}_base END AS {name}_n, u.{name}_base AS {name}_base, "
            f"{unit} AS {name}_unit, CASE WHEN NOT {good} THEN {value} END AS {_quoted(name)}"
        )
    if _is_time(column):
        whole = f"epoch_us({value}) % 1000 = 0 AND abs(epoch_ms(r.ts) - epoch_ms({value})) < 2000000000"
        return (
            f"CASE WHEN {whole} THEN (epoch_ms(r.ts) - epoch_ms({value}))::INTEGER END AS {name}_ms, "
            f"CASE WHEN NOT ({whole}) THEN {value} END AS {_quoted(name)}"
        )
    if name in _BESIDE:
        # A later common table expression cannot see names of this select: the delay is written out.
        beside = f'r."{_BESIDE[name]}"'
        delay = f"(epoch_ms(r.ts) - epoch_ms({beside}))"
        whole = f"epoch_us({beside}) % 1000 = 0 AND abs({delay}) < 1000000000 AND abs({value}) < 1000000000"
        return (
            f"CASE WHEN {whole} THEN ({value} - {delay})::INTEGER END AS {name}_more, "
            f"CASE WHEN NOT coalesce({whole}, false) THEN {value} END AS {_quoted(name)}"
        )
    return f"{value} AS {_quoted(name)}"


def _restored(whole: str, unit: str) -> str:
    return f"CASE WHEN {unit} < 0 THEN {whole} / -{unit} / 1e2 ELSE {whole} / {unit} END"


def _unpacked(column: Column) -> str:
    name, value = column.name, _quoted(column.name)
    if column.type == "DOUBLE":
        return f"coalesce({_restored(f'({name}_n + {name}_base)', f'{name}_unit')}, {value}) AS {value}"
    if _is_time(column):
        return f"coalesce(make_timestamp((epoch_ms(ts) - {name}_ms) * 1000), {value}) AS {value}"
    if name in _BESIDE:
        return f"coalesce(({name}_more + {_BESIDE[name]}_ms)::INTEGER, {value}) AS {value}"
    return value
