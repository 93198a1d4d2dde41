"""The connection against a local websocket server: reconnection, backoff, heartbeats, TLS, bad frames, bugs and fairness."""

import asyncio
import datetime
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from volsurface.clock import SystemClock
from volsurface.errors import VenueError
from volsurface.io import connection as module
from volsurface.io.connection import FRAMES_PER_TURN, Connection, reconnect_delay_s, run_connection
from volsurface.market.row_table import RowTable
from volsurface.venues.codec import HttpRequest
from volsurface.venues.registry import make_codec

NAME = "BTC-27JUN35-60000-C"
TICKER = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.%s.100ms","data":{"timestamp":1790133840123,'
    b'"best_bid_price":0.013,"best_bid_amount":1.5,"best_ask_price":0.014,"best_ask_amount":2.5}}}' % NAME.encode()
)
TEST_REQUEST = b'{"params":{"type":"test_request"},"method":"heartbeat","jsonrpc":"2.0"}'


def answer(frame: bytes) -> bytes:
    """Return what a Deribit that lists one option answers to a call."""
    call = json.loads(frame)
    entry = {
        "instrument_name": NAME, "kind": "option", "base_currency": "BTC", "quote_currency": "BTC", "strike": 60000.0,
        "instrument_type": "reversed", "option_type": "call", "expiration_timestamp": 2_066_544_000_000,
    }  # fmt: skip
    results = {"public/get_instruments": [entry], "public/subscribe": call["params"].get("channels")}
    return json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": results.get(call["method"], "ok")}).encode()


class Venue:
    """A server whose nth connection runs the nth of `acts` once it is subscribed; the last act runs for all further ones.

    heard: calls of each connection, by method. closings: code each client closed with.
    """

    def __init__(self, *acts: Callable[["Venue", ServerConnection], Awaitable[None]]) -> None:
        self.acts = acts
        self.heard: list[list[str]] = []
        self.closings: list[int | None] = []

    async def hear(self, peer: ServerConnection, until: bytes = b"") -> None:
        """Answer calls until one that contains `until` came, or for ever; raises ConnectionClosed."""
        while True:
            frame = await peer.recv(decode=False)
            self.heard[-1].append(json.loads(frame)["method"])
            await peer.send(answer(frame), text=True)
            if until and until in frame:
                return

    async def open(self, peer: ServerConnection) -> None:
        """Answer the opening calls up to the subscription of the option's ticker."""
        await self.hear(peer, until=b'"ticker.')

    async def handle(self, peer: ServerConnection) -> None:
        act = self.acts[min(len(self.heard), len(self.acts) - 1)]
        self.heard.append([])
        with suppress(ConnectionClosed):
            await act(self, peer)
        with suppress(ConnectionClosed):
            await self.hear(peer)
        self.closings.append(peer.close_code)


@asynccontextmanager
async def running(venue: Venue, **options) -> AsyncIterator[str]:
    """Serve the venue on a free loopback port; give its address."""
    async with serve(venue.handle, "127.0.0.1", 0, compression=None, **options) as server:
        scheme = "wss" if "ssl" in options else "ws"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws/api/v2"


@pytest.fixture(params=[False, True], ids=["plain", "fast lane"], autouse=True)
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every test of this module holds for both kinds of connection."""
    monkeypatch.setattr(Client, "fast_lane", request.param)
    return request.param


class Client:
    """A connection with a real codec and row table, running in a task."""

    fast_lane = False

    def __init__(self, url: str, table: RowTable | None = None, **options) -> None:
        self.table = table or RowTable(epoch=1)
        self.codec = make_codec("deribit", ["BTC"], ["ticker"], self.table)
        self.states: list[str] = []
        self.stop = asyncio.Event()
        options = {"first_delay_s": 0.001, "max_delay_s": 0.01, "on_state": self.states.append} | options
        options |= {"fast_lane": self.fast_lane}
        self.connection = Connection(url, self.codec, SystemClock(), **options)

    async def __aenter__(self) -> "Client":
        self.task = asyncio.create_task(self.connection.run(self.stop))
        return self

    async def __aexit__(self, *_) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 30)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, or the task has ended."""
        async with asyncio.timeout(30):
            while not condition():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.001)

    def texts(self) -> list[str]:
        """Return the text of every event, in order."""
        page = self.table.reply(page_rows=10_000, epoch=1, cursor=0, event_cursor=0, now_ns=0)
        return list(page.texts.values())

    def bid(self) -> float:
        """Return the bid of the first row, NaN while there is none."""
        rows = self.table.rows
        return float(rows["bid"][0]) if len(rows) else float("nan")


