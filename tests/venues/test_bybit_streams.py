"""What Bybit sends for one option becomes rows, tops and events; the numbers of its books decide about them."""

import math

import pytest
from bybit_script import CALL_60, CALL_60_USDT, PUT_60, BybitScript, book, entry, ticker, topics, trade, trades
from rest_script import EXPIRY, EXPIRY_MS, MS, NOW, NOW_MS, S, encoded

from volsurface.market.quote import (
    BELOW_INTRINSIC,
    CROSSED,
    FORWARD_INDEX,
    FORWARD_MODEL,
    FORWARD_SHIFT,
    LOCKED,
    ONE_SIDED,
    SETTLEMENT_WINDOW,
    SNAPSHOT_ROW,
)

NAN = math.nan
MODEL, INDEX = FORWARD_MODEL << FORWARD_SHIFT, FORWARD_INDEX << FORWARD_SHIFT


@pytest.fixture
def script():
    return BybitScript([entry(PUT_60), entry(CALL_60)]).open()


def same(found, **wanted):
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, nan_ok=True, rel=0, abs=0)


# -- rows -------------------------------------------------------------------------------------------------------------


def test_a_ticker_is_a_whole_row(script):
    script.receive(ticker(CALL_60))
    same(
        script.sink.last("ticker"), iid=1, flags=MODEL, ts_venue_ns=NOW_MS * MS, ts_recv_ns=NOW + S, seq=-1, bid=1190.0,
        ask=1215.0, bid_sz=2.5, ask_sz=4.1, mark=1201.85848319, iv_bid=0.5012, iv_ask=0.5177, iv_mark=0.5102,
        fwd=64021.96, index=64000.5, oi=22.01,
    )  # fmt: skip
    assert script.codec.last_venue_ns == NOW_MS * MS


@pytest.mark.parametrize("none", ["0", "", None, 0, "0.0"])
def test_missing_quotes_are_nan(script, none):
    names = ("bidPrice", "bidSize", "bidIv")
    script.receive(ticker(CALL_60, **dict.fromkeys(names, none)))
    same(script.sink.last("ticker"), bid=NAN, bid_sz=NAN, iv_bid=NAN, ask=1215.0, flags=MODEL | ONE_SIDED)
    everything = ("askPrice", "askSize", "askIv", "markPrice", "indexPrice", "markPriceIv", "underlyingPrice", *names)
    script.receive(ticker(CALL_60, **dict.fromkeys(everything, none)))
    nothing = dict.fromkeys("bid ask bid_sz ask_sz mark iv_bid iv_ask iv_mark fwd index".split(), NAN)
    same(script.sink.last("ticker"), flags=0, oi=22.01, **nothing)


def test_a_size_without_a_price_is_none(script):
    script.receive(ticker(CALL_60, bidPrice="0"))
    same(script.sink.last("ticker"), bid=NAN, bid_sz=NAN)


def test_an_open_interest_of_nothing_is_a_number(script):
    script.receive(ticker(CALL_60, openInterest="0"), ticker(PUT_60, openInterest=""))
    assert script.sink.of("ticker")[0]["oi"] == 0.0
    assert math.isnan(script.sink.of("ticker")[1]["oi"])


def test_a_quote_without_a_vol_is_below_intrinsic(script):
    script.receive(ticker(CALL_60, bidIv="0"))
    assert script.sink.last("ticker")["flags"] == MODEL | BELOW_INTRINSIC


def test_a_forward_that_is_the_index_says_so(script):
    script.receive(ticker(CALL_60, underlyingPrice="64000.5"))
    assert script.sink.last("ticker")["flags"] == INDEX
    assert [(f["source"], f["expiry_ns"]) for f in script.sink.of("forward")] == [
        (FORWARD_INDEX, EXPIRY),
        (FORWARD_INDEX, 0),
    ]


