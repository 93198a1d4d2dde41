"""The questions a stage asks before the next one runs: what is called invisible is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_market import publication

from volsurface.engine.materiality import (
    chosen_for_audit,
    common_factor,
    displayed_vols,
    farthest_move,
    quoted_change,
    steepest,
)
from volsurface.pricing.black76 import black76_price
from volsurface.pricing.implied_vol import implied_vols

SMILE = publication().surface.smiles[5]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    days=st.floats(0.1, 800.0),
    move=st.floats(-2e-3, 2e-3),
    lost=st.floats(0.0, 1e-3),
    coin=st.booleans(),
)
def test_no_quote_out_of_the_money_moves_farther_than_the_bound(seed, days, move, lost, coin) -> None:
    rng = np.random.default_rng(seed)
    n, years = 50, days / 365
    vol = rng.uniform(0.2, 2.0, n)
    z = np.abs(rng.normal(0, 1.2, n))
    right = rng.choice([-1.0, 1.0], n)
    strike = np.exp(right * z * vol * np.sqrt(years))
    price = black76_price(1.0, strike, years, vol, right)
    forward, later = np.exp(move), years * (1 - lost)
    now = implied_vols(price * (forward if coin else 1.0), forward, strike, later, right).vol
    good = (price > 1e-9) & np.isfinite(now)
    bound = farthest_move(np.array([move]), np.array([vol.max()]), np.array([later]), np.array([years]))[0]
    # A move across the strike, or large against the whole distribution, is no small one: then the bound says much anyway.
    assert (np.abs(now - vol)[good] <= max(bound, 1e-12) * (1 + 10 * bound)).all()


def test_the_bound_is_not_idle() -> None:
    years, vol, move = 7 / 365, 0.5, 1e-5
    price = black76_price(1.0, 1.0, years, vol, 1.0)
    now = float(implied_vols(price, np.exp(move), 1.0, years, 1.0).vol)
    bound = float(farthest_move(np.array([move]), np.array([vol]), np.array([years]), np.array([years]))[0])
    assert abs(now - vol) > 0.7 * bound


def test_common_factors_are_found_group_by_group() -> None:
    then = np.array([[0.5, 0.6], [0.4, 0.5], [0.7, np.nan], [0.3, 0.31], [0.3, 0.35]])
    now = then * np.array([1.02, 1.02, 1.1, 1.0, 1.0])[:, None]
    now[3, 0] += 0.002
    factor, distance = common_factor(now, then, np.array([0, 1, 2, 3, 4]), np.array([0, 2, 3]))
    assert factor[:2] == pytest.approx([1.02, 1.1])
    assert distance[:2] == pytest.approx([0.0, 0.0], abs=1e-15)
    assert 0.001 <= distance[2] < 0.0013
    now[0, 1] = np.nan
    _, distance = common_factor(now, then, np.arange(5), np.array([0, 2, 3]))
    assert distance[0] == np.inf
    nothing = np.full((2, 2), np.nan)
    assert common_factor(nothing, nothing, np.arange(2), np.array([0]))[1].tolist() == [np.inf]


def test_audits_are_chosen_by_the_step_number_alone() -> None:
    units = list(range(20))
    chosen = [(step, unit) for step in range(5000) for unit in chosen_for_audit(step, units, 0.01)]
    assert chosen == [(step, unit) for step in range(5000) for unit in chosen_for_audit(step, units, 0.01)]
    assert 800 < len(chosen) < 1200
    per_unit = np.bincount([unit for _, unit in chosen], minlength=20)
    assert per_unit.min() > 20
    assert chosen_for_audit(3, units, 1.0) == units
    assert chosen_for_audit(3, units, 0.0) == []


def test_smiles_are_compared_at_the_same_strikes() -> None:
    assert quoted_change(SMILE, SMILE) == 0.0
    moved = replace(SMILE, forward=SMILE.forward * 1.001)
    assert 0.0 < quoted_change(moved, SMILE) <= 1.05 * 0.001 * steepest(SMILE, displayed_vols(SMILE))
    raised = replace(SMILE, parameters=(SMILE.parameters[0] * 1.01, *SMILE.parameters[1:]))
    assert quoted_change(raised, SMILE) > 1e-4
