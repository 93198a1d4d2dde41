"""What OKX sends for one option becomes rows, tops and events; its sequence rule decides about books."""

import math

import pytest
from okx_script import (
    CALL_60,
    PUT_60,
    OkxScript,
    arguments,
    best,
    book,
    entry,
    index,
    mark,
    message,
    open_interest,
    summaries,
    summary_entry,
    ticker,
)
from rest_script import EXPIRY_MS, MS, NOW, NOW_MS, S, encoded

from volsurface.market.quote import (
    CLAMPED_IV,
    CROSSED,
    FORWARD_MODEL,
    FORWARD_SHIFT,
    LOCKED,
    ONE_SIDED,
    SETTLEMENT_WINDOW,
    SNAPSHOT_ROW,
)
from volsurface.venues.rest_listed import SNAPSHOT_S

NAN = math.nan
MODEL = FORWARD_MODEL << FORWARD_SHIFT


@pytest.fixture
def script():
    return OkxScript([entry(CALL_60), entry(PUT_60)]).open()


def same(found, **wanted):
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, nan_ok=True, rel=0, abs=0)


# -- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_is_put_together_from_four_channels(script):
    script.receive(
        index(price="64000.5"), ticker(CALL_60), mark(CALL_60, "0.0197"), open_interest(CALL_60, "1234"),
        summaries(summary_entry(CALL_60, ts=NOW_MS + 5)),
    )  # fmt: skip
    same(
        script.sink.last("ticker"), iid=1, flags=MODEL, ts_venue_ns=(NOW_MS + 5) * MS, ts_recv_ns=NOW + S, seq=-1,
        bid=0.0195, ask=0.02, bid_sz=0.57, ask_sz=1.11, mark=0.0197, iv_bid=0.35, iv_ask=0.3875, iv_mark=0.3675503331,
        fwd=62604.6993093463, index=64000.5, oi=12.34,
    )  # fmt: skip
    assert script.codec.last_venue_ns == (NOW_MS + 5) * MS


def test_each_channel_changes_its_part_alone(script):
    script.receive(ticker(CALL_60), mark(CALL_60), ticker(CALL_60, bid="0.019", ts=NOW_MS + 1))
    same(script.sink.last("ticker"), bid=0.019, ask=0.02, mark=0.0197, oi=NAN, iv_mark=NAN, fwd=NAN)
    script.receive(mark(CALL_60, "", ts=NOW_MS + 2))
    same(script.sink.last("ticker"), bid=0.019, mark=NAN)


@pytest.mark.parametrize("none", ["", "0", None, 0])
def test_missing_quotes_are_nan(script, none):
    script.receive(ticker(CALL_60, bid=none, ask=none), ticker(PUT_60, bid=none))
    same(script.sink.of("ticker")[0], bid=NAN, ask=NAN, bid_sz=NAN, ask_sz=NAN, flags=0)
    same(script.sink.of("ticker")[1], bid=NAN, ask=0.02, bid_sz=NAN, ask_sz=1.11, flags=ONE_SIDED)


def test_absent_fields_are_nan(script):
    script.receive(message("tickers", [{"ts": str(NOW_MS)}], CALL_60))
    same(script.sink.last("ticker"), bid=NAN, ask=NAN)


def test_vols_that_are_missing_or_clamped(script):
    script.receive(summaries(summary_entry(CALL_60, bidVol="", askVol="5", delta="-∞", markVol="0", fwdPx="")))
    same(script.sink.last("ticker"), iv_bid=NAN, iv_ask=5.0, iv_mark=NAN, fwd=NAN, flags=CLAMPED_IV)


@pytest.mark.parametrize(
    "bad", [{"ts": ""}, {"markVol": "x"}, {"markVol": "-1"}, {"fwdPx": "nan"}, {"instId": 5}, {"askVol": []}]
)
def test_a_bad_summary_is_refused_alone(script, bad):
    script.receive(summaries(summary_entry(CALL_60, **bad), summary_entry(PUT_60), summary_entry("BTC-USD-1-1-C")))
    (row,) = script.sink.of("ticker")
    assert script.sink.directory[row["iid"]].symbol == PUT_60
    assert script.codec.rejected == 1


def test_locked_and_crossed_tickers_are_flagged(script):
    script.receive(ticker(CALL_60, bid="0.02", ask="0.02"), ticker(PUT_60, bid="0.03", ask="0.02"))
    assert [row["flags"] for row in script.sink.of("ticker")] == [LOCKED, CROSSED]


def test_what_was_overtaken_is_passed_over_but_a_clock_set_back_is_not(script):
    script.receive(ticker(CALL_60, bid="0.019", ts=NOW_MS + 100), ticker(CALL_60, bid="0.018", ts=NOW_MS + 50))
    assert script.sink.last("ticker")["bid"] == 0.019
    script.receive(ticker(CALL_60, bid="0.017", ts=NOW_MS - 120_000))
    assert script.sink.last("ticker")["bid"] == 0.017


