"""The way between a simulated venue's session and its client: the venue's latency, and frames spoiled on command.

A link knows nothing of a venue's protocol. It finds the frames of one book by letting the session publish that book's
move alone; what it does to them is the same for every venue. Used by the server (a socket) and by the conformance kit
(memory) alike.
"""

import random
import re
from collections import deque
from collections.abc import Sequence
from decimal import Decimal

from volsurface.simulator.market import Option
from volsurface.simulator.venue import BookMove, Changes, VenueSession

NS_PER_S = 1_000_000_000
GARBAGE_FRAMES = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"chan',
    b"<html><body>502 Bad Gateway</body></html>",
    b"[]",
    b"null",
    b'{"e":"\xff\xfe","data":17}',
    b"",
    b'{"topic":{},"arg":[],"stream":0,"params":"x","data":{"a":{}}}',
)
SPOILS = ("gap", "duplicate", "out_of_order", "truncated")  # faults of one book's next change
_DECIMAL = re.compile(rb'(?<=[:\[,])(-?\d+\.\d+)(?=[,\]}])|(?<=")(-?\d+\.\d+)(?=")')


class Link:
    """One client's session and what lies between the two.

    close: code and reason once the venue has hung up, (1006, "") for a cut without a close frame.
    """

    def __init__(
        self, session: VenueSession, latency_ns: int, too_slow: tuple[int, str], generator: random.Random
    ) -> None:
        self.session = session
        self.close: tuple[int, str] | None = None
        self._latency_ns, self._too_slow, self._random = latency_ns, too_slow, generator
        self._queue: deque[tuple[int, bytes]] = deque()  # (due, frame), in order of both
        self._spoiled: dict[Option, str] = {}
        self._held: dict[Option, list[bytes]] = {}
        self._held_up_until_ns = 0
        self._half_open = False
        self._scientific_until_ns = 0

    def receive(self, frame: bytes | str, now_ns: int) -> None:
        """Take a message of the client."""
        if self.close is None and not self._half_open:
            self.session.receive(frame, now_ns)
            self._collect(now_ns)

    def publish(self, now_ns: int, changes: Changes) -> int:
        """Let the session tell its client what changed; return how many messages that were."""
        if self.close is not None or self._half_open:
            return 0
        session = self.session
        if not self._spoiled and not self._held:
            sent = session.publish(now_ns, changes)
            self._collect(now_ns)
            return sent
        sent = session.publish(now_ns, Changes(roll=changes.roll))
        self._collect(now_ns)
        whole: list[BookMove] = []
        for move in changes.books:
            if move.option in self._spoiled or move.option in self._held:
                sent += session.publish(now_ns, Changes(books=(move,)))
                self._queue_all(self._spoil(move.option, session.frames_to_send()), now_ns)
            else:
                whole.append(move)
        rest = Changes(books=whole, tickers=changes.tickers, trades=changes.trades, second=changes.second)
        sent += session.publish(now_ns, rest)
        self._collect(now_ns)
        return sent

    def timer(self, now_ns: int) -> None:
        """Let the session do what is due."""
        due_ns = self.session.deadline_ns()
        if self.close is None and not self._half_open and due_ns is not None and due_ns <= now_ns:
            self.session.timer(now_ns)
            self._collect(now_ns)

    def frames_due(self, now_ns: int) -> list[bytes]:
        """Return the messages that have arrived at the client by `now_ns`."""
        frames, queue = [], self._queue
        while queue and queue[0][0] <= now_ns:
            frames.append(queue.popleft()[1])
        return frames

    def arrival_ns(self) -> int | None:
        """Return when the next message arrives, or None."""
        return self._queue[0][0] if self._queue else None

    def cut(self) -> None:
        """Lose the connection and what is under way."""
        self.close = self.close or (1006, "")
        self._queue.clear()

    def inject(self, fault: str, now_ns: int, seconds: float, option: Option | None = None) -> bool:
        """Commit a fault of this client; `option` chooses the book, else it is any that is followed.

        Returns False when it cannot be done: nothing is followed, or the venue has no such fault.
        """
        books = self.session.follows.books
        if option is None and books:
            option = self._random.choice(list(books))
        if fault in SPOILS:
            if option is None or option not in books:
                return False
            self._spoiled[option] = fault
        elif fault == "garbage":
            self._queue_all(GARBAGE_FRAMES, now_ns)
        elif fault == "scientific":
            self._scientific_until_ns = now_ns + round(seconds * NS_PER_S)
        elif fault == "lag":
            self._held_up_until_ns = now_ns + round(seconds * NS_PER_S)
        elif fault == "half_open":
            self._half_open = True
            self._queue.clear()
        elif fault == "drop":
            self.cut()
        elif fault == "slow_reader":
            self.close = self._too_slow
            self._queue.clear()
        else:
            done = self.session.inject(fault, now_ns, option)
            self._collect(now_ns)
            return done
        return True

    def _spoil(self, option: Option, frames: list[bytes]) -> Sequence[bytes]:
        fault = self._spoiled.pop(option, None)
        if fault is None:  # the change that overtakes the one held back
            return frames + self._held.pop(option)
        self._held.pop(option, None)
        if fault == "gap":
            return ()
        if fault == "duplicate":
            return frames + frames
        if fault == "truncated":
            return [frame[: self._random.randrange(len(frame))] for frame in frames]
        self._held[option] = frames
        return ()

    def _collect(self, now_ns: int) -> None:
        frames = self.session.frames_to_send()
        if frames:
            self._queue_all(frames, now_ns)
        if self.session.close is not None and self.close is None:
            self.close = self.session.close

    def _queue_all(self, frames: Sequence[bytes], now_ns: int) -> None:
        due_ns = max(now_ns + self._latency_ns, self._held_up_until_ns)
        if self._queue:
            due_ns = max(due_ns, self._queue[-1][0])
        if now_ns < self._scientific_until_ns:
            frames = [_DECIMAL.sub(_in_scientific_notation, frame) for frame in frames]
        self._queue.extend([(due_ns, frame) for frame in frames])


def _in_scientific_notation(found: "re.Match[bytes]") -> bytes:
    """Return the same number as 1.234E+4."""
    digits = Decimal(found.group().decode()).normalize()
    return f"{digits:E}".encode()
