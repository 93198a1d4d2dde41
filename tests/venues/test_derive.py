"""Derive's protocol on one connection: listing, subscriptions and their failures, silent books, expiries."""

import json

import pytest
from derive_script import EXPIRY, EXPIRY_S, LATER_S, NOW, S, Script, book, encoded, error, option, ticker

from volsurface.errors import VenueError
from volsurface.venues.derive import DeriveCodec, connections
from volsurface.venues.registry import make_codec
from volsurface.venues.sharding import in_shard

CALL, PUT = "BTC-20260925-70000-C", "BTC-20260925-60000-P"
BOOK = f"orderbook.{CALL}.1.20"


def opened(channels=("ticker", "book"), names=(CALL, PUT), **options) -> Script:
    return Script({"BTC": [option(name) for name in names]}, channels=channels, **options).open()


def subscribed(script: Script) -> list[str]:
    return [name for call in script.calls if call["method"] == "subscribe" for name in call["params"]["channels"]]


def texts(script: Script, kind: str) -> list[str]:
    return [event["text"] for event in script.sink.events(kind)]


# -- listing ------------------------------------------------------------------------------------------------------------


def test_a_whole_opening():
    script = opened(("ticker", "book", "trades"))
    assert next(call for call in script.calls if call["method"] == "public/get_instruments")["params"] == {
        "currency": "BTC", "instrument_type": "option", "expired": False,
    }  # fmt: skip
    assert sorted(subscribed(script)) == sorted([
        "spot_feed.BTC", "trades.option.BTC", f"ticker_slim.{PUT}.1000", f"ticker_slim.{CALL}.1000",
        f"orderbook.{PUT}.1.20", BOOK,
    ])  # fmt: skip
    assert (script.codec.state, script.codec.listed, script.codec.subscribed) == ("live", 2, 6)
    assert connections(5000, ["book"]) == 1


def test_names_and_expiries():
    script = opened(names=["BTC-20260925-60000.5-P"])
    instrument = script.sink.directory[0]
    assert (instrument.strike, instrument.right, instrument.expiry_ns) == (60000.5, -1, EXPIRY)
    assert (instrument.settlement, instrument.price_unit_size, instrument.tick_size) == ("stable", 1.0, 0.1)
    assert instrument.index_name == "BTC-USD"


@pytest.mark.parametrize(
    "entry",
    [
        option(PUT, {"option_type": "X"}), option(PUT, {"strike": "0"}), option(PUT, {"strike": None}), option(PUT, {"expiry": 0}),
        option(PUT, {"expiry": EXPIRY_S * 1000}), option(PUT, option_details=None), {"x": 1}, 17,
    ],
)  # fmt: skip
def test_a_bad_entry_costs_only_itself(entry):
    script = Script({"BTC": [option(CALL), entry]}).open()
    assert (script.codec.listed, script.codec.rejected) == (1, 1)


@pytest.mark.parametrize(
    "changes", [{"is_active": False}, {"instrument_type": "perp", "option_details": None}, {"base_currency": "ETH"}]
)
def test_what_is_not_ours_is_passed_over(changes):
    script = Script({"BTC": [option(CALL), option(PUT, **changes)]}).open()
    assert (script.codec.listed, script.codec.rejected) == (1, 0)


@pytest.mark.parametrize("coin", ["BTCC", "ETH"])
def test_an_underlying_without_options_is_an_event_and_others_go_on(coin):
    script = Script({"BTC": [option(CALL)], "ETH": []}, ["BTC", coin]).open()
    script.run_until(NOW + 5 * S)
    assert script.codec.state == "live"
    assert any(f"'{coin}'" in text and "Allowed: BTC, ETH" in text for text in texts(script, "listed"))


def test_nothing_asked_for_is_refused():
    with pytest.raises(VenueError, match="no underlying"):
        DeriveCodec([], ["ticker"], Script({}).sink)
    with pytest.raises(VenueError, match="unknown channel 'tiker'"):
        make_codec("derive", ["BTC"], ["tiker"], Script({}).sink)


def test_a_listing_that_fails_for_now_is_asked_for_again():
    script = Script({"BTC": [option(CALL)]})
    refusals = [lambda call: error(call["id"], -32000, "Rate limit exceeded")] * 3
    script.refuse = lambda call: refusals.pop()(call) if refusals else None
    script.codec.connected(NOW)
    script.run_until(NOW)
    assert script.codec.state == "listing"
    script.run_until(NOW + 12 * S)
    assert script.codec.state == "live"


