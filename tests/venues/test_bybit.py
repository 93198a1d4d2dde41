"""The Bybit session: listing page by page, topics and both shapes of answers, pings, limits, expiries and lost books."""

import pytest
from bybit_script import CALL_60, CALL_60_USDT, PUT_60, BybitScript, book, entry, ticker, topics
from deribit_script import RecordingSink
from rest_script import EXPIRY, LATER_MS, NOW, NOW_MS, S, encoded

from volsurface.errors import VenueError
from volsurface.market.instrument import CALL, PUT, STABLE, Instrument
from volsurface.venues.bybit import MAX_LETTERS, MAX_TOPICS, BybitCodec, connections
from volsurface.venues.registry import VENUES, connections_needed, default_url
from volsurface.venues.rest_listed import PONG_S

LATE = "BTC-25DEC26-60000-C-USDT"
BTC = [entry(CALL_60), entry(PUT_60), entry(CALL_60_USDT), entry(LATE, deliveryTime=str(LATER_MS))]


def opened(*entries, **options) -> BybitScript:
    return BybitScript(list(entries) or BTC, **options).open()


# -- listing ----------------------------------------------------------------------------------------------------------


def test_a_listing_is_read_page_by_page_and_both_kinds_are_followed():
    script = opened(page=2)
    assert [request.url.partition("?")[2] for request in script.requests] == [
        "category=option&baseCoin=BTC&limit=1000&cursor=",
        "category=option&baseCoin=BTC&limit=1000&cursor=0%2C2",
    ]
    assert [i.symbol for i in script.sink.directory][-1] == LATE
    by_symbol = {i.symbol: i for i in script.sink.directory}
    assert by_symbol[CALL_60_USDT] == Instrument(
        venue="bybit", symbol=CALL_60_USDT, underlying="BTC", expiry_ns=EXPIRY, strike=60000.0, right=CALL,
        settlement=STABLE, contract_size=1.0, price_unit_size=1.0, tick_size=5.0, index_name="BTCUSD",
    )  # fmt: skip
    assert (by_symbol[PUT_60].right, script.codec.listed, script.codec.state) == (PUT, 4, "live")


def test_a_page_that_fails_starts_the_listing_again():
    script = BybitScript(BTC, page=3)
    failed = []

    def http(request):
        if "cursor=0" in request.url and not failed:
            failed.append(request)
            return 502, b""
        return script.listing(request)

    script.http = http
    script.open()
    assert script.codec.listed == 4
    assert len(script.requests) == 4
    assert "BTC failed: HTTP 502" in script.sink.events("reject_frame")[0]["text"]


def test_pages_without_an_end_are_given_up():
    script = BybitScript(BTC)
    page = encoded({"retCode": 0, "result": {"nextPageCursor": "again", "list": []}})
    script.http = lambda request: (200, page)
    script.codec.connected(NOW)
    script.exchange(NOW)
    assert "no end after 100 pages" in script.sink.events("reject_frame")[0]["text"]
    assert len(script.requests) == 100


def test_blocked_means_ten_minutes_without_a_request():
    script = BybitScript(BTC)
    good, script.http = script.http, lambda request: (403, b"access too frequent")
    script.codec.connected(NOW)
    script.exchange(NOW)
    script.http = good
    script.run_until(NOW + 599 * S)
    assert (script.codec.state, len(script.requests)) == ("listing", 1)
    script.run_until(NOW + 601 * S)
    assert (script.codec.state, script.codec.listed) == ("live", 4)


