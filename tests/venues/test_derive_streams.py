"""What each kind of Derive frame becomes: units, missing numbers, flags, forwards, windows of books, trades."""

import math

import pytest
from derive_script import EXPIRY, EXPIRY_S, LATER_S, MS, NOW, S, Script, book, notification, option, ticker

from volsurface.market.quote import (
    BELOW_INTRINSIC,
    CROSSED,
    FORWARD_INDEX,
    FORWARD_MODEL,
    LOCKED,
    ONE_SIDED,
    SETTLEMENT_WINDOW,
    SNAPSHOT_ROW,
    forward_flag,
)

CALL, PUT, LATE = "BTC-20260925-70000-C", "BTC-20260925-60000-P", "BTC-20261225-60000-C"
MODEL = forward_flag(FORWARD_MODEL)


def opened(channels=("ticker", "book", "trades"), **options) -> Script:
    entries = [option(CALL), option(PUT), option(LATE, {"expiry": LATER_S})]
    return Script({"BTC": entries}, channels=channels, **options).open()


def iid(script: Script, name: str) -> int:
    return script.sink.directory.iid("derive", name)


# -- ticker -------------------------------------------------------------------------------------------------------------


def test_values_and_units_of_a_ticker():
    script = opened()
    script.receive(ticker(CALL), NOW + 7)
    assert script.sink.last("ticker") == {
        "iid": iid(script, CALL), "flags": MODEL, "ts_venue_ns": (MS + 40) * 1_000_000, "ts_recv_ns": NOW + 7, "seq": -1,
        "bid": 1238.4, "ask": 1243.8, "bid_sz": 250.6, "ask_sz": 3.46, "mark": 1242.3, "iv_bid": 0.48229,
        "iv_ask": 0.52063, "iv_mark": 0.51012, "fwd": 64100.6, "index": 64001.7, "oi": 42.13,
    }  # fmt: skip


TOP = {
    "b": ("bid", "bid_sz"),
    "a": ("ask", "ask_sz"),
    "B": ("bid_sz",),
    "A": ("ask_sz",),
    "M": ("mark",),
    "I": ("index",),
}
PRICING = {"bi": ("iv_bid",), "ai": ("iv_ask",), "i": ("iv_mark",), "f": ("fwd",)}
MISSING = ["0", "", 0, None, "-1", "nan", "inf"]


@pytest.mark.parametrize("field", [*TOP, *PRICING])
@pytest.mark.parametrize("missing", MISSING)
def test_every_notation_of_a_missing_number_is_nan(field, missing):
    script = opened()
    script.receive(ticker(CALL))
    whole = script.sink.last("ticker")
    script.receive(ticker(CALL, **{field: missing}) if field in TOP else ticker(CALL, {field: missing}))
    row = script.sink.last("ticker")
    names = (TOP | PRICING)[field]
    assert row is not whole
    assert all(math.isnan(row[name]) for name in names)
    untouched = row.keys() - {*names, "flags"}
    assert {name: row[name] for name in untouched} == {name: whole[name] for name in untouched}
    assert script.codec.rejected == 0


@pytest.mark.parametrize("missing", [{"option_pricing": None}, {"stats": None}, {"stats": {"oi": "-1"}}])
def test_parts_that_are_not_there(missing):
    script = opened()
    script.receive(ticker(CALL, **missing))
    row = script.sink.last("ticker")
    names = ("iv_bid", "iv_ask", "iv_mark", "fwd") if "option_pricing" in missing else ("oi",)
    assert all(math.isnan(row[name]) for name in names)
    assert (row["bid"], row["flags"]) == (1238.4, 0 if "option_pricing" in missing else MODEL)


@pytest.mark.parametrize(("sent", "found"), [("0", 0.0), ("12.5", 12.5)])
def test_no_open_interest_is_a_number(sent, found):
    script = opened()
    script.receive(ticker(CALL, stats={"oi": sent}))
    assert script.sink.last("ticker")["oi"] == found


def test_numbers_in_any_json_form():
    script = opened()
    script.receive(ticker(CALL, b="1.2E+3", a=1300, M=1.25e3, t=str(MS)))
    row = script.sink.last("ticker")
    assert (row["bid"], row["ask"], row["mark"], row["ts_venue_ns"]) == (1200.0, 1300.0, 1250.0, NOW)


@pytest.mark.parametrize(
    ("bid", "ask", "flags"),
    [("10", "20", 0), ("20", "20", LOCKED), ("30", "20", CROSSED), ("0", "20", ONE_SIDED), ("10", "0", ONE_SIDED), ("0", "0", 0)],
)  # fmt: skip
def test_crossed_locked_and_one_sided(bid, ask, flags):
    script = opened()
    script.receive(ticker(CALL, b=bid, a=ask))
    assert script.sink.last("ticker")["flags"] == MODEL | flags


def test_a_price_without_a_vol_is_under_intrinsic_value():
    script = opened()
    script.receive(ticker(CALL, {"bi": "0"}))
    assert script.sink.last("ticker")["flags"] == MODEL | BELOW_INTRINSIC
    script.receive(ticker(CALL, {"bi": "0"}, b="0"))
    assert script.sink.last("ticker")["flags"] == MODEL | ONE_SIDED


def test_the_last_half_hour_is_flagged():
    script = opened()
    for ms, flag in ((EXPIRY_S * 1000 - 1_800_001, 0), (EXPIRY_S * 1000 - 1_800_000, SETTLEMENT_WINDOW)):
        script.receive(ticker(CALL, t=ms), EXPIRY)
        assert script.sink.last("ticker")["flags"] == MODEL | flag


