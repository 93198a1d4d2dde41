"""A publication as columns ready to draw: float32, in the units of the axes, derived once whoever is looking.

Vols are in %, residuals in bp of vol, times to expiry in days. The standardised log-moneyness is
z = ln(K/F) / (ATM vol sqrt(years)), so that one grid suits all expiries. Nothing is drawn where the market does not quote:
beyond the outermost quotes used (and a tenth of their width) a value is NaN, not an extrapolation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from volsurface.dashboard.formatting import expiry_labels, short_labels
from volsurface.io.publication import Publication
from volsurface.surface.certificate import Verdict
from volsurface.surface.quoted import REASONS
from volsurface.surface.smile import Smile
from volsurface.surface.venue_comparison import VenueComparison, compare_venues

DAYS_PER_YEAR = 365.0
Z_RANGE = (-2.0, 2.0)
Z_GRID = np.linspace(*Z_RANGE, 81)
FIT_POINTS = 121
X_AXES = ("standardised", "log-moneyness", "delta", "strike")
Columns = dict[str, np.ndarray | list[str]]


@dataclass(frozen=True)
class SmileColumns:
    """One expiry's columns. `quotes`: used quotes; `rejected`: those with a vol that are not used; `fit`: the line;
    `violations`: x intervals with arbitrage. `x_range`, `y_range`: what a first look should show."""

    quotes: Columns
    rejected: Columns
    fit: Columns
    violations: Columns
    x_range: tuple[float, float]
    y_range: tuple[float, float]


class Picture:
    """Everything a page draws of one publication."""

    def __init__(self, publication: Publication) -> None:
        self.publication = publication
        self.surface = publication.surface
        self.smiles: tuple[Smile, ...] = self.surface.smiles
        self.labels = expiry_labels([smile.expiry_ns for smile in self.smiles])
        self.short_labels = short_labels(self.labels)
        self._smile_columns: dict[tuple[int, str], SmileColumns] = {}

    def row(self, label: str) -> int | None:
        """Return the row of an expiry's label, or None."""
        return self.labels.index(label) if label in self.labels else None

    @cached_property
    def days(self) -> np.ndarray:
        """Days to each expiry, shape (n_expiries,)."""
        return np.array([smile.years * DAYS_PER_YEAR for smile in self.smiles])

    @cached_property
    def _quoted_k(self) -> list[tuple[float, float]]:
        """The log-moneyness of the outermost used quotes of each expiry, widened by a tenth; NaN without any."""
        quotes, found = self.publication.quotes, []
        for smile in self.smiles:
            k = quotes.k[(quotes.expiry_ns == smile.expiry_ns) & quotes.used]
            margin = 0.1 * (k.max() - k.min()) if k.size else math.nan
            found.append((k.min() - margin, k.max() + margin) if k.size else (math.nan, math.nan))
        return found

    @cached_property
    def vol_grid(self) -> np.ndarray:
        """Vols in % on expiries x Z_GRID, float32, NaN where the market does not quote; shape (n_expiries, 81)."""
        grid = np.full((len(self.smiles), Z_GRID.size), np.nan)
        for row, (smile, (low, high)) in enumerate(zip(self.smiles, self._quoted_k)):
            k = Z_GRID * _standard_deviation(smile)
            inside = (k >= low) & (k <= high)
            if smile.state != "failed" and inside.any():
                grid[row, inside] = 100 * np.asarray(smile.vol_at(k[inside]))
        return grid.astype("f4")

    @cached_property
    def variance_grid(self) -> np.ndarray:
        """Total variance vol^2 * years on the same grid."""
        years = np.array([smile.years for smile in self.smiles])[:, None]
        return ((self.vol_grid / 100) ** 2 * years).astype("f4")

    @cached_property
    def term(self) -> Columns:
        """ATM vol, 25-delta risk reversal and butterfly by expiry, in %."""
        rows = [(s.atm_vol, s.risk_reversal(0.25), s.butterfly(0.25)) for s in self.smiles]
        values = 100 * np.array(rows, dtype=float).reshape(-1, 3)
        return {
            "days": self.days.astype("f4"),
            "atm": values[:, 0].astype("f4"),
            "rr25": values[:, 1].astype("f4"),
            "bf25": values[:, 2].astype("f4"),
            "expiry": list(self.labels),
        }

    @cached_property
    def venues(self) -> tuple[VenueComparison, ...]:
        """Each venue beside the composite surface."""
        return compare_venues(self.surface, self.publication.quotes)

    def butterfly(self, row: int) -> Verdict | None:
        """The butterfly verdict of an expiry."""
        verdicts = self.surface.certificate.butterfly
        return verdicts[row] if row < len(verdicts) else None

    def calendar(self, row: int) -> list[tuple[int, int, Verdict]]:
        """The calendar verdicts an expiry takes part in, as (earlier row, later row, verdict)."""
        verdicts = self.surface.certificate.calendar
        return [(i, i + 1, verdicts[i]) for i in (row - 1, row) if 0 <= i < len(verdicts)]

    def violated(self, row: int) -> bool:
        """Tell whether an expiry takes part in an arbitrage."""
        verdicts = [self.butterfly(row), *(verdict for _, _, verdict in self.calendar(row))]
        return any(verdict is not None and verdict.verdict == "violated" for verdict in verdicts)

    def smile_columns(self, row: int, x_axis: str) -> SmileColumns:
        """The columns of one expiry against one of X_AXES; made at the first call and kept."""
        key = (row, x_axis)
        if key not in self._smile_columns:
            self._smile_columns[key] = self._make_smile_columns(row, x_axis)
        return self._smile_columns[key]

    def earlier_smile(self, row: int, then: Smile, x_axis: str) -> Columns:
        """The line of an earlier smile of the same expiry, on its own axis values, as far as the market quotes now."""
        low, high = self._quoted_k[row]
        k = np.linspace(low, high, FIT_POINTS) if math.isfinite(low) else np.empty(0)
        return {"x": _f4(to_x(k, then, x_axis)), "then": _f4(100 * np.asarray(then.vol_at(k)) if k.size else k)}

    def _make_smile_columns(self, row: int, x_axis: str) -> SmileColumns:
        smile, quotes = self.smiles[row], self.publication.quotes
        rows = np.flatnonzero(quotes.expiry_ns == smile.expiry_ns)
        mine = quotes.take(rows[np.argsort(quotes.k[rows], kind="stable")])
        used = mine.take(mine.used)
        # Quotes in the money repeat what the other side says and are no news; the others are shown where they lie.
        off = np.isfinite(mine.bid_vol) | np.isfinite(mine.ask_vol)
        left = mine.take(~mine.used & off & (mine.reason != REASONS.index("in_the_money")))
        low, high = self._quoted_k[row]
        k = np.linspace(low, high, FIT_POINTS) if math.isfinite(low) and smile.state != "failed" else np.empty(0)
        fit = 100 * np.asarray(smile.vol_at(k)) if k.size else k
        age_s = (self.publication.market_time_ns - used.quote_time_ns) / 1e9
        bid, ask, mid = 100 * used.bid_vol, 100 * used.ask_vol, 100 * used.mid_vol
        x = to_x(used.k, smile, x_axis)
        quote_columns: Columns = {
            "x": _f4(x),
            "bid": _f4(bid),
            "ask": _f4(ask),
            "mid": _f4(mid),
            "model": _f4(100 * used.fit_vol),
            "residual": _f4(1e4 * (used.mid_vol - used.fit_vol)),
            "strike": _f4(used.strike),
            "age": _f4(age_s),
            "right": ["call" if right > 0 else "put" for right in used.right],
            "venue": [used.venues[v] if 0 <= v < len(used.venues) else "" for v in used.venue],
        }
        left_columns: Columns = {
            "x": _f4(to_x(left.k, smile, x_axis)),
            "y": _f4(100 * np.where(np.isfinite(left.mid_vol), left.mid_vol, np.fmax(left.bid_vol, left.ask_vol))),
            "strike": _f4(left.strike),
            "venue": [left.venues[v] if 0 <= v < len(left.venues) else "" for v in left.venue],
            "reason": [REASONS[code].replace("_", " ") for code in left.reason],
        }
        x_fit = to_x(k, smile, x_axis)
        return SmileColumns(
            quotes=quote_columns,
            rejected=left_columns,
            fit={"x": _f4(x_fit), "fit": _f4(fit)},
            violations=self._violation_columns(row, x_axis, (low, high)),
            x_range=_range(x_fit if x_fit.size else x),
            y_range=_range(np.concatenate([mid, np.minimum(bid, mid), np.minimum(ask, 2 * mid), fit])),
        )

    def _violation_columns(self, row: int, x_axis: str, seen: tuple[float, float]) -> Columns:
        """Intervals with arbitrage as x0, x1; an open end stops where the quotes do."""
        verdicts = [self.butterfly(row), *(verdict for _, _, verdict in self.calendar(row))]
        found = [v.interval for v in verdicts if v is not None and v.verdict == "violated" and v.interval]
        ends = np.array([[max(a, seen[0]), min(b, seen[1])] for a, b in found if max(a, seen[0]) < min(b, seen[1])])
        ends = ends.reshape(-1, 2)
        return {name: _f4(to_x(ends[:, i], self.smiles[row], x_axis)) for i, name in enumerate(("x0", "x1"))}


def to_x(k: np.ndarray, smile: Smile, x_axis: str) -> np.ndarray:
    """Return log-moneyness on the axis asked for.

    "delta" runs from 0 to 100 from the left: below 50 the put's absolute Black delta, above 50 a hundred minus the call's,
    so that strikes rise to the right as on the other axes.
    """
    if x_axis == "log-moneyness":
        return k
    if x_axis == "strike":
        return smile.forward * np.exp(k)
    if x_axis == "standardised":
        return k / _standard_deviation(smile)
    if x_axis == "delta":
        root = np.sqrt(np.maximum(np.asarray(smile.total_variance(k), float), 1e-12))
        d_plus = -k / root + 0.5 * root
        return 100 * (1 - np.array([0.5 * math.erfc(-d / math.sqrt(2)) for d in np.atleast_1d(d_plus)]))
    raise ValueError(f"x axis is one of {', '.join(X_AXES)}, found {x_axis!r}")


def _standard_deviation(smile: Smile) -> float:
    return max(smile.atm_vol, 1e-6) * math.sqrt(smile.years)


def _f4(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype="f4")


def _range(values: np.ndarray | Sequence[float]) -> tuple[float, float]:
    finite = np.asarray(values)[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
