"""Quotes beside their fit, gathered by expiry and strike bucket or drawn along each expiry: what is rich, what is cheap.

A bucket is a quarter of a standard deviation of log-moneyness wide, so that one grid suits all expiries. Only quotes the fit
uses are gathered: a quote that was refused says nothing about the fit. Where none is, a value is NaN.
"""

import math
from dataclasses import dataclass

import numpy as np

from volsurface.dashboard.picture import Z_GRID, Z_RANGE, Picture
from volsurface.surface.quoted import QuotedVols

BUCKETS = 16
BUCKET_WIDTH = (Z_RANGE[1] - Z_RANGE[0]) / BUCKETS
# What a cell of the matrix says, in words with its unit.
MEASURES = {
    "bp": "mean of mid − fit, bp of vol",
    "spreads": "mean of (mid − fit) / (ask − bid)",
    "money": "sum of (mid − fit) × vega × size, USD",
}
# What the surface may be coloured by, and the title of its scale.
COLOURS = {
    "vol": "vol %",
    "residual": "mid − fit, bp",
    "spread": "spread, vol pts",
    "age": "quote age, s",
    "vega": "vega, USD",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """One matrix of shape (n_expiries, BUCKETS), nearest expiry first, lowest strikes left; float32.

    value: the measure asked for. count: quotes in the cell. through: bp of vol by which the cell's best quote goes through
    the fit: a bid above it positive, an ask beneath it negative, 0 where every spread encloses the fit. age_s: age of the
    newest quote when the surface was made, in seconds.
    """

    value: np.ndarray
    count: np.ndarray
    through: np.ndarray
    age_s: np.ndarray


def cells(picture: Picture, measure: str) -> Cells:
    """Return the matrix of one of MEASURES.

    The size is that of the side one would trade: the bid's where the mid lies above the fit, else the ask's, in coins.
    """
    if measure not in MEASURES:
        raise ValueError(f"the matrix is in {', '.join(MEASURES)}, found {measure!r}")
    shape = (len(picture.smiles), BUCKETS)
    used, row, z = _placed(picture)
    bucket = np.floor((z - Z_RANGE[0]) / BUCKET_WIDTH).astype(int)
    seen = (bucket >= 0) & (bucket < BUCKETS) & np.isfinite(used.mid_vol - used.fit_vol)
    used, row, bucket = used.take(seen), row[seen], bucket[seen]
    cell = row * BUCKETS + bucket
    residual = used.mid_vol - used.fit_vol
    count = np.bincount(cell, minlength=math.prod(shape)).astype(float)
    if measure == "money":
        size = np.nan_to_num(np.where(residual > 0, used.bid_size, used.ask_size))
        total = np.bincount(cell, residual * _vega(picture, used.k, used.fit_vol, row) * size, count.size)
        value = np.where(count > 0, total, np.nan)
    else:
        width = used.ask_vol - used.bid_vol
        with np.errstate(divide="ignore", invalid="ignore"):
            each = 1e4 * residual if measure == "bp" else np.where(width > 0, residual / width, np.nan)
            known = np.isfinite(each)
            counted = np.bincount(cell[known], minlength=count.size)
            value = np.bincount(cell[known], each[known], count.size) / np.where(counted > 0, counted, np.nan)
    above, beneath = np.zeros(count.size), np.zeros(count.size)
    np.maximum.at(above, cell, np.nan_to_num(1e4 * (used.bid_vol - used.fit_vol)))
    np.minimum.at(beneath, cell, np.nan_to_num(1e4 * (used.ask_vol - used.fit_vol)))
    age = np.full(count.size, np.inf)
    np.minimum.at(age, cell, (picture.publication.market_time_ns - used.quote_time_ns) / 1e9)
    age[count == 0] = np.nan
    through = np.where(above >= -beneath, above, beneath)
    return Cells(*(np.asarray(a, "f4").reshape(shape) for a in (value, count, through, age)))


def colour_grid(picture: Picture, colour: str) -> np.ndarray:
    """Return what the surface is coloured by, on expiries x Z_GRID like `Picture.vol_grid`; NaN where that is.

    Quotes stand at strikes and are drawn straight between them. vega: USD per coin and vol point, of the fit.
    """
    if colour not in COLOURS:
        raise ValueError(f"the surface is coloured by {', '.join(COLOURS)}, found {colour!r}")
    if colour == "vol":
        return picture.vol_grid
    grid = np.full(picture.vol_grid.shape, np.nan)
    if colour == "vega":
        row = np.arange(len(picture.smiles))[:, None]
        k = Z_GRID[None, :] * _deviations(picture)[:, None]
        grid = _vega(picture, k, np.asarray(picture.vol_grid, float) / 100, np.broadcast_to(row, grid.shape)) / 100
    else:
        used, row, z = _placed(picture)
        value = {
            "residual": 1e4 * (used.mid_vol - used.fit_vol),
            "spread": 100 * (used.ask_vol - used.bid_vol),
            "age": (picture.publication.market_time_ns - used.quote_time_ns) / 1e9,
        }[colour]
        for i in range(len(picture.smiles)):
            mine = np.flatnonzero((row == i) & np.isfinite(value))
            if mine.size:
                mine = mine[np.argsort(z[mine], kind="stable")]
                grid[i] = np.interp(Z_GRID, z[mine], value[mine])
    return np.where(np.isfinite(picture.vol_grid), grid, np.nan).astype("f4")


def _placed(picture: Picture) -> tuple[QuotedVols, np.ndarray, np.ndarray]:
    """Return the quotes used of expiries with a smile, their row and their standardised log-moneyness."""
    quotes = picture.publication.quotes
    expiries = np.array([smile.expiry_ns for smile in picture.smiles], np.int64)
    shown = [s.expiry_ns for s in picture.smiles if s.state != "failed"]
    used = quotes.take(quotes.used & np.isin(quotes.expiry_ns, shown))
    row = np.searchsorted(expiries, used.expiry_ns)
    return used, row, used.k / _deviations(picture)[row]


def _deviations(picture: Picture) -> np.ndarray:
    return np.array([max(s.atm_vol, 1e-6) * math.sqrt(s.years) for s in picture.smiles])


def _vega(picture: Picture, k: np.ndarray, vol: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return F phi(d+) sqrt(years) in USD per coin and a vol of 1.00 (Black 1976, undiscounted)."""
    root = np.sqrt(np.array([s.years for s in picture.smiles]))[row]
    forward = np.array([s.forward for s in picture.smiles])[row]
    with np.errstate(divide="ignore", invalid="ignore"):
        d_plus = -k / (vol * root) + 0.5 * vol * root
    return forward * np.exp(-0.5 * d_plus**2) / math.sqrt(2 * math.pi) * root