def test_forwards_go_on_when_they_change_told_by_the_options_settled_in_usdt():
    script = BybitScript([entry(CALL_60), entry(CALL_60_USDT)]).open()
    script.receive(ticker(CALL_60, underlyingPrice="64001"), ticker(CALL_60_USDT), ticker(CALL_60_USDT, ts=NOW_MS + 1))
    assert [(f["venue"], f["source"], f["expiry_ns"], f["value"]) for f in script.sink.of("forward")] == [
        ("bybit", FORWARD_MODEL, EXPIRY, 64021.96),
        ("bybit", FORWARD_INDEX, 0, 64000.5),
    ]


def test_locked_crossed_and_the_settlement_window_are_flagged(script):
    script.receive(ticker(CALL_60, bidPrice="1215"), ticker(PUT_60, bidPrice="1220", ts=EXPIRY_MS - 1_800_000))
    assert [row["flags"] for row in script.sink.of("ticker")] == [MODEL | LOCKED, MODEL | CROSSED | SETTLEMENT_WINDOW]


def test_what_was_overtaken_is_passed_over(script):
    script.receive(ticker(CALL_60, ts=NOW_MS + 100), ticker(CALL_60, bidPrice="1", ts=NOW_MS))
    assert script.sink.last("ticker")["bid"] == 1190.0


@pytest.mark.parametrize("bad", ["x", "-1", "nan", "inf", "1_0", " 5", [], {}, True])
def test_a_ticker_with_a_number_that_is_none_is_refused(script, bad):
    script.receive(ticker(CALL_60, bidPrice=bad))
    assert (script.sink.of("ticker"), script.codec.rejected) == ([], 1)


# -- books ------------------------------------------------------------------------------------------------------------

SNAPSHOT = book(CALL_60, "snapshot", 10, [("1000", "57"), ("995", "3")], [("1100", "5")])


def levels(script):
    return script.codec.depth(1, 5)


def test_snapshot_and_deltas(script):
    script.receive(SNAPSHOT, book(CALL_60, "delta", 11, [("1000", "0"), ("1005", "2.9")], [("1100", "6")]))
    assert levels(script) == ([(1005.0, 2.9), (995.0, 3.0)], [(1100.0, 6.0)])
    assert [top["flags"] for top in script.sink.of("book_top")] == [SNAPSHOT_ROW, 0]
    same(script.sink.last("book_top"), iid=1, seq=11, bid=1005.0, ask=1100.0, bid_sz=2.9, ask_sz=6.0)


def test_an_empty_book_has_the_number_nothing_and_goes_on_from_there(script):
    script.receive(book(CALL_60, "snapshot", 0))
    assert levels(script) == ([], [])
    assert 1 in script.codec.books
    script.receive(
        book(CALL_60, "delta", 1, [("1000", "1")], ts=NOW_MS + 1),
        book(CALL_60, "delta", 2, [], [("1100", "1")], ts=NOW_MS + 2),
    )
    assert levels(script) == ([(1000.0, 1.0)], [(1100.0, 1.0)])
    assert script.codec.gaps == 0


def test_number_one_is_the_whole_book_after_a_restart_of_the_service(script):
    script.receive(SNAPSHOT, book(CALL_60, "snapshot", 1, [("990", "1")], ts=NOW_MS + 5))
    script.receive(book(CALL_60, "delta", 2, [], [("1100", "1")], ts=NOW_MS + 6))
    assert levels(script) == ([(990.0, 1.0)], [(1100.0, 1.0)])
    assert script.codec.gaps == 0


