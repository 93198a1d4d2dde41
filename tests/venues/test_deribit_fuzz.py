"""Whatever bytes come: the codec neither raises nor writes what does not fit a row, and goes on working."""

import json

import numpy as np
from deribit_script import EXPIRY_MS, NOW, S, Script, change, encoded, notification, option, snapshot, ticker
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from volsurface.market.row_table import RowTable
from volsurface.venues.deribit import DeribitCodec

NAME = "BTC-25SEP26-60000-C"
FRAMES = [
    ticker(NAME),
    snapshot(NAME, 10, [[0.01, 1.0]], [[0.02, 1.0]]),
    change(NAME, 10, 11, [["new", 0.011, 1.0]], [["delete", 0.02, 0.0]]),
    notification(f"trades.{NAME}.100ms", [{"timestamp": 1, "price": 0.1, "amount": 1, "direction": "buy", "iv": 5}]),
    notification("deribit_price_index.btc_usd", {"timestamp": 1, "price": 64000.5}),
    notification("instrument.state.option.BTC", {"timestamp": 1, "state": "open", "instrument_name": NAME}),
    notification("instrument.creation.option.BTC", option("BTC-25SEP26-70000-P")),
    encoded({"jsonrpc": "2.0", "id": 4, "result": ["x"]}),
    encoded({"jsonrpc": "2.0", "id": 5, "error": {"code": 10028, "message": "too_many_requests"}}),
    encoded({"params": {"type": "test_request"}, "method": "heartbeat"}),
]


def table_codec() -> tuple[DeribitCodec, RowTable]:
    """Return a live codec that writes into a real row table."""
    script = Script({"BTC": [option(NAME)]})
    table = RowTable(epoch=1, capacity=4)
    script.codec = DeribitCodec(["BTC"], ["ticker", "book", "trades"], table)
    return script.open().codec, table


def survives(frames: list[bytes]) -> None:
    """Feed the frames; afterwards a good ticker and a good snapshot still arrive in the table."""
    codec, table = table_codec()
    for n, frame in enumerate(frames):
        codec.receive(frame, NOW + n)
        codec.frames_to_send()
        due_ns = codec.deadline_ns()
        assert due_ns is None or due_ns > NOW - 1
    codec.timer(NOW + S)
    codec.receive(encoded({"id": 1, "error": {"code": 11050, "message": "x"}}), NOW + S)
    if NAME in codec._options.streams:  # a mutated state frame may have closed it, rightly
        codec.receive(ticker(NAME), NOW + S)
        codec.receive(snapshot(NAME, 77, [[0.013, 1.0]], [[0.014, 1.0]]), NOW + S)
        row = table.reply(epoch=1, cursor=0, event_cursor=0, page_rows=100, now_ns=NOW + S).rows[0]
        assert (row["bid"], row["seq"]) == (0.013, 77)
        prices = np.array([row["bid"], row["ask"], row["mark"]])
        assert np.all((prices > 0) | np.isnan(prices))


@given(st.lists(st.binary(max_size=200), max_size=5))
@example([b"\xff" * 100, b'{"channel":"' + b"\xff" * 50 + b'"}', b'"channel":""', b'"channel":"'])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_bytes(frames):
    survives(frames)


@st.composite
def cut_and_spliced(draw):
    """A good frame with bytes replaced, removed, doubled, or continued by another frame's end."""
    frame = bytearray(draw(st.sampled_from(FRAMES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(frame)))
        kind = draw(st.sampled_from(["replace", "remove", "insert", "splice"]))
        if kind == "replace" and at < len(frame):
            frame[at] = draw(st.integers(0, 255))
        elif kind == "remove":
            del frame[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            frame[at:at] = draw(st.binary(min_size=1, max_size=6))
        else:
            frame[at:] = draw(st.sampled_from(FRAMES))[at:]
    return bytes(frame)


@given(st.lists(cut_and_spliced(), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_frames(frames):
    survives(frames)


ODD_VALUES = st.one_of(
    st.none(), st.booleans(), st.text(max_size=5), st.integers(-(10**25), 10**25), st.floats(allow_nan=False), st.just([]),
    st.just({}), st.sampled_from([0, -1, 1e308, -1e-308, 2**62, 2**63, EXPIRY_MS, [["new", -1, -1]], [["?", 1e308, 1e308]]]),
)  # fmt: skip


@st.composite
def odd_values(draw):
    """A good frame in which one value is another kind of thing, or is gone."""
    message = json.loads(draw(st.sampled_from(FRAMES)))
    at = message
    while True:
        key = draw(st.sampled_from(sorted(at))) if isinstance(at, dict) else draw(st.integers(0, len(at) - 1))
        if isinstance(at[key], dict | list) and at[key] and draw(st.booleans()):
            at = at[key]
            continue
        if isinstance(at, dict) and draw(st.integers(0, 5)) == 0:
            del at[key]
        else:
            at[key] = draw(ODD_VALUES)
        return json.dumps(message, separators=(",", ":")).encode()


@given(st.lists(odd_values(), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_odd_values(frames):
    survives(frames)
