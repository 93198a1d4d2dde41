"""What each kind of Deribit frame becomes: units, missing numbers, flags, forwards, books, trades and marks."""

import math

import pytest
from deribit_script import (
    EXPIRY,
    EXPIRY_MS,
    LATER_MS,
    NOW,
    S,
    Script,
    change,
    linear_option,
    notification,
    option,
    snapshot,
    ticker,
)

from volsurface.market.quote import (
    BELOW_INTRINSIC,
    CLAMPED_IV,
    CROSSED,
    FORWARD_FUTURE,
    FORWARD_INDEX,
    FORWARD_NONE,
    FORWARD_SYNTHETIC,
    LOCKED,
    ONE_SIDED,
    SETTLEMENT_WINDOW,
    SNAPSHOT_ROW,
    forward_flag,
)
from volsurface.venues.normalised import quote_flags

NAN = math.nan
CALL_60, PUT_60, LATE = "BTC-25SEP26-60000-C", "BTC-25SEP26-60000-P", "BTC-25DEC26-60000-C"
FUTURE = forward_flag(FORWARD_FUTURE)


def opened(channels=("ticker", "book"), **options) -> Script:
    entries = [option(CALL_60), option(PUT_60), option(LATE, expiration_timestamp=LATER_MS)]
    return Script({"BTC": entries}, channels=channels, **options).open()


def same(found: dict, expected: dict) -> bool:
    """Equal, where NaN equals NaN."""
    return found.keys() == expected.keys() and all(
        found[key] == value or (found[key] != found[key] and value != value) for key, value in expected.items()
    )


# -- ticker -----------------------------------------------------------------------------------------------------------


def test_ticker_values_and_units():
    script = opened()
    script.receive(ticker(CALL_60), NOW + 7)
    expected = {
        "iid": script.sink.directory.iid("deribit", CALL_60), "flags": FUTURE, "ts_venue_ns": 1_790_133_840_123_000_000,
        "ts_recv_ns": NOW + 7, "seq": -1, "bid": 0.013, "ask": 0.0135, "bid_sz": 0.8, "ask_sz": 4.8, "mark": 0.0133508,
        "iv_bid": 0.5363, "iv_ask": 0.5498, "iv_mark": 0.5402, "fwd": 64120.5, "index": 64001.67, "oi": 4.6,
    }  # fmt: skip
    assert script.sink.last("ticker") == pytest.approx(expected, rel=1e-15)


def test_scientific_notation_and_integers():
    script = opened()
    frame = ticker(CALL_60).replace(b'"underlying_price":64120.5', b'"underlying_price":6.4e4')
    frame = frame.replace(b'"best_bid_price":0.013', b'"best_bid_price":1.3e-2').replace(b":4.6,", b":2.2e3,")
    script.receive(frame.replace(b'"best_ask_amount":4.8', b'"best_ask_amount":5'))
    row = script.sink.last("ticker")
    assert (row["fwd"], row["bid"], row["oi"], row["ask_sz"]) == (64000.0, 0.013, 2200.0, 5.0)


NUMBERS = {
    "best_bid_price": ("bid", "bid_sz"), "best_ask_price": ("ask", "ask_sz"), "mark_price": ("mark",),
    "bid_iv": ("iv_bid",), "ask_iv": ("iv_ask",), "mark_iv": ("iv_mark",), "underlying_price": ("fwd",), "index_price": ("index",),
}  # fmt: skip


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("missing", [0, 0.0, None, -1, -1.0])
def test_every_notation_of_a_missing_number_is_nan(field, missing):
    script = opened()
    script.receive(ticker(CALL_60))
    whole = script.sink.last("ticker")
    script.receive(ticker(CALL_60, **{field: missing}))
    row = script.sink.last("ticker")
    assert all(math.isnan(row[name]) for name in NUMBERS[field])
    untouched = row.keys() - {*NUMBERS[field], "flags"}
    assert {name: row[name] for name in untouched} == {name: whole[name] for name in untouched}


def test_a_field_that_is_not_sent_is_missing():
    script = opened()
    script.receive(notification(f"ticker.{CALL_60}.100ms", {"timestamp": 1_790_133_840_123}))
    row = script.sink.last("ticker")
    assert all(
        math.isnan(row[name]) for name in "bid ask bid_sz ask_sz mark iv_bid iv_ask iv_mark fwd index oi".split()
    )
    assert row["flags"] == 0


