"""Greeks against 50-digit arithmetic, in every convention, and against the numbers venues print."""

import itertools
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from volsurface.bench.exact import ExactGreeks, attainable, exact_greeks, exact_vol, relative_error
from volsurface.bench.iv_sets import OptionSet, chain_set, stress_set
from volsurface.errors import SettingsError
from volsurface.pricing.black76 import black76_price
from volsurface.pricing.greeks import Greeks, charm, display_units, greeks, implied_vols_and_greeks
from volsurface.pricing.implied_vol import implied_vols

NAMES = ExactGreeks._fields
NORMAL = 1e-290  # below this a float64 has lost bits already


def worst_errors(options: OptionSet, found: Greeks, vols: np.ndarray, solve: bool) -> dict[str, np.ndarray]:
    """Return per Greek the error over its size; vanna and volga over the size of their terms, as d1 and d2 cross zero.

    In the money it is given in units of what one rounding of the price does to the vol, where that is more.
    """
    result = {name: np.zeros(vols.size) for name in NAMES}
    for i, (price, forward, strike, years, right) in enumerate(zip(*options.inputs)):
        vol = exact_vol(price, forward, strike, years, right, vols[i]) if solve else vols[i]
        truth = exact_greeks(forward, strike, years, vol, right)
        s = float(vol) * math.sqrt(years)
        d = abs(math.log(forward / strike)) / s + 0.5 * s
        size = truth._asdict()
        size["vanna"] = max(abs(truth.vanna), truth.vega * d / (forward * s))
        size["volga"] = max(abs(truth.volga), truth.vega * d * d / float(vol))
        blur = attainable(price, forward, strike, years, vol) * 2.0**52 if solve else 1.0
        for name in NAMES:
            if abs(size[name]) > NORMAL:
                error = abs(getattr(found, name)[i] - getattr(truth, name)) / abs(size[name])
                result[name][i] = float(error) / blur
    return result


def test_chain_greeks_with_the_vol() -> None:
    options = chain_set(400)
    vols, found = implied_vols_and_greeks(*options.inputs)
    for name, error in worst_errors(options, found, vols.vol, solve=True).items():
        assert error.max() <= 1e-14, name


def test_stress_greeks_with_the_vol() -> None:
    options = stress_set(1500, seed=31)
    vols, found = implied_vols_and_greeks(*options.inputs)
    assert np.array_equal(vols.vol, implied_vols(*options.inputs).vol)  # the same bits with and without Greeks
    for name, error in worst_errors(options, found, vols.vol, solve=True).items():
        assert error.max() <= 1e-13, name


def test_warm_greeks() -> None:
    options = stress_set(1500, seed=33)
    vols, cold = implied_vols_and_greeks(*options.inputs)
    for offset in (1e-5, 9e-4, 0.3, math.nan):
        warm_vols, warm = implied_vols_and_greeks(*options.inputs, start=vols.vol * (1.0 + offset))
        assert np.array_equal(warm_vols.status, vols.status)
        for name in NAMES[:4]:
            a, b = getattr(warm, name), getattr(cold, name)
            kept = np.abs(b) > NORMAL
            assert np.abs(a[kept] / b[kept] - 1.0).max() <= 1e-12, name
        for name in NAMES[4:]:
            np.testing.assert_allclose(getattr(warm, name), getattr(cold, name), rtol=1e-9, atol=1e-290)


def test_greeks_of_known_vols() -> None:
    options = chain_set(400)
    found = greeks(options.forward, options.strike, options.years, options.vol, options.right)
    for name, error in worst_errors(options, found, options.vol, solve=False).items():
        assert error.max() <= 2e-14, name


def test_an_out_of_the_money_put_delta_keeps_its_digits() -> None:
    # (1 - N(d1)) - 1 is off by 2.7e-13 at 3.5 standard deviations, and by everything further out
    for distance in (3.5, 6.0, 9.0, 20.0):
        strike = 100.0 * math.exp(-distance * 0.2)
        found = greeks(100.0, strike, 1.0, 0.2, "put")
        assert relative_error(float(found.delta), exact_greeks(100.0, strike, 1.0, 0.2, -1.0).delta) < 1e-13


