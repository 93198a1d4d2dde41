"""Binance's protocol on one connection: listing, streams and their limits, acknowledgements, checks, books over REST."""

import json

import pytest
from binance_script import (
    EXPIRY,
    EXPIRY_MS,
    LATER_MS,
    MS,
    NOW,
    S,
    Script,
    depth,
    encoded,
    info,
    mark,
    marks,
    option,
    snapshot,
)

from volsurface.errors import VenueError
from volsurface.venues.binance import CUT_S, URL, BinanceCodec, connections
from volsurface.venues.registry import shard_url
from volsurface.venues.sharding import in_shard

CALL, PUT, ETH = "BTC-260925-70000-C", "BTC-260925-60000-P", "ETH-260925-3000-C"
DEPTH = "btc-260925-70000-c@depth@100ms"


def opened(channels=("ticker", "book"), entries=(CALL, PUT), **options) -> Script:
    return Script([option(name) for name in entries], channels=channels, **options).open()


def subscribed(script: Script) -> list[str]:
    return [name for call in script.calls if call["method"] == "SUBSCRIBE" for name in call["params"]]


def texts(script: Script, kind: str) -> list[str]:
    return [event["text"] for event in script.sink.events(kind)]


# -- listing ------------------------------------------------------------------------------------------------------------


def test_a_whole_opening():
    script = opened(("ticker", "book", "trades"))
    assert script.requests[0].url == "https://eapi.binance.com/eapi/v1/exchangeInfo"
    assert subscribed(script) == [
        "!index@arr", "btcusdt@optionMarkPrice", "btcusdt@optionOpenInterest@260925", "btcusdt@optionTrade",
        "btc-260925-60000-p@depth@100ms", DEPTH,
    ]  # fmt: skip
    assert (script.codec.state, script.codec.listed, script.codec.subscribed) == ("live", 2, 6)
    assert len(script.codec.books) == 2


def test_names_and_expiries():
    script = opened(entries=["BTC-260925-60000.5-P"])
    instrument = script.sink.directory[0]
    assert (instrument.strike, instrument.right, instrument.expiry_ns) == (60000.5, -1, EXPIRY)
    assert (instrument.settlement, instrument.tick_size, instrument.index_name) == ("stable", 5.0, "BTCUSDT")


@pytest.mark.parametrize(
    "bad", [{"side": "STRADDLE"}, {"strikePrice": "0"}, {"strikePrice": "x"}, {"expiryDate": 0}, {"unit": 0}, {"symbol": "BTC"}, {"symbol": None}]
)  # fmt: skip
def test_a_bad_entry_costs_only_itself(bad):
    script = Script([option(CALL), option(PUT) | bad]).open()
    assert (script.codec.listed, script.codec.rejected) == (1, 1)
    assert any("1 listing entries not understood" in text for text in texts(script, "reject_frame"))


def test_an_underlying_without_options_is_an_event_and_others_go_on():
    script = Script([option(CALL)], ["BTC", "BTCC"]).open()
    assert script.codec.state == "live"
    assert texts(script, "listed")[-1] == "binance: unknown underlying 'BTCC'; did you mean 'BTC'? Allowed: BTC, ETH"


def test_nothing_asked_for_is_refused():
    with pytest.raises(VenueError, match="no underlying"):
        BinanceCodec([], ["ticker"], Script([]).sink)
    with pytest.raises(VenueError, match="unknown channel 'tiker'"):
        BinanceCodec(["BTC"], ["tiker"], Script([]).sink)


@pytest.mark.parametrize(
    "failure", [(0, b"no route"), (503, b"<html>"), (400, b'{"code":-1121,"msg":"x"}'), (200, b"{"), (200, b"[]")]
)
def test_a_listing_that_fails_is_asked_for_again_later_and_later(failure):
    script = Script([option(CALL)])
    failures = [failure] * 3
    script.fail = lambda request: failures.pop() if failures and "exchangeInfo" in request.url else None
    script.codec.connected(NOW)
    script.run_until(NOW)
    assert script.codec.state == "listing"
    script.run_until(NOW + 2 * S)
    assert script.codec.state == "live"
    assert sum("exchangeInfo" in request.url for request in script.requests) == 4
    assert len(script.sink.events("reject_frame")) >= 1