def test_a_listing_that_cannot_be_read_is_asked_for_again():
    script = Script({"BTC": [option(CALL)]})
    answers = [b'{"id":%d,"result":{"not":"a list"}}']
    script.refuse = lambda call: answers.pop() % call["id"] if answers and "instruments" in call["method"] else None
    script.codec.connected(NOW)
    script.run_until(NOW + 9 * S)
    assert script.codec.state == "listing"
    script.run_until(NOW + 11 * S)
    assert (script.codec.state, script.codec.rejected) == ("live", 1)


def test_an_expiry_rolls_at_eight_and_listings_are_read_again():
    script = opened(["ticker"])
    script.codec.disconnected(NOW, "")
    script.open(EXPIRY - 60 * S)
    late = "BTC-20261225-60000-C"
    script.listings["BTC"] = [option(late, {"expiry": LATER_S})]
    for second in range(-50, 96, 5):
        script.receive(ticker(CALL, t=EXPIRY_S * 1000 + second * 1000), EXPIRY + second * S)
        script.run_until(EXPIRY + second * S)
    assert [script.sink.directory[c["iid"]].symbol for c in script.sink.of("closed")] == [PUT, CALL]
    assert f"ticker_slim.{late}.1000" in script.held
    assert f"ticker_slim.{CALL}.1000" not in script.held
    assert script.codec.rejected == 0


def test_what_is_gone_from_the_listing_is_closed():
    script = opened(["trades"])
    del script.listings["BTC"][1]
    script.receive(ticker(CALL, interval=1), NOW + 290 * S)
    script.codec.timer(NOW + 301 * S)
    script.exchange(NOW + 301 * S)
    assert [script.sink.directory[c["iid"]].symbol for c in script.sink.of("closed")] == [PUT]


def test_connections_share_the_options():
    names = [f"BTC-20260925-{50_000 + 1000 * n}-C" for n in range(20)]
    scripts = [opened(["ticker"], names, shard=(i, 2)) for i in range(2)]
    for i in range(2):
        index = ["spot_feed.BTC"] if i == 0 else []
        assert subscribed(scripts[i]) == index + [f"ticker_slim.{n}.1000" for n in names if in_shard(n, (i, 2))]


@pytest.mark.parametrize(
    ("words", "channel"), [(["quote"], ".100"), (["markprice"], ".1000"), (["quote", "ticker"], ".100")]
)
def test_three_words_are_one_channel(words, channel):
    assert f"ticker_slim.{CALL}{channel}" in subscribed(opened(words))


# -- subscriptions and their failures -----------------------------------------------------------------------------------


def test_calls_keep_the_documented_pace_and_size():
    script = opened(names=[f"BTC-20260925-{40_000 + 100 * n}-C" for n in range(700)])
    assert script.codec.subscribed == 1401
    assert max(len(call["params"].get("channels", ())) for call in script.calls) <= 100
    times = [call["at_ns"] for call in script.calls]
    assert all(later - earlier >= S for earlier, later in zip(times, times[14:], strict=False))


def test_a_channel_refused_with_a_text_is_told_and_tried_again_after_a_minute():
    script = Script({"BTC": [option(CALL)]})
    script.invalid = {BOOK}
    script.open()
    assert texts(script, "dropped") == [
        f"derive: 1 channels not confirmed ({{'instrument_name': ['Invalid']}}): {BOOK}"
    ]
    assert script.codec.subscribed == 2
    script.invalid = set()
    for second in range(20, 62, 20):
        script.receive(ticker(CALL), NOW + second * S)
        script.run_until(NOW + second * S)
    script.run_until(NOW + 62 * S)
    assert script.codec.subscribed == 3


def test_a_channel_the_answer_is_silent_about_is_told():
    script = Script({"BTC": [option(CALL)]})
    script.silent = {BOOK}
    script.open()
    assert texts(script, "dropped") == [f"derive: 1 channels not confirmed (not in the answer): {BOOK}"]


def test_a_channel_missing_in_a_later_answer_is_subscribed_to_again():
    script = opened(["ticker"])
    del script.held[f"ticker_slim.{CALL}.1000"]
    script.listings["BTC"].append(option("BTC-20260925-80000-C"))
    script.codec._timers.set(NOW + S, "relist")
    script.run_until(NOW + 2 * S)
    assert any("channels confirmed and then dropped" in text for text in texts(script, "dropped"))
    assert f"ticker_slim.{CALL}.1000" in script.held
    assert script.codec.subscribed == 4


