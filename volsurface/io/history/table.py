"""The answer to a question, as named numpy columns that show themselves in a terminal and in a notebook."""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

SHOWN = 20  # rows shown by a terminal or a notebook; all are in `columns`
CELL = 48  # letters of a cell shown


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Columns by name, all of one length.

    Times are datetime64[us] in UTC, missing ones NaT; a missing float is NaN, a missing text None; an integer column with
    missing values is a masked array.
    """

    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as {column: value}."""
        for values in zip(*self.columns.values()):
            yield dict(zip(self.columns, values))

    def df(self) -> Any:
        """Return a pandas DataFrame; pandas must be installed."""
        with duckdb.connect() as db:
            db.register("columns", self.columns)
            return db.execute("SELECT * FROM columns").df()

    def __repr__(self) -> str:
        cells = [list(self.columns), *([_text(v) for v in row.values()] for row in self._shown())]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells]
        return "\n".join([*lines, self._summary()])

    def _repr_html_(self) -> str:
        def row(tag: str, cells: list[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row("td", [_text(v) for v in shown.values()]) for shown in self._shown())
        return f"<table>{row('th', list(self.columns))}{body}</table><p>{self._summary()}</p>"

    def _shown(self) -> Iterator[dict[str, Any]]:
        return Table({name: values[:SHOWN] for name, values in self.columns.items()}).rows()

    def _summary(self) -> str:
        rest = f", the first {SHOWN} shown" if len(self) > SHOWN else ""
        return f"({len(self)} rows{rest})"


def fetch(result: duckdb.DuckDBPyConnection) -> Table:
    """Return all rows of a result."""
    if result.description is None:
        return Table({})
    return Table({name: _filled(values) for name, values in result.fetchnumpy().items()})


def _filled(values: np.ndarray) -> np.ndarray:
    if not isinstance(values, np.ma.MaskedArray):
        return values
    fill: Any = {"f": np.nan, "O": None, "M": np.datetime64("NaT")}.get(values.dtype.kind)
    if values.dtype.kind in "fOM":
        filled = values.data.copy()
        filled[np.ma.getmaskarray(values)] = fill
        return filled
    return values if np.ma.getmaskarray(values).any() else values.data


def _text(value: Any) -> str:
    if value is None or value is np.ma.masked or value != value:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
