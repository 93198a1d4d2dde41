"""The book against a naive twin that sorts a dictionary each time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsurface.market.book import Book

PRICES = st.integers(1, 30).map(lambda ticks: ticks * 0.0005)
SIZES = st.one_of(st.just(0.0), st.floats(0.1, 100.0))
LEVELS = st.lists(st.tuples(PRICES, SIZES), max_size=12)


class NaiveBook:
    """Two dictionaries and `sorted`."""

    def __init__(self):
        self.bids, self.asks = {}, {}

    def set(self, side, price, size):
        levels = getattr(self, side)
        levels[price] = size
        if size <= 0:
            del levels[price]

    def depth(self, levels):
        bids, asks = sorted(self.bids.items(), reverse=True), sorted(self.asks.items())
        return bids[:levels], asks[:levels]


def assert_same(book, naive):
    for levels in (0, 1, 3, 100):
        assert book.depth(levels) == naive.depth(levels)
    bids, asks = naive.depth(1)
    bid, ask, bid_size, ask_size = book.top()
    assert (math.isnan(bid) and math.isnan(bid_size)) if not bids else (bid, bid_size) == bids[0]
    assert (math.isnan(ask) and math.isnan(ask_size)) if not asks else (ask, ask_size) == asks[0]
    both = bool(bids and asks)
    assert book.crossed == (both and bids[0][0] > asks[0][0])
    assert book.locked == (both and bids[0][0] == asks[0][0])


@given(LEVELS, LEVELS, st.lists(st.tuples(st.sampled_from(["bids", "asks"]), PRICES, SIZES), max_size=60))
def test_snapshot_and_changes_against_the_naive_twin(bids, asks, changes):
    book, naive = Book(), NaiveBook()
    book.bids.set(0.5, 1.0)  # must be gone after the snapshot
    book.replace(bids, asks)
    for side, levels in (("bids", bids), ("asks", asks)):
        for price, size in levels:
            naive.set(side, price, size)
    assert_same(book, naive)
    for side, price, size in changes:
        getattr(book, side).set(price, size)
        naive.set(side, price, size)
        assert_same(book, naive)
    book.clear()
    assert_same(book, NaiveBook())


@pytest.mark.parametrize(
    ("bids", "asks", "crossed", "locked"),
    [
        ([(0.01, 1.0)], [(0.02, 1.0)], False, False),
        ([(0.02, 1.0)], [(0.02, 1.0)], False, True),
        ([(0.03, 1.0)], [(0.02, 1.0)], True, False),
        ([(0.03, 1.0)], [], False, False),
        ([], [], False, False),
    ],
)
def test_crossed_and_locked(bids, asks, crossed, locked):
    book = Book()
    book.replace(bids, asks)
    assert (book.crossed, book.locked) == (crossed, locked)


def test_deleting_what_is_not_there_does_nothing():
    book = Book()
    book.bids.set(0.01, 0.0)
    assert math.isnan(book.top()[0])
