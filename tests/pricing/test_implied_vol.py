"""Implied vols against 50-digit arithmetic, over the whole domain and on both sides of its borders."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volsurface.bench.exact import attainable, exact_vol, relative_error
from volsurface.bench.iv_sets import OptionSet, chain_set, stress_set
from volsurface.pricing.batch import BLOCK
from volsurface.pricing.black76 import black76_price
from volsurface.pricing.implied_vol import attainable_error, implied_vols
from volsurface.pricing.status import (
    ABOVE_CAP,
    BAD_INPUT,
    BELOW_INTRINSIC,
    EXPIRED,
    NO_TIME_VALUE,
    OK,
    OK_SCALAR,
    STATUS_MEANINGS,
    STATUS_NAMES,
)

EPS = 2.0**-52


def errors(options: OptionSet, vol: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative error of each vol, and that over the attainable one."""
    relative, ratio = np.empty(vol.size), np.empty(vol.size)
    for i, (price, forward, strike, years, right) in enumerate(zip(*options.inputs)):
        truth = exact_vol(price, forward, strike, years, right, options.vol[i])
        relative[i] = relative_error(vol[i], truth)
        ratio[i] = relative[i] / attainable(price, forward, strike, years, truth)
    return relative, ratio


def one(price, forward, strike, years=1.0, right=1.0):
    """Return (vol, status) of one option."""
    vol, status = implied_vols(price, forward, strike, years, right)
    return float(vol), int(status)


def check_stress(options: OptionSet) -> None:
    vol, status = implied_vols(*options.inputs)
    relative, ratio = errors(options, vol)
    fast = status == OK
    assert set(np.unique(status)) == {OK, OK_SCALAR}
    assert ratio.max() <= 4.0
    assert relative[fast & options.out_of_the_money].max() <= 1e-15
    # the border of the fast domain is explicit: nothing inside goes the slow way, nothing outside the fast one
    a, s = np.abs(np.log(options.forward / options.strike)), options.std_dev
    tiny = options.price < 1e-270
    assert fast[(a < 1.69) & (s < 1.68) & ~tiny & options.out_of_the_money].all()
    assert not fast[(a > 1.71) | (s > 1.71)].any()


def test_stress_grid() -> None:
    options = stress_set(4400)
    assert options.price.size >= 4000
    check_stress(options)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_stress_grid_long(seed: int) -> None:
    check_stress(stress_set(20_000, seed=100 + seed))


@pytest.mark.parametrize("in_the_money", [False, True])
def test_chain(in_the_money: bool) -> None:
    options = chain_set(600, in_the_money=in_the_money)
    relative, ratio = errors(options, implied_vols(*options.inputs).vol)
    assert ratio.max() <= 4.0
    assert in_the_money or relative.max() <= 1e-15


