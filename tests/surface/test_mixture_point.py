import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volsurface.surface import mixture, mixture_point
from volsurface.surface.mixture import Term

ONE, TWO = (0.01, 0.05, -0.3, 0.01, 0.1), (0.03, 0.1, 0.1, -0.02, 0.15)


@given(st.floats(-0.4, 0.4), st.floats(0.05, 0.95), st.floats(0.3, 3.0))
@settings(max_examples=200, deadline=None)
def test_it_agrees_with_the_array(k, weight, scale):
    terms = (Term(weight, ONE, scale), Term(1.0 - weight, TWO))
    found = mixture_point.derivatives(terms, k)
    whole = mixture.derivatives(terms, np.array([k]))
    if found is not None:
        assert found.w == pytest.approx(whole.w[0], rel=1e-11)
        assert found.slope == pytest.approx(whole.slope[0], rel=1e-9, abs=1e-10)
        assert found.bend == pytest.approx(whole.bend[0], rel=1e-7, abs=1e-7)


def test_near_the_money_it_answers_and_far_from_it_leaves_it_to_the_array():
    terms = (Term(0.5, ONE), Term(0.5, TWO))
    assert mixture_point.derivatives(terms, 0.0) is not None
    assert mixture_point.derivatives(terms, 3.0) is None
    assert mixture.derivatives(terms, 3.0).w == pytest.approx(float(mixture.total_variance(terms, 3.0)), rel=1e-12)


def test_a_term_without_variance_is_left_to_the_array():
    assert mixture_point.derivatives((Term(0.5, ONE), Term(0.5, (0.0, 0.0, 0.0, 0.0, 0.1))), 0.0) is None
