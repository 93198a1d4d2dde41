from datetime import UTC, datetime

import numpy as np
import pytest

from volsurface.pricing.black76 import black76_price
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.order_book import PRICE_UNIT

S = 10**9
NOW = int(datetime(2026, 11, 20, 7, 59, 58, tzinfo=UTC).timestamp()) * S


@pytest.fixture(scope="module")
def market() -> VenueMarket:
    return VenueMarket(("BTC", "ETH"), 3, NOW - 3600 * S)


def moved(market: VenueMarket, seconds: int) -> VenueMarket:
    for step in range(1, seconds * 10 + 1):
        market.advance(market.now_ns + S // 10)
        if step % 3 == 0:
            for option in market.changed():
                market.move_book(option)
    return market


def test_each_underlying_lists_as_many_options_as_the_real_one(market: VenueMarket) -> None:
    for name in market.underlyings:
        options = [option for option in market.options if option.underlying == name]
        assert 600 <= len(options) <= 1000
        assert {option.right for option in options} == {1, -1}
    assert len(market.by_symbol) == len(market.options)
    assert [option.row for option in market.options] == list(range(len(market.options)))


def test_marks_are_the_black_76_prices_of_the_true_surface(market: VenueMarket) -> None:
    for option in market.options[::37]:
        smiles = market.smiles[option.underlying]
        row = int(np.searchsorted(smiles.expiry_ns, option.expiry.expiry_ns))
        forward, years = smiles.forward[row], smiles.years[row]
        vol = smiles.vol(np.array(row), np.array(option.strike))
        price = black76_price(forward, option.strike, years, vol, option.right) / forward
        assert market.true_vol(option) == pytest.approx(float(vol), rel=1e-12)
        assert market.mark(option) == pytest.approx(float(price), rel=1e-12)


def test_quotes_surround_the_true_price_without_leaning(market: VenueMarket) -> None:
    options = market.options
    bid = np.array([option.book.best_bid for option in options]) * PRICE_UNIT
    ask = np.array([option.book.best_ask for option in options]) * PRICE_UNIT
    mark = np.array([market.mark(option) for option in options])
    both = (bid > 0) & (ask > 0)
    assert np.mean((bid <= mark) & (mark <= ask), where=both) > 0.99
    middle = (bid + ask) / 2
    lean = (middle - mark)[both] / (ask - bid)[both]
    assert abs(lean.mean()) < 0.04
    assert 0.02 < (bid == 0).mean() < 0.15
    assert 0.005 < (ask == 0).mean() < 0.05
    assert ((bid == 0) & (ask == 0)).any()


def test_mid_vols_are_close_to_the_true_vols(market: VenueMarket) -> None:
    """What a fit can hope for: median error of out-of-the-money mids within 20 bp, beyond a day."""
    options = [
        option
        for option in market.options
        if option.book.best_bid and option.book.best_ask
        and (option.strike >= market.smiles[option.underlying].spot) == (option.right > 0)
        and option.expiry.expiry_ns - NOW > 86400 * S
    ]  # fmt: skip
    values = market.tickers(options)
    errors = np.array([(b + a) / 2 - iv for b, a, iv in zip(values.bid_iv, values.ask_iv, values.mark_iv) if b and a])
    assert np.median(np.abs(errors)) < 0.20
    assert abs(np.median(errors)) < 0.05


def test_the_same_seed_and_steps_give_the_same_market() -> None:
    one, two, other = (moved(VenueMarket(("BTC",), seed, NOW - 3600 * S), 2) for seed in (5, 5, 6))
    state = [[(o.symbol, o.book.bids, o.book.asks, o.book.change_id) for o in m.options] for m in (one, two, other)]
    assert state[0] == state[1]
    assert state[0] != state[2]


def test_quotes_move_with_the_market_and_not_all_at_once() -> None:
    market = VenueMarket(("BTC",), 1, NOW - 3600 * S)
    moved(market, 1)
    counts = []
    for _ in range(20):
        market.advance(market.now_ns + S // 10)
        counts.append(len(market.changed()))
        for option in market.changed():
            market.move_book(option)
        assert not market.changed()
    assert 1 < np.mean(counts) < 0.3 * len(market.options)


def test_a_change_id_grows_over_all_books_and_jumps_in_each(market: VenueMarket) -> None:
    first, second = market.options[200], market.options[600]
    ids = []
    for option in (first, second, first, second):
        market.move_book(option)
        ids.append(option.book.change_id)
    assert ids == sorted(set(ids))
    assert ids[2] - ids[0] > 1


def test_at_eight_the_nearest_expiry_goes_and_another_comes() -> None:
    market = VenueMarket(("BTC", "ETH"), 3, NOW)
    old = {option.symbol: option for option in market.options}
    assert market.advance(NOW + S) is None
    roll = market.advance(NOW + 2 * S)
    assert roll is not None
    assert {option.symbol.split("-")[1] for option in roll.expired} == {"20NOV26"}
    assert "24NOV26" in {option.symbol.split("-")[1] for option in roll.listed}
    assert all(option.row == -1 and option.symbol not in market.by_symbol for option in roll.expired)
    for option in market.options:
        assert market.options[option.row] is option
        if option.symbol in old:
            assert option is old[option.symbol], "the others stay what they were"
    assert any(option.book.best_bid for option in roll.listed)
    assert len(market.options) == len(old) - len(roll.expired) + len(roll.listed)
    assert market.advance(NOW + 3 * S) is None


def test_several_days_at_once_are_one_roll() -> None:
    market = VenueMarket(("BTC",), 3, NOW)
    roll = market.advance(NOW + 40 * 86400 * S)
    assert roll is not None
    assert {expiry.expiry_ns for expiry in market.expiries["BTC"]} == {o.expiry.expiry_ns for o in market.options}
    assert min(o.expiry.expiry_ns for o in market.options) > market.now_ns


def test_expiries_without_a_listed_future_have_a_synthetic_underlying(market: VenueMarket) -> None:
    names = {market.underlying_index(option) for option in market.options if option.underlying == "BTC"}
    assert {name for name in names if name.startswith("SYN.")} >= {"SYN.BTC-21NOV26", "SYN.BTC-22NOV26"}
    assert {"BTC-20NOV26", "BTC-27NOV26", "BTC-25DEC26"} <= names


def test_a_trade_is_at_the_top_of_a_book(market: VenueMarket) -> None:
    trades = [trade for trade in (market.trade() for _ in range(200)) if trade is not None]
    assert len(trades) > 100
    for trade in trades:
        best = trade.option.book.best_ask if trade.direction == "buy" else trade.option.book.best_bid
        assert round(trade.price / PRICE_UNIT) == best
        assert trade.amount > 0
    assert len({trade.trade_id for trade in trades}) == len(trades)
