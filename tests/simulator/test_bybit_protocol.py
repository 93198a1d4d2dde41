"""The simulated Bybit, message by message: what the venue's documents say of it."""

import json

import pytest

from volsurface.simulator.bybit_protocol import MAX_LETTERS, PATH, BybitVenue
from volsurface.simulator.fault_table import FAULTS
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.venue import BookMove, Changes
from volsurface.simulator.venue_profiles import venue_profile

S = 1_000_000_000
NOW = 1_790_133_840 * S
LISTING = "/v5/market/instruments-info?category=option&baseCoin=BTC"


@pytest.fixture
def venue():
    return BybitVenue(VenueMarket(("BTC",), 7, NOW, venue_profile("bybit"), most_expiries=1, most_strikes=2))


class Client:
    """A session and the decoded messages it has sent."""

    def __init__(self, venue):
        self.venue, self.session = venue, venue.session(NOW, PATH)
        self.option = next(o for o in venue.market.options if o.book.best_bid and o.book.best_ask)
        self.symbol = self.option.symbol
        self.book = f"orderbook.25.{self.symbol}"

    def ask(self, *topics, op="subscribe"):
        self.session.receive(json.dumps({"req_id": "1", "op": op, "args": topics}), NOW)
        return self.take()

    def take(self):
        return [json.loads(frame) for frame in self.session.frames_to_send()]

    def move(self):
        """Let the first option's book move."""
        previous = self.option.book.change_id
        bids, asks = self.venue.market.move_book(self.option)
        book = self.option.book
        move = BookMove(self.option, book.moves, previous, book.change_id, bids, asks)
        self.session.publish(NOW, Changes(books=[move]))
        return self.take()


@pytest.fixture
def client(venue):
    return Client(venue)


def test_another_path_is_no_websocket(venue):
    assert venue.session(NOW, "/v5/public/linear") is None


def test_an_answer_names_topics_and_not_the_request(client):
    answer, snapshot = client.ask(client.book, "tickers.nobody", "publicTrade.XXX")
    assert answer["type"] == "COMMAND_RESP"
    assert answer["data"] == {"failTopics": ["tickers.nobody", "publicTrade.XXX"], "successTopics": [client.book]}
    assert "req_id" not in answer
    assert (snapshot["topic"], snapshot["type"], list(snapshot)[-2:]) == (client.book, "snapshot", ["type", "cts"])


def test_a_book_is_a_snapshot_and_deltas_numbered_one_after_the_other(client):
    data = client.ask(client.book)[1]["data"]
    assert {float(p): float(s) for p, s in data["a"]} == client.venue.market.levels(client.option)[1]
    deltas = [client.move()[0] for _ in range(3)]
    assert [d["type"] for d in deltas] == ["delta"] * 3
    assert [d["data"]["u"] - data["u"] for d in deltas] == [1, 2, 3]


def test_after_a_restart_the_whole_book_has_the_number_one(client):
    client.ask(client.book)
    for _ in range(3):
        client.move()
    assert client.session.inject("sequence_reset", NOW, client.option)
    (restart,), (delta,) = client.take(), client.move()
    assert (restart["type"], restart["data"]["u"]) == ("snapshot", 1)
    assert (delta["type"], delta["data"]["u"]) == ("delta", 2)


def test_tickers_are_whole_and_all_their_values_text(client):
    _, ticker = client.ask(f"tickers.{client.symbol}")
    assert ticker["type"] == "snapshot"
    assert all(isinstance(value, str) for value in ticker["data"].values())
    assert 0 < float(ticker["data"]["markPriceIv"]) < 5
    assert float(ticker["data"]["markPrice"]) == pytest.approx(client.venue.market.mark(client.option), abs=1e-8)


def test_nothing_is_told_as_nought(client):
    client.ask(f"tickers.{client.symbol}")
    assert client.session.inject("unit_trap", NOW, client.option)
    (ticker,) = client.take()
    assert set(ticker["data"].values()) == {client.symbol, "0"}


