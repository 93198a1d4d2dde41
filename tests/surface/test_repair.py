from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_chains import SMILES

from volsurface.surface import exact_certificate, repair_kernels
from volsurface.surface.calibration import Slices, calibrate
from volsurface.surface.certificate_kernels import OK, UNDECIDED
from volsurface.surface.options import FitOptions
from volsurface.surface.quality import refusal
from volsurface.surface.repair import borrow, is_certified, quick_verdict, repair, thetas_of, verdicts

SANE = np.array([parameters for _, _, parameters in SMILES])
VOGT = np.array([-0.0410, 0.1331, 0.3060, 0.3586, 0.4153])
FLAT = np.array([0.04, 0.0, 0.0, 0.0, 0.1])


def total_variance(parameters, k):
    a, b, rho, m, sigma = parameters
    return a + b * (rho * (k - m) + np.sqrt((k - m) ** 2 + sigma**2))


def quotes_of(rows, reach=0.3, strikes=21, noise=0.0, seed=0, half=0.003):
    """Slices of quotes on these smiles; half: half-spread as a share of w."""
    rng = np.random.default_rng(seed)
    k = np.tile(np.linspace(-reach, reach, strikes), len(rows))
    w = np.concatenate([total_variance(p, k[:strikes]) for p in rows]) * (1 + noise * rng.standard_normal(k.size))
    return Slices(np.arange(len(rows) + 1) * strikes, k, w, half * w, 1 / (half * w))


def every(quotes):
    return np.ones(quotes.k.size, bool)


def proved(parameters):
    rows = [tuple(row) for row in parameters.tolist()]
    return all(map(exact_certificate.butterfly_free, rows)) and all(
        exact_certificate.calendar_free(one, two) for one, two in pairwise(rows)
    )


def test_what_is_certified_is_not_touched():
    found = repair(quotes_of(SANE), every(quotes_of(SANE)), SANE)
    assert found.parameters is SANE
    assert not found.changed.any()


def test_vogt_s_butterfly_is_repaired_at_little_cost():
    quotes = quotes_of([VOGT], reach=1.0)
    assert not verdicts(VOGT[None])[0].all()
    found = repair(quotes, every(quotes), VOGT[None])
    assert proved(found.parameters)
    off = (total_variance(found.parameters[0], quotes.k) - quotes.w) * quotes.weight
    assert found.cost[0] == pytest.approx(0.5 * np.sum(off**2), rel=1e-6)
    # Nearer to Vogt's slice than the best that Gatheral and Jacquier print (arXiv:1204.0646, their least squares of JW).
    printed = np.array([-0.0305199, 0.1027168, 0.1007176, 0.2723442, 0.4123981])
    assert found.cost[0] < 0.5 * np.sum(((total_variance(printed, quotes.k) - quotes.w) * quotes.weight) ** 2)


def test_crossing_slices_part():
    crossing = SANE.copy()
    crossing[1, 3] = 0.25  # the middle smile slides aside: its left wing rises over the later one far out
    crossing[1, 1] = 0.12
    quotes = quotes_of(crossing, reach=0.1)
    assert not verdicts(crossing)[1].all()
    found = repair(quotes, every(quotes), crossing)
    assert proved(found.parameters)
    assert np.sqrt(2 * found.cost.sum() / quotes.k.size) < 1


def test_fixed_slices_stay_and_their_cuts_hold():
    crossing = SANE.copy()
    crossing[1, :2] *= 3.0
    quotes = quotes_of(crossing, reach=0.1)
    counts = np.array([0, 21, 0])
    rows = slice(21, 42)
    own = Slices(np.concatenate([[0], np.cumsum(counts)]), *(column[rows] for column in quotes[1:]))
    found = repair(own, every(own), crossing, fixed=np.array([True, False, True]))
    assert found.parameters[[0, 2]].tolist() == crossing[[0, 2]].tolist()
    assert found.changed.tolist() == [False, True, False]
    assert proved(found.parameters)


def test_fixed_slices_that_cross_each_other_cannot_be_repaired():
    backwards = SANE[[2, 1, 0]]
    own = Slices(np.array([0, 0, 21, 21]), *(column[:21] for column in quotes_of(SANE[1:2])[1:]))
    assert repair(own, every(own), backwards, fixed=np.array([True, False, True])) is None


def test_far_slices_play_no_part():
    many = np.stack([SANE[0] * [1 + i, 1 + 0.3 * i, 1, 1, 1] for i in range(9)])
    assert verdicts(many)[1].all()
    pressed = many.copy()
    pressed[4, :2] *= 1.1
    own = Slices(np.array([0, 0, 0, 0, 0, 21, 21, 21, 21, 21]), *quotes_of(pressed[4:5], reach=0.1)[1:])
    fixed = np.arange(9) != 4
    found = repair(own, every(own), pressed, fixed=fixed)
    assert found.parameters.shape == (9, 5)
    assert found.parameters[fixed].tolist() == many[fixed].tolist()
    assert proved(found.parameters)


