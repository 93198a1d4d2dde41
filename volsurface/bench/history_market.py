"""A made-up market for the history's benchmark: 1,000 options priced by Black-76, each with a new row every second.

How often a field of a row changes follows the half-minute of Deribit tickers in the recorded samples: of 64 changes 92 %
moved the mark, 39 % the vols of bid and ask, 11 % the mark's vol, 3 % a size, none the best prices. Here it is a little
more: the mark always, the vols 40 %, the mark's vol 15 %, a size 10 %, the prices when their tick says so; spot moves at
60 % a year. `restless`: the vols, too, are new in every row and a size in every fourth.
"""

import math

import numpy as np

from volsurface.io.publication import Publication
from volsurface.io.transport import wire
from volsurface.io.transport.puller import FeedPuller
from volsurface.market.instrument import Instrument
from volsurface.market.quote import FORWARD_INDEX, FORWARD_SYNTHETIC, forward_flag
from volsurface.market.row_table import RowTable
from volsurface.pricing.black76 import black76_price
from volsurface.pricing.implied_vol import implied_vol
from volsurface.surface.certificate import Certificate, Verdict
from volsurface.surface.quoted import COLUMNS, QuotedVols
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

INSTRUMENTS, UNDERLYINGS = 1000, ("BTC", "ETH")
START_S = 1_795_200_000
DAY_S = 86_400
SPOTS = {"BTC": 86_000.0, "ETH": 3_100.0}
DAYS = np.array([1, 2, 7, 14, 30, 60, 90, 180, 270, 360])
_PER_SECOND = 0.6 / math.sqrt(365 * DAY_S)


class _Venue:
    """What a feed tells of the venue."""

    venue, state = "deribit", "live"
    messages = rejected = gaps = reconnects = subscribed = superseded = 0
    listed = INSTRUMENTS
    last_receive_ns = last_venue_ns = 0