def test_a_ticker_that_was_overtaken_is_passed_over():
    script = opened()
    script.receive(ticker(CALL, t=MS + 9, M="2"))
    script.receive(ticker(CALL, t=MS + 8, M="1"))
    assert [row["mark"] for row in script.sink.of("ticker")] == [2.0]


def test_one_forward_an_expiry_and_only_when_it_changes():
    script = opened()
    script.receive(ticker(CALL))
    script.receive(ticker(PUT))
    script.receive(ticker(LATE, {"f": "65000"}))
    script.receive(ticker(PUT, {"f": "64101"}, t=MS + 50))
    script.receive(ticker(CALL, {"f": "64100.6"}))  # older than the last one
    found = [(f["source"], f["venue"], f["underlying"], f["expiry_ns"], f["value"]) for f in script.sink.of("forward")]
    later = LATER_S * S
    assert found == [
        (FORWARD_MODEL, "derive", "BTC", EXPIRY, 64100.6), (FORWARD_MODEL, "derive", "BTC", later, 65000.0),
        (FORWARD_MODEL, "derive", "BTC", EXPIRY, 64101.0),
    ]  # fmt: skip


def test_the_spot_feed_is_the_index():
    script = opened()
    feeds = {"BTC": {"price": "64000.5", "confidence": "1"}, "ETH": {"price": "3000", "confidence": "1"}}
    script.receive(notification("spot_feed.BTC", {"timestamp": MS, "feeds": feeds}))
    script.receive(notification("spot_feed.BTC", {"timestamp": MS + 1, "feeds": {"BTC": {"price": "0"}}}))
    assert [(f["source"], f["underlying"], f["expiry_ns"], f["value"]) for f in script.sink.of("forward")] == [
        (FORWARD_INDEX, "BTC", 0, 64000.5)
    ]


# -- books --------------------------------------------------------------------------------------------------------------


def test_a_window_replaces_the_book():
    script = opened()
    script.receive(book(CALL, 5, [["1200", "2"], ["1190", "1"]], [["1210", "3"]]))
    script.receive(book(CALL, 6, [["1195", "4"]], [["1205", "1.5"]]), NOW + 9)
    assert script.sink.last("book_top") == {
        "iid": iid(script, CALL), "flags": SNAPSHOT_ROW, "ts_venue_ns": (MS + 6) * 1_000_000, "ts_recv_ns": NOW + 9,
        "seq": 6, "bid": 1195.0, "ask": 1205.0, "bid_sz": 4.0, "ask_sz": 1.5,
    }  # fmt: skip
    assert script.codec.depth(iid(script, CALL), 5) == ([(1195.0, 4.0)], [(1205.0, 1.5)])
    assert script.codec.depth(iid(script, PUT), 5) == ([], [])


def test_windows_twice_or_overtaken_are_passed_over_and_numbers_may_start_again():
    script = opened()
    later = {"timestamp": MS + 99}
    for publish_id, changes in ((5, {}), (5, {}), (4, {}), (5, {"timestamp": MS + 20}), (2, later)):
        script.receive(book(CALL, publish_id, [["1200", "1"]], **changes))
    assert [row["seq"] for row in script.sink.of("book_top")] == [5, 5, 2]


@pytest.mark.parametrize(("bid", "ask", "flags"), [("10", "10", LOCKED), ("11", "10", CROSSED)])
def test_crossed_and_locked_windows_are_flagged(bid, ask, flags):
    script = opened()
    script.receive(book(CALL, 5, [[bid, "1"]], [[ask, "1"]]))
    assert script.sink.last("book_top")["flags"] == SNAPSHOT_ROW | flags
    script.receive(book(CALL, 6, [], [[ask, "1"]]))
    assert script.sink.last("book_top")["flags"] == SNAPSHOT_ROW | ONE_SIDED


@pytest.mark.parametrize("level", [["0", "1"], ["-1", "1"], ["10", "0"], ["nan", "1"], ["10"], ["x", "1"], None])
def test_a_window_with_an_impossible_level_is_rejected_and_the_book_stays(level):
    script = opened()
    script.receive(book(CALL, 5, [["1200", "1"]]))
    script.receive(book(CALL, 6, [["1201", "1"], level]))
    assert script.codec.rejected == 1
    assert script.codec.depth(iid(script, CALL), 5)[0] == [(1200.0, 1.0)]


# -- trades -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "size"), [("buy", 0.5), ("sell", -0.5)])
def test_a_trade_is_negative_when_the_aggressor_sold(direction, size):
    script = opened()
    trade = {"trade_id": "x", "instrument_name": CALL, "timestamp": MS, "trade_price": "19.5", "trade_amount": "0.5",
             "mark_price": "19", "index_price": "64000", "direction": direction, "quote_id": None}  # fmt: skip
    others = [{"trade_id": "y"}, trade | {"instrument_name": "ETH-20260925-1-C"}, trade | {"trade_price": "0"}]
    script.receive(notification("trades.option.BTC", [*others, trade]))
    event = script.sink.events("trade")[-1]
    assert (len(script.sink.events("trade")), event["iid"], event["value"], event["size"]) == (
        1,
        iid(script, CALL),
        19.5,
        size,
    )
    assert script.codec.rejected == 2
