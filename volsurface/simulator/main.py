"""Runs simulated venues until told to stop: the service behind `volsurface simulate`."""

import asyncio
import gc
import logging
import ssl as tls
from collections.abc import Callable, Mapping, Sequence

from volsurface.clock import Clock, SystemClock
from volsurface.errors import ServiceError, VenueError, unknown_name
from volsurface.simulator.binance_protocol import BinanceVenue
from volsurface.simulator.bybit_protocol import BybitVenue
from volsurface.simulator.deribit_protocol import DeribitVenue
from volsurface.simulator.derive_protocol import DeriveVenue
from volsurface.simulator.fault_table import fault_named
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.okx_protocol import OkxVenue
from volsurface.simulator.server import VenueServer
from volsurface.simulator.true_surface import profile
from volsurface.simulator.venue import Venue
from volsurface.simulator.venue_host import VenueHost
from volsurface.simulator.venue_profiles import venue_profile

logger = logging.getLogger(__name__)

# A venue that can be simulated: its protocol, made around its view of the market.
PROTOCOLS: dict[str, Callable[[VenueMarket], Venue]] = {
    "bybit": BybitVenue,
    "deribit": DeribitVenue,
    "okx": OkxVenue,
    "binance": BinanceVenue,
    "derive": DeriveVenue,
}
VENUES = tuple(PROTOCOLS)


def simulated_venue(name: str, underlyings: Sequence[str], seed: int, now_ns: int, **listing: int | None) -> Venue:
    """Return a simulated venue with its market; `listing` are the limits of `VenueMarket`.

    Raises VenueError for a venue or an underlying that is not simulated.
    """
    if name not in PROTOCOLS:
        raise VenueError(unknown_name("simulated venue", name, VENUES))
    for coin in underlyings:
        profile(coin)
    return PROTOCOLS[name](VenueMarket(underlyings, seed, now_ns, venue_profile(name), **listing))


async def run_simulator(
    *,
    port: int = 0,
    rate: float = 1000.0,
    seed: int = 1,
    underlyings: Sequence[str] = ("BTC", "ETH"),
    venues: Sequence[str] = ("deribit",),
    faults: Mapping[str, float] | None = None,
    clock: Clock | None = None,
    ssl: tls.SSLContext | None = None,
    ready: Callable[[dict[str, str]], None] | None = None,
    stop: asyncio.Event,
) -> None:
    """Serve the simulated `venues` on loopback until `stop` is set, each on a port of its own.

    port: of the first venue, the others take the ports after it; 0 takes free ones. rate: messages per second of all
    venues, shared out by the size of their listings. faults: events per second and venue, by name (`fault_table`).
    ready: called with {venue: url} once clients can connect.
    Raises VenueError for a venue or underlying that is not simulated, SettingsError for an unknown fault, ServiceError
    when a port is taken.
    """
    for fault in faults or {}:
        fault_named(fault)
    clock = clock or SystemClock()
    names, coins = tuple(dict.fromkeys(venues)), tuple(dict.fromkeys(underlyings))
    # The first prices and vols may compile kernels: done beside the loop, so that a stop is still obeyed.
    made = await asyncio.to_thread(_warm_venues, names, coins, seed, clock.now_ns())
    listed = sum(len(venue.market.options) for venue in made.values())
    servers: dict[str, VenueServer] = {}
    try:
        for i, (name, venue) in enumerate(made.items()):
            share = rate * len(venue.market.options) / listed
            servers[name] = server = VenueServer(VenueHost(venue, rate=share, faults=faults), clock)
            try:
                await server.start(port=port + i if port else 0, ssl=ssl)
            except OSError as error:
                raise ServiceError(
                    f"the simulator cannot listen on port {port + i}: {error.strerror or error}"
                ) from error
            logger.info("simulating %d options at %s", len(venue.market.options), server.url)
        gc.freeze()  # a full collection would walk every option and delay heartbeats
        if ready is not None:
            ready({name: server.url for name, server in servers.items()})
        await _run_all(list(servers.values()), stop)
    finally:
        gc.unfreeze()  # the process may be another's: what it holds must be found again, at the latest when it ends
        await asyncio.gather(*(server.stop() for server in servers.values()))


async def _run_all(servers: Sequence[VenueServer], stop: asyncio.Event) -> None:
    """Run until `stop` is set or one of them fails, which is raised."""
    ended = asyncio.Event()
    running = [asyncio.create_task(server.run_until(ended)) for server in servers]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, *running}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    ended.set()
    await asyncio.gather(*running)


def _warm_venues(names: Sequence[str], coins: Sequence[str], seed: int, now_ns: int) -> dict[str, Venue]:
    venues = {name: simulated_venue(name, coins, seed, now_ns) for name in names}
    for venue in venues.values():
        venue.market.tickers(venue.market.options)
    return venues
