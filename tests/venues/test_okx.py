"""The OKX session: listing, arguments and their answers, pings, notices, limits, changes of the listing and lost books."""

import pytest
from deribit_script import RecordingSink
from okx_script import (
    CALL_60,
    PUT_60,
    OkxScript,
    arguments,
    book,
    entry,
    index,
    message,
    open_interest,
    summaries,
    summary_entry,
    ticker,
)
from rest_script import EXPIRY, EXPIRY_MS, LATER_MS, NOW, NOW_MS, S, encoded

from volsurface.errors import VenueError
from volsurface.market.instrument import CALL, COIN, PUT, STABLE, Instrument
from volsurface.market.quote import FORWARD_INDEX, FORWARD_MODEL
from volsurface.venues.okx import MOVE_S, OkxCodec, connections
from volsurface.venues.registry import VENUES, connections_needed, default_rest_url, default_url
from volsurface.venues.rest_listed import PONG_S, REQUEST_S
from volsurface.venues.sharding import in_shard
from volsurface.venues.subscription_calls import ANSWER_S, MAX_TRIES

CALL_70 = "BTC-USD-260925-70000-C"
LATE = "BTC-USD-261225-60000-C"
BTC = [entry(CALL_60), entry(PUT_60), entry(CALL_70), entry(LATE, expTime=str(LATER_MS))]
COMMON = [
    {"channel": "opt-summary", "instFamily": "BTC-USD"},
    {"channel": "index-tickers", "instId": "BTC-USD"},
    {"channel": "instruments", "instType": "OPTION"},
    {"channel": "status"},
]


def opened(*entries, **options) -> OkxScript:
    return OkxScript(list(entries) or BTC, **options).open()


# -- listing ----------------------------------------------------------------------------------------------------------


def test_listing_over_rest_then_arguments_nearest_expiry_and_quotes_first():
    script = opened(entry(CALL_60), entry(LATE, expTime=str(LATER_MS)))
    (request,) = script.requests
    assert request.url == "http://okx.test/api/v5/public/instruments?instType=OPTION&instFamily=BTC-USD"
    asked = arguments(script.sent)
    assert asked[:4] == COMMON
    kinds = ("tickers", "mark-price", "open-interest", "books")
    assert asked[4:] == [{"channel": kind, "instId": name} for kind in kinds for name in (CALL_60, LATE)]
    assert (script.codec.state, script.codec.listed, script.codec.subscribed) == ("live", 2, 12)
    assert script.sink.directory[0] == Instrument(
        venue="okx", symbol=CALL_60, underlying="BTC", expiry_ns=EXPIRY, strike=60000.0, right=CALL, settlement=COIN,
        contract_size=0.01, price_unit_size=1.0, tick_size=0.0001, tick_steps=((0.005, 0.0005),), index_name="BTC-USD",
    )  # fmt: skip


def test_contract_sizes_are_those_of_the_listing():
    entries = [entry("ETH-USD-260925-3000-P", ctMult="0.1"), entry("ETH-USD-260925-3500-P", ctMult="1", ctVal="1")]
    script = opened(*entries, underlyings=("ETH",))
    assert {i.symbol: (i.contract_size, i.right) for i in script.sink.directory} == {
        "ETH-USD-260925-3000-P": (0.1, PUT),
        "ETH-USD-260925-3500-P": (1.0, PUT),
    }


def test_options_settled_in_dollars_are_another_family_of_the_same_index():
    script = opened(entry("SOL-USD_UM-260925-150.5-C", ctMult="1"), entry(CALL_60), underlyings=("SOL", "BTC_UM"))
    (instrument,) = script.sink.directory
    assert (instrument.underlying, instrument.settlement, instrument.strike) == ("SOL", STABLE, 150.5)
    assert (instrument.index_name, instrument.tick_steps) == ("SOL-USD", ())
    families = [request.url.rpartition("=")[2] for request in script.requests]
    assert families == ["SOL-USD_UM", "BTC-USD_UM"]
    assert {"channel": "index-tickers", "instId": "BTC-USD"} in arguments(script.sent)


