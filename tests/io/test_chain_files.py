import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest
from made_chains import SMILES, made_chain

from volsurface.engine.chain_fit import fit_chain
from volsurface.errors import ChainFileError
from volsurface.io.chain_files import ETH_DELAY_NS, NEEDED, read_chain, read_chains
from volsurface.market.quote import (
    FORWARD_FUTURE,
    FORWARD_INDEX,
    FORWARD_MODEL,
    FORWARD_NONE,
    FORWARD_SYNTHETIC,
)
from volsurface.surface.instants import from_iso, to_iso

OWN = """\
timestamp,venue,underlying,instrument,expiry,strike,right,bid,ask,settlement,mark_iv,forward
2026-05-25T07:21:31.450623Z,deribit,BTC,BTC-26JUN26-100000-C,2026-06-26T08:00:00Z,100000,call,0.0105,0.0115,coin,0.45,
2026-05-25 07:21:31.450623,deribit,BTC,BTC-26JUN26-90000-P,2026-06-26 08:00:00+00,90000.5,P,,0.0215,coin,,77289.23
2026-05-25T13:00:00Z,bybit,BTC,BTC-26JUN26-90000-P,2026-06-26T10:00:00+02:00,90000,-1,0,1250.5,stable,,
2026-05-25T07:21:31.450623Z,okx,ETH,ETH-1,2026-06-26T08:00:00Z,2.5,C,0.1,0.2,coin,,
"""


