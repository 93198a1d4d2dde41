"""A consumer's copy equals the feed's table, whatever the page size, whatever is written meanwhile, whatever breaks."""

import math
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from volsurface.errors import TransportError
from volsurface.io.transport import wire
from volsurface.io.transport.puller import Batch, FeedPuller
from volsurface.market.instrument import Instrument
from volsurface.market.quote import BOOK_TOP, EVENT_KINDS, FORWARD_FUTURE, FORWARD_INDEX
from volsurface.market.row_table import EVENT_RING, Page, RowTable

NAN = math.nan


def option(number: int) -> Instrument:
    return Instrument("deribit", f"O{number}", "BTC", 5, float(number), 1, "coin")


def ticker(table: RowTable, iid: int, bid: float = 1.0, ask: float = 2.0) -> None:
    table.ticker(iid, 0, 5, 6, -1, bid, ask, 1, 1, 1.5, NAN, NAN, NAN, NAN, NAN, NAN)


class Feed:
    """A feed without a socket: answers at once, and lets a test do something before or to any answer."""

    def __init__(self, size: int = 0, epoch: int = 11) -> None:
        self.table = RowTable(epoch, 2)
        if size:
            self.table.listed([option(number) for number in range(size)], 1)
        self.before: Callable[[int], None] = lambda kind: None
        self.change: Callable[[Page], Page] = lambda page: page
        self.asked: list[int] = []

    async def request(self, kind: int, body: bytes) -> bytes:
        self.asked.append(kind)
        self.before(kind)
        if kind == wire.DIRECTORY:
            return wire.encode_directory(self.table.directory, self.table.epoch, body)
        page = self.table.reply(*wire.decode_pull(body), 99)
        return b"".join(wire.encode_page(self.change(page)))

    async def close(self) -> None:
        """Nothing to close."""


