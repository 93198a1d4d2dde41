"""A consumer of a feed: keeps a complete copy of its row table by pulling what is newer than its cursor."""

import math
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from volsurface.errors import TransportError
from volsurface.io.transport import wire
from volsurface.market.instrument import Directory
from volsurface.market.quote import EVENT, FORWARD, ROW, VENUE
from volsurface.market.row_table import MORE, SNAPSHOT, Page

_RAW_ROW = np.dtype((np.void, ROW.itemsize))  # rows are copied whole: field by field is many times slower


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one `pull` brought.

    snapshot: everything known before was of an earlier run of the feed and is forgotten; the directory is another one.
    changed: ids of the rows that changed, ascending, each once. forwards: records (market.quote.FORWARD) that changed.
    events: all events since the last batch, in order; texts: event seq -> text. dropped: events lost among them.
    feed_time_ns: the market's "now". complete: False when the feed writes faster than pages arrive; the rest comes next.
    """

    snapshot: bool
    changed: np.ndarray
    forwards: np.ndarray
    events: np.ndarray
    texts: dict[int, str]
    dropped: int
    feed_time_ns: int
    complete: bool


@dataclass(slots=True)
class _Pending:
    """What pages have brought and no batch has handed over yet; it survives a pull that fails half-way."""

    snapshot: bool = False
    changed: list[np.ndarray] = field(default_factory=list)
    forwards: list[np.ndarray] = field(default_factory=list)
    events: list[np.ndarray] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    dropped: int = 0


class FeedPuller:
    """A complete copy of one feed's table, brought up to date by `pull`.

    epoch: of the feed's run, 0 before the first contact.
    rows: structured array (market.quote.ROW) of all instruments by id; NaN where nothing was said; version 0: never.
    directory: the instruments by the same ids. forwards: (venue, underlying, expiry_ns) -> forward; expiry 0: the
        spot index. venues: structured array (market.quote.VENUE), one record per venue. feed_time_ns: the market's "now".
    changed, events, texts, snapshot: of the last batch. last_rows: rows it took, the backlog. dropped: events lost since
        this object was made.
    """

    def __init__(self, channel: wire.Channel, page_rows: int = wire.PAGE_ROWS) -> None:
        self._channel = channel
        self._page_rows = page_rows
        self.epoch = self.cursor = self.event_cursor = 0
        self.feed_time_ns = 0
        self.venues = np.empty(0, VENUE)
        self.dropped = self.last_rows = 0
        self.snapshot = False
        self.changed = np.empty(0, np.int32)
        self.events = np.empty(0, EVENT)
        self.texts: dict[int, str] = {}
        self._pending = _Pending()
        self._forget()

    def _forget(self) -> None:
        self.directory = Directory()
        self.forwards: dict[tuple[str, str, int], float] = {}
        self._directory_version = 0
        self._table = _empty_rows(0)

    @property
    def rows(self) -> np.ndarray:
        """The rows of all instruments by id: a view that later pulls change."""
        return self._table[: len(self.directory)]

    @property
    def settled(self) -> bool:
        """Whether everything that pages have brought has been handed over."""
        pending = self._pending
        return not (pending.snapshot or pending.changed or pending.forwards)

    async def pull(self) -> Batch:
        """Bring the copy up to date, following pages to the end, and return what changed.

        Waits up to 0.1 s for a change; an empty batch is the feed's sign of life. Raises TransportError when the feed
        does not answer or answers nonsense; what had arrived is kept and handed over by the next pull that succeeds.
        """
        pages, more = 0, True
        while more:
            page = await self._ask()
            more = bool(page.flags & MORE)
            pages += 1
            # A feed that writes faster than pages travel must not keep its consumer here for ever.
            if pages >= math.ceil(len(self.directory) / self._page_rows) + 2:
                break
        return self._hand_over(complete=not more)

    async def close(self) -> None:
        """Close the channel; what is known stays."""
        await self._channel.close()

    async def _ask(self) -> Page:
        request = wire.encode_pull(self._page_rows, self.epoch, self.cursor, self.event_cursor)
        page = wire.decode_page(await self._channel.request(wire.PULL, request), self._page_rows)
        if page.flags & SNAPSHOT:
            self._start_epoch(page)
        elif page.epoch != self.epoch:
            self._distrust(f"epoch {page.epoch} instead of {self.epoch} without a snapshot")
        elif page.cursor < self.cursor or not self._continues(page):
            self._distrust(f"a page that does not continue from cursor {self.cursor}, event {self.event_cursor}")
        if page.directory_version != self._directory_version:
            await self._fetch_directory()
        self._apply(page)
        return page

    def _continues(self, page: Page) -> bool:
        first = self.event_cursor + page.dropped + 1
        return (
            page.event_cursor == first + page.events.size - 1
            and np.array_equal(page.events["seq"], np.arange(first, first + page.events.size))
        )  # fmt: skip

    def _start_epoch(self, page: Page) -> None:
        lost = sum(map(len, self._pending.events))  # their ids are of instruments that are forgotten now
        self._pending = _Pending(snapshot=True, dropped=self._pending.dropped + lost)
        # Until the page is applied: if its directory cannot be fetched, the next pull asks for all rows once more.
        self.epoch, self.cursor, self.event_cursor = page.epoch, 0, page.event_cursor
        self._forget()

    def _distrust(self, found: str) -> NoReturn:
        self.epoch = self.cursor = self.event_cursor = 0
        raise TransportError(f"the feed sent {found}; starting from a snapshot")

    async def _fetch_directory(self) -> None:
        more = True
        while more:
            request = wire.encode_directory_request(len(self.directory))
            reply = wire.decode_directory(await self._channel.request(wire.DIRECTORY, request))
            if reply.epoch != self.epoch:
                self._distrust("the directory of another run")
            if not reply.instruments and len(self.directory) != reply.size:
                self._distrust(f"a directory of {reply.size} instruments that ends after {len(self.directory)}")
            self.directory.add(reply.instruments)
            self._make_room()
            more = len(self.directory) < reply.size
        self._directory_version = reply.version

    def _make_room(self) -> None:
        size = len(self.directory)
        if size > self._table.size:
            grown = _empty_rows(max(size, 2 * self._table.size))
            grown[: self._table.size] = self._table
            self._table = grown

    def _apply(self, page: Page) -> None:
        iids = page.rows["iid"]
        if iids.size and (iids.min() < 0 or iids.max() >= len(self.directory)):
            self._distrust("rows of instruments that are not in its directory")
        self._table.view(_RAW_ROW)[iids] = page.rows.view(_RAW_ROW)
        pending = self._pending
        if iids.size:
            pending.changed.append(iids)
        if page.forwards.size:
            pending.forwards.append(page.forwards)
            for _, _, venue, underlying, expiry_ns, value, _, _ in page.forwards.tolist():
                self.forwards[venue.decode("ascii"), underlying.decode("ascii"), expiry_ns] = value
        if page.events.size:
            pending.events.append(page.events)
            pending.texts.update(page.texts)
        pending.dropped += page.dropped
        self.cursor, self.event_cursor = page.cursor, page.event_cursor
        self.feed_time_ns, self.venues = page.feed_time_ns, page.venues

    def _hand_over(self, complete: bool) -> Batch:
        pending, self._pending = self._pending, _Pending()
        batch = Batch(
            snapshot=pending.snapshot,
            changed=np.unique(_joined(pending.changed, np.dtype(np.int32))),
            forwards=_joined(pending.forwards, FORWARD),
            events=_joined(pending.events, EVENT),
            texts=pending.texts,
            dropped=pending.dropped,
            feed_time_ns=self.feed_time_ns,
            complete=complete,
        )
        self.snapshot, self.changed, self.events, self.texts = batch.snapshot, batch.changed, batch.events, batch.texts
        self.dropped += batch.dropped
        self.last_rows = sum(map(len, pending.changed))
        return batch


def _joined(parts: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _empty_rows(size: int) -> np.ndarray:
    rows = np.zeros(size, ROW)
    for name in ROW.names or ():
        if ROW[name].kind == "f":
            rows[name] = np.nan
    rows["iid"] = np.arange(size)
    return rows