@pytest.mark.parametrize(
    "damage",
    [
        {"stk": ""}, {"stk": "0"}, {"stk": "nan"}, {"stk": "-5"}, {"optType": "X"}, {"expTime": ""}, {"expTime": "0"},
        {"expTime": "99999999999999"}, {"ctMult": ""}, {"ctMult": "1e-12"}, {"ctVal": "x"}, {"ctValCcy": "ETH"},
        {"instId": None}, {"expTime": []},
    ],
)  # fmt: skip
def test_a_bad_entry_is_refused_alone(damage):
    script = opened(entry(CALL_60, **damage), entry(PUT_60))
    assert [i.symbol for i in script.sink.directory] == [PUT_60]
    assert script.codec.rejected == 1
    assert any("1 listing entries not understood" in event["text"] for event in script.sink.events("reject_frame"))


def test_what_does_not_trade_is_not_followed():
    late = [entry(CALL_60, state="preopen"), entry(PUT_60, state="suspend"), entry(CALL_70, expTime=str(NOW_MS - 1))]
    script = opened(*late, entry(LATE, expTime=str(LATER_MS)))
    assert [i.symbol for i in script.sink.directory] == [LATE]
    assert script.codec.rejected == 0


def test_an_underlying_the_venue_does_not_list_is_said_once_and_the_others_go_on():
    script = opened(underlyings=("XYZ", "BTC"))
    assert script.codec.listed == 4
    text = script.sink.events("reject_frame")[0]["text"]
    assert "unknown underlying 'XYZ'" in text
    assert "Allowed: BTC, BTC_UM, ETH, ETH_UM, SOL" in text
    script.codec.disconnected(NOW + S, "lost")
    script.open(NOW + 2 * S)
    assert len(script.sink.events("reject_frame")) == 1


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (0, b"name resolution failed", "not reached: name resolution failed"),
        (503, b"<html>", "HTTP 503"),
        (429, encoded({"code": "50011", "msg": "Too Many Requests", "data": []}), "HTTP 429"),
        (200, encoded({"code": "50001", "msg": "Service temporarily unavailable", "data": []}), "50001 Service"),
        (200, b"<html>", "malformed"),
        (200, b"[]", "Expected `object`"),
    ],
)
def test_a_listing_that_fails_is_said_and_asked_for_again_until_it_comes(status, body, words):
    script = OkxScript(BTC)
    good, script.http = script.http, lambda request: (status, body)
    script.codec.connected(NOW)
    script.exchange(NOW)
    script.run_until(NOW + 10 * S)
    assert script.codec.state == "listing"
    failures = [event["text"] for event in script.sink.events("reject_frame")]
    assert len(failures) == len(script.requests) == 4  # after 1, 2 and 4 seconds
    assert all(words in text and "BTC-USD" in text for text in failures)
    script.http = good
    script.run_until(NOW + 20 * S)
    assert (script.codec.state, script.codec.listed) == ("live", 4)


def test_a_listing_refused_for_good_does_not_hold_up_the_others():
    def http(request):
        if "ETH" in request.url:
            return 200, encoded({"code": "51000", "msg": "Parameter instFamily error", "data": []})
        return script.listing(request)

    script = OkxScript(BTC, underlyings=("ETH", "BTC"))
    script.http = http
    script.open()
    assert script.codec.listed == 4
    assert [e["severity"] for e in script.sink.events("reject_frame")] == ["error"]


def test_a_listing_without_answer_is_asked_for_again():
    script = OkxScript(BTC)
    script.codec.connected(NOW)
    (first,) = script.codec.requests_to_make()
    script.run_until(NOW + (REQUEST_S + 2) * S)
    assert script.codec.state == "live"
    script.codec.answered(first.tag, 200, b"too late and not JSON", NOW + 99 * S)
    assert script.codec.rejected == 1  # the silence; the late answer is nobody's