@pytest.mark.parametrize(("sent", "found"), [(0, 0.0), (0.0, 0.0), (None, NAN), (-1, NAN), (12.5, 12.5)])
def test_no_open_interest_is_a_number(sent, found):
    script = opened()
    script.receive(ticker(CALL_60, open_interest=sent))
    assert same({"oi": script.sink.last("ticker")["oi"]}, {"oi": found})


@pytest.mark.parametrize(
    ("bid", "ask", "flags"),
    [
        (0.01, 0.02, 0), (0.02, 0.02, LOCKED), (0.03, 0.02, CROSSED), (0, 0.02, ONE_SIDED), (0.01, None, ONE_SIDED), (0, 0, 0),
    ],
)  # fmt: skip
def test_crossed_locked_and_one_sided(bid, ask, flags):
    script = opened()
    script.receive(ticker(CALL_60, best_bid_price=bid, best_ask_price=ask))
    assert script.sink.last("ticker")["flags"] == FUTURE | flags
    assert quote_flags(bid or NAN, ask or NAN) == flags


def test_a_price_without_a_vol_is_below_intrinsic():
    script = opened()
    script.receive(ticker(CALL_60, bid_iv=0.0))
    assert script.sink.last("ticker")["flags"] == FUTURE | BELOW_INTRINSIC
    script.receive(ticker(CALL_60, bid_iv=0.0, best_bid_price=0.0))
    assert script.sink.last("ticker")["flags"] == FUTURE | ONE_SIDED


@pytest.mark.parametrize("vols", [{"mark_iv": 250.0}, {"ask_iv": 500}])
def test_vols_at_the_venues_limits_are_marked(vols):
    script = opened()
    script.receive(ticker(CALL_60, **vols))
    assert script.sink.last("ticker")["flags"] == FUTURE | CLAMPED_IV


def test_the_last_half_hour_is_the_settlement_window():
    script = opened()
    half_hour_ms = 30 * 60 * 1000
    for before_ms, flag in ((half_hour_ms + 1, 0), (half_hour_ms, SETTLEMENT_WINDOW), (1, SETTLEMENT_WINDOW)):
        script.receive(ticker(CALL_60, timestamp=EXPIRY_MS - before_ms))
        assert script.sink.last("ticker")["flags"] == FUTURE | flag


# -- forwards and index -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "source"),
    [
        ("BTC-25SEP26", FORWARD_FUTURE), ("SYN.BTC-25SEP26", FORWARD_SYNTHETIC), ("index_price", FORWARD_INDEX), ("", FORWARD_NONE),
    ],
)  # fmt: skip
def test_forward_source(word, source):
    script = opened()
    script.receive(ticker(CALL_60, underlying_index=word))
    assert script.sink.last("ticker")["flags"] == forward_flag(source)
    assert script.sink.last("forward")["source"] == source


def test_a_forward_is_reported_once_per_value_and_expiry():
    script = opened()
    for name, value in ((CALL_60, 64120.5), (PUT_60, 64120.5), (CALL_60, 64120.5), (LATE, 65000.0), (PUT_60, 64121.0)):
        script.receive(ticker(name, underlying_price=value))
    reported = [(f["underlying"], f["expiry_ns"], f["value"]) for f in script.sink.of("forward")]
    assert reported == [("BTC", EXPIRY, 64120.5), ("BTC", LATER_MS * 1_000_000, 65000.0), ("BTC", EXPIRY, 64121.0)]
    assert len(script.sink.of("ticker")) == 5


def test_an_older_or_missing_forward_is_not_news():
    script = opened()
    script.receive(ticker(CALL_60, timestamp=1_790_133_840_500))
    script.receive(ticker(PUT_60, timestamp=1_790_133_840_400, underlying_price=60000.0))
    script.receive(ticker(PUT_60, timestamp=1_790_133_840_600, underlying_price=None))
    assert [f["value"] for f in script.sink.of("forward")] == [64120.5]
    assert script.sink.of("ticker")[1]["fwd"] == 60000.0  # the row says what the venue said


def test_forwards_and_index_are_news_again_on_a_new_connection():
    script = opened()
    index = notification("deribit_price_index.btc_usd", {"timestamp": 1_790_133_840_123, "price": 64000.5})
    script.receive(ticker(CALL_60))
    script.receive(index)
    script.codec.disconnected(NOW + 2 * S, "lost")
    script.open(NOW + 3 * S)
    script.receive(ticker(CALL_60), NOW + 4 * S)
    script.receive(index, NOW + 4 * S)
    assert [f["ts_recv_ns"] for f in script.sink.of("forward")] == [NOW + S, NOW + S, NOW + 4 * S, NOW + 4 * S]


