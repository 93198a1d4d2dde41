"""A simulated venue per test: on a free port, one underlying, as fast as the test wants it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from raw_client import RawClient
from websockets.asyncio.client import connect

from volsurface.clock import SystemClock
from volsurface.simulator.deribit_limits import Limits
from volsurface.simulator.deribit_protocol import DeribitVenue
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.server import VenueServer
from volsurface.simulator.venue_host import VenueHost

StartVenue = Callable[..., Awaitable[VenueServer]]
Join = Callable[..., Awaitable[RawClient]]


@pytest.fixture
async def start_venue() -> AsyncIterator[StartVenue]:
    """Start simulated Deribits; they end with the test."""
    servers: list[VenueServer] = []

    async def start(
        underlyings: tuple[str, ...] = ("BTC",), *, rate: float = 2000.0, seed: int = 7, clock: Any = None,
        ssl: Any = None, limits: Limits | None = None, faults: dict[str, float] | None = None, **options: Any,
    ) -> VenueServer:  # fmt: skip
        clock = clock or SystemClock()
        venue = DeribitVenue(VenueMarket(underlyings, seed, clock.now_ns()), limits)
        server = VenueServer(VenueHost(venue, rate=rate, faults=faults), clock, **options)
        servers.append(server)
        await server.start(ssl=ssl)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Connect raw clients; they leave with the test."""
    clients: list[RawClient] = []

    async def connected(venue: VenueServer, *, url: str | None = None, **options: Any) -> RawClient:
        socket = await connect(url or venue.url, compression=None, max_size=None, **options)
        clients.append(RawClient(socket))
        return clients[-1]

    yield connected
    for client in clients:
        client.socket.transport.abort()
