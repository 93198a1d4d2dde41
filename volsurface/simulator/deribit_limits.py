"""What Deribit allows one client: credits for calls, and the heartbeat that asks whether it lives. Times are in ns."""

from dataclasses import dataclass

from volsurface.simulator.deribit_requests import TOO_MANY_REQUESTS

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What the venue allows; the defaults are its documented or measured values, tests shorten them.

    heartbeat_min_s: smallest interval of set_heartbeat. answer_s: a test_request unanswered for this long closes.
    idle_s: a socket with no subscription, heartbeat or traffic is dropped after this, without a close frame.
    Costs and pools are credits; pools refill by `refill_per_s`.
    """

    heartbeat_min_s: float = 10.0
    answer_s: float = 10.0
    idle_s: float = 60.0
    refill_per_s: float = 10_000.0
    call_cost: float = 500.0
    call_pool: float = 50_000.0
    subscribe_cost: float = 3_000.0
    subscribe_pool: float = 30_000.0
    listing_cost: float = 10_000.0
    listing_pool: float = 500_000.0


class Credits:
    """A pool of credits that refills with time."""

    def __init__(self, pool: float, refill_per_s: float, now_ns: int) -> None:
        self._pool, self._refill, self._left, self._seen_ns = pool, refill_per_s, pool, now_ns

    def spend(self, cost: float, now_ns: int) -> None:
        """Take `cost` credits; raises RpcError 10028 when there are not that many."""
        self._left = min(self._pool, self._left + (now_ns - self._seen_ns) / NS_PER_S * self._refill)
        self._seen_ns = now_ns
        if cost > self._left:
            raise TOO_MANY_REQUESTS
        self._left -= cost


@dataclass(slots=True)
class Heartbeat:
    """When to ask a client whether it lives, and since when it has not answered.

    Measured with interval 10: the first test_request after 12.0-12.6 s, then one every 10.6 s.
    """

    interval_s: float
    next_ns: int
    unanswered_since_ns: int | None = None
    storm_until_ns: int = 0

    @classmethod
    def started(cls, interval_s: float, now_ns: int) -> "Heartbeat":
        """Return the heartbeat of a client that has just set it."""
        return cls(interval_s, now_ns + round(1.2 * interval_s * NS_PER_S))

    def deadline_ns(self, answer_s: float) -> int:
        """Return when there is something to do next."""
        if self.unanswered_since_ns is None:
            return self.next_ns
        return min(self.next_ns, self.unanswered_since_ns + round(answer_s * NS_PER_S))

    def due(self, now_ns: int) -> bool:
        """Return whether a test_request is to be sent now, and plan the next."""
        if now_ns < self.next_ns:
            return False
        interval_s = 0.02 if now_ns < self.storm_until_ns else 1.06 * self.interval_s
        self.next_ns = now_ns + round(interval_s * NS_PER_S)
        if self.unanswered_since_ns is None:
            self.unanswered_since_ns = now_ns
        return True

    def dead(self, now_ns: int, answer_s: float) -> bool:
        """Return whether a test_request has been unanswered for `answer_s`."""
        since_ns = self.unanswered_since_ns
        return since_ns is not None and now_ns - since_ns >= round(answer_s * NS_PER_S)