async def open_and_stay(venue: Venue, peer: ServerConnection) -> None:
    await venue.open(peer)


async def open_and_tick(venue: Venue, peer: ServerConnection) -> None:
    await venue.open(peer)
    await peer.send(TICKER, text=True)


# -- the good case ----------------------------------------------------------------------------------------------------


async def test_opens_ticks_and_stops():
    venue = Venue(open_and_tick)
    async with running(venue) as url:
        async with Client(url) as client:
            await client.until(lambda: client.bid() == 0.013)
        assert client.states == ["listing", "subscribing", "live", "down"]
        assert client.connection.last_close == "stopped by us"
    assert venue.closings == [1000]
    assert (client.connection.connects, client.connection.handler_errors) == (1, 0)


async def test_run_connection_is_the_same_in_one_call():
    stop, states = asyncio.Event(), []

    def note(state: str) -> None:
        states.append(state)
        if state == "live":
            stop.set()

    async with running(Venue(open_and_stay)) as url:
        codec = make_codec("deribit", ["BTC"], ["ticker"], RowTable(epoch=1))
        await asyncio.wait_for(run_connection(url, codec, SystemClock(), on_state=note, stop=stop), 30)
    assert states == ["listing", "subscribing", "live", "down"]


async def test_heartbeat_request_is_answered():
    answered = asyncio.Event()

    async def act(venue: Venue, peer: ServerConnection) -> None:
        await venue.open(peer)
        await peer.send(TEST_REQUEST, text=True)
        await venue.hear(peer, until=b"public/test")
        answered.set()

    async with running(Venue(act)) as url, Client(url):
        await asyncio.wait_for(answered.wait(), 30)


# -- endings and reconnection -------------------------------------------------------------------------------------------


async def test_reconnects_and_reports_the_close_code():
    async def drop(venue: Venue, peer: ServerConnection) -> None:
        await venue.open(peer)
        await peer.close(4000, "heartbeat close")

    venue = Venue(drop, open_and_tick)
    async with running(venue) as url, Client(url) as client:
        await client.until(lambda: client.bid() == 0.013)
        assert "deribit: closed by the venue: 4000 heartbeat close" in client.texts()
        assert client.codec.reconnects == 1
        assert client.states == ["listing", "subscribing", "live", "down", "subscribing", "live"]


async def test_a_connection_lost_without_a_word():
    async def cut(venue: Venue, peer: ServerConnection) -> None:
        await venue.open(peer)
        peer.transport.abort()

    async with running(Venue(cut, open_and_tick)) as url, Client(url) as client:
        await client.until(lambda: client.bid() == 0.013)
        assert "deribit: connection lost without a close frame (1006)" in client.texts()


async def test_a_frame_beyond_the_limit_ends_the_connection_with_our_code(monkeypatch):
    monkeypatch.setattr(module, "MAX_FRAME_BYTES", 5000)

    async def shout(venue: Venue, peer: ServerConnection) -> None:
        await venue.open(peer)
        await peer.send(b"x" * 6000, text=True)

    venue = Venue(shout, open_and_tick)
    async with running(venue) as url, Client(url) as client:
        await client.until(lambda: client.bid() == 0.013)
        assert any("closed by us: 1009" in text for text in client.texts())
    assert venue.closings == [1009, 1000]


async def test_waits_for_a_venue_that_is_not_there():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with Client(f"ws://127.0.0.1:{port}") as client:
        await client.until(lambda: client.connection.attempts >= 3)
        assert client.connection.connects == 0
        assert client.states == ["down"]
        assert f"cannot connect to ws://127.0.0.1:{port}" in client.texts()[0]
        async with serve(Venue(open_and_tick).handle, "127.0.0.1", port):
            await client.until(lambda: client.bid() == 0.013)


async def test_a_venue_that_refuses_the_handshake():
    def refuse(peer, _request):
        return peer.respond(429, "too many connections\n")

    async with running(Venue(open_and_stay), process_request=refuse) as url, Client(url) as client:
        await client.until(lambda: client.connection.attempts >= 2)
        assert any("429" in text for text in client.texts())


async def test_stop_ends_a_long_pause_at_once():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with Client(f"ws://127.0.0.1:{port}", first_delay_s=3600.0, max_delay_s=3600.0) as client:
        await client.until(lambda: client.connection.attempts == 1)
    assert client.task.done()


