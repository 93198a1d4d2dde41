"""The simulated OKX, message by message: what the venue's documents say of it."""

import json

import pytest

from volsurface.simulator.fault_table import FAULTS
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.okx_protocol import IDLE_CLOSE, PATH, REQUESTS_PER_HOUR, OkxVenue
from volsurface.simulator.venue import BookMove, Changes
from volsurface.simulator.venue_profiles import venue_profile

S = 1_000_000_000
NOW = 1_790_133_840 * S


@pytest.fixture
def venue():
    return OkxVenue(VenueMarket(("BTC",), 7, NOW, venue_profile("okx"), most_expiries=1, most_strikes=2))


class Client:
    """A session and the decoded messages it has sent."""

    def __init__(self, venue):
        self.venue, self.session = venue, venue.session(NOW, PATH)
        self.option = next(o for o in venue.market.options if o.book.best_bid and o.book.best_ask)
        self.symbol = self.option.symbol

    def ask(self, *arguments, op="subscribe", now_ns=NOW, **more):
        self.session.receive(json.dumps({"op": op, "args": arguments} | more), now_ns)
        return self.take()

    def books(self):
        return self.ask({"channel": "books", "instId": self.symbol})

    def take(self):
        return [f if f == b"pong" else json.loads(f) for f in self.session.frames_to_send()]

    def move(self, now_ns=NOW):
        """Let the first option's book move."""
        previous = self.option.book.change_id
        bids, asks = self.venue.market.move_book(self.option)
        book = self.option.book
        move = BookMove(self.option, book.moves, previous, book.change_id, bids, asks)
        self.session.publish(now_ns, Changes(books=[move]))
        return self.take()

    def second(self, now_ns=NOW):
        self.session.publish(now_ns, Changes(second=True))
        return self.take()


@pytest.fixture
def client(venue):
    return Client(venue)


def test_another_path_is_no_websocket(venue):
    assert venue.session(NOW, "/ws/v5/private") is None


def test_every_argument_has_an_answer_of_its_own_and_then_its_first_message(client):
    wanted = [{"channel": "tickers", "instId": client.symbol}, {"channel": "opt-summary", "instFamily": "BTC-USD"}]
    one, two, ticker, summary = client.ask(*wanted, id="1512")
    assert [(a["id"], a["event"], a["arg"], len(a["connId"])) for a in (one, two)] == [
        ("1512", "subscribe", wanted[0], 8),
        ("1512", "subscribe", wanted[1], 8),
    ]
    assert ticker["arg"] == wanted[0]
    assert [e["instId"] for e in summary["data"]] == [option.symbol for option in client.venue.market.options]
    assert all(isinstance(value, str) for entry in summary["data"] + ticker["data"] for value in entry.values())


def test_what_does_not_exist_is_refused_alone(client):
    error, answer = client.ask({"channel": "books", "instId": "X"}, {"channel": "status"}, id="7")
    assert (error["event"], error["code"], error["id"]) == ("error", "60018", "7")
    assert error["msg"].startswith("Wrong URL or channel:books, instId:X doesn't exist.")
    assert answer["event"] == "subscribe"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"op":"subscribe"}', '{"op":"fly","args":[]}', '{"op":"subscribe","args":[5]}']
)
def test_a_request_that_is_none(client, text):
    client.session.receive(text, NOW)
    (error,) = client.take()
    assert (error["event"], error["code"]) == ("error", "60012")


def test_pings_are_text(client):
    client.session.receive(b"ping", NOW)
    assert client.take() == [b"pong"]


def test_requests_are_counted_by_the_hour(client):
    for n in range(REQUESTS_PER_HOUR):
        assert client.ask({"channel": "status"}, op=("subscribe", "unsubscribe")[n % 2])[0]["event"] != "error"
    assert client.ask({"channel": "status"})[0]["code"] == "60014"
    assert client.ask({"channel": "status"}, now_ns=NOW + 3601 * S)[0]["event"] == "subscribe"


def test_a_book_is_a_snapshot_and_updates_linked_by_number(client):
    _, first = client.books()
    (book,) = first["data"]
    assert (first["action"], book["prevSeqId"], book["checksum"]) == ("snapshot", -1, 0)
    option = client.option
    assert {p: float(s) * option.contract_size for p, s, *_ in book["asks"]} == pytest.approx(
        {f"{price:.10f}".rstrip("0"): size for price, size in client.venue.market.levels(option)[1].items()}
    )
    (update,) = client.move()
    assert (update["action"], update["data"][0]["prevSeqId"]) == ("update", book["seqId"])
    assert update["data"][0]["seqId"] > book["seqId"]


