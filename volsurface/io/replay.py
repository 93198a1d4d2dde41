"""Plays a recording's frames into the codecs that would have received them, and their rows into a row table.

Everything the codecs see is a recorded input with its recorded time, so the table goes through the same states as it did
live, in the same versions; where the recording says what they were, they are compared.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from volsurface.clock import SteppedClock
from volsurface.errors import RecordingError, VolSurfaceError
from volsurface.io.recording import (
    ANSWERED,
    CONNECTED,
    DISCONNECTED,
    FEED,
    LOST,
    RECEIVED,
    ROWS,
    SENT,
    START,
    TIMER,
    Entry,
)
from volsurface.io.recording_reader import Recording, decoded
from volsurface.market.row_table import RowTable
from volsurface.surface.instants import to_iso
from volsurface.venues.codec import Codec
from volsurface.venues.registry import make_codec
from volsurface.venues.venue_group import VenueGroup

log = logging.getLogger(__name__)

FAR = 1 << 62
GIVEN = frozenset((RECEIVED, TIMER, CONNECTED, DISCONNECTED, ANSWERED))  # what a codec was called with


def recorded_market(recording: Recording) -> dict[str, list[str]]:
    """Return the `venues` and `underlyings` of a recording; raises RecordingError when it does not begin with them."""
    return market_of(FramePlayer(recording, SteppedClock(0)).header)


def market_of(header: dict[str, Any]) -> dict[str, list[str]]:
    """Return the `venues` and `underlyings` that the connections of a recorded feed were made for."""
    made = [connection["codec"] for connection in header["connections"]]
    return {
        "venues": list(dict.fromkeys(codec["venue"] for codec in made)),
        "underlyings": list(dict.fromkeys(name for codec in made for name in codec["underlyings"])),
    }


def _made_again(arguments: dict[str, Any], table: RowTable) -> Codec:
    return make_codec(sink=table, **{**arguments, "shard": tuple(arguments["shard"])})


class FramePlayer:
    """The feed's side of a replay.

    clock: stands at the time of the last record played. epoch: of the tables to make; None: each run's own.

    table: of the run being played. on_start: called with the new table each time a further run of the feed begins (a live
    feed that was restarted has several). time_ns: of the newest record. messages: frames played.
    checked, different: row table digests compared with the recorded ones. sent, sent_otherwise: frames the codecs wanted
    to send, and how many of them were not the recorded ones. errors: exceptions of codecs. jumps: times the recorded
    clock went back. notes: what was lost when it was recorded, or does not fit, as sentences.
    """

    def __init__(self, recording: Recording, clock: SteppedClock, epoch: Callable[[], int] | None = None) -> None:
        self.recording = recording
        self.table: RowTable
        self.on_start: Callable[[RowTable], None] | None = None
        self.header: dict[str, Any] = {}
        self.time_ns = 0
        self.messages = self.checked = self.different = self.sent = self.sent_otherwise = self.errors = self.jumps = 0
        self.notes: list[str] = []
        self._clock, self._epoch = clock, epoch
        self._records: Iterator[Entry] = recording.records(FEED)
        self._held: Entry | None = next(self._records, None)
        self._codecs: list[Codec] = []
        self._outgoing: deque[bytes] = deque()
        if self._held is None or self._held[0] != START:
            raise RecordingError(
                f"{recording.folder} does not begin with the start of a feed: its first file is missing"
            )
        self._apply(self._held)
        self._held = next(self._records, None)

    @property
    def ended(self) -> bool:
        """Whether everything has been played."""
        return self._held is None

    @property
    def next_ns(self) -> int:
        """Time of the next record; far away when there is none."""
        return self._held[2] if self._held is not None else FAR

    def play_until(self, time_ns: int, most: int = FAR) -> int:
        """Play the records up to `time_ns`, at most `most` of them; return how many."""
        entry, count = self._held, 0
        while entry is not None and entry[2] <= time_ns and count < most:
            self._apply(entry)
            entry = next(self._records, None)
            count += 1
        self._held = entry
        self._clock.set(self.time_ns)
        return count

    def play_to(self, epoch: int, version: int, event_seq: int) -> bool:
        """Play until the table of run `epoch` has reached a version and an event; return whether it is exactly there."""
        entry = self._held
        while entry is not None:
            table = self.table
            if table.epoch == epoch and table.version >= version and table.event_seq >= event_seq:
                break
            self._apply(entry)
            entry = next(self._records, None)
        self._held = entry
        self._clock.set(self.time_ns)
        table = self.table
        return (table.epoch, table.version, table.event_seq) == (epoch, version, event_seq)

    def _apply(self, entry: Entry) -> None:
        kind, number, time_ns, payload = entry
        if time_ns < self.time_ns:
            self.jumps += 1
        self.time_ns = time_ns
        if kind not in GIVEN:
            self._take_other(kind, time_ns, payload)
            return
        try:
            if kind == RECEIVED:
                self.messages += 1
                codec = self._codecs[number]
                codec.receive(payload, time_ns)
            elif kind == TIMER:
                codec = self._codecs[number]
                codec.timer(time_ns)
            elif kind == CONNECTED:
                codec = self._codecs[number]
                codec.connected(time_ns)
            elif kind == DISCONNECTED:
                codec = self._codecs[number]
                codec.disconnected(time_ns, payload.decode())
            else:
                codec = self._codecs[number]
                tag, status, body = msgspec.msgpack.decode(payload)
                codec.answered(tag, status, body, time_ns)
        except IndexError:
            raise RecordingError(f"the recording names connection {number}, but has {len(self._codecs)}") from None
        except Exception as error:
            self.errors += 1
            if self.errors == 1:
                log.exception("a codec failed on a recorded frame")
                self.notes.append(f"a codec failed on a frame of {to_iso(time_ns)}: {error!r}")
            return
        frames = codec.frames_to_send()
        if frames:
            self._outgoing.extend(frames)

    def _take_other(self, kind: int, time_ns: int, payload: bytes) -> None:
        if kind == SENT:
            self.sent += 1
            if not self._outgoing or self._outgoing.popleft() != payload:
                self.sent_otherwise += 1
        elif kind == ROWS:
            self.checked += 1
            self.different += self.table.digest() != payload
        elif kind == START:
            self._start(decoded(payload))
        elif kind == LOST:
            self.notes.append(f"{to_iso(time_ns)}: {payload.decode()}; the replay is not exact from there on")

    def _start(self, header: dict[str, Any]) -> None:
        self.header = header
        table = RowTable(self._epoch() if self._epoch is not None else header["epoch"])
        try:
            self._codecs = [_made_again(connection["codec"], table) for connection in header["connections"]]
            venues = market_of(header)["venues"]
        except (KeyError, TypeError, VolSurfaceError) as error:
            raise RecordingError(
                f"{self.recording.folder} was made by version {header.get('version')} and cannot be played by this one: "
                f"{error!r}"
            ) from error
        for venue in venues:
            table.watch(VenueGroup(venue, [codec for codec in self._codecs if codec.venue == venue]))
        self._outgoing.clear()
        self.table = table
        if self.on_start is not None:
            self.on_start(table)
