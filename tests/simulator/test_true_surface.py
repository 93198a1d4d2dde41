from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from volsurface.errors import VenueError
from volsurface.simulator.listing import expiry_kinds
from volsurface.simulator.true_surface import NS_PER_YEAR, TrueSmiles, TrueSurface, essvi
from volsurface.surface.certificate import certify
from volsurface.surface.exact_certificate import butterfly_free, calendar_free
from volsurface.surface.smile import Smile

DAY = 86400 * 10**9
NOW = int(datetime(2026, 11, 20, 7, 30, tzinfo=UTC).timestamp()) * 10**9
INSTANTS = [NOW + round(days * DAY) for days in (0, 0.013, 0.0208, 0.1, 1.02, 17.4, 60, 133.3, 251.7, 400)]
K = np.linspace(-5.0, 5.0, 4001)


def surfaces() -> list[TrueSmiles]:
    return [
        TrueSurface(name, seed).at(now, list(expiry_kinds(now)))
        for name in ("BTC", "ETH")
        for seed in range(12)
        for now in INSTANTS
    ]


def parameters(smiles: TrueSmiles) -> list[tuple[float, ...]]:
    return list(zip(*(getattr(smiles, name).tolist() for name in ("a", "b", "rho", "m", "sigma"))))


def as_smiles(smiles: TrueSmiles) -> list[Smile]:
    expiries, years, forwards = (getattr(smiles, name).tolist() for name in ("expiry_ns", "years", "forward"))
    rest = (0, 0, 1.0, 0.0, 0.0, "certified", smiles.time_ns, smiles.time_ns, "true")
    return [
        Smile(expiry_ns, each_years, forward, "future", "svi", each, *rest)
        for expiry_ns, each_years, forward, each in zip(expiries, years, forwards, parameters(smiles))
    ]


def test_no_butterfly_and_no_calendar_arbitrage_on_a_dense_grid() -> None:
    """The conditions re-typed from Gatheral and Jacquier (arXiv:1204.0646): g >= 0, and w not falling in time."""
    for smiles in surfaces():
        rows = np.arange(smiles.years.size)[:, None]
        w = smiles.total_variance(rows, K)
        assert w.min() > 0
        assert np.diff(w, axis=0).min() > 0, "calendar"
        shifted = K - smiles.m[rows]
        root = np.hypot(shifted, smiles.sigma[rows])
        first = smiles.b[rows] * (smiles.rho[rows] + shifted / root)
        second = smiles.b[rows] * smiles.sigma[rows] ** 2 / root**3
        g = (1 - K * first / (2 * w)) ** 2 - first**2 / 4 * (1 / w + 0.25) + second / 2
        assert g.min() > 0, "butterfly"
        assert (smiles.b * (1 + np.abs(smiles.rho))).max() < 2, "Lee's wing bound"


def test_the_products_own_certificate_agrees() -> None:
    for smiles in surfaces()[::11]:
        assert certify(as_smiles(smiles)).ok


def test_so_does_exact_arithmetic() -> None:
    smiles = TrueSurface("BTC", 5).at(INSTANTS[3], list(expiry_kinds(INSTANTS[3])))
    each = parameters(smiles)
    assert all(butterfly_free(one) for one in each)
    assert all(calendar_free(one, two) for one, two in pairwise(each))


def test_wishes_that_would_be_arbitrage_are_moved_inside() -> None:
    """A falling total variance, wings far too steep and jumping correlations still give an admitted surface."""
    generator = np.random.default_rng(1)
    for _ in range(300):
        n = int(generator.integers(1, 8))
        rho = generator.uniform(-0.9, 0.9, n)
        theta, psi = essvi(generator.uniform(1e-4, 0.5, n), rho, float(generator.uniform(0.01, 5.0)))
        rounding = 1 + 1e-12
        assert np.all(psi * (1 + np.abs(rho)) <= 4 * rounding)
        assert np.all(psi**2 * (1 + np.abs(rho)) <= 4 * theta * rounding)
        for sign in (1, -1):
            assert np.all(np.diff(psi * (1 + sign * rho)) >= -1e-12)
        assert np.all(np.diff(theta) > 0)
        assert np.all(np.diff(psi / theta) <= 1e-12)


def test_the_levels_are_those_of_a_crypto_market() -> None:
    for smiles in surfaces():
        low, high = (0.38, 0.60) if smiles.underlying == "BTC" else (0.48, 0.75)
        rows = np.arange(smiles.years.size)
        atm = smiles.vol(rows, smiles.forward)
        assert low < atm.min() and atm.max() < high
        short = rows[smiles.years * 365 > 0.9][0]
        wing = smiles.vol(short, smiles.forward[short] * np.array([0.9, 1.1]))
        assert wing.min() > atm[short] and wing.max() < 1.5
        assert 0.9 < smiles.forward[-1] / smiles.spot < 1.15


def test_the_surface_is_what_the_parametrisation_says() -> None:
    """Raw parameters against the eSSVI formula, and the wishes are met where they are admitted."""
    surface = TrueSurface("ETH", 2)
    smiles = surface.at(NOW, list(expiry_kinds(NOW)))
    theta = 2 * smiles.a / (1 - smiles.rho**2)
    psi = 2 * smiles.b
    k = 0.3
    root = np.sqrt((psi * k + theta * smiles.rho) ** 2 + theta**2 * (1 - smiles.rho**2))
    essvi_w = 0.5 * (theta + smiles.rho * psi * k + root)
    np.testing.assert_allclose(
        smiles.total_variance(np.arange(theta.size), np.full(theta.size, k)), essvi_w, rtol=1e-12
    )
    assert np.ptp(psi / np.sqrt(theta)) < 1e-9, "the wing wish was cut"


def test_same_seed_same_path_whatever_was_asked_before() -> None:
    one, two = TrueSurface("BTC", 9), TrueSurface("BTC", 9)
    expiries = list(expiry_kinds(NOW))
    two.at(NOW + 5 * DAY, [NOW + 90 * DAY])
    a, b = one.at(NOW, expiries), two.at(NOW, expiries)
    assert parameters(a) == parameters(b) and a.spot == b.spot
    assert a.spot != TrueSurface("BTC", 10).at(NOW, expiries).spot
    later = one.at(NOW + 10**9, expiries)
    assert later.spot != a.spot and parameters(later) != parameters(a)


def test_an_expiry_keeps_its_smile_when_others_come_and_go() -> None:
    surface = TrueSurface("BTC", 1)
    expiries = list(expiry_kinds(NOW))
    every, fewer = surface.at(NOW, expiries), surface.at(NOW, expiries[3:])
    np.testing.assert_allclose(every.b[3:], fewer.b, rtol=1e-12)
    np.testing.assert_allclose(every.a[3:], fewer.a, rtol=1e-12)
    assert every.years[0] == pytest.approx((expiries[0] - NOW) / NS_PER_YEAR)


def test_an_unknown_underlying_is_named() -> None:
    with pytest.raises(VenueError, match=r"'XRP'.*BTC, ETH"):
        TrueSurface("XRP", 1)
