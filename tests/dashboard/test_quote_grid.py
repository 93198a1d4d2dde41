"""Quotes on a grid: means, sums and edges against a plain loop over the quotes; holes; units."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scripted_market import DAYS, publication

from volsurface.dashboard.picture import Z_GRID, Picture
from volsurface.dashboard.quote_grid import BUCKETS, COLOURS, MEASURES, cells, colour_grid
from volsurface.pricing.greeks import greeks


def moved(noise: float = 0.004) -> Picture:
    """A picture whose sizes differ on the two sides and whose quotes go through the fit now and then."""
    made = publication(noise=noise)
    sizes = np.arange(1, len(made.quotes) + 1) / 10
    return Picture(replace(made, quotes=replace(made.quotes, bid_size=sizes, ask_size=2 * sizes)))


def slow_cells(picture: Picture, measure: str) -> dict[tuple[int, int], list[float]]:
    """The same measure by a loop: {(row, bucket): its quotes' terms}."""
    quotes, found = picture.publication.quotes, {}
    for row, smile in enumerate(picture.smiles):
        for i in np.flatnonzero((quotes.expiry_ns == smile.expiry_ns) & quotes.used):
            z = quotes.k[i] / (smile.atm_vol * math.sqrt(smile.years))
            if not -2 <= z < 2:
                continue
            residual = quotes.mid_vol[i] - quotes.fit_vol[i]
            if measure == "bp":
                term = 1e4 * residual
            elif measure == "spreads":
                term = residual / (quotes.ask_vol[i] - quotes.bid_vol[i])
            else:
                strike = smile.forward * math.exp(quotes.k[i])
                vega = greeks(smile.forward, strike, smile.years, quotes.fit_vol[i], 1).vega
                term = residual * float(vega) * (quotes.bid_size[i] if residual > 0 else quotes.ask_size[i])
            found.setdefault((row, int((z + 2) // 0.25)), []).append(float(term))
    return found


@pytest.mark.parametrize("measure", MEASURES)
def test_every_cell_is_what_a_loop_over_its_quotes_gives(measure: str) -> None:
    picture = moved()
    made, slow = cells(picture, measure), slow_cells(picture, measure)
    assert made.value.shape == (len(DAYS), BUCKETS)
    assert made.value.dtype == np.float32
    for (row, bucket), terms in slow.items():
        want = sum(terms) if measure == "money" else np.mean(terms)
        assert made.value[row, bucket] == pytest.approx(want, rel=1e-4, abs=1e-3)
        assert made.count[row, bucket] == len(terms)
    assert int(made.count.sum()) == sum(map(len, slow.values()))
    assert np.isnan(made.value[made.count == 0]).all()


def test_an_exact_fit_is_neither_rich_nor_cheap() -> None:
    made = cells(Picture(publication(noise=0.0)), "bp")
    assert np.nanmax(np.abs(made.value)) == 0
    assert not made.through.any()


def test_a_quote_goes_through_the_fit_by_its_distance_and_side() -> None:
    made = publication(noise=0.0)
    quotes = made.quotes
    rich, cheap = np.flatnonzero(quotes.used)[[10, 60]]
    bid, ask = quotes.bid_vol.copy(), quotes.ask_vol.copy()
    bid[rich], ask[rich] = quotes.fit_vol[rich] + 0.002, quotes.fit_vol[rich] + 0.003
    bid[cheap], ask[cheap] = quotes.fit_vol[cheap] - 0.003, quotes.fit_vol[cheap] - 0.001
    through = cells(Picture(replace(made, quotes=replace(quotes, bid_vol=bid, ask_vol=ask))), "bp").through
    assert sorted(through[through != 0].tolist()) == pytest.approx([-10.0, 20.0], rel=1e-5)


def test_a_failed_expiry_and_missing_strikes_are_holes() -> None:
    made = cells(Picture(publication(failed=3, hole=5)), "bp")
    assert np.isnan(made.value[3]).all()
    assert np.isnan(made.value[5, 7:9]).all()
    assert np.isfinite(made.value[6, 7:9]).all()


def test_the_surfaces_colours_are_of_its_quotes() -> None:
    picture = moved()
    for name in COLOURS:
        grid = colour_grid(picture, name)
        assert grid.shape == picture.vol_grid.shape, name
        assert (np.isnan(grid) == np.isnan(picture.vol_grid)).all(), name
    assert np.allclose(colour_grid(picture, "age"), 0.2, atol=0.11)
    columns = picture.smile_columns(5, "standardised").quotes
    z, residual = np.asarray(columns["x"], float), np.asarray(columns["residual"], float)
    near = int(np.argmin(np.abs(Z_GRID - z[20])))
    between = np.interp(Z_GRID[near], z, residual)
    assert colour_grid(picture, "residual")[5, near] == pytest.approx(between, rel=1e-4, abs=0.01)
    smile = picture.smiles[4]
    vega = greeks(smile.forward, smile.forward, smile.years, smile.atm_vol, 1).vega
    assert colour_grid(picture, "vega")[4, 40] == pytest.approx(float(vega) / 100, rel=1e-5)


def test_unknown_measures_are_named() -> None:
    picture = Picture(publication())
    with pytest.raises(ValueError, match="bp, spreads, money, found 'vols'"):
        cells(picture, "vols")
    with pytest.raises(ValueError, match="residual, spread, age, vega, found 'red'"):
        colour_grid(picture, "red")
