"""What a codec tells its sink besides quotes: events cut to a readable length, and samples of what it did not understand."""

from collections.abc import Sequence
from typing import Any

from volsurface.venues.codec import Sink

EVENT_TEXT = 200  # longest text of an event
REJECT_EVENT_NS = 1_000_000_000  # at most one sample of the rejected frames in this time
SOME = 3  # names given of a long list


class Reports:
    """The events of one codec; `venue` opens the text of those that are about the connection."""

    def __init__(self, venue: str, sink: Sink) -> None:
        self._venue = venue
        self._sink = sink
        self._reject_event_ns = -REJECT_EVENT_NS

    def event(self, kind: str, now_ns: int, severity: str = "info", text: str = "", **numbers: Any) -> None:
        """Pass an event on (market.quote.EVENT_KINDS)."""
        self._sink.event(kind, now_ns, severity, text=text[:EVENT_TEXT], **numbers)

    def reject(self, frame: bytes, why: str, rejected: int, now_ns: int) -> None:
        """Keep a sample of the frames that were not understood; `rejected` of them so far."""
        if now_ns - self._reject_event_ns >= REJECT_EVENT_NS:
            self._reject_event_ns = now_ns
            text = f"{self._venue}: {why[:90]}: {frame[:EVENT_TEXT].decode(errors='replace')}"
            self.event("reject_frame", now_ns, "warning", text, value=rejected)

    def names(self, kind: str, names: Sequence[str], what: str, now_ns: int) -> None:
        """Say something about several names at once: how many, `what`, and the first of them."""
        if names:
            some = ", ".join(names[:SOME]) + (", ..." if len(names) > SOME else "")
            self.event(kind, now_ns, "warning", f"{self._venue}: {len(names)} {what}: {some}", value=len(names))