def done(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine returns that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


def pull(puller: FeedPuller) -> Batch:
    return done(puller.pull())


def fails(puller: FeedPuller, said: str) -> None:
    with pytest.raises(TransportError, match=said):
        pull(puller)


def assert_same(puller: FeedPuller, table: RowTable) -> None:
    assert puller.rows.tobytes() == table.rows.tobytes()
    assert list(puller.directory) == list(table.directory)
    assert puller.cursor == table.version


def once(feed: Feed, kind: int, act: Callable[[], None]) -> None:
    """Run `act` before the feed answers the next request of `kind`."""

    def before(asked: int) -> None:
        if asked == kind:
            feed.before = lambda kind: None
            act()

    feed.before = before


def refuse() -> None:
    raise TransportError("cut")


def test_the_first_pull_is_a_snapshot_and_the_next_only_what_changed():
    feed = Feed(3)
    puller = FeedPuller(feed)
    ticker(feed.table, 2)
    batch = pull(puller)
    assert (batch.snapshot, batch.changed.tolist(), batch.feed_time_ns, batch.complete) == (True, [0, 1, 2], 99, True)
    assert_same(puller, feed.table)
    ticker(feed.table, 1)
    feed.table.forward(FORWARD_INDEX, "deribit", "BTC", 0, 50_000.0, 1, 1)
    batch = pull(puller)
    assert (batch.snapshot, batch.changed.tolist(), puller.last_rows) == (False, [1], 1)
    assert (puller.forwards, batch.forwards["value"].tolist()) == ({("deribit", "BTC", 0): 50_000.0}, [50_000.0])
    assert_same(puller, feed.table)
    batch = pull(puller)
    assert (batch.changed.size, batch.forwards.size, batch.events.size, puller.last_rows) == (0, 0, 0, 0)
    assert feed.asked == [wire.PULL, wire.DIRECTORY, wire.PULL, wire.PULL]


@pytest.mark.parametrize("page_rows", [1, 2, 7, 100])
def test_pages_of_any_size_make_one_state(page_rows):
    feed = Feed(20)
    for iid in range(0, 20, 3):
        ticker(feed.table, iid)
    puller = FeedPuller(feed, page_rows)
    assert pull(puller).changed.tolist() == list(range(20))
    assert_same(puller, feed.table)


def test_an_instrument_listed_between_two_pages_is_known_before_its_row():
    feed = Feed(3)
    puller = FeedPuller(feed, 1)
    once(feed, wire.PULL, lambda: once(feed, wire.PULL, lambda: feed.table.listed([option(70)], 2)))
    assert pull(puller).changed.tolist() == [0, 1, 2, 3]
    assert puller.directory[3] == option(70)
    assert feed.asked.count(wire.DIRECTORY) == 2
    assert_same(puller, feed.table)


def test_a_directory_longer_than_a_page_is_fetched_in_parts(monkeypatch):
    monkeypatch.setattr(wire, "DIRECTORY_PAGE", 2)
    feed = Feed(5)
    puller = FeedPuller(feed)
    once(feed, wire.DIRECTORY, lambda: feed.table.listed([option(70)], 2))
    pull(puller)
    assert len(puller.directory) == 6
    pull(puller)
    assert_same(puller, feed.table)


def test_another_epoch_clears_what_was_known():
    feed = Feed(5)
    puller = FeedPuller(feed)
    feed.table.forward(FORWARD_INDEX, "deribit", "BTC", 0, 50_000.0, 1, 1)
    ticker(feed.table, 4)
    pull(puller)
    feed.table = RowTable(12)
    feed.table.listed([option(9), option(8)], 1)
    batch = pull(puller)
    assert (batch.snapshot, batch.changed.tolist(), puller.epoch, puller.forwards) == (True, [0, 1], 12, {})
    assert [instrument.symbol for instrument in puller.directory] == ["O9", "O8"]
    assert_same(puller, feed.table)


def test_an_epoch_that_ends_between_two_pages_takes_its_events_with_it():
    feed = Feed(3)
    puller = FeedPuller(feed, 1)
    pull(puller)
    for iid in (0, 1, 2):
        ticker(feed.table, iid)
    feed.table.event("gap", 5, iid=2)

    def restart() -> None:
        feed.table = RowTable(12)
        feed.table.listed([option(9)], 1)

    once(feed, wire.PULL, lambda: once(feed, wire.PULL, restart))
    batch = pull(puller)
    assert (batch.snapshot, batch.changed.tolist(), batch.events.size, batch.dropped) == (True, [0], 0, 1)
    assert_same(puller, feed.table)


def test_what_came_before_a_cut_is_handed_over_after_it():
    feed = Feed(3)
    puller = FeedPuller(feed, 1)
    pull(puller)
    for iid in (2, 0, 1):
        ticker(feed.table, iid)
    feed.table.event("gap", 5, text="before the cut")
    once(feed, wire.PULL, lambda: once(feed, wire.PULL, refuse))
    fails(puller, "cut")
    batch = pull(puller)
    assert (batch.changed.tolist(), list(batch.texts.values()), batch.dropped) == ([0, 1, 2], ["before the cut"], 0)
    assert_same(puller, feed.table)


@pytest.mark.parametrize("known", [False, True])
def test_a_snapshot_whose_directory_does_not_come_is_asked_for_again(known):
    feed = Feed(3)
    puller = FeedPuller(feed)
    if known:
        pull(puller)
        feed.table = RowTable(12)
        feed.table.listed([option(9), option(8)], 1)
        for _ in range(50):  # its versions are far beyond the cursor of the earlier run
            ticker(feed.table, 1)
    once(feed, wire.DIRECTORY, refuse)
    fails(puller, "cut")
    batch = pull(puller)
    assert batch.snapshot
    assert batch.changed.size == len(feed.table.directory)
    assert_same(puller, feed.table)


def test_a_directory_of_another_run_starts_from_a_snapshot():
    feed = Feed(3)
    puller = FeedPuller(feed)

    def restart() -> None:
        feed.table = RowTable(12)
        feed.table.listed([option(9)], 1)

    once(feed, wire.DIRECTORY, restart)
    fails(puller, "directory of another run")
    assert pull(puller).snapshot
    assert_same(puller, feed.table)


def test_lost_events_are_counted():
    feed = Feed(1)
    puller = FeedPuller(feed)
    pull(puller)
    for number in range(EVENT_RING + 5):
        feed.table.event("gap", number)
    events, dropped, complete = 0, 0, False
    while not complete:
        batch = pull(puller)
        events, dropped, complete = events + batch.events.size, dropped + batch.dropped, batch.complete
    assert (events, dropped, puller.dropped) == (EVENT_RING, 5, 5)


def test_a_stalled_consumer_finds_at_most_one_row_per_instrument():
    feed = Feed(10)
    puller = FeedPuller(feed)
    pull(puller)
    for number in range(5_000):
        ticker(feed.table, number % 10, 1.0 + number, 6_000.0)
    batch = pull(puller)
    assert puller.last_rows == 10
    assert batch.changed.size == 10
    assert_same(puller, feed.table)


def test_a_feed_that_outruns_its_consumer_does_not_keep_it():
    feed = Feed(6)
    puller = FeedPuller(feed, 2)
    feed.before = lambda kind: [ticker(feed.table, iid) for iid in range(6)] and None
    batch = pull(puller)
    assert not batch.complete
    assert feed.asked.count(wire.PULL) == 5  # three pages of rows, and two more
    feed.before = lambda kind: None
    assert pull(puller).complete
    assert_same(puller, feed.table)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda page: replace(page, epoch=12), "without a snapshot"),
        (lambda page: replace(page, cursor=0), "does not continue"),
        (lambda page: replace(page, dropped=1), "does not continue"),
        (lambda page: replace(page, events=page.events[:1]), "does not continue"),
        (lambda page: replace(page, events=page.events[::-1].copy()), "does not continue"),
    ],
)
def test_a_page_that_does_not_continue_starts_from_a_snapshot(change, said):
    feed = Feed(2)
    puller = FeedPuller(feed)
    pull(puller)
    ticker(feed.table, 1)
    feed.table.event("gap", 1)
    feed.table.event("gap", 2)
    feed.change = change
    fails(puller, said)
    feed.change = lambda page: page
    assert pull(puller).snapshot
    assert_same(puller, feed.table)


