"""A simulated venue per test: on a free port, one underlying, as fast as the test wants it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from raw_client import RawClient
from websockets.asyncio.client import connect

from volsurface.clock import SystemClock
from volsurface.simulator.deribit_server import DeribitServer
from volsurface.simulator.market import VenueMarket

StartVenue = Callable[..., Awaitable[DeribitServer]]
Join = Callable[..., Awaitable[RawClient]]


@pytest.fixture
async def start_venue() -> AsyncIterator[StartVenue]:
    """Start venues; they end with the test."""
    venues: list[DeribitServer] = []

    async def start(
        underlyings: tuple[str, ...] = ("BTC",), *, rate: float = 2000.0, seed: int = 7, clock: Any = None, ssl: Any = None, **options: Any
    ) -> DeribitServer:  # fmt: skip
        clock = clock or SystemClock()
        venue = DeribitServer(VenueMarket(underlyings, seed, clock.now_ns()), clock, rate=rate, **options)
        venues.append(venue)
        await venue.start(ssl=ssl)
        return venue

    yield start
    for venue in venues:
        await venue.stop()


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Connect raw clients; they leave with the test."""
    clients: list[RawClient] = []

    async def connected(venue: DeribitServer, *, url: str | None = None, **options: Any) -> RawClient:
        socket = await connect(url or venue.url, compression=None, max_size=None, **options)
        clients.append(RawClient(socket))
        return clients[-1]

    yield connected
    for client in clients:
        client.socket.transport.abort()
