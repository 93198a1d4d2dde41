"""The Python client against a real server: the same handle as on the server's own machine."""

import asyncio
import json

import pytest
from scripted_market import publication
from served_api import ALICE, ApiServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

import volsurface as vs
from volsurface.dashboard.hub import SurfaceHub
from volsurface.errors import ServiceError, SettingsError
from volsurface.io.remote import RemoteClient
from volsurface.io.surface_frames import MSGPACK, FrameWriter
from volsurface.surface.surface import Surface


async def until(client: RemoteClient, wanted) -> None:
    """Poll until the client has what is wanted."""
    async with asyncio.timeout(20):
        while not wanted():
            await client.poll()


async def test_a_remote_handle_follows_the_surface_bit_for_bit(server: ApiServer) -> None:
    live = vs.connect(server.url, token=ALICE)
    assert isinstance(live, RemoteClient)
    assert (live.connected, live.error) == (False, "not asked yet")
    try:
        await until(live, lambda: {"BTC", "ETH"} <= live.surfaces.keys() and live.connected)
        was = live.surfaces["BTC"].surface_id
        await asyncio.to_thread(server.script, "refit", row=2)
        await until(live, lambda: live.surfaces["BTC"].surface_id == was + 1)
        held = live.surfaces["BTC"]
        answer = await asyncio.to_thread(server.get, "/surface/BTC")
        assert held.surface == Surface.from_dict(answer["surface"])
        columns = (await asyncio.to_thread(server.get, "/quotes/BTC"))["columns"]
        assert held.quotes.strike.tolist() == columns["strike"]
        assert held.quotes.bid_vol.tolist() == columns["bid_vol"]
        assert live.status["venues"][0]["name"] == "deribit"
        assert live.settings_version >= 1 and "fit" in live.settings
        with pytest.raises(SettingsError, match="read-only"):
            await live.change_settings({}, "a notebook")
        with pytest.raises(SettingsError, match="read-only"):
            await live.playback(paused=True)
        hub = SurfaceHub(live)  # what a page reads from takes it as it is
        hub.take()
        assert set(hub.underlyings) == {"BTC", "ETH"}
        assert hub.picture("BTC") is not None
    finally:
        await live.close()
    assert not live.connected


@pytest.mark.parametrize(
    ("token", "words"), [("wrong", "401: this token is not known"), (None, "401: log in on the page first")]
)
async def test_a_refusal_is_told_in_the_servers_words(closed_server: ApiServer, token: str | None, words: str) -> None:
    live = RemoteClient(closed_server.url, token)
    try:
        await until(live, lambda: live.error != "not asked yet")
        assert words in live.error
        assert not live.connected
    finally:
        await live.close()


async def test_a_server_that_is_away_or_another_one_is_named(unused_tcp_port: int) -> None:
    live = RemoteClient(f"http://127.0.0.1:{unused_tcp_port}")
    try:
        await until(live, lambda: live.error != "not asked yet")
        assert f"127.0.0.1:{unused_tcp_port} does not answer" in live.error
    finally:
        await live.close()


async def test_a_gap_is_healed_without_the_readers_help() -> None:
    """A server that leaves out a frame: the client asks once, and has the surface again."""
    said: list[str | bytes] = []
    writer = FrameWriter("BTC")

    def http(connection: ServerConnection, request: Request) -> Response | None:
        if "/stream/" in request.path:
            return None
        listed = {"underlyings": [{"underlying": "BTC"}]}
        status = {"status": {}, "settings": {}, "settings_version": 1, "connected": True, "error": "", "events": []}
        return connection.respond(200, json.dumps(listed if "underlyings" in request.path else status))

    async def speak(connection: ServerConnection) -> None:
        writer.update(publication(surface_id=1))
        await connection.send(writer.snapshot(MSGPACK))
        writer.update(publication(phase=0.1, surface_id=2))
        writer.update(publication(phase=0.2, surface_id=3))
        await connection.send(writer.patch(MSGPACK))
        said.append(await connection.recv())
        await connection.send(writer.snapshot(MSGPACK))
        await connection.wait_closed()

    async with serve(speak, "127.0.0.1", 0, process_request=http) as other:
        live = RemoteClient(f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}")
        try:
            await until(live, lambda: "BTC" in live.surfaces and live.surfaces["BTC"].surface_id == 3)
            assert (said, live.resyncs) == (["resync"], 1)
        finally:
            await live.close()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "nats://127.0.0.1:4222"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ServiceError, match="a server's url is like"):
        vs.connect(url)