# -- arguments and answers --------------------------------------------------------------------------------------------


def test_a_refused_instrument_is_dropped_alone():
    script = opened(unknown=(PUT_60,))
    codec = script.codec
    assert (codec.state, codec.dropped_channels) == ("live", 4)
    assert codec.subscribed == len(COMMON) + 3 * 4
    named = " ".join(event["text"] for event in script.sink.events("dropped"))
    assert f"books {PUT_60}" in named


def test_a_request_refused_as_a_whole_is_halved_down_to_the_bad_channel():
    bad = {"channel": "open-interest", "instId": PUT_60}

    def reply(frame):
        if frame["op"] == "subscribe" and bad in frame["args"]:
            return [encoded({"id": frame["id"], "event": "error", "code": "60012", "msg": "Invalid request"})]
        return script.answer(frame)

    script = OkxScript(BTC)
    script.reply = reply
    script.open()
    assert script.codec.dropped_channels == 1
    assert script.codec.subscribed == len(COMMON) + 4 * 4 - 1
    assert "open-interest " + PUT_60 in script.sink.events("dropped")[0]["text"]


def test_too_frequent_is_waited_for():
    refusals = []

    def reply(frame):
        if len(refusals) < 3:
            refusals.append(frame["id"])
            return [encoded({"id": frame["id"], "event": "error", "code": "60014", "msg": "Requests too frequent"})]
        return script.answer(frame)

    script = OkxScript(BTC)
    script.reply = reply
    script.open()
    assert script.codec.dropped_channels == 0
    assert script.codec.subscribed == len(COMMON) + 16


def test_a_channel_without_any_answer_is_asked_for_again_and_in_the_end_given_up():
    silent = {"channel": "mark-price", "instId": CALL_70}

    def reply(frame):
        return script.answer(frame | {"args": [arg for arg in frame["args"] if arg != silent]})

    script = OkxScript(BTC)
    script.reply = reply
    script.open()
    assert arguments(script.sent).count(silent) == MAX_TRIES
    assert script.codec.dropped_channels == 1
    assert script.sink.events("stale")[0]["now_ns"] == NOW + ANSWER_S * S
    assert "in vain: mark-price " + CALL_70 in script.sink.events("dropped")[0]["text"]


def test_answers_without_an_id_are_taken_by_their_argument():
    script = OkxScript(BTC)
    script.reply = lambda frame: [
        encoded({"event": "subscribe", "arg": arg, "connId": "x"})
        for arg in (frame["args"] if frame != b"ping" else ())
    ]
    script.open()
    assert script.codec.subscribed == len(COMMON) + 16


