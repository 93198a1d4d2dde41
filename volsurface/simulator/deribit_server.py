"""A venue on loopback that speaks Deribit's JSON-RPC over websockets: connections, heartbeats and the publishing loop."""

import asyncio
import contextlib
import logging
import ssl as tls
from collections.abc import Mapping
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response as HttpResponse

from volsurface.clock import Clock
from volsurface.simulator import deribit_frames as frames
from volsurface.simulator.deribit_methods import Methods
from volsurface.simulator.deribit_protocol import (
    HEARTBEAT_CLOSE,
    PATH,
    RATE_CLOSE,
    TOO_MANY_REQUESTS,
    TOO_SLOW_CLOSE,
    RpcError,
    parse_request,
)
from volsurface.simulator.deribit_session import Limits, Session
from volsurface.simulator.faults import Faults
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.publisher import Publisher

logger = logging.getLogger(__name__)

REFRESH_S = 0.1  # true prices and wished quotes of everything
SHORTEST_TICK_S, LONGEST_TICK_S, MESSAGES_PER_TICK = 0.005, 0.02, 50  # a wake-up costs as much as ten messages
STOP_WITHIN_S = 2.0  # for the closing handshakes; then the sockets are cut
MAX_REQUEST_BYTES = 1 << 20


class DeribitServer:
    """One simulated venue. `rate`: tickers, book changes and quotes per second over all subscribed channels."""

    def __init__(
        self,
        market: VenueMarket,
        clock: Clock,
        *,
        rate: float,
        limits: Limits | None = None,
        faults: Mapping[str, float] | None = None,
        refresh_s: float = REFRESH_S,
    ) -> None:
        self.market = market
        self.limits = limits or Limits()
        self.sessions: set[Session] = set()
        self.closed: list[tuple[int, str]] = []  # codes and reasons of the closes this venue has begun
        self._clock = clock
        self._refresh_s = refresh_s
        encoder = frames.Encoder(market)
        self.publisher = Publisher(market, encoder, rate)
        self.faults = Faults(market, self.publisher, self.sessions, faults or {}, market.seed)
        self._methods = Methods(market, encoder, self.publisher, self.faults, clock)
        self._tick_s = min(max(MESSAGES_PER_TICK / rate, SHORTEST_TICK_S), LONGEST_TICK_S)
        self._server: Server | None = None
        self._loop_task: asyncio.Task[None] | None = None
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
            process_request=_refuse_other_paths,
            compression=None,
            ping_interval=None,
            close_timeout=self.limits.close_s,
            max_size=MAX_REQUEST_BYTES,
        )
        self._loop_task = asyncio.create_task(self._publish_forever())

    @property
    def url(self) -> str:
        """Return the address clients connect to."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{'wss' if self._secure else 'ws'}://{host}:{port}{PATH}"

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
                for session in list(self.sessions):
                    session.abort()
                await self._server.wait_closed()
        if self._loop_task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task

    # ---- connections ----

    async def _serve_client(self, connection: ServerConnection) -> None:
        session = Session(connection, self.limits, asyncio.get_running_loop().time())
        self.sessions.add(session)
        try:
            async for text in connection:
                self._answer(session, text)
                if session.closing:
                    break
        except ConnectionClosed:
            pass
        finally:
            self.sessions.discard(session)
            for name in list(session.channels):
                self.publisher.unsubscribe(session, name)
        if session.closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _answer(self, session: Session, text: str | bytes) -> None:
        now = asyncio.get_running_loop().time()
        session.last_traffic = now
        us_in = self._clock.now_ns() // 1000
        request_id: int | str | None = None
        error: RpcError | None = None
        try:
            request = parse_request(text)
            request_id = request.id
            body = f'"result":{self._methods.call(session, request, now)}'
        except RpcError as raised:
            error = raised
            body = frames.error_body(raised.code, raised.message, raised.data)
        session.send(frames.answer(request_id, body, us_in, self._clock.now_ns() // 1000))
        if error is None:
            self._methods.follow_up(session)
        session.flush()
        if error is TOO_MANY_REQUESTS:
            self._close(session, *RATE_CLOSE)

    def _close(self, session: Session, code: int, reason: str) -> None:
        if session.closing:
            return
        logger.info("closing a client: %s", reason)
        self.closed.append((code, reason))
        session.flush()
        session.closing = True
        task = asyncio.create_task(session.end(code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # ---- publishing ----

    async def _publish_forever(self) -> None:
        loop = asyncio.get_running_loop()
        last = refreshed = second = loop.time()
        while True:
            now = loop.time()
            now_ns = self._clock.now_ns()
            now_ms = now_ns // 1_000_000
            if now - refreshed >= self._refresh_s:
                refreshed = now
                roll = self.market.advance(now_ns)
                if roll is not None:
                    self.publisher.publish_roll(roll, now_ms)
                self.publisher.quotes_changed()
            self.faults.draw(now, now - last)
            silent = self.faults.silent(now)
            if not silent:
                self.publisher.publish_due(now, now_ms)
                if now - second >= 1.0:
                    second = now
                    self.publisher.publish_second(now_ms)
                    self.publisher.publish_trade(now_ms)
            for session in list(self.sessions):
                self._tend(session, now, silent)
            last = now
            await asyncio.sleep(max(self._tick_s - (loop.time() - now), 0.0))

    def _tend(self, session: Session, now: float, silent: bool) -> None:
        """Write what waits for one client, ask whether it lives, and end it when it must go."""
        heartbeat, limits = session.heartbeat, self.limits
        if heartbeat is not None and not silent:
            if heartbeat.due(now):
                if session.quiet:
                    session.send(frames.HEARTBEAT)
                session.send(frames.TEST_REQUEST)
                session.flush()
                session.quiet = True
            if heartbeat.dead(now, limits.answer_s):
                self._close(session, *HEARTBEAT_CLOSE)
        if not session.flush():
            self._close(session, *TOO_SLOW_CLOSE)
        if heartbeat is None and not session.channels and now - session.last_traffic >= limits.idle_s:
            session.abort()


def _refuse_other_paths(connection: ServerConnection, request: HttpRequest) -> HttpResponse | None:
    if request.path.partition("?")[0] == PATH:
        return None
    body = f"the simulated venue is at {PATH}\n".encode()
    return HttpResponse(HTTPStatus.NOT_FOUND, "Not Found", Headers({"Content-Length": str(len(body))}), body)
