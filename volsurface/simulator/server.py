"""A simulated venue on a loopback port: websocket clients and its REST answers, both on the same port."""

import asyncio
import contextlib
import logging
import ssl as tls
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from volsurface.clock import Clock
from volsurface.simulator.link import Link
from volsurface.simulator.venue_host import VenueHost

logger = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
SHORTEST_TICK_S, LONGEST_TICK_S, MESSAGES_PER_TICK = 0.005, 0.02, 50  # a wake-up costs as much as ten messages
STOP_WITHIN_S = 2.0  # for the closing handshakes; then the sockets are cut
MAX_REQUEST_BYTES = 1 << 20
BACKLOG_BYTES = 32 << 20  # unread bytes at which a slow reader is dropped
CLOSE_S = 10.0  # wait for the closing handshake
TEXT_FRAME = 0x81  # final fragment, opcode text; a server does not mask


class VenueServer:
    """One simulated venue on a socket.

    backlog_bytes: what a client may leave unread. close_s: how long it may take to answer a close frame.
    closed: codes and reasons of the closes this venue has begun.
    """

    def __init__(
        self, host: VenueHost, clock: Clock, *, backlog_bytes: int = BACKLOG_BYTES, close_s: float = CLOSE_S
    ) -> None:
        self.host = host
        self.closed: list[tuple[int, str]] = []
        self._clock = clock
        self._backlog_bytes, self._close_s = backlog_bytes, close_s
        self._tick_s = min(max(MESSAGES_PER_TICK / host.conductor.rate, SHORTEST_TICK_S), LONGEST_TICK_S)
        self._server: Server | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self._clients: dict[Link, ServerConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._secure = False

    async def start(self, host: str = "127.0.0.1", port: int = 0, ssl: tls.SSLContext | None = None) -> None:
        """Listen; port 0 takes a free one. Raises OSError when the port is taken."""
        self._secure = ssl is not None
        self._server = await serve(
            self._serve_client,
            host,
            port,
            ssl=ssl,
            process_request=self._answer_http,
            compression=None,
            ping_interval=self.host.venue.ping_s,
            ping_timeout=None,
            close_timeout=self._close_s,
            max_size=MAX_REQUEST_BYTES,
        )
        self._loop_task = asyncio.create_task(self._run_forever())

    @property
    def url(self) -> str:
        """Return the address clients connect to."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{'wss' if self._secure else 'ws'}://{host}:{port}{self.host.venue.path}"

    async def run_until(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set, then end all connections; an error in publishing ends it too and is raised."""
        assert self._loop_task is not None
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, self._loop_task}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await self.stop()

    async def stop(self) -> None:
        """Stop publishing and close all connections. Raises what made publishing fail, if it did."""
        if self._loop_task is not None:
            self._loop_task.cancel()
        if self._server is not None:
            self._server.close()
            try:
                await asyncio.wait_for(self._server.wait_closed(), STOP_WITHIN_S)
            except TimeoutError:
                for connection in list(self._clients.values()):
                    connection.transport.abort()
                await self._server.wait_closed()
        if self._loop_task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task

    # ---- connections ----

    def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no websocket, and refuse websockets where the venue has none."""
        now_ns = self._clock.now_ns()
        if "websocket" not in request.headers.get("Upgrade", "").lower():
            return _response(*self.host.rest(request.path, now_ns))
        if self.host.out(now_ns):
            return _response(503, b"the simulated venue is out\n")
        if self.host.venue.session(now_ns, request.path) is None:
            return _response(404, f"the simulated venue is at {self.host.venue.path}\n".encode())
        return None

    async def _serve_client(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        link = self.host.join(self._clock.now_ns(), connection.request.path)
        if link is None:  # it went out during the handshake
            connection.transport.abort()
            return
        self._clients[link] = connection
        try:
            async for text in connection:
                link.receive(text, self._clock.now_ns())
                self._write(link, connection)
                if link.close is not None:
                    break
        except ConnectionClosed:
            pass
        finally:
            self.host.leave(link)
            del self._clients[link]
        if link.close is not None:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _write(self, link: Link, connection: ServerConnection) -> None:
        """Write what is due in one piece, and end the connection when the venue hangs up.

        The websockets library would spend more on each message than encoding it costs. Writing beside it is sound
        because it never has a message of ours half sent.
        """
        # Half a tick early: on average at the right time, though there is something to write only once a tick.
        frames = link.frames_due(self._clock.now_ns() + round(0.5 * self._tick_s * NS_PER_S))
        if frames and connection.state is State.OPEN:
            connection.transport.write(b"".join([text_frame(frame) for frame in frames]))
        if connection.transport.get_write_buffer_size() > self._backlog_bytes:
            link.inject("slow_reader", self._clock.now_ns(), 0.0)
        if link.close is not None and link.arrival_ns() is None:
            self._hang_up(link, connection, *link.close)

    def _hang_up(self, link: Link, connection: ServerConnection, code: int, reason: str) -> None:
        if link not in self.host.links:
            return
        self.host.leave(link)
        logger.info("closing a client: %s %s", code, reason)
        self.closed.append((code, reason))
        if code == 1006:
            connection.transport.abort()
            return
        task = asyncio.create_task(self._close(connection, code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, connection: ServerConnection, code: int, reason: str) -> None:
        """Close with a close frame; cut the connection when the client does not answer it, or does not even read it."""
        try:
            async with asyncio.timeout(self._close_s):  # the library waits for ever while the client reads nothing
                await connection.close(code, reason)
        except TimeoutError:
            connection.transport.abort()

    # ---- publishing ----

    async def _run_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self.host.step(self._clock.now_ns())
            for link, connection in list(self._clients.items()):
                self._write(link, connection)
            await asyncio.sleep(max(self._tick_s - (loop.time() - began), 0.0))


def text_frame(payload: bytes) -> bytes:
    """Return `payload` as one unfragmented, unmasked websocket text frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((TEXT_FRAME, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def _response(status: int, body: bytes) -> Response:
    headers = Headers({"Content-Length": str(len(body)), "Content-Type": "application/json", "Connection": "close"})
    return Response(status, HTTPStatus(status).phrase, headers, body)