def test_entries_of_one_summary_have_times_of_their_own(script):
    script.receive(summaries(summary_entry(CALL_60, ts=NOW_MS), summary_entry(PUT_60, ts=NOW_MS - 300)))
    assert [row["ts_venue_ns"] for row in script.sink.of("ticker")] == [NOW_MS * MS, (NOW_MS - 300) * MS]
    script.receive(summaries(summary_entry(CALL_60, ts=NOW_MS - 10, markVol="0.5")))
    assert len(script.sink.of("ticker")) == 2


def test_a_mark_above_the_coin_is_none_for_a_call(script):
    script.receive(mark(CALL_60, "3.8005764218904408"), mark(PUT_60, "3.8005764218904408"))
    assert math.isnan(script.sink.of("ticker")[0]["mark"])
    assert script.sink.of("ticker")[1]["mark"] == 3.8005764218904408


def test_the_settlement_window_is_flagged(script):
    script.receive(mark(CALL_60, ts=EXPIRY_MS - 30 * 60_000), mark(PUT_60, ts=EXPIRY_MS - 30 * 60_000 - 1))
    assert [row["flags"] & SETTLEMENT_WINDOW > 0 for row in script.sink.of("ticker")] == [True, False]


def test_an_open_interest_of_nothing_is_a_number(script):
    script.receive(open_interest(CALL_60, "0"), open_interest(PUT_60, ""))
    same(script.sink.of("ticker")[0], oi=0.0)
    same(script.sink.of("ticker")[1], oi=NAN)


def test_forwards_and_indices_go_on_only_when_they_change(script):
    script.receive(
        index(), index(ts=NOW_MS + 1), summaries(summary_entry(CALL_60), summary_entry(PUT_60)), index(price="0")
    )
    assert [(f["venue"], f["underlying"], f["value"]) for f in script.sink.of("forward")] == [
        ("okx", "BTC", 64000.5),
        ("okx", "BTC", 62604.6993093463),
    ]


# -- books ------------------------------------------------------------------------------------------------------------

SNAPSHOT = book(CALL_60, "snapshot", -1, 10, [("0.01", "57"), ("0.0095", "3")], [("0.02", "5")])


def levels(script):
    return script.codec.depth(1, 5)


def test_snapshot_and_updates_in_coins(script):
    script.receive(SNAPSHOT, book(CALL_60, "update", 10, 17, [("0.01", "0"), ("0.0105", "29")], [("0.02", "6")]))
    assert levels(script) == ([(0.0105, 0.29), (0.0095, 0.03)], [(0.02, 0.06)])
    tops = script.sink.of("book_top")
    assert [top["flags"] for top in tops] == [SNAPSHOT_ROW, 0]
    same(tops[1], iid=1, seq=17, bid=0.0105, ask=0.02, bid_sz=0.29, ask_sz=0.06)
    assert script.codec.books[1].depth(1) == ([(0.0105, 0.29)], [(0.02, 0.06)])


def test_a_sign_of_life_keeps_the_book_and_a_reset_goes_on_from_the_lower_number(script):
    script.receive(
        SNAPSHOT, book(CALL_60, "update", 10, 10, ts=NOW_MS + 60_000),
        book(CALL_60, "update", 10, 3, [("0.01", "1")], ts=NOW_MS + 60_001),
        book(CALL_60, "update", 3, 4, [("0.01", "2")], ts=NOW_MS + 60_002),
    )  # fmt: skip
    assert levels(script)[0][0] == (0.01, 0.02)
    assert script.codec.gaps == 0


def test_a_gap_drops_this_book_alone_and_subscribes_anew(script):
    script.receive(SNAPSHOT, book(PUT_60, "snapshot", -1, 5, [("0.01", "1")], []))
    script.receive(book(CALL_60, "update", 12, 13, [("0.01", "1")], ts=NOW_MS + 1))
    assert list(script.codec.books) == [0]
    assert script.codec.gaps == 1
    gap = script.sink.events("gap")[0]
    assert (gap["iid"], gap["text"]) == (1, f"{CALL_60}: after 10 came 12")
    unsubscribe, subscribe = script.frames()
    wanted = [{"channel": "books", "instId": CALL_60}]
    assert (arguments([unsubscribe], "unsubscribe"), arguments([subscribe])) == (wanted, wanted)
    for frame in (unsubscribe, subscribe):
        script.receive(*script.answer(frame))
    script.receive(book(CALL_60, "update", 13, 14, [("0.01", "1")], ts=NOW_MS + 2))  # still under way
    assert list(script.codec.books) == [0]
    script.receive(book(CALL_60, "snapshot", -1, 14, [("0.009", "1")], [], ts=NOW_MS + 3))
    assert levels(script) == ([(0.009, 0.01)], [])
    assert script.codec.state == "live"


def test_what_came_before_or_twice_changes_nothing(script):
    second = book(CALL_60, "update", 10, 12, [("0.01", "1")], ts=NOW_MS + 100)
    third = book(CALL_60, "update", 12, 15, [("0.01", "2")], ts=NOW_MS + 200)
    script.receive(SNAPSHOT, second, second, third, second, third, SNAPSHOT)
    assert levels(script)[0][0] == (0.01, 0.02)
    assert script.codec.gaps == 0


