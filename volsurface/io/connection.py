"""A websocket that drives a codec: frames in, frames out, requests, timers, and a new connection whenever one ends.

The contract with the codec and its sink: decode, write, return. They never await and never log per message, because
while they work no other socket of this process is read and no heartbeat is answered. What they raise is a bug of ours:
it is counted, reported at most once a second, and costs one frame.
"""

import asyncio
import contextlib
import logging
import ssl as tls
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidURI, WebSocketException
from websockets.uri import parse_uri

from volsurface.clock import NS_PER_S, Clock
from volsurface.errors import VenueError
from volsurface.io.fast_lane import FastLane
from volsurface.io.late_frames import LateFrames, PatientCodec
from volsurface.io.rest import RestClient
from volsurface.venues.codec import Codec, HttpRequest

log = logging.getLogger(__name__)

MAX_FRAME_BYTES = 8 << 20  # a listing of all options of a currency is about 1 MB
MAX_UNSENT_BYTES = 1 << 20  # the loop waits for the venue to read only beyond this, so that it goes on reading itself
FRAMES_PER_TURN = 256  # then other tasks run, even when more frames are waiting
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
PING_S = 20.0  # websocket pings find a peer that is gone without a word
STABLE_NS = 10 * NS_PER_S  # a connection that was live so long starts the delays from the first again
LONGEST_WAIT_S = 60.0  # so that a clock that was set forward is noticed
BUG_EVENT_NS = NS_PER_S


def reconnect_delay_s(where: str, attempt: int, first_delay_s: float, max_delay_s: float) -> float:
    """Return the pause before connection attempt number `attempt` (1 is the first repetition), in seconds.

    It doubles up to `max_delay_s` and is shortened by up to a half, by a hash of `where` (address and name) and attempt
    instead of a random number: different connections spread out, and one does the same in every run.
    """
    full_s = min(max_delay_s, first_delay_s * 2.0 ** min(attempt - 1, 30))
    return full_s * (1 - zlib.crc32(f"{where} {attempt}".encode()) / 2**33)


