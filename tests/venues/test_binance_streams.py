"""What each kind of Binance frame becomes: units, missing numbers, flags, the index, quotes, trades, open interest."""

import math

import pytest
from binance_script import EXPIRY, EXPIRY_MS, LATER_MS, MS, NOW, S, Script, mark, marks, option, quote, stream

from volsurface.market.quote import (
    BELOW_INTRINSIC,
    CROSSED,
    FORWARD_INDEX,
    LOCKED,
    ONE_SIDED,
    SETTLEMENT_WINDOW,
    forward_flag,
)

NAN = math.nan
CALL, PUT, LATE = "BTC-260925-70000-C", "BTC-260925-60000-P", "BTC-261225-60000-C"
XRP = "XRP-260925-2.05-P"
INDEX = forward_flag(FORWARD_INDEX)


def opened(channels=("ticker", "quote", "trades"), **options) -> Script:
    entries = [option(CALL), option(PUT), option(LATE, expiryDate=LATER_MS), option(XRP, unit=100)]
    return Script(entries, ["BTC", "XRP"], channels, **options).open()


def iid(script: Script, name: str) -> int:
    return script.sink.directory.iid("binance", name)


# -- marks ------------------------------------------------------------------------------------------------------------


def test_values_and_units_of_a_mark():
    script = opened()
    script.receive(marks(mark(CALL)), NOW + 7)
    expected = {
        "iid": iid(script, CALL), "flags": INDEX, "ts_venue_ns": (MS + 123) * 1_000_000, "ts_recv_ns": NOW + 7, "seq": -1,
        "bid": 1200.0, "ask": 1300.0, "bid_sz": 0.3, "ask_sz": 0.6, "mark": 1249.61, "iv_bid": 0.92159033,
        "iv_ask": 0.94461441, "iv_mark": 0.93310237, "fwd": 64001.67, "index": 64001.67, "oi": NAN,
    }  # fmt: skip
    assert script.sink.last("ticker") == pytest.approx(expected, rel=1e-15, nan_ok=True)
    assert script.codec.last_venue_ns == (MS + 123) * 1_000_000


def test_contracts_become_coins_and_prices_stay_per_contract():
    script = opened()
    instrument = script.sink.directory[iid(script, XRP)]
    assert (instrument.contract_size, instrument.price_unit_size, instrument.strike) == (100.0, 100.0, 2.05)
    script.receive(stream("xrpusdt@optionOpenInterest@260925", [{"e": "openInterest", "E": MS, "s": XRP, "o": "7.5"}]))
    script.receive(marks(mark(XRP, i="2.1", bo="19.0", bq="3.00", ao="20.0", aq="0.50"), underlying="xrpusdt"))
    row = script.sink.last("ticker")
    assert (row["bid"], row["bid_sz"], row["ask"], row["ask_sz"], row["oi"]) == (19.0, 300.0, 20.0, 50.0, 750.0)


FIELDS = {"bo": ("bid", "bid_sz"), "ao": ("ask", "ask_sz"), "bq": ("bid_sz",), "aq": ("ask_sz",), "mp": ("mark",),
          "b": ("iv_bid",), "a": ("iv_ask",), "vo": ("iv_mark",), "i": ("fwd", "index")}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("missing", ["0.000", "-1.0", "", "0", 0, None, -1, "nan", "inf", "-inf"])
def test_every_notation_of_a_missing_number_is_nan(field, missing):
    script = opened()
    script.receive(marks(mark(CALL)))
    whole = script.sink.last("ticker")
    script.receive(marks(mark(CALL, **{field: missing})))
    row = script.sink.last("ticker")
    assert row is not whole
    assert all(math.isnan(row[name]) for name in FIELDS[field])
    untouched = row.keys() - {*FIELDS[field], "flags", "oi"}
    assert {name: row[name] for name in untouched} == {name: whole[name] for name in untouched}
    assert script.codec.rejected == 0


def test_numbers_in_any_json_form():
    script = opened()
    script.receive(marks(mark(CALL, mp=1.25e3, bo="1.2E3", ao=1300, E=str(MS + 5))))
    row = script.sink.last("ticker")
    assert (row["mark"], row["bid"], row["ask"], row["ts_venue_ns"]) == (1250.0, 1200.0, 1300.0, (MS + 5) * 1_000_000)


@pytest.mark.parametrize(
    ("bid", "ask", "flags"),
    [("10", "20", 0), ("20", "20", LOCKED), ("30", "20", CROSSED), ("0", "20", ONE_SIDED), ("10", "0", ONE_SIDED), ("0", "0", 0)],
)  # fmt: skip
def test_crossed_locked_and_one_sided(bid, ask, flags):
    script = opened()
    script.receive(marks(mark(CALL, bo=bid, ao=ask)))
    assert script.sink.last("ticker")["flags"] == INDEX | flags


def test_a_bid_without_a_vol_under_intrinsic_value_is_flagged():
    script = opened()
    script.receive(marks(mark(CALL, i="80000", bo="9000", ao="11000", b="-1.0")))
    assert script.sink.last("ticker")["flags"] == INDEX | BELOW_INTRINSIC
    script.receive(marks(mark(CALL, i="80000", bo="10001", ao="11000", b="-1.0")))
    assert script.sink.last("ticker")["flags"] == INDEX