def test_too_many_requests_makes_all_wait():
    script = Script([option(CALL)])
    answers = [(429, b'{"code":-1003,"msg":"Too many requests"}')]
    script.fail = lambda request: answers.pop() if answers else None
    script.codec.connected(NOW)
    script.run_until(NOW + 59 * S)
    assert len(script.requests) == 1
    script.run_until(NOW + 61 * S)
    assert script.codec.state == "live"


def test_every_connection_reads_the_listing_at_every_full_minute_and_only_then():
    minute = NOW - NOW % (60 * S) + 60 * S
    scripts = [Script([option(CALL)], channels=["quote"], shard=(i, 3)).open(NOW + i * S) for i in range(3)]
    for script in scripts:
        script.entries.append(option("BTC-260925-3000-C"))
        script.run_until(minute - 1)
        assert [request.tag for request in script.requests] == ["listing"]
        script.run_until(minute)
        assert len(script.requests) == 2
    assert scripts[0].codec.listed == 2
    assert sum(len(script.codec._options.streams) for script in scripts[1:]) == 2


def test_a_new_connection_reads_the_listing_only_when_a_minute_has_begun_since():
    script = opened()
    script.codec.disconnected(NOW + S, "gone")
    script.open(NOW + 2 * S)
    assert [request.tag for request in script.requests].count("listing") == 1
    script.codec.disconnected(NOW + 50 * S, "gone")
    script.open(NOW + 70 * S)
    assert [request.tag for request in script.requests].count("listing") == 2


def test_what_is_gone_from_the_listing_is_closed():
    script = opened()
    del script.entries[1]
    script.run_until(NOW + 601 * S)
    assert [script.sink.directory[c["iid"]].symbol for c in script.sink.of("closed")] == [PUT]
    assert script.codec.subscribed == 4
    assert "btc-260925-60000-p@depth@100ms" not in script.streams


def test_an_expiry_rolls_at_eight():
    script = opened()
    script.codec.disconnected(NOW, "")
    script.open(EXPIRY - 60 * S)
    script.receive(marks(mark(CALL, E=EXPIRY_MS - 1)), EXPIRY)
    script.run_until(EXPIRY + 29 * S)
    assert script.codec.listed == 2
    script.run_until(EXPIRY + 31 * S)
    assert (script.codec.listed, len(script.sink.of("closed")), script.codec.books) == (0, 2, {})
    script.receive(marks(mark(CALL, E=EXPIRY_MS)), EXPIRY + 32 * S)  # a late frame
    script.entries = [option("BTC-261225-60000-C", expiryDate=LATER_MS)]
    script.run_until(EXPIRY + 95 * S)
    assert [stream.instrument.symbol for stream in script.codec._options.streams.values()] == ["BTC-261225-60000-C"]
    assert script.codec.rejected == 0


# -- streams and connections ----------------------------------------------------------------------------------------------


def test_calls_keep_the_documented_pace_and_size():
    entries = [option(f"BTC-260925-{50_000 + 100 * n}-C") for n in range(190)]
    script = Script(entries, channels=["book"]).open()
    sizes = [len(call["params"]) for call in script.calls]
    assert sum(sizes) == 191
    assert max(sizes) <= 100
    times = [call["at_ns"] for call in script.calls]
    assert all(later - earlier >= S for earlier, later in zip(times, times[10:], strict=False))


