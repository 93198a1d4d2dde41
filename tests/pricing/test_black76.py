"""Black-76 prices against 50 digits, at their limits, and with bad input."""

import math

import numpy as np
import pytest

from volsurface.bench.exact import exact_price, relative_error
from volsurface.bench.iv_sets import chain_set, stress_set
from volsurface.pricing.black76 import black76_price


@pytest.mark.parametrize("options", [chain_set(300), chain_set(300, in_the_money=True), stress_set(1500, seed=41)])
def test_prices_to_the_rounding_of_their_exponent(options) -> None:
    s = options.std_dev
    h = np.abs(np.log(options.forward / options.strike)) / s
    bound = 4.0 * 2.0**-52 * (1.0 + 0.5 * (h * h + 0.25 * s * s))
    price = black76_price(options.forward, options.strike, options.years, options.vol, options.right)
    for i, (_, forward, strike, years, right) in enumerate(zip(*options.inputs)):
        assert relative_error(price[i], exact_price(forward, strike, years, options.vol[i], right)) <= bound[i]


def test_limits() -> None:
    assert black76_price(100.0, [90.0, 110.0], 0.0, 0.5, "call").tolist() == [10.0, 0.0]
    assert black76_price(100.0, [90.0, 110.0], 1.0, 0.0, "put").tolist() == [0.0, 10.0]
    assert black76_price(100.0, 120.0, 1.0, 1000.0, "call") == 100.0
    assert black76_price(100.0, 120.0, 1.0, 1000.0, "put") == 120.0
    at_the_money = black76_price(100.0, 100.0, 1.0, 1e-12, "call")
    assert at_the_money == pytest.approx(100.0 * 1e-12 / math.sqrt(2.0 * math.pi), rel=1e-15)


def test_parity() -> None:
    strike = np.linspace(50.0, 200.0, 31)
    call, put = (black76_price(100.0, strike, 0.7, 0.8, right) for right in (1, -1))
    np.testing.assert_allclose(call - put, 100.0 - strike, atol=1e-13)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -2.0, 0.0])
@pytest.mark.parametrize("position", range(5))
def test_impossible_values_give_nan_beside_good_ones(bad: float, position: int) -> None:
    arguments = [[100.0, 100.0], [110.0, 110.0], [0.5, 0.5], [0.6, 0.6], [1.0, 1.0]]
    arguments[position][0] = bad
    price = black76_price(*arguments)
    assert price[1] == black76_price(100.0, 110.0, 0.5, 0.6, 1)
    assert (price[0] == 0.0) if bad == 0.0 and position in (2, 3) else math.isnan(price[0])
