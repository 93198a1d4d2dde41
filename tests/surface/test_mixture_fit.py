import numpy as np
import pytest

from volsurface.surface import mixture
from volsurface.surface.calibration import Slices
from volsurface.surface.mixture import Term
from volsurface.surface.mixture_fit import MixtureProblem, finished, search
from volsurface.surface.repair import is_certified, repair, verdicts
from volsurface.surface.svi import total_variance

YEARS = (7 / 365, 30 / 365, 120 / 365)
CALM = ((0.0002, 0.020, -0.15, 0.000, 0.06), (0.0020, 0.045, -0.20, 0.010, 0.12), (0.0150, 0.090, -0.22, 0.020, 0.25))
WILD = ((0.0040, 0.060, -0.05, 0.000, 0.05), (0.0140, 0.110, -0.05, 0.000, 0.10), (0.0600, 0.200, -0.10, 0.000, 0.20))


def quoted(strikes=(25, 25, 25), half_bp=20.0):
    """Quotes on the mixture of two surfaces, which no SVI surface goes through."""
    k, w, slot = [], [], []
    for i, count in enumerate(strikes):
        own = np.linspace(-1.0, 1.0, count) * 3.0 * np.sqrt(total_variance(CALM[i], 0.0))
        k.append(own)
        w.append(np.atleast_1d(mixture.total_variance((Term(0.5, CALM[i]), Term(0.5, WILD[i])), own)) if count else own)
        slot.append(np.full(count, i))
    k, w, slot = map(np.concatenate, (k, w, slot))
    half = 2.0 * np.sqrt(w * np.array(YEARS)[slot.astype(int)]) * half_bp / 1e4
    return Slices(np.concatenate([[0], np.cumsum(strikes)]), k, w, half, 1.0 / half)


def problem(points, free=None):
    n = points.offsets.size - 1
    mids = np.array([CALM[i] for i in range(n)]) * [1.5, 1.2, 1.0, 1.0, 1.2]
    used = np.ones(points.k.size, bool)
    fixed = np.diff(points.offsets) == 0
    svi = repair(points, used, mids, fixed)
    certified = mids if svi is None else svi.parameters
    return MixtureProblem(points, used, certified, ~fixed if free is None else free), certified


def slow_cost(points, components):
    """The cost term by term, each w from its own mixture."""
    total = 0.0
    for i, (first, last) in enumerate(zip(points.offsets, points.offsets[1:], strict=False)):
        terms = tuple(Term(0.5, tuple(part[i])) for part in components)
        for j in range(first, last):
            total += 0.5 * (points.weight[j] * (float(mixture.total_variance(terms, points.k[j])) - points.w[j])) ** 2
    return total


@pytest.fixture(scope="module")
def found():
    points = quoted()
    of, certified = problem(points)
    return points, of, certified, finished(search(of))


def test_it_finds_what_svi_cannot_and_both_components_are_certified(found):
    points, of, certified, fit = found
    assert of.cost(np.stack([certified, certified])) > 20.0 * fit.cost
    assert fit.cost == pytest.approx(slow_cost(points, fit.components), rel=1e-9)
    for part in fit.components:
        assert all(mask.all() for mask in verdicts(part))


def test_each_turn_stays_certified_and_the_merit_never_rises(found):
    _, of, _, _ = found
    components = finished(of.split(0.25, 0.12))
    costs = []
    for rounds in range(1, 6):
        fit = finished(of.rounds(components, rounds))  # from the same start each time
        assert all(is_certified(part) for part in fit.components)
        costs.append(of._merit(*of._mixed(fit.components))[0])
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_the_same_quotes_give_the_same_bits(found):
    _, of, _, fit = found
    again = finished(search(of))
    assert again.components.tobytes() == fit.components.tobytes()


def test_slices_that_are_not_free_stay_as_they_are():
    points = quoted()
    of, certified = problem(points, free=np.array([False, True, False]))
    fit = finished(search(of))
    for at in (0, 2):
        assert (fit.components[:, at] == certified[at]).all()
    assert (fit.components[0, 1] != fit.components[1, 1]).any()


def test_an_expiry_without_quotes_between_two_others_is_kept_and_not_crossed():
    of, certified = problem(quoted((25, 0, 25)))
    fit = finished(search(of))
    assert fit is None or all(is_certified(part) for part in fit.components)
    assert fit is None or (fit.components[:, 1] == certified[1]).all()


def test_flat_quotes_leave_nothing_to_gain():
    """Both components then degenerate into the same line; what is found is certified all the same, or nothing is."""
    points = quoted((15,))
    flat = points._replace(w=np.full(15, 0.01), weight=np.full(15, 1e3))
    of, certified = problem(flat)
    fit = finished(search(of))
    assert fit is None or all(is_certified(part) for part in fit.components)
    assert fit is None or fit.cost <= of.cost(np.stack([certified, certified])) + 1.0


def test_a_warm_refit_begins_where_it_stood_and_is_certified_at_once(found):
    points, _, certified, fit = found
    rng = np.random.default_rng(2)
    moved = points._replace(w=points.w + 0.2 * points.half_spread * rng.standard_normal(points.k.size))
    of = MixtureProblem(moved, np.ones(points.k.size, bool), certified, np.array([False, True, True]))
    warm = finished(of.rounds(fit.components, 2))
    assert all(is_certified(part) for part in warm.components)
    assert warm.cost < of.cost(fit.components)
    assert (warm.components[:, 0] == fit.components[:, 0]).all()


def test_crossing_components_are_brought_apart(found):
    _, of, _, fit = found
    crossing = fit.components.copy()
    while is_certified(crossing[1]):
        crossing[1, 0, 0] += 1e-4  # until the first expiry is above the second somewhere
    near = of.certified_near(crossing)
    assert near is not None and all(is_certified(part) for part in near)
    assert (near[0] == fit.components[0]).all()
