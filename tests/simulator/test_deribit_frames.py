import json
from datetime import UTC, datetime

import numpy as np
import pytest

from volsurface.pricing.black76 import black76_price
from volsurface.simulator import deribit_frames as frames
from volsurface.simulator.market import VenueMarket

NOW = int(datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()) * 10**9
NOW_MS = NOW // 1_000_000

# Written after the venue's documentation: name, and whether it may be null.
TICKER_FIELDS = {
    "timestamp": int, "state": str, "stats": dict, "interest_rate": float, "instrument_name": str, "underlying_index": str,
    "open_interest": float, "settlement_price": float, "last_price": (float, type(None)), "min_price": float,
    "max_price": float, "index_price": float, "underlying_price": float, "mark_price": float, "mark_iv": float,
    "bid_iv": float, "ask_iv": float, "best_bid_price": float, "best_bid_amount": float, "best_ask_price": float,
    "best_ask_amount": float, "estimated_delivery_price": float, "greeks": dict,
}  # fmt: skip
INSTRUMENT_FIELDS = {
    "price_index": str, "kind": str, "instrument_name": str, "option_type": str, "strike": float, "max_leverage": int,
    "maker_commission": float, "taker_commission": float, "instrument_type": str, "expiration_timestamp": int,
    "creation_timestamp": int, "is_active": bool, "state": str, "tick_size": float, "tick_size_steps": list,
    "contract_size": float, "instrument_id": int, "min_trade_amount": float, "max_liquidation_commission": float,
    "block_trade_commission": float, "block_trade_min_trade_amount": int, "block_trade_tick_size": float,
    "settlement_currency": str, "settlement_period": str, "base_currency": str, "counter_currency": str,
    "quote_currency": str,
}  # fmt: skip


@pytest.fixture(scope="module")
def market() -> VenueMarket:
    return VenueMarket(("BTC", "ETH"), 4, NOW)


@pytest.fixture(scope="module")
def encoder(market: VenueMarket) -> frames.Encoder:
    return frames.Encoder(market)


@pytest.fixture(scope="module")
def tickers(market: VenueMarket, encoder: frames.Encoder) -> list[dict]:
    return [json.loads(text) for text in encoder.tickers(market.options, market.tickers(market.options), NOW_MS)]


def assert_fields(entry: dict, fields: dict) -> None:
    assert entry.keys() == fields.keys()
    for name, kind in fields.items():
        assert isinstance(entry[name], kind), name


def test_a_ticker_has_the_documented_fields(tickers: list[dict]) -> None:
    for ticker in tickers:
        assert_fields(ticker, TICKER_FIELDS)
        assert ticker["greeks"].keys() == {"delta", "gamma", "vega", "theta", "rho"}
        assert ticker["stats"]["volume"] is None
        assert ticker["timestamp"] == NOW_MS


def test_the_mark_is_black_76_on_the_underlying_price_with_percent_vols(
    market: VenueMarket, tickers: list[dict]
) -> None:
    for option, ticker in list(zip(market.options, tickers))[::7]:
        years = (option.expiry.expiry_ns / 1e6 - ticker["timestamp"]) / (365 * 86400e3)
        forward, vol = ticker["underlying_price"], ticker["mark_iv"] / 100
        price = black76_price(forward, option.strike, years, vol, option.right) / forward
        rounding = ticker["greeks"]["vega"] * 0.005 / forward + 2e-6
        assert ticker["mark_price"] == pytest.approx(float(price), abs=rounding)


def test_greeks_are_derivatives_in_the_venues_units(market: VenueMarket, tickers: list[dict]) -> None:
    """Differences of Black-76 prices: delta and gamma per dollar, vega per vol point, theta per day, rho per percent."""
    for option, ticker in list(zip(market.options, tickers))[3::41]:
        greeks, forward, vol = ticker["greeks"], ticker["underlying_price"], market.true_vol(option)
        years = (option.expiry.expiry_ns - NOW) / (365 * 86400e9)

        def price(f: float, t: float = years, v: float = vol, option=option) -> float:
            return float(black76_price(f, option.strike, t, v, option.right))

        h = forward * 1e-4
        assert greeks["delta"] == pytest.approx((price(forward + h) - price(forward - h)) / (2 * h), abs=2e-5)
        gamma = (price(forward + h) - 2 * price(forward) + price(forward - h)) / h**2
        assert greeks["gamma"] == pytest.approx(gamma, abs=1e-5 + 1e-3 * gamma)
        assert greeks["vega"] == pytest.approx(
            (price(forward, v=vol + 1e-5) - price(forward, v=vol - 1e-5)) / 2e-3, abs=0.02
        )
        dt = min(1 / 365, years)
        decay = (price(forward, years + 1e-6) - price(forward, years - 1e-6)) / 2e-6 * dt
        assert greeks["theta"] == pytest.approx(-decay, abs=1e-2 + 1e-3 * decay)
        # With a rate r, spot fixed and forward = spot e^(r T): the price's derivative in r is T (F delta - price).
        rho = years * (forward * greeks["delta"] - price(forward)) / 100
        assert greeks["rho"] == pytest.approx(rho, abs=0.02)


