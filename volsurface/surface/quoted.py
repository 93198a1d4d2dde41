"""The quotes of a chain as vols beside a fit, one row per listed option: what a smile plot and a residual need."""

from dataclasses import dataclass, fields

import numpy as np

# Why a quote is not used as a point; the index is stored in QuotedVols.reason. Never silent, always counted.
REASONS = (
    "used",
    "no_bid",
    "no_ask",
    "crossed",
    "in_the_money",
    "below_intrinsic",
    "wide",
    "stale",
    "one_tick",
    "bad_time",
    "outlier",
    "no_forward",
    "no_vol",
    "few_quotes",
    "venue_excluded",
    "venue_stale",
    "venue_locked",
    "off_market",
    "expiry_refused",
)
REASON_CODE = {name: code for code, name in enumerate(REASONS)}


@dataclass(frozen=True, slots=True, eq=False)
class QuotedVols:
    """Columns of shape (n_quotes,), sorted by expiry, then strike; vols are fractions, NaN where there is none.

    expiry_ns: int64. strike, k = ln(strike / the venue's forward of the expiry): float64. right: int8, +1 call, -1 put.
    bid_vol, ask_vol, mid_vol: implied from bid, ask and their middle. fit_vol: the smile at k, NaN without a smile.
    bid, ask: as quoted. bid_size, ask_size: coins. reason: uint8, index into REASONS (0: used in the fit).
    venue: int16, index into `venues`. iid: int32. quote_time_ns: int64. emphasis: float32, what a used quote's residual is
    multiplied by beside its spread: 1.0 for one of ordinary size, fresh, of a trusted venue.
    """

    venues: tuple[str, ...]
    expiry_ns: np.ndarray
    strike: np.ndarray
    k: np.ndarray
    right: np.ndarray
    bid_vol: np.ndarray
    ask_vol: np.ndarray
    mid_vol: np.ndarray
    fit_vol: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    bid_size: np.ndarray
    ask_size: np.ndarray
    reason: np.ndarray
    venue: np.ndarray
    iid: np.ndarray
    quote_time_ns: np.ndarray
    emphasis: np.ndarray

    def __len__(self) -> int:
        return self.strike.size

    def take(self, rows: np.ndarray) -> "QuotedVols":
        """Return only the given rows (a mask or indices)."""
        return QuotedVols(self.venues, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def replaced(self, fresh: "QuotedVols") -> "QuotedVols":
        """Return these quotes with those of `fresh` in place of all of the expiries that it has."""
        venues = tuple(dict.fromkeys((*self.venues, *fresh.venues)))
        number = np.array([venues.index(venue) for venue in fresh.venues], np.int16)
        rows = np.concatenate(
            [np.flatnonzero(~np.isin(self.expiry_ns, np.unique(fresh.expiry_ns))), len(self) + np.arange(len(fresh))]
        )
        columns = {name: (getattr(self, name), getattr(fresh, name)) for name in COLUMNS}
        columns["venue"] = self.venue, number[fresh.venue]
        rows = rows[np.argsort(np.concatenate(columns["expiry_ns"])[rows], kind="stable")]
        return QuotedVols(venues, **{name: np.concatenate(both)[rows] for name, both in columns.items()})

    @property
    def used(self) -> np.ndarray:
        """Return the mask of the quotes that are points of the fit."""
        return self.reason == 0

    @property
    def inside(self) -> np.ndarray:
        """Return, for used quotes only, whether the fit lies within bid and ask (False elsewhere)."""
        return self.used & (self.fit_vol >= self.bid_vol - 1e-9) & (self.fit_vol <= self.ask_vol + 1e-9)


COLUMNS: dict[str, np.dtype] = {
    "expiry_ns": np.dtype("<i8"),
    "strike": np.dtype("<f8"),
    "k": np.dtype("<f8"),
    "right": np.dtype("i1"),
    "bid_vol": np.dtype("<f8"),
    "ask_vol": np.dtype("<f8"),
    "mid_vol": np.dtype("<f8"),
    "fit_vol": np.dtype("<f8"),
    "bid": np.dtype("<f8"),
    "ask": np.dtype("<f8"),
    "bid_size": np.dtype("<f8"),
    "ask_size": np.dtype("<f8"),
    "reason": np.dtype("u1"),
    "venue": np.dtype("<i2"),
    "iid": np.dtype("<i4"),
    "quote_time_ns": np.dtype("<i8"),
    "emphasis": np.dtype("<f4"),
}
assert [f.name for f in fields(QuotedVols)] == ["venues", *COLUMNS]
