"""Where time enters the program: one object that says what time it is, in integer nanoseconds UTC."""

import time
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Clock(Protocol):
    """What every service asks for the time."""

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970 UTC."""


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()


class SteppedClock:
    """A clock that stands still until somebody moves it: simulation, replay and tests."""

    def __init__(self, start_ns: int) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def set(self, now_ns: int) -> None:
        """Move to `now_ns`; replay may also move back (a seek)."""
        self._now_ns = now_ns

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self._now_ns += round(seconds * NS_PER_S)