def test_two_changes_in_the_wrong_order_are_a_gap(script):
    script.receive(SNAPSHOT)
    script.receive(book(CALL_60, "update", 12, 15, ts=NOW_MS + 200), book(CALL_60, "update", 10, 12, ts=NOW_MS + 100))
    assert (script.codec.gaps, script.codec.books) == (1, {})


def test_a_snapshot_in_mid_stream_replaces(script):
    script.receive(SNAPSHOT, book(CALL_60, "snapshot", -1, 20, [("0.008", "1")], [], ts=NOW_MS + 1))
    script.receive(book(CALL_60, "update", 20, 21, [], [("0.01", "1")], ts=NOW_MS + 2))
    assert levels(script) == ([(0.008, 0.01)], [(0.01, 0.01)])


@pytest.mark.parametrize(
    "level", [["-1", "5"], ["nan", "5"], ["0.01", "-5"], ["0.01", "inf"], ["0.01"], ["", "5"], "x", ["1_0", "5"]]
)
def test_an_update_that_cannot_be_read_loses_the_book(script, level):
    script.receive(SNAPSHOT)
    damaged = {"asks": [], "bids": [level], "ts": str(NOW_MS + 1), "prevSeqId": 10, "seqId": 11}
    script.receive(message("books", [damaged], CALL_60, action="update"))
    assert (script.codec.books, script.codec.rejected, script.codec.gaps) == ({}, 1, 1)


def test_a_crossed_update_loses_the_book_and_a_crossed_snapshot_is_flagged(script):
    script.receive(SNAPSHOT, book(CALL_60, "update", 10, 11, [("0.03", "1")], ts=NOW_MS + 1))
    assert "crossed" in script.sink.events("gap")[0]["text"]
    script.receive(book(PUT_60, "snapshot", -1, 1, [("0.03", "1")], [("0.02", "1")]))
    assert script.sink.last("book_top")["flags"] == CROSSED | SNAPSHOT_ROW
    script.receive(book(PUT_60, "update", 1, 2, [("0.03", "0"), ("0.02", "1")], ts=NOW_MS + 1))
    assert script.sink.last("book_top")["flags"] == LOCKED


def test_a_snapshot_that_does_not_come_is_asked_for_again_later_and_later(script):
    asked = []
    for end_s in (1, 2, 4, 8):
        script.run_until(NOW + end_s * SNAPSHOT_S * S)
        asked.append(arguments(script.sent, "unsubscribe").count({"channel": "books", "instId": CALL_60}))
    assert asked == [1, 1, 2, 3]


def test_scientific_notation_is_a_number_like_any_other(script):
    script.receive(SNAPSHOT, book(CALL_60, "update", 10, 11, [("1.05E-2", "2.9e1")], ts=NOW_MS + 1))
    assert levels(script)[0][0] == (0.0105, 0.29)


def test_a_checksum_is_not_looked_at(script):
    script.receive(SNAPSHOT.replace(b'"checksum":0', b'"checksum":-855196043'))
    assert 1 in script.codec.books


# -- best levels and trades -------------------------------------------------------------------------------------------


def test_quotes_are_the_best_level_as_a_whole():
    script = OkxScript([entry(CALL_60)], channels=("quote",)).open()
    assert {"channel": "bbo-tbt", "instId": CALL_60} in arguments(script.sent)
    script.receive(
        best(CALL_60, 7, ("0.01", "57"), ("0.02", "5")), best(CALL_60, 9, ("0.0105", "1"), ("0.02", "5"), NOW_MS + 10)
    )
    script.receive(best(CALL_60, 8, ("0.011", "1"), ("0.02", "5"), NOW_MS + 5))
    top = script.sink.last("book_top")
    assert (top["bid"], top["bid_sz"], top["seq"]) == (0.0105, 0.01, 9)


def trade(name, ts=NOW_MS, **changes):
    return {
        "fillVol": "0.5066007836914062", "fwdPx": "16469.69928595038", "idxPx": "16537.2", "instFamily": "BTC-USD",
        "instId": name, "markPx": "0.04690107010619562", "optType": "C", "px": "0.045", "side": "sell", "sz": "2",
        "tradeId": "38", "ts": str(ts),
    } | changes  # fmt: skip


def trades(*entries):
    arg = {"channel": "option-trades", "instType": "OPTION", "instFamily": "BTC-USD"}
    return encoded({"arg": arg, "data": list(entries)})


def test_trades_are_events_but_an_old_first_one_is_not():
    script = OkxScript([entry(CALL_60)], channels=("ticker", "trades")).open()
    script.receive(trades(trade(CALL_60, ts=NOW_MS - 3_600_000)))
    assert script.sink.events("trade") == []
    script.receive(
        trades(trade(CALL_60)), trades(trade(CALL_60)), trades(trade("BTC-USD-1-1-C", tradeId="9"), {"px": 1})
    )
    script.receive(trades(trade(CALL_60, side="buy", tradeId="40", ts=NOW_MS - 3_600_000)))
    sold, bought = script.sink.events("trade")
    same(sold, value=0.045, size=-0.02, extra=0.5066007836914062)
    same(bought, size=0.02)
    assert script.codec.rejected == 1
