"""`volsurface doctor --venues ...`: connect as the feed does, for some seconds, and say what has arrived from each venue."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from volsurface.clock import SystemClock
from volsurface.engine.launch import launch_from_flags
from volsurface.engine.venue_connections import venue_connections
from volsurface.engine.venue_watch import VenueWatch
from volsurface.errors import VenueError, unknown_name
from volsurface.io.connection import Connection
from volsurface.io.rest import RestClient
from volsurface.market.quote import EVENT_KINDS, SEVERITIES
from volsurface.market.row_table import RowTable
from volsurface.settings import MarketSettings
from volsurface.venues.registry import VENUES, default_url
from volsurface.venues.venue_group import VenueGroup

HEADS = "venue state options quoted books channels messages per_s gaps rejected delay".split()


@dataclass(slots=True)
class Arrived:
    """What one venue has brought, as its connections saw it while they were open. trouble: the first, in words."""

    venue: str
    state: str = "down"
    listed: int = 0
    quoted: int = 0
    books: int = 0
    subscribed: int = 0
    messages: int = 0
    messages_per_s: float = 0.0
    gaps: int = 0
    rejected: int = 0
    delay_ms: float = float("nan")
    trouble: str = ""

    @property
    def good(self) -> bool:
        """True when quotes have come."""
        return self.quoted > 0

    def cells(self) -> list[str]:
        """Return the table's cells."""
        delay = "–" if self.delay_ms != self.delay_ms else f"{self.delay_ms:.0f} ms"
        counts = (self.listed, self.quoted, self.books, self.subscribed, self.messages, self.messages_per_s)
        return [self.venue, self.state, *(f"{n:,.0f}" for n in (*counts, self.gaps, self.rejected)), delay]


def listen_to_venues(
    console: Console, data: Path | None, names: Sequence[str], venue_urls: Sequence[str], seconds: float
) -> bool:
    """Print what arrives from each venue in `seconds`; return whether quotes came from all of them.

    names, venue_urls: as for `volsurface serve`. A venue that does not exist is said, and the others are listened to.
    """
    asked = [part.strip().lower() for name in names for part in name.split(",") if part.strip()]
    known = [name for name in asked if name in VENUES]
    unknown = [
        Arrived(name, "unknown", trouble=unknown_name("venue", name, VENUES)) for name in asked if name not in VENUES
    ]
    found = unknown
    if known or venue_urls:
        flags = ["--venues", *known] if known else []
        flags += ["--venue-url", *venue_urls] if venue_urls else []
        flags += ["--data", str(data)] if data else []
        launch = launch_from_flags(flags, "volsurface doctor")
        market = launch.settings().market
        console.print(f"listening to {', '.join(market.venues)} for {seconds:g} s ...", highlight=False)
        found = [*asyncio.run(_listen_to_all(market, launch.venue_urls, seconds)), *unknown]
    table = Table(*(head.replace("_", " ") for head in HEADS))
    for column in table.columns[2:]:
        column.justify = "right"
    for arrived in found:
        table.add_row(*arrived.cells(), style=None if arrived.good else "red")
    console.print(table)
    for arrived in found:
        if arrived.trouble:
            console.print(f"{arrived.venue}: {arrived.trouble}", highlight=False, markup=False, soft_wrap=True)
    return all(arrived.good for arrived in found)


async def _listen_to_all(market: MarketSettings, urls: dict[str, str], seconds: float) -> list[Arrived]:
    rest = RestClient()
    try:
        return await asyncio.gather(
            *(_listen(venue, urls.get(venue), market, rest, seconds) for venue in market.venues)
        )
    finally:
        await rest.close()


async def _listen(venue: str, url: str | None, market: MarketSettings, rest: RestClient, seconds: float) -> Arrived:
    """Connect to one venue as the feed does and return what has arrived after `seconds`."""
    clock, table, stop = SystemClock(), RowTable(epoch=1), asyncio.Event()
    try:
        connections = venue_connections(venue, url or default_url(venue), url is not None, market, table, clock, rest)
    except VenueError as error:
        return Arrived(venue, trouble=str(error))
    group = VenueGroup(venue, [connection.codec for connection in connections])
    table.watch(group)
    watch = VenueWatch(table, connections)
    tasks = [asyncio.create_task(connection.run(stop)) for connection in connections]
    last_s = (
        0.25 * seconds
    )  # delays and rates are those of the last quarter: the first seconds are listings and snapshots
    await asyncio.wait(tasks, timeout=seconds - last_s)
    watch.measure(clock.now_ns(), seconds - last_s)
    await asyncio.wait(tasks, timeout=last_s)
    watch.measure(clock.now_ns(), last_s)
    health = table.health[venue]  # read while connected: at the end every book is unknown again
    arrived = Arrived(
        venue, group.state, group.listed, health.quoted, sum(len(codec.books) for codec in group.codecs),
        group.subscribed, group.messages, health.messages_per_s, group.gaps, group.rejected,
        health.delay_ms, _first_trouble(table, connections, health.quoted),
    )  # fmt: skip
    stop.set()
    await asyncio.wait(tasks, timeout=3.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return arrived


def _first_trouble(table: RowTable, connections: Sequence[Connection], quoted: int) -> str:
    """Return the first warning or error, with what it was about; else why there is no quote."""
    page = table.reply(1_000_000, 1, 0, 0, 0)
    worst = np.flatnonzero(page.events["severity"] > SEVERITIES.index("info"))
    if worst.size:
        event = page.events[worst[0]]
        more = f" (and {worst.size - 1} more)" if worst.size > 1 else ""
        return f"{EVENT_KINDS[event['kind']]}: {page.texts.get(int(event['seq']), '')}{more}"
    if quoted:
        return ""
    return next((connection.last_close for connection in connections if connection.last_close), "no quote has arrived")
