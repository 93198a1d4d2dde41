import math

import numpy as np
import pytest

from volsurface.surface import slice_fit

THETA = np.array([0.004, -0.012, 0.06, 0.01, math.log(0.15)])
K = np.linspace(-0.4, 0.4, 25)


def residuals(theta, k, w, weight):
    """Weighted errors, re-typed."""
    a, p, b, m, log_sigma = theta
    return weight * (a + p * (k - m) + b * np.sqrt((k - m) ** 2 + math.exp(2 * log_sigma)) - w)


def quotes(seed=0):
    rng = np.random.default_rng(seed)
    return 0.02 + 0.05 * np.abs(K) + 0.002 * rng.standard_normal(K.size), 1 / (0.001 + 0.002 * rng.random(K.size))


def test_gradient_of_the_variance_against_differences():
    out, h = np.empty(5), 1e-6
    for k in (-1.0, 0.0, 0.01, 0.7):
        slice_fit.variance_gradient(THETA, k, out)
        for u in range(5):
            step = np.eye(5)[u] * h
            slope = (slice_fit.variance(THETA + step, k) - slice_fit.variance(THETA - step, k)) / (2 * h)
            assert out[u] == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("huber", [np.inf, 0.5])
def test_normal_equations_against_differences(huber):
    w, weight = quotes()
    H, G, h = np.empty((5, 5)), np.empty(5), 1e-6
    total = slice_fit.normal_equations(K, w, weight, THETA, huber, H, G)
    r = residuals(THETA, K, w, weight)
    loss = np.where(abs(r) <= huber, r * r / 2, huber * (abs(r) - huber / 2) if np.isfinite(huber) else 0)
    assert total == pytest.approx(loss.sum(), rel=1e-12)
    assert total == pytest.approx(slice_fit.cost(K, w, weight, THETA, huber), rel=1e-14)
    for u in range(5):
        step = np.eye(5)[u] * h
        slope = slice_fit.cost(K, w, weight, THETA + step, huber) - slice_fit.cost(K, w, weight, THETA - step, huber)
        assert G[u] == pytest.approx(slope / (2 * h), rel=1e-5, abs=1e-4)
    if huber == np.inf:
        J = np.column_stack(
            [(residuals(THETA + s, K, w, weight) - residuals(THETA - s, K, w, weight)) / (2 * h) for s in np.eye(5) * h]
        )
        assert np.tril(H) == pytest.approx(np.tril(J.T @ J), rel=1e-5, abs=1e-3)


def test_constraint_rows_against_differences():
    low, high, floor, h = np.array([-0.5, -4.0]), np.array([0.5, 1.0]), 1e-5, 1e-7
    value, A = np.empty(slice_fit.N_ROWS), np.empty((slice_fit.N_ROWS, 5))
    up, down, _ = np.empty(slice_fit.N_ROWS), np.empty(slice_fit.N_ROWS), A.copy()
    slice_fit.constraint_rows(THETA, low, high, floor, value, A)
    assert (value > 0).all()
    for u in range(5):
        step = np.eye(5)[u] * h
        slice_fit.constraint_rows(THETA + step, low, high, floor, up, A.copy())
        slice_fit.constraint_rows(THETA - step, low, high, floor, down, A.copy())
        assert A[:, u] == pytest.approx((up - down) / (2 * h), rel=1e-4, abs=1e-5)


def test_the_linear_solver():
    rng = np.random.default_rng(1)
    B = rng.standard_normal((5, 5))
    H, L, out, right = B @ B.T, np.zeros((5, 5)), np.empty(5), rng.standard_normal(5)
    assert slice_fit.factorise(H, L)
    slice_fit.solve(L, right, out)
    assert H @ out == pytest.approx(right)
    assert not slice_fit.factorise(-H, L)


def test_the_constrained_step_meets_the_optimality_conditions():
    rng = np.random.default_rng(2)
    for _ in range(30):
        B = rng.standard_normal((5, 5))
        H, G = B @ B.T + 0.1 * np.eye(5), rng.standard_normal(5)
        value, A = 0.1 * rng.random(3), rng.standard_normal((3, 5))
        L, d, lam = np.zeros((5, 5)), np.empty(5), np.empty(3)
        slice_fit.factorise(H, L)
        slice_fit.solve(L, -G, d)
        slice_fit.constrained_step(L, value, A, 1e-18, d, lam)
        assert (value + A @ d > -1e-5).all()
        assert (lam >= 0).all()
        assert H @ d + G == pytest.approx(A.T @ lam, abs=1e-8)
        assert lam * (value + A @ d) == pytest.approx(0, abs=1e-4)
