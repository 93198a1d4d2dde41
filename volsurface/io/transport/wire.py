"""Frames between services: what a request and a reply look like as bytes, for every transport.

A request is `u4 magic, u4 kind, u4 length` and a body; a reply is `u4 magic, u4 status, u4 length` and a body. Everything
is little-endian and packed. Lengths follow from counts, and a count above its limit is refused before anything is kept.
"""

import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from volsurface.errors import TransportError
from volsurface.market.instrument import Directory, Instrument
from volsurface.market.quote import EVENT, FORWARD, ROW, VENUE
from volsurface.market.row_table import Page

MAGIC = 0x31504356  # "VCP1"
HEAD = struct.Struct("<III")  # of requests: magic, kind, length; of replies: magic, status, length
PULL, DIRECTORY, CONTROL, SLOTS = 1, 2, 3, 4
KINDS = {PULL: "pull", DIRECTORY: "directory", CONTROL: "control", SLOTS: "slots"}
OK, ERROR = 0, 1
MAX_REQUEST = 1 << 20  # settings are the longest thing anybody asks with
MAX_REPLY = 1 << 26  # a guard against nonsense; a full page is 1 MB

# 7,500 rows of 128 bytes are 0.96 MB: one reply fits the 1 MiB that a NATS server allows by default.
PAGE_ROWS = 7_500
MAX_PAGE_ROWS = 100_000
DIRECTORY_PAGE = 2_000  # instruments in one reply, about 0.5 MB

PULL_REQUEST = struct.Struct("<IQQQ")  # page_rows, epoch, cursor, event_cursor
# flags, epoch, cursor, event_cursor, dropped, feed_time_ns, n_rows, n_events, directory_version, n_forwards, n_venues,
# text_bytes, directory_size; then rows, events, forwards, venues, texts
PULL_HEAD = struct.Struct("<IQQQQqIIIIIII")

Reply = bytes | Sequence[bytes]
Handler = Callable[[int, bytes], Awaitable[Reply]]


class Channel(Protocol):
    """A consumer's end of any transport: one request at a time."""

    async def request(self, kind: int, body: bytes) -> bytes:
        """Return the body of the reply; raises TransportError, after which the next call starts afresh."""

    async def close(self) -> None:
        """Let the other end know that nothing more comes."""


class DirectoryPage(msgspec.Struct, frozen=True):
    """Instruments from the id asked for on; `size` says how many there are in all."""

    epoch: int
    version: int
    size: int
    instruments: list[Instrument]


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)  # text that is not UTF-8 is not a MsgspecError
_directory_decoder = msgspec.msgpack.Decoder(DirectoryPage)
_texts_decoder = msgspec.msgpack.Decoder(dict[int, str])


def request_head(kind: int, body: bytes) -> bytes:
    """Return the head of a request."""
    return HEAD.pack(MAGIC, kind, len(body))


def reply_head(status: int, parts: Sequence[bytes]) -> bytes:
    """Return the head of a reply whose body is `parts` one after the other."""
    return HEAD.pack(MAGIC, status, sum(map(len, parts)))


def parse_head(data: bytes | bytearray, limit: int) -> tuple[int, int]:
    """Return (kind or status, body length); raises TransportError for another protocol or a length over `limit`."""
    magic, word, length = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise TransportError(f"not this protocol: a frame begins with {magic:#010x}, expected {MAGIC:#010x}")
    if length > limit:
        raise TransportError(f"a frame of {length} bytes is announced; at most {limit} are allowed")
    return word, length


def encode_pull(page_rows: int, epoch: int, cursor: int, event_cursor: int) -> bytes:
    """Return the body of a pull request."""
    return PULL_REQUEST.pack(page_rows, epoch, cursor, event_cursor)


def decode_pull(body: bytes) -> tuple[int, int, int, int]:
    """Return (page_rows, epoch, cursor, event_cursor) of a pull request."""
    if len(body) != PULL_REQUEST.size:
        raise TransportError(f"a pull request has {PULL_REQUEST.size} bytes, found {len(body)}")
    page_rows, epoch, cursor, event_cursor = PULL_REQUEST.unpack(body)
    if not 1 <= page_rows <= MAX_PAGE_ROWS:
        raise TransportError(f"page_rows is {page_rows}; allowed are 1 to {MAX_PAGE_ROWS}")
    return page_rows, epoch, cursor, event_cursor


