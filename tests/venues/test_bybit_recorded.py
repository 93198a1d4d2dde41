"""Recorded Bybit messages and listings decode to the values they carry, each against a second, plain reading."""

import json
import math
from datetime import UTC, datetime

import pytest
from bybit_script import BybitScript, entry
from rest_script import MS, S

from volsurface.market.instrument import CALL, PUT

pytestmark = pytest.mark.recorded
NAN = math.nan
AT_2023 = 1_672_917_511 * S


def frames(recorded):
    """Return the recorded messages with their decoded form; the example of the documentation is one of them."""
    lines = (recorded / "samples/bybit/tardis_node_options_v5_fixtures.jsonl").read_bytes().splitlines()
    lines.append((recorded / "samples/bybit/nautilus/ws_ticker_option.json").read_bytes())
    return [(json.loads(line), line) for line in lines]


def expiry_of(symbol):
    return datetime.strptime(symbol.split("-")[1], "%d%b%y").replace(hour=8, tzinfo=UTC)


def opened(messages):
    names = {message["data"]["s"] for message in messages if message["topic"].startswith("orderbook")}
    names |= {message["data"]["symbol"] for message in messages if message["topic"].startswith("tickers")}
    names |= {
        each["s"] for message in messages if message["topic"].startswith("publicTrade") for each in message["data"]
    }
    entries = [entry(name, deliveryTime=str(round(expiry_of(name).timestamp() * 1000))) for name in sorted(names)]
    coins = ("BTC", "ETH", "SOL")
    return BybitScript(entries, underlyings=coins, channels=("ticker", "book", "trades")).open(AT_2023)


def number(text):
    return NAN if text == "0" else float(text)


def test_recorded_messages_of_options(recorded):
    both = frames(recorded)
    script = opened([message for message, _ in both])
    sink, codec = script.sink, script.codec
    books: dict[str, tuple[dict[float, float], dict[float, float]]] = {}
    for message, frame in both:
        script.receive(frame, now_ns=AT_2023 + S)
        data = message["data"]
        if message["topic"].startswith("tickers"):
            row = sink.last("ticker")
            names = {
                "bid": "bidPrice", "ask": "askPrice", "bid_sz": "bidSize", "ask_sz": "askSize", "mark": "markPrice",
                "iv_bid": "bidIv", "iv_ask": "askIv", "iv_mark": "markPriceIv", "fwd": "underlyingPrice",
                "index": "indexPrice", "oi": "openInterest",
            }  # fmt: skip
            wanted = {mine: number(data[theirs]) for mine, theirs in names.items()}
            assert {name: row[name] for name in wanted} == pytest.approx(wanted, nan_ok=True, rel=0, abs=0)
            assert (sink.directory[row["iid"]].symbol, row["ts_venue_ns"]) == (data["symbol"], message["ts"] * MS)
        elif message["topic"].startswith("orderbook"):
            bids, asks = books[data["s"]] = books.get(data["s"], ({}, {}))
            for side, levels in ((bids, data["b"]), (asks, data["a"])):
                for price, size in levels:
                    side[float(price)] = float(size)
                for price in [p for p, size in side.items() if not size]:
                    del side[price]
            iid = sink.directory.iid("bybit", data["s"])
            assert codec.depth(iid, 25) == (sorted(bids.items(), reverse=True), sorted(asks.items()))
            assert sink.last("book_top")["seq"] == data["u"]
        else:
            (trade,) = sink.events("trade")
            assert (trade["value"], trade["size"]) == (float(data[0]["p"]), -float(data[0]["v"]))
    assert (codec.rejected, codec.gaps, len(codec.books)) == (0, 0, 2)


def normal(x):
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def test_recorded_vols_reproduce_marks_and_greeks(recorded):
    """Undiscounted Black-76 on `underlyingPrice`, ACT/365 to 08:00 UTC; the vol is told to a hundredth of a point."""
    checked = 0
    for message, _ in frames(recorded):
        if not message["topic"].startswith("tickers"):
            continue
        data = message["data"]
        value = {name: float(text) for name, text in data.items() if name != "symbol"}
        _, _, strike, letter = data["symbol"].split("-")
        right, k, forward, vol = (
            {"C": 1, "P": -1}[letter],
            float(strike),
            value["underlyingPrice"],
            value["markPriceIv"],
        )
        days = (expiry_of(data["symbol"]).timestamp() - message["ts"] / 1000) / 86400
        std_dev = vol * math.sqrt(days / 365)
        d1 = math.log(forward / k) / std_dev + 0.5 * std_dev
        density = math.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi)
        vega = forward * density * math.sqrt(days / 365) / 100
        mark = right * (forward * normal(right * d1) - k * normal(right * (d1 - std_dev)))
        last_day = min(1.0, days)  # both are scaled by what is left of the last day
        assert mark == pytest.approx(value["markPrice"], abs=0.01 * vega)
        assert right * normal(right * d1) == pytest.approx(value["delta"], rel=1e-3)
        assert vega == pytest.approx(value["vega"], rel=1e-3)
        assert last_day * density / (forward * std_dev) == pytest.approx(value["gamma"], rel=2e-3)
        theta = -forward * density * vol / (2 * math.sqrt(days / 365)) / 365
        assert last_day * theta == pytest.approx(value["theta"], rel=2e-3)
        checked += 1
    assert checked == 3


@pytest.mark.parametrize(
    ("file", "symbol", "right", "strike", "tick"),
    [
        ("http_get_instruments_option.json", "ETH-26JUN26-16000-P", PUT, 16000.0, 0.1),
        ("http_get_instruments_option_symbol_id.json", "BTC-30JUN25-100000-C", CALL, 100000.0, 5.0),
    ],
)
def test_listings_of_the_documentation(recorded, file, symbol, right, strike, tick):
    body = (recorded / "samples/bybit/nautilus" / file).read_bytes()
    script = BybitScript([], underlyings=(symbol.split("-")[0],))
    script.http = lambda request: (200, body)
    script.open(AT_2023)
    (instrument,) = script.sink.directory
    assert (instrument.symbol, instrument.right, instrument.strike, instrument.tick_size) == (
        symbol,
        right,
        strike,
        tick,
    )
    assert script.codec.rejected == 0


def test_an_answer_of_the_documentation_to_nothing_that_was_asked_changes_nothing(recorded):
    script = opened([message for message, _ in frames(recorded)])
    subscribed = script.codec.subscribed
    for name in ("ws_subscription_ack.json", "ws_subscription_failure.json"):
        script.receive((recorded / "samples/bybit/nautilus" / name).read_bytes())
    assert (script.codec.subscribed, script.codec.rejected) == (subscribed, 0)
