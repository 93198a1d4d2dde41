import math
from dataclasses import replace

import numpy as np
import pytest
from made_chains import coin_price, made_smile, svi

from volsurface.surface.jump_wings import to_jump_wings

PARAMETERS = (0.0045, 0.060, -0.20, 0.010, 0.15)
SMILE = made_smile(PARAMETERS)


def delta(k, right):
    """Absolute Black delta, re-typed."""
    w = svi(PARAMETERS, k)
    return 0.5 * math.erfc(-right * (-k / math.sqrt(w) + math.sqrt(w) / 2) / math.sqrt(2))


def test_vol_by_strike_and_by_log_moneyness():
    strike = 90_000.0
    k = math.log(strike / SMILE.forward)
    expected = math.sqrt(svi(PARAMETERS, k) / SMILE.years)
    assert SMILE.vol(strike) == pytest.approx(expected, rel=1e-14)
    assert SMILE.vol_at(k) == pytest.approx(expected, rel=1e-14)
    assert SMILE.vol([strike, SMILE.forward]) == pytest.approx([expected, SMILE.atm_vol], rel=1e-14)
    assert SMILE.total_variance(k) == pytest.approx(expected**2 * SMILE.years, rel=1e-14)


def test_negative_variance_gives_zero_and_not_nan():
    assert made_smile((-1.0, 0.1, 0.0, 0.0, 0.1)).vol_at(0.0) == 0.0


def test_atm_numbers_against_differences():
    h = 1e-4
    up, middle, down = (SMILE.vol_at(k) for k in (h, 0.0, -h))
    assert SMILE.atm_vol == pytest.approx(middle, rel=1e-14)
    assert SMILE.skew == pytest.approx((up - down) / (2 * h), rel=1e-6)
    assert SMILE.curvature == pytest.approx((up - 2 * middle + down) / h**2, rel=1e-5)


@pytest.mark.parametrize("size", [0.001, 0.10, 0.25, 0.50, 0.75, 0.95])
@pytest.mark.parametrize("right", [1, -1])
def test_strike_at_delta_has_that_delta(size, right):
    strike = SMILE.strike_at_delta(size, "call" if right > 0 else "put")
    assert delta(math.log(strike / SMILE.forward), right) == pytest.approx(size, rel=1e-9)


def test_risk_reversal_and_butterfly_are_made_of_the_delta_strikes():
    for size in (0.25, 0.10):
        call, put = SMILE.vol(SMILE.strike_at_delta(size, "call")), SMILE.vol(SMILE.strike_at_delta(size, "put"))
        assert SMILE.risk_reversal(size) == pytest.approx(call - put, abs=1e-12)
        assert SMILE.butterfly(size) == pytest.approx((call + put) / 2 - SMILE.atm_vol, abs=1e-12)
    assert SMILE.risk_reversal() == SMILE.risk_reversal(0.25) < 0 < SMILE.butterfly()


def test_what_is_no_delta_or_right_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, found 25"):
        SMILE.strike_at_delta(25)
    with pytest.raises(ValueError, match="found 'C'"):
        SMILE.strike_at_delta(0.25, "C")


def test_density_is_the_curvature_of_call_prices_in_the_strike():
    forward, h = SMILE.forward, 25.0
    for strike in (80_000.0, 100_000.0, 125_000.0):
        calls = [
            forward * coin_price(math.log(x / forward), svi(PARAMETERS, math.log(x / forward)), 1)
            for x in (strike - h, strike, strike + h)
        ]
        assert SMILE.density(strike) == pytest.approx((calls[0] - 2 * calls[1] + calls[2]) / h**2, rel=1e-4)
    strikes = np.linspace(1_000, 600_000, 100_001)
    assert np.trapezoid(SMILE.density(strikes), strikes) == pytest.approx(1.0, abs=1e-6)


def test_the_jump_wings_of_a_smile_are_those_of_its_parameters():
    smile = made_smile((-0.0410, 0.1331, 0.3060, 0.3586, 0.4153), days=365.0)
    wings = smile.jump_wings()
    assert wings == to_jump_wings(smile.parameters, smile.years)
    assert wings.v == pytest.approx(0.0174262525551591, rel=1e-12)
    mixed = replace(smile, model="mixture", parameters=(0.5, *smile.parameters, *smile.parameters))
    with pytest.raises(ValueError, match="this smile has 'mixture'"):
        mixed.jump_wings()
