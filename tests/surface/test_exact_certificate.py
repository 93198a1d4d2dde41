import math
from fractions import Fraction

import numpy as np
import pytest
from drawn_slices import ordinary, pair

from volsurface.surface import exact_certificate as exact
from volsurface.surface import svi

VOGT = (-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)


def product(*roots, lead=1):
    """Integer coefficients of lead (t - r1)(t - r2)..., lowest degree first; a pair (p, q) is a root p/q."""
    p = [lead]
    for root in roots:
        num, den = root if isinstance(root, tuple) else (root, 1)
        p = [den * x - num * y for x, y in zip([0, *p], [*p, 0], strict=True)]
    return p


@pytest.mark.parametrize(
    ("p", "answer"),
    [
        (product(1), False),
        (product(1, 1), True),
        (product(1, 1, 1), False),
        (product(1, 1, 2, 2), True),
        (product(1, 1, 2), False),
        (product(-1, -2), True),
        (product(-1, -1, -1), True),
        (product(0, 0, 0, -1), True),
        (product(0, 1, 1), True),
        (product((1, 3), (1, 3), lead=5), True),
        (product((1, 3), (1, 2), lead=5), False),
        (product(-1, lead=-1), False),
        (product(1, 1, lead=-1), False),
        ([1, 0, 1], True),
        ([7], True),
        ([-7], False),
        ([0, 0], True),
        ([], True),
        # a double and a triple root at the irrational sqrt(2)
        ([4, 0, -4, 0, 1], True),
        ([-8, 0, 12, 0, -6, 0, 1], False),
    ],
)
def test_never_negative(p, answer):
    assert exact.never_negative(p) is answer


@pytest.mark.parametrize("seed", range(3))
def test_random_roots_of_random_multiplicity(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        roots = {(int(rng.integers(-9, 20)), int(rng.integers(1, 9))): int(rng.integers(1, 4)) for _ in range(3)}
        times = {}
        for (num, den), count in roots.items():
            times[Fraction(num, den)] = times.get(Fraction(num, den), 0) + count
        p = product(*[(r.numerator, r.denominator) for r, count in times.items() for _ in range(count)])
        expected = all(count % 2 == 0 for r, count in times.items() if r > 0)
        assert exact.never_negative(p) is expected


def test_negative_intervals():
    assert exact.negative_intervals(product(1, 1)) == []
    ((low, high),) = exact.negative_intervals(product(1, 1, 2, 3))
    assert (float(low), float(high)) == pytest.approx((2, 3), rel=1e-15)
    (first, last) = exact.negative_intervals(product((1, 1000), 1, 1, 5, lead=-1))
    assert first[0] == 0
    assert float(first[1]) == pytest.approx(0.001, rel=1e-15)
    assert float(last[0]) == pytest.approx(5, rel=1e-15)
    assert last[1] is None


def test_the_published_smile_fails_where_published_and_its_repairs_pass():
    assert not exact.butterfly_free(VOGT)
    low, high = exact.butterfly_violation(VOGT)
    assert low == pytest.approx(0.642407877869381, abs=2e-15)
    assert high == pytest.approx(1.25691299193213, abs=5e-15)
    assert exact.butterfly_free((0.0077409, 0.069242, -0.3340365, 0.0420338, 0.118608))
    assert exact.butterfly_free((-0.0305199, 0.1027168, 0.1007176, 0.2723442, 0.4123981))


def test_touching_is_allowed_and_crossing_by_the_last_bit_is_not():
    a, *rest = (0.0077409, 0.069242, -0.3340365, 0.0420338, 0.118608)
    assert exact.calendar_free((a, *rest), (a, *rest))
    assert exact.calendar_free((a, *rest), (math.nextafter(a, 1), *rest))
    assert not exact.calendar_free((a, *rest), (math.nextafter(a, 0), *rest))
    assert exact.calendar_violation((a, *rest), (a, *rest)) is None


def test_edges_of_the_domain():
    assert exact.butterfly_free((0.04, 0.0, 0.0, 0.0, 0.1))
    assert exact.butterfly_free((0.04, 1e-6, 0.0, 0.0, 0.1))
    assert not exact.butterfly_free((0.5, 1.0, 1.0, 0.0, 0.1))  # wings of exactly 2
    assert not exact.butterfly_free((-0.25, 1.0, 0.0, 0.0, 0.25))  # least variance exactly 0
    assert not exact.butterfly_free((math.nan, 0.1, 0.0, 0.0, 0.1))
    assert not exact.butterfly_free((0.04, 0.1, 0.0, 0.0, math.inf))
    # a flat earlier slice: F = U^2 says nothing
    assert not exact.calendar_free((0.05, 0, 0, 0, 0.1), (0, 0.2, 0.9, 0.3, 0.1))
    assert exact.calendar_free((0.04, 0, 0, 0, 0.1), (0.05, 0, 0, 0, 0.1))


def test_the_violated_interval_is_where_it_is_negative():
    rng = np.random.default_rng(5)
    found = 0
    while found < 15:
        p = ordinary(rng).tolist()
        if exact.butterfly_free(p):
            continue
        found += 1
        low, high = exact.butterfly_violation(p)
        inside = (low + high) / 2 if math.isfinite(low + high) else (high - 1 if math.isinf(low) else low + 1)
        assert svi.butterfly_function(p, inside) < 1e-12
        for end in (low, high):
            if math.isfinite(end):
                assert svi.butterfly_function(p, end) == pytest.approx(0, abs=1e-8)


def test_the_violated_interval_of_a_pair():
    rng = np.random.default_rng(6)
    found = 0
    while found < 15:
        one, two = (x.tolist() for x in pair(rng))
        if exact.calendar_free(one, two):
            continue
        found += 1
        low, high = exact.calendar_violation(one, two)
        ends = [end for end in (low, high) if math.isfinite(end)]
        for end in ends:
            scale = svi.total_variance(two, end)
            assert svi.total_variance(two, end) - svi.total_variance(one, end) == pytest.approx(
                0, abs=1e-9 * scale + 1e-12
            )
