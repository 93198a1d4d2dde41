import asyncio
import socket
import urllib.request

import pytest
from websockets.asyncio.client import connect

from volsurface.clock import SystemClock
from volsurface.errors import ServiceError, SettingsError, VenueError
from volsurface.io.connection import Connection
from volsurface.io.rest import rest_url_beside
from volsurface.market.row_table import RowTable
from volsurface.simulator.main import VENUES, run_simulator
from volsurface.venues.codec import Codec
from volsurface.venues.registry import connections_needed, make_codec, shard_url

CHANNELS = ("ticker", "book")


async def test_it_tells_its_address_and_ends_when_told() -> None:
    stop, urls = asyncio.Event(), asyncio.Queue()
    running = asyncio.create_task(run_simulator(underlyings=["ETH"], ready=urls.put_nowait, stop=stop))
    url = (await urls.get())["deribit"]
    async with connect(url) as client:
        stop.set()
        await running
        await client.wait_closed()
        assert client.close_code == 1001
    with pytest.raises(OSError):
        await connect(url)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"venues": ["deribt"]}, VenueError, "did you mean 'deribit'"),
        ({"underlyings": ["DOGE"]}, VenueError, "BTC, ETH"),
        ({"faults": {"flood": 1.0}}, SettingsError, "Allowed: .*gap.*outage"),
    ],
)
async def test_what_is_not_simulated_is_refused_with_a_sentence(wrong: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        await run_simulator(stop=asyncio.Event(), **wrong)


async def test_a_busy_port_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port}"):
            await run_simulator(port=port, underlyings=["BTC"], stop=asyncio.Event())


async def test_all_venues_serve_our_connections_and_one_that_is_out_leaves_the_others() -> None:
    """Sockets and REST of every venue from one process; an outage of one is nothing to the others."""
    stop, urls = asyncio.Event(), asyncio.Queue()
    running = asyncio.create_task(
        run_simulator(underlyings=["BTC"], venues=VENUES, rate=3000.0, ready=urls.put_nowait, stop=stop)
    )
    addresses: dict[str, str] = await urls.get()
    assert set(addresses) == set(VENUES)
    table, ended = RowTable(epoch=1), asyncio.Event()
    codecs: dict[str, list[Codec]] = {}
    connections = []
    for venue, url in addresses.items():
        n = connections_needed(venue, 1, CHANNELS)
        for shard in [(i, n) for i in range(n)]:
            codec = make_codec(venue, ["BTC"], CHANNELS, table, rest_url_beside(url), shard)
            codecs.setdefault(venue, []).append(codec)
            connection = Connection(shard_url(venue, url, shard), codec, SystemClock(), first_delay_s=0.05)
            connections.append(asyncio.create_task(connection.run(ended)))

    def live(venue: str) -> bool:
        return all(codec.state == "live" for codec in codecs[venue])

    async with asyncio.timeout(60):
        while not all(map(live, VENUES)):
            await asyncio.sleep(0.05)
        host = addresses["okx"].replace("ws://", "http://").partition("/ws")[0]
        await asyncio.to_thread(urllib.request.urlopen, f"{host}/volsurface/fault?name=outage&seconds=1", None, 20)
        while live("okx"):
            await asyncio.sleep(0.01)
        assert all(live(venue) for venue in VENUES if venue != "okx")
        while not all(map(live, VENUES)):
            await asyncio.sleep(0.05)
        while not all(any(codec.books for codec in codecs[venue]) for venue in VENUES):
            await asyncio.sleep(0.05)
    for venue, each in codecs.items():
        assert sum(codec.listed for codec in each) > 200, venue
        assert [(codec.rejected, codec.gaps) for codec in each] == [(0, 0)] * len(each), venue
        assert max(codec.reconnects for codec in each) == (venue == "okx")
    ended.set()
    await asyncio.gather(*connections)
    stop.set()
    await running
