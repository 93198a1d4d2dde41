"""The one question only a simulated market can answer: does the fit find the vols the quotes were made from?"""

from datetime import UTC, datetime

import numpy as np
import pytest

from volsurface.engine.chain_fit import fit_chain
from volsurface.simulator.chain import simulated_chain
from volsurface.simulator.true_surface import TrueSurface

NOW = int(datetime(2026, 5, 21, 9, 13, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fitted_vols_are_within_twenty_basis_points_of_the_true_ones(seed: int) -> None:
    now_ns = NOW + seed * 40_000 * 10**9
    for underlying in ("BTC", "ETH"):
        chain = simulated_chain(underlying, seed=seed, time_ns=now_ns)
        smiles = TrueSurface(underlying, seed).at(now_ns, np.unique(chain.expiry_ns).tolist())
        quotes = fit_chain(chain).quotes
        rows = np.searchsorted(smiles.expiry_ns, quotes.expiry_ns)
        true_vol = smiles.vol(rows, quotes.strike)
        error_bp = 1e4 * np.abs(quotes.fit_vol - true_vol)[quotes.used]
        assert quotes.used.sum() > 250
        assert np.median(error_bp) <= 20
        assert np.quantile(error_bp, 0.95) <= 60
        assert quotes.inside.sum() > 0.95 * quotes.used.sum()