@pytest.mark.parametrize("iid", [-1, 2])
def test_a_row_of_no_instrument_starts_from_a_snapshot(iid):
    feed = Feed(2)
    puller = FeedPuller(feed)

    def change(page: Page) -> Page:
        rows = page.rows.copy()
        rows["iid"][0] = iid
        return replace(page, rows=rows)

    feed.change = change
    fails(puller, "not in its directory")
    feed.change = lambda page: page
    assert pull(puller).snapshot
    assert_same(puller, feed.table)


def test_rows_that_were_never_sent_are_empty():
    feed = Feed()
    puller = FeedPuller(feed, 1)
    feed.table.listed([option(1), option(2)], 1)
    once(feed, wire.PULL, lambda: once(feed, wire.PULL, refuse))
    fails(puller, "cut")
    assert (puller.rows["iid"].tolist(), puller.rows["version"].tolist()) == ([0, 1], [1, 0])
    assert np.isnan(puller.rows["bid"]).all()


class Interleaving(RuleBasedStateMachine):
    """Any order of writes, of writes between two pages, of pulls by two consumers and of restarts of the feed."""

    @initialize(small=st.integers(1, 3), large=st.integers(1, 9))
    def start(self, small: int, large: int) -> None:
        self.feed, self.epoch = Feed(), 11
        self.pullers = [FeedPuller(self.feed, small), FeedPuller(self.feed, large)]
        self.between: list[tuple[str, int, float]] = []
        self.feed.before = self.write_between
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.bids: list[float] = []  # the naive twin: what the last accepted write said, by id
        self.forward: dict[tuple[str, str, int], float] = {}
        self.events: dict[int, float] = {}
        self.seen: list[dict[int, float]] = [{}, {}]

    def write_between(self, kind: int) -> None:
        waiting, self.between = self.between, []
        for write in waiting:
            self.apply(*write)

    def apply(self, what: str, number: int, value: float) -> None:
        table, size = self.feed.table, len(self.bids)
        iid = number % size if size else -1
        if what == "list" or not size:
            for new in table.listed([option(number), option(number + 1)], 1):
                if new == len(self.bids):
                    self.bids.append(NAN)
                elif math.isnan(table.rows["bid"][new]):
                    self.bids[new] = NAN
        elif what == "ticker":
            if not table.rows["flags"][iid] & BOOK_TOP:
                self.bids[iid] = value
            ticker(table, iid, value, 9.0)
        elif what == "book":
            table.book_top(iid, 0, 1, 1, 7, value, 9.0, 1, 1)
            self.bids[iid] = value
        elif what == "lost":
            table.book_lost(iid, 1)
            self.bids[iid] = NAN
        elif what == "close":
            if not math.isnan(self.bids[iid]):
                table.closed(iid, 1)
                self.bids[iid] = float(table.rows["bid"][iid])
        elif what == "forward":
            table.forward(FORWARD_FUTURE, "deribit", "BTC", number, value, 1, 1)
            self.forward["deribit", "BTC", number] = value
        else:
            table.event("gap", 1, value=value)
            self.events[table.event_seq] = value

    writes = st.tuples(
        st.sampled_from(["list", "ticker", "ticker", "book", "lost", "close", "forward", "event"]),
        st.integers(0, 12),
        st.floats(0.5, 8.0),
    )

    @rule(write=writes)
    def write(self, write: tuple[str, int, float]) -> None:
        self.apply(*write)

    @rule(writes=st.lists(writes, min_size=1, max_size=4))
    def write_during_the_next_pull(self, writes: list[tuple[str, int, float]]) -> None:
        self.between += writes

    @precondition(lambda self: not self.between)
    @rule()
    def restart(self) -> None:
        self.epoch += 1
        self.feed.table = RowTable(self.epoch, 2)
        self.begin_epoch()

    @rule(which=st.integers(0, 1))
    def pull(self, which: int) -> None:
        puller, complete = self.pullers[which], False
        while not complete:
            events_before = self.feed.table.event_seq
            known = puller.rows.tobytes() if puller.epoch == self.epoch else b""
            batch = pull(puller)
            if batch.snapshot:
                # Events start at "now", which may be after some of those that were written meanwhile.
                first = int(batch.events["seq"][0]) if batch.events.size else puller.event_cursor + 1
                assert first > events_before
                self.seen[which] = {seq: value for seq, value in self.events.items() if seq < first}
            self.seen[which] |= dict(zip(batch.events["seq"].tolist(), batch.events["value"].tolist()))
            assert batch.dropped == 0
            if not batch.snapshot and known == puller.rows.tobytes():
                assert batch.changed.size == 0
            complete = batch.complete and not self.between
        assert puller.rows["bid"].tolist() == pytest.approx(self.bids, nan_ok=True, abs=0)
        assert puller.forwards == self.forward
        assert self.seen[which] == self.events
        assert_same(puller, self.feed.table)


Interleaving.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestInterleaving = Interleaving.TestCase


def test_events_are_what_the_feed_said():
    feed = Feed(1)
    puller = FeedPuller(feed)
    pull(puller)
    feed.table.event("trade", 5, iid=0, value=0.1, size=-2.0)
    pull(puller)
    assert EVENT_KINDS[puller.events["kind"][0]] == "trade"
    assert puller.events[["iid", "value", "size"]].tolist() == [(0, 0.1, -2.0)]