@pytest.mark.parametrize("gap", [0.0, 2.0**-52, 1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("s", [1e-4, 1e-2, 1.0])
def test_close_to_the_money_keeps_all_digits(gap: float, s: float) -> None:
    # ln(F/K) of the rounded ratio would cost 1e4 eps here
    strike = 100.0 * (1.0 + gap)
    price = float(black76_price(100.0, strike, 1.0, s, 1))
    vol, status = one(price, 100.0, strike)
    assert status == OK
    assert relative_error(vol, exact_vol(price, 100.0, strike, 1.0, 1.0, s)) <= 1e-15


@pytest.mark.parametrize("a", [1e-6, 1e-3, 0.1, 1.0, 1.5, 1.69, 1.7, 1.71, 4.9, 5.1, 40.0, 300.0, 600.0])
@pytest.mark.parametrize("exponent", [-1, -10, -100, -279, -281, -290, -299])
def test_tiny_time_values(a: float, exponent: int) -> None:
    forward, strike = 100.0, 100.0 * math.exp(a)
    price = forward * 10.0**exponent
    vol, status = one(price, forward, strike)
    assert status in (OK, OK_SCALAR)
    truth = exact_vol(price, forward, strike, 1.0, 1.0, vol)
    assert relative_error(vol, truth) / attainable(price, forward, strike, 1.0, truth) <= 4.0


@pytest.mark.parametrize("a", [0.0, 1e-12, 0.01, 0.5, 1.0, 1.4, 1.69, 1.71, 3.0, 20.0])
@pytest.mark.parametrize("rest", [0.9, 0.5, 0.4, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 2.0**-53])
def test_up_to_the_cap(a: float, rest: float) -> None:
    forward, strike = 100.0, 100.0 * math.exp(a)
    price = min(forward, forward * (1.0 - rest))
    vol, status = one(price, forward, strike)
    assert status in (OK, OK_SCALAR)
    truth = exact_vol(price, forward, strike, 1.0, 1.0, vol)
    assert relative_error(vol, truth) / attainable(price, forward, strike, 1.0, truth) <= 4.0


@pytest.mark.parametrize("border", ["a", "s"])
def test_both_sides_of_the_fast_domain(border: str) -> None:
    n = 60
    wiggle = 1.0 + np.linspace(-1e-2, 1e-2, n)
    a = 1.7 * wiggle if border == "a" else np.linspace(0.0, 1.6, n)
    s = 1.69 * wiggle if border == "s" else np.linspace(0.05, 1.6, n)
    forward, strike, years, right = np.full(n, 1.0), np.exp(a), np.ones(n), np.ones(n)
    options = OptionSet(black76_price(forward, strike, years, s, right), forward, strike, years, right, s)
    vol, status = implied_vols(*options.inputs)
    _, ratio = errors(options, vol)
    assert set(status) == {OK, OK_SCALAR}
    assert ratio.max() <= 4.0


def test_price_of_the_same_vol_in_and_out_of_the_money() -> None:
    forward, strike, years = 100.0, np.linspace(60.0, 160.0, 101), 0.4
    call, put = (black76_price(forward, strike, years, 0.7, right) for right in (1, -1))
    of_call, of_put = (
        implied_vols(call, forward, strike, years, 1).vol,
        implied_vols(put, forward, strike, years, -1).vol,
    )
    vega = (
        forward
        * math.sqrt(years / (2 * math.pi))
        * np.exp(-0.5 * (np.log(forward / strike) / (0.7 * math.sqrt(years)) + 0.35 * math.sqrt(years)) ** 2)
    )
    allowed = 4.0 * (attainable_error(call, 0.7, vega) + attainable_error(put, 0.7, vega))
    assert (np.abs(of_call / of_put - 1.0) <= allowed).all()


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (BAD_INPUT, (math.nan, 100.0, 100.0, 1.0, 1)),
        (BAD_INPUT, (5.0, math.nan, 100.0, 1.0, 1)),
        (BAD_INPUT, (5.0, 100.0, math.nan, 1.0, 1)),
        (BAD_INPUT, (5.0, 100.0, 100.0, math.nan, 1)),
        (BAD_INPUT, (5.0, 100.0, 100.0, 1.0, math.nan)),
        (BAD_INPUT, (math.inf, 100.0, 100.0, 1.0, 1)),
        (BAD_INPUT, (-math.inf, 100.0, 100.0, 1.0, 1)),
        (BAD_INPUT, (5.0, math.inf, 100.0, 1.0, 1)),
        (BAD_INPUT, (5.0, 100.0, math.inf, 1.0, -1)),
        (BAD_INPUT, (5.0, 100.0, 100.0, math.inf, 1)),
        (BAD_INPUT, (5.0, 0.0, 100.0, 1.0, 1)),
        (BAD_INPUT, (5.0, 100.0, 0.0, 1.0, 1)),
        (BAD_INPUT, (5.0, -100.0, 100.0, 1.0, 1)),
        (BAD_INPUT, (5.0, -100.0, -100.0, 1.0, 1)),  # their product and ratio look healthy
        (BAD_INPUT, (5.0, 100.0, 100.0, 1.0, 0)),
        (BAD_INPUT, (5.0, 100.0, 100.0, 1.0, 2)),
        (BAD_INPUT, (1e-200, 1e-200, 1e-200, 1.0, 1)),
        (BAD_INPUT, (1e190, 1e200, 1e200, 1.0, 1)),
        (EXPIRED, (5.0, 100.0, 100.0, 0.0, 1)),
        (EXPIRED, (5.0, 100.0, 100.0, -1.0, 1)),
        (BELOW_INTRINSIC, (-1e-9, 100.0, 100.0, 1.0, 1)),
        (BELOW_INTRINSIC, (np.nextafter(10.0, 0.0), 110.0, 100.0, 1.0, 1)),
        (NO_TIME_VALUE, (10.0, 110.0, 100.0, 1.0, 1)),
        (NO_TIME_VALUE, (0.0, 110.0, 100.0, 1.0, -1)),
        (ABOVE_CAP, (100.0, 100.0, 120.0, 1.0, 1)),
        (ABOVE_CAP, (100.0, 120.0, 100.0, 1.0, -1)),
        (ABOVE_CAP, (120.0, 120.0, 100.0, 1.0, 1)),
        (OK_SCALAR, (np.nextafter(100.0, 0.0), 100.0, 120.0, 1.0, 1)),
        (OK, (np.nextafter(10.0, 11.0), 110.0, 100.0, 1.0, 1)),
    ],
)
def test_statuses(status: int, arguments: tuple) -> None:
    vol, found = one(*arguments)
    assert STATUS_NAMES[found] == STATUS_NAMES[status]
    assert math.isnan(vol) == (status > OK_SCALAR)


