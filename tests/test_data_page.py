"""The recipes of docs/data.md make files that can be read."""

import re
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from volsurface.io.chain_files import read_chains

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
HEADER = (
    "exchange,symbol,timestamp,local_timestamp,type,strike_price,expiration,open_interest,last_price,bid_price,bid_amount,"
    "bid_iv,ask_price,ask_amount,ask_iv,mark_price,mark_iv,underlying_index,underlying_price,delta,gamma,vega,theta,rho"
)


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_a_sample_day_becomes_hourly_chains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day, expiry = (int(datetime(2026, 5, n, 8 * (n > 1), tzinfo=UTC).timestamp()) * 10**6 for n in (1, 29))
    rows = [HEADER]
    for hour in (1, 2):
        for seconds, bid in ((-400, 0.01), (-200, 0.02), (-100, 0.03), (5, 0.04)):
            at = day + (hour * 3600 + seconds) * 10**6
            for name, index in (("C", "BTC-29MAY26"), ("P", "index_price")):
                right = {"C": "call", "P": "put"}[name]
                rows.append(
                    f"deribit,BTC-29MAY26-100000-{name},{at},{at},{right},100000,{expiry},1,,{bid},2,50,"
                    f"{bid + 0.001},3,51,{bid},50.5,{index},100500,,,,,"
                )
    source = tmp_path / "day.csv"
    source.write_text("\n".join(rows) + "\n")
    (tmp_path / "chains").mkdir()
    monkeypatch.chdir(tmp_path)
    text = next(block for block in blocks() if "options_chain" in block)
    text = re.sub(r'SOURCE = ".*"', f'SOURCE = "{source}"', text)
    with duckdb.connect() as database:
        exec(text.replace("import duckdb", ""), {"duckdb": type("Module", (), {"sql": staticmethod(database.execute)})})
    chains = read_chains(tmp_path / "chains" / "deribit-20260501.parquet")
    assert [chain.time_ns for chain in chains] == [(day + hour * 3600 * 10**6) * 1000 for hour in (1, 2)]
    for chain in chains:
        assert chain.bid.tolist() == [0.03, 0.03]  # the last before the hour
        assert chain.inverse.all()
        assert chain.expiry_ns.tolist() == [expiry * 1000] * 2
        assert sorted(chain.right.tolist()) == [-1, 1]
        forwards = dict(zip(chain.right.tolist(), chain.forward.tolist(), strict=True))
        assert forwards[1] == 100500.0 and forwards[-1] != forwards[-1]


def test_every_recipe_is_python() -> None:
    for block in blocks():
        compile(block, "docs/data.md", "exec")
