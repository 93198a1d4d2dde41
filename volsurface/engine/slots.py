"""The engine's own versioned table: the newest value of each slot, and events that are not conflated.

Consumers (pages, historian, notebooks) ask for everything newer than their cursor, as the engine asks the feed. A slot is
replaced whole. A reply is held until something is newer or a moment has passed: an empty one is the liveness beat.
"""

from collections import deque
from itertools import islice
from typing import Any

from volsurface.io.transport.hold import Change
from volsurface.io.transport.wire import decode_map, encode_map

EVENT_RING = 4096  # two minutes of publications of two underlyings at ten steps a second


class SlotTable:
    """Slots by name; `version` grows by one at each change. Belongs to one event loop."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.version = 0
        self._slots: dict[str, tuple[int, bytes]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENT_RING)
        self.event_seq = 0
        self._change = Change()

    def set(self, name: str, body: bytes) -> None:
        """Replace a slot and wake whoever waits."""
        self.version += 1
        self._slots[name] = (self.version, body)
        self._change.notify()

    def event(self, kind: str, ts_ns: int, text: str = "", severity: str = "info", **detail: Any) -> None:
        """Append an event; events are numbered, so a consumer sees when the ring has lost some."""
        self.event_seq += 1
        self._events.append(
            {
                "seq": self.event_seq, "ts_ns": ts_ns, "kind": kind, "severity": severity, "text": text, "detail": detail
            }
        )  # fmt: skip
        self._change.notify()

    def newest(self, name: str) -> bytes | None:
        """Return a slot's body, or None."""
        slot = self._slots.get(name)
        return slot[1] if slot else None

    async def reply(self, body: bytes) -> bytes:
        """Answer a SLOTS request: {"epoch", "cursor", "event_cursor"} -> what is newer, at once or when it comes.

        A consumer of an earlier epoch gets everything, and events from now on.
        """
        request = decode_map(body)
        known = request.get("epoch") == self.epoch
        cursor = request.get("cursor", 0) if known else 0
        event_cursor = request.get("event_cursor", 0) if known else self.event_seq
        if self.version <= cursor and self.event_seq <= event_cursor:
            await self._change.wait()
        # From the newest back: the ring holds thousands, and a reader lacks a few.
        newer = min(self.event_seq - event_cursor, len(self._events))
        events = list(islice(reversed(self._events), max(newer, 0)))[::-1]
        return encode_map(
            {
                "epoch": self.epoch,
                "cursor": self.version,
                "event_cursor": self.event_seq,
                "dropped": self.event_seq - event_cursor - len(events),
                "slots": {name: value for name, (version, value) in self._slots.items() if version > cursor},
                "events": events,
            }
        )
