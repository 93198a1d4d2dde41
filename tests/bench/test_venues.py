"""The distance from the truth is measured at the surface's own instant, and the table says what was found."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from volsurface.bench.venues import _errors_bp, _print
from volsurface.engine.chain_fit import fit_chain
from volsurface.simulator.chain import NOON_NS, simulated_chain
from volsurface.simulator.true_surface import TrueSurface
from volsurface.surface.surface import Surface


def test_a_fit_of_the_simulated_chain_is_near_the_truth_and_a_shifted_one_is_not() -> None:
    surface, truth = fit_chain(simulated_chain("BTC", seed=3)).surface, TrueSurface("BTC", 3)
    assert surface.valuation_time_ns == NOON_NS
    near = _errors_bp(surface, truth)
    assert np.median(near) < 15.0
    smiles = tuple(
        replace(smile, parameters=(smile.parameters[0] * 1.2, *smile.parameters[1:])) for smile in surface.smiles
    )
    far = _errors_bp(replace(surface, smiles=smiles), truth)
    assert np.median(far) > 5 * np.median(near)
    assert _errors_bp(Surface("BTC", NOON_NS, (), surface.certificate, "failed", ""), truth).size == 0


def test_the_table_names_every_venue_and_what_was_lost(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"per_s": 1000.0, "coverage": 0.9, "lag_ms": 12.0, "gaps": 0, "reconnects": 2}
    errors = {"median_bp": 4.5, "p90_bp": 20.25}
    figures = {
        "venues": {"okx": counts}, "errors": {"okx": errors, "composite": errors}, "seconds": 60.0, "lost": ["okx: 4004"]
    }  # fmt: skip
    _print(Console(width=140), figures)
    said = capsys.readouterr().out
    for words in ("okx", "1,000", "90 %", "4.50", "20.25", "connections lost: 1", "okx: 4004"):
        assert words in said
