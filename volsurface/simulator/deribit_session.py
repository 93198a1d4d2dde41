"""One client of the simulated Deribit: what waits to be sent, its credits and its heartbeat. Time is seconds, monotonic."""

import asyncio
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from volsurface.simulator.deribit_frames import text_frame
from volsurface.simulator.deribit_protocol import TOO_MANY_REQUESTS


@dataclass(frozen=True, slots=True)
class Limits:
    """What the venue allows; the defaults are its documented or measured values, tests shorten them.

    heartbeat_min_s: smallest interval of set_heartbeat. answer_s: a test_request unanswered for this long closes.
    idle_s: a socket with no subscription, heartbeat or traffic is dropped after this, without a close frame.
    backlog_bytes: unread bytes at which a slow reader is dropped. close_s: wait for the closing handshake.
    Costs and pools are credits; pools refill by `refill_per_s`.
    """

    heartbeat_min_s: float = 10.0
    answer_s: float = 10.0
    idle_s: float = 60.0
    backlog_bytes: int = 32 << 20
    close_s: float = 10.0
    refill_per_s: float = 10_000.0
    call_cost: float = 500.0
    call_pool: float = 50_000.0
    subscribe_cost: float = 3_000.0
    subscribe_pool: float = 30_000.0
    listing_cost: float = 10_000.0
    listing_pool: float = 500_000.0


class Credits:
    """A pool of credits that refills with time."""

    def __init__(self, pool: float, refill_per_s: float, now: float) -> None:
        self._pool, self._refill, self._left, self._seen = pool, refill_per_s, pool, now

    def spend(self, cost: float, now: float) -> None:
        """Take `cost` credits; raises RpcError 10028 when there are not that many."""
        self._left = min(self._pool, self._left + (now - self._seen) * self._refill)
        self._seen = now
        if cost > self._left:
            raise TOO_MANY_REQUESTS
        self._left -= cost


@dataclass(slots=True)
class Heartbeat:
    """When to ask a client whether it lives, and since when it has not answered.

    Measured with interval 10: the first test_request after 12.0-12.6 s, then one every 10.6 s.
    """

    interval: float
    next_at: float
    unanswered_since: float | None = None
    storm_until: float = 0.0

    @classmethod
    def started(cls, interval: float, now: float) -> "Heartbeat":
        """Return the heartbeat of a client that has just set it."""
        return cls(interval, now + 1.2 * interval)

    def due(self, now: float) -> bool:
        """Return whether a test_request is to be sent now, and plan the next."""
        if now < self.next_at:
            return False
        self.next_at = now + (0.02 if now < self.storm_until else 1.06 * self.interval)
        if self.unanswered_since is None:
            self.unanswered_since = now
        return True

    def dead(self, now: float, answer_s: float) -> bool:
        """Return whether a test_request has been unanswered for `answer_s`."""
        return self.unanswered_since is not None and now - self.unanswered_since >= answer_s


@dataclass(eq=False)
class Session:
    """A connection and what is kept about it.

    Frames are collected in order and written to the transport in one piece: the websockets library would spend more on
    each message than encoding it costs. This is sound because the library never has a message of ours half sent.
    """

    connection: ServerConnection
    limits: Limits
    now: float
    channels: set[str] = field(default_factory=set)
    heartbeat: Heartbeat | None = None
    last_traffic: float = 0.0
    closing: bool = False

    def __post_init__(self) -> None:
        limits, now = self.limits, self.now
        self.last_traffic = now
        self.calls = Credits(limits.call_pool, limits.refill_per_s, now)
        self.subscribes = Credits(limits.subscribe_pool, limits.refill_per_s, now)
        self.listings = Credits(limits.listing_pool, limits.refill_per_s, now)
        self._outbox: list[bytes] = []
        self.quiet = True  # nothing was sent since the last heartbeat

    @property
    def open(self) -> bool:
        """Return whether frames can still be sent."""
        return not self.closing and self.connection.state is State.OPEN

    def send(self, payload: bytes) -> None:
        """Queue one text message."""
        self._outbox.append(text_frame(payload))

    def send_frame(self, frame: bytes) -> None:
        """Queue one message that is already a websocket frame, shared between sessions."""
        self._outbox.append(frame)

    def flush(self) -> bool:
        """Write what is queued; return False when the client reads so slowly that it must go."""
        if self._outbox:
            self.quiet = False
            data, self._outbox = b"".join(self._outbox), []
            if self.open:
                self.connection.transport.write(data)
        return self.connection.transport.get_write_buffer_size() <= self.limits.backlog_bytes

    def abort(self) -> None:
        """Cut the connection without a close frame, as a lost network does."""
        self.closing = True
        self.connection.transport.abort()

    async def end(self, code: int, reason: str) -> None:
        """Close with a close frame; cut the connection when the client does not answer it, or does not even read it."""
        try:
            async with asyncio.timeout(
                self.limits.close_s
            ):  # the library waits for ever while the client reads nothing
                await self.connection.close(code, reason)
        except TimeoutError:
            self.abort()
