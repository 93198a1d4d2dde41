"""The Unix transport: replies arrive whole or not at all, and nobody can make the other end wait or grow."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from volsurface.errors import ServiceError, SettingsError, TransportError
from volsurface.io.transport import unix, wire
from volsurface.io.transport.unix import UnixChannel, UnixServer

LONG = 20.0  # seconds: a limit that a test never reaches


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "feed.sock"


class Handler:
    """Kinds: 1 echoes, 2 in parts, 3 refuses, 4 fails, 5 is held until `free` is set."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.held = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, kind: int, body: bytes) -> wire.Reply:
        if kind == 3:
            raise SettingsError("fit.weighting must be one of three")
        if kind == 4:
            raise KeyError("surprise")
        if kind == 5:
            self.held.set()
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return body if kind != 2 else [body, b"-", body]


async def raw(path: Path, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    return reader, writer


@pytest.mark.parametrize("size", [0, 1, 100, 70_000, wire.MAX_REQUEST])
async def test_bodies_of_any_size_arrive_whole(path, size):
    body = os.urandom(size)
    async with UnixServer(path, Handler()):
        channel = UnixChannel(path, LONG)
        assert await channel.request(1, body) == body
        assert await channel.request(2, body) == body + b"-" + body
        await channel.close()


async def test_a_request_in_single_bytes_is_understood(path):
    frame = wire.request_head(1, b"abc") + b"abc"
    async with UnixServer(path, Handler()):
        reader, writer = await raw(path, *(frame[at : at + 1] for at in range(len(frame))))
        reply = await reader.readexactly(wire.HEAD.size + 3)
        assert reply == wire.reply_head(wire.OK, [b"abc"]) + b"abc"
        writer.close()


async def test_a_refusal_is_a_sentence_and_the_connection_goes_on(path, caplog):
    async with UnixServer(path, Handler()):
        channel = UnixChannel(path, LONG)
        with pytest.raises(TransportError, match="must be one of three"):
            await channel.request(3, b"")
        with pytest.raises(TransportError, match="the service failed to answer; its log has the reason"):
            await channel.request(4, b"")
        assert "surprise" in caplog.text
        assert await channel.request(1, b"x") == b"x"
        await channel.close()


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not this protocol"),
        (wire.HEAD.pack(wire.MAGIC, 1, wire.MAX_REQUEST + 1), "bytes is announced"),
        (wire.request_head(1, b"") + wire.request_head(1, b""), "12 bytes more than its request"),
    ],
)
async def test_a_consumer_that_speaks_otherwise_is_dropped(path, frame, said, caplog):
    async with UnixServer(path, Handler()):
        reader, writer = await raw(path, frame)
        assert await reader.read() == b""
        assert said in caplog.text
        writer.close()
        channel = UnixChannel(path, LONG)  # others are not disturbed
        assert await channel.request(1, b"x") == b"x"
        await channel.close()


async def test_a_second_request_while_one_is_held_drops_the_consumer(path, caplog):
    handler = Handler()
    async with UnixServer(path, handler):
        reader, writer = await raw(path, wire.request_head(5, b""))
        await handler.held.wait()
        writer.write(wire.request_head(1, b""))
        assert await reader.read() == b""
        await handler.cancelled.wait()
        assert "second request while one is held" in caplog.text
        writer.close()


async def test_a_held_request_ends_with_its_consumer(path):
    handler = Handler()
    async with UnixServer(path, handler):
        _, writer = await raw(path, wire.request_head(5, b""))
        await handler.held.wait()
        writer.close()
        await handler.cancelled.wait()


async def test_requests_of_one_channel_take_turns(path):
    handler = Handler()
    async with UnixServer(path, handler):
        channel = UnixChannel(path, LONG)
        held = asyncio.create_task(channel.request(5, b"first"))
        await handler.held.wait()
        second = asyncio.create_task(channel.request(1, b"second"))
        await asyncio.sleep(0)
        handler.free.set()
        assert await asyncio.gather(held, second) == [b"first", b"second"]
        await channel.close()


async def test_a_late_reply_never_answers_the_next_request(path):
    handler = Handler()
    async with UnixServer(path, handler):
        channel = UnixChannel(path, 0.05)
        with pytest.raises(TransportError, match=r"no answer to a 5 request within 0\.05 s"):
            await channel.request(5, b"late")
        handler.free.set()
        channel._timeout_s = LONG
        assert await channel.request(1, b"next") == b"next"
        await channel.close()


