"""The fast lane without a network: every cut of a stream gives the same messages, and what is not ordinary is left alone."""

import asyncio
import struct

import pytest
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri
from websockets.utils import accept_key

from volsurface.io.fast_lane import PLAIN_TEXT, FastLane

LIMIT = 1 << 20
PING, PONG = 0x89, 0x8A


def frame(payload: bytes, first: int = PLAIN_TEXT) -> bytes:
    """A server's frame."""
    n = len(payload)
    if n < 126:
        return bytes((first, n)) + payload
    return bytes((first, 126)) + struct.pack("!H", n) + payload if n < 65_536 else long_head(n, first) + payload


def long_head(length: int, first: int = PLAIN_TEXT) -> bytes:
    return bytes((first, 127)) + struct.pack("!Q", length)


# Short, empty, 7, 16 and 64 bit lengths, pings between and inside fragments, binary whole and fragmented.
MESSAGES = [
    b"a",
    b"b" * 125,
    b"c" * 126,
    b"",
    b"fragmented text",
    b"d" * 70_000,
    b"\x00binary",
    b"more binary",
    b"last",
]
STREAM = b"".join((
    frame(MESSAGES[0]), frame(MESSAGES[1]), frame(b"beat", PING), frame(MESSAGES[2]), frame(MESSAGES[3]),
    frame(b"frag", 0x01), frame(b"mid", PING), frame(b"mented ", 0x00), frame(b"text", 0x80),
    frame(MESSAGES[5]), frame(MESSAGES[6], 0x82), frame(b"more ", 0x02), frame(b"binary", 0x80), frame(MESSAGES[8]),
))  # fmt: skip


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()

    def write(self, data) -> None:
        self.sent += data

    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high=None, low=None) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Peer:
    """A lane whose request is sent, and the response it waits for. got: messages; errors: what `take` raised."""

    def __init__(self, take=None, deliver: bool = True, accept: str = "") -> None:
        self.got: list[bytes] = []
        self.errors: list[Exception] = []
        self.reads: list[int] = []
        self.done = 0
        self._take = take or self.got.append
        protocol = ClientProtocol(parse_uri("ws://venue/"), max_size=LIMIT)
        self.lane = FastLane(protocol, frame_limit=LIMIT, ping_interval=None)
        self.transport = FakeTransport()
        self.lane.connection_made(self.transport)
        request = protocol.connect()
        protocol.send_request(request)
        self.lane.send_data()
        self.transport.sent.clear()
        accept = accept or accept_key(request.headers["Sec-WebSocket-Key"])
        self.response = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ).encode()
        if deliver:
            self.deliver()

    def deliver(self) -> None:
        self.lane.deliver(self._take, self.errors.append, self.reads.append, self.count)

    def count(self) -> None:
        self.done += 1

    def hear(self, data: bytes) -> None:
        self.lane.data_received(data)

    @property
    def state(self) -> State:
        return self.lane.protocol.state


async def test_cut_in_two_at_every_byte() -> None:
    response = len(Peer().response)
    total = response + len(STREAM)
    # Every byte but the inside of the long frame, of which a few stand for all.
    cuts = [c for c in range(total + 1) if c < response + 600 or c > total - 200 or c % 9973 == 0]
    assert len(cuts) > 800
    for cut in cuts:
        peer = Peer()
        whole = peer.response + STREAM
        peer.hear(whole[:cut])
        peer.hear(whole[cut:])
        assert peer.got == MESSAGES, cut
        assert peer.transport.sent.count(PONG) >= 2, "both pings are answered"
        assert peer.state is State.OPEN
        assert peer.done == len(peer.reads)
        assert not peer.errors


async def test_one_byte_at_a_time() -> None:
    peer = Peer()
    small = STREAM.replace(frame(MESSAGES[5]), b"")
    for byte in peer.response + small:
        peer.hear(bytes((byte,)))
    assert peer.got == [message for message in MESSAGES if len(message) < 70_000]


async def test_what_comes_with_the_handshake_waits_for_its_handler() -> None:
    peer = Peer(deliver=False)
    peer.hear(peer.response + frame(b"1") + frame(b"2")[:2])
    peer.hear(frame(b"2")[2:])
    assert peer.got == []
    peer.deliver()
    assert peer.got == [b"1", b"2"]
    peer.hear(frame(b"3"))
    assert peer.got == [b"1", b"2", b"3"]
    assert peer.done == len(peer.reads) == 2


async def test_a_raising_handler_costs_one_message() -> None:
    def picky(message: bytes) -> None:
        if message.startswith(b"bad"):
            raise ValueError(message)
        peer.got.append(message)

    peer = Peer(picky)
    peer.hear(peer.response + frame(b"1") + frame(b"bad") + frame(b"bad ", 0x01) + frame(b"too", 0x80) + frame(b"2"))
    assert peer.got == [b"1", b"2"]
    assert [type(error) for error in peer.errors] == [ValueError, ValueError]
    assert peer.state is State.OPEN


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (frame(b"compressed", 0xC1), 1002),
        (bytes((0x81, 0x81)) + b"mask" + b"x", 1002),
        (frame(b"x", 0x01) + frame(b"y"), 1002),  # a new text inside a fragmented one
        (frame(b"x", 0x80), 1002),  # a continuation of nothing
        (frame(b"x", 0x83), 1002),  # an opcode that does not exist
        (long_head(LIMIT + 1), 1009),
        (long_head(1 << 63), 1009),
        (frame(b"x" * 600_000, 0x01) + frame(b"x" * 600_000, 0x80), 1009),  # too long only when joined
    ],
)
async def test_what_is_broken_is_refused_with_the_code_of_a_plain_connection(broken: bytes, code: int) -> None:
    plain = ClientProtocol(parse_uri("ws://venue/"), max_size=LIMIT, state=State.OPEN)
    plain.receive_data(broken)
    assert plain.close_sent is not None
    assert plain.close_sent.code == code
    peer = Peer()
    peer.hear(peer.response + frame(b"ok") + broken + frame(b"after"))
    assert peer.got == [b"ok"]
    assert peer.lane.protocol.close_sent is not None
    assert peer.lane.protocol.close_sent.code == code


async def test_a_close_frame_is_seen_with_its_code() -> None:
    peer = Peer()
    peer.hear(peer.response + frame(struct.pack("!H", 4000) + b"heartbeat close", 0x88) + frame(b"after"))
    assert peer.lane.protocol.close_rcvd is not None
    assert (peer.lane.protocol.close_rcvd.code, peer.lane.protocol.close_rcvd.reason) == (4000, "heartbeat close")
    assert peer.got == []


async def test_a_refused_handshake_stays_with_websockets() -> None:
    peer = Peer(accept="bm9uc2Vuc2U=")
    peer.hear(peer.response + frame(b"never"))
    assert peer.got == []
    assert isinstance(peer.lane.protocol.handshake_exc, Exception)