def test_pinned_slices_keep_their_shape():
    crossing = SANE.copy()
    crossing[1, :2] *= 2.5
    quotes = quotes_of(crossing, reach=0.1)
    pinned = np.array([False, True, False])
    found = repair(quotes, every(quotes), crossing, pinned=pinned)
    assert found.parameters[1, 3:] == pytest.approx(crossing[1, 3:], rel=1e-12)
    assert proved(found.parameters)


def test_a_warm_start_gives_a_surface_as_good():
    free = SANE.copy()
    free[1, 1] *= 1.6
    quotes = quotes_of(free, reach=0.15)
    cold = repair(quotes, every(quotes), free)
    warm = repair(quotes, every(quotes), free, warm=cold.parameters)
    assert proved(warm.parameters)
    assert warm.cost.sum() <= 1.05 * cold.cost.sum() + 0.01


def test_quotes_that_are_not_used_do_not_pull():
    quotes = quotes_of([VOGT], reach=1.0)
    used = every(quotes)
    used[5] = False
    bent = quotes._replace(w=np.where(used, quotes.w, 3 * quotes.w))
    one, two = repair(quotes, used, VOGT[None]), repair(bent, used, VOGT[None])
    assert one.parameters.tolist() == two.parameters.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 5))
def test_whatever_repair_returns_is_proved(seed, n):
    rng = np.random.default_rng(seed)
    rows = np.stack(
        [
            [0.01 * (i + 1) * rng.uniform(0.2, 2), rng.uniform(0.02, 0.4), rng.uniform(-0.9, 0.9)]
            + [rng.uniform(-0.2, 0.2), rng.uniform(0.05, 0.6)]
            for i in range(n)
        ]
    )
    quotes = quotes_of(rows, noise=0.01, seed=seed, half=0.02)
    free = calibrate(quotes, FitOptions())
    found = repair(quotes, free.used, free.parameters)
    if found is not None:
        assert proved(found.parameters)
        assert np.isfinite(found.cost).all()


def test_gradients_of_the_cuts():
    theta, k = thetas_of(SANE[1:2])[0], 0.17
    out = np.empty(5)
    repair_kernels._butterfly_gradient(theta, k, out)
    for u in range(5):
        step = 1e-6 * max(abs(theta[u]), 0.01)
        up, down = theta.copy(), theta.copy()
        up[u] += step
        down[u] -= step
        rise = repair_kernels._butterfly(up, np.exp(2 * up[4]), k) - repair_kernels._butterfly(
            down, np.exp(2 * down[4]), k
        )
        assert out[u] == pytest.approx(rise / (2 * step), rel=1e-4, abs=1e-6)


def test_a_borrowed_shape_scales_with_the_root_of_time():
    quotes = quotes_of(SANE)
    parameters = SANE.copy()
    parameters[1] = 0.0
    poor = np.array([False, True, False])
    assert borrow(quotes, every(quotes), parameters, np.array([7.0, 14.0, 120.0]), poor)
    assert parameters[1, 3:] == pytest.approx(np.sqrt(2.0) * SANE[0, 3:], rel=1e-12)
    assert np.abs(total_variance(parameters[1], quotes.k[:21]) / quotes.w[21:42] - 1).max() < 0.2
    assert not borrow(quotes, every(quotes), parameters, np.array([7.0, 14.0, 120.0]), np.ones(3, bool))


def test_the_gate_refuses_what_is_far_from_the_quotes():
    quotes = quotes_of(SANE, noise=0.001)
    used = every(quotes)
    assert refusal(quotes, used, SANE, SANE) == (-1, "")
    far = SANE.copy()
    far[1, 0] *= 1.5
    where, why = refusal(quotes, used, SANE, far)
    assert where == 1
    assert "half-spreads" in why
    # A slice that fits no worse than the free one is not refused, however bad both are.
    assert refusal(quotes, used, far, far) == (-1, "")
    aside = SANE * [1.006, 1.006, 1, 1, 1]  # twice the half-spread everywhere: near, but hardly a quote inside
    assert refusal(quotes, used, SANE, aside)[1] != ""


def test_a_wing_steeper_than_lee_is_certified_and_refused():
    k = np.linspace(-0.5, 0.5, 21)
    w = 0.05 + 4.0 * np.abs(k)
    quotes = Slices(np.array([0, 21]), k, w, 0.01 * w, 100 / w)
    steep = np.array([[0.01, 4.0, 0.0, 0.0, 0.01]])
    found = repair(quotes, every(quotes), steep)
    assert found is None or refusal(quotes, every(quotes), steep, found.parameters)[1] != ""


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_quick_answer_never_contradicts_the_proof(seed):
    rng = np.random.default_rng(seed)
    rows = np.array([[0.01, 0.05, -0.3, 0.01, 0.1], [0.02, 0.06, -0.2, 0.01, 0.1], [0.03, 0.07, -0.1, 0.0, 0.2]])
    rows *= np.exp(rng.normal(0.0, 0.3, rows.shape))
    if rng.random() < 0.3:
        rows[1] = rows[0]  # they touch everywhere: floats cannot tell
    proved = all(mask.all() for mask in verdicts(rows))
    said = quick_verdict(rows, np.ones(3, bool))
    assert is_certified(rows) == proved
    assert said == UNDECIDED or (said == OK) == proved
    assert quick_verdict(rows, np.array([False, False, False])) == OK  # nothing is asked
