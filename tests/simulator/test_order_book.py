import itertools
import random

from volsurface.simulator.order_book import COIN_TICKS, OrderBook


def applied(levels: dict[int, float], changes: list[tuple[str, int, float]]) -> dict[int, float]:
    """A twin that knows only the documented meaning of a change."""
    levels = dict(levels)
    for action, price, amount in changes:
        if action == "delete":
            del levels[price]
        else:
            assert (action == "new") == (price not in levels)
            levels[price] = amount
    return levels


def test_the_changes_of_every_move_rebuild_the_book() -> None:
    draw = random.Random(1)
    amounts = itertools.cycle([1.0, 2.5, 0.1])
    book, bids, asks = OrderBook(4), {}, {}
    for _ in range(3000):
        bid = draw.choice([0, *range(1, 50), *range(50, 300, 5)])
        ask = bid
        for _ in range(draw.randrange(1, 6)):
            ask = COIN_TICKS.up(ask)
        ask = draw.choice([0, ask, ask])
        bid_changes, ask_changes = book.move(bid, ask, amounts)
        bids, asks = applied(bids, bid_changes), applied(asks, ask_changes)
        assert (bids, asks) == (book.bids, book.asks)
        assert max(bids, default=0) == bid == book.best_bid
        assert min(asks, default=0) == ask == book.best_ask
        assert not bids or not asks or max(bids) < min(asks)
        assert len(bids) <= 5 and len(asks) <= 5
        assert all(price % 5 == 0 for price in [*bids, *asks] if price > 55)


def test_a_book_with_a_quote_always_has_something_to_report() -> None:
    book = OrderBook(2)
    book.move(100, 105, itertools.repeat(1.0))
    bids, asks = book.move(100, 105, itertools.repeat(3.0))
    assert bids == [("change", 100, 3.0)] and asks == [("change", 105, 3.0)]


def test_an_empty_book_that_stays_empty_reports_nothing() -> None:
    assert OrderBook(2).move(0, 0, itertools.repeat(1.0)) == ([], [])


def test_a_side_that_loses_its_quote_deletes_all_its_levels() -> None:
    book = OrderBook(3)
    book.move(50, 60, itertools.repeat(1.0))
    bids, _ = book.move(0, 60, itertools.repeat(1.0))
    assert sorted(bids) == [("delete", 48, 0.0), ("delete", 49, 0.0), ("delete", 50, 0.0)]


def test_steps_change_at_half_a_percent_of_a_coin() -> None:
    assert tuple(map(COIN_TICKS.up, (49, 50))) + tuple(map(COIN_TICKS.down, (50, 55, 1))) == (50, 55, 49, 50, 0)
