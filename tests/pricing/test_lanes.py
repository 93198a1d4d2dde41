"""The fast path is vector code, and knows where its domain ends."""

import platform
import re

import numba
import numpy as np
import pytest

from volsurface.pricing import lanes


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@pytest.mark.parametrize("name", ["warm_block", "cold_greeks_block"])
def test_blocks_are_vectors_of_at_least_four(name: str) -> None:
    block = numba.njit(error_model="numpy", nogil=True)(getattr(lanes, name).py_func)
    block(np.ones(lanes.BLOCK_SIZE))
    (assembly,) = block.inspect_asm().values()
    wide = re.findall(r"\bv(?:div|sqrt)pd\b.*%[yz]mm", assembly)
    single = re.findall(r"\bv?(?:div|sqrt)sd\b", assembly)
    assert len(wide) >= 9  # as many as the formulas have
    assert not single


def test_a_small_step_alone_certifies_nothing() -> None:
    # outside the domain the seed is meaningless, yet its step is small in some lanes: none may be accepted
    rng = np.random.default_rng(5)
    block = np.ones(lanes.BLOCK_SIZE)
    n = lanes.BLOCK
    for _ in range(200):
        a = rng.uniform(1.701, 4.0, n)
        block[lanes.FORWARD : lanes.FORWARD + n] = 100.0
        block[lanes.STRIKE : lanes.STRIKE + n] = 100.0 * np.exp(a)
        block[lanes.PRICE : lanes.PRICE + n] = 100.0 * rng.uniform(1e-6, 0.99, n)
        lanes.cold_block(block)
        assert (block[lanes.MISSED : lanes.MISSED + n] == 1.0).all()
