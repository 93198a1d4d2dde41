"""What an overloaded connection may decode late: frames that a newer one of the same kind makes worthless.

A ticker says everything about its instrument, so of those that wait only the newest is decoded. A change of a book, a
trade or a change of the listing is worth nothing without the ones before it: none is ever passed over.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from volsurface.clock import NS_PER_MS

FULL_READ_BYTES = 224 << 10  # asyncio reads at most 256 KiB at once: one so long leaves more than we keep up with
# A frame waits so long at first, and twice as long each time that was not enough: what lasts needs more to be superseded.
FIRST_WAIT_NS, LONGEST_WAIT_NS = 20 * NS_PER_MS, 160 * NS_PER_MS


@runtime_checkable
class PatientCodec(Protocol):
    """A codec that can tell which frames may wait."""

    messages: int
    superseded: int  # frames that were received and never decoded

    def waiting_key(self, frame: bytes) -> bytes | None:
        """Return the key under which a newer frame replaces this one while both wait; b"" for one that must be decoded
        now and may overtake those that wait; None for one that must find everything before it decoded."""


class LateFrames:
    """Frames of one connection that wait for the end of an overload.

    receive: decodes one frame as received at a time; it never raises.
    active: whether the last read was a full one. wait_ns: how long a frame may wait now. A frame that is passed over is counted in `codec.superseded`, and in
    `codec.messages` like any other.
    """

    def __init__(self, codec: PatientCodec, receive: Callable[[bytes, int], None]) -> None:
        self._codec = codec
        self._receive = receive
        self._waiting: dict[bytes, tuple[bytes, int]] = {}
        self._since_ns = 0
        self.active = False
        self.wait_ns = FIRST_WAIT_NS

    def begin_read(self, size: int, now_ns: int) -> None:
        """Learn how much one read of the socket has brought: a full one is the sign of an overload, a short one of its end."""
        self.active = size >= FULL_READ_BYTES
        if not self.active:
            self.wait_ns = FIRST_WAIT_NS
            self.decode()
        elif self._waiting and now_ns - self._since_ns >= self.wait_ns:
            self.wait_ns = min(2 * self.wait_ns, LONGEST_WAIT_NS)
            self.decode()
        if not self._waiting:
            self._since_ns = now_ns

    @property
    def waiting(self) -> int:
        """Return how many frames wait."""
        return len(self._waiting)

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Take one frame during an overload: put it aside, or decode it."""
        key = self._codec.waiting_key(frame)
        if key:
            if key in self._waiting:
                self._codec.superseded += 1
                self._codec.messages += 1
            self._waiting[key] = frame, now_ns
            return
        if key is None:
            self.decode()
        self._receive(frame, now_ns)

    def decode(self) -> None:
        """Decode what waits, each with the time it was received at."""
        waiting, self._waiting = self._waiting, {}
        for frame, now_ns in waiting.values():
            self._receive(frame, now_ns)