def test_index_is_a_forward_without_expiry_and_only_when_it_changes():
    script = opened()
    for price in (64000.5, 64000.5, None, 0, -3, 6.4001e4):
        script.receive(notification("deribit_price_index.btc_usd", {"timestamp": 1_790_133_840_123, "price": price}))
    assert [(f["source"], f["underlying"], f["expiry_ns"], f["value"]) for f in script.sink.of("forward")] == [
        (FORWARD_INDEX, "BTC", 0, 64000.5),
        (FORWARD_INDEX, "BTC", 0, 64001.0),
    ]


def test_only_the_first_family_of_a_coin_speaks_for_its_forwards():
    script = Script(
        {"BTC": [option(CALL_60)], "USDC": [linear_option("BTC_USDC-25SEP26-60000-C")]}, underlyings=["BTC", "BTC_USDC"]
    ).open()
    script.receive(ticker(CALL_60))
    script.receive(ticker("BTC_USDC-25SEP26-60000-C", underlying_price=64100.0, underlying_index="index_price"))
    assert [f["value"] for f in script.sink.of("forward")] == [64120.5]
    assert script.sink.last("ticker")["fwd"] == 64100.0
    asked = [channel for call in script.calls for channel in call["params"].get("channels", ())]
    assert "deribit_price_index.btc_usd" in asked
    assert "deribit_price_index.btc_usdc" not in asked


# -- books --------------------------------------------------------------------------------------------------------------


def test_snapshot_and_changes():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [[0.01, 1.0], [0.011, 2.0]], [[0.02, 3.0], [0.015, 4.0]]), NOW + 9)
    assert script.sink.last("book_top") == {
        "iid": script.sink.directory.iid("deribit", CALL_60), "flags": SNAPSHOT_ROW, "ts_recv_ns": NOW + 9, "seq": 10,
        "ts_venue_ns": 1_790_133_840_200_000_000, "bid": 0.011, "ask": 0.015, "bid_sz": 2.0, "ask_sz": 4.0,
    }  # fmt: skip
    script.receive(change(CALL_60, 10, 33, [["delete", 0.011, 2.0], ["new", 0.009, 7.0]], [["change", 0.015, 6.5]]))
    top = script.sink.last("book_top")
    assert (top["seq"], top["flags"], top["bid"], top["bid_sz"], top["ask_sz"]) == (33, 0, 0.01, 1.0, 6.5)
    script.receive(change(CALL_60, 33, 34, [["change", 0.01, 0]], []))  # either "delete" or an amount of 0 deletes
    assert script.sink.last("book_top")["bid"] == 0.009


def test_an_empty_side_is_one_sided_and_two_empty_sides_are_nothing():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [], [[0.02, 3.0]]))
    assert script.sink.last("book_top")["flags"] == SNAPSHOT_ROW | ONE_SIDED
    script.receive(change(CALL_60, 10, 11, [], [["delete", 0.02, 0.0]]))
    top = script.sink.last("book_top")
    assert top["flags"] == 0
    assert all(math.isnan(top[name]) for name in ("bid", "ask", "bid_sz", "ask_sz"))


@pytest.mark.parametrize(
    "first",
    [
        snapshot(CALL_60, 10, [[0.01, 1.0]], [], prev_change_id=8),
        snapshot(CALL_60, 10, [[0.01, 1.0]], [], prev_change_id=None),
        snapshot(CALL_60, 10, [[0.01, 1.0]], [], type=""),
        change(CALL_60, 0, 10, [["new", 0.01, 1.0]]),
    ],
    ids=["with prev_change_id", "with null", "without type", "change from nothing"],
)
def test_what_counts_as_a_snapshot(first):
    script = opened()
    script.receive(first)
    script.receive(change(CALL_60, 10, 12, [["new", 0.012, 1.0]]))
    assert script.sink.last("book_top")["bid"] == 0.012
    assert script.codec.gaps == 0


def test_a_change_without_its_predecessor_is_a_gap():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [[0.01, 1.0]], []))
    script.receive(change(CALL_60, None, 11, [["new", 0.012, 1.0]]))
    assert script.codec.gaps == 1


