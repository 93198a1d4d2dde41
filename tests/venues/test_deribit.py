"""The Deribit session: opening, pace, answers, errors, heartbeats, listings, expiries and lost books."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deribit_script import (
    EXPIRY,
    EXPIRY_MS,
    LATER_MS,
    NOW,
    RecordingSink,
    S,
    Script,
    change,
    encoded,
    error,
    linear_option,
    notification,
    option,
    requests,
    snapshot,
    ticker,
)

from volsurface.market.instrument import CALL, COIN, PUT, STABLE, Instrument

CALL_60 = "BTC-25SEP26-60000-C"
PUT_60 = "BTC-25SEP26-60000-P"
CALL_70 = "BTC-25SEP26-70000-C"
LATE = "BTC-25DEC26-60000-C"
BTC = [option(CALL_60), option(PUT_60), option(CALL_70), option(LATE, expiration_timestamp=LATER_MS)]
TEST_REQUEST = encoded({"params": {"type": "test_request"}, "method": "heartbeat", "jsonrpc": "2.0"})


def opened(**options) -> Script:
    return Script({"BTC": BTC}, **options).open()


# -- opening ----------------------------------------------------------------------------------------------------------


def test_opening_frames_in_order():
    script = Script({"BTC": BTC})
    script.codec.connected(NOW)
    first = script.sent(NOW)
    assert [(call["id"], call["method"], call["params"]) for call in first] == [
        (1, "public/set_heartbeat", {"interval": 10}),
        (2, "public/get_instruments", {"currency": "BTC", "kind": "option", "expired": False}),
        (
            3,
            "public/subscribe",
            {
                "channels": [
                    "deribit_price_index.btc_usd",
                    "instrument.state.option.BTC",
                    "instrument.creation.option.BTC",
                ]
            },
        ),
    ]
    assert all(call["jsonrpc"] == "2.0" for call in first)
    assert script.codec.frames_to_send() == []


def test_states_on_the_way_to_live():
    script = Script({"BTC": BTC})
    codec, states = script.codec, [script.codec.state]
    codec.connected(NOW)
    states.append(codec.state)
    heartbeat, instruments, common = script.sent(NOW)
    for call in (heartbeat, common, instruments):
        codec.receive(script.answer(call), NOW)
        states.append(codec.state)
    script.exchange(NOW)
    states.append(codec.state)
    codec.disconnected(NOW, "closed by the venue: 1001")
    states.append(codec.state)
    assert states == ["connecting", "listing", "listing", "listing", "subscribing", "live", "down"]


def test_listing_becomes_instruments_nearest_expiry_first():
    script = opened()
    (listed,) = script.sink.of("listed")
    assert [i.symbol for i in listed["instruments"]] == [PUT_60, CALL_60, CALL_70, LATE]
    assert listed["instruments"][1] == Instrument(
        venue="deribit", symbol=CALL_60, underlying="BTC", expiry_ns=EXPIRY, strike=60000.0, right=CALL,
        settlement=COIN, contract_size=1.0, price_unit_size=1.0, tick_size=0.0001, tick_steps=((0.005, 0.0005),),
        index_name="btc_usd",
    )  # fmt: skip
    assert script.codec.listed == 4
    assert script.sink.events("listed")[0]["value"] == 4


def test_an_entry_of_2021_without_the_newer_fields():
    entry = {
        "tick_size": 0.0005, "taker_commission": 0.0003, "strike": 2800.0, "settlement_period": "month",
        "quote_currency": "ETH", "option_type": "put", "min_trade_amount": 1.0, "maker_commission": 0.0003,
        "kind": "option", "is_active": True, "instrument_name": "ETH-25SEP26-2800-P", "base_currency": "ETH",
        "expiration_timestamp": EXPIRY_MS, "creation_timestamp": 1606129458000, "contract_size": 1.0,
        "block_trade_commission": 0.00015,
    }  # fmt: skip
    script = Script({"ETH": [entry]}, underlyings=["ETH"]).open()
    (instrument,) = script.sink.directory
    assert (instrument.settlement, instrument.right, instrument.index_name) == (COIN, PUT, "eth_usd")


def test_linear_options_are_listed_under_usdc_and_filtered_by_underlying():
    entries = [
        linear_option("SOL_USDC-25SEP26-150-C"),
        linear_option("XRP_USDC-25SEP26-1d02-P", contract_size=1000.0),
        linear_option("MATIC_USDC-25SEP26-1d02-C"),
        linear_option("SOL_USDC-25SEP26-160-P", instrument_type="reversed"),
    ]
    script = Script({"USDC": entries}, underlyings=["XRP", "SOL"]).open()
    listings = [call["params"]["currency"] for call in script.calls if call["method"] == "public/get_instruments"]
    assert listings == ["USDC"]
    found = {i.symbol: (i.underlying, i.strike, i.right, i.settlement, i.contract_size) for i in script.sink.directory}
    assert found == {
        "SOL_USDC-25SEP26-150-C": ("SOL", 150.0, CALL, STABLE, 10.0),
        "XRP_USDC-25SEP26-1d02-P": ("XRP", 1.02, PUT, STABLE, 1000.0),
    }
    assert script.sink.directory[1].price_unit_size == 1.0
    subscribed = [channel for call in requests(script.calls, "subscribe") for channel in call]
    assert "deribit_price_index.xrp_usdc" in subscribed
    assert "ticker.XRP_USDC-25SEP26-1d02-P.100ms" in subscribed


def test_what_is_not_an_open_option_is_not_followed():
    entries = [
        option(CALL_60, kind="option_combo"),
        option(PUT_60, state="archivized"),
        option(CALL_70, is_active=False),
        {"kind": "future", "instrument_name": "BTC-PERPETUAL", "base_currency": "BTC", "quote_currency": "USD",
         "expiration_timestamp": 32503708800000, "instrument_type": "reversed"},
    ]  # fmt: skip
    script = Script({"BTC": entries}).open()
    assert len(script.sink.directory) == 0
    assert script.codec.rejected == 0
    assert script.sink.events("listed")[0]["severity"] == "warning"


@pytest.mark.parametrize(
    "damage",
    [
        {"strike": None}, {"strike": 0}, {"strike": -5.0}, {"strike": "60000"}, {"option_type": "straddle"},
        {"expiration_timestamp": None}, {"expiration_timestamp": 0}, {"expiration_timestamp": 10**16},
    ],
)  # fmt: skip
def test_a_senseless_entry_costs_only_itself(damage):
    script = Script({"BTC": [option(CALL_60) | damage, option(PUT_60)]}).open()
    assert [i.symbol for i in script.sink.directory] == [PUT_60]
    assert script.codec.rejected == 1
    (event,) = script.sink.events("reject_frame")
    assert "1 listing entries" in event["text"]
    assert len(event["text"]) <= 200


def test_channels_of_one_kind_come_before_the_next_kind():
    script = Script({"BTC": BTC}, channels=["book", "trades", "ticker"]).open()
    names = [PUT_60, CALL_60, CALL_70, LATE]
    asked = requests(script.calls, "subscribe")[1]
    assert asked == [f"{kind}.{name}.100ms" for kind in ("ticker", "book", "trades") for name in names]


def test_calls_hold_500_channels_and_keep_the_documented_credits():
    many = [option(f"BTC-25SEP26-{strike}-C") for strike in range(1000, 4000)]
    script = Script({"BTC": many}).open()
    calls = [call for call in script.calls if call["method"] == "public/subscribe"]
    assert [len(call["params"]["channels"]) for call in calls] == [3] + [500] * 12
    assert len({channel for call in calls for channel in call["params"]["channels"]}) == 6003
    credits_left, last_ns = 30_000.0, NOW  # an independent account of the venue's rule
    for call in calls:
        credits_left = min(30_000.0, credits_left + (call["at_ns"] - last_ns) / 1e9 * 10_000) - 3_000
        last_ns = call["at_ns"]
        assert credits_left >= 0
    assert sum(call["at_ns"] == NOW for call in calls) == 10
    assert script.codec.subscribed == 6003


def test_pace_is_kept_over_reconnections():
    script = opened()
    for _ in range(12):
        script.codec.disconnected(NOW, "lost")
        script.codec.connected(NOW)
        script.exchange(NOW)
    assert len(requests(script.calls, "subscribe")) == 10
    assert sum(call["method"] == "public/get_instruments" for call in script.calls) == 5
    script.run_until(NOW + S)
    assert script.codec.state == "live"  # what was listed before need not be listed again for that


def test_same_input_same_frames_and_calls_whatever_the_hash_seed():
    code = (
        "from test_deribit import *\n"
        "script = opened(channels=['ticker', 'book', 'trades'])\n"
        "script.receive(snapshot(CALL_60, 5, [[0.01, 1.0]], []))\n"
        "script.receive(change(CALL_60, 6, 7))\n"
        "script.receive(snapshot(PUT_60, 5, [[0.01, 1.0]], []))\n"
        "script.receive(change(PUT_60, 6, 7))\n"
        "script.run_until(EXPIRY + 120 * S)\n"
        "print(hashlib.sha256(repr((script.calls, script.sink.calls)).encode()).hexdigest())\n"
    )
    here = Path(__file__).parent
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(here)},
            capture_output=True, text=True, check=True, cwd=here.parents[1],
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1
    assert len(digests.pop().strip()) == len(hashlib.sha256().hexdigest())


# -- answers ----------------------------------------------------------------------------------------------------------


def test_channels_dropped_silently_are_counted_and_named():
    gone = [f"book.{CALL_60}.100ms", f"ticker.{LATE}.100ms"]
    script = opened(unknown=gone)
    assert script.codec.state == "live"
    assert script.codec.dropped_channels == 2
    assert script.codec.subscribed == 3 + 8 - 2
    (event,) = script.sink.events("dropped")
    assert event["value"] == 2
    assert event["severity"] == "warning"
    assert all(channel in event["text"] for channel in gone)


def test_an_answer_that_never_comes_is_asked_for_again():
    script = Script({"BTC": BTC})
    script.codec.connected(NOW)
    heartbeat, instruments, common = script.sent(NOW)
    script.codec.receive(script.answer(common), NOW)
    assert script.codec.deadline_ns() == NOW + 10 * S
    script.codec.timer(NOW + 10 * S)
    again = script.sent(NOW + 10 * S)
    assert [call["method"] for call in again] == ["public/set_heartbeat", "public/get_instruments"]
    assert {call["id"] for call in again}.isdisjoint({heartbeat["id"], instruments["id"]})
    assert len(script.sink.events("stale")) == 2


def test_an_answer_meant_for_the_last_connection_is_not_taken():
    script = Script({"BTC": BTC})
    script.codec.connected(NOW)
    old = script.sent(NOW)
    script.codec.disconnected(NOW + S, "lost")
    script.codec.connected(NOW + 2 * S)
    for call in old:
        script.codec.receive(script.answer(call), NOW + 3 * S)
    assert script.codec.rejected == len(old) == 3
    assert script.codec.state == "listing"


def test_an_unreadable_answer_counts_as_missing():
    script = Script({"BTC": BTC})
    script.codec.connected(NOW)
    calls = {call["method"]: call for call in script.sent(NOW)}
    script.codec.receive(encoded({"id": calls["public/get_instruments"]["id"], "result": {"oops": 1}}), NOW)
    assert script.codec.rejected == 1
    script.codec.timer(NOW + 10 * S)
    assert "public/get_instruments" in [call["method"] for call in script.sent(NOW + 10 * S)]


def test_heartbeat_is_answered_at_once_even_behind_a_paced_backlog():
    many = [option(f"BTC-25SEP26-{strike}-C") for strike in range(1000, 4500)]
    script = Script({"BTC": many})
    script.codec.connected(NOW)
    script.exchange(NOW)
    assert script.codec.state == "subscribing"
    script.receive(TEST_REQUEST, NOW + 1)
    assert [call["method"] for call in script.sent(NOW + 1)] == ["public/test"]


def test_a_plain_heartbeat_needs_no_answer():
    script = opened()
    script.receive(encoded({"params": {"type": "heartbeat"}, "method": "heartbeat", "jsonrpc": "2.0"}))
    assert script.sent(NOW) == []
    assert script.codec.rejected == 0


def test_json_with_spaces_and_other_key_orders_is_understood():
    script = opened()
    script.receive(
        b'{\n "params": {"data": {"timestamp": 1790133840123, "price": 6.4e4, "index_name": "btc_usd"},\n'
        b'  "channel" : "deribit_price_index.btc_usd"}, "method": "subscription", "jsonrpc": "2.0"}'
    )
    assert script.sink.last("forward")["value"] == 64000.0
    script.receive(b'{"method" : "heartbeat", "params" : {"type" : "test_request"}, "jsonrpc" : "2.0"}')
    assert [call["method"] for call in script.sent(NOW)] == ["public/test"]


# -- errors -----------------------------------------------------------------------------------------------------------


def refusing(method: str, code: int, message: str, times: int = 1, data=None):
    """Return a `refuse` that answers `method` with an error, `times` times."""
    left = [times]

    def refuse(call):
        if call["method"] != method or not left[0]:
            return None
        left[0] -= 1
        return error(call["id"], code, message, data)

    return refuse


def test_too_many_requests_waits_and_asks_again():
    script = Script({"BTC": BTC})
    script.refuse = refusing("public/get_instruments", 10028, "too_many_requests")
    script.codec.connected(NOW)
    script.exchange(NOW)
    asked_again = script.run_until(NOW + 10 * S - 1)
    assert [call["method"] for call in asked_again] == []
    assert next(call["method"] for call in script.run_until(NOW + 10 * S)) == "public/get_instruments"
    script.run_until(NOW + 12 * S)
    assert script.codec.state == "live"
    (event,) = script.sink.events("reject_frame")
    assert "10028 too_many_requests" in event["text"]
    assert event["severity"] == "error"


def test_too_many_requests_slows_the_next_connection_and_the_pause_doubles():
    script = Script({"BTC": BTC})
    script.refuse = refusing("public/subscribe", 10028, "too_many_requests", times=2)
    script.codec.connected(NOW)
    script.exchange(NOW)  # refused twice: 10 s, then 20 s
    script.codec.disconnected(NOW + S, "closed by the venue: 1000")
    script.codec.connected(NOW + 2 * S)
    calls = script.run_until(NOW + 20 * S - 1)
    assert [call["method"] for call in calls] == ["public/set_heartbeat"]
    script.run_until(NOW + 22 * S)
    assert script.codec.state == "live"


def test_raw_refused_to_strangers_becomes_100ms():
    many = [option(f"BTC-25DEC26-{strike}-C", expiration_timestamp=LATER_MS) for strike in range(1000, 1600)]
    script = Script({"BTC": [*BTC, *many]}, interval="raw")  # three calls, refused one after the other
    script.refuse = lambda call: (
        error(call["id"], 13778, "raw_subscriptions_not_available_for_unauthorized")
        if any(channel.endswith(".raw") for channel in call["params"].get("channels", ()))
        else None
    )
    script.open()
    assert script.codec.subscribed == 3 + 8 + 1200
    assert script.codec.dropped_channels == 0
    script.receive(ticker(CALL_60))
    assert script.sink.last("ticker")["bid"] == 0.013
    assert "13778" in script.sink.events("reject_frame")[0]["text"]


@pytest.mark.parametrize("code", [10040, 10041, 10047, 10066, 11051, 11094, 13028, 13888])
def test_a_passing_error_is_tried_again(code):
    script = Script({"BTC": BTC})
    script.refuse = refusing("public/subscribe", code, "later", times=2)
    script.open()
    assert script.codec.subscribed == 11
    assert len(script.sink.events("reject_frame")) == 2


@pytest.mark.parametrize(("code", "message"), [(-32602, "Invalid params"), (13009, "unauthorized"), (-32601, "no")])
def test_a_lasting_error_is_not_repeated(code, message):
    script = Script({"BTC": BTC})
    script.refuse = lambda call: (
        error(call["id"], code, message, {"param": "channels", "reason": "wrong"})
        if f"ticker.{CALL_60}.100ms" in call["params"].get("channels", ())
        else None
    )
    script.open()
    assert script.codec.dropped_channels == 8
    assert str(code) in script.sink.events("reject_frame")[0]["text"]
    assert "wrong" in script.sink.events("reject_frame")[0]["text"]
    before = len(script.calls)
    script.run_until(NOW + 30 * S)
    assert len(script.calls) == before


def test_a_refused_listing_does_not_hold_up_the_others():
    eth = [option("ETH-25SEP26-2800-C")]
    script = Script({"BTC": BTC, "ETH": eth}, underlyings=["BTC", "ETH"])
    script.refuse = lambda call: (
        error(call["id"], -32602, "Invalid params") if call["params"].get("currency") == "BTC" else None
    )
    script.open()
    assert [i.symbol for i in script.sink.directory] == ["ETH-25SEP26-2800-C"]


def test_an_error_without_id_is_only_an_event():
    script = opened()
    script.receive(error(None, 11050, "bad_request", "invalid json"))
    (event,) = script.sink.events("reject_frame")
    assert "11050 bad_request" in event["text"]
    assert script.codec.state == "live"
    assert script.sent(NOW) == []


# -- frames that make no sense ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\x00", b"hello", b"{}", b"[]", b"null", b"1e999", b"[" * 100_000, b'{"x":' + b"[" * 100_000, b'{"channel":"', b'{"id":99,"result":1}',
        b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-25SEP26-60000-C.100ms"}}',
        notification("ticker.BTC-1JAN30-1-C.100ms", {"timestamp": 1}),
        notification("platform_state", {"locked": False, "price_index": "alt_usdc", "reasons": []}),
        ticker(CALL_60)[:-1], ticker(CALL_60, best_bid_price="0.01"), ticker(CALL_60, timestamp=-1),
        ticker(CALL_60, timestamp=10**30), ticker(CALL_60, timestamp=1.5), ticker(CALL_60, underlying_index=3),
        notification(f"book.{CALL_60}.100ms", {"timestamp": 1, "change_id": 1, "bids": [["new", None, 1]], "asks": []}),
        notification(f"book.{CALL_60}.100ms", {"timestamp": 1, "change_id": 2**63, "bids": [], "asks": []}),
        b'{"method":"x","params":{"channel":"\xff\xfe"}}',
    ],
)  # fmt: skip
def test_a_frame_that_is_not_understood_is_counted_sampled_and_nothing_else(frame):
    script = opened()
    before = [call for call in script.sink.calls if call[0] != "event"]
    script.receive(frame)
    assert script.codec.rejected == 1
    (event,) = script.sink.events("reject_frame")
    assert len(event["text"]) <= 200
    assert event["value"] == 1
    assert [call for call in script.sink.calls if call[0] != "event"] == before
    script.receive(ticker(CALL_60))
    assert script.sink.last("ticker")["ask"] == 0.0135


def test_samples_of_rejected_frames_are_at_most_one_a_second():
    script = opened()
    for n in range(3000):
        script.receive(b"nonsense", NOW + n * S // 1000)
    assert script.codec.rejected == 3000
    assert [event["value"] for event in script.sink.events("reject_frame")] == [1, 1001, 2001]


# -- listings and expiries ------------------------------------------------------------------------------------------------


def test_a_created_instrument_is_followed():
    script = opened()
    script.receive(notification("instrument.creation.option.BTC", option("BTC-25SEP26-80000-P")))
    (asked,) = requests(script.exchange(NOW + S), "subscribe")
    assert asked == ["ticker.BTC-25SEP26-80000-P.100ms", "book.BTC-25SEP26-80000-P.100ms"]
    script.receive(ticker("BTC-25SEP26-80000-P"))
    assert script.sink.last("ticker")["iid"] == script.sink.directory.iid("deribit", "BTC-25SEP26-80000-P") == 4
    assert script.codec.listed == 5
    assert script.codec.state == "live"


def test_a_created_instrument_that_makes_no_sense_is_rejected():
    script = opened()
    script.receive(notification("instrument.creation.option.BTC", option(CALL_60) | {"strike": None}))
    assert script.codec.rejected == 1
    assert len(script.sink.directory) == 4


@pytest.mark.parametrize("state", ["delivered", "archivized", "closed", "terminated"])
def test_a_delivered_instrument_is_closed_and_unsubscribed(state):
    script = opened()
    script.receive(snapshot(CALL_60, 1, [[0.01, 1.0]], [[0.02, 1.0]]))
    script.receive(
        notification(
            "instrument.state.option.BTC", {"timestamp": EXPIRY_MS, "state": state, "instrument_name": CALL_60}
        )
    )
    iid = script.sink.directory.iid("deribit", CALL_60)
    assert script.sink.last("closed")["iid"] == iid
    assert script.sink.last("book_lost")["iid"] == iid
    assert requests(script.exchange(NOW + S), "unsubscribe") == [[f"ticker.{CALL_60}.100ms", f"book.{CALL_60}.100ms"]]
    assert script.codec.listed == 3
    assert script.codec.subscribed == 3 + 6
    ticks = len(script.sink.of("ticker"))
    script.receive(ticker(CALL_60))  # still under way
    assert len(script.sink.of("ticker")) == ticks
    assert script.codec.rejected == 0


def test_settlement_does_not_close():
    script = opened()
    for state in ("settlement", "locked", "halted", "inactive"):
        data = {"timestamp": EXPIRY_MS, "state": state, "instrument_name": CALL_60}
        script.receive(notification("instrument.state.option.BTC", data))
    assert script.sink.of("closed") == []


def test_an_opened_name_we_do_not_know_makes_us_list_again_once():
    script = opened()
    script.listings["BTC"] = [*BTC, option("BTC-25SEP26-80000-C"), option("BTC-25SEP26-80000-P")]
    for name in ("BTC-25SEP26-80000-C", "BTC-25SEP26-80000-P"):
        data = {"timestamp": 1_790_133_840_500, "state": "open", "instrument_name": name}
        script.receive(notification("instrument.state.option.BTC", data))
    data = {"timestamp": 1_790_133_840_500, "state": "open", "instrument_name": "SOL_USDC-25SEP26-150-C"}
    script.receive(notification("instrument.state.option.BTC", data))
    calls = script.run_until(NOW + 70 * S)
    assert sum(call["method"] == "public/get_instruments" for call in calls) == 1
    assert script.codec.listed == 6


def test_expiry_closes_without_a_word_from_the_venue_and_lists_again():
    script = opened()
    script.run_until(EXPIRY + 29 * S)
    assert script.sink.of("closed") == []
    script.listings["BTC"] = [
        option(LATE, expiration_timestamp=LATER_MS),
        option("BTC-27SEP26-60000-C", expiration_timestamp=LATER_MS - 1),
    ]
    script.run_until(EXPIRY + 100 * S)
    names = [script.sink.directory[call["iid"]].symbol for call in script.sink.of("closed")]
    assert sorted(names) == [CALL_60, PUT_60, CALL_70]
    assert script.codec.listed == 2
    assert script.codec.subscribed == 3 + 4


def test_a_listing_on_reconnection_closes_what_is_gone():
    script = opened()
    script.codec.disconnected(NOW + S, "lost")
    script.listings["BTC"] = BTC[1:]
    script.codec.connected(NOW + 2 * S)
    assert script.codec.state == "subscribing"  # what is known needs no listing
    script.exchange(NOW + 2 * S)
    assert [script.sink.directory[call["iid"]].symbol for call in script.sink.of("closed")] == [CALL_60]
    assert script.codec.reconnects == 1
    assert script.codec.state == "live"


@pytest.mark.parametrize("listing", [[], [option(PUT_60), {"kind": "option"}]])
def test_an_empty_or_damaged_listing_closes_nothing(listing):
    script = opened()
    script.codec.disconnected(NOW + S, "lost")
    script.listings["BTC"] = listing
    script.open(NOW + 2 * S)
    assert script.sink.of("closed") == []
    assert script.codec.listed == 4


# -- books that lost something ----------------------------------------------------------------------------------------------


def test_a_gap_drops_that_book_and_renews_that_channel_only():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [[0.01, 1.0]], [[0.02, 1.0]]))
    script.receive(snapshot(PUT_60, 11, [[0.03, 1.0]], [[0.04, 1.0]]))
    script.receive(change(CALL_60, 12, 13, [["new", 0.011, 2.0]]))
    iid = script.sink.directory.iid("deribit", CALL_60)
    assert [call["iid"] for call in script.sink.of("book_lost")] == [iid]
    assert script.codec.gaps == 1
    (gap,) = script.sink.events("gap")
    assert gap["iid"] == iid
    assert "10" in gap["text"]
    assert "12" in gap["text"]
    tops = len(script.sink.of("book_top"))
    script.receive(change(CALL_60, 13, 14, [["new", 0.012, 2.0]]))  # under way: not usable, and no second gap
    assert len(script.sink.of("book_top")) == tops
    assert script.codec.gaps == 1
    calls = script.exchange(NOW + S)
    assert [call["method"] for call in calls] == ["public/unsubscribe", "public/subscribe"]
    assert requests(calls, "unsubscribe") == requests(calls, "subscribe") == [[f"book.{CALL_60}.100ms"]]
    script.receive(change(PUT_60, 11, 20, [["change", 0.03, 5.0]]))
    assert script.sink.last("book_top")["bid_sz"] == 5.0
    script.receive(snapshot(CALL_60, 40, [[0.015, 1.0]], []))
    assert script.sink.last("book_top")["bid"] == 0.015
    script.receive(change(CALL_60, 40, 41, [["delete", 0.015, 0.0]]))
    assert script.sink.last("book_top")["seq"] == 41
    assert script.codec.state == "live"


def test_many_gaps_share_their_calls():
    names = [f"BTC-25SEP26-{strike}-C" for strike in range(1000, 1700)]
    script = Script({"BTC": [option(name) for name in names]}).open()
    script.run_until(NOW + 10 * S)
    for name in names:
        script.receive(snapshot(name, 10, [[0.01, 1.0]], []), NOW + 10 * S)
    before = len(script.calls)
    for name in names:
        script.receive(change(name, 11, 12), NOW + 10 * S)
    script.run_until(NOW + 14 * S)
    assert script.codec.gaps == 700
    assert len(script.calls) - before < 20
    assert script.codec.subscribed == 3 + 1400


def test_a_confirmed_book_without_a_snapshot_is_renewed_later_and_later():
    script = opened()
    script.receive(TEST_REQUEST, NOW)
    for name in (PUT_60, CALL_70, LATE):
        script.receive(snapshot(name, 10, [[0.01, 1.0]], []))
    renewed = []
    for second in range(1, 90):
        script.receive(TEST_REQUEST, NOW + second * S)  # the connection itself is well
        if requests(script.run_until(NOW + second * S), "unsubscribe"):
            renewed.append(second)
    assert renewed == [10, 30, 70]
    script.receive(snapshot(CALL_60, 20, [[0.01, 1.0]], []), NOW + 90 * S)
    script.run_until(NOW + 160 * S)  # the check that is still due finds a snapshot: the next wait is the first again
    script.receive(change(CALL_60, 30, 31), NOW + 160 * S)
    script.exchange(NOW + 160 * S)
    assert requests(script.run_until(NOW + 170 * S), "subscribe") == [[f"book.{CALL_60}.100ms"]]


def test_a_crossed_book_after_a_change_is_dropped_and_renewed():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [[0.01, 1.0]], [[0.02, 1.0]]))
    script.receive(change(CALL_60, 10, 11, [["new", 0.03, 2.0]]))
    assert len(script.sink.of("book_lost")) == 1
    assert "crossed" in script.sink.events("gap")[0]["text"]
    assert requests(script.exchange(NOW + S), "subscribe") == [[f"book.{CALL_60}.100ms"]]


def test_a_disconnection_drops_every_live_book():
    script = opened()
    script.receive(snapshot(CALL_60, 10, [[0.01, 1.0]], []))
    script.receive(snapshot(LATE, 11, [[0.01, 1.0]], []))
    script.codec.disconnected(NOW + 2 * S, "closed by the venue: 4000 heartbeat close")
    lost = sorted(script.sink.directory[call["iid"]].symbol for call in script.sink.of("book_lost"))
    assert lost == [LATE, CALL_60]
    assert "4000 heartbeat close" in script.sink.last("event")["text"]
    assert script.codec.deadline_ns() is None
    assert script.codec.frames_to_send() == []
    script.open(NOW + 3 * S)
    script.receive(change(CALL_60, 10, 11, [["new", 0.011, 2.0]]), NOW + 4 * S)
    assert script.codec.gaps == 0  # a new connection starts with a snapshot; this is not one
    assert script.sink.last("event")["kind"] == "listed"


def test_a_silent_connection_is_given_up():
    script = opened()
    script.receive(TEST_REQUEST, NOW + 20 * S)
    script.run_until(NOW + 54 * S)
    assert script.codec.hang_up == ""
    script.sent(NOW + 54 * S)
    while not script.codec.hang_up:
        script.codec.timer(script.codec.deadline_ns())
    assert "nothing received" in script.codec.hang_up
    script.codec.disconnected(NOW + 60 * S, script.codec.hang_up)
    script.codec.connected(NOW + 61 * S)
    assert script.codec.hang_up == ""


def test_counts_and_times_for_the_status_strip():
    script = opened()
    before = script.codec.messages
    script.receive(ticker(CALL_60, timestamp=1_790_133_841_000), NOW + 5 * S)
    script.receive(ticker(PUT_60, timestamp=1_790_133_840_000), NOW + 6 * S)
    assert script.codec.messages == before + 2
    assert script.codec.last_receive_ns == NOW + 6 * S
    assert script.codec.last_venue_ns == 1_790_133_841_000_000_000


def test_a_bug_of_the_sink_is_not_taken_for_a_bad_frame():
    class Broken(RecordingSink):
        def ticker(self, *values):
            raise RuntimeError("no room")

    script = Script({"BTC": BTC})
    script.codec = type(script.codec)(["BTC"], ["ticker"], Broken())
    script.open()
    with pytest.raises(RuntimeError, match="no room"):
        script.receive(ticker(CALL_60))
    assert script.codec.rejected == 0
