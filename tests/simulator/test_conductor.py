"""A venue in simulated seconds: what is counted here is what a client would receive."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from volsurface.simulator.deribit_limits import Limits
from volsurface.simulator.deribit_protocol import DeribitVenue
from volsurface.simulator.link import Link
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.venue_host import VenueHost

NOW = int(datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()) * 10**9


class Listener:
    """One client of the venue, and all the market data it has received: (channel, data)."""

    def __init__(self, host: VenueHost) -> None:
        link = host.join(host.market.now_ns)
        assert link is not None
        self.link: Link = link
        self.frames: list[bytes] = []

    def join(self, channels: list[str], now_ns: int) -> None:
        self.link.receive(json.dumps({"method": "public/subscribe", "params": {"channels": channels}}), now_ns)
        self.link.frames_due(now_ns + 10**9)

    def received(self) -> list[tuple[str, dict]]:
        params = [message["params"] for message in map(json.loads, self.frames) if "params" in message]
        return [(param["channel"], param["data"]) for param in params]


class Scene:
    """A venue and one listener, stepped by hand."""

    def __init__(self, rate: float, *topics: str) -> None:
        venue = DeribitVenue(VenueMarket(("BTC",), 2, NOW), Limits(refill_per_s=1e9))
        self.host = VenueHost(venue, rate=rate)
        self.market = self.host.market
        self.listener = Listener(self.host)
        self.now = NOW
        channels = [f"{topic}.{option.symbol}.100ms" for option in self.market.options for topic in topics]
        if channels:
            self.listener.join(channels, self.now)

    def run(self, seconds: float, tick_s: float = 0.005) -> None:
        for _ in range(round(seconds / tick_s)):
            self.host.step(self.now)
            for link in self.host.links:
                if link is self.listener.link:
                    self.listener.frames += link.frames_due(self.now + 10**9)
            self.now += round(tick_s * 1e9)


@pytest.mark.parametrize("rate", [50.0, 1234.0, 20_000.0])
def test_exactly_the_asked_rate_is_published(rate: float) -> None:
    scene = Scene(rate, "ticker", "book")
    scene.run(2.0)
    assert abs(len(scene.listener.frames) - 2.0 * rate) <= 1 + 0.006 * rate
    assert scene.host.conductor.published == len(scene.listener.frames)


def test_seven_of_ten_messages_are_tickers() -> None:
    scene = Scene(10_000.0, "ticker", "book")
    scene.run(1.0)
    kinds = Counter(channel.partition(".")[0] for channel, _ in scene.listener.received())
    assert kinds["ticker"] / sum(kinds.values()) == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("topic", ["ticker", "book"])
def test_one_kind_alone_gets_the_whole_rate(topic: str) -> None:
    scene = Scene(4000.0, topic)
    scene.run(1.0)
    assert abs(len(scene.listener.frames) - 4000) <= 41


def test_no_instrument_starves_and_changed_ones_go_first() -> None:
    scene = Scene(5000.0, "ticker")
    scene.run(0.2)
    scene.listener.frames.clear()
    count = len(scene.market.options)
    scene.run(6 * count / 5000.0)
    turns = Counter(channel for channel, _ in scene.listener.received())
    assert len(turns) == count
    changing = [
        turns[f"ticker.{o.symbol}.100ms"] for o in scene.market.options if abs(scene.market.mark(o) - 0.05) < 0.04
    ]
    quiet = [turns[f"ticker.{o.symbol}.100ms"] for o in scene.market.options if scene.market.mark(o) < 1e-4]
    assert sum(changing) / len(changing) > sum(quiet) / len(quiet)


def test_nothing_is_published_to_nobody_and_nothing_is_made_up_for_later() -> None:
    scene = Scene(1000.0)
    scene.run(3.0)
    scene.listener.join([f"ticker.{scene.market.options[100].symbol}.100ms"], scene.now)
    scene.run(0.5)
    assert 300 <= len(scene.listener.frames) <= 510


def test_a_stall_is_not_made_up_for() -> None:
    scene = Scene(1000.0, "ticker")
    scene.run(0.5)
    before = len(scene.listener.frames)
    scene.now += 60 * 10**9
    scene.run(0.005)
    assert len(scene.listener.frames) - before <= 260


def test_a_ticker_says_what_stands_in_the_book() -> None:
    scene = Scene(20_000.0, "ticker", "book")
    best: dict[str, tuple[float, float]] = {}
    books: dict[str, tuple[dict, dict]] = {
        o.symbol: ({p * 1e-4: 1 for p in o.book.bids}, {p * 1e-4: 1 for p in o.book.asks}) for o in scene.market.options
    }
    scene.run(1.0)
    compared = 0
    for channel, data in scene.listener.received():
        name = data["instrument_name"]
        if channel.startswith("book"):
            for levels, side in zip((data["bids"], data["asks"]), books[name]):
                for action, price, _ in levels:
                    if action == "delete":
                        del side[min(side, key=lambda p: abs(p - price))]
                    elif action == "new":
                        side[price] = 1
            best[name] = (max(books[name][0], default=0.0), min(books[name][1], default=0.0))
        elif name in best:
            assert (data["best_bid_price"], data["best_ask_price"]) == pytest.approx(best[name], abs=1e-9)
            compared += 1
    assert compared > 1000


def test_an_injected_gap_loses_one_change_of_one_book() -> None:
    scene = Scene(4000.0, "book")
    option = scene.market.options[150]
    scene.run(1.0)
    assert scene.host.faults.inject("gap", scene.now, option=option)
    scene.run(2.0)
    gaps = Counter()
    last: dict[str, int] = {}
    for _, data in scene.listener.received():
        name = data["instrument_name"]
        gaps[name] += name in last and data["prev_change_id"] != last[name]
        last[name] = data["change_id"]
    assert +gaps == {option.symbol: 1}
