import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from made_chains import SMILES
from test_repair import every, proved, quotes_of

from volsurface.surface.essvi import essvi_parameters, fit_essvi
from volsurface.surface.repair import verdicts


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 12))
def test_every_point_of_the_box_is_free_of_arbitrage(seed, n):
    rng = np.random.default_rng(seed)
    rho, lift = rng.uniform(-0.9, 0.9, n), 10 ** rng.uniform(-4, -1, n)
    parameters = essvi_parameters(rho, lift, rng.uniform(0.01, 0.99, n))
    assert all(mask.all() for mask in verdicts(parameters))


def test_variances_at_the_forward_and_wings_grow():
    parameters = essvi_parameters(np.array([0.1, -0.4, -0.2]), np.array([0.01, 0.0, 0.02]), np.array([0.5, 0.01, 0.9]))
    a, b, rho, m, sigma = parameters.T
    assert (np.diff(a + b * (-rho * m + np.hypot(m, sigma))) >= 0).all()
    assert (np.diff(b * (1 + rho)) >= 0).all()
    assert (np.diff(b * (1 - rho)) >= 0).all()


def test_it_comes_near_sane_quotes_and_stays_proved_on_absurd_ones():
    quotes = quotes_of(np.array([parameters for _, _, parameters in SMILES]))
    found = fit_essvi(quotes, every(quotes))
    assert proved(found)
    a, b, rho, m, sigma = found[np.repeat(np.arange(3), 21)].T
    w = a + b * (rho * (quotes.k - m) + np.hypot(quotes.k - m, sigma))
    assert np.median(np.abs(w / quotes.w - 1)) < 0.1
    backwards = in_wrong_order(quotes)
    assert proved(fit_essvi(backwards, every(backwards)))


def in_wrong_order(quotes):
    """The same quotes with the expiries the wrong way round: total variance falls in time."""
    return quotes._replace(w=quotes.w.reshape(3, -1)[::-1].ravel().copy())
