"""The inner solve against a general constrained optimiser: the same convex problem, another method."""

import numpy as np
import pytest
from scipy.optimize import minimize

from volsurface.surface.cold_start import LEE, STEEPEST, best_linear, cold_start


def slow_twin(k, w, weight, m, sigma, start):
    """SLSQP on (a, p, b) with the cone written out."""
    x = k - m
    s = np.sqrt(x * x + sigma * sigma)
    scale = np.array([np.abs(w).max(), np.abs(w).max() / np.abs(x).max(), np.abs(w).max() / s.max()])

    def cost(z):
        a, p, b = z * scale
        return float(np.sum((weight * (a + p * x + b * s - w)) ** 2))

    inside = [
        {"type": "ineq", "fun": lambda z: (STEEPEST * z[2] * scale[2] - z[1] * scale[1]) / scale[2]},
        {"type": "ineq", "fun": lambda z: (STEEPEST * z[2] * scale[2] + z[1] * scale[1]) / scale[2]},
        {"type": "ineq", "fun": lambda z: LEE - z[2] * scale[2] - abs(z[1] * scale[1])},
        {
            "type": "ineq",
            "fun": lambda z: (
                (z[0] * scale[0] + sigma * np.sqrt(max((z[2] * scale[2]) ** 2 - (z[1] * scale[1]) ** 2, 0))) / scale[0]
            ),
        },
    ]
    best = np.inf
    for z in (start / scale, np.array([1.0, 0.0, 0.1]), np.array([0.1, 0.1, 0.5])):
        found = minimize(cost, z, constraints=inside, method="SLSQP", options={"maxiter": 500, "ftol": 1e-14})
        if all(c["fun"](found.x) > -1e-9 for c in inside):
            best = min(best, found.fun)
    return best


@pytest.mark.parametrize("seed", range(20))
def test_the_inner_solve_is_the_least_on_the_cone(seed):
    rng = np.random.default_rng(seed)
    k = np.sort(rng.uniform(-0.5, 0.5, 15))
    # half of the draws are smiles, half are frowns, slopes and noise that push the solution onto the cone
    shape = (0.02 + 0.1 * k * k, 0.05 - 0.1 * k * k, 0.02 + 0.06 * k, 0.02 + 0.02 * rng.random(15))[seed % 4]
    w = np.maximum(shape + 0.002 * rng.standard_normal(15), 1e-4)
    weight = 1 / (0.002 + 0.01 * rng.random(15))
    m, sigma = rng.uniform(-0.2, 0.2), rng.uniform(0.02, 0.4)
    out = np.empty(3)
    cost = best_linear(k, w, weight, m, sigma, 0.0, out)
    a, p, b = out
    assert abs(p) <= STEEPEST * b * (1 + 1e-12)
    assert b + abs(p) <= LEE * (1 + 1e-12)
    assert a + sigma * np.sqrt(max(b * b - p * p, 0)) >= -1e-12
    fitted = a + p * (k - m) + b * np.sqrt((k - m) ** 2 + sigma**2)
    assert cost == pytest.approx(np.sum((weight * (fitted - w)) ** 2), rel=1e-6)
    assert cost <= slow_twin(k, w, weight, m, sigma, out) * (1 + 1e-5)


def test_the_least_variance_is_at_least_the_floor():
    k = np.linspace(-0.5, 0.5, 15)
    out = np.empty(3)
    best_linear(k, 0.05 * np.abs(k), np.full(15, 100.0), 0.0, 0.02, 0.003, out)
    a, p, b = out
    assert a + 0.02 * np.sqrt(b * b - p * p) == pytest.approx(0.003, rel=1e-9)


def test_a_smile_on_a_node_of_the_grid_is_found_exactly():
    k = np.linspace(-0.5, 0.5, 21)
    m, sigma = -0.5 + (-0.1 + 0.15 * 4), 0.02 * 2.3**3
    w = 0.02 + 0.03 * (k - m) + 0.1 * np.sqrt((k - m) ** 2 + sigma**2)
    theta = np.empty(5)
    assert cold_start(k, w, np.full(21, 1000.0), 1e-9, theta) < 1e-12
    assert theta == pytest.approx([0.02, 0.03, 0.1, m, np.log(sigma)], abs=1e-10)