def test_no_time_no_vol_and_nonsense_have_no_greeks() -> None:
    found = greeks([100.0, 100.0, -1.0, math.nan], 100.0, [0.0, 1.0, 1.0, 1.0], [0.5, 0.0, 0.5, 0.5], "call")
    assert all(np.isnan(getattr(found, name)).all() for name in NAMES)


def test_greeks_are_the_derivatives_they_claim_to_be() -> None:
    forward, strike, years, vol, right = 65_000.0, 72_000.0, 0.15, 0.55, -1.0
    for convention in ("black", "coin", "premium_adjusted"):

        def value(f, v, t, convention=convention):
            price = float(black76_price(f, strike, t, v, right))
            return price / f if convention == "coin" else price

        def delta(f, v, convention=convention):
            return float(greeks(f, strike, years, v, right, convention=convention).delta)

        found = greeks(forward, strike, years, vol, right, convention=convention)
        df, dv, dt = forward * 1e-5, 1e-5, years * 1e-5
        slope = (value(forward + df, vol, years) - value(forward - df, vol, years)) / (2 * df)
        if convention == "premium_adjusted":
            slope -= value(forward, vol, years) / forward
        differences = {
            "delta": slope,
            "gamma": (delta(forward + df, vol) - delta(forward - df, vol)) / (2 * df),
            "vega": (value(forward, vol + dv, years) - value(forward, vol - dv, years)) / (2 * dv),
            "theta": -(value(forward, vol, years + dt) - value(forward, vol, years - dt)) / (2 * dt),
            "vanna": (delta(forward, vol + dv) - delta(forward, vol - dv)) / (2 * dv),
            "volga": (
                float(greeks(forward, strike, years, vol + dv, right, convention=convention).vega)
                - float(greeks(forward, strike, years, vol - dv, right, convention=convention).vega)
            )
            / (2 * dv),
        }
        for name, difference in differences.items():
            assert float(getattr(found, name)) == pytest.approx(difference, rel=1e-6), (convention, name)
        assert found.convention == convention


def test_charm_is_the_decay_of_delta() -> None:
    at = [float(greeks(100.0, 110.0, years, 0.6, "call").delta) for years in (0.25 + 1e-6, 0.25 - 1e-6)]
    found = charm(greeks(100.0, 110.0, 0.25, 0.6, "call"), 0.6, 0.25)
    assert float(found) == pytest.approx((at[1] - at[0]) / 2e-6, rel=1e-6)


def test_conventions_agree_between_both_doors() -> None:
    options = chain_set(100)
    for convention in ("coin", "premium_adjusted"):
        vols, solved = implied_vols_and_greeks(*options.inputs, convention=convention)
        known = greeks(options.forward, options.strike, options.years, vols.vol, options.right, convention=convention)
        for name in NAMES:
            a, b = getattr(solved, name), getattr(known, name)
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * np.abs(b).max(), err_msg=name)
    with pytest.raises(SettingsError, match="unknown convention of Greeks 'coins'; did you mean 'coin'"):
        greeks(1.0, 1.0, 1.0, 1.0, 1, convention="coins")


# ---------------------------------------------------------------------------------------------- what venues print

MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
YEAR_MS = 365 * 86400 * 1000


def years_to(day: int, month: int, year: int, now_ms: float) -> float:
    """Return 365-day years from `now_ms` to 08:00 UTC of the date."""
    return (datetime(2000 + year, month, day, 8, tzinfo=UTC).timestamp() * 1000 - now_ms) / YEAR_MS


def deribit_tickers(recorded: Path) -> list[dict]:
    """Return the data of the option tickers of the recorded minute."""
    lines = (recorded / "samples/deribit/options_raw_book_ticker_2021-07-22.jsonl").read_text().splitlines()
    messages = (json.loads(line).get("msg", {}) for line in lines)
    messages = (json.loads(message) if isinstance(message, str) else message for message in messages)
    data = (message.get("params", {}).get("data", {}) for message in messages)
    return [ticker for ticker in data if "greeks" in ticker]