def test_every_status_has_a_name_and_a_meaning() -> None:
    assert len(STATUS_NAMES) == len(STATUS_MEANINGS) == 8


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, 5e-324])
@pytest.mark.parametrize("position", range(5))
def test_bad_neighbours_change_nothing(bad: float, position: int) -> None:
    options = chain_set(300)
    good = implied_vols(*options.inputs)
    broken = [column.copy() for column in options.inputs]
    broken[position][::3] = bad
    found = implied_vols(*broken)
    untouched = np.arange(options.price.size) % 3 != 0
    assert np.array_equal(found.vol[untouched], good.vol[untouched])
    assert np.array_equal(found.status[untouched], good.status[untouched])
    assert (np.isnan(found.vol) == (found.status > OK_SCALAR)).all()


def test_one_option_gets_the_same_bits_in_any_batch() -> None:
    options = chain_set(4 * BLOCK + 1)
    whole = implied_vols(*options.inputs).vol
    for n in (0, 1, 3, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK):
        part = implied_vols(*(column[:n] for column in options.inputs))
        assert part.vol.shape == part.status.shape == (n,)
        assert np.array_equal(part.vol, whole[:n])


@pytest.mark.parametrize("power", [-40, -1, 1, 30])
def test_scaling_by_a_power_of_two_keeps_every_bit(power: int) -> None:
    options, scale = stress_set(1500, seed=3), 2.0**power
    once = implied_vols(*options.inputs)
    again = implied_vols(
        options.price * scale, options.forward * scale, options.strike * scale, options.years, options.right
    )
    exact = options.price * scale > 1e-300  # else the scaled price is no longer the same number
    assert np.array_equal(once.vol[exact], again.vol[exact])


def test_shapes_broadcast_and_inputs_may_be_of_any_kind() -> None:
    price = black76_price(100.0, [90.0, 100.0, 110.0], [[0.5], [1.0]], 0.6, "call")
    assert price.shape == (2, 3)
    vol, status = implied_vols(price, 100, [90, 100, 110], [[0.5], [1.0]], "call")
    assert vol.shape == status.shape == (2, 3)
    np.testing.assert_allclose(vol, 0.6, rtol=1e-13)
    wide = np.repeat(price, 2, axis=1)
    wide.flags.writeable = False
    np.testing.assert_array_equal(implied_vols(wide[:, ::2], 100.0, [90, 100, 110], [[0.5], [1.0]], 1).vol, vol)
    assert implied_vols(np.float32(14.0), 100.0, 100.0, 0.5, ["call", "put"]).vol.shape == (2,)
    assert isinstance(implied_vols(14.0, 100.0, 100.0, 0.5, "C").vol, np.float64)
    with pytest.raises(ValueError, match="broadcast"):
        implied_vols([1.0, 2.0], [100.0, 101.0, 102.0], 100.0, 0.5, "call")


