"""The fit benchmark gives every fitter the same quotes, judges what it returns, and says what it could not measure."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_chains import made_chain
from slow_svi import slow_twin

from volsurface.bench import fit, fit_mixture
from volsurface.bench.fit_between import between_expiries
from volsurface.bench.fit_peers import PEERS, Peer, cold_starts, free_fit, published, scipy_fit
from volsurface.bench.fit_problem import FOLDS, fitted_errors, problem_of, score
from volsurface.bench.fit_proof import proof_costs
from volsurface.errors import ChainFileError
from volsurface.surface import repair, svi
from volsurface.surface.calibration import Slices

VOGT = (-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)


@pytest.fixture(scope="module")
def chain():
    return made_chain(noise=0.002, seed=3)


@pytest.fixture(scope="module")
def problem(chain):
    return problem_of(chain)


def test_the_points_are_those_of_our_own_fit(problem):
    assert problem.years.size == 3
    assert np.diff(problem.offsets).tolist() == [31, 31, 31]
    assert (problem.bid_vol < problem.mid_vol).all() and (problem.mid_vol < problem.ask_vol).all()


def test_scipy_has_the_same_objective(problem):
    own = score(problem, free_fit(problem))
    for method in ("lm", "trf"):
        other = score(problem, scipy_fit(problem, cold_starts(problem), method))
        assert other.cost == pytest.approx(own.cost, rel=1e-4)
    # and both are at what a third party finds
    raw = free_fit(problem)
    for i in range(3):
        rows = problem.rows(i)
        points = Slices(np.array([0, 31]), *(column[rows] for column in problem.points[1:]))
        assert own.cost[i] == pytest.approx(slow_twin(points, raw[i]), rel=1e-3)


def test_violations_are_seen_where_they_are(problem):
    good = free_fit(problem)
    assert score(problem, good).violations[2] == (0, 0)
    bad = good.copy()
    bad[2] = VOGT  # g < 0 on (0.642, 1.257) only, and a smaller w than its neighbour's in the left wing
    found = score(problem, bad)
    assert [butterflies for butterflies, _ in found.violations] == [int(problem.k.max() > 0.65), 1, 1]
    steep = good.copy()
    steep[0, 1] = 1.5  # crosses its neighbour on every strike far from the money
    assert score(problem, steep).violations[2][1] == 1


def test_a_failed_slice_is_counted_and_not_judged(problem):
    part = free_fit(problem)
    part[1] = math.nan
    found = score(problem, part)
    assert (found.failed, found.pairs, found.quotes) == (1, 1, 62)
    assert np.isnan(found.rmse_bp).tolist() == [False, True, False]


def test_every_quote_is_left_out_once_and_from_the_chain_too(problem):
    masks = np.array([problem.left_out(fold) for fold in range(FOLDS)])
    assert (masks.sum(axis=0) == 1).all()
    rest = problem.without(0)
    assert rest.k.size == problem.k.size - masks[0].sum()
    assert len(problem.chain) - len(rest.chain) == 2 * masks[0].sum()  # call and put
    fitted = published(rest)
    assert np.isfinite(fitted).all()
    assert fitted == pytest.approx(free_fit(rest), rel=0.05, abs=1e-3)


def test_left_out_errors_are_larger_than_those_of_the_fit(problem):
    errors = fit.left_out_errors(free_fit, problem, free_fit(problem))
    assert len(errors) == 3
    assert all(1.0 < ratio < 2.0 and 1.0 < between < ratio + 0.2 for _, ratio, between in errors)


def test_bounds_are_those_of_our_fit(problem):
    raw = free_fit(problem)
    assert score(problem, raw).admissible.all()
    for column, value in ((1, 1.99), (2, -0.9999), (3, 5.0), (4, 1e-6), (0, -0.5)):
        spoilt = raw.copy()
        spoilt[1, column] = value
        assert score(problem, spoilt).admissible.tolist() == [True, False, True]


def test_a_missing_library_is_a_sentence_and_one_that_raises_is_a_failure(problem):
    def missing():
        raise ImportError("No module named 'nothing'")

    broken = Peer("broken", None, lambda: lambda problem: np.full((problem.years.size, 5), math.nan))
    rows = fit.run([problem], [PEERS[0], Peer("absent", "absent", missing), broken])
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["slices"] == 3 and rows[0]["warm_us_per_slice"] > 0
    assert rows[1]["failed"] == 3 and rows[1]["inside"] is None
    assert rows[2] == {"fitter": "absent", "skipped": "No module named 'nothing' (docs/data.md says how to install it)"}


def test_an_expiry_is_predicted_from_its_neighbours(problem):
    mixed, linear = between_expiries([problem])
    assert (mixed["between"], linear["between"]) == ("price_mixing", "linear_variance")
    assert mixed["expiries"] == linear["expiries"] == 1
    one, _, two = (svi_of(row) for row in free_fit(problem))
    share = (problem.years[1] - problem.years[0]) / (problem.years[2] - problem.years[0])
    k = problem.k[problem.rows(1)]
    vol = np.sqrt(((1 - share) * one(k) + share * two(k)) / problem.years[1])
    error = vol - problem.mid_vol[problem.rows(1)]
    assert linear["rmse_bp"] == pytest.approx(1e4 * math.sqrt(np.mean(error**2)))
    assert 0.0 <= mixed["inside"] <= 1.0


def test_what_proofs_and_refits_cost(problem):
    before = repair.descend_together
    rows = proof_costs([problem])
    assert repair.descend_together is before
    assert json.loads(json.dumps(rows)) == rows
    assert [row["n"] for row in rows] == [1, 1, 1, 2, 2]
    assert all(row["p95"] >= row["median"] > 0.0 for row in (*rows[:3], rows[4]))
    assert rows[1]["median"] == pytest.approx(3 * rows[0]["median"])
    assert [row["median"] for row in proof_costs([])] == [None] * 5


def test_mixture_beside_svi_on_the_same_quotes(problem, monkeypatch):
    monkeypatch.setattr(fit_mixture, "TUNED", ())
    rows = fit_mixture.mixture_rows([problem])
    assert json.loads(json.dumps(rows)) == rows
    by_name = {row["mixture"]: row for row in rows}
    inner, held = (by_name[f"{kind}, all"] for kind in ("in-sample", "held out"))
    assert inner["quotes"] == problem.k.size
    assert held["quotes"] == sum(int(problem.left_out(fold).sum()) for fold in range(3))
    assert inner["certified mixture"]["rmse_bp"] <= 1.05 * inner["certified SVI"]["rmse_bp"]
    free = fit_mixture.calibrate(problem.points, fit_mixture.PLAIN).parameters
    inside = fitted_errors(problem, free)[1]
    assert inner["free SVI"]["inside"] == pytest.approx(inside.mean())
    assert by_name["components not certified"]["n"] == 0
    assert by_name["surfaces without a certified fit of all folds"]["n"] == 0
    assert all(fit_mixture.sentence(row).startswith(row["mixture"]) for row in rows)


def test_dates_on_which_constants_were_chosen_are_in_no_row(problem, monkeypatch):
    monkeypatch.setattr(fit_mixture, "TUNED", (("1970-01-01", "2100-01-01"),))
    rows = fit_mixture.mixture_rows([problem])
    assert not any("surfaces" in row for row in rows)
    assert all(fit_mixture.sentence(row) for row in rows)


def svi_of(row):
    return lambda k: svi.total_variance(row, k)


def test_without_a_folder_the_chains_are_simulated_and_it_says_so(capsys):
    assert fit.main(smoke=True) == 0
    shown = capsys.readouterr().out
    assert "simulated chains" in shown
    assert "scipy LM" in shown


def test_every_nth_snapshot_of_each_coin(tmp_path: Path, monkeypatch, chain):
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.parquet").touch()
    (tmp_path / "notes.txt").touch()
    snapshots = [replace(chain, underlying=coin, time_ns=t) for t in range(2) for coin in ("BTC", "ETH")]
    monkeypatch.setattr(fit, "read_chains", lambda path: snapshots)
    assert len(list(fit.chosen_chains(tmp_path, 1))) == 8
    assert [(c.underlying, c.time_ns) for c in fit.chosen_chains(tmp_path, 2)] == [("BTC", 0), ("ETH", 0)] * 2
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    monkeypatch.undo()
    said: list[str] = []
    for name in ("a.csv", "b.parquet"):
        (tmp_path / name).unlink()
    assert list(fit.chosen_chains(tmp_path, 1, said.append)) == []
    assert said[0].startswith("passed over: ") and "c.csv" in said[0]
    with pytest.raises(ChainFileError):
        list(fit.chosen_chains(tmp_path / "c.csv", 1))
    with pytest.raises(ChainFileError, match="no chain file"):
        list(fit.chosen_chains(tmp_path / "nowhere", 1))
    with pytest.raises(ChainFileError, match="from 1 on"):
        list(fit.chosen_chains(tmp_path, 0))
