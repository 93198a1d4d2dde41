import numpy as np
import pytest

from volsurface.surface.outliers import near_neighbours

K = np.linspace(-0.4, 0.4, 21)
W = 0.02 + 0.05 * np.sqrt((K - 0.03) ** 2 + 0.01)


def kept(w, k=K, limit=6.0):
    mask = np.zeros(k.size, bool)
    near_neighbours(k, w, np.full(k.size, 1 / 2e-4), limit, mask)
    return mask


def test_a_smooth_smile_loses_nothing():
    assert kept(W).all()


@pytest.mark.parametrize("wrong", [[0], [20], [10], [9, 10], [3, 12, 17], [0, 20]])
def test_what_jumps_out_is_removed_and_nothing_else(wrong):
    w = W.copy()
    w[wrong] *= np.where(np.arange(len(wrong)) % 2, 0.5, 1.6)
    assert np.flatnonzero(~kept(w)).tolist() == wrong


def test_at_most_a_quarter_goes():
    rng = np.random.default_rng(0)
    assert (~kept(W * rng.uniform(0.3, 3, K.size), limit=0.0)).sum() <= 5


def test_one_strike_quoted_twice():
    k, w = np.repeat(K, 2), np.repeat(W, 2)
    assert kept(w, k).all()
    w[8] *= 1.5
    assert np.flatnonzero(~kept(w, k)).tolist() == [8]


@pytest.mark.parametrize("n", [1, 4, 5])
def test_too_few_quotes_to_tell(n):
    w = W[:n].copy()
    w[0] *= 3
    assert kept(w, K[:n]).all()
