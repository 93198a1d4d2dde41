"""The fit on recorded markets: no exception, no number that is not finite, a reason for every quote."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from slow_svi import slow_twin

from volsurface.engine import expiry_fits
from volsurface.engine.chain_fit import fit_chain
from volsurface.io.chain_files import read_chain, read_chains
from volsurface.surface import repair
from volsurface.surface.calibration import Slices, calibrate
from volsurface.surface.certificate import certify, verify
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
    assert surface.state in ("certified", "fallback", "stale")
    assert surface.certificate.ok
    assert bool(surface.state_reason) == (surface.state != "certified")
    for smile in surface.smiles:
        numbers = (smile.atm_vol, smile.skew, smile.curvature, smile.risk_reversal(), smile.butterfly(0.1))
        assert all(map(math.isfinite, numbers))
        assert 0.05 < smile.atm_vol < 3
        rows = quotes.expiry_ns == smile.expiry_ns
        assert np.isfinite(quotes.fit_vol[rows]).all()
        used = rows & quotes.used
        assert np.isfinite(quotes.mid_vol[used]).all()
        assert smile.state == "stale" or smile.n_quotes == used.sum() >= 3
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
    assert {fit.surface.state for fit in fits} == {"certified"}
    for fit in fits[::8]:
        assert verify(fit.surface).ok


@pytest.mark.slow
def test_every_published_surface_of_one_file_is_proved(recorded):
    for chain in read_chains(recorded / FOLDER / "deribit_btc_eth_chain_20260525_20260531.parquet"):
        assert verify(fit_chain(chain).surface).ok


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
            verify(fits[-1].surface)
            verify(warm.surface)
    assert len(fits) == 898
    assert total(fits) > 0.965
    assert sum(fit.surface.state != "certified" for fit in fits) <= 4


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
    assert fit.surface.state == "certified"
    assert verify(fit.surface).ok


@pytest.mark.parametrize("snapshot", [0, 3])
def test_moments_at_which_a_first_repair_was_terrible_or_failed(recorded, snapshot):
    # An earlier repair certified one slice of snapshot 0 with 11 % of its quotes inside, and needed a restart for snapshot 3.
    path = recorded / FOLDER / "deribit_btc_eth_chain_20260525_20260531.parquet"
    fit = checked(read_chains(path, underlying="BTC")[snapshot])
    assert fit.surface.state == "certified"
    assert min(smile.inside_spread for smile in fit.surface.smiles) > 0.6
    assert verify(fit.surface).ok


def test_without_a_repair_the_fallback_engages(recorded, monkeypatch):
    path = recorded / FOLDER / "deribit_btc_eth_chain_20260525_20260531.parquet"
    chain = read_chains(path, underlying="BTC")[3]
    monkeypatch.setattr(repair, "ATTEMPTS", ())
    fit = checked(chain)
    assert (fit.surface.state, {smile.method for smile in fit.surface.smiles}) == ("fallback", {"essvi"})
    assert "no surface free of arbitrage" in fit.surface.state_reason
    assert total([fit]) > 0.3
    assert verify(fit.surface).ok


def test_one_expiry_after_the_other_is_refitted_between_fixed_neighbours(recorded):
    path = recorded / FOLDER / "deribit_btc_eth_chain_20260302_20260308.parquet"
    rng = np.random.default_rng(1)
    for coin in ("BTC", "ETH"):
        chain = read_chains(path, underlying=coin)[4]
        surface = fit_chain(chain).surface
        for expiry_ns in [smile.expiry_ns for smile in surface.smiles]:
            rows = chain.expiry_ns == expiry_ns
            factor = np.where(rows, 1 + 0.006 * rng.standard_normal() + 0.001 * rng.standard_normal(len(chain)), 1.0)
            chain = replace(chain, bid=chain.bid * factor, ask=chain.ask * factor)
            surface = fit_chain(chain, previous=surface, expiries=[expiry_ns]).surface
            assert surface.state == "certified"
        assert verify(surface).ok


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

    monkeypatch.setattr(expiry_fits, "calibrate", watched)
    chains = read_chains(recorded / FOLDER / "deribit_btc_eth_chain_20260330_20260405.parquet")[::6]
    for chain in chains:
        fit_chain(chain)
    slices = 0
    for points, found in seen:
        assert found.used.all()
        for i, cost in enumerate(found.cost):
            rows = slice(points.offsets[i], points.offsets[i + 1])
            if rows.stop - rows.start < 6:  # its shape will be borrowed
                continue
            one = Slices(np.array([0, rows.stop - rows.start]), *(column[rows] for column in points[1:]))
            assert cost <= 1.01 * slow_twin(one, found.parameters[i])
            slices += 1
    assert slices > 80
