"""A publication as columns: values, units, holes."""

import math

import numpy as np
import pytest
from scripted_market import DAYS, publication

from volsurface.dashboard.picture import X_AXES, Z_GRID, Picture, to_x
from volsurface.surface.quoted import REASONS


@pytest.fixture(scope="module")
def picture() -> Picture:
    return Picture(publication())


def test_the_grid_is_the_smiles_in_percent(picture: Picture) -> None:
    assert picture.vol_grid.shape == (len(DAYS), Z_GRID.size)
    assert picture.vol_grid.dtype == np.float32
    for row, smile in enumerate(picture.smiles):
        assert picture.vol_grid[row, 40] == pytest.approx(100 * smile.atm_vol, rel=1e-6)
        k = smile.atm_vol * math.sqrt(smile.years)  # one standard deviation
        assert picture.vol_grid[row, 60] == pytest.approx(100 * smile.vol_at(k), rel=1e-6)
    years = np.array([s.years for s in picture.smiles])[:, None]
    assert np.allclose(picture.variance_grid, (picture.vol_grid / 100) ** 2 * years, rtol=1e-5)


def test_nothing_is_drawn_beyond_the_quotes() -> None:
    made = publication()
    near = made.quotes.expiry_ns == made.surface.smiles[0].expiry_ns
    kept = made.quotes.take(~near | (np.abs(made.quotes.k) < 0.7 * np.abs(made.quotes.k[near]).max()))
    from dataclasses import replace

    grid = Picture(replace(made, quotes=kept)).vol_grid
    assert np.isnan(grid[0, 0])
    assert np.isnan(grid[0, -1])
    assert np.isfinite(grid[0, 40])
    assert np.isfinite(grid[1:]).all()


def test_a_failed_smile_is_a_hole() -> None:
    picture = Picture(publication(failed=3))
    assert np.isnan(picture.vol_grid[3]).all()
    assert np.asarray(picture.smile_columns(3, "strike").fit["fit"]).size == 0


def test_residuals_are_mid_minus_fit_at_the_quotes_in_bp() -> None:
    exact = Picture(publication(noise=0.0)).smile_columns(5, "standardised").quotes
    assert np.abs(np.asarray(exact["residual"])).max() == 0
    picture = Picture(publication(noise=0.002))
    columns = picture.smile_columns(5, "standardised").quotes
    difference = 100 * (np.asarray(columns["mid"], float) - np.asarray(columns["model"], float))
    assert np.allclose(columns["residual"], difference, atol=0.01)
    assert np.abs(np.asarray(columns["residual"])).max() > 5


def test_every_axis_rises_with_the_strike(picture: Picture) -> None:
    for axis in X_AXES:
        columns = picture.smile_columns(5, axis)
        assert (np.diff(np.asarray(columns.quotes["x"], float)) > 0).all(), axis
        assert (np.diff(np.asarray(columns.quotes["strike"], float)) > 0).all()


def test_axis_values_are_what_their_names_say(picture: Picture) -> None:
    smile = picture.smiles[5]
    k = np.array([-0.2, 0.0, 0.1])
    assert np.allclose(to_x(k, smile, "strike"), smile.forward * np.exp(k))
    assert np.allclose(to_x(k, smile, "standardised"), k / (smile.atm_vol * math.sqrt(smile.years)))
    put = math.log(smile.strike_at_delta(0.25, "put") / smile.forward)
    call = math.log(smile.strike_at_delta(0.25, "call") / smile.forward)
    assert np.allclose(to_x(np.array([put, call]), smile, "delta"), [25, 75], atol=1e-6)
    with pytest.raises(ValueError, match="x axis is one of"):
        to_x(k, smile, "moneyness")


def test_unused_quotes_keep_their_reason_and_place(picture: Picture) -> None:
    quotes = picture.publication.quotes
    for row, smile in enumerate(picture.smiles):
        left = picture.smile_columns(row, "strike").rejected
        mine = quotes.take((quotes.expiry_ns == smile.expiry_ns) & ~quotes.used)
        assert list(left["reason"]) == [REASONS[code].replace("_", " ") for code in mine.reason]
        assert np.allclose(left["x"], mine.strike)
        assert not set(np.asarray(left["strike"])) & set(
            np.asarray(picture.smile_columns(row, "strike").quotes["strike"])
        )


def test_an_arbitrage_interval_is_on_the_axis_shown() -> None:
    picture = Picture(publication(violated=7))
    smile = picture.smiles[7]
    violations = picture.smile_columns(7, "strike").violations
    assert np.allclose(np.asarray(violations["x0"]), smile.forward * math.exp(-0.34), rtol=1e-6)
    assert np.allclose(np.asarray(violations["x1"]), smile.forward * math.exp(-0.26), rtol=1e-6)
    assert picture.violated(7)
    assert not picture.violated(6)


def test_the_term_structure_is_the_smiles_own(picture: Picture) -> None:
    smile = picture.smiles[4]
    assert picture.term["atm"][4] == pytest.approx(100 * smile.atm_vol, rel=1e-6)
    assert picture.term["rr25"][4] == pytest.approx(100 * smile.risk_reversal(), rel=1e-6)
    assert picture.term["bf25"][4] == pytest.approx(100 * smile.butterfly(), rel=1e-6)
    assert picture.term["days"][4] == pytest.approx(21 + 8 / 24, abs=0.01)