def test_the_last_half_hour_is_flagged():
    script = opened()
    script.receive(marks(mark(CALL, E=EXPIRY_MS - 1_800_001)), EXPIRY - 1_800 * S)
    assert script.sink.last("ticker")["flags"] == INDEX
    script.receive(marks(mark(CALL, E=EXPIRY_MS - 1_800_000)), EXPIRY - 1_800 * S)
    assert script.sink.last("ticker")["flags"] == INDEX | SETTLEMENT_WINDOW


def test_a_bad_entry_is_rejected_alone():
    script = opened()
    script.receive(marks(mark(CALL, mp="12x"), mark(PUT), mark(LATE, E=None), {"no": "symbol"}))
    assert [row["iid"] for row in script.sink.of("ticker")] == [iid(script, PUT)]
    assert script.codec.rejected == 3
    assert len(script.sink.events("reject_frame")) == 1  # a sample, not all


def test_an_entry_alone_is_a_batch_of_one():
    script = opened()
    script.receive(stream("btcusdt@optionMarkPrice", mark(CALL)))
    assert script.sink.last("ticker")["iid"] == iid(script, CALL)


def test_marks_that_were_overtaken_are_passed_over():
    script = opened()
    script.receive(marks(mark(CALL, E=MS + 9, mp="2")))
    script.receive(marks(mark(CALL, E=MS + 8, mp="1")))
    assert [row["mark"] for row in script.sink.of("ticker")] == [2.0]


def test_an_option_of_another_underlying_is_not_taken_from_a_frame():
    script = opened()
    script.receive(marks(mark(XRP), underlying="btcusdt"))
    assert not script.sink.of("ticker")
    assert not script.sink.of("forward")


# -- the index ----------------------------------------------------------------------------------------------------------


def test_the_index_comes_from_marks_and_from_its_own_stream_and_once():
    script = opened()
    script.receive(marks(mark(CALL), mark(PUT)))
    index = {"e": "indexPrice", "E": MS + 200, "s": "BTCUSDT", "p": "64001.67000000"}
    script.receive(stream("!index@arr", [index, index | {"s": "SOLUSDT"}, index | {"s": "XRPUSDT", "p": "2.125"}]))
    script.receive(stream("!index@arr", index | {"p": "64002.5"}))
    found = [(f["underlying"], f["value"]) for f in script.sink.of("forward")]
    assert found == [("BTC", 64001.67), ("XRP", 2.125), ("BTC", 64002.5)]
    assert {(f["source"], f["venue"], f["expiry_ns"]) for f in script.sink.of("forward")} == {
        (FORWARD_INDEX, "binance", 0)
    }


def test_an_older_index_is_not_news():
    script = opened()
    script.receive(stream("!index@arr", [{"e": "indexPrice", "E": MS + 500, "s": "BTCUSDT", "p": "64002.5"}]))
    script.receive(marks(mark(CALL)))
    assert [f["value"] for f in script.sink.of("forward")] == [64002.5]


# -- quotes and trades ----------------------------------------------------------------------------------------------------


def test_a_quote_is_the_top_of_the_book():
    script = opened()
    script.receive(quote(XRP, 12), NOW + 9)
    assert script.sink.last("book_top") == {
        "iid": iid(script, XRP), "flags": 0, "ts_venue_ns": (MS + 12) * 1_000_000, "ts_recv_ns": NOW + 9, "seq": 12,
        "bid": 1200.0, "ask": 1210.0, "bid_sz": 3847.0, "ask_sz": 9637.0,
    }  # fmt: skip


def test_quotes_twice_or_overtaken_are_passed_over_and_numbers_may_start_again():
    script = opened()
    for frame in (quote(CALL, 20), quote(CALL, 20), quote(CALL, 19), quote(CALL, 3, T=MS + 30)):
        script.receive(frame)
    assert [row["seq"] for row in script.sink.of("book_top")] == [20, 3]


@pytest.mark.parametrize(("changes", "side"), [({"b": "0.0000"}, "bid"), ({"a": ""}, "ask"), ({"a": None}, "ask")])
def test_a_missing_side_of_a_quote(changes, side):
    script = opened()
    script.receive(quote(CALL, 12, **changes))
    row = script.sink.last("book_top")
    assert math.isnan(row[side])
    assert math.isnan(row[side + "_sz"])
    assert row["flags"] == ONE_SIDED


def test_a_lost_connection_takes_quotes_back():
    script = opened()
    script.receive(quote(CALL, 12))
    script.codec.disconnected(NOW + S, "gone")
    assert [lost["iid"] for lost in script.sink.of("book_lost")] == [iid(script, CALL)]


@pytest.mark.parametrize(("maker", "size"), [(False, 154.0), (True, -154.0)])
def test_a_trade_is_negative_when_the_aggressor_sold(maker, size):
    script = opened()
    data = {
        "e": "trade",
        "E": MS,
        "T": MS,
        "s": XRP,
        "t": 200,
        "p": "19.5",
        "q": "1.54",
        "X": "MARKET",
        "S": "BUY",
        "m": maker,
    }
    script.receive(stream("xrpusdt@optionTrade", data))
    event = script.sink.events("trade")[-1]
    assert (event["iid"], event["value"], event["size"]) == (iid(script, XRP), 19.5, size)


@pytest.mark.parametrize("changes", [{"p": "0"}, {"q": "-1"}, {"p": "nan"}, {"q": None}])
def test_a_trade_of_nothing_is_rejected(changes):
    script = opened()
    script.receive(stream("btcusdt@optionTrade", {"T": MS, "s": CALL, "p": "1", "q": "1", "m": False} | changes))
    assert not script.sink.events("trade")
    assert script.codec.rejected == 1