def test_changes_before_the_first_snapshot_wait_for_it():
    script = opened()
    script.receive(change(CALL_60, 9, 10, [["new", 0.012, 1.0]]))
    assert script.sink.of("book_top") == []
    assert script.codec.gaps == 0


def test_a_second_snapshot_replaces_the_book():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [[0.03, 1.0]], []))
    script.receive(snapshot(CALL_60, 20, [[0.01, 1.0]], []))
    assert script.sink.last("book_top")["bid"] == 0.01


def test_a_crossed_snapshot_is_only_flagged():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [[0.03, 1.0]], [[0.02, 1.0]]))
    assert script.sink.last("book_top")["flags"] == SNAPSHOT_ROW | CROSSED
    assert script.codec.gaps == 0


def test_a_change_that_cannot_be_read_makes_the_next_one_a_gap():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [[0.01, 1.0]], []))
    script.receive(change(CALL_60, 10, 11, [["new", "0.012", 1.0]]))
    assert script.codec.rejected == 1
    script.receive(change(CALL_60, 11, 12, [["new", 0.013, 1.0]]))
    assert script.codec.gaps == 1


# -- quotes, trades, marks ------------------------------------------------------------------------------------------------


def test_quote_gives_the_top_without_a_sequence_number():
    script = opened(channels=["quote"])
    data = {"timestamp": 1_790_133_840_123, "instrument_name": CALL_60, "best_ask_price": 0.02, "best_bid_price": 0.01}
    script.receive(notification(f"quote.{CALL_60}", data | {"best_ask_amount": 4.0, "best_bid_amount": 3.0}), NOW + 5)
    assert script.sink.last("book_top") == {
        "iid": script.sink.directory.iid("deribit", CALL_60), "flags": 0, "ts_venue_ns": 1_790_133_840_123_000_000,
        "ts_recv_ns": NOW + 5, "seq": -1, "bid": 0.01, "ask": 0.02, "bid_sz": 3.0, "ask_sz": 4.0,
    }  # fmt: skip
    script.receive(
        notification(f"quote.{CALL_60}", data | {"best_bid_price": None, "best_ask_price": 0, "best_ask_amount": 0})
    )
    assert all(math.isnan(script.sink.last("book_top")[name]) for name in ("bid", "ask", "bid_sz", "ask_sz"))
    script.codec.disconnected(NOW + S, "lost")
    assert len(script.sink.of("book_lost")) == 1


def test_trades_become_events_with_the_aggressors_sign():
    script = opened(channels=["trades"])
    trade = {
        "trade_seq": 2, "trade_id": "48079289", "timestamp": 1_790_133_840_123, "tick_direction": 2, "price": 0.0075,
        "mark_price": 0.01062686, "iv": 47.58, "instrument_name": CALL_60, "index_price": 8956.17, "direction": "sell", "amount": 3,
    }  # fmt: skip
    script.receive(
        notification(f"trades.{CALL_60}.100ms", [trade, trade | {"direction": "buy", "amount": 0.5, "iv": None}])
    )
    first, second = script.sink.events("trade")
    assert first["iid"] == script.sink.directory.iid("deribit", CALL_60)
    assert (first["value"], first["size"], first["extra"]) == (0.0075, -3.0, pytest.approx(0.4758, rel=1e-15))
    assert (second["size"], second["severity"]) == (0.5, "info")
    assert math.isnan(second["extra"])


def test_markprice_vols_are_fractions_already():
    script = opened(channels=["markprice", "quote"])
    marks = [
        {"timestamp": 1_790_133_840_005, "mark_price": 0.0333, "iv": 0.9, "instrument_name": CALL_60},
        {"timestamp": 1_790_133_840_005, "mark_price": 0, "iv": 0, "instrument_name": PUT_60},
        {"timestamp": 1_790_133_840_005, "mark_price": 1.5, "iv": 0.5, "instrument_name": "BTC-1JAN30-1-C"},
    ]
    script.receive(notification("markprice.options.btc_usd", marks))
    first, second = script.sink.of("ticker")
    assert (first["iid"], first["mark"], first["iv_mark"]) == (
        script.sink.directory.iid("deribit", CALL_60),
        0.0333,
        0.9,
    )
    assert all(
        math.isnan(first[name]) for name in ("bid", "ask", "bid_sz", "ask_sz", "iv_bid", "iv_ask", "fwd", "index", "oi")
    )
    assert math.isnan(second["mark"])
    assert math.isnan(second["iv_mark"])
    assert script.codec.rejected == 0
