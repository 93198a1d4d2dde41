"""Venues beside the composite: what was put in comes out."""

import math

import numpy as np
import pytest
from scripted_market import publication

from volsurface.surface.quoted import REASON_CODE, QuotedVols
from volsurface.surface.venue_comparison import compare_venues

NAMES = ("deribit", "okx", "derive")
SHIFT_BP = (0.0, 40.0, -15.0)
BASIS_BP = (0.0, 3.0, -5.0)


@pytest.fixture
def market():
    """Three venues quote the same strikes, shifted in vol and in forward; derive lists nothing of the last expiry."""
    source = publication("BTC")
    one, parts = source.quotes, []
    for number, (shift, basis) in enumerate(zip(SHIFT_BP, BASIS_BP)):
        rows = np.flatnonzero(one.expiry_ns < one.expiry_ns.max()) if number == 2 else np.arange(len(one))
        mine = one.take(rows)
        spread = 0.01
        columns = {
            "k": mine.k - basis / 1e4, "mid_vol": mine.fit_vol + shift / 1e4, "bid_vol": mine.fit_vol + shift / 1e4 - spread,
            "ask_vol": mine.fit_vol + shift / 1e4 + spread, "venue": np.full(rows.size, number, "<i2"),
            "reason": np.zeros(rows.size, "u1"),
        }  # fmt: skip
        parts.append({name: columns.get(name, getattr(mine, name)) for name in one.__slots__ if name != "venues"})
    quotes = QuotedVols(NAMES, **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return source.surface, quotes


def test_residuals_spreads_and_bases_by_venue_and_expiry(market):
    surface, quotes = market
    compared = compare_venues(surface, quotes)
    assert [c.venue for c in compared] == list(NAMES)
    for venue, shift, basis in zip(compared, SHIFT_BP, BASIS_BP):
        assert venue.residual_bp == pytest.approx(shift, abs=1e-6)
        assert venue.basis_bp == pytest.approx(basis, abs=1e-6)
        assert venue.spread_bp == pytest.approx(200.0)
        assert venue.n_used == venue.n_quotes == (quotes.venue == NAMES.index(venue.venue)).sum()
        assert (venue.weight, venue.verdict) == (1.0, "")
        assert venue.residuals_bp[:-1] == pytest.approx(shift, abs=1e-6)
    assert math.isnan(compared[2].residuals_bp[-1])
    assert compared[2].quotes[-1] == 0


def test_what_was_left_out_for_the_venues_sake_is_said_in_words(market):
    surface, quotes = market
    quotes.reason[quotes.venue == 0] = REASON_CODE["venue_stale"]
    first = quotes.expiry_ns == quotes.expiry_ns.min()
    quotes.reason[(quotes.venue == 1) & first] = REASON_CODE["off_market"]
    deribit, okx, derive = compare_venues(surface, quotes)
    expiries = np.unique(quotes.expiry_ns).size
    assert (deribit.verdict, deribit.n_used, deribit.weight) == ("silent", 0, 0.0)
    assert deribit.residual_bp == pytest.approx(0.0, abs=1e-6), "its last quotes are still compared"
    assert okx.verdict == f"off the market in 1 of {expiries} expiries"
    assert derive.verdict == ""
