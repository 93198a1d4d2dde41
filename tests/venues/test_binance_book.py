"""Binance's rule of books: which changes follow a snapshot, what is a gap, what is old, what comes in another order."""

import random

import pytest

from volsurface.venues.binance_book import MAX_PENDING, DepthBook
from volsurface.venues.binance_messages import Depth, DepthChange


def change(previous: int, last: int, bids=(), asks=(), first: int | None = None, at: int | None = None) -> DepthChange:
    at = last if at is None else at
    return DepthChange(
        ts_ms=at, U=previous + 1 if first is None else first, u=last, pu=previous, b=list(bids), a=list(asks)
    )


def snapshot(last: int, bids=((10.0, 1.0),), asks=((11.0, 1.0),)) -> Depth:
    return Depth(lastUpdateId=last, bids=list(bids), asks=list(asks), ts_ms=last)


def live(last: int = 100, unit: float = 1.0) -> DepthBook:
    book = DepthBook(unit)
    assert book.take_snapshot(snapshot(last))
    return book


def test_changes_wait_for_the_snapshot_and_follow_it():
    book = DepthBook(1.0)
    for n in (90, 95, 100, 105):
        assert not book.take_change(change(n - 5, n, [(float(n), 1.0)]))
    assert not book.live
    assert book.take_snapshot(snapshot(97))  # 95 is in it, 100 spans it, 105 follows
    assert book.last_id == 105
    assert book.book.depth(9)[0] == [(105.0, 1.0), (100.0, 1.0), (10.0, 1.0)]


def test_sizes_are_coins():
    book = live(unit=100.0)
    book.take_change(change(100, 101, [(10.5, 2.0)], [(11.0, 0.0)]))
    assert book.book.depth(9) == ([(10.5, 200.0), (10.0, 100.0)], [])


@pytest.mark.parametrize(
    ("previous", "last", "taken"),
    [
        (100, 105, True),  # the next one
        (98, 105, True),  # spans the snapshot, as documented
        (98, 100, False),  # in the snapshot
        (90, 95, False),
        (101, 105, None),  # something is missing between
    ],
)
def test_the_first_change_after_a_snapshot(previous, last, taken):
    book = live(100)
    assert book.take_change(change(previous, last)) is bool(taken)
    assert book.live is (taken is not None)


@pytest.mark.parametrize("previous", [90, 104, 106, 109])
def test_after_the_first_change_only_the_chain_counts(previous):
    book = live(100)
    assert book.take_change(change(100, 105))
    assert not book.take_change(change(previous, 110))
    assert (book.live, book.problem) == (False, f"after 105 came a change from {previous}")


def test_the_change_that_shows_a_gap_waits_for_the_next_snapshot():
    book = live(100)
    book.take_change(change(103, 110, [(10.5, 1.0)]))
    book.take_change(change(110, 112, [], [(10.8, 1.0)]))
    assert book.take_snapshot(snapshot(105))
    assert (book.last_id, book.book.top()[:2]) == (112, (10.5, 10.8))


def test_a_snapshot_from_before_what_waits_does_not_help():
    book = DepthBook(1.0)
    book.take_change(change(100, 105))
    assert not book.take_snapshot(snapshot(99))
    assert not book.live
    assert book.take_snapshot(snapshot(103))  # the change is still there
    assert book.last_id == 105


def test_twice_and_overtaken_changes_are_passed_over():
    book = live(100)
    book.take_change(change(100, 105, [(10.5, 1.0)]))
    for old in (change(100, 105, [(10.5, 9.0)]), change(95, 100, [(10.5, 9.0)])):
        assert not book.take_change(old)
        assert book.live
    assert book.book.top()[2] == 1.0


def test_numbers_that_start_again_are_a_gap():
    book = live(100)
    assert not book.take_change(change(3, 5, at=200))
    assert (book.live, book.problem) == (False, "update numbers went back from 100 to 5")
    assert book.take_snapshot(snapshot(4))
    assert book.last_id == 5


def test_numbers_that_start_again_while_a_snapshot_is_awaited():
    book = DepthBook(1.0)
    book.take_change(change(900, 905))
    book.take_change(change(3, 5, at=2000))
    assert book.take_snapshot(snapshot(4))
    assert book.last_id == 5


@pytest.mark.parametrize("level", [(0.0, 1.0), (-1.0, 1.0), (float("inf"), 1.0), (10.0, -1.0), (float("nan"), 1.0)])
def test_an_impossible_level_costs_the_book(level):
    book = live(100)
    assert not book.take_change(change(100, 105, [level]))
    assert not book.live
    assert not DepthBook(1.0).take_snapshot(snapshot(1, [level]))


def test_removing_what_is_not_there_is_normal():
    book = live(100)
    assert book.take_change(change(100, 101, [(9.0, 0.0)]))


def test_what_waits_is_bounded():
    book = DepthBook(1.0)
    for n in range(MAX_PENDING + 1):
        book.take_change(change(n, n + 1))
    assert not book.take_snapshot(snapshot(3))  # too old by now
    assert book.take_snapshot(snapshot(MAX_PENDING))
    assert book.last_id == MAX_PENDING + 1


@pytest.mark.parametrize("seed", range(20))
def test_any_loss_order_and_repetition_ends_in_the_true_book_or_a_gap(seed):
    draw = random.Random(seed)
    true, changes, previous = {10.0: 1.0}, [], 100
    states = {100: dict(true)}
    for _ in range(30):
        last = previous + draw.randint(1, 9)
        price, size = draw.choice([9.0, 9.5, 10.0, 10.5]), float(draw.choice([0, 0, 1, 2, 3]))
        true = {p: s for p, s in (true | {price: size}).items() if s}
        states[last] = dict(true)
        changes.append(change(previous, last, [(price, size)]))
        previous = last
    sent = [c for c in changes if draw.random() > 0.1 for _ in range(draw.choice([1, 1, 2]))]
    for _ in range(3):
        at = draw.randrange(len(sent) - 1)
        sent[at], sent[at + 1] = sent[at + 1], sent[at]
    book, known = DepthBook(1.0), [100]
    for one in sent:
        known.append(max(known[-1], one.u))
        if not book.live and draw.random() < 0.3:
            at = draw.choice(known)
            book.take_snapshot(Depth(lastUpdateId=at, bids=list(states[at].items()), asks=[], ts_ms=at))
        book.take_change(one)
        if book.live:
            assert book.book.bids.sizes == states[book.last_id]
