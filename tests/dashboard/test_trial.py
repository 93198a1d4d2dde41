"""Before and after of a trial: weighted by quotes, least margins, states in words."""

import math
from dataclasses import replace

from scripted_market import publication

from volsurface.dashboard.trial import NAMES, _numbers, trial_table


def test_shares_and_errors_are_over_all_quotes_used() -> None:
    surface = publication(noise=0.001, violated=2).surface
    first = replace(surface.smiles[0], n_quotes=10, rmse_bp=30.0, inside_spread=0.5)
    second = replace(surface.smiles[1], n_quotes=30, rmse_bp=10.0, inside_spread=1.0)
    numbers = dict(zip(NAMES, _numbers(replace(surface, smiles=(first, second)))))
    assert numbers["quotes used"] == "40"
    assert numbers["inside, %"] == "87.5"
    assert numbers["RMSE, bp"] == f"{math.sqrt((10 * 900 + 30 * 100) / 40):.1f}"
    assert numbers["least g"] == "−0.0120"


def test_a_trial_without_smiles_shows_dashes_and_its_state() -> None:
    surface = publication().surface
    html = trial_table(surface, replace(surface, smiles=(), state="failed"))
    assert "failed" in html
    assert html.count("–") >= 2
