"""The implied-vol benchmark returns what its tables show, with whatever peers are installed."""

import json

import pytest

from volsurface.bench import iv
from volsurface.bench.iv_peers import PEERS
from volsurface.bench.iv_sets import chain_set, stress_set


def test_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(iv, "CHAIN", 40)
    monkeypatch.setattr(iv, "STRESS", 80)
    rows = iv.run(seconds=0.0, big=200)
    named = [row for row in rows if row["table"] != "ours"]
    assert len(named) == 2 + len(PEERS)  # measured, or skipped with a reason
    assert all(row["reason"] for row in rows if row["table"] == "skipped")
    ours = named[0]
    assert ours["solver"] == "volsurface"
    assert ours["stress_bad"] == ours["chain_missing"] == 0
    assert ours["stress_attainable"] <= 4.0
    assert json.loads(json.dumps(rows)) == rows
    monkeypatch.setattr(iv, "run", lambda: rows)
    iv.main()
    assert "volsurface" in capsys.readouterr().out


def test_sets_are_as_documented() -> None:
    chain, stress = chain_set(500), stress_set(2000)
    assert chain.out_of_the_money.all()
    assert not chain_set(500, in_the_money=True).out_of_the_money.any()
    assert stress.std_dev.min() >= 0.99e-4
    assert stress.std_dev.max() <= 8.01
    assert (stress.forward == stress.strike).any()