@pytest.mark.parametrize(
    "damage",
    [
        {"symbol": "BTC-25SEP26-60000"}, {"symbol": "BTC-25SEP26-6_0000-C"}, {"symbol": "BTC-25SEP26-nan-C"},
        {"symbol": "BTC-25SEP26-0-C"}, {"symbol": "BTC-25SEP26-60000-C-EUR"}, {"optionsType": "Put"}, {"optionsType": ""},
        {"deliveryTime": ""}, {"deliveryTime": "0"}, {"deliveryTime": "99999999999999"}, {"settleCoin": "USDT"},
        {"symbol": "ETH-25SEP26-60000-C"}, {"symbol": None}, {"priceFilter": []},
    ],
)  # fmt: skip
def test_a_bad_entry_is_refused_alone(damage):
    script = opened(entry(CALL_60) | damage, entry(PUT_60))
    assert [i.symbol for i in script.sink.directory] == [PUT_60]
    assert script.codec.rejected == 1


def test_strikes_with_decimals():
    script = opened(entry("XRP-25SEP26-2.35-P-USDT"), underlyings=("XRP",))
    assert script.sink.directory[0].strike == 2.35


def test_what_does_not_trade_is_not_followed_and_closed_when_it_stops():
    script = opened(entry(CALL_60, status="PreLaunch"), entry(PUT_60, status="Delivering"), entry(CALL_60_USDT))
    assert [i.symbol for i in script.sink.directory] == [CALL_60_USDT]
    script.entries = [entry(CALL_60), entry(CALL_60_USDT, status="Delivering")]
    script.run_until(NOW + 301 * S)  # no channel tells of it: the listing is read again
    assert script.codec.listed == 1
    assert len(script.sink.of("closed")) == 1
    assert f"tickers.{CALL_60}" in topics(script.sent)
    assert f"tickers.{CALL_60_USDT}" in topics(script.sent, "unsubscribe")


def test_underlyings_without_options_are_said_and_the_others_go_on():
    script = opened(underlyings=("BTC", "FOO", "BTC_USDC"))
    assert script.codec.listed == 4
    texts = [e["text"] for e in script.sink.events("reject_frame") + script.sink.events("listed")]
    assert any("unknown underlying 'BTC_USDC'" in text for text in texts)
    assert any("FOO: 0 options; known there: BTC" in text for text in texts)


def test_an_expired_option_is_closed_and_the_listing_read_again():
    script = opened(channels=("ticker",))
    script.receive(ticker(CALL_60), now_ns=EXPIRY)
    script.entries = [e for e in BTC if e["symbol"] == LATE]
    script.run_until(EXPIRY + 100 * S)
    assert script.codec.listed == 1
    before = script.codec.rejected
    script.receive(ticker(CALL_60), now_ns=EXPIRY + 101 * S)
    assert script.codec.rejected == before


# -- topics and answers -----------------------------------------------------------------------------------------------


def test_topics_are_asked_for_in_small_requests_tickers_first():
    many = [entry(f"BTC-25SEP26-{1000 + i}-C") for i in range(45)]
    script = opened(*many)
    assert all(len(frame["args"]) <= 20 for frame in script.sent)
    asked = topics(script.sent)
    assert asked[:45] == [f"tickers.BTC-25SEP26-{1000 + i}-C" for i in range(45)]
    assert asked[45:] == [f"orderbook.25.BTC-25SEP26-{1000 + i}-C" for i in range(45)]
    assert script.codec.subscribed == 90


def test_failed_topics_are_dropped_alone():
    script = opened(unknown=(PUT_60,))
    assert (script.codec.state, script.codec.dropped_channels, script.codec.subscribed) == ("live", 2, 6)
    assert f"tickers.{PUT_60}" in script.sink.events("dropped")[0]["text"]


def plain_answer(frame, success=True, words=""):
    """Return an answer in the shape of the venue's other endpoints."""
    name = frame.get("req_id", "")
    return [encoded({"success": success, "ret_msg": words, "conn_id": "x", "req_id": name, "op": frame["op"]})]


def test_answers_of_the_other_endpoints_shape():
    script = BybitScript(BTC)
    script.reply = plain_answer
    script.open()
    assert script.codec.subscribed == 8


