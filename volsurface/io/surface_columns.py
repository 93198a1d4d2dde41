"""The binary form of a surface stream's frames: float32 columns, as a browser or a plotter draws them.

Little-endian. A head of 48 bytes (`HEAD`), then, n being the expiries of the surface, c those in the frame, q their quotes:

    expiry_ms   float64[n]     expiries of the surface, ms since 1970 UTC, nearest first
    row, count  uint16[c] each which expiry, and how many quotes it has in this frame
    NUMBERS     float32[c] each
    vol         float32[c, 41] the smile at X standard deviations: k = X * atm_vol * sqrt(years)
    QUOTES      float32[q] each, of the quotes used in the fit, by expiry, then strike

A patch has only the expiries whose smile or quotes changed; those of the frame before that are no longer listed are gone.
"""

import struct
from dataclasses import dataclass

import numpy as np

from volsurface.errors import TransportError
from volsurface.io.publication import Publication
from volsurface.surface.smile import STATES, Smile

MAGIC = b"VSF1"
# magic, kind, state, n, seq, base (0 in a snapshot), c, q, market time and publishing time in ms since 1970 UTC, spot, zero
HEAD = struct.Struct("<4sBBHIIIIddff")
SNAPSHOT, PATCH = 1, 2
NUMBERS = ("years", "forward", "atm_vol", "rmse_bp", "inside_spread", "state")  # state: index into STATES
QUOTES = ("k", "bid_vol", "ask_vol", "mid_vol")
X = np.linspace(-2.5, 2.5, 41)
F4 = np.dtype("<f4")


@dataclass(frozen=True, slots=True, eq=False)
class ColumnFrame:
    """One decoded frame; arrays are read-only views of the message.

    numbers: (len(NUMBERS), c). vol: (c, 41). quotes: (len(QUOTES), q), those of row i are `counts[i]` after another.
    """

    is_snapshot: bool
    state: str
    seq: int
    base: int
    market_time_ms: float
    published_ms: float
    spot: float
    expiry_ms: np.ndarray
    rows: np.ndarray
    counts: np.ndarray
    numbers: np.ndarray
    vol: np.ndarray
    quotes: np.ndarray


def encode(now: Publication, before: Publication | None, seq: int) -> bytes:
    """Return frame `seq`: a snapshot of `now`, or with `before` (frame `seq - 1`) a patch."""
    smiles = now.surface.smiles
    expiries = np.array([smile.expiry_ns for smile in smiles], "<i8")
    quotes = _used(now)
    rows, counts, drawn = [], [], []
    old_smiles = {smile.expiry_ns: smile for smile in before.surface.smiles} if before else {}
    old_quotes = _used(before) if before else {}
    for row, smile in enumerate(smiles):
        block = quotes.get(smile.expiry_ns, _NO_QUOTES)
        old = old_quotes.get(smile.expiry_ns, _NO_QUOTES)
        if before is not None and old_smiles.get(smile.expiry_ns) == smile and _same(block, old):
            continue
        rows.append(row)
        counts.append(block.shape[1])
        drawn.append(block)
    numbers = np.array([_numbers(smiles[row]) for row in rows], F4).reshape(-1, len(NUMBERS))
    vol = np.array([_curve(smiles[row]) for row in rows], F4)
    head = HEAD.pack(
        MAGIC, PATCH if before else SNAPSHOT, STATES.index(now.surface.state), len(smiles), seq, seq - 1 if before else 0,
        len(rows), sum(counts), now.market_time_ns / 1e6, now.published_ns / 1e6, now.spot, 0.0,
    )  # fmt: skip
    parts = [
        head, (expiries / 1e6).tobytes(), np.array(rows, "<u2").tobytes(), np.array(counts, "<u2").tobytes(),
        np.ascontiguousarray(numbers.T).tobytes(), vol.tobytes(),
        np.concatenate(drawn, axis=1).tobytes() if drawn else b"",
    ]  # fmt: skip
    return b"".join(parts)


def decode(message: bytes) -> ColumnFrame:
    """Return the frame in `message`; raises TransportError when it is not one."""
    if len(message) < HEAD.size or message[:4] != MAGIC:
        raise TransportError(f"not a frame of surface columns: {message[:4]!r} in {len(message)} bytes")
    _, kind, state, n, seq, base, c, q, market_ms, published_ms, spot, _ = HEAD.unpack_from(message)
    floats = c * (len(NUMBERS) + X.size) + q * len(QUOTES)
    expected = HEAD.size + 8 * n + 4 * c + 4 * floats
    if len(message) != expected or kind not in (SNAPSHOT, PATCH) or state >= len(STATES):
        raise TransportError(f"a frame of surface columns has {len(message)} bytes; its head says {expected}")
    expiry_ms = np.frombuffer(message, "<f8", n, HEAD.size)
    places = np.frombuffer(message, "<u2", 2 * c, HEAD.size + 8 * n)
    values = np.frombuffer(message, F4, floats, HEAD.size + 8 * n + 4 * c)
    numbers, vol, quotes = np.split(values, [c * len(NUMBERS), c * (len(NUMBERS) + X.size)])
    return ColumnFrame(
        kind == SNAPSHOT, STATES[state], seq, base, market_ms, published_ms, spot, expiry_ms, places[:c], places[c:],
        numbers.reshape(len(NUMBERS), c), vol.reshape(c, X.size), quotes.reshape(len(QUOTES), q),
    )  # fmt: skip


_NO_QUOTES = np.empty((len(QUOTES), 0), F4)


def _used(publication: Publication) -> dict[int, np.ndarray]:
    """Return (len(QUOTES), count) float32 of each expiry's quotes that are points of the fit."""
    quotes = publication.quotes
    used = np.flatnonzero(quotes.used)
    if not used.size:
        return {}
    block = np.stack([getattr(quotes, name)[used] for name in QUOTES]).astype(F4)
    expiries, first = np.unique(quotes.expiry_ns[used], return_index=True)
    return dict(zip(expiries.tolist(), np.split(block, first[1:], axis=1)))


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    return one.shape == two.shape and np.array_equal(one, two, equal_nan=True)


def _numbers(smile: Smile) -> tuple[float, ...]:
    return (smile.years, smile.forward, smile.atm_vol, smile.rmse_bp, smile.inside_spread, STATES.index(smile.state))


def _curve(smile: Smile) -> np.ndarray:
    return np.asarray(smile.vol_at(X * smile.atm_vol * np.sqrt(smile.years)), float)
