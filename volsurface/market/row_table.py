"""The feed's row table: codecs write what venues say, any number of consumers read what is newer than their cursor.

Each write takes the next number of one counter as its version. A reply holds the rows, forwards and events after a
cursor, the lowest versions first, so that nothing is queued between writer and reader and a slow reader's backlog is at
most one row per instrument. No I/O and no clock: one thread owns the table and time is an argument.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Protocol

import numpy as np

from volsurface.market.instrument import Directory, Instrument
from volsurface.market.quote import (
    BOOK_GAP,
    BOOK_TOP,
    CLOSED,
    CROSSED,
    EVENT,
    EVENT_KINDS,
    EVENT_STRUCT,
    FORWARD,
    FORWARD_STRUCT,
    LOCKED,
    ONE_SIDED,
    ROW,
    ROW_STRUCT,
    SEVERITIES,
    SNAPSHOT_ROW,
    VENUE,
    VENUE_STATES,
    VENUE_STRUCT,
)

EVENT_RING = 65_536
MAX_TEXT = 1_000  # characters of an event's text
SNAPSHOT, MORE = 1, 2  # page flags: forget the earlier epoch; there is another page

_NAN, _INF = math.nan, math.inf
_PACK_ROW = ROW_STRUCT.pack_into
_HEAD = Struct("<QiIqq")  # version, iid, flags, ts_venue_ns, ts_recv_ns
_SEQ_AND_TOP = Struct("<q4d")  # seq, bid, ask, bid_sz, ask_sz
_REST = Struct("<7d")  # mark, iv_bid, iv_ask, iv_mark, fwd, index, oi
_HEAD_TO_TOP = Struct("<QiIqqq4d")
_COUNTS = Struct("<QQQ")  # version, event_seq, instruments
_PACK_HEAD, _PACK_HEAD_TO_TOP, _PACK_REST = _HEAD.pack_into, _HEAD_TO_TOP.pack_into, _REST.pack_into
_REST_AT = _HEAD.size + _SEQ_AND_TOP.size
_WIDTH = ROW.itemsize
_TOP_FLAGS = CROSSED | LOCKED | ONE_SIDED | BOOK_TOP | BOOK_GAP  # said by bid, ask and their origin
_KIND_CODES = {name: code for code, name in enumerate(EVENT_KINDS)}
_SEVERITY_CODES = {name: code for code, name in enumerate(SEVERITIES)}
assert _HEAD_TO_TOP.size == _REST_AT
assert _REST_AT + _REST.size == _WIDTH


class VenueCounts(Protocol):
    """What the table reads from a venue when a reply is made: its connections together, or a player of recordings."""

    @property
    def venue(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def messages(self) -> int: ...

    @property
    def superseded(self) -> int: ...

    @property
    def rejected(self) -> int: ...

    @property
    def gaps(self) -> int: ...

    @property
    def reconnects(self) -> int: ...

    @property
    def subscribed(self) -> int: ...

    @property
    def listed(self) -> int: ...

    @property
    def last_receive_ns(self) -> int: ...

    @property
    def last_venue_ns(self) -> int: ...


@dataclass(slots=True)
class VenueHealth:
    """What is measured of a venue once a second rather than counted by it; NaN where nothing is known yet.

    connections, connections_live: how many it has, and how many of them are live. quoted: instruments with a bid or an
    ask. messages_per_s: over the last second. delay_ms: local minus venue time of what came in the last second, median.
    floor_ms, drift_ppm: where the delay's lower envelope is now, and how fast it moves (market.venue_clock).
    round_trip_ms: of a ping.
    """

    connections: int = 1
    connections_live: int = 0
    quoted: int = 0
    messages_per_s: float = _NAN
    delay_ms: float = _NAN
    floor_ms: float = _NAN
    drift_ppm: float = _NAN
    round_trip_ms: float = _NAN


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One reply to a pull.

    flags: SNAPSHOT and MORE. epoch: of the table. cursor, event_cursor: to ask with next. dropped: events the ring lost
    since the consumer's event cursor. feed_time_ns: the market's "now". rows, events, forwards, venues: structured
    arrays of market.quote's dtypes. texts: event seq -> text, for those that have one. directory_version,
    directory_size: of the directory now; a consumer that knows an older one fetches it before applying `rows`.
    """

    flags: int
    epoch: int
    cursor: int
    event_cursor: int
    dropped: int
    feed_time_ns: int
    rows: np.ndarray
    events: np.ndarray
    forwards: np.ndarray
    venues: np.ndarray
    texts: dict[int, str]
    directory_version: int
    directory_size: int