@pytest.mark.parametrize("words", ["Invalid topic: {}", "error:handler not found,topic:{}"])
def test_one_invalid_topic_refuses_its_request_and_the_others_are_asked_for_again(words):
    bad = f"orderbook.25.{PUT_60}"

    def reply(frame):
        refused = frame["op"] == "subscribe" and bad in frame["args"]
        return plain_answer(frame, False, words.format(bad)) if refused else plain_answer(frame)

    script = BybitScript(BTC)
    script.reply = reply
    script.open()
    assert (script.codec.subscribed, script.codec.dropped_channels) == (7, 1)
    assert bad in script.sink.events("dropped")[0]["text"]


def test_too_many_arguments_are_asked_for_in_halves():
    def reply(frame):
        too_many = frame["op"] == "subscribe" and len(frame["args"]) > 3
        return plain_answer(frame, False, "args size >3") if too_many else plain_answer(frame)

    script = BybitScript(BTC)
    script.reply = reply
    script.open()
    assert (script.codec.subscribed, script.codec.dropped_channels) == (8, 0)


def test_too_frequent_is_waited_for():
    refused = []

    def reply(frame):
        if frame["op"] == "subscribe" and len(refused) < 3:
            refused.append(frame)
            return plain_answer(frame, False, "10429 System level frequency protection")
        return plain_answer(frame)

    script = BybitScript(BTC)
    script.reply = reply
    script.open()
    assert (script.codec.subscribed, script.codec.dropped_channels) == (8, 0)


def test_already_subscribed_is_as_good_as_granted():
    topic = f"tickers.{CALL_60}"

    def reply(frame):
        if frame["op"] == "subscribe" and topic in frame["args"]:
            return plain_answer(frame, False, f"error:already subscribed,topic:{topic}")
        return plain_answer(frame)

    script = BybitScript(BTC)
    script.reply = reply
    script.open()
    assert (script.codec.subscribed, script.codec.dropped_channels) == (8, 0)


def test_a_silently_dropped_topic_is_asked_for_again_and_given_up():
    lost = f"tickers.{PUT_60}"
    script = BybitScript(BTC)
    script.reply = lambda frame: script.answer(frame | {"args": [t for t in frame.get("args", ()) if t != lost]})
    script.open()
    assert topics(script.sent).count(lost) == 3
    assert (script.codec.subscribed, script.codec.dropped_channels) == (7, 1)


def test_a_book_that_sends_counts_as_granted_whatever_became_of_the_answer():
    lost = f"orderbook.25.{PUT_60}"
    script = BybitScript(BTC)
    script.reply = lambda frame: script.answer(frame | {"args": [t for t in frame.get("args", ()) if t != lost]})
    script.codec.connected(NOW)
    script.exchange(NOW)
    script.receive(book(PUT_60, "snapshot", 5, [("1", "1")]))
    script.run_until(NOW + 15 * S)
    assert (script.codec.state, script.codec.dropped_channels, script.codec.subscribed) == ("live", 0, 8)
    assert topics(script.sent).count(lost) == 1


def test_channels_the_venue_does_not_have_are_said_and_the_others_served():
    script = opened(channels=("ticker", "markprice"))
    assert script.codec.state == "live"
    assert "no channel for markprice" in script.sink.events("reject_frame")[0]["text"]
    with pytest.raises(VenueError, match="did you mean"):
        BybitCodec(["BTC"], ["tiker"], RecordingSink())


# -- limits -----------------------------------------------------------------------------------------------------------


def test_more_than_a_connection_carries_is_left_out_furthest_expiry_first():
    many = [entry(f"BTC-25SEP26-{10000 + i}-C-USDT") for i in range(300)]
    far = [entry(f"BTC-25DEC26-{10000 + i}-C-USDT", deliveryTime=str(LATER_MS)) for i in range(300)]
    script = opened(*far, *many)
    asked = topics(script.sent)
    assert sum(len(topic) + 3 for topic in asked) <= MAX_LETTERS
    assert len(asked) <= MAX_TOPICS
    assert script.codec.listed < 300
    assert not any("25DEC26" in topic for topic in asked)
    (event,) = script.sink.events("dropped")
    assert event["value"] == 600 - script.codec.listed
    assert "of 600 options not followed" in event["text"]
    assert str(MAX_LETTERS) in event["text"]


