"""Recorded Derive messages of May 2026 decode to the values they carry, and the venue's own numbers are reproduced."""

import json
import math
from pathlib import Path

import pytest
from derive_script import S, Script, notification, option

from volsurface.market.quote import BELOW_INTRINSIC, FORWARD_MODEL, forward_flag
from volsurface.pricing.black76 import black76_price
from volsurface.pricing.greeks import greeks

pytestmark = pytest.mark.recorded
START = 1_779_953_700 * S  # 28 May 2026
EXPIRY_S = 1_781_251_200  # 12 June 2026, 08:00 UTC: the one listed expiry at which both recordings agree with Black-76
NAMES = {
    "call": "ETH-20260612-1600-C",
    "put": "ETH-20260612-1900-P",
}  # the recordings do not say which options they are


def load(recorded: Path, name: str):
    return json.loads((recorded / "samples/derive/nautilus" / name).read_text())


def opened(channels=("ticker", "book", "trades"), entries=None) -> Script:
    entries = entries or [option(name, {"expiry": EXPIRY_S}) for name in NAMES.values()]
    return Script({"ETH": entries}, ["ETH"], channels).open(START)


def number(text: str) -> float:
    return float(text) if float(text) > 0 else math.nan


@pytest.mark.parametrize("right", ["call", "put"])
def test_tickers_carry_what_is_written(recorded, right):
    data = load(recorded, f"ws_ticker_slim_eth_{right}.json")
    script = opened()
    script.receive(notification(f"ticker_slim.{NAMES[right]}.1000", data), START + 100 * S)
    t, row = data["instrument_ticker"], script.sink.last("ticker")
    p = t["option_pricing"]
    flags = forward_flag(FORWARD_MODEL) | (BELOW_INTRINSIC if right == "call" else 0)  # a bid without a vol
    expected = {
        "ts_venue_ns": t["t"] * 1_000_000, "bid": float(t["b"]), "ask": float(t["a"]), "bid_sz": float(t["B"]),
        "ask_sz": float(t["A"]), "mark": float(t["M"]), "index": float(t["I"]), "iv_bid": number(p["bi"]),
        "iv_ask": number(p["ai"]), "iv_mark": number(p["i"]), "fwd": float(p["f"]), "oi": float(t["stats"]["oi"]),
        "flags": flags,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-15, nan_ok=True)


@pytest.mark.parametrize("right", ["call", "put"])
def test_marks_and_greeks_are_black_76_on_the_venues_forward(recorded, right):
    """Up to the venue's discount factor, which is written as 0.999 and lies between that and 1."""
    data = load(recorded, f"ws_ticker_slim_eth_{right}.json")
    script = opened()
    script.receive(notification(f"ticker_slim.{NAMES[right]}.1000", data), START + 100 * S)
    row, p = script.sink.last("ticker"), data["instrument_ticker"]["option_pricing"]
    instrument = script.sink.directory[row["iid"]]
    years = (instrument.expiry_ns - row["ts_venue_ns"]) / 1e9 / 86400 / 365
    arguments = row["fwd"], instrument.strike, years, row["iv_mark"]
    price, found = float(black76_price(*arguments, instrument.right)), greeks(*arguments, right)
    assert price * 0.999 - 0.05 < row["mark"] < price + 0.05
    assert float(p["d"]) == pytest.approx(float(found.delta), rel=1e-3)
    assert float(p["g"]) == pytest.approx(float(found.gamma), rel=1e-3)
    assert float(p["v"]) == pytest.approx(float(found.vega) / 100, rel=1e-3)
    assert float(p["t"]) == pytest.approx(float(found.theta) / 365, rel=1e-3)


def test_the_listing_of_all_kinds_holds_one_option(recorded):
    entries = load(recorded, "http_get_instruments_eth_all.json")["result"]
    script = opened(entries=entries)
    (instrument,) = script.sink.directory
    wanted = entries[1]
    assert (instrument.symbol, instrument.strike, instrument.expiry_ns) == (
        wanted["instrument_name"], float(wanted["option_details"]["strike"]), wanted["option_details"]["expiry"] * S,
    )  # fmt: skip
    assert (instrument.tick_size, instrument.index_name) == (float(wanted["tick_size"]), "ETH-USD")
    assert script.codec.rejected == 0


def test_a_book_and_a_trade_carry_what_is_written(recorded):
    script = opened()
    window, trade = load(recorded, "ws_orderbook_eth.json"), load(recorded, "ws_trade_eth.json")
    window["instrument_name"] = trade["instrument_name"] = NAMES["call"]
    script.receive(notification(f"orderbook.{NAMES['call']}.1.20", window), START + S)
    row = script.sink.last("book_top")
    assert (row["bid"], row["bid_sz"], row["ask"], row["ask_sz"]) == (3500.0, 1.0, 3501.0, 2.0)
    script.receive(notification("trades.option.ETH", [trade]), START + S)
    event = script.sink.events("trade")[-1]
    assert (event["value"], event["size"]) == (float(trade["trade_price"]), float(trade["trade_amount"]))
    assert script.codec.rejected == 0


def test_a_recorded_acknowledgement_names_what_was_refused(recorded):
    answer = load(recorded, "ws_subscribe_ack.json")
    script = opened()
    asked = list(answer["result"]["status"])
    script.codec._subscriptions.reset()
    for name in asked:
        script.codec._subscriptions.want(name)
    script.codec._go_on(START + 10 * S)
    (call,) = [json.loads(frame) for frame in script.codec.frames_to_send()]
    script.codec.receive(json.dumps(answer | {"id": call["id"]}).encode(), START + 10 * S)
    assert set(script.codec._subscriptions.confirmed) == set(asked) - {"trades.spot.ETH"}
    assert "Invalid enum value spot" in script.sink.events("dropped")[-1]["text"]