def test_delays_double_are_spread_and_repeat():
    delays = [reconnect_delay_s("wss://a", attempt, 0.25, 30.0) for attempt in range(1, 12)]
    assert delays == [reconnect_delay_s("wss://a", attempt, 0.25, 30.0) for attempt in range(1, 12)]
    assert delays != [reconnect_delay_s("wss://b", attempt, 0.25, 30.0) for attempt in range(1, 12)]
    full = [min(30.0, 0.25 * 2**n) for n in range(11)]
    assert all(whole / 2 <= delay <= whole for delay, whole in zip(delays, full))
    assert len({delay / whole for delay, whole in zip(delays, full)}) == 11
    assert reconnect_delay_s("wss://a", 10_000, 0.25, 30.0) <= 30.0


@pytest.mark.parametrize("url", ["https://www.deribit.com", "www.deribit.com", "", "ws://"])
def test_an_address_that_is_none_is_refused_at_once(url):
    codec = make_codec("deribit", ["BTC"], ["ticker"], RowTable(epoch=1))
    with pytest.raises(VenueError, match="looks like wss://"):
        Connection(url, codec, SystemClock())


# -- TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[str, str]:
    """Paths of a self-signed certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a local venue")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


async def test_tls(certificate):
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with running(Venue(open_and_tick), ssl=server_side) as url:
        assert url.startswith("wss://")
        async with Client(url, ssl=trusting) as client:
            await client.until(lambda: client.bid() == 0.013)
        async with Client(url) as stranger:  # the system's authorities have never heard of it
            await stranger.until(lambda: stranger.connection.attempts >= 1)
            assert "certificate verify failed" in stranger.texts()[0]
        assert stranger.connection.connects == 0


# -- bad frames and our own bugs --------------------------------------------------------------------------------------------


async def test_bad_frames_do_not_kill():
    async def babble(venue: Venue, peer: ServerConnection) -> None:
        await venue.open(peer)
        for frame in (b"", b"hello", b"\xff\xfe", b"{}", b"[" * 5000, TICKER[:-1], TICKER.replace(b"0.013", b'"x"')):
            await peer.send(frame, text=True)
        await peer.send(b"\x00\x01", text=False)
        await peer.send([TICKER[:50].decode(), TICKER[50:].decode()])  # one message in two fragments

    async with running(Venue(babble)) as url, Client(url) as client:
        await client.until(lambda: client.bid() == 0.013)
        assert client.codec.rejected == 8
        assert client.connection.connects == 1
        assert client.connection.handler_errors == 0


async def test_a_raising_sink_costs_one_frame_and_is_reported(caplog):
    class Clumsy(RowTable):
        failures = 3

        def ticker(self, *values) -> None:
            if self.failures:
                self.failures -= 1
                raise ZeroDivisionError("our own mistake")
            super().ticker(*values)

    async def tick(venue: Venue, peer: ServerConnection) -> None:
        await venue.open(peer)
        for _ in range(4):
            await peer.send(TICKER, text=True)

    async with running(Venue(tick)) as url, Client(url, table=Clumsy(epoch=1)) as client:
        await client.until(lambda: client.bid() == 0.013)
        assert client.connection.handler_errors == 3
        assert isinstance(client.connection.last_error, ZeroDivisionError)
        assert client.connection.connects == 1
        reports = [text for text in client.texts() if "our own mistake" in text]
        assert len(reports) == 1  # the other two came within the same second
    assert "our own mistake" in caplog.text


async def test_a_raising_listener_does_not_end_the_connection():
    def listener(state: str) -> None:
        raise LookupError(state)

    async with running(Venue(open_and_tick)) as url, Client(url, on_state=listener) as client:
        await client.until(lambda: client.bid() == 0.013)
        assert client.connection.handler_errors == 3


# -- timers and fairness, with a codec that only counts ---------------------------------------------------------------------


class CountingCodec:
    """Counts frames; its timer sends a frame, and may fail or hang up."""

    venue, state, hang_up = "counting", "live", ""

    def __init__(self) -> None:
        self.sink = RowTable(epoch=1)
        self.frames = self.connections = self.timers = 0
        self.due_ns: int | None = None
        self.out: list[bytes] = []
        self.to_ask: list[HttpRequest] = []
        self.answers: list[tuple[str, int, bytes]] = []
        self.on_timer: Callable[[], None] = lambda: None
        self.on_frame: Callable[[], None] = lambda: None

    def connected(self, now_ns: int) -> None:
        self.connections += 1
        self.hang_up = ""

    def disconnected(self, now_ns: int, reason: str) -> None:
        self.reason = reason

    def receive(self, frame: bytes, now_ns: int) -> None:
        self.frames += 1
        if frame == b"set":
            self.due_ns = now_ns + 1_000_000
        self.on_frame()

    def deadline_ns(self) -> int | None:
        return self.due_ns

    def timer(self, now_ns: int) -> None:
        assert self.due_ns is not None
        assert now_ns >= self.due_ns
        self.timers += 1
        self.on_timer()
        self.due_ns = None
        self.out.append(b"timer")

    def requests_to_make(self) -> list[HttpRequest]:
        asked, self.to_ask = self.to_ask, []
        return asked

    def answered(self, tag: str, status: int, body: bytes, now_ns: int) -> None:
        self.answers.append((tag, status, body))
        self.out.append(b"answered " + tag.encode())

    def frames_to_send(self) -> list[bytes]:
        out, self.out = self.out, []
        return out


@asynccontextmanager
async def counting(handler) -> AsyncIterator[tuple[CountingCodec, Connection]]:
    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        codec, stop = CountingCodec(), asyncio.Event()
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        connection = Connection(url, codec, SystemClock(), first_delay_s=0.001, fast_lane=Client.fast_lane)
        task = asyncio.create_task(connection.run(stop))
        yield codec, connection
        stop.set()
        await asyncio.wait_for(task, 30)


async def test_a_deadline_set_by_a_frame_is_kept():
    heard = asyncio.Queue()

    async def handler(peer: ServerConnection) -> None:
        for _ in range(3):
            await peer.send(b"set", text=True)
            heard.put_nowait(await peer.recv())
        await peer.wait_closed()

    async with counting(handler) as (codec, _):
        for _ in range(3):
            assert await asyncio.wait_for(heard.get(), 30) == "timer"
        assert codec.timers == 3


async def test_a_codec_that_hangs_up_is_connected_again():
    second = asyncio.Event()

    async def handler(peer: ServerConnection) -> None:
        if codec.connections > 1:
            second.set()
        else:
            await peer.send(b"set", text=True)
        await peer.wait_closed()

    async with counting(handler) as (codec, connection):
        codec.on_timer = lambda: setattr(codec, "hang_up", "nothing received for 35 s")
        await asyncio.wait_for(second.wait(), 30)
        assert connection.last_close == "nothing received for 35 s" == codec.reason


async def test_a_failing_timer_is_tried_again_after_a_pause():
    sent = asyncio.Event()

    async def handler(peer: ServerConnection) -> None:
        await peer.send(b"set", text=True)
        await peer.recv()
        sent.set()
        await peer.wait_closed()

    def fail_once() -> None:
        if codec.timers == 1:
            raise ArithmeticError("once")

    async with counting(handler) as (codec, connection):
        codec.on_timer = fail_once
        await asyncio.wait_for(sent.wait(), 30)
        assert (codec.timers, connection.handler_errors) == (2, 1)


async def test_other_tasks_run_during_a_flood(lane):
    if lane:
        pytest.skip("in the fast lane a turn of the loop is one read of the socket, at most 256 KiB")
    frames, turns, seen = 20_000, 0, []

    async def handler(peer: ServerConnection) -> None:
        peer.transport.write(b"\x81\x04null" * frames)  # framed here: thousands of frames in each read
        await peer.wait_closed()

    async def other_task() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with counting(handler) as (codec, _):
        codec.on_frame = lambda: seen.append(turns)
        other = asyncio.create_task(other_task())
        async with asyncio.timeout(30):
            while len(seen) < frames:
                await asyncio.sleep(0.001)
        other.cancel()
    assert len(seen) == frames
    assert all(seen[n + FRAMES_PER_TURN] > seen[n] for n in range(frames - FRAMES_PER_TURN))


async def test_requests_are_made_beside_the_socket_and_their_answers_reach_the_codec_of_the_same_connection():
    heard: list[bytes] = []

    async def venue(peer: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await peer.send("go")
            async for frame in peer:
                heard.append(frame)

    def answer_get(_peer: ServerConnection, request: Request) -> Response | None:
        return Response(200, "OK", Headers(), b"listing") if request.path == "/list" else None

    async with serve(venue, "127.0.0.1", 0, process_request=answer_get) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        codec, stop = CountingCodec(), asyncio.Event()
        asked = [HttpRequest("list", f"http://{address}/list"), HttpRequest("nobody", "http://127.0.0.1:9/")]
        codec.on_frame = lambda: codec.to_ask.extend(asked)
        connection = Connection(f"ws://{address}", codec, SystemClock())
        task = asyncio.create_task(connection.run(stop))
        async with asyncio.timeout(30):
            while len(heard) < 2:
                await asyncio.sleep(0.001)
        stop.set()
        await asyncio.wait_for(task, 30)
    answers = {tag: (status, body) for tag, status, body in codec.answers}
    assert answers["list"] == (200, b"listing")
    assert answers["nobody"][0] == 0
    assert answers["nobody"][1].startswith(b"cannot reach http://127.0.0.1:9/")
    assert sorted(heard) == ["answered list", "answered nobody"]