def encode_page(page: Page) -> list[bytes]:
    """Return the body of a pull's reply, in parts."""
    texts = msgspec.msgpack.encode(page.texts) if page.texts else b""
    head = PULL_HEAD.pack(
        page.flags, page.epoch, page.cursor, page.event_cursor, page.dropped, page.feed_time_ns, page.rows.size,
        page.events.size, page.directory_version, page.forwards.size, page.venues.size, len(texts), page.directory_size,
    )  # fmt: skip
    arrays = (page.rows, page.events, page.forwards, page.venues)
    return [head, *(array.tobytes() for array in arrays if array.size), texts]


def decode_page(body: bytes, page_rows: int) -> Page:
    """Return the page in a pull's reply; its arrays are read-only views of `body`. Raises TransportError."""
    if len(body) < PULL_HEAD.size:
        raise TransportError(f"a reply to a pull has at least {PULL_HEAD.size} bytes, found {len(body)}")
    (flags, epoch, cursor, event_cursor, dropped, feed_time_ns, n_rows, n_events, directory_version, n_forwards, n_venues,
     text_bytes, directory_size) = PULL_HEAD.unpack_from(body)  # fmt: skip
    if n_rows > page_rows:
        raise TransportError(f"a reply has {n_rows} rows; {page_rows} were asked for at most")
    arrays, at = [], PULL_HEAD.size
    for dtype, count in ((ROW, n_rows), (EVENT, n_events), (FORWARD, n_forwards), (VENUE, n_venues)):
        end = at + count * dtype.itemsize
        if end > len(body):
            break
        arrays.append(np.frombuffer(body, dtype, count, at))
        at = end
    if len(arrays) < 4 or at + text_bytes != len(body):
        raise TransportError(f"a reply of {len(body)} bytes is not as long as its counts say")
    rows, events, forwards, venues = arrays
    try:
        texts = _texts_decoder.decode(body[at:]) if text_bytes else {}
    except UNREADABLE as error:
        raise TransportError(f"a reply's event texts cannot be read: {error}") from error
    return Page(flags, epoch, cursor, event_cursor, dropped, feed_time_ns, rows, events, forwards, venues, texts,
                directory_version, directory_size)  # fmt: skip


def encode_directory_request(first: int) -> bytes:
    """Return the body of a request for the instruments from id `first` on."""
    return encode_map({"from": first})


def encode_directory(directory: Directory, epoch: int, request: bytes) -> bytes:
    """Return the body that answers a directory request: at most DIRECTORY_PAGE instruments."""
    first = decode_map(request).get("from", 0)
    if not isinstance(first, int) or first < 0:
        raise TransportError(f"a directory is asked for from an id on; found {first!r}")
    size = len(directory)
    instruments = [directory[iid] for iid in range(first, min(size, first + DIRECTORY_PAGE))]
    return msgspec.msgpack.encode(DirectoryPage(epoch, directory.version, size, instruments))


def decode_directory(body: bytes) -> DirectoryPage:
    """Return the instruments in a reply to a directory request."""
    try:
        return _directory_decoder.decode(body)
    except UNREADABLE as error:
        raise TransportError(f"a directory cannot be read: {error}") from error


def encode_map(values: dict[str, Any]) -> bytes:
    """Return a map as msgpack: the body of CONTROL and SLOTS frames."""
    return msgspec.msgpack.encode(values)


def decode_map(body: bytes) -> dict[str, Any]:
    """Return the map in a msgpack body; raises TransportError when it is none."""
    try:
        values = msgspec.msgpack.decode(body)
    except UNREADABLE as error:
        raise TransportError(f"a body is not msgpack: {error}") from error
    if not isinstance(values, dict):
        raise TransportError(f"a body must be a map, found {type(values).__name__}")
    return values