class Connection:
    """One venue connection, made again for ever until told to stop.

    url: ws:// or wss:// address. ssl: how to check a wss:// server; None checks it against the system's authorities.
    name: which of several connections to one address this is, for its log and its delays; default the venue.
    rest: makes the codec's requests, and is shared by the connections of a process; None gives this one its own.
    on_state: called with `codec.state` each time it has changed.
    start_after_s: pause before the first attempt.
    first_delay_s, max_delay_s: pause before the first repetition, and the longest one.
    fast_lane: split frames ourselves, for a third of the time each; needs one of the tested versions of `websockets`.

    connects: times the socket was open.
    attempts: failed or short connections in a row.
    handler_errors: exceptions of the codec or its sink; last_error is the newest.
    last_close: why the last connection ended.
    """

    def __init__(
        self,
        url: str,
        codec: Codec,
        clock: Clock,
        *,
        name: str = "",
        rest: RestClient | None = None,
        on_state: Callable[[str], None] | None = None,
        ssl: tls.SSLContext | None = None,
        start_after_s: float = 0.0,
        first_delay_s: float = 0.25,
        max_delay_s: float = 30.0,
        fast_lane: bool = False,
    ) -> None:
        try:
            self._secure = parse_uri(url).secure
        except InvalidURI as error:
            raise VenueError(f"{error}; an address looks like wss://www.deribit.com/ws/api/v2") from None
        self.url = url
        self.codec = codec
        self.connects = 0
        self.attempts = 0
        self.handler_errors = 0
        self.last_error: Exception | None = None
        self.last_close = ""
        self._clock = clock
        self._name = name or codec.venue
        self._rest = rest
        self._asking: set[asyncio.Task[None]] = set()
        self._socket: ClientConnection | None = None
        self._on_state = on_state
        self._state_told = ""
        self._ssl = ssl
        self._start_after_s = start_after_s
        self._first_delay_s = first_delay_s
        self._max_delay_s = max_delay_s
        self._fast_lane = fast_lane
        self._bug_event_ns = -BUG_EVENT_NS
        self._wake = asyncio.Event()
        self._awake_ns = 0  # when the timers will be looked at again

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, drive the codec and connect again until `stop` is set; then close the socket and return."""
        own = RestClient(self._ssl) if self._rest is None else None
        self._rest = self._rest or own
        connecting = asyncio.create_task(self._connect_for_ever())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            connecting.cancel()
            await asyncio.wait({connecting})
            if own is not None:
                self._rest = None
                await own.close()
        if not connecting.cancelled():
            connecting.result()  # it ends by itself only through a mistake of ours, which must be seen

    async def _connect_for_ever(self) -> None:
        await asyncio.sleep(self._start_after_s)
        while True:
            started_ns = self._clock.now_ns()
            reason = "stopped by us"
            try:
                reason = await self._one_connection()
            finally:
                stable = self.codec.state == "live" and self._clock.now_ns() - started_ns >= STABLE_NS
                self.last_close = reason
                self._guarded(self.codec.disconnected, self._clock.now_ns(), reason)
                self._tell_state()
                log.info("%s: %s", self._name, reason)
            self.attempts = 1 if stable else self.attempts + 1
            where = f"{self.url} {self._name}"
            await asyncio.sleep(reconnect_delay_s(where, self.attempts, self._first_delay_s, self._max_delay_s))

    async def _one_connection(self) -> str:
        """Open one connection and drive it to its end; return why it ended."""
        lane: dict[str, Any] = {}
        if self._fast_lane:
            lane["create_connection"] = partial(FastLane, frame_limit=MAX_FRAME_BYTES)
        try:
            socket = await connect(
                self.url,
                compression=None,  # inflating costs more than decoding
                max_size=MAX_FRAME_BYTES,
                write_limit=MAX_UNSENT_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=PING_S,
                ping_timeout=PING_S,
                proxy=None,
                ssl=(self._ssl or True) if self._secure else None,
                **lane,
            )
        except (OSError, WebSocketException) as error:
            return f"cannot connect to {self.url}: {str(error) or type(error).__name__}"
        self.connects += 1
        timers = None
        self._socket = socket
        try:
            self._guarded(self.codec.connected, self._clock.now_ns())
            await self._send(socket)
            self._tell_state()
            timers = asyncio.create_task(self._drive_timers(socket))
            if isinstance(socket, FastLane):
                await self._drive_lane(socket)
            else:
                await self._drive_frames(socket)
        except ConnectionClosed as closed:
            return self.codec.hang_up or closing_words(closed)
        finally:
            self._socket = None
            for task in (timers, *self._asking):  # an answer belongs to the connection that asked
                if task is not None:
                    task.cancel()
            await socket.close()

    async def _drive_frames(self, socket: ClientConnection) -> NoReturn:
        """Pass every frame to the codec and send what it answers, until the socket closes."""
        codec, clock, recv = self.codec, self._clock, socket.recv
        frames = 0
        while True:
            frame = await recv(decode=False)
            try:
                codec.receive(frame, clock.now_ns())
            except Exception as error:
                self._note_bug(error)
            for answer in codec.frames_to_send():
                await socket.send(answer, text=True)
            for request in codec.requests_to_make():
                self._ask(request)
            if codec.state != self._state_told:
                self._tell_state()
            due_ns = codec.deadline_ns()
            if due_ns is not None and due_ns < self._awake_ns:
                self._wake.set()
            frames += 1
            if frames == FRAMES_PER_TURN:  # recv() does not give way while frames are waiting
                frames = 0
                await asyncio.sleep(0)

    async def _drive_lane(self, socket: FastLane) -> NoReturn:
        """Let the lane call the codec inside the socket's read, until the socket closes.

        All frames of one read carry one time. Answers leave in the loop's next turn. After a full read, frames of which
        only the newest counts wait for a shorter one.
        """
        codec, clock, loop = self.codec, self._clock, asyncio.get_running_loop()
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        now_ns = 0
        decoding: asyncio.TimerHandle | None = None

        def receive(frame: bytes, then_ns: int) -> None:
            self._guarded(codec.receive, frame, then_ns)

        late = LateFrames(codec, receive) if isinstance(codec, PatientCodec) else None

        def read_began(size: int) -> None:
            nonlocal now_ns
            now_ns = clock.now_ns()
            if late is not None:
                late.begin_read(size, now_ns)

        def take(frame: bytes) -> None:
            if late is not None and late.active:
                late.receive(frame, now_ns)
            else:
                codec.receive(frame, now_ns)

        def read_done() -> None:
            nonlocal decoding
            if late is not None and late.waiting and (decoding is None or decoding.when() <= loop.time()):
                decoding = loop.call_later(late.wait_ns / NS_PER_S, late.decode)  # in case nothing more is read
            for answer in codec.frames_to_send():
                answers.put_nowait(answer)
            for request in codec.requests_to_make():
                self._ask(request)
            if codec.state != self._state_told:
                self._tell_state()
            due_ns = codec.deadline_ns()
            if due_ns is not None and due_ns < self._awake_ns:
                self._wake.set()

        async def send_answers() -> None:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await socket.send(await answers.get(), text=True)

        sending = asyncio.create_task(send_answers())
        try:
            socket.deliver(take, self._note_bug, read_began, read_done)
            await socket.wait_closed()
        finally:
            sending.cancel()
            if late is not None:
                late.decode()
        raise socket.protocol.close_exc

    async def _drive_timers(self, socket: ClientConnection) -> None:
        """Call the codec's timer when it is due; close the socket when the codec wants that."""
        codec = self.codec
        shortest_s = 0.001
        while not codec.hang_up:
            now_ns = self._clock.now_ns()
            due_ns = codec.deadline_ns()
            wait_s = LONGEST_WAIT_S if due_ns is None else (due_ns - now_ns) / NS_PER_S
            wait_s = min(max(wait_s, shortest_s), LONGEST_WAIT_S)
            self._awake_ns = now_ns + round(wait_s * NS_PER_S)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)
            now_ns = self._clock.now_ns()
            due_ns = codec.deadline_ns()
            if due_ns is not None and due_ns <= now_ns:
                # A timer that fails stays due: it must not be tried without a pause.
                shortest_s = 0.001 if self._guarded(codec.timer, now_ns) else 1.0
                await self._send(socket)
                self._tell_state()
        await socket.close()

    def _note_deadline(self) -> None:
        """Wake the timers when the codec's next deadline has come nearer."""
        due_ns = self.codec.deadline_ns()
        if due_ns is not None and due_ns < self._awake_ns:
            self._wake.set()

    async def _send(self, socket: ClientConnection) -> None:
        for frame in self.codec.frames_to_send():
            await socket.send(frame, text=True)
        for request in self.codec.requests_to_make():
            self._ask(request)

    def _ask(self, request: HttpRequest) -> None:
        """Make a request beside the socket, and give the codec the answer."""
        task = asyncio.create_task(self._answer(request))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _answer(self, request: HttpRequest) -> None:
        assert self._rest is not None
        status, body = await self._rest.get(request.url, self.codec)
        socket = self._socket
        if socket is None:
            return
        self._guarded(self.codec.answered, request.tag, status, body, self._clock.now_ns())
        with contextlib.suppress(ConnectionClosed):  # the reader of frames notices it too, and says why
            await self._send(socket)
        self._tell_state()
        self._note_deadline()

    @property
    def round_trip_s(self) -> float:
        """The last ping's way to the venue and back, in seconds; NaN before the first answer and without a connection."""
        return (self._socket.latency if self._socket is not None else 0.0) or float("nan")

    def _tell_state(self) -> None:
        if self.codec.state != self._state_told:
            self._state_told = self.codec.state
            if self._on_state is not None:
                self._guarded(self._on_state, self._state_told)

    def _guarded(self, call: Callable[..., object], *arguments: object) -> bool:
        """Call our own code; return False when it raised, which is noted and must not end the connection."""
        try:
            call(*arguments)
        except Exception as error:
            self._note_bug(error)
            return False
        return True

    def _note_bug(self, error: Exception) -> None:
        self.handler_errors += 1
        self.last_error = error
        now_ns = self._clock.now_ns()
        if now_ns - self._bug_event_ns < BUG_EVENT_NS:
            return
        self._bug_event_ns = now_ns
        text = f"{self.codec.venue}: handler failed: {error!r}"
        log.error("%s (%d so far)", text, self.handler_errors, exc_info=error)
        try:
            self.codec.sink.event("reject_frame", now_ns, "error", text=text[:200], value=float(self.handler_errors))
        except Exception as second:
            log.error("the sink refused the event: %r", second)


def closing_words(closed: ConnectionClosed) -> str:
    """Return who closed a connection, with the code and reason as sent."""
    received, sent = closed.rcvd, closed.sent
    if received is not None and (sent is None or closed.rcvd_then_sent):
        return f"closed by the venue: {received.code} {received.reason}".rstrip()
    if sent is not None:
        return f"closed by us: {sent.code} {sent.reason}".rstrip()
    return "connection lost without a close frame (1006)"


async def run_connection(
    url: str,
    codec: Codec,
    clock: Clock,
    *,
    on_state: Callable[[str], None] | None = None,
    ssl: tls.SSLContext | None = None,
    stop: asyncio.Event,
    first_delay_s: float = 0.25,
    max_delay_s: float = 30.0,
) -> None:
    """Drive `codec` over connections to `url` until `stop` is set; see `Connection` for the arguments."""
    connection = Connection(
        url, codec, clock, on_state=on_state, ssl=ssl, first_delay_s=first_delay_s, max_delay_s=max_delay_s
    )
    await connection.run(stop)