def test_bid_and_ask_vols_reprice_the_quotes_and_missing_ones_are_zero(
    market: VenueMarket, tickers: list[dict]
) -> None:
    missing = priced = 0
    for option, ticker in zip(market.options, tickers):
        for side in ("bid", "ask"):
            price, amount, iv = ticker[f"best_{side}_price"], ticker[f"best_{side}_amount"], ticker[f"{side}_iv"]
            assert (price == 0) == (amount == 0)
            if price == 0:
                assert iv == 0
                missing += 1
            elif 1 < iv < 500:
                forward = ticker["underlying_price"]
                years = (option.expiry.expiry_ns - NOW) / (365 * 86400e9)
                again = black76_price(forward, option.strike, years, iv / 100, option.right) / forward
                assert price == pytest.approx(float(again), abs=2e-5)
                priced += 1
    assert missing > 20 and priced > 1000


def test_vols_are_fractions_in_mark_prices_and_percent_in_tickers(market: VenueMarket, encoder: frames.Encoder) -> None:
    options = [option for option in market.options if option.underlying == "ETH"]
    values = market.tickers(options)
    marks = json.loads(encoder.mark_prices(options, values, NOW_MS))
    assert [mark.keys() for mark in marks] == [{"timestamp", "mark_price", "iv", "instrument_name"}] * len(options)
    np.testing.assert_allclose([mark["iv"] for mark in marks], np.array(values.mark_iv) / 100, atol=5e-5)


def test_an_instrument_has_the_documented_fields(market: VenueMarket, encoder: frames.Encoder) -> None:
    for option in market.options[::50]:
        entry = json.loads(encoder.instrument(option))
        assert_fields(entry, INSTRUMENT_FIELDS)
        assert entry["tick_size"] == 0.0001
        assert entry["tick_size_steps"] == [{"above_price": 0.005, "tick_size": 0.0005}]
        assert entry["strike"] == option.strike
        assert entry["expiration_timestamp"] * 1_000_000 == option.expiry.expiry_ns
        assert entry["instrument_name"].endswith("-C" if entry["option_type"] == "call" else "-P")
        assert entry["settlement_period"] in ("day", "week", "month")


def test_a_summary_says_null_where_a_ticker_says_zero(market: VenueMarket, encoder: frames.Encoder) -> None:
    entries = json.loads(encoder.book_summaries(market.options, market.tickers(market.options), NOW_MS))
    for option, entry in zip(market.options, entries):
        assert (entry["bid_price"] is None) == (option.book.best_bid == 0)
        assert (entry["ask_price"] is None) == (option.book.best_ask == 0)
        assert (entry["mid_price"] is None) == (not option.book.best_bid or not option.book.best_ask)
    assert any(entry["bid_price"] is None for entry in entries)


@pytest.mark.parametrize(
    ("value", "text"),
    [(64000.0, "6.4e4"), (0.0002, "2e-4"), (0.0135, "0.0135"), (12.5, "12.5"), (0.0, "0.0"), (2200.0, "2.2e3")],
)
def test_some_numbers_are_in_scientific_notation(value: float, text: str) -> None:
    assert frames.number(value) == text
    assert json.loads(text) == value


def test_an_answer_echoes_the_id_or_has_none() -> None:
    assert json.loads(frames.answer("a", '"result":1', 10, 12)) == {
        "jsonrpc": "2.0", "id": "a", "result": 1, "usIn": 10, "usOut": 12, "usDiff": 2, "testnet": True,
    }  # fmt: skip
    assert "id" not in json.loads(frames.answer(None, '"result":1', 10, 12))


def test_a_trade_changes_the_statistics_of_the_ticker(market: VenueMarket, encoder: frames.Encoder) -> None:
    trade = next(trade for trade in iter(market.trade, 0) if trade is not None)
    entry = json.loads(encoder.trade(trade, NOW_MS))
    assert entry["instrument_name"] == trade.option.symbol and isinstance(entry["trade_id"], str)
    assert entry["direction"] in ("buy", "sell") and entry["tick_direction"] in range(4)
    ticker = json.loads(encoder.tickers([trade.option], market.tickers([trade.option]), NOW_MS)[0])
    assert ticker["last_price"] == pytest.approx(trade.price)
    assert ticker["stats"]["volume"] == trade.option.volume