def test_a_gap_drops_this_book_alone_and_subscribes_anew(script):
    script.receive(SNAPSHOT, book(PUT_60, "snapshot", 4, [("1", "1")]), book(CALL_60, "delta", 12, ts=NOW_MS + 1))
    assert list(script.codec.books) == [0]
    assert script.sink.events("gap")[0]["text"] == f"{CALL_60}: after 10 came 12"
    unsubscribe, subscribe = script.frames()
    topic = f"orderbook.25.{CALL_60}"
    assert (topics([unsubscribe], "unsubscribe"), topics([subscribe])) == ([topic], [topic])
    script.receive(*script.answer(unsubscribe))
    assert script.codec.state == "live"
    assert script.codec.subscribed == 3  # the first answer is to the first request
    script.receive(*script.answer(subscribe))
    assert script.codec.subscribed == 4
    script.receive(book(CALL_60, "delta", 13, ts=NOW_MS + 2))
    assert list(script.codec.books) == [0]
    script.receive(book(CALL_60, "snapshot", 13, [("900", "1")], ts=NOW_MS + 3))
    assert levels(script) == ([(900.0, 1.0)], [])


def test_what_came_before_or_twice_changes_nothing(script):
    one, two = (
        book(CALL_60, "delta", 11, [("1000", "1")], ts=NOW_MS + 10),
        book(CALL_60, "delta", 12, [("1000", "2")], ts=NOW_MS + 20),
    )
    script.receive(SNAPSHOT, one, one, two, one, two, SNAPSHOT)
    assert levels(script)[0][0] == (1000.0, 2.0)
    assert script.codec.gaps == 0


def test_numbers_that_start_over_without_a_snapshot_are_a_gap(script):
    script.receive(SNAPSHOT, book(CALL_60, "delta", 3, [("1000", "1")], ts=NOW_MS + 10))
    assert (script.codec.gaps, script.codec.books) == (1, {})


def test_two_deltas_in_the_wrong_order_are_a_gap(script):
    script.receive(SNAPSHOT, book(CALL_60, "delta", 12, ts=NOW_MS + 20), book(CALL_60, "delta", 11, ts=NOW_MS + 10))
    assert (script.codec.gaps, script.codec.books) == (1, {})


@pytest.mark.parametrize("level", [["-1", "5"], ["nan", "5"], ["1", "-5"], ["1", "inf"], ["1"], ["", "5"], "x"])
def test_a_delta_that_cannot_be_read_loses_the_book(script, level):
    script.receive(SNAPSHOT, book(CALL_60, "delta", 11, [level], ts=NOW_MS + 1))
    assert (script.codec.books, script.codec.rejected, script.codec.gaps) == ({}, 1, 1)


def test_a_delta_of_another_kind_loses_the_book(script):
    script.receive(SNAPSHOT, book(CALL_60, "delta", 11, ts=NOW_MS + 1).replace(b'"type":"delta"', b'"type":"patch"'))
    assert (script.codec.books, script.codec.gaps) == ({}, 1)


def test_a_crossed_delta_loses_the_book_and_a_crossed_snapshot_is_flagged(script):
    script.receive(SNAPSHOT, book(CALL_60, "delta", 11, [("1200", "1")], ts=NOW_MS + 1))
    assert "crossed" in script.sink.events("gap")[0]["text"]
    script.receive(book(PUT_60, "snapshot", 5, [("3", "1")], [("2", "1")]))
    assert script.sink.last("book_top")["flags"] == CROSSED | SNAPSHOT_ROW


# -- trades -----------------------------------------------------------------------------------------------------------


def test_trades_of_a_coin_are_events_of_their_options():
    script = BybitScript([entry(CALL_60)], channels=("ticker", "trades")).open()
    sold, bought = trade(CALL_60), trade(CALL_60, price="990", side="Buy", i="another", iv="")
    script.receive(trades("BTC", sold, {"p": "1"}, trade("BTC-1JAN27-1-C", i="third"), bought), trades("BTC", bought))
    one, two = script.sink.events("trade")
    same(one, iid=0, value=985.0, size=-0.01, extra=0.51)
    same(two, value=990.0, size=0.01, extra=NAN)
    assert script.codec.rejected == 1


def test_a_frame_written_with_spaces_is_understood(script):
    script.receive(encoded({"x": 1})[:-1] + b', "topic" : "tickers.' + CALL_60.encode() + b'", ' + ticker(CALL_60)[1:])
    assert script.sink.last("ticker")["bid"] == 1190.0