async def test_a_cancelled_request_never_answers_the_next_one(path):
    handler = Handler()
    async with UnixServer(path, handler):
        channel = UnixChannel(path, LONG)
        held = asyncio.create_task(channel.request(5, b"late"))
        await handler.held.wait()
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        handler.free.set()
        assert await channel.request(1, b"next") == b"next"
        await channel.close()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (wire.reply_head(wire.OK, [b"x" * 100]) + b"x" * 50, "in the middle of a reply"),
        (wire.reply_head(wire.OK, [b"x" * 100])[:7], "in the middle of a reply"),
        (b"", "before it replied"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not this protocol"),
        (wire.HEAD.pack(wire.MAGIC, wire.OK, wire.MAX_REPLY + 1), "bytes is announced"),
    ],
)
async def test_a_reply_that_is_cut_or_nonsense_is_an_error_and_the_next_request_starts_afresh(path, reply, said):
    async def answer_badly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(wire.HEAD.size)
        writer.write(reply)
        writer.close()

    path.parent.mkdir(mode=0o700)
    channel = UnixChannel(path, LONG)
    async with await asyncio.start_unix_server(answer_badly, str(path)):
        with pytest.raises(TransportError, match=said):
            await channel.request(1, b"")
    async with UnixServer(path, Handler()):
        assert await channel.request(1, b"x") == b"x"
        await channel.close()


async def test_nobody_there_is_a_sentence(path):
    with pytest.raises(TransportError, match=r"nobody listens at .*feed\.sock: No such file"):
        await UnixChannel(path).request(1, b"")


async def test_asking_in_a_circle_for_a_service_that_is_away_leaves_the_loop_to_others(path):
    channel, other = UnixChannel(path), asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(other.set_result, None)
    for _ in range(3):
        with pytest.raises(TransportError):
            await channel.request(1, b"")
    assert other.done()


async def test_a_restarted_service_is_found_again(path):
    channel = UnixChannel(path, LONG)
    for body in (b"one", b"two"):
        async with UnixServer(path, Handler()):
            assert await channel.request(1, body) == body
        with pytest.raises(TransportError):
            await channel.request(1, body)
    await channel.close()


async def test_the_folder_is_private_and_the_file_is_removed(path):
    async with UnixServer(path, Handler()):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.exists()
    assert not path.exists()


async def test_a_folder_that_others_may_enter_is_refused(path):
    path.parent.mkdir()
    path.parent.chmod(0o755)
    with pytest.raises(ServiceError, match="must be yours alone: mode 0700, found 0755"):
        await UnixServer(path, Handler()).start()


async def test_a_stale_socket_file_is_replaced(path):
    path.parent.mkdir(mode=0o700)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    assert path.exists()
    async with UnixServer(path, Handler()):
        channel = UnixChannel(path, LONG)
        assert await channel.request(1, b"x") == b"x"
        await channel.close()


async def test_a_socket_where_somebody_listens_is_left_alone(path):
    async with UnixServer(path, Handler()):
        with pytest.raises(ServiceError, match="another service listens at"):
            await UnixServer(path, Handler()).start()
        channel = UnixChannel(path, LONG)
        assert await channel.request(1, b"x") == b"x"
        await channel.close()


async def test_a_file_that_is_no_socket_is_left_alone(path):
    path.parent.mkdir(mode=0o700)
    path.write_text("mine")
    with pytest.raises(ServiceError, match="a file that is no socket"):
        await UnixServer(path, Handler()).start()
    assert path.read_text() == "mine"


async def test_a_server_does_not_remove_the_socket_of_its_successor(path):
    first = UnixServer(path, Handler())
    await first.start()
    path.unlink()
    async with UnixServer(path, Handler()):
        await first.close()
        assert path.exists()


async def test_a_path_that_is_too_long_is_a_sentence(tmp_path):
    path = tmp_path / ("x" * 120)
    with pytest.raises(ServiceError, match=f"at most {unix.MAX_PATH} are allowed. Choose a shorter run folder"):
        await UnixServer(path, Handler()).start()
    with pytest.raises(TransportError, match=f"has {len(os.fsencode(path))} bytes"):
        await UnixChannel(path).request(1, b"")
