"""Runs simulated venues until told to stop: the service behind `volsurface simulate`."""

import asyncio
import gc
import logging
import ssl as tls
from collections.abc import Callable, Mapping, Sequence

from volsurface.clock import Clock, SystemClock
from volsurface.errors import ServiceError, VenueError, unknown_name
from volsurface.simulator.deribit_server import DeribitServer
from volsurface.simulator.deribit_session import Limits
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.true_surface import profile

logger = logging.getLogger(__name__)

VENUES = ("deribit",)


async def run_simulator(
    *,
    port: int = 0,
    rate: float = 1000.0,
    seed: int = 1,
    underlyings: Sequence[str] = ("BTC", "ETH"),
    venues: Sequence[str] = VENUES,
    faults: Mapping[str, float] | None = None,
    clock: Clock | None = None,
    limits: Limits | None = None,
    ssl: tls.SSLContext | None = None,
    ready: Callable[[dict[str, str]], None] | None = None,
    stop: asyncio.Event,
) -> None:
    """Serve the simulated `venues` on loopback until `stop` is set.

    port: 0 takes a free one. rate: messages per second. faults: events per second by kind (`simulator.faults`).
    ready: called with {venue: url} once clients can connect.
    Raises VenueError for a venue or underlying that is not simulated, SettingsError for an unknown fault, ServiceError
    when the port is taken.
    """
    for name in venues:
        if name not in VENUES:
            raise VenueError(unknown_name("simulated venue", name, VENUES))
    for name in underlyings:
        profile(name)
    clock = clock or SystemClock()
    # The first prices and vols may compile kernels: done beside the loop, so that a stop is still obeyed.
    market = await asyncio.to_thread(_warm_market, tuple(dict.fromkeys(underlyings)), seed, clock.now_ns())
    server = DeribitServer(market, clock, rate=rate, limits=limits, faults=faults)
    try:
        await server.start(port=port, ssl=ssl)
    except OSError as error:
        raise ServiceError(f"the simulator cannot listen on port {port}: {error.strerror or error}") from error
    gc.freeze()  # a full collection would walk every option and delay heartbeats
    logger.info("simulating %d options at %s", len(market.options), server.url)
    if ready is not None:
        ready({name: server.url for name in venues})
    await server.run_until(stop)


def _warm_market(underlyings: tuple[str, ...], seed: int, now_ns: int) -> VenueMarket:
    market = VenueMarket(underlyings, seed, now_ns)
    market.tickers(market.options)
    return market
