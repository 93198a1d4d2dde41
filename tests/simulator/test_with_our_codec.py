"""The program's own connection and codec against the simulated venue: what is understood is what the market knows."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.lib.recfunctions import structured_to_unstructured
from raw_client import PATIENCE_S

from volsurface.clock import SystemClock
from volsurface.io.connection import Connection
from volsurface.market.quote import BOOK_TOP, CLOSED
from volsurface.market.row_table import RowTable
from volsurface.simulator.order_book import PRICE_UNIT
from volsurface.simulator.server import VenueServer
from volsurface.venues.deribit import DeribitCodec


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def followed(
    venue: VenueServer, *channels: str, underlyings: tuple[str, ...] = ("BTC",)
) -> AsyncIterator[tuple[DeribitCodec, RowTable]]:
    """Follow a venue as the feed service does, until everything is live."""
    table = RowTable(epoch=1)
    codec = DeribitCodec(underlyings, channels, table)
    connection = Connection(venue.url, codec, SystemClock(), first_delay_s=0.01)
    stop = asyncio.Event()
    running = asyncio.create_task(connection.run(stop))
    await eventually(lambda: codec.state == "live")
    yield codec, table
    stop.set()
    await running
    assert connection.handler_errors == 0, connection.last_error


def rows_of(venue: VenueServer, table: RowTable) -> np.ndarray:
    """Return the table's rows in the order of the market's options."""
    return table.rows[[table.directory.iid("deribit", option.symbol) for option in venue.host.market.options]]


def quotes_agree(venue: VenueServer, table: RowTable) -> bool:
    """Return whether all bids, asks and sizes of the rows are those of the market's books."""
    rows = np.nan_to_num(structured_to_unstructured(rows_of(venue, table)[["bid", "ask", "bid_sz", "ask_sz"]]))
    books = [option.book for option in venue.host.market.options]
    wanted = [
        (b.best_bid * PRICE_UNIT, b.best_ask * PRICE_UNIT, b.bids.get(b.best_bid, 0.0), b.asks.get(b.best_ask, 0.0))
        for b in books
    ]
    return np.allclose(rows, wanted, atol=1e-9, rtol=0.0)


@pytest.mark.parametrize("channels", [("ticker", "book"), ("ticker",)])
async def test_rows_hold_what_the_market_holds(start_venue, channels: tuple[str, ...]) -> None:
    venue = await start_venue(rate=8000.0)
    async with followed(venue, *channels) as (codec, table):
        assert codec.subscribed >= len(channels) * len(venue.host.market.options)
        before = codec.messages
        await eventually(lambda: codec.messages > before + 6000)
        venue.host.faults.inject("silence", time.time_ns(), 60.0)
        await eventually(lambda: quotes_agree(venue, table))
        assert codec.rejected == codec.gaps == codec.dropped_channels == codec.reconnects == 0
        rows = rows_of(venue, table)
        options = venue.host.market.options
        assert len(table.directory) == len(options)
        assert np.all((rows["flags"] & BOOK_TOP > 0) == ("book" in channels))
        true_vols = [venue.host.market.true_vol(option) for option in options]
        np.testing.assert_allclose(rows["iv_mark"], true_vols, rtol=0.01)
        marks = np.array([venue.host.market.mark(option) for option in options])
        np.testing.assert_allclose(
            np.nan_to_num(rows["mark"]), marks, rtol=1e-3, atol=1e-3
        )  # the market has gone on since
        for name in ("fwd", "index"):
            np.testing.assert_allclose(rows[name], venue.host.market.smiles["BTC"].spot, rtol=0.1)


async def test_marks_alone_carry_the_whole_chain(start_venue) -> None:
    venue = await start_venue()
    async with followed(venue, "markprice", "quote") as (codec, table):
        await eventually(lambda: np.isfinite(rows_of(venue, table)["iv_mark"]).all())
        true_vols = [venue.host.market.true_vol(option) for option in venue.host.market.options]
        np.testing.assert_allclose(rows_of(venue, table)["iv_mark"], true_vols, rtol=0.01)
        assert codec.rejected == 0


async def test_a_lost_change_is_noticed_and_healed(start_venue) -> None:
    venue = await start_venue(rate=8000.0)
    async with followed(venue, "ticker", "book") as (codec, table):
        for _ in range(3):
            venue.host.faults.inject("gap", time.time_ns())
        await eventually(lambda: codec.gaps == 3)
        await eventually(lambda: np.all(rows_of(venue, table)["flags"] & BOOK_TOP))
        assert codec.rejected == codec.reconnects == 0


async def test_garbage_is_counted_and_a_cut_connection_made_again(start_venue) -> None:
    venue = await start_venue(rate=4000.0)
    async with followed(venue, "ticker") as (codec, table):
        venue.host.faults.inject("garbage", time.time_ns())
        await eventually(lambda: codec.rejected >= 2)
        venue.host.faults.inject("drop", time.time_ns())
        await eventually(lambda: codec.reconnects == 1 and codec.state == "live")
        assert not np.any(rows_of(venue, table)["flags"] & CLOSED)
