"""The simulated Binance speaks as documented: fields, paths, limits, errors, and numbers that agree with each other."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from volsurface.pricing.black76 import black76_price
from volsurface.simulator.binance_protocol import LIFE_S, BinanceSession, BinanceVenue
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.venue import BookMove, Changes
from volsurface.simulator.venue_profiles import venue_profile

NOW = int(datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()) * 10**9
S = 10**9

# Written after the venue's documentation.
MARK_FIELDS = set("s mp E e i P bo ao bq aq b a hl ll vo rf d t g v".split())
DEPTH_FIELDS = set("e E T s U u pu b a".split())
QUOTE_FIELDS = set("e u s b B a A T E".split())
TRADE_FIELDS = set("e E T s t p q X S m".split())
SYMBOL_FIELDS = set(
    "expiryDate filters symbol side strikePrice underlying unit liquidationFeeRate minQty maxQty initialMargin "
    "maintenanceMargin minInitialMargin minMaintenanceMargin priceScale quantityScale quoteAsset status".split()
)


@pytest.fixture
def venue() -> BinanceVenue:
    market = VenueMarket(("BTC", "ETH"), 4, NOW, venue_profile("binance"), most_expiries=2, most_strikes=3)
    return BinanceVenue(market)


def ask(session: BinanceSession, method: str, params: list[str] | None = None, now_ns: int = NOW) -> Any:
    call: dict[str, Any] = {"method": method, "id": 7}
    session.receive(json.dumps(call if params is None else call | {"params": params}), now_ns)
    return json.loads(session.frames_to_send()[-1])


def said(session: BinanceSession) -> list[tuple[str, Any]]:
    return [(frame["stream"], frame["data"]) for frame in map(json.loads, session.frames_to_send())]


def move(venue: BinanceVenue, now_ns: int) -> BookMove:
    option = next(o for o in venue.market.options if o.book.bids and o.book.asks)
    previous = option.book.change_id
    venue.market.advance(now_ns)
    bids, asks = venue.market.move_book(option)
    return BookMove(option, option.book.moves, previous, option.book.change_id, bids, asks)


def test_the_listing_has_the_documented_fields(venue):
    status, body = venue.rest("/eapi/v1/exchangeInfo", NOW)
    info = json.loads(body)
    assert status == 200
    assert [c["baseAsset"] for c in info["optionContracts"]] == ["BTC", "ETH"]
    assert {entry["symbol"] for entry in info["optionSymbols"]} == set(venue.market.by_symbol)
    for entry in info["optionSymbols"]:
        assert entry.keys() == SYMBOL_FIELDS
        base, date, strike, letter = entry["symbol"].split("-")
        assert (entry["underlying"], entry["side"]) == (f"{base}USDT", {"C": "CALL", "P": "PUT"}[letter])
        assert float(entry["strikePrice"]) == float(strike)
        assert datetime.fromtimestamp(entry["expiryDate"] / 1000, UTC).strftime("%y%m%d %H") == date + " 08"


def test_marks_are_black_76_on_the_index(venue):
    session = venue.session(NOW, "/market/stream")
    assert ask(session, "SUBSCRIBE", ["btcusdt@optionMarkPrice", "!index@arr"]) == {"result": None, "id": 7}
    session.publish(NOW, Changes(second=True))
    frames = dict(said(session))
    index = next(float(entry["p"]) for entry in frames["!index@arr"] if entry["s"] == "BTCUSDT")
    marks = frames["btcusdt@optionMarkPrice"]
    assert len(marks) == sum(option.underlying == "BTC" for option in venue.market.options)
    for entry in marks:
        assert entry.keys() == MARK_FIELDS
        option = venue.market.by_symbol[entry["s"]]
        years = (option.expiry.expiry_ns - entry["E"] * 1_000_000) / 1e9 / 86400 / 365
        assert float(entry["i"]) == pytest.approx(index)
        price = black76_price(index, option.strike, years, float(entry["vo"]), option.right)
        intrinsic = max(0.0, option.right * (index - option.strike))
        if float(entry["mp"]) > intrinsic + 1.0:  # else no vol on the index explains the price
            assert float(entry["mp"]) == pytest.approx(float(price), abs=1e-2)
        for price_key, vol_key in (("bo", "b"), ("ao", "a")):
            if float(entry[price_key]) == 0:
                assert (entry[price_key], entry[vol_key]) == ("0.000", "-1.0")


def test_a_change_carries_the_chain_and_the_snapshot_its_end(venue):
    session = venue.session(NOW, "/public/stream")
    symbols = [option.symbol for option in venue.market.options]
    ask(
        session,
        "SUBSCRIBE",
        [f"{s.lower()}@depth@100ms" for s in symbols] + [f"{s.lower()}@bookTicker" for s in symbols],
    )
    change = move(venue, NOW + S)
    assert session.publish(NOW + S, Changes(books=(change,))) == 2
    (_, diff), (_, quote) = said(session)
    assert (diff.keys(), quote.keys()) == (DEPTH_FIELDS, QUOTE_FIELDS)
    assert diff["pu"] == change.previous_id < diff["U"] <= diff["u"] == quote["u"] == change.change_id
    status, body = venue.rest(f"/eapi/v1/depth?symbol={change.option.symbol}&limit=50", NOW + S)
    depth = json.loads(body)
    assert (status, depth["lastUpdateId"]) == (200, diff["u"])
    bids, asks = venue.market.levels(change.option)
    assert [{float(p): float(q) for p, q in depth[side]} for side in ("bids", "asks")] == [bids, asks]
    assert [(float(quote["b"]), float(quote["a"]))] == [(max(bids), min(asks))]


def test_a_stream_that_does_not_exist_is_acknowledged_and_silent(venue):
    session = venue.session(NOW, "/market/stream")
    symbol = venue.market.options[0].symbol
    names = [
        "btcusdt@optionmarkprice",
        "BTCUSDT@optionMarkPrice",
        f"{symbol}@depth@100ms",
        f"{symbol.lower()}@depth@100ms",
    ]
    assert ask(session, "SUBSCRIBE", names)["result"] is None  # the last one belongs to the other path
    assert ask(session, "LIST_SUBSCRIPTIONS")["result"] == names
    session.publish(NOW, Changes(second=True))
    assert said(session) == []
    assert not session.follows.books


def test_unsubscribing_ends_a_stream(venue):
    session = venue.session(NOW)
    symbol = venue.market.options[0].symbol.lower()
    ask(session, "SUBSCRIBE", [f"{symbol}@depth@100ms", f"{symbol}@bookTicker", "btcusdt@optionMarkPrice"])
    ask(session, "UNSUBSCRIBE", [f"{symbol}@depth@100ms"])
    assert venue.market.options[0] in session.follows.books
    ask(session, "UNSUBSCRIBE", [f"{symbol}@bookTicker", "btcusdt@optionMarkPrice"])
    assert not session.follows.books
    assert not session.follows.tickers


def test_trades_and_open_interest_have_the_documented_fields(venue):
    session = venue.session(NOW)
    coin, date = venue.market.options[0].symbol.split("-")[:2]
    ask(session, "SUBSCRIBE", [f"{coin.lower()}usdt@optionTrade", f"{coin.lower()}usdt@optionOpenInterest@{date}"])
    trade = next(t for t in iter(venue.market.trade, 0) if t is not None and t.option.underlying == coin)
    for _ in range(2):
        session.publish(NOW, Changes(second=True))
    session.publish(NOW, Changes(trades=(trade,)))
    (_, interest), (_, told) = said(session)
    assert {entry["s"] for entry in interest} == {s for s in venue.market.by_symbol if s.startswith(f"{coin}-{date}-")}
    assert told.keys() == TRADE_FIELDS
    assert (float(told["p"]), told["m"]) == (trade.price, trade.direction == "sell")


@pytest.mark.parametrize("frame", ["{", "[]", '{"method":"NO","id":1}', '{"method":"SUBSCRIBE","params":7,"id":1}'])
def test_errors_do_not_say_what_they_are_about(venue, frame):
    session = venue.session(NOW)
    session.receive(frame, NOW)
    (answer,) = map(json.loads, session.frames_to_send())
    assert answer.keys() == {"code", "msg"}


def test_more_streams_than_allowed_are_refused(venue):
    session = venue.session(NOW)
    assert ask(session, "SUBSCRIBE", [f"x{n}@depth@100ms" for n in range(200)])["result"] is None
    assert ask(session, "SUBSCRIBE", ["one@more"])["code"] == 2


def test_more_than_ten_calls_a_second_end_the_session(venue):
    session = venue.session(NOW)
    for n in range(10):
        ask(session, "LIST_SUBSCRIPTIONS", now_ns=NOW + n)
    assert session.close is None
    session.receive('{"method":"LIST_SUBSCRIPTIONS","id":1}', NOW + S - 1)
    assert session.close is not None


def test_a_connection_lives_a_day(venue):
    session = venue.session(NOW)
    assert session.deadline_ns() == NOW + LIFE_S * S
    session.timer(NOW + LIFE_S * S)
    assert session.close == (1006, "")


def test_requests_have_weights_and_errors(venue):
    symbol = venue.market.options[0].symbol
    assert venue.rest("/eapi/v1/depth?symbol=X&limit=50", NOW)[0] == 400
    assert venue.rest(f"/eapi/v1/depth?symbol={symbol}&limit=7", NOW)[0] == 400
    assert venue.rest("/eapi/v1/nothing", NOW)[0] == 404
    statuses = [venue.rest(f"/eapi/v1/depth?symbol={symbol}&limit=1000", NOW)[0] for _ in range(125)]
    assert statuses.count(200) == (2400 - 3) // 20
    assert venue.rest("/eapi/v1/exchangeInfo", NOW + 61 * S)[0] == 200


def test_there_is_nothing_at_the_old_path(venue):
    assert venue.session(NOW, "/eoptions/stream") is None
    assert venue.session(NOW, "/stream?streams=") is not None


def test_a_new_option_is_told_where_that_is_asked_for(venue):
    session = venue.session(NOW)
    ask(session, "SUBSCRIBE", ["!optionSymbol", "btcusdt@optionMarkPrice", "ethusdt@optionMarkPrice"])
    venue.market.add_strike()
    roll = venue.market.advance(NOW + S)
    session.publish(NOW + S, Changes(roll=roll))
    assert {data["s"] for _, data in said(session)} == {option.symbol for option in roll.listed}
    assert set(roll.listed) <= set(session.follows.tickers)
