"""Holds a request until something changes, and wakes all holders once per turn of the loop."""

import asyncio

HOLD_S = 0.100  # nothing newer for this long: an empty reply goes out, the liveness beat
LOST_S = 3 * HOLD_S  # three beats missed: the service is gone


class Change:
    """The moment of the next change. Several changes in one turn of the loop are one: their rows leave together."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._scheduled = False

    def notify(self) -> None:
        """Something has changed; those who wait go on in the loop's next turn, after the current socket read."""
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._scheduled = False
        for future in self._waiting:
            _settle(future)

    async def wait(self, timeout_s: float = HOLD_S) -> None:
        """Return at the next change, or after `timeout_s`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.add(future)
        timer = loop.call_later(timeout_s, _settle, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