def test_words_for_the_right() -> None:
    price = black76_price(100.0, 110.0, 0.5, 0.6, ["call", "put", "C", "p", "straddle"])
    assert price[0] == price[2]
    assert price[1] == price[3]
    assert np.isnan(price[4])
    assert one(5.0, 100.0, 110.0, 0.5, "straddle")[1] == BAD_INPUT


def test_two_threads_with_their_own_columns() -> None:
    parts = [stress_set(3000, seed=seed) for seed in (21, 22)]
    expected = [implied_vols(*part.inputs).vol for part in parts]
    found: list = [None, None]

    def work(which: int) -> None:
        for _ in range(20):
            found[which] = implied_vols(*parts[which].inputs).vol

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which in (0, 1):
        assert np.array_equal(found[which], expected[which])


@pytest.mark.parametrize("offset", [0.0, 1e-9, 1e-4, 9e-4, -9e-4, 2e-3, 1e-2, 0.5, 3.0, -1.0, -2.0, math.nan, math.inf])
def test_a_warm_start_gives_the_cold_answer(offset: float) -> None:
    options = stress_set(1500, seed=5)
    cold = implied_vols(*options.inputs)
    warm = implied_vols(*options.inputs, start=cold.vol * (1.0 + offset))
    assert np.array_equal(warm.status, cold.status)
    assert np.abs(warm.vol / cold.vol - 1.0).max() <= 1e-12


def test_a_warm_start_of_one_number_and_of_bad_options() -> None:
    price = black76_price(100.0, [90.0, 110.0], 0.5, 0.6, "call")
    np.testing.assert_allclose(
        implied_vols(price, 100.0, [90.0, 110.0], 0.5, "call", start=0.6001).vol, 0.6, rtol=1e-13
    )
    vol, status = implied_vols([-1.0, 5.0, math.nan], 100.0, 100.0, [0.5, 0.0, 0.5], "call", start=0.5)
    assert np.isnan(vol).all()
    assert status.tolist() == [BELOW_INTRINSIC, EXPIRED, BAD_INPUT]


@settings(max_examples=300, deadline=None)
@given(
    log_s=st.floats(math.log(1e-4), math.log(8.0)),
    h=st.floats(0.0, 36.0),
    middle=st.floats(1e-3, 1e6),
    years=st.floats(2e-6, 5.0),
    right=st.sampled_from([-1, 1]),
    call_strike_above=st.booleans(),
)
def test_price_vol_price(
    log_s: float, h: float, middle: float, years: float, right: int, call_strike_above: bool
) -> None:
    s = math.exp(log_s)
    half = 0.5 * h * s * (1 if call_strike_above else -1)
    forward, strike = middle * math.exp(-half), middle * math.exp(half)
    price = float(black76_price(forward, strike, years, s / math.sqrt(years), right))
    vol, status = one(price, forward, strike, years, right)
    value = price - max(right * (forward - strike), 0.0)
    if value <= 0.0 or value >= min(forward, strike):
        assert status in (BELOW_INTRINSIC, NO_TIME_VALUE, ABOVE_CAP)
        return
    assert status in (OK, OK_SCALAR)
    again = float(black76_price(forward, strike, years, vol, right))
    # a price far from the money moves by (h^2 + t^2)/2 times the rounding of its vol
    t = 0.5 * s
    assert abs(again - price) <= 16.0 * EPS * (1.0 + 0.5 * (h * h + t * t)) * price + 1e-320