def test_pings_are_json(client):
    client.session.receive(b'{"req_id":"100001","op":"ping"}', NOW)
    (pong,) = client.take()
    assert (pong["op"], pong["req_id"]) == ("pong", "100001")


@pytest.mark.parametrize("text", ["{", "[]", "5", '{"op":"fly"}', "{}"])
def test_a_request_that_is_none(client, text):
    client.session.receive(text, NOW)
    (error,) = client.take()
    assert error["success"] is False


def test_a_connection_has_room_for_so_many_letters():
    market = VenueMarket(("BTC", "ETH"), 7, NOW, venue_profile("bybit"))
    client = Client(BybitVenue(market))
    topics = [f"orderbook.25.{option.symbol}" for option in market.options]
    assert sum(len(topic) + 3 for topic in topics) > MAX_LETTERS
    answer = client.ask(*topics)[0]
    granted, failed = answer["data"]["successTopics"], answer["data"]["failTopics"]
    assert sum(len(topic) + 3 for topic in granted) <= MAX_LETTERS
    assert granted + failed == topics
    client.ask(*granted[:5], op="unsubscribe")
    assert client.ask(*failed[:5])[0]["data"]["failTopics"] == []


def test_the_listing_comes_in_pages(client):
    found, cursor = [], ""
    while True:
        status, body = client.venue.rest(f"{LISTING}&limit=3&cursor={cursor}", NOW)
        result = json.loads(body)["result"]
        assert status == 200
        assert len(result["list"]) <= 3
        found += [entry["symbol"] for entry in result["list"]]
        cursor = result["nextPageCursor"]
        if not cursor:
            break
    assert found == [option.symbol for option in client.venue.market.options]
    assert {entry["settleCoin"] for entry in result["list"]} == {"USDT"}


def test_questions_that_are_none(client):
    for target in ("/v5/market/instruments-info?category=spot", f"{LISTING}&cursor=0%2Cx", f"{LISTING}&limit=x"):
        status, body = client.venue.rest(target, NOW)
        assert (status, json.loads(body)["retCode"]) == (200, 10001)
    assert client.venue.rest("/nothing", NOW)[0] == 404
    assert json.loads(client.venue.rest("/v5/market/time", NOW)[1])["result"]["timeNano"] == str(NOW)


def test_trades_come_by_coin(client):
    client.ask("publicTrade.BTC")
    trade = None
    while trade is None:
        trade = client.venue.market.trade()
    client.session.publish(NOW, Changes(trades=(trade,)))
    (message,) = client.take()
    (data,) = message["data"]
    assert (data["s"], float(data["p"]), data["S"]) == (trade.option.symbol, trade.price, trade.direction.capitalize())


def test_ten_minutes_without_a_word_end_it(client):
    client.session.timer(NOW + 599 * S)
    assert client.session.close is None
    client.session.timer(client.session.deadline_ns())
    assert client.session.close == (1006, "")


def test_expired_options_are_gone_without_a_word(client):
    client.ask(client.book)
    market = client.venue.market
    market.retire()
    client.session.publish(NOW + S, Changes(roll=market.advance(NOW + S)))
    assert client.take() == []
    assert client.option not in client.session.follows.books
    assert client.ask(client.book)[0]["data"]["failTopics"] == [client.book]


def test_a_subscription_can_be_lost_without_a_word(client):
    assert client.session.inject("silent_drop", NOW)
    assert client.ask(client.book)[0]["data"] == {"failTopics": [], "successTopics": []}
    assert len(client.ask(client.book)) == 2


def test_only_a_storm_of_heartbeats_is_unknown_here(venue):
    refused = []
    for name, fault in FAULTS.items():
        client = Client(venue)
        client.ask(client.book, f"tickers.{client.symbol}")
        if fault.place == "session" and not client.session.inject(name, NOW, client.option):
            refused.append(name)
    assert refused == ["heartbeat_storm"]
