"""Tables of Tardis' options_chain columns, plain and packed, become snapshots of the market."""

import gzip
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from volsurface.clock import SteppedClock
from volsurface.engine.chain_fit import fit_chain
from volsurface.errors import ChainFileError
from volsurface.io.chain_files import read_chains
from volsurface.io.chain_player import ChainPlayer, read_market
from volsurface.market.chain import Chain
from volsurface.market.quote import FORWARD_FUTURE, FORWARD_SYNTHETIC
from volsurface.market.row_table import RowTable
from volsurface.simulator.chain import simulated_chain

HEAD = (
    "exchange,symbol,timestamp,local_timestamp,type,strike_price,expiration,open_interest,last_price,bid_price,"
    "bid_amount,bid_iv,ask_price,ask_amount,ask_iv,mark_price,mark_iv,underlying_index,underlying_price,delta,gamma,"
    "vega,theta,rho"
)
T = 1_774_000_800_000_000  # microseconds
DAY = 86_400_000_000


def row(symbol: str, after_s: float, bid: object, ask: object, expiration: int = T + 30 * DAY, claim: str = "BTC-24APR26",
        exchange: str = "deribit") -> str:  # fmt: skip
    received = T + round(after_s * 1e6)
    kind, strike = ("call" if symbol.endswith("C") else "put"), symbol.split("-")[2]
    return (
        f"{exchange},{symbol},{received - 3000},{received},{kind},{strike},{expiration},12.5,0.02,{bid},1.5,44.1,{ask},"
        f"2.5,46.2,0.0205,45.15,{claim},70123.25,0.4,0.00002,33.1,-21.2,9.9"
    )


def table(path: Path, *rows: str) -> Path:
    text = "\n".join([HEAD, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["deribit_options_chain.csv", "deribit_options_chain.csv.gz"])
def test_each_minute_is_a_snapshot_of_the_newest_rows(tmp_path: Path, name: str) -> None:
    call, put, linear = "BTC-24APR26-70000-C", "BTC-24APR26-60000-P", "BTC_USDC-24APR26-70000-C"
    path = table(
        tmp_path / name,
        row(call, 1, 0.020, 0.021), row(put, 2, "", 0.012), row(call, 5, 0.022, 0.023),
        row(linear, 61, 1500, 1510, claim="SYN.BTC_USDC-24APR26"),
        row(call, 130, 0.030, 0.031, claim="index_price"),
    )  # fmt: skip
    first, second, third = read_chains(path)
    assert [chain.time_ns // 1000 - T for chain in (first, second, third)] == [5_000_000, 61_000_000, 130_000_000]
    assert first.symbol.tolist() == [put, call]  # as they came last
    assert first.bid.tolist() == [pytest.approx(math.nan, nan_ok=True), 0.022]
    assert first.mark_iv.tolist() == [0.4515, 0.4515]
    assert first.quote_time_ns.tolist() == [(T + 2_000_000) * 1000, (T + 5_000_000) * 1000]
    assert first.forward_source.tolist() == [FORWARD_FUTURE, FORWARD_FUTURE]
    assert second.symbol.tolist() == [put, call, linear]
    assert second.inverse.tolist() == [True, True, False]
    assert second.forward_source[2] == FORWARD_SYNTHETIC
    assert second.underlying == "BTC"
    assert third.bid[third.symbol == call].tolist() == [0.030]
    assert (first.bid_size[0], first.ask_size[0], first.open_interest[0]) == (1.5, 2.5, 12.5)


def test_an_expired_option_is_left_out(tmp_path: Path) -> None:
    path = table(
        tmp_path / "chain.csv", row("BTC-20MAR26-70000-C", 1, 0.02, 0.021, expiration=T + 30_000_000),
        row("BTC-24APR26-70000-C", 2, 0.02, 0.021), row("BTC-24APR26-70000-C", 70, 0.02, 0.021),
    )  # fmt: skip
    assert [len(chain) for chain in read_chains(path)] == [2, 1]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("BTC-24APR26-70000-C", 1, 1, 2, exchange="okex-options")], "unknown exchange 'okex-options'.*deribit"),
        ([row("BTC-24APR26-70000-C", 1, 1, 2, expiration=0)], "BTC-24APR26-70000-C has no expiration"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, rows: list[str], words: str) -> None:
    with pytest.raises(ChainFileError, match=words):
        read_chains(table(tmp_path / "chain.csv", *rows))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chain.csv"
    path.write_text(HEAD.replace(",underlying_price", "") + "\n")
    with pytest.raises(ChainFileError, match="lacks underlying_price; a table of Tardis"):
        read_chains(path)


def as_table(chain: Chain, path: Path) -> Path:
    rows = []
    for i in range(len(chain)):
        bid, ask = ("" if np.isnan(x) else repr(float(x)) for x in (chain.bid[i], chain.ask[i]))
        day = datetime.fromtimestamp(chain.expiry_ns[i] / 1e9, UTC)
        symbol = f"{chain.underlying}-{day:%d%b%y}-{chain.strike[i]:.0f}-{'C' if chain.right[i] > 0 else 'P'}".upper()
        cells = row(symbol, 0, bid, ask).split(",")
        cells[2] = cells[3] = str(chain.time_ns // 1000)
        cells[6], cells[18] = str(chain.expiry_ns[i] // 1000), repr(float(chain.forward[i]))
        rows.append(",".join(cells))
    return table(path, *rows)


def test_it_is_fitted_like_the_chain_it_was_made_of_and_played(tmp_path: Path) -> None:
    chain = simulated_chain("BTC", seed=5)
    [read] = read_chains(as_table(chain, tmp_path / "deribit_options_chain.csv.gz"))
    ours, theirs = fit_chain(chain).surface, fit_chain(read).surface
    assert [s.expiry_ns for s in theirs.smiles] == [s.expiry_ns for s in ours.smiles]
    assert [s.atm_vol for s in theirs.smiles] == pytest.approx([s.atm_vol for s in ours.smiles], abs=2e-4)
    rows = RowTable(3)
    player = ChainPlayer(read_market([tmp_path / "deribit_options_chain.csv.gz"]), rows, SteppedClock(0), 1.0)
    player.show([read])
    assert len(rows.directory) == len(read)
