"""The fit on recorded markets: no exception, no number that is not finite, a reason for every quote."""

import json
import math

import numpy as np
import pytest
from slow_svi import slow_twin

from volsurface.engine import chain_fit
from volsurface.engine.chain_fit import fit_chain
from volsurface.io.chain_files import read_chain, read_chains
from volsurface.surface.calibration import Slices, calibrate
from volsurface.surface.certificate import certify
from volsurface.surface.quoted import REASONS
from volsurface.surface.surface import Surface

pytestmark = pytest.mark.recorded
FOLDER = "market/deribit_chain_6h"


def checked(chain, **how):
    """Fit, and check what must hold for any chain at all."""
    fit = fit_chain(chain, **how)
    surface, quotes = fit.surface, fit.quotes
    record = json.loads(json.dumps(surface.to_dict(), allow_nan=False))
    assert Surface.from_dict(record) == surface
    assert len(quotes) == len(chain)
    assert len(surface.smiles) >= 8
    for smile in surface.smiles:
        numbers = (smile.atm_vol, smile.skew, smile.curvature, smile.risk_reversal(), smile.butterfly(0.1))
        assert all(map(math.isfinite, numbers))
        assert 0.05 < smile.atm_vol < 3
        rows = quotes.expiry_ns == smile.expiry_ns
        assert np.isfinite(quotes.fit_vol[rows]).all()
        used = rows & quotes.used
        assert np.isfinite(quotes.mid_vol[used]).all()
        assert smile.state == "stale" or smile.n_quotes == used.sum() >= 6
    assert certify(surface.smiles) == surface.certificate
    assert all(verdict.verdict != "undecided" for verdict in surface.certificate.butterfly)
    return fit


def total(fits):
    """Share of used quotes inside bid and ask."""
    used = sum(int(fit.quotes.used.sum()) for fit in fits)
    inside = sum(int(fit.quotes.inside.sum()) for fit in fits)
    return inside / used


def test_every_snapshot_of_one_file(recorded):
    chains = read_chains(recorded / FOLDER / "deribit_btc_eth_chain_20260525_20260531.parquet")
    fits = [checked(chain) for chain in chains]
    assert total(fits) > 0.96


@pytest.mark.slow
def test_every_snapshot_of_every_file(recorded):
    paths = sorted((recorded / FOLDER).glob("*.parquet"))
    assert len(paths) == 17
    fits = []
    for path in paths:
        previous: dict[str, Surface] = {}
        for chain in read_chains(path):
            fits.append(checked(chain))
            warm = checked(chain, previous=previous.get(chain.underlying))
            assert abs(total([warm]) - total([fits[-1]])) < 0.1
            previous[chain.underlying] = fits[-1].surface
    assert len(fits) == 898
    assert total(fits) > 0.97


@pytest.mark.parametrize(
    ("file", "at", "reason"),
    [
        ("20260608_20260614", "2026-06-12T07:59:31Z", "bad_time"),  # 28 seconds before an expiry
        ("20260608_20260614", "2026-06-14T07:55:00Z", "bad_time"),  # five minutes before one
        ("20260817_20260822", "2026-08-19T15:44:00Z", "no_bid"),  # 53 % of the rows two-sided
        ("20260202_20260205", "2026-02-05T18:00:00Z", "no_bid"),  # crash
    ],
)
@pytest.mark.parametrize("coin", ["BTC", "ETH"])
def test_hard_moments(recorded, file, at, reason, coin):
    chain = read_chain(recorded / FOLDER / f"deribit_btc_eth_chain_{file}.parquet", at=at, underlying=coin)
    fit = checked(chain)
    # ETH was recorded after 08:00, without the expired options
    assert REASONS.index(reason) in fit.quotes.reason or (coin == "ETH" and at == "2026-06-12T07:59:31Z")
    assert total([fit]) > 0.9


def test_the_index_is_recognised_and_replaced(recorded):
    path = recorded / FOLDER / "deribit_btc_eth_chain_20260525_20260531.parquet"
    chain = read_chain(path, at="2026-05-25T07:21:31Z", underlying="BTC")
    sources = {smile.forward_source for smile in checked(chain).surface.smiles}
    assert sources == {"future", "parity"}
    near = checked(chain).surface.smiles[0]
    posing = chain.forward[chain.expiry_ns == near.expiry_ns]
    assert near.forward_source == "parity"
    assert 0 < 1e4 * abs(near.forward / np.median(posing) - 1) < 6


def test_no_recorded_slice_is_left_above_its_least(recorded, monkeypatch):
    # Made smiles are too easy: here sigma, a and b trade off along a valley in which a plain Levenberg-Marquardt gets stuck.
    seen = []

    def watched(points, options, warm=None):
        found = calibrate(points, options, warm)
        seen.append((points, found))
        return found

    monkeypatch.setattr(chain_fit, "calibrate", watched)
    chains = read_chains(recorded / FOLDER / "deribit_btc_eth_chain_20260330_20260405.parquet")[::6]
    for chain in chains:
        fit_chain(chain)
    slices = 0
    for points, found in seen:
        assert found.used.all()
        for i, cost in enumerate(found.cost):
            rows = slice(points.offsets[i], points.offsets[i + 1])
            one = Slices(np.array([0, rows.stop - rows.start]), *(column[rows] for column in points[1:]))
            assert cost <= 1.01 * slow_twin(one, found.parameters[i])
            slices += 1
    assert slices > 80
