"""Implied vols that others published: C code's, and those of a quantitative library on a recorded chain."""

import gzip
import json
import math
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from volsurface.pricing.black76 import black76_price
from volsurface.pricing.greeks import implied_vols_and_greeks
from volsurface.pricing.implied_vol import attainable_error, implied_vols

pytestmark = pytest.mark.recorded


def test_lets_be_rational_values(recorded: Path) -> None:
    """1,000 random options with the outputs of P. Jaeckel's C code."""
    path = recorded / "market/reference/lets_be_rational_test_values.json.gz"
    content = json.loads(gzip.decompress(path.read_bytes()))
    cases, outputs = content["input"], content["output"]
    forward, strike, years, right = (np.array([case[name] for case in cases], float) for name in ("F", "K", "T", "q"))
    sigma = np.array([case["sigma"] for case in cases])
    price = np.array([output["black"] for output in outputs], float)
    theirs = np.array([output["implied_volatility_from_a_transformed_rational_guess"] for output in outputs], float)

    np.testing.assert_allclose(black76_price(forward, strike, years, sigma, right), price, rtol=4e-13, atol=1e-300)
    (vol, _), greeks = implied_vols_and_greeks(price, forward, strike, years, right)
    attainable = attainable_error(price, vol, greeks.vega)
    well_conditioned = np.isfinite(theirs) & (theirs > 0.0) & (theirs < 1e100) & (attainable < 1e-9)
    assert well_conditioned.sum() >= 963
    assert (np.abs(vol / theirs - 1.0) <= 8.0 * attainable)[well_conditioned].all()  # 4 each
    # the others: whatever vol there is gives the price back
    other = ~well_conditioned & np.isfinite(vol)
    again = black76_price(forward, strike, years, vol, right)
    np.testing.assert_allclose(again[other], price[other], rtol=1e-14)


def test_quantflow_vols_of_a_chain(recorded: Path) -> None:
    """403 quotes of 2026-04-27, coin premiums, with bid and ask vols to seven digits; the forward is the middle future."""
    path = recorded / "market/other_dates/deribit_btc_volsurface_20260427.json.gz"
    content = json.loads(gzip.decompress(path.read_bytes()))
    now = datetime.fromisoformat(content["ref_date"])
    rows = content["inputs"]
    forwards = {
        row["maturity"]: 0.5 * (float(row["bid"]) + float(row["ask"]))
        for row in rows
        if row["security_type"] == "forward"
    }
    compared = 0
    for row in rows:
        if row["security_type"] != "option":
            continue
        assert row["inverse"]
        forward = forwards[row["maturity"]]
        years = (datetime.fromisoformat(row["maturity"]) - now).total_seconds() / (365 * 86400)
        for side in ("bid", "ask"):
            if row.get(f"iv_{side}") is None:
                continue
            vol, _ = implied_vols(float(row[side]) * forward, forward, float(row["strike"]), years, row["option_type"])
            compared += 1
            assert math.isclose(float(vol), float(row[f"iv_{side}"]), abs_tol=6e-8), (row, float(vol))
    assert compared >= 800
