import json
import math
import re

import numpy as np
import pytest
from drawn_slices import ordinary, pair
from made_chains import SMILES, made_smile

from volsurface.errors import ArbitrageError
from volsurface.surface import svi
from volsurface.surface.certificate import OK, VIOLATED, Certificate, Verdict, certify, verify
from volsurface.surface.surface import Surface

VOGT = (-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
GOOD = tuple(made_smile(parameters, days, forward) for days, forward, parameters in SMILES)


def surface_of(*smiles) -> Surface:
    fine = Verdict("ok", 0.0, 1.0, False, None)
    claimed = Certificate.of((fine,) * len(smiles), (fine,) * (len(smiles) - 1))
    return Surface("BTC", 0, smiles, claimed, "certified")


def test_a_good_surface_is_certified_and_verified():
    certificate = certify(GOOD)
    assert certificate.ok
    assert certificate.violations == 0
    assert len(certificate.butterfly) == 3
    assert len(certificate.calendar) == 2
    assert all(0 < v.margin <= 1.3 and v.interval is None for v in (*certificate.butterfly, *certificate.calendar))
    assert verify(surface_of(*GOOD)).ok


def test_the_published_smile_is_refused_at_the_published_place():
    (verdict,) = certify([made_smile(VOGT)]).butterfly
    assert verdict.verdict == VIOLATED
    assert verdict.margin == pytest.approx(-0.032863573453623, abs=1e-14)
    assert verdict.k == pytest.approx(0.879262541622068, abs=1e-7)
    assert verdict.interval == pytest.approx((0.642407877869381, 1.25691299193213), abs=1e-12)
    assert not verdict.exact


def test_the_margin_is_the_least_g_of_a_dense_grid():
    rng = np.random.default_rng(7)
    grid = np.linspace(-3, 3, 20_001)
    for _ in range(60):
        parameters = tuple(ordinary(rng).tolist())
        (verdict,) = certify([made_smile(parameters)]).butterfly
        g = svi.butterfly_function(parameters, grid)
        assert verdict.margin <= g.min() + 1e-9
        if verdict.verdict == VIOLATED and verdict.interval is not None:
            low, high = verdict.interval
            assert low < verdict.k < high
            assert svi.butterfly_function(parameters, verdict.k) == pytest.approx(verdict.margin, abs=1e-12)
            for end in (low, high):
                if math.isfinite(end):
                    assert svi.butterfly_function(parameters, end) == pytest.approx(0, abs=1e-7)


def test_a_crossing_pair_is_refused_where_it_crosses():
    rng = np.random.default_rng(8)
    seen = 0
    for _ in range(150):
        one, two = (tuple(x.tolist()) for x in pair(rng))
        (verdict,) = certify([made_smile(one, 7), made_smile(two, 30)]).calendar
        gap = lambda k: (svi.total_variance(two, k) - svi.total_variance(one, k)) / svi.total_variance(two, 0.0)  # noqa: B023, E731
        if verdict.verdict == VIOLATED and not verdict.exact:
            seen += 1
            low, high = verdict.interval
            assert low < verdict.k < high
            assert gap(verdict.k) == pytest.approx(verdict.margin, abs=1e-12)
            assert verdict.margin < 0
            for end in (low, high):
                if math.isfinite(end):
                    assert gap(end) == pytest.approx(0, abs=1e-7)
    assert seen > 30


@pytest.mark.parametrize(
    ("parameters", "verdict"),
    [
        ((0.04, 0.0, 0.0, 0.0, 0.1), OK),
        ((0.04, 1e-6, 0.0, 0.0, 0.1), OK),
        ((0.5, 1.0, 1.0, 0.0, 0.1), VIOLATED),
        ((-0.25, 1.0, 0.0, 0.0, 0.25), VIOLATED),
        ((-0.5, 0.1, 0.0, 0.0, 0.1), VIOLATED),
        ((0.04, -0.1, 0.0, 0.0, 0.1), VIOLATED),
        ((math.nan, 0.1, 0.0, 0.0, 0.1), VIOLATED),
    ],
)
def test_nothing_stays_undecided(parameters, verdict):
    certificate = certify([made_smile(parameters)])
    assert certificate.butterfly[0].verdict == verdict
    assert certificate.ok == (verdict == OK)


def test_nothing_stays_undecided_between_smiles():
    a, *rest = GOOD[1].parameters
    same, touching = made_smile((a, *rest), 7), made_smile((a, *rest), 30)
    raised = made_smile((a + 0.01, *rest), 30)
    flat, trap = made_smile((0.05, 0, 0, 0, 0.1), 7), made_smile((0, 0.2, 0.9, 0.3, 0.1), 30)
    assert certify([same, touching]).calendar[0].verdict == OK
    assert certify([same, touching]).calendar[0].exact
    assert certify([same, raised]).calendar[0].verdict == OK
    assert certify([flat, trap]).calendar[0].verdict == VIOLATED
    assert certify([made_smile((0.04, 0, 0, 0, 0.1), 7), flat]).calendar[0].verdict == OK


def test_a_violation_too_thin_for_the_search_is_still_placed():
    # one touches two from below at a point; the last bit decides, and only exact arithmetic sees it
    a, *rest = GOOD[1].parameters
    certificate = certify([made_smile((a, *rest), 7), made_smile((math.nextafter(a, 0), *rest), 30)])
    (verdict,) = certificate.calendar
    assert verdict.verdict == VIOLATED
    assert verdict.exact
    assert verdict.k is not None


def test_a_certificate_survives_json():
    certificate = certify([made_smile(VOGT, 7), made_smile((0.02, 0.01, 0.0, 0.0, 0.1), 30)])
    assert not certificate.ok
    assert Certificate.from_dict(json.loads(json.dumps(certificate.to_dict(), allow_nan=False))) == certificate


def test_verify_names_expiry_and_place_from_json_alone():
    bad = surface_of(GOOD[0], made_smile(VOGT, 30), made_smile((0.5, 0.4, 0.1, 0.3, 0.5), 120))
    record = json.loads(json.dumps(bad.to_dict()))
    with pytest.raises(ArbitrageError, match=re.escape("BTC 2026-06-24T07:21:31.450623Z has a butterfly")) as caught:
        verify(Surface.from_dict(record))
    assert "k = 0.879263 (for k from 0.642408 to 1.25691)" in str(caught.value)


def test_verify_finds_a_crossing_and_does_not_believe_the_record():
    crossing = surface_of(GOOD[0], GOOD[1], made_smile(GOOD[0].parameters, 120))
    assert crossing.certificate.ok
    with pytest.raises(ArbitrageError, match=r"less total variance than 2026-06-24T07:21:31\.450623Z at k = "):
        verify(crossing)
    with pytest.raises(ArbitrageError, match="not in time order"):
        verify(surface_of(GOOD[1], GOOD[0]))


def test_an_empty_surface_has_an_empty_certificate():
    assert certify([]) == Certificate(True, (), ())