class RowTable:
    """Rows by instrument id, forwards, events and venue records of one run of a feed; a `venues.codec.Sink`.

    epoch: random and not 0, drawn anew each time a feed starts; a consumer's cursor is only good for its epoch.
    capacity: rows and forwards to have room for; grows by doubling.
    """

    def __init__(self, epoch: int, capacity: int = 4096) -> None:
        if epoch == 0:
            raise ValueError("epoch 0 means 'no epoch yet' and is a consumer's first request")
        self.epoch = epoch
        self.version = 0  # of the newest row or forward
        self.event_seq = 0  # of the newest event
        self.directory = Directory()
        self.on_next_write: Callable[[], None] | None = None  # called once, at the next write or event
        self._buffer = bytearray(_WIDTH * max(1, capacity))
        self._rows = np.frombuffer(self._buffer, ROW)
        self._flags: list[int] = []  # the rows' flags again: a list answers ten times faster than the array
        self._forward_slots: dict[tuple[str, str, int], int] = {}
        self._forward_buffer = bytearray(FORWARD.itemsize * 64)
        self._ring = bytearray(EVENT.itemsize * EVENT_RING)
        self._texts: dict[int, str] = {}
        self.venues: list[VenueCounts] = []  # those that `watch` was given
        self.health: dict[str, VenueHealth] = {}  # by venue; the feed measures it

    # What codecs write -------------------------------------------------------------------------------------------

    def listed(self, instruments: Sequence[Instrument], now_ns: int) -> list[int]:
        """Number new instruments and give each an empty row; one that was closed is open again. Return all ids."""
        iids = self.directory.add(instruments)
        while len(self.directory) * _WIDTH > len(self._buffer):
            self._buffer = self._buffer + bytes(len(self._buffer))
            self._rows = np.frombuffer(self._buffer, ROW)
        for iid in iids:
            if iid == len(self._flags):
                self._flags.append(0)
            elif not self._flags[iid] & CLOSED:
                continue
            self._flags[iid] = 0
            self._empty_row(iid, now_ns)
        self._wake()
        return iids

    def _empty_row(self, iid: int, now_ns: int) -> None:
        self.version += 1
        _PACK_ROW(
            self._buffer, iid * _WIDTH, self.version, iid, self._flags[iid], 0, now_ns, -1, *[_NAN] * 11
        )  # fmt: skip

    def closed(self, iid: int, now_ns: int) -> None:
        """The instrument no longer trades: its quote is gone and its row says CLOSED until it is listed again."""
        if not self._flags[iid] & CLOSED:
            self._flags[iid] = CLOSED
            self._empty_row(iid, now_ns)
            self._wake()

    def ticker(
        self, iid: int, flags: int, ts_venue_ns: int, ts_recv_ns: int, seq: int,
        bid: float, ask: float, bid_sz: float, ask_sz: float, mark: float,
        iv_bid: float, iv_ask: float, iv_mark: float, fwd: float, index: float, oi: float,
    ) -> None:  # fmt: skip
        """Write a ticker. While the instrument's book is live, its bid, ask, sizes and seq stay."""
        self.version = version = self.version + 1
        at = iid * _WIDTH
        before = self._flags[iid]
        if not 0.0 < mark < _INF:
            mark = _NAN
        if before & BOOK_TOP:
            flags = self._flags[iid] = flags & ~_TOP_FLAGS | before & (_TOP_FLAGS | CLOSED)
            _PACK_HEAD(self._buffer, at, version, iid, flags, ts_venue_ns, ts_recv_ns)
            _PACK_REST(self._buffer, at + _REST_AT, mark, iv_bid, iv_ask, iv_mark, fwd, index, oi)
        else:
            flags = flags & ~_TOP_FLAGS | before & CLOSED
            # A price of 0 is a venue's word for "none"; after this only real prices are compared.
            if not 0.0 < bid < _INF:
                bid = bid_sz = _NAN
                if 0.0 < ask < _INF:
                    flags |= ONE_SIDED
                else:
                    ask = ask_sz = _NAN
            elif not 0.0 < ask < _INF:
                ask = ask_sz = _NAN
                flags |= ONE_SIDED
            elif bid >= ask:
                flags |= CROSSED if bid > ask else LOCKED
            self._flags[iid] = flags
            _PACK_ROW(
                self._buffer, at, version, iid, flags, ts_venue_ns, ts_recv_ns, seq,
                bid, ask, bid_sz, ask_sz, mark, iv_bid, iv_ask, iv_mark, fwd, index, oi,
            )  # fmt: skip
        if self.on_next_write is not None:
            self._wake()

    def book_top(
        self, iid: int, flags: int, ts_venue_ns: int, ts_recv_ns: int, seq: int,
        bid: float, ask: float, bid_sz: float, ask_sz: float,
    ) -> None:  # fmt: skip
        """Write the top of a live book; the ticker's fields, and the flags that came with them, stay."""
        self.version = version = self.version + 1
        flags = (flags | self._flags[iid] & ~SNAPSHOT_ROW) & ~_TOP_FLAGS | BOOK_TOP
        if not 0.0 < bid < _INF:
            bid = bid_sz = _NAN
            if 0.0 < ask < _INF:
                flags |= ONE_SIDED
            else:
                ask = ask_sz = _NAN
        elif not 0.0 < ask < _INF:
            ask = ask_sz = _NAN
            flags |= ONE_SIDED
        elif bid >= ask:
            flags |= CROSSED if bid > ask else LOCKED
        self._flags[iid] = flags
        _PACK_HEAD_TO_TOP(
            self._buffer, iid * _WIDTH, version, iid, flags, ts_venue_ns, ts_recv_ns, seq, bid, ask, bid_sz, ask_sz
        )
        if self.on_next_write is not None:
            self._wake()

    def book_lost(self, iid: int, now_ns: int) -> None:
        """The book has a gap: bid and ask become NaN, flagged BOOK_GAP, until a book or a ticker brings them."""
        self.version += 1
        flags = self._flags[iid] = self._flags[iid] & ~_TOP_FLAGS | BOOK_GAP
        ts_venue_ns = int(self._rows["ts_venue_ns"][iid])
        _PACK_HEAD_TO_TOP(
            self._buffer, iid * _WIDTH, self.version, iid, flags, ts_venue_ns, now_ns, -1, _NAN, _NAN, _NAN, _NAN
        )
        self._wake()

    def forward(
        self, source: int, venue: str, underlying: str, expiry_ns: int, value: float, ts_venue_ns: int, ts_recv_ns: int
    ) -> None:
        """Write a venue's forward of an expiry, or its index when `expiry_ns` is 0; what is no price is ignored."""
        if not 0.0 < value < _INF:
            return
        slot = self._forward_slots.setdefault((venue, underlying, expiry_ns), len(self._forward_slots))
        if slot * FORWARD.itemsize == len(self._forward_buffer):
            self._forward_buffer = self._forward_buffer + bytes(len(self._forward_buffer))
        self.version += 1
        FORWARD_STRUCT.pack_into(
            self._forward_buffer, slot * FORWARD.itemsize,
            self.version, source, venue.encode("ascii"), underlying.encode("ascii"), expiry_ns, value,
            ts_venue_ns, ts_recv_ns,
        )  # fmt: skip
        if self.on_next_write is not None:
            self._wake()

    def event(
        self, kind: str, now_ns: int, severity: str = "info", iid: int = -1, text: str = "",
        value: float = _NAN, size: float = _NAN, extra: float = _NAN,
    ) -> None:  # fmt: skip
        """Append an event to the ring; the oldest of EVENT_RING is overwritten."""
        self.event_seq = seq = self.event_seq + 1
        EVENT_STRUCT.pack_into(
            self._ring, (seq - 1) % EVENT_RING * EVENT.itemsize,
            seq, now_ns, _KIND_CODES[kind], _SEVERITY_CODES[severity], iid, value, size, extra,
        )  # fmt: skip
        self._texts.pop(seq - EVENT_RING, None)
        if text:
            # Text may quote a venue: cut to a size, and what UTF-8 cannot say must not spoil every reply it is in.
            self._texts[seq] = text[:MAX_TEXT].encode("utf-8", "replace").decode()
        self._wake()

    def watch(self, venue: VenueCounts) -> None:
        """Put a record of `venue` into every reply."""
        self.venues.append(venue)
        self.health[venue.venue] = VenueHealth()

    def _wake(self) -> None:
        wake, self.on_next_write = self.on_next_write, None
        if wake is not None:
            wake()

    # What consumers read -----------------------------------------------------------------------------------------

    @property
    def rows(self) -> np.ndarray:
        """The rows of all instruments, by id: a view of the table, to be read before anything else is written."""
        return self._rows[: len(self.directory)]

    def is_known(self, epoch: int, cursor: int, event_cursor: int) -> bool:
        """Return whether a consumer can continue from here; a cursor ahead of the table was never given by it."""
        return epoch == self.epoch and cursor <= self.version and event_cursor <= self.event_seq

    def has_newer(self, epoch: int, cursor: int, event_cursor: int) -> bool:
        """Return whether a reply would hold anything but a liveness beat."""
        return not self.is_known(epoch, cursor, event_cursor) or self.version > cursor or self.event_seq > event_cursor

    def digest(self) -> bytes:
        """Return the SHA-256 of all rows and forwards with their versions, and of the counts: equal for equal inputs."""
        found = hashlib.sha256(self.rows.tobytes())
        found.update(self._forward_buffer[: FORWARD.itemsize * len(self._forward_slots)])
        found.update(_COUNTS.pack(self.version, self.event_seq, len(self.directory)))
        return found.digest()

    def reply(self, page_rows: int, epoch: int, cursor: int, event_cursor: int, now_ns: int) -> Page:
        """Return what is newer than the cursors, at most `page_rows` rows and events of about as many bytes.

        Rows that do not fit are those with the highest versions; the page then says MORE and its cursor is the version
        of its last row. A row rewritten between two pages comes later, with its newer version; none is lost.
        """
        flags = 0
        if not self.is_known(epoch, cursor, event_cursor):
            flags, cursor, event_cursor = SNAPSHOT, 0, self.event_seq
        rows = self.rows  # gathered by take: indexing copies a structured array field by field, 25 times slower
        versions = rows["version"]
        changed = np.flatnonzero(versions > cursor)
        upto = self.version
        if changed.size > page_rows:
            flags |= MORE
            changed = changed[np.argsort(versions[changed])[:page_rows]]
            upto = int(versions[changed[-1]])
        forwards = np.frombuffer(self._forward_buffer, FORWARD, len(self._forward_slots))
        forwards = forwards.take(np.flatnonzero((forwards["version"] > cursor) & (forwards["version"] <= upto)))
        # Events have the room that the rows leave, and at least an eighth, so that neither can starve the other.
        room = max(page_rows - changed.size, page_rows // 8) * _WIDTH
        events, texts, dropped = self._events_after(event_cursor, room)
        event_cursor += dropped + events.size
        if event_cursor < self.event_seq:
            flags |= MORE
        return Page(
            flags, self.epoch, upto, event_cursor, dropped, now_ns, rows.take(changed), events, forwards,
            self._venue_records(), texts, self.directory.version, len(self.directory),
        )  # fmt: skip

    def _events_after(self, event_cursor: int, room: int) -> tuple[np.ndarray, dict[int, str], int]:
        first = max(event_cursor + 1, self.event_seq - EVENT_RING + 1)
        texts, end = {}, first
        while end <= self.event_seq:
            text = self._texts.get(end, "")
            room -= EVENT.itemsize + len(text)
            if room < 0 and end > first:  # one event always goes, however small a page is
                break
            if text:
                texts[end] = text
            end += 1
        slots = (np.arange(first, end) - 1) % EVENT_RING
        return np.frombuffer(self._ring, EVENT).take(slots), texts, first - event_cursor - 1

    def _venue_records(self) -> np.ndarray:
        packed = b"".join(
            VENUE_STRUCT.pack(
                v.venue.encode("ascii"), VENUE_STATES.index(v.state), v.last_receive_ns, v.last_venue_ns, v.messages,
                v.superseded, v.rejected, v.gaps, v.reconnects, v.subscribed, v.listed,
                h.connections, h.connections_live, h.quoted, h.messages_per_s, h.delay_ms, h.floor_ms, h.drift_ppm,
                h.round_trip_ms,
            )
            for v, h in zip(self.venues, self.health.values())
        )  # fmt: skip
        return np.frombuffer(packed, VENUE)
