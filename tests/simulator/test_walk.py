import math

import numpy as np

from volsurface.simulator.walk import SECONDS_PER_YEAR, Factor, Walks

NOW = 1_790_000_000_000_000_000
FACTORS = [Factor(0.5, 0.2, 60.0), Factor(0.9, 0.05, 20.0)]


def sample(walks: Walks, seconds: np.ndarray) -> np.ndarray:
    return np.array([walks.at(NOW + round(s * 1e9)) for s in seconds])


def test_a_walk_is_a_function_of_seed_and_time() -> None:
    times = np.linspace(0.0, 1000.0, 50)
    forward = sample(Walks(FACTORS, np.random.default_rng(3)), times)
    backward = sample(Walks(FACTORS, np.random.default_rng(3)), times[::-1])[::-1]
    np.testing.assert_array_equal(forward, backward)
    assert np.abs(forward - sample(Walks(FACTORS, np.random.default_rng(4)), times)).max() > 1e-3


def test_a_walk_stays_within_its_bound_even_when_it_wants_out() -> None:
    wild = [Factor(20.0, 0.05, 60.0)]
    values = np.concatenate(
        [sample(Walks(wild, np.random.default_rng(seed)), np.arange(200) * 86400.0) for seed in range(5)]
    )
    assert np.abs(values).max() <= 0.05
    assert np.abs(values).max() > 0.04


def test_over_short_times_a_walk_moves_like_brownian_motion() -> None:
    """Variance over h seconds is per_sqrt_year^2 h: averaged over seeds and places, for 10 s, 10 min and 3 h."""
    for h in (10.0, 600.0, 10_800.0):
        moves = []
        for seed in range(150):
            walks = Walks([Factor(0.5, 10.0, 120.0)], np.random.default_rng(seed))
            starts = np.arange(10) * 7.3 * h
            moves.append(sample(walks, starts + h) - sample(walks, starts))
        measured = float(np.sqrt(np.mean(np.square(moves))))
        assert math.isclose(measured, 0.5 * math.sqrt(h / SECONDS_PER_YEAR), rel_tol=0.15)


def test_a_walk_comes_back() -> None:
    values = np.array(
        [sample(Walks(FACTORS, np.random.default_rng(s)), np.arange(40) * 30 * 86400.0) for s in range(20)]
    )
    assert abs(values[..., 0].mean()) < 0.01
    assert 0.02 < values[..., 0].std() < 0.06
