"""Frames: what is encoded is what is decoded, and nonsense is refused with a sentence."""

import re

import numpy as np
import pytest

from volsurface.errors import TransportError
from volsurface.io.transport import wire
from volsurface.market.instrument import Directory, Instrument
from volsurface.market.quote import FORWARD_INDEX
from volsurface.market.row_table import Page, RowTable


class Venue:
    venue, state = "deribit", "live"
    messages, rejected, gaps, reconnects, subscribed, listed = 10, 1, 2, 3, 40, 50
    last_receive_ns, last_venue_ns, superseded = 600, 590, 7


def option(number: int) -> Instrument:
    steps = ((0.1, 0.001),)
    return Instrument("deribit", f"O{number}", "ETH", 5, 1.5, -1, "stable", 0.1, 1.0, 0.5, steps, "eth_usd")


def page() -> Page:
    table = RowTable(2**63 + 5)
    table.watch(Venue())
    table.listed([option(1), option(2)], 3)
    table.forward(FORWARD_INDEX, "deribit", "ETH", 0, 3000.0, 1, 2)
    table.event("gap", 4, "warning", 1, "vide à 3")
    table.event("trade", 5)
    return table.reply(10, table.epoch, 0, 0, -7)


def body() -> bytes:
    return b"".join(wire.encode_page(page()))


def test_a_page_survives_the_wire():
    sent, got = page(), wire.decode_page(body(), 10)
    for name in ("flags", "epoch", "cursor", "event_cursor", "dropped", "feed_time_ns", "texts"):
        assert getattr(got, name) == getattr(sent, name)
    assert (got.directory_version, got.directory_size) == (1, 2)
    for name in ("rows", "events", "forwards", "venues"):
        assert getattr(got, name).tobytes() == getattr(sent, name).tobytes()
        assert getattr(got, name).size > 0


@pytest.mark.parametrize("size", [0, 10, wire.PULL_HEAD.size, wire.PULL_HEAD.size + 100, -1])
def test_a_page_of_another_length_than_its_counts_say_is_refused(size):
    with pytest.raises(TransportError, match=r"bytes|counts"):
        wire.decode_page(body()[:size], 10)
    with pytest.raises(TransportError, match="not as long as its counts say"):
        wire.decode_page(body() + b"x", 10)


def test_more_rows_than_asked_for_are_refused():
    with pytest.raises(TransportError, match="2 rows; 1 were asked for"):
        wire.decode_page(body(), 1)


def test_unreadable_texts_are_refused():
    damaged = body()[:-3] + b"\xc1\xc1\xc1"
    with pytest.raises(TransportError, match="texts cannot be read"):
        wire.decode_page(damaged, 10)


def test_a_pull_request_survives_and_its_page_size_has_bounds():
    assert wire.decode_pull(wire.encode_pull(7, 2**63 + 1, 3, 4)) == (7, 2**63 + 1, 3, 4)
    for rows in (0, wire.MAX_PAGE_ROWS + 1):
        with pytest.raises(TransportError, match=f"page_rows is {rows}; allowed are 1 to"):
            wire.decode_pull(wire.encode_pull(rows, 0, 0, 0))
    with pytest.raises(TransportError, match="has 28 bytes, found 3"):
        wire.decode_pull(b"abc")


def test_a_directory_travels_in_pages(monkeypatch):
    monkeypatch.setattr(wire, "DIRECTORY_PAGE", 2)
    directory = Directory(option(number) for number in range(5))
    got: list[Instrument] = []
    while len(got) < 5:
        reply = wire.decode_directory(wire.encode_directory(directory, 9, wire.encode_directory_request(len(got))))
        assert (reply.epoch, reply.version, reply.size) == (9, 1, 5)
        assert 0 < len(reply.instruments) <= 2
        got += reply.instruments
    assert got == list(directory)
    assert (
        wire.decode_directory(wire.encode_directory(directory, 9, wire.encode_directory_request(5))).instruments == []
    )


@pytest.mark.parametrize(
    "request_body", [b"", b"\xc1", b"\x01", wire.encode_map({"from": -1}), wire.encode_map({"from": "x"})]
)
def test_a_directory_request_that_is_none_is_refused(request_body):
    with pytest.raises(TransportError, match=r"not msgpack|must be a map|from an id on"):
        wire.encode_directory(Directory(), 1, request_body)


def test_a_directory_that_is_none_is_refused():
    with pytest.raises(TransportError, match="directory cannot be read"):
        wire.decode_directory(wire.encode_map({"epoch": 1}))


def test_heads():
    assert wire.parse_head(wire.request_head(wire.SLOTS, b"abc"), 3) == (wire.SLOTS, 3)
    assert wire.parse_head(wire.reply_head(wire.ERROR, [b"ab", b"", b"c"]), 3) == (wire.ERROR, 3)
    with pytest.raises(TransportError, match="4 bytes is announced; at most 3"):
        wire.parse_head(wire.request_head(wire.PULL, b"abcd"), 3)
    with pytest.raises(TransportError, match=re.escape("0x20544547, expected 0x31504356")):
        wire.parse_head(b"GET / HTTP/1.1\r\n", 100)


def test_decoded_arrays_do_not_copy_the_reply():
    received = body()
    rows = wire.decode_page(received, 10).rows
    assert np.shares_memory(rows, np.frombuffer(received, np.uint8))