def test_as_many_connections_as_the_letters_of_the_topics_require():
    assert connections(1000, ["ticker", "book"]) == 5
    assert connections(1000, ["ticker"]) == 2
    assert connections(100, ["ticker"]) == 1
    n = connections_needed("bybit", 2, ["ticker", "book"])
    names = [f"{coin}-25DEC26-{100000 + i}-C-USDT" for coin in ("BTC", "ETH") for i in range(800)]
    scripts = [
        opened(*[entry(name) for name in names], underlyings=("BTC", "ETH"), page=1000, shard=(i, n)) for i in range(n)
    ]
    assert sum(script.codec.listed for script in scripts) == 1600
    assert not any(script.sink.events("dropped") for script in scripts)
    assert "bybit" in VENUES
    assert default_url("bybit") == "wss://stream.bybit.com/v5/public/option"


# -- signs of life ----------------------------------------------------------------------------------------------------


def test_a_ping_every_twenty_seconds_and_either_pong_is_understood():
    script = opened(channels=("ticker",))
    pongs = [
        lambda frame: [encoded({"req_id": "ping", "op": "pong", "args": ["1675418560633"], "conn_id": "x"})],
        lambda frame: [encoded({"success": True, "ret_msg": "pong", "conn_id": "x", "req_id": "ping", "op": "ping"})],
    ]
    for n in range(1, 6):
        script.reply = pongs[n % 2]
        script.receive(ticker(CALL_60), now_ns=NOW + n * 20 * S - S)
        pings = script.run_until(NOW + n * 20 * S)
        assert pings == [{"req_id": "ping", "op": "ping"}]
    assert (script.codec.rejected, script.codec.hang_up) == (0, "")


def test_no_answer_to_a_ping_ends_the_connection():
    script = opened(channels=("ticker",))
    script.reply = lambda frame: []
    script.run_until(NOW + (19 + PONG_S) * S)
    assert not script.codec.hang_up
    script.run_until(NOW + (21 + PONG_S) * S)
    assert "no answer to a ping" in script.codec.hang_up


def test_a_lost_connection_drops_books_and_asks_for_everything_again():
    script = opened()
    script.receive(book(CALL_60, "snapshot", 10, [("1000", "5")], [("1100", "5")]))
    script.codec.disconnected(NOW + 2 * S, "closed by the venue: 1006")
    assert (script.codec.state, script.codec.books) == ("down", {})
    first = len(topics(script.sent))
    script.open(NOW + 3 * S)
    assert sorted(topics(script.sent)[first:]) == sorted(topics(script.sent)[:first])
    script.receive(book(CALL_60, "snapshot", 3, [("1000", "5")], [], ts=NOW_MS - 500))  # numbers of another run
    assert len(script.codec.books) == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"x", b"\xff\xfe", b"null", b"[]", b'{"topic":"tickers.nobody"}', b'{"topic":"', b'{"topic":5}', b"{}",
        encoded({"type": "COMMAND_RESP"}), encoded({"type": "COMMAND_RESP", "data": {"failTopics": "x"}}),
        encoded({"op": "subscribe", "req_id": "9" * 5000, "success": True}), encoded({"op": "subscribe", "success": False}),
        ticker("BTC-25SEP26-60000-C").replace(b'"data"', b'"date"'), b"[" * 5000,
    ],
)  # fmt: skip
def test_whatever_comes_nothing_is_raised_and_the_next_frame_is_read(frame):
    script = opened(entry(CALL_60))
    script.receive(frame)
    script.receive(ticker(CALL_60))
    assert script.sink.last("ticker")["bid"] == 1190.0