@pytest.mark.recorded
def test_deribit_prints_black_greeks_per_vol_point_and_day(recorded: Path) -> None:
    tickers = deribit_tickers(recorded)
    assert len(tickers) == 89
    off_by_a_digit = 0
    for ticker in tickers:
        _, date, strike, right = ticker["instrument_name"].split("-")
        day, month, year = int(date[:-5]), MONTHS.index(date[-5:-2]) + 1, int(date[-2:])
        years = years_to(day, month, year, ticker["timestamp"])
        forward, vol = ticker["underlying_price"], ticker["mark_iv"] / 100.0

        def shown(f, v, t, strike=float(strike), right=right):
            price = float(black76_price(f, strike, t, v, right))
            intrinsic = max(f - strike if right == "C" else strike - f, 0.0)
            return display_units(greeks(f, strike, t, v, right), time_value=price - intrinsic)

        # Vol and forward are printed with two decimals, and the Greeks may be seconds older than the time stamp: what is
        # printed lies between the Greeks of those neighbours, give or take its last digit.
        corners = itertools.product((-0.005, 0.0, 0.005), (-0.5e-4, 0.0, 0.5e-4), (0.0, 10_000.0 / YEAR_MS))
        around = [shown(forward + df, vol + dv, years + dt) for df, dv, dt in corners]
        for name in ("delta", "gamma", "vega", "theta"):
            values, printed = [float(getattr(g, name)) for g in around], ticker["greeks"][name]
            outside = max(min(values) - printed, printed - max(values), 0.0)
            off_by_a_digit += outside > 0.6e-5
            assert outside <= 1.5e-5 + 3e-6 * abs(printed), (ticker, name)
    assert off_by_a_digit <= 6  # of 356: printed for a forward that was some tenths of a dollar older


@pytest.mark.recorded
def test_binance_prints_black_greeks_on_the_index(recorded: Path) -> None:
    lines = (recorded / "samples/binance/tardis_node_options_v2_fixtures.jsonl").read_text().splitlines()
    rows = [row for line in lines for row in rows_of(json.loads(line)) if row.get("s", "").startswith("XRP")]
    assert rows
    for row in rows:
        _, date, strike, right = row["s"].split("-")
        years = years_to(int(date[4:]), int(date[2:4]), int(date[:2]), row["E"])
        raw = greeks(float(row["i"]), float(strike), years, float(row["vo"]), right)
        found = display_units(raw)
        for name, key in (("delta", "d"), ("gamma", "g"), ("vega", "v"), ("theta", "t")):
            assert float(getattr(found, name)) == pytest.approx(float(row[key]), rel=2e-5, abs=1e-8), (row, name)


def rows_of(message: dict) -> list[dict]:
    """Return the rows of a Binance mark-price message, none of another one."""
    data = message.get("data", message)
    return data if isinstance(data, list) else []


@pytest.mark.recorded
def test_okx_prints_both_conventions(recorded: Path) -> None:
    lines = (recorded / "samples/okx/tardis_node_options_v5_fixtures.jsonl").read_text().splitlines()
    rows = [row for line in lines for row in json.loads(line).get("data", []) if "deltaBS" in row]
    rows = [row for row in rows if float(row["lever"]) > 0 and float(row["markVol"]) > 0]
    assert rows
    for row in rows:
        _, _, date, strike, right = row["instId"].split("-")
        years = years_to(int(date[4:]), int(date[2:4]), int(date[:2]), float(row["ts"]))
        # the frame of 2021 names no forward: take the one whose delta is printed, then test everything else
        low, high = float(strike) / 5, float(strike) * 5
        for _ in range(100):
            forward = 0.5 * (low + high)
            delta = float(greeks(forward, float(strike), years, float(row["markVol"]), right).delta)
            low, high = (forward, high) if delta < float(row["deltaBS"]) else (low, forward)
        black = display_units(greeks(forward, float(strike), years, float(row["markVol"]), right))
        coin = greeks(forward, float(strike), years, float(row["markVol"]), right, convention="coin")
        adjusted = greeks(forward, float(strike), years, float(row["markVol"]), right, convention="premium_adjusted")
        # OKX's formula starts from spot and adds carry: spot and forward are up to 0.2 % apart here
        assert float(black.gamma) == pytest.approx(float(row["gammaBS"]), rel=4e-3)
        assert float(black.vega) == pytest.approx(float(row["vegaBS"]), rel=4e-3)
        assert float(coin.vega) / 100 == pytest.approx(float(row["vega"]), rel=4e-3)
        assert float(coin.gamma) * forward**2 == pytest.approx(float(row["gamma"]), rel=4e-3)
        assert float(adjusted.delta) == pytest.approx(float(row["delta"]), rel=4e-3)