def own_file(folder: Path, text: str = OWN, name: str = "chain.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["chain.csv", "chain.csv.gz", "CHAIN.CSV"])
def test_our_own_columns(tmp_path, name):
    chains = read_chains(own_file(tmp_path, name=name))
    assert [(c.underlying, to_iso(c.time_ns), len(c)) for c in chains] == [
        ("BTC", "2026-05-25T07:21:31.450623Z", 2),
        ("ETH", "2026-05-25T07:21:31.450623Z", 1),
        ("BTC", "2026-05-25T13:00:00Z", 1),
    ]
    first, _, last = chains
    assert first.symbol.tolist() == ["BTC-26JUN26-100000-C", "BTC-26JUN26-90000-P"]
    assert first.strike.tolist() == [100_000.0, 90_000.5]
    assert first.right.tolist() == [1, -1]
    assert first.inverse.tolist() == [True, True]
    assert first.bid == pytest.approx([0.0105, np.nan], nan_ok=True)
    assert first.ask.tolist() == [0.0115, 0.0215]
    assert first.mark_iv == pytest.approx([0.45, np.nan], nan_ok=True)
    assert first.forward == pytest.approx([np.nan, 77289.23], nan_ok=True)
    assert first.forward_source.tolist() == [FORWARD_NONE, FORWARD_MODEL]
    assert {to_iso(t) for t in first.expiry_ns} == {"2026-06-26T08:00:00Z"} == {to_iso(t) for t in last.expiry_ns}
    assert np.isnan(first.mark).all()
    assert np.isnan(first.bid_size).all()
    assert last.venue.tolist() == ["bybit"]
    assert last.inverse.tolist() == [False]
    assert np.isnan(last.bid[0])  # a price of 0 is none


def test_our_own_columns_as_parquet_with_real_types(tmp_path):
    source, path = own_file(tmp_path), tmp_path / "chain.parquet"
    duckdb.sql(
        f"copy (select * replace (timestamp::timestamptz as timestamp, epoch_ns(expiry::timestamptz) as expiry, "
        f"bid::double as bid) from read_csv('{source}', all_varchar = true)) to '{path}' (format parquet)"
    )
    for one, two in zip(read_chains(source), read_chains(path), strict=True):
        assert one.time_ns == two.time_ns
        for name in ("symbol", "expiry_ns", "strike", "right", "ask"):
            assert getattr(one, name).tolist() == getattr(two, name).tolist()
        assert one.bid == pytest.approx(two.bid, nan_ok=True)


def written(chain, path):
    """A made chain as a file with our own columns."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*NEEDED, "forward", "mark"])
        for i in range(len(chain)):
            table.writerow(
                [to_iso(chain.time_ns), chain.venue[i], chain.underlying, chain.symbol[i], to_iso(chain.expiry_ns[i])]
                + [repr(float(chain.strike[i])), "call" if chain.right[i] > 0 else "put"]
                + [repr(float(chain.bid[i])), repr(float(chain.ask[i])), "coin"]
                + [repr(float(chain.forward[i])), repr(float(chain.mark[i]))]
            )
    return path


def test_a_written_chain_fits_as_the_chain_itself(tmp_path):
    chain = made_chain()
    read = read_chain(written(chain, tmp_path / "chain.csv"))
    one, two = fit_chain(chain).surface, fit_chain(read).surface
    assert [s.parameters for s in one.smiles] == [s.parameters for s in two.smiles]
    assert len(one.smiles) == len(SMILES)


SNAPSHOT = """
select * from (values
  ('2026-05-25 07:21:31.450623+00'::timestamptz, 'BTC-26JUN26-80000-C', 77289.23, 'BTC-26JUN26', 'call', 80000.0,
   '2026-06-26 08:00:00+00'::timestamptz, 0.0105, 0.0115, 0.011, 0.4512, 12.5, 'BTC', 77149.93),
  ('2026-05-25 07:21:31.450623+00'::timestamptz, 'BTC-5JUN26-70000-P', 77180.0, 'SYN.BTC-5JUN26', 'put', 70000.0,
   '2026-06-05 08:00:00+00'::timestamptz, null, 0.002, 0.0015, 0.5, 0.0, 'BTC', 77150.25),
  ('2026-05-25 07:21:31.450623+00'::timestamptz, 'BTC-26MAY26-77000-P', 77149.93, 'index_price', 'put', 77000.0,
   '2026-05-26 08:00:00+00'::timestamptz, 0.0, 0.002, 0.0015, 0.5, 0.0, 'BTC', 77149.93),
  ('2026-05-25 07:21:31.450623+00'::timestamptz, 'ETH-26JUN26-2000-C', 2110.5, 'ETH-26JUN26', 'call', 2000.0,
   '2026-06-26 08:00:00+00'::timestamptz, 0.06, 0.065, 0.062, 0.6, 1.0, 'ETH', 2100.0)
) as t(timestamp, instrument_name, underlying, underlying_name, option_type, strike, expiry_datetime, bid_price, ask_price,
       mark_price, implied_volatility, open_interest, currency, index_price)
"""


def snapshot_file(folder: Path, select: str = SNAPSHOT) -> Path:
    path = folder / "snapshots.parquet"
    duckdb.sql(f"copy ({select}) to '{path}' (format parquet)")
    return path


def test_recorded_snapshots(tmp_path):
    btc, eth = read_chains(snapshot_file(tmp_path))
    assert (btc.underlying, eth.underlying) == ("BTC", "ETH")
    assert to_iso(btc.time_ns) == "2026-05-25T07:21:31.450623Z"
    assert eth.time_ns == btc.time_ns + ETH_DELAY_NS  # the collector asked for ETH later
    assert btc.forward_source.tolist() == [FORWARD_FUTURE, FORWARD_SYNTHETIC, FORWARD_INDEX]
    assert btc.bid == pytest.approx([0.0105, np.nan, np.nan], nan_ok=True)
    assert btc.mark.tolist() == [0.011, 0.0015, 0.0015]
    assert btc.mark_iv.tolist() == [0.4512, 0.5, 0.5]
    assert btc.open_interest.tolist() == [12.5, 0.0, 0.0]
    assert btc.right.tolist() == [1, -1, -1]
    assert to_iso(btc.expiry_ns[1]) == "2026-06-05T08:00:00Z"
    assert btc.inverse.all()


def entry(name, **fields):
    values = {
        "instrument_name": name,
        "bid_price": 0.0435,
        "ask_price": 0.064,
        "mark_price": 0.05334793,
        "mark_iv": 37.88,
        "underlying_price": 105390.25,
        "underlying_index": "SYN.BTC-16JUN25",
        "creation_timestamp": 1749938299495,
        "open_interest": 1.5,
        "estimated_delivery_price": 105383.56,
        "quote_currency": "BTC",
        "base_currency": "BTC",
    }
    return values | fields


ENTRIES = [
    entry("BTC-16JUN25-111000-P"),
    entry("BTC-27JUN25-105000-C", bid_price=None, ask_price=0, underlying_index="BTC-27JUN25"),
    entry("BTC-15JUN25-105000-C", underlying_index="index_price", creation_timestamp=1749938299503),
    entry("XRP_USDC-27JUN25-2d15-C", base_currency="XRP", bid_price=0.04),
    entry("BTC-PERPETUAL"),
    entry("BTC-27JUN25"),
]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["summary.json", "summary.json.gz"])
def test_raw_book_summaries(tmp_path, wrapped, name):
    text = json.dumps({"jsonrpc": "2.0", "result": ENTRIES} if wrapped else ENTRIES)
    btc, xrp = sorted(read_chains(own_file(tmp_path, text, name)), key=lambda chain: chain.underlying)
    assert btc.symbol.tolist() == ["BTC-16JUN25-111000-P", "BTC-27JUN25-105000-C", "BTC-15JUN25-105000-C"]
    assert btc.time_ns == 1749938299503 * 10**6
    assert btc.strike.tolist() == [111_000, 105_000, 105_000]
    assert btc.right.tolist() == [-1, 1, 1]
    assert to_iso(btc.expiry_ns[0]) == "2025-06-16T08:00:00Z"
    assert btc.bid == pytest.approx([0.0435, np.nan, 0.0435], nan_ok=True)
    assert btc.ask == pytest.approx([0.064, np.nan, 0.064], nan_ok=True)
    assert btc.mark_iv == pytest.approx([0.3788] * 3)
    assert btc.forward_source.tolist() == [FORWARD_SYNTHETIC, FORWARD_FUTURE, FORWARD_INDEX]
    assert xrp.underlying == "XRP"
    assert xrp.strike.tolist() == [2.15]
    assert xrp.inverse.tolist() == [False]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("chain.txt", "x", "ends in '.txt'; known are .parquet, .csv"),
        ("chain.csv", "timestamp,bid\n1,2\n", "lacks venue, underlying, .*settlement; .*found: timestamp, bid"),
        ("chain.csv", OWN.replace("2026-05-25T13:00:00Z", "lunch"), "row 3 has no readable timestamp"),
        ("chain.csv", OWN.replace("2026-06-26T10:00:00+02:00", ""), "row 3 has no readable expiry"),
        ("chain.csv", OWN.replace("90000.5", "abc"), "row 2 has no positive strike"),
        ("chain.csv", OWN.replace(",P,", ",straddle,"), "unknown right 'straddle'"),
        ("chain.csv", OWN.replace("stable", "cash"), "unknown settlement 'cash'.*Allowed: coin, stable"),
        ("chain.csv", OWN.splitlines()[0] + "\n", "has no option in it"),
        ("chain.parquet", "PAR1 but not really", "cannot be read as parquet"),
        ("chain.csv.gz", None, "cannot be read as csv.gz"),
        ("chain.json", "{not json", "cannot be read as JSON"),
        ("chain.json.gz", None, "cannot be read as JSON"),
        ("chain.json", '{"error": 1}', "no book summary: .*found an object with error"),
        ("chain.json", '"text"', "no book summary: .*found str"),
        ("chain.json", "[1, 2]", "no book summary"),
        ("chain.json", "[]", "has no option in it"),
        ("chain.json", '[{"bid": 1}]', "an entry has no instrument_name; found: bid"),
        ("chain.json", '[{"instrument_name": "BTC-16JUN25-111000-P"}]', "no creation_timestamp.*found None"),
        ("chain.json", json.dumps([entry("BTC-16JUX25-111000-P")]), "names no day of expiry"),
        ("chain.json", json.dumps([entry("BTC-31JUN25-111000-P")]), "names no day of expiry"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(b"\x1f\x8b not gzip" if text is None else text.encode())
    with pytest.raises(ChainFileError, match=said) as caught:
        read_chains(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_a_folder_and_a_missing_column(tmp_path):
    with pytest.raises(ChainFileError, match="is not there"):
        read_chains(tmp_path / "none.csv")
    with pytest.raises(ChainFileError, match="is a folder"):
        read_chains(tmp_path)
    without = snapshot_file(tmp_path, f"select * exclude (bid_price, strike) from ({SNAPSHOT})")
    with pytest.raises(ChainFileError, match="lacks strike, bid_price; a recorded Deribit snapshot file needs"):
        read_chains(without)


def test_choosing(tmp_path):
    path = own_file(tmp_path)
    assert [c.underlying for c in read_chains(path, underlying="eth")] == ["ETH"]
    assert [to_iso(c.time_ns)[11:16] for c in read_chains(path, at="2026-05-25T12:00:00Z", underlying="BTC")] == [
        "13:00"
    ]
    assert len(read_chains(path, at="2026-05-25T08:00:00Z")) == 2  # one of each coin
    assert read_chain(path, at=from_iso("2026-05-25T07:00:00Z"), underlying="BTC").bid[0] == 0.0105
    assert read_chain(path, at=datetime(2026, 5, 25, 14, tzinfo=UTC), underlying="BTC").venue[0] == "bybit"
    with pytest.raises(ChainFileError, match=r"holds 3 chains \(BTC, ETH; 2026-05-25T07:21:31.450623Z to"):
        read_chain(path)
    with pytest.raises(ChainFileError, match="unknown underlying 'BTX'; did you mean 'BTC'"):
        read_chains(path, underlying="BTX")
    with pytest.raises(ChainFileError, match="no snapshot within a day of 2026-05-27"):
        read_chains(path, at="2026-05-27T08:00:00Z")
    with pytest.raises(ChainFileError, match="'soon' is not a time"):
        read_chains(path, at="soon")


# ---- recorded files


@pytest.mark.recorded
def test_a_recorded_file_holds_every_snapshot(recorded):
    path = recorded / "market/deribit_chain_6h/deribit_btc_eth_chain_20260525_20260531.parquet"
    chains = read_chains(path)
    rows = duckdb.sql(
        f"select currency, epoch_ns(timestamp) t, count(*) n, sum(bid_price) b, sum(strike) k from '{path}' "
        "group by all order by t, currency"
    ).fetchall()
    assert len(chains) == len(rows) > 40
    for chain, (currency, time_ns, count, bids, strikes) in zip(chains, rows, strict=True):
        assert chain.underlying == currency
        assert chain.time_ns == time_ns + (ETH_DELAY_NS if currency == "ETH" else 0)
        assert len(chain) == count
        assert np.nansum(chain.bid) == pytest.approx(bids, rel=1e-12)
        assert chain.strike.sum() == strikes
        index = chain.forward_source == FORWARD_INDEX
        assert 0.05 < index.mean() < 0.3
        assert np.isfinite(chain.forward).all()


@pytest.mark.recorded
def test_the_recorded_book_summary(recorded):
    chain = read_chain(recorded / "market/other_dates/deribit_btc_book_summary_20250615.json.gz")
    assert (chain.underlying, len(chain), to_iso(chain.time_ns)[:19]) == ("BTC", 746, "2025-06-14T21:58:19")
    assert np.mean(np.isfinite(chain.bid) & np.isfinite(chain.ask)) == pytest.approx(0.85, abs=0.005)
    fit = fit_chain(chain)
    assert len(fit.surface.smiles) >= 11
    assert fit.quotes.inside.sum() / fit.quotes.used.sum() > 0.95
