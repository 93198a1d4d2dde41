"""The tables are declared once; files, views and documentation follow."""

from pathlib import Path

import duckdb
import numpy as np
import pytest

from volsurface.bench.history_faults import START
from volsurface.io.history.schema import ENCODINGS, TABLES, Table, empty_select, markdown
from volsurface.io.history.writer import Writer

DOCUMENT = Path(__file__).parents[2] / "docs" / "history.md"


def test_the_documentation_is_made_from_the_schema() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    begin, end = "<!-- tables: made by volsurface.io.history.schema.markdown() -->\n", "<!-- end of tables -->"
    assert text[text.index(begin) + len(begin) : text.index(end)].strip() == markdown().strip()


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_every_column_has_a_known_type_and_a_meaning(table: Table) -> None:
    assert table.names[:3] == ["ts", "run", "settings_id"]
    assert len(set(table.names)) == len(table.names)
    assert set(table.order) <= set(table.names)
    for column in table.columns:
        assert column.type in ENCODINGS
        assert len(column.doc) > 3


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_no_column_needs_quotes_in_sql(table: Table) -> None:
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE t AS {empty_select(table.columns)}")
        for name in table.names:
            db.execute(f"SELECT {name} FROM t WHERE {name} IS NULL").fetchall()


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_views_have_the_declared_columns_and_every_type_goes_round(writer: Writer, table: Table) -> None:
    example = {
        "TIMESTAMP": 1_795_200_000_123_456, "TIMESTAMP_NS": 1_795_200_000_123_456_789, "BIGINT": 2**40, "INTEGER": -7,
        "DOUBLE": 0.1, "BOOLEAN": True, "VARCHAR": "ünï 'x'",
    }  # fmt: skip
    columns = {column.name: [example[column.type], None] for column in table.columns if column.type != "BOOLEAN"}
    columns |= {column.name: True for column in table.columns if column.type == "BOOLEAN"}
    columns |= {"ts": writer.tick(START * 10**9), "settings_id": 1}
    writer.append(table.name, 2, columns)
    assert writer.flush().rows == 2
    with duckdb.connect(str(writer.root / "history.duckdb"), read_only=True) as db:
        found = db.execute(f"DESCRIBE {table.name}").fetchall()
        values = db.execute(f"SELECT * FROM {table.name} ORDER BY {table.names[3]} NULLS LAST").fetchnumpy()
    assert [(row[0], row[1]) for row in found] == [(column.name, column.type) for column in table.columns]
    for column in table.columns[3:]:
        value, missing = values[column.name][0], np.ma.getmaskarray(values[column.name])[1]
        wanted = example[column.type]
        if column.type.startswith("TIMESTAMP"):
            wanted = np.datetime64(wanted, "us" if column.type == "TIMESTAMP" else "ns")
        assert value == wanted
        assert missing == (column.type != "BOOLEAN")