def test_snapshots_keep_the_documented_weight():
    entries = [option(f"BTC-260925-{50_000 + 100 * n}-C") for n in range(190)]
    script = Script(entries, channels=["book"])
    script.codec.connected(NOW)
    made = [
        (now, sum("depth" in r.url for r in script.run_until(now) if hasattr(r, "url")))
        for now in range(NOW, NOW + 12 * S, S // 2)
    ]
    assert sum(n for _, n in made) == 190
    assert all(n <= 60 for _, n in made)
    assert len(script.codec.books) == 190


def test_what_does_not_fit_on_a_connection_is_said_with_both_numbers():
    script = Script([option(f"BTC-260925-{50_000 + 100 * n}-C") for n in range(250)]).open()
    assert script.codec.subscribed == 200
    assert texts(script, "dropped") == ["binance: 253 streams wanted, 200 allowed on a connection"]
    assert (script.codec.listed, script.codec.state) == (250, "live")


def test_connections_share_the_streams():
    names = [f"BTC-260925-{50_000 + 100 * n}-C" for n in range(40)]
    scripts = [Script([option(n) for n in names], channels=["ticker", "quote"], shard=(i, 3)).open() for i in range(3)]
    paths = ["/market/stream", "/public/stream", "/public/stream"]
    assert [shard_url("binance", "ws://x:1/", (i, 3)) for i in range(3)] == ["ws://x:1" + path for path in paths]
    assert shard_url("binance", URL, (0, 1)) == URL + "/stream"
    assert subscribed(scripts[0]) == [
        "!index@arr",
        "btcusdt@optionMarkPrice",
        "btcusdt@optionOpenInterest@260925",
    ]
    assert scripts[0].codec.listed == 40
    for i in (1, 2):
        assert subscribed(scripts[i]) == [f"{n.lower()}@bookTicker" for n in names if in_shard(n, (i - 1, 2))]
    assert sum(script.codec.listed for script in scripts) == 40


@pytest.mark.parametrize(
    ("options", "channels", "needed"),
    [(5000, ["ticker"], 1), (5000, ["markprice"], 1), (100, ["ticker", "book"], 2), (1200, ["ticker", "quote"], 8), (1200, ["trades"], 2)],
)  # fmt: skip
def test_how_many_connections_the_limits_require(options, channels, needed):
    assert connections(options, channels) == needed


# -- acknowledgements and silence -------------------------------------------------------------------------------------------


def test_a_refused_call_gives_its_streams_up_for_a_minute():
    script = Script([option(CALL)])
    refusals = [lambda call: encoded({"code": 2, "msg": "Invalid request: x"})]
    script.refuse = lambda call: refusals.pop()(call) if refusals else None
    script.open()
    assert "binance: 1 of 1 streams refused: !index@arr" in texts(script, "dropped")
    assert script.codec.subscribed == 3
    script.run_until(NOW + 61 * S)
    assert script.codec.subscribed == 4


def test_a_call_without_an_answer_is_made_again():
    script = Script([option(CALL)])
    script.deaf = {"SUBSCRIBE"}
    script.codec.connected(NOW)
    script.run_until(NOW + 5 * S)
    assert script.codec.state == "subscribing"
    script.deaf = set()
    script.run_until(NOW + 12 * S)
    assert (script.codec.state, script.codec.subscribed) == ("live", 4)
    assert any("no answer to SUBSCRIBE" in text for text in texts(script, "stale"))


def test_a_stream_dropped_silently_is_asked_for_again_and_its_book_with_it():
    script = opened()
    del script.streams[DEPTH]
    before = len(script.calls)
    script.run_until(NOW + 11 * S)
    assert "binance: 1 streams confirmed and then dropped: " + DEPTH in texts(script, "dropped")
    assert [(c["method"], c.get("params")) for c in script.calls[before:]][:3] == [
        ("LIST_SUBSCRIPTIONS", None), ("UNSUBSCRIBE", [DEPTH]), ("SUBSCRIBE", [DEPTH]),
    ]  # fmt: skip
    assert script.sink.of("book_lost")
    assert len(script.codec.books) == 2
    assert DEPTH in script.streams


def test_when_the_venue_has_dropped_everything_the_connection_is_made_again():
    script = opened(["book"])
    script.run_until(NOW + 10 * S)
    script.streams.clear()
    script.run_until(NOW + 21 * S)
    assert script.codec.hang_up == "the venue has dropped every stream"


def test_a_list_that_says_nothing_of_streams_that_flow_is_not_believed():
    script = opened()
    script.streams = {"something else": None}
    script.receive(marks(mark(CALL)))
    script.run_until(NOW + 11 * S)
    assert not script.codec.hang_up
    assert not [call for call in script.calls if call["method"] == "UNSUBSCRIBE"]


def test_marks_that_stop_are_subscribed_to_again():
    script = opened()
    for second in range(1, 15):
        script.receive(marks(mark(CALL, E=MS + 1000 * second)), NOW + second * S)
        script.run_until(NOW + second * S)
    assert not script.sink.events("stale")
    script.run_until(NOW + 31 * S)
    assert texts(script, "stale") == ["binance: no btcusdt@optionMarkPrice for 10 s"]
    assert ["btcusdt@optionMarkPrice"] in [call.get("params") for call in script.calls]


def test_a_silent_socket_is_given_up():
    script = opened()
    script.deaf = {"LIST_SUBSCRIPTIONS", "SUBSCRIBE", "UNSUBSCRIBE"}
    script.run_until(NOW + 34 * S)
    assert not script.codec.hang_up
    script.run_until(NOW + 36 * S)
    assert script.codec.hang_up == "nothing received for 35 s"


@pytest.mark.parametrize("shard", [(0, 1), (2, 4)])
def test_a_connection_ends_before_the_venue_cuts_it(shard):
    script = Script([], channels=["quote"], shard=shard).open()
    end_ns = NOW + (CUT_S - 60 * shard[0]) * S
    script.codec._timers.clear()
    script.codec._timers.set(end_ns, "cut")
    script.codec.timer(end_ns)
    assert texts(script, "notice") == ["binance cuts a connection after 24 h: this one is made anew before that"]
    assert script.codec.hang_up


def test_another_connection_starts_over_with_what_is_known():
    script = opened()
    script.codec.disconnected(NOW + S, "gone")
    assert (script.codec.state, script.codec.subscribed, script.codec.books) == ("down", 0, {})
    assert script.codec.frames_to_send() == []
    assert script.codec.deadline_ns() is None
    assert len(script.sink.of("book_lost")) == 2
    script.open(NOW + 2 * S)
    assert (script.codec.reconnects, len(script.codec.books), script.codec.subscribed) == (1, 2, 5)


# -- books over REST --------------------------------------------------------------------------------------------------------


def test_a_gap_fetches_that_book_again_and_no_other():
    script = opened()
    script.receive(depth(CALL, 100, 110, [["1205.0", "1.5"]]))
    script.receive(depth(PUT, 100, 111, [["1205.0", "1.5"]]))
    before = len(script.requests)
    script.snapshots[CALL] = snapshot(118, [["1190.0", "2"]], [["1195.0", "1"]])
    script.receive(depth(CALL, 115, 120, [["1191.0", "4"]]))
    assert (script.codec.gaps, len(script.codec.books)) == (1, 1)
    assert texts(script, "gap") == [f"{CALL}: after 110 came a change from 115"]
    script.exchange(NOW + S)
    assert [r.url.partition("symbol=")[2] for r in script.requests[before:]] == [f"{CALL}&limit=50"]
    top = script.sink.last("book_top")
    assert (top["bid"], top["bid_sz"], top["ask"], top["seq"]) == (1191.0, 4.0, 1195.0, 120)
    assert len(script.codec.books) == 2
    assert [call["method"] for call in script.calls].count("UNSUBSCRIBE") == 0


def test_a_snapshot_that_does_not_join_is_fetched_again():
    script = opened()
    script.receive(depth(CALL, 105, 110))
    script.exchange(NOW + S)  # as of 100: too old
    assert len(script.codec.books) == 1
    script.snapshots[CALL] = snapshot(112)
    script.run_until(NOW + 2 * S)
    assert len(script.codec.books) == 2


@pytest.mark.parametrize(
    "failure",
    [
        (0, b"timeout"),
        (500, b""),
        (200, b'{"bids":[["x","1"]]}'),
        (200, b'{"lastUpdateId":1,"bids":[["0","1"]],"asks":[]}'),
    ],
)
def test_a_snapshot_that_fails_is_fetched_again(failure):
    script = Script([option(CALL)], channels=["book"])
    failures = [failure] * 2
    script.fail = lambda request: failures.pop() if failures and "depth" in request.url else None
    script.codec.connected(NOW)
    script.run_until(NOW + S // 5)
    assert not script.codec.books
    script.run_until(NOW + S)
    assert len(script.codec.books) == 1


def test_a_snapshot_without_an_answer_is_fetched_again():
    script = Script([option(CALL)], channels=["book"])
    script.codec.connected(NOW)
    script.codec.answered("listing", 200, info(script.entries), NOW)
    for frame in script.codec.frames_to_send():
        script.codec.receive(script.answer(json.loads(frame)), NOW)
    assert [request.tag for request in script.codec.requests_to_make()][-1] == f"1:{CALL}"  # and no answer
    script.run_until(NOW + 12 * S)
    assert len(script.codec.books) == 1


def test_a_snapshot_that_is_full_is_fetched_whole():
    script = Script([option(CALL)], channels=["book"])
    many = [[str(1200 - n), "1"] for n in range(50)]
    script.snapshots[CALL] = snapshot(100, many, [["1210", "1"]])
    script.fail = lambda r: (
        (200, snapshot(101, [*many, ["1000", "1"]], [["1210", "1"]])) if "limit=1000" in r.url else None
    )
    script.open()
    assert len(script.codec.depth(0, 99)[0]) == 51


def test_an_answer_from_the_last_connection_does_not_count():
    script = opened()
    tags = [request.tag for request in script.requests]
    script.codec.disconnected(NOW + S, "gone")
    script.codec.answered(tags[-1], 200, snapshot(100), NOW + S)
    script.codec.connected(NOW + 2 * S)
    script.codec.answered(tags[-1], 200, snapshot(100), NOW + 2 * S)
    assert script.codec.books == {}


def test_a_book_crossed_by_a_change_is_fetched_again_and_a_crossed_snapshot_only_flagged():
    script = opened()
    script.snapshots[CALL] = snapshot(120, [["1220", "1"]], [["1210", "1"]])
    script.receive(depth(CALL, 100, 110, [["1215.0", "1"]]))
    assert texts(script, "gap") == [f"{CALL}: crossed book, bid 1215.0 over ask 1210.0"]
    script.exchange(NOW + S)
    assert script.sink.last("book_top")["flags"] & 1
    assert len(script.codec.books) == 2


# -- frames of other shapes -------------------------------------------------------------------------------------------------


def test_spaces_and_another_order_of_keys():
    script = opened()
    data = {"s": CALL, "E": MS, "mp": "7.5"}
    script.receive(json.dumps({"data": [data], "stream": "btcusdt@optionMarkPrice"}).encode())
    assert script.sink.last("ticker")["mark"] == 7.5


@pytest.mark.parametrize(
    "frame", [b"", b"{", b"[]", b"null", b'{"stream":"', b'{"stream":"x","data":1}', b'{"result":null,"id":99}', b"\xff\xfe", b'{"stream":"btcusdt@optionMarkPrice"}', b"[" * 5000]
)  # fmt: skip
def test_what_is_not_understood_is_counted(frame):
    script = opened()
    script.receive(frame)
    assert script.codec.rejected == 1
    script.receive(marks(mark(CALL)))
    assert len(script.sink.of("ticker")) == 1
