"""Exported quotes: what is read back is what was shown, and the file says where it is from."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from scripted_market import publication

from volsurface.io.quote_files import encode_rows, file_name, origin, quote_rows
from volsurface.surface.instants import from_iso


def made_of() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    made = publication(noise=0.001)
    bid = made.quotes.bid_vol.copy()
    bid[3] = np.nan
    made = replace(made, quotes=replace(made.quotes, bid_vol=bid))
    return quote_rows(made), origin(made, "simulated")


def test_rows_are_the_quotes() -> None:
    made = publication(noise=0.001)
    rows = quote_rows(made)
    assert {len(column) for column in rows.values()} == {len(made.quotes)}
    assert set(rows["venue"]) == {"deribit"}
    assert (rows["reason"] == "used").sum() == made.quotes.used.sum()
    assert rows["expiry"][0].astype(int) * 1000 == made.quotes.expiry_ns[0]
    assert np.array_equal(rows["right"] == "call", made.quotes.right > 0)


def test_a_csv_says_in_every_row_where_it_is_from_and_missing_is_empty() -> None:
    rows, about = made_of()
    read = list(csv.DictReader(io.StringIO(encode_rows(rows, about, "csv").decode())))
    assert len(read) == len(rows["strike"])
    assert {row["source"] for row in read} == {"SIMULATED"}
    assert read[3]["bid_vol"] == ""
    assert [float(row["fit_vol"]) for row in read] == rows["fit_vol"].tolist()
    assert from_iso(read[0]["expiry"]) == rows["expiry"][0].astype(int) * 1000


def test_a_parquet_file_carries_its_source(tmp_path: Path) -> None:
    rows, about = made_of()
    path = tmp_path / file_name(about, "parquet")
    assert path.name.startswith("quotes_BTC_SIMULATED_20261121T")
    path.write_bytes(encode_rows(rows, about, "parquet"))
    with duckdb.connect() as db:
        said = dict(db.execute(f"SELECT key, value FROM parquet_kv_metadata('{path}')").fetchall())
        back = db.execute(f"SELECT * FROM '{path}'").fetchnumpy()
    assert said[b"source"] == b"SIMULATED"
    assert said[b"surface_digest"].decode() == about["surface_digest"]
    assert back["residual_bp"].tolist() == rows["residual_bp"].tolist()
    assert np.ma.getmaskarray(back["bid_vol"])[3]
    assert back["reason"].tolist() == rows["reason"].tolist()


def test_other_formats_are_refused_by_name() -> None:
    rows, about = made_of()
    with pytest.raises(ValueError, match="csv or parquet, found 'xlsx'"):
        encode_rows(rows, about, "xlsx")
