"""A websocket connection that splits ordinary text frames itself and leaves every other frame to `websockets`.

Two thirds of the time of a plain connection go into checks and queues that a short text frame from a server does not
need. The lane finds frame boundaries in what the socket has read and calls the handler at once; a ping, a close, a
binary or a fragmented message goes to `websockets` as one whole frame, so that its parser always stands at a boundary.

`data_received` and `process_event` are not documented: the versions of `websockets` this works with are pinned, and the
plain connection remains one setting away.
"""

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

PLAIN_TEXT = 0x81  # FIN, no reserved bit, opcode text
RESERVED_BITS, OPCODE_BITS, FIN_BIT, FIRST_CONTROL = 0x70, 0x0F, 0x80, 0x08
TWO_BYTE_LENGTH, EIGHT_BYTE_LENGTH = 126, 127

Take = Callable[[bytes], None]


class FastLane(ClientConnection):
    """Calls a handler for each message, in order, inside the socket's read.

    The handler decodes and writes and never waits. What it raises costs one message and is passed on: an exception that
    left `data_received` would close the connection without a word. Text is not checked to be UTF-8 here; the decoder does
    that. `recv` is of no use on this connection.

    frame_limit: bytes; a longer frame is left to `websockets`, which closes with 1009.
    """

    def __init__(self, *args: Any, frame_limit: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._frame_limit = frame_limit
        self._early: list[bytes] = []  # messages that came with the handshake, before anybody wanted them
        self._take: Take = self._early.append
        self._failed: Callable[[Exception], None] = lambda error: None
        self._read_began: Callable[[int], None] = lambda size: None
        self._read_done: Callable[[], None] = lambda: None
        self._response = b""  # the HTTP response as far as it is here, until it is complete
        self._open = False  # the handshake has succeeded: framing is ours
        self._left = False  # framing is websockets' for good: refused, broken or closing
        self._rest = b""  # one incomplete frame
        self._parts: list[bytes] | None = None  # of a fragmented message
        self._in_fragments = False  # by the headers handed over

    def deliver(
        self,
        take: Take,
        failed: Callable[[Exception], None],
        read_began: Callable[[int], None],
        read_done: Callable[[], None],
    ) -> None:
        """Give each message to `take` from now on, those that waited first.

        failed(error) gets what `take` raises. read_began(size) is called before the messages of one read of the socket, of
        `size` bytes, read_done() after them; neither may raise.
        """
        early, self._early = self._early, []
        self._take, self._failed, self._read_began, self._read_done = take, failed, read_began, read_done
        if early:
            read_began(sum(map(len, early)))
            for message in early:
                self._handle(message)
            read_done()

    def data_received(self, data: bytes) -> None:
        """Split what the socket has read; called by the event loop."""
        if self._left:
            return super().data_received(data)
        if not self._open:
            data = self._finish_handshake(data)
            if not data:
                return None
        if self._rest:
            data = self._rest + data
            self._rest = b""
        self._read_began(len(data))
        self._split(data)
        self._read_done()
        return None

    def _finish_handshake(self, data: bytes) -> bytes:
        """Give `websockets` the HTTP response and not one byte more; return what follows it."""
        before = len(self._response)
        self._response += data
        end = self._response.find(b"\r\n\r\n") + 4
        if end < 4:
            super().data_received(data)
            return b""
        super().data_received(data[: end - before])
        rest, self._response = self._response[end:], b""
        if self.protocol.state is not State.OPEN:  # refused: websockets says why
            self._leave(rest)
            return b""
        self._open = True
        return rest

    def _split(self, data: bytes) -> None:
        """Take the complete frames off `data`; keep what is left of the last one."""
        take, limit = self._take, self._frame_limit
        start, size = 0, len(data)
        while size - start >= 2:
            first, length = data[start], data[start + 1]
            body = start + 2
            if length >= TWO_BYTE_LENGTH:
                wide = 2 if length == TWO_BYTE_LENGTH else 8
                if length > EIGHT_BYTE_LENGTH:  # masked, which a server never does
                    return self._leave(data[start:])
                body += wide
                if body > size:
                    break
                length = int.from_bytes(data[start + 2 : body], "big")
            if length > limit or first & RESERVED_BITS:  # a reserved bit: compression, which was not agreed on
                return self._leave(data[start:])
            end = body + length
            if end > size:
                break
            if first == PLAIN_TEXT and not self._in_fragments:
                try:
                    take(data[body:end])
                except Exception as error:
                    self._failed(error)
            else:
                if first & OPCODE_BITS < FIRST_CONTROL:
                    self._in_fragments = not first & FIN_BIT
                super().data_received(data[start:end])
                if self.protocol.state is not State.OPEN:
                    return self._leave(data[end:])
            start = end
        self._rest = data[start:]
        return None

    def _leave(self, data: bytes) -> None:
        """Let `websockets` see everything from here on."""
        self._left = True
        if data:
            super().data_received(data)

    def process_event(self, event: Event) -> None:
        """Join fragments here: through the queue of `recv` they would come after later messages."""
        if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return super().process_event(event)  # handshake, ping, pong, close
        if event.opcode is not Opcode.CONT:
            self._parts = []
        assert self._parts is not None  # websockets refuses a continuation of nothing
        self._parts.append(bytes(event.data))  # a bytearray here, and no key of anything
        if event.fin:
            message, self._parts = b"".join(self._parts), None
            self._handle(message)
        return None

    def _handle(self, message: bytes) -> None:
        try:
            self._take(message)
        except Exception as error:
            self._failed(error)