def test_requests_stay_within_the_venues_limits():
    many = [entry(f"BTC-USD-260925-{1000 + i}-C") for i in range(600)]
    script = opened(*many)
    assert all(len(frame["args"]) <= 256 and len(encoded(frame)) < 65_536 for frame in script.sent)
    assert len(script.sent) == 1 + -(-600 * 4 // 256)


def test_an_hours_requests_used_up_is_worth_a_new_connection():
    script = opened(entry(CALL_60))
    codec, now_ns = script.codec, NOW
    for n in range(200):
        now_ns += S // 10
        script.receive(book(CALL_60, "snapshot", -1, 10, ts=NOW_MS + 2 * n), now_ns=now_ns)
        script.receive(book(CALL_60, "update", 77, 78, ts=NOW_MS + 2 * n + 1), now_ns=now_ns)
        script.exchange(now_ns)
        if codec.hang_up:
            break
    assert "may not subscribe" in codec.hang_up
    assert len(script.sent) == 241  # the burst, and one that a quarter of a minute has brought back
    script.open(now_ns + S)
    assert codec.hang_up == ""


# -- signs of life, notices -------------------------------------------------------------------------------------------


def test_a_quiet_socket_is_pinged_and_given_up_without_a_pong():
    script = opened(entry(CALL_60), channels=("ticker",))
    script.receive(ticker(CALL_60), now_ns=NOW + 5 * S)
    script.reply = lambda frame: []
    assert script.run_until(NOW + 24 * S) == []
    assert script.run_until(NOW + 26 * S) == [b"ping"]
    script.run_until(NOW + (24 + PONG_S) * S)
    assert not script.codec.hang_up
    script.run_until(NOW + (26 + PONG_S) * S)
    assert "no answer to a ping" in script.codec.hang_up


def test_pongs_keep_it_alive_and_are_no_rejects():
    script = opened(entry(CALL_60), channels=("ticker",))
    script.run_until(NOW + 300 * S)
    assert (script.codec.hang_up, script.codec.rejected) == ("", 0)
    assert script.sent.count(b"ping") == 15


def test_an_upgrade_notice_is_told_and_moved_away_from():
    script = opened(entry(CALL_60))
    words = "The connection will soon be closed for a service upgrade. Please reconnect."
    script.receive(encoded({"event": "notice", "code": "64008", "msg": words, "connId": "a4d3ae55"}))
    notice = script.sink.events("notice")[0]
    assert (notice["severity"], notice["text"]) == ("warning", f"okx: 64008 {words}")
    assert not script.codec.hang_up
    script.run_until(NOW + (2 + MOVE_S) * S)
    assert "upgrade" in script.codec.hang_up
    script.codec.connected(NOW + 20 * S)
    assert not script.codec.hang_up


def test_maintenance_is_a_notice():
    script = opened(entry(CALL_60))
    status = {"begin": "1764666600000", "end": "1764667800000", "state": "ongoing", "serviceType": "0", "title": "x"}
    script.receive(message("status", [status]))
    assert "maintenance ongoing" in script.sink.events("notice")[0]["text"]


# -- changes of the listing -------------------------------------------------------------------------------------------


def test_the_instruments_channel_lists_and_closes():
    script = opened(entry(CALL_60))
    changes = [entry(CALL_70), entry(CALL_60, state="expired"), entry("ETH-USD-260925-3000-C"), {"instId": 5}]
    script.receive(message("instruments", changes, "OPTION", "instType"))
    asked = arguments(script.exchange(NOW + S))
    assert {"channel": "books", "instId": CALL_70} in asked
    assert script.codec.listed == 1
    assert [script.sink.directory[call["iid"]].symbol for call in script.sink.of("closed")] == [CALL_60]
    assert script.codec.rejected == 1
    assert script.sink.events("listed")[-1]["value"] == 1


def test_an_expired_option_is_closed_and_the_listing_read_again():
    script = opened(channels=("ticker",))
    script.receive(ticker(CALL_60), now_ns=EXPIRY)
    script.entries = [e for e in BTC if e["instId"] == LATE] + [entry("BTC-USD-261226-1-C", expTime=str(LATER_MS))]
    script.run_until(EXPIRY + 120 * S)
    assert script.codec.listed == 2
    assert len(script.sink.of("closed")) == 3
    before = script.codec.rejected
    script.receive(ticker(CALL_60), now_ns=EXPIRY + 121 * S)  # late, of an option that is not followed any more
    assert script.codec.rejected == before


def test_an_empty_or_damaged_listing_closes_nothing():
    script = opened()
    for entries in ([], [{"instId": CALL_60, "instFamily": "BTC-USD", "stk": "?"}]):
        script.entries = [e | {"instFamily": "BTC-USD"} for e in entries]
        script.codec.disconnected(NOW + S, "lost")
        script.open(NOW + 2 * S)
        assert script.codec.listed == 4


# -- connections ------------------------------------------------------------------------------------------------------


def test_a_lost_connection_drops_books_and_asks_for_everything_again():
    script = opened()
    script.receive(book(CALL_60, "snapshot", -1, 10, [("0.01", "5")], [("0.02", "5")]), ticker(CALL_60))
    assert list(script.codec.books) == [script.sink.directory.iid("okx", CALL_60)]
    script.codec.disconnected(NOW + 2 * S, "closed by the venue: 4004")
    assert (script.codec.state, script.codec.books, script.codec.subscribed) == ("down", {}, 0)
    assert len(script.sink.of("book_lost")) == 1
    first = len(script.sent)
    script.open(NOW + 3 * S)
    assert script.codec.reconnects == 1
    assert sorted(map(str, arguments(script.sent[first:]))) == sorted(map(str, arguments(script.sent[:first])))
    # Nothing of the old connection is told on the new one.
    script.receive(open_interest(CALL_60, "7"))
    row = script.sink.last("ticker")
    assert row["bid"] != row["bid"]


def test_shards_share_the_options_and_the_first_alone_tells_forwards():
    names = [f"BTC-USD-260925-{1000 * i}-C" for i in range(1, 41)]
    scripts = [opened(*map(entry, names), shard=(i, 2)) for i in range(2)]
    followed = [{i.symbol for i in script.sink.directory} for script in scripts]
    assert followed[0] | followed[1] == set(names)
    assert not followed[0] & followed[1]
    for i, script in enumerate(scripts):
        assert all(in_shard(name, (i, 2)) for name in followed[i])
        assert ({"channel": "status"} in arguments(script.sent)) == (i == 0)
        script.receive(index(), summaries(*[summary_entry(name) for name in names]))
        assert len(script.sink.of("ticker")) == len(followed[i])
        assert script.sink.last("ticker")["index"] == 64000.5
    assert [(f["source"], f["expiry_ns"], f["value"]) for f in scripts[0].sink.of("forward")] == [
        (FORWARD_INDEX, 0, 64000.5),
        (FORWARD_MODEL, EXPIRY, 62604.6993093463),
    ]
    assert scripts[1].sink.of("forward") == []


def test_books_alone_need_more_connections():
    assert (connections(1000, ["ticker", "book"]), connections(1000, ["ticker"]), connections(0, ["book"])) == (3, 1, 1)
    assert connections_needed("okx", 2, ["ticker", "book"]) == 3
    assert "okx" in VENUES
    assert default_url("okx") == "wss://ws.okx.com:8443/ws/v5/public"
    assert default_rest_url("okx") == "https://openapi.okx.com"


def test_channels_that_do_not_exist_or_exclude_another_are_refused():
    for channels, words in (
        (["tikers"], "did you mean 'ticker'"),
        (["book", "quote"], "not for both"),
        ([], "no channel"),
    ):
        with pytest.raises(VenueError, match=words):
            OkxCodec(["BTC"], channels, RecordingSink())


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"x", b"\xff\xfe", b"null", b"[]", b"5", b'{"event":"fly"}', b'{"arg":{"channel":"books","instId":"nobody"}}',
        b'{"arg":{"channel":"' + b"9" * 99, encoded({"event": "error", "code": "60012", "msg": "?"}), b'{"data":[]}',
        encoded({"id": "9" * 5000, "event": "subscribe", "arg": {"channel": "books", "instId": "a"}}), b"[" * 5000,
    ],
)  # fmt: skip
def test_whatever_comes_nothing_is_raised_and_the_next_frame_is_read(frame):
    script = opened(entry(CALL_60))
    script.receive(frame)
    script.receive(ticker(CALL_60))
    assert script.sink.last("ticker")["bid"] == 0.0195


def test_spaces_and_another_order_in_an_argument_are_understood():
    script = opened(entry(CALL_60), channels=("ticker", "trades"))
    script.receive(ticker(CALL_60).replace(b'{"arg":{"channel":"tickers"', b'{ "arg": {"channel" : "tickers"'))
    assert script.sink.last("ticker")["bid"] == 0.0195
    assert script.codec.rejected == 0


def test_expiries_are_at_eight():
    assert EXPIRY_MS % 86_400_000 == 8 * 3_600_000
