"""The simulated Derive speaks as documented: fields, channels, errors, limits, and books that are sent every second."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from volsurface.pricing.black76 import black76_price
from volsurface.simulator.derive_protocol import DeriveSession, DeriveVenue
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.venue import BookMove, Changes
from volsurface.simulator.venue_profiles import venue_profile

NOW = int(datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()) * 10**9
S = 10**9

# Written after the venue's documentation and a captured message.
ENTRY_FIELDS = set(
    "amount_step base_asset_address base_asset_sub_id base_currency base_fee instrument_name instrument_type is_active "
    "maker_fee_rate mark_price_fee_rate_cap maximum_amount minimum_amount option_details perp_details quote_currency "
    "scheduled_activation scheduled_deactivation taker_fee_rate tick_size".split()
)
TICKER_FIELDS = set("A B I M a b f maxp minp option_pricing stats t".split())
PRICING_FIELDS = set("ai bi d df f g i m r t v".split())


@pytest.fixture
def venue() -> DeriveVenue:
    market = VenueMarket(("BTC", "ETH"), 4, NOW, venue_profile("derive"), most_expiries=2, most_strikes=3)
    return DeriveVenue(market)


def ask(session: DeriveSession, method: str, params: Any = None, now_ns: int = NOW) -> Any:
    session.receive(json.dumps({"id": "1", "method": method, "params": params or {}}), now_ns)
    answer = json.loads(session.frames_to_send()[-1])
    assert answer["id"] == "1"
    return answer


def said(session: DeriveSession) -> list[tuple[str, Any]]:
    frames = [json.loads(frame) for frame in session.frames_to_send()]
    assert all(frame.keys() == {"method", "params"} for frame in frames)
    return [(frame["params"]["channel"], frame["params"]["data"]) for frame in frames]


def test_the_listing_has_the_documented_fields_and_expires_in_seconds(venue):
    session = venue.session(NOW, "/ws")
    params = {"currency": "BTC", "instrument_type": "option", "expired": False}
    entries = ask(session, "public/get_instruments", params)["result"]
    assert {e["instrument_name"] for e in entries} == {o.symbol for o in venue.market.options if o.underlying == "BTC"}
    for entry in entries:
        assert entry.keys() == ENTRY_FIELDS
        _, date, strike, letter = entry["instrument_name"].split("-")
        details = entry["option_details"]
        assert (float(details["strike"]), details["option_type"]) == (float(strike), letter)
        assert datetime.fromtimestamp(details["expiry"], UTC).strftime("%Y%m%d %H") == date + " 08"
    assert ask(session, "public/get_instruments", params | {"currency": "DOGE"})["error"]["code"] == -32602
    assert ask(session, "public/get_instruments", params | {"instrument_type": "perp"})["result"] == []
    currencies = ask(session, "public/get_all_currencies")["result"]
    assert [(c["currency"], c["instrument_types"]) for c in currencies] == [("BTC", ["option"]), ("ETH", ["option"])]


def test_each_channel_is_answered_for_itself(venue):
    session, symbol = venue.session(NOW), venue.market.options[0].symbol
    good = [f"orderbook.{symbol}.1.20", f"ticker_slim.{symbol}.1000", "spot_feed.BTC", "trades.option.BTC"]
    bad = ["orderbook.BTC-20200101-1-C.1.20", f"orderbook.{symbol}.1.7", "spot_feed.DOGE", "what.ever"]
    result = ask(session, "subscribe", {"channels": good + bad})["result"]
    assert [name for name, status in result["status"].items() if status == "ok"] == good
    assert result["current_subscriptions"] == good
    assert ask(session, "subscribe", {"channels": ["what.ever"]})["error"]["code"] == 13000
    assert ask(session, "subscribe", {"channels": [f"ticker.{symbol}.100"]})["error"]["code"] == -32602
    left = ask(session, "unsubscribe", {"channels": good[:1]})["result"]
    assert left["remaining_subscriptions"] == good[1:]
    assert not session.follows.books
    ask(session, "unsubscribe")
    assert not session.channels
    assert not session.follows.tickers


def test_tickers_are_black_76_on_the_forward(venue):
    session = venue.session(NOW)
    options = venue.market.options
    ask(session, "subscribe", {"channels": [f"ticker_slim.{option.symbol}.100" for option in options]})
    assert session.publish(NOW, Changes(tickers=options)) == len(options)
    for (channel, data), option in zip(said(session), options, strict=True):
        assert channel == f"ticker_slim.{option.symbol}.100"
        ticker, pricing = data["instrument_ticker"], data["instrument_ticker"]["option_pricing"]
        assert (ticker.keys(), pricing.keys()) == (TICKER_FIELDS, PRICING_FIELDS)
        years = (option.expiry.expiry_ns - ticker["t"] * 1_000_000) / 1e9 / 86400 / 365
        price = black76_price(float(pricing["f"]), option.strike, years, float(pricing["i"]), option.right)
        assert float(ticker["M"]) == pytest.approx(float(price), abs=0.05)
        for price_key, vol_key in (("b", "bi"), ("a", "ai")):
            if float(ticker[price_key]) == 0:
                assert (ticker[price_key], pricing[vol_key]) == ("0", "0")


def test_a_book_is_sent_whole_when_it_moves_and_every_second(venue):
    session = venue.session(NOW)
    option = next(o for o in venue.market.options if o.book.bids and o.book.asks)
    ask(session, "subscribe", {"channels": [f"orderbook.{option.symbol}.1.20", f"orderbook.{option.symbol}.1.1"]})
    previous = option.book.change_id
    venue.market.advance(NOW + S)
    bids, asks = venue.market.move_book(option)
    change = BookMove(option, option.book.moves, previous, option.book.change_id, bids, asks)
    assert session.publish(NOW + S, Changes(books=(change,))) == 2
    (_, whole), (_, top) = said(session)
    wanted = venue.market.levels(option)
    assert tuple({float(p): float(q) for p, q in whole[side]} for side in ("bids", "asks")) == wanted
    assert float(top["bids"][0][0]) == max(wanted[0])
    assert len(top["asks"]) == 1
    session.publish(NOW + S, Changes(second=True))
    assert said(session) == []  # it was sent in this second
    session.publish(NOW + 2 * S, Changes(second=True))
    again = said(session)
    assert again[0][1]["publish_id"] > whole["publish_id"]
    assert again[0][1]["bids"] == whole["bids"]


def test_the_spot_feed_and_trades(venue):
    session = venue.session(NOW)
    ask(session, "subscribe", {"channels": ["spot_feed.BTC", "trades.option.BTC"]})
    trade = next(t for t in iter(venue.market.trade, 0) if t is not None and t.option.underlying == "BTC")
    session.publish(NOW, Changes(trades=(trade,), second=True))
    (_, feed), (_, (told,)) = said(session)
    assert float(feed["feeds"]["BTC"]["price"]) == pytest.approx(venue.market.index("BTC"), abs=1e-3)
    assert (float(told["trade_price"]), float(told["trade_amount"])) == (trade.price, trade.amount)
    assert told["direction"] == trade.direction


@pytest.mark.parametrize(
    ("frame", "code"), [("{", -32700), ("[]", -32600), ('{"id":1,"method":"no"}', -32601), ('{"id":1,"method":"subscribe","params":{}}', -32602)]
)  # fmt: skip
def test_errors(venue, frame, code):
    session = venue.session(NOW)
    session.receive(frame, NOW)
    assert json.loads(session.frames_to_send()[0])["error"]["code"] == code


def test_ping_is_answered_and_too_many_calls_are_refused(venue):
    session = venue.session(NOW)
    session.receive("ping", NOW)
    assert session.frames_to_send() == [b"pong"]
    for _ in range(25):
        assert "result" in ask(session, "public/get_time")
    assert ask(session, "public/get_time")["error"]["code"] == -32000
    assert "result" in ask(session, "public/get_time", now_ns=NOW + 6 * S)


def test_channels_of_expired_options_end_without_a_word(venue):
    session = venue.session(NOW)
    ask(session, "subscribe", {"channels": [f"orderbook.{o.symbol}.1.20" for o in venue.market.options]})
    venue.market.retire()
    roll = venue.market.advance(NOW + S)
    assert roll.expired
    session.publish(NOW + S, Changes(roll=roll))
    assert said(session) == []
    assert not set(roll.expired) & set(session.follows.books)
    assert venue.rest("/public/get_instruments", NOW)[0] == 404
    assert venue.session(NOW, "/other") is None