def test_a_silent_book_is_dropped_and_subscribed_to_again_more_and_more_rarely():
    script = opened(["book"])
    for second in range(1, 9):
        script.receive(book(PUT, second, [["1", "1"]], [["2", "1"]]), NOW + second * S)
        if second < 3:
            script.receive(book(CALL, second, [["1", "1"]], [["2", "1"]]), NOW + second * S)
        script.run_until(NOW + second * S)
    assert texts(script, "gap") == [f"{CALL}: no book for 5 s"]
    assert [script.sink.directory[lost["iid"]].symbol for lost in script.sink.of("book_lost")] == [CALL]
    assert [stream.instrument.symbol for stream in script.codec._streams.values() if stream.book_live] == [PUT]
    assert [call["params"]["channels"] for call in script.calls if call["method"] == "unsubscribe"] == [[BOOK]]
    for second in range(9, 60):
        script.receive(book(PUT, second, [["1", "1"]], [["2", "1"]]), NOW + second * S)
        script.run_until(NOW + second * S)
    assert script.codec.gaps == 3  # after 5, 10 and 20 s


def test_a_refused_call_gives_its_channels_up_for_a_minute():
    script = Script({"BTC": [option(CALL)]})
    refusals = [lambda call: error(call["id"], 13000, "Invalid channels")]
    script.refuse = lambda call: refusals.pop()(call) if refusals and call["method"] == "subscribe" else None
    script.open()
    assert "derive refused subscribe: 13000 Invalid channels null" in texts(script, "reject_frame")
    assert script.codec.subscribed == 2


def test_a_call_without_an_answer_is_made_again():
    script = Script({"BTC": [option(CALL)]})
    script.deaf = {"subscribe", "public/get_instruments"}
    script.codec.connected(NOW)
    script.run_until(NOW + 5 * S)
    script.deaf = set()
    script.run_until(NOW + 12 * S)
    assert (script.codec.state, script.codec.subscribed) == ("live", 3)


def test_a_silent_socket_is_given_up():
    script = opened(["ticker"])
    script.run_until(NOW + 34 * S)
    assert not script.codec.hang_up
    script.run_until(NOW + 36 * S)
    assert script.codec.hang_up == "nothing received for 35 s"


def test_another_connection_starts_over_with_what_is_known():
    script = opened()
    script.receive(book(CALL, 5, [["1", "1"]], [["2", "1"]]))
    assert list(script.codec.books) == [script.sink.directory.iid("derive", CALL)]
    script.codec.disconnected(NOW + S, "gone")
    assert (script.codec.state, script.codec.subscribed, script.codec.books) == ("down", 0, {})
    assert (script.codec.frames_to_send(), script.codec.deadline_ns()) == ([], None)
    script.held.clear()
    script.open(NOW + 2 * S)
    assert (script.codec.reconnects, script.codec.subscribed, script.codec.listed) == (1, 5, 2)
    script.receive(book(CALL, 1, [["1", "1"]], [["2", "1"]]), NOW + 3 * S)  # numbers of the new connection
    assert len(script.codec.books) == 1


# -- frames of other shapes ---------------------------------------------------------------------------------------------


def test_spaces_and_another_order_of_keys():
    script = opened()
    message = json.loads(ticker(CALL))
    message["params"] = {"data": message["params"]["data"], "channel": message["params"]["channel"]}
    script.receive(json.dumps(message).encode())
    assert len(script.sink.of("ticker")) == 1


@pytest.mark.parametrize(
    "frame", [b"", b"{", b"[]", b"null", b'"channel":"', b'{"params":{"channel":"x","data":1}}', b'{"result":null,"id":99}', b"\xff\xfe", b"[" * 5000]
)  # fmt: skip
def test_what_is_not_understood_is_counted(frame):
    script = opened()
    script.receive(frame)
    assert script.codec.rejected == 1
    script.receive(ticker(CALL))
    assert len(script.sink.of("ticker")) == 1


def test_an_error_about_nothing_that_was_asked_is_told():
    script = opened()
    script.receive(error(None, -32700, "Parse error"))
    assert "derive refused a frame: -32700 Parse error null" in texts(script, "reject_frame")
    script.receive(encoded({"id": "not ours", "error": {"code": 1}}))
    assert script.codec.state == "live"
