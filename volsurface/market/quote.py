"""The fixed-size records in which quotes, forwards, venue health and events travel between services.

All little-endian and packed. Prices are in the venue's unit, implied vols are fractions per year (0.60), sizes are coins,
times are nanoseconds since 1970 UTC. A missing number is NaN. The row is written with `struct` (0.23 us) and read with
numpy on the same buffer.
"""

import struct

import numpy as np

# Row flags: one bit each; bits 16-18 hold the venue's own claim about its forward.
CROSSED, LOCKED, ONE_SIDED, STALE = 1, 2, 4, 8
BOOK_GAP, CLAMPED_IV, BELOW_INTRINSIC, SNAPSHOT_ROW, SETTLEMENT_WINDOW = 16, 32, 64, 128, 256
BOOK_TOP = 512  # bid and ask come from the book, not from the ticker
CLOSED = 1024  # the instrument no longer trades
FORWARD_SHIFT = 16
FORWARD_NONE, FORWARD_FUTURE, FORWARD_SYNTHETIC, FORWARD_INDEX, FORWARD_MODEL = range(5)
FORWARD_NAMES = ("none", "future", "synthetic", "index", "model")

ROW = np.dtype(
    [
        ("version", "<u8"),
        ("iid", "<i4"),
        ("flags", "<u4"),
        ("ts_venue_ns", "<i8"),
        ("ts_recv_ns", "<i8"),
        ("seq", "<i8"),
    ]
    + [
        (name, "<f8")
        for name in ("bid", "ask", "bid_sz", "ask_sz", "mark", "iv_bid", "iv_ask", "iv_mark", "fwd", "index", "oi")
    ]
)
ROW_STRUCT = struct.Struct("<QiIqqq11d")

# One per (venue, underlying, expiry): a tick here touches every strike. expiry_ns is 0 for the venue's index.
FORWARD = np.dtype(
    [("version", "<u8"), ("kind", "<u4"), ("venue", "S12"), ("underlying", "S8"), ("expiry_ns", "<i8")]
    + [("value", "<f8"), ("ts_venue_ns", "<i8"), ("ts_recv_ns", "<i8")]
)
FORWARD_STRUCT = struct.Struct("<QI12s8sqdqq")

# One per venue in every reply: what a status strip needs to know.
VENUE = np.dtype(
    [("name", "S12"), ("state", "<u4"), ("last_receive_ns", "<i8"), ("last_venue_ns", "<i8"), ("messages", "<u8")]
    + [("superseded", "<u8"), ("rejected", "<u8"), ("gaps", "<u4"), ("reconnects", "<u4"), ("subscribed", "<u4")]
    + [("listed", "<u4"), ("connections", "<u2"), ("connections_live", "<u2"), ("quoted", "<u4")]
    # Of local minus venue time, in ms: the median of the last second, its lower envelope, and the ping's way and back.
    + [
        ("messages_per_s", "<f8"),
        ("delay_ms", "<f8"),
        ("floor_ms", "<f8"),
        ("drift_ppm", "<f8"),
        ("round_trip_ms", "<f8"),
    ]
)
VENUE_STRUCT = struct.Struct("<12sIqqQQQIIIIHHI5d")
VENUE_STATES = ("connecting", "listing", "subscribing", "live", "down")

EVENT = np.dtype(
    [("seq", "<u8"), ("ts_ns", "<i8"), ("kind", "<u2"), ("severity", "<u2"), ("iid", "<i4")]
    + [("value", "<f8"), ("size", "<f8"), ("extra", "<f8")]
)
EVENT_STRUCT = struct.Struct("<QqHHiddd")
EVENT_KINDS = (
    "none trade gap resubscribe connect disconnect reject_frame reject_quote fit_failure stale settings dropped "
    "recording_gap disk restart published listed notice"
).split()
SEVERITIES = ("info", "warning", "error")

assert ROW.itemsize == ROW_STRUCT.size == 128
assert FORWARD.itemsize == FORWARD_STRUCT.size == 64
assert VENUE.itemsize == VENUE_STRUCT.size == 120
assert EVENT.itemsize == EVENT_STRUCT.size == 48


def forward_flag(source: int) -> int:
    """Return the row flag bits of a forward source (FORWARD_NONE ... FORWARD_MODEL)."""
    return source << FORWARD_SHIFT


def forward_source(flags: np.ndarray) -> np.ndarray:
    """Return the forward source code of each row's flags."""
    return (flags >> FORWARD_SHIFT) & 7
