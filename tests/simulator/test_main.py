import asyncio
import socket

import pytest
from websockets.asyncio.client import connect

from volsurface.errors import ServiceError, SettingsError, VenueError
from volsurface.simulator.main import run_simulator


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
