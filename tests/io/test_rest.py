"""GETs beside the socket: shared among connections, never served twice to the same, and failures with a reason."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from volsurface.io import rest as module
from volsurface.io.rest import RestClient, rest_url_beside


class Server:
    """Answers every GET with `status` and its own count, once `gate` is open."""

    def __init__(self) -> None:
        self.status, self.requests, self.gate = "200 OK", [], asyncio.Event()
        self.gate.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError, ConnectionError):
            await self.answer(reader, writer)
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            self.requests.append(line.split()[1].decode())
            await self.gate.wait()
            body = str(len(self.requests)).encode()
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (self.status.encode(), len(body)) + body)
            await writer.drain()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, str, RestClient]]:
    server, client = Server(), RestClient()
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    try:
        yield server, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", client
    finally:
        await client.close()
        listener.close()


async def test_shards_share_an_answer_and_a_second_question_is_a_new_one():
    async with serving() as (server, url, client):
        server.gate.clear()
        asked = [asyncio.create_task(client.get(url + "/list?a=1", asker)) for asker in "abc"]
        while not server.requests:
            await asyncio.sleep(0)
        server.gate.set()
        assert await asyncio.gather(*asked) == [(200, b"1")] * 3
        assert await client.get(url + "/list?a=1", "d") == (200, b"1"), "d comes later and has not had it"
        assert await client.get(url + "/list?a=1", "a") == (200, b"2"), "a asks again because it wants news"
        assert await client.get(url + "/list?a=1", "b") == (200, b"2")
        assert await client.get(url + "/list?a=2", "b") == (200, b"3")
        assert server.requests == ["/list?a=1", "/list?a=1", "/list?a=2"]


async def test_an_answer_grows_old_and_a_failure_sooner(monkeypatch):
    monkeypatch.setattr(module, "SHARED_S", 0.0)
    async with serving() as (server, url, client):
        assert await client.get(url, "a") == (200, b"1")
        assert await client.get(url, "b") == (200, b"2")
        server.status = "503 Busy"
        assert await client.get(url, "c") == (503, b"3")
        assert await client.get(url, "d") == (503, b"3"), "a venue in trouble is not asked by all shards at once"
        assert await client.get(url, "c") == (503, b"4")


async def test_an_asker_that_leaves_takes_nothing_from_the_others():
    async with serving() as (server, url, client):
        server.gate.clear()
        leaving, staying = (asyncio.create_task(client.get(url, asker)) for asker in "ab")
        while not server.requests:
            await asyncio.sleep(0)
        leaving.cancel()
        server.gate.set()
        assert await staying == (200, b"1")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://", "nonsense", "http://127.0.0.1:99999/", "ftp://a/b"])
async def test_what_cannot_be_reached_is_status_0_with_the_reason(url):
    client = RestClient()
    status, reason = await client.get(url, "a")
    assert (status, reason.decode().startswith(f"cannot reach {url}: ")) == (0, True), reason
    await client.close()


async def test_silence_and_endless_answers_end(monkeypatch):
    async with serving() as (server, url, client):
        monkeypatch.setattr(module, "MAX_BODY_BYTES", 0)
        status, reason = await client.get(url, "a")
        assert (status, b"longer than 0 bytes" in reason) == (0, True)
        monkeypatch.setattr(module, "TIMEOUT_S", 0.01)
        server.gate.clear()
        status, reason = await client.get(url + "/other", "b")
        assert (status, b"TimeoutError" in reason) == (0, True), reason


def test_a_simulated_venue_answers_beside_its_websocket():
    assert rest_url_beside("ws://127.0.0.1:4711/ws/api/v2") == "http://127.0.0.1:4711"
    assert rest_url_beside("wss://example.org") == "https://example.org"