def test_numbers_fall_after_a_reset_and_stay_linked(client):
    last = client.books()[1]["data"][0]["seqId"]
    assert client.session.inject("sequence_reset", NOW, client.option)
    (reset,), (after,) = client.move(), client.move()
    assert reset["data"][0]["prevSeqId"] == last
    assert 0 < reset["data"][0]["seqId"] < last
    assert after["data"][0]["prevSeqId"] == reset["data"][0]["seqId"]


def test_a_quiet_book_says_once_a_minute_that_it_lives(client):
    seq = client.books()[1]["data"][0]["seqId"]
    assert client.second(NOW + 59 * S) == []
    (alive,) = client.second(NOW + 60 * S)
    (data,) = alive["data"]
    assert (data["asks"], data["bids"], data["seqId"], data["prevSeqId"]) == ([], [], seq, seq)


def test_the_listing_over_rest_is_that_of_the_channel(client):
    status, body = client.venue.rest("/api/v5/public/instruments?instType=OPTION&instFamily=BTC-USD", NOW)
    answer = json.loads(body)
    assert (status, answer["code"], len(answer["data"])) == (200, "0", len(client.venue.market.options))
    entry = answer["data"][0]
    assert (entry["ctMult"], entry["ctVal"], entry["instId"]) == ("0.01", "1", client.venue.market.options[0].symbol)
    assert client.ask({"channel": "instruments", "instType": "OPTION"})[1]["data"] == answer["data"]
    assert (
        json.loads(client.venue.rest("/api/v5/public/instruments?instType=OPTION&instFamily=XX", NOW)[1])["code"]
        == "51000"
    )
    assert client.venue.rest("/api/v5/public/instruments?instType=OPTION", NOW)[0] == 400
    assert client.venue.rest("/nothing", NOW)[0] == 404


def test_expired_and_new_options_are_told(client):
    client.ask({"channel": "instruments", "instType": "OPTION"}, {"channel": "books", "instId": client.symbol})
    market = client.venue.market
    market.retire()
    roll = market.advance(NOW + S)
    client.session.publish(NOW + S, Changes(roll=roll))
    states = {e["instId"]: e["state"] for message in client.take() for e in message["data"]}
    assert states == {o.symbol: "expired" for o in roll.expired} | {o.symbol: "live" for o in roll.listed}
    assert client.option not in client.session.follows.books


def test_the_first_trade_is_an_old_one(client):
    argument = {"channel": "option-trades", "instType": "OPTION", "instFamily": "BTC-USD"}
    _, old = client.ask(argument)
    assert old["arg"] == argument
    assert int(old["data"][0]["ts"]) < NOW // 1_000_000 - 3_600_000
    trade = None
    while trade is None:
        trade = client.venue.market.trade()
    client.session.publish(NOW, Changes(trades=(trade,)))
    (message,) = client.take()
    assert message["data"][0]["instId"] == trade.option.symbol
    assert (message["data"][0]["side"], float(message["data"][0]["px"])) == (trade.direction, trade.price)


def test_half_a_minute_without_a_word_ends_it(client):
    client.session.timer(NOW + 29 * S)
    assert client.session.close is None
    assert client.session.deadline_ns() == NOW + 30 * S
    client.session.timer(NOW + 30 * S)
    assert client.session.close == IDLE_CLOSE == (4004, "No data received in 30s")


def test_a_cut_is_announced(client):
    assert client.session.inject("cut", NOW)
    (notice,) = client.take()
    assert (notice["event"], notice["code"]) == ("notice", "64008")
    assert client.session.close is None
    client.session.timer(client.session.deadline_ns())
    assert client.session.close is not None


def test_a_ticker_in_the_most_misleading_notation(client):
    client.ask({"channel": "tickers", "instId": client.symbol}, {"channel": "opt-summary", "instFamily": "BTC-USD"})
    assert client.session.inject("unit_trap", NOW, client.option)
    ticker, summary = client.take()
    assert (ticker["data"][0]["bidPx"], ticker["data"][0]["askPx"]) == ("", "")
    assert (summary["data"][0]["bidVol"], summary["data"][0]["askVol"], summary["data"][0]["delta"]) == ("0", "5", "-∞")


def test_a_subscription_can_be_lost_without_a_word(client):
    assert client.session.inject("silent_drop", NOW)
    assert client.books() == []
    assert len(client.books()) == 2


def test_only_a_storm_of_heartbeats_is_unknown_here(venue):
    refused = []
    for name, fault in FAULTS.items():
        client = Client(venue)
        client.books()
        client.ask({"channel": "tickers", "instId": client.symbol})
        if fault.place == "session" and not client.session.inject(name, NOW, client.option):
            refused.append(name)
    assert refused == ["heartbeat_storm"]
