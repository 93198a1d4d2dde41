"""Random SVI slices for comparing certificates: ordinary ones, near-degenerate ones, and pairs that nearly touch."""

import numpy as np


def ordinary(rng: np.random.Generator) -> np.ndarray:
    """(a, b, rho, m, sigma) with positive variance and admissible wings; some have butterflies, some not."""
    b = 10 ** rng.uniform(-2.5, 0.2)
    rho = rng.uniform(-0.95, 0.95)
    b = min(b, 1.99 / (1 + abs(rho)))
    sigma = 10 ** rng.uniform(-2, 0.5)
    rise = b * sigma * np.sqrt(1 - rho * rho)
    return np.array([10 ** rng.uniform(-4, -0.5) - rise, b, rho, rng.normal() * 0.3, sigma])


def steep(rng: np.random.Generator) -> np.ndarray:
    """The same with |rho| up to 1e-7 from 1."""
    slice_ = ordinary(rng)
    slice_[2] = rng.choice([-1, 1]) * (1 - 10 ** rng.uniform(-7, -1))
    slice_[1] = min(slice_[1], 1.99 / (1 + abs(slice_[2])))
    slice_[0] = 10 ** rng.uniform(-4, -0.5) - slice_[1] * slice_[4] * np.sqrt(1 - slice_[2] ** 2)
    return slice_


def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An earlier and a later slice near each other; in a third of the draws with equal wings or almost equal slices."""
    one = ordinary(rng)
    two = one * (1 + 0.1 * rng.standard_normal(5))
    two[2] = np.clip(two[2], -0.99, 0.99)
    two[0] = one[0] + abs(rng.normal()) * 0.3 * abs(one[0])
    kind = rng.integers(6)
    if kind == 0:
        two[1:3] = one[1:3]  # parallel wings
    elif kind == 1:
        two[1:] = one[1:]
        two[0] = one[0] + rng.choice([0.0, 1e-12, 1e-3, -1e-9])
    return one, two