class MadeUpMarket:
    """A feed's row table and an engine's publications, a market second at a time; `puller` reads the table."""

    def __init__(self, seed: int = 1, restless: bool = False, life_days: int = 400) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self._changes = (1.0, 1.0, 0.25) if restless else (0.4, 0.15, 0.1)
        n = INSTRUMENTS
        self._coin = np.arange(n) % 2
        self._days = np.repeat(DAYS, n // DAYS.size) + life_days - 360
        z = np.tile(np.linspace(-2.2, 2.2, n // DAYS.size // 4).repeat(4), DAYS.size)
        self._right = np.where(np.arange(n) % 4 < 2, 1, -1)
        self._spots = np.array([SPOTS[name] for name in UNDERLYINGS])
        spot, step = self._spots[self._coin], np.where(self._coin == 0, 500.0, 20.0)
        self._strike = np.round(spot * np.exp(z * 0.6 * np.sqrt(self._days / 365)) / step) * step
        self._smile, self._level = 0.55 + 0.03 * z**2, np.zeros(n)
        self._sizes = np.round(rng.gamma(1.0, 5.0, (2, n)) + 0.1, 1)
        self._vols = np.full((3, n), np.nan)
        self._oi = np.round(rng.gamma(1.0, 100.0, n), 1)
        self._levels = [0.55, 0.65]
        self._surface_id = 0
        self._table, self._venue = RowTable(epoch=1), _Venue()
        self._table.watch(self._venue)
        self._now_ns = START_S * 10**9
        self.puller = FeedPuller(self)
        expiry_ns = (START_S + self._days * DAY_S) * 10**9
        self._expiry_ns = expiry_ns
        options = [
            Instrument(
                "deribit", f"{UNDERLYINGS[coin]}-{i}", UNDERLYINGS[coin], int(expiry_ns[i]), float(self._strike[i]),
                int(self._right[i]), "coin", tick_size=0.0001,
            )
            for i, coin in enumerate(self._coin)
        ]  # fmt: skip
        self._table.listed(options, self._now_ns)

    async def request(self, kind: int, body: bytes) -> bytes:
        """Answer the puller as a feed's socket would."""
        if kind == wire.DIRECTORY:
            return wire.encode_directory(self._table.directory, self._table.epoch, body)
        return b"".join(wire.encode_page(self._table.reply(*wire.decode_pull(body), self._now_ns)))

    async def close(self) -> None:
        """There is nothing to close."""

    def second(self, second: int) -> None:
        """Let the market's `second` (since 1970) happen in the table."""
        rng, n = self._rng, INSTRUMENTS
        self._now_ns = second * 10**9 + int(rng.integers(0, 20_000_000))
        self._spots = self._spots * np.exp(rng.normal(0, _PER_SECOND, 2))
        self._level += rng.normal(0, 5e-5) + rng.normal(0, 1e-5, n) - 1e-3 * self._level
        years = (self._days * DAY_S - (second - START_S)) / DAY_S / 365
        forward = np.round(self._spots[self._coin] * (1 + 0.05 * years), 2)
        vol = self._smile + self._level
        price = np.asarray(black76_price(forward, self._strike, years, vol, self._right)) / forward
        half = np.maximum(1e-4, 0.006 * np.sqrt(years))
        tick = np.where(price < 0.005, 1e-4, 5e-4)
        bid, ask = (
            np.round(np.floor((price - half) / tick) * tick, 4),
            np.round(np.ceil((price + half) / tick) * tick, 4),
        )
        bid[bid <= 0] = np.nan
        often, seldom, size = self._changes
        quoted = np.stack([bid, ask]) * forward
        implied = np.asarray(implied_vol(quoted, forward, self._strike, years, self._right).vol)
        fresh = (rng.random((2, n)) < often) | (np.isnan(self._vols[:2]) != np.isnan(implied))
        self._vols[:2] = np.where(fresh, np.round(implied * 100, 2) / 100, self._vols[:2])
        fresh = (rng.random(n) < seldom) | np.isnan(self._vols[2])
        self._vols[2] = np.where(fresh, np.round(vol * 100, 2) / 100, self._vols[2])
        fresh = rng.random((2, n)) < size
        self._sizes = np.where(fresh, np.round(rng.gamma(1.0, 5.0, (2, n)) + 0.1, 1), self._sizes)
        received = self._now_ns - rng.integers(0, 1000, n) * 1_000_000
        at_venue = received - np.round(25 + np.exp(rng.normal(1.5, 0.6, n))).astype("i8") * 1_000_000
        at_venue = at_venue // 1_000_000 * 1_000_000
        index = np.round(self._spots, 2)
        flags, write = forward_flag(FORWARD_SYNTHETIC), self._table.ticker
        columns = (bid, ask, *self._sizes, np.round(price, 6), *self._vols, forward, index[self._coin], self._oi)
        rows = zip(at_venue.tolist(), received.tolist(), *(column.tolist() for column in columns))
        for iid, (venue_ns, received_ns, *values) in enumerate(rows):
            write(iid, flags, venue_ns, received_ns, -1, *values)
        for coin, name in enumerate(UNDERLYINGS):
            self._table.forward(FORWARD_INDEX, "deribit", name, 0, float(index[coin]), self._now_ns, self._now_ns)
        self._venue.messages += n
        self._venue.last_receive_ns, self._venue.last_venue_ns = int(received.max()), int(at_venue.max())
        self._years, self._forward = years, forward
        self._implied = np.vstack([implied, implied_mid(implied), vol])

    def pass_to(self, second: int) -> None:
        """Let it be `second` without any quote: for surfaces alone."""
        self._now_ns = second * 10**9
        self._spots = self._spots * np.exp(self._rng.normal(0, _PER_SECOND, 2))

    def publication(self, coin: int, quoted: bool = True) -> Publication:
        """Return the surface of an underlying at this second, with the vols of its quotes, or without."""
        rng, now_ns = self._rng, self._now_ns
        self._levels[coin] += rng.normal(0, 5e-5)
        self._surface_id += 1
        smiles = []
        for days in np.unique(self._days):
            expiry_ns = int((START_S + days * DAY_S) * 10**9)
            years = (expiry_ns - now_ns) / 1e9 / DAY_S / 365
            wings = np.array([self._levels[coin] ** 2 * years * 0.6, 0.1 * years**0.5, -0.2, 0.01, 0.2 * years**0.5])
            parameters = tuple((wings + rng.normal(0, 1e-5, 5)).tolist())
            smiles.append(
                Smile(
                    expiry_ns, years, float(self._spots[coin] * (1 + 0.05 * years)), "synthetic", "svi", parameters,
                    40, 5, 0.95, 20 + float(rng.normal()), 80.0, "certified", now_ns - 10**8, now_ns, "free", (-0.6, 0.5),
                )
            )  # fmt: skip
        n = len(smiles)
        verdicts = tuple(Verdict("ok", float(rng.normal()), float(rng.random()), False, None) for _ in range(n))
        certificate = Certificate.of(verdicts, verdicts[1:])
        surface = Surface(UNDERLYINGS[coin], now_ns, tuple(smiles), certificate, "certified")
        return Publication(
            UNDERLYINGS[coin], self._surface_id, now_ns, now_ns, now_ns, now_ns, 4095, float(self._spots[coin]), 1,
            surface, self._quotes(coin) if quoted else QuotedVols((), **{n: np.empty(0, d) for n, d in COLUMNS.items()}),
        )  # fmt: skip

    def _quotes(self, coin: int) -> QuotedVols:
        iids = np.flatnonzero(self._coin == coin)
        bid, ask, mid, fit = self._implied[:, iids]
        values = {
            "expiry_ns": self._expiry_ns[iids], "strike": self._strike[iids], "right": self._right[iids], "iid": iids,
            "k": np.log(self._strike[iids] / self._forward[iids]), "bid_vol": bid, "ask_vol": ask, "mid_vol": mid,
            "fit_vol": fit, "reason": np.where(np.isnan(bid), 1, 0),
        }  # fmt: skip
        zeros = np.zeros(iids.size)
        return QuotedVols(
            ("deribit",), **{name: values.get(name, zeros).astype(dtype) for name, dtype in COLUMNS.items()}
        )


def implied_mid(implied: np.ndarray) -> np.ndarray:
    """Return the vol between bid and ask, one row."""
    return (implied[0] + implied[1]) / 2
