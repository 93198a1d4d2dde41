"""A batch of options: fast blocks first, the scalar path for the lanes they did not certify, a status for every one."""

import math

import numpy as np

from volsurface.pricing.approximations import log_ratio, mills
from volsurface.pricing.kernel import kernel
from volsurface.pricing.lanes import (
    BLOCK,
    BLOCK_SIZE,
    FORWARD,
    MISSED,
    PRICE,
    RIGHT,
    START,
    STRIKE,
    VOL,
    YEARS,
    cold_block,
    cold_greeks_block,
    greeks_but_delta,
    time_value_of,
    warm_block,
    warm_greeks_block,
)
from volsurface.pricing.scalar import NEAR_A, SERIES_S, lower_d, std_dev_of_logs, upper_d
from volsurface.pricing.status import (
    ABOVE_CAP,
    BAD_INPUT,
    BELOW_INTRINSIC,
    EXPIRED,
    NO_CONVERGENCE,
    NO_TIME_VALUE,
    OK,
    OK_SCALAR,
)

PENDING = -1  # not certified by a block; never leaves `solve`
SMALLEST_LOG = 1e-290  # below this ln(value/cap) is taken as a difference: the ratio may be subnormal


@kernel
def fill(block, row, column, first, count):
    """Copy `count` values of a column from `first` on to a row of the block; the only value of a column, once.

    Unsigned indices: one that might be negative costs a test each, and the loop is no longer a vector copy.
    """
    if column.shape[0] == 1:
        if first == 0:
            for i in range(BLOCK):
                block[row + i] = column[0]
        return
    for i in range(count):
        block[row + i] = column[np.uintp(first + i)]


@kernel
def take(block, first, count, out, status):
    """Copy the outputs of a block to their places from `first` on; returns how many lanes are pending."""
    for row in range(out.shape[0]):
        for i in range(count):
            out[row, np.uintp(first + i)] = block[VOL + row * BLOCK + i]
    missed = 0
    for i in range(count):
        pending = block[MISSED + i] != 0.0
        missed += pending
        status[np.uintp(first + i)] = -np.int8(pending)
    return missed


@kernel(inline=True)
def item(column, i):
    """Value i of a column that may hold one value for all."""
    return column[i if column.shape[0] > 1 else 0]


@kernel(inline=True)
def status_of(price, forward, strike, years, right):
    """The status of one option before it is solved: OK_SCALAR if it can be; tested in the order of the codes."""
    in_range = forward > 0.0 and strike > 0.0 and 1e-300 < forward * strike < 1e300
    if not in_range or not abs(price) < math.inf or not abs(years) < math.inf or right * right != 1.0:
        return BAD_INPUT
    if years <= 0.0:
        return EXPIRED
    value = time_value_of(price, forward, strike, right)
    if value < 0.0:
        return BELOW_INTRINSIC
    if value == 0.0:
        return NO_TIME_VALUE
    return ABOVE_CAP if value >= min(forward, strike) else OK_SCALAR


@kernel(inline=True)
def forward_density(value, forward, strike, s):
    """F phi(d1) at the solution s of a time value: value / D, or rest / |D|, without the rounding of a large exponent."""
    a = abs(log_ratio(forward, strike))
    if a / s >= 0.5 * s or (a < NEAR_A and s < SERIES_S):
        return value / lower_d(a, s)
    return (value - min(forward, strike)) / upper_d(a, s)


@kernel(inline=True)
def greeks_of(phi_forward, forward, strike, s, vol, root_years, right):
    """(delta, gamma, vega, theta, vanna, volga) from phi_forward = F phi(d1), everywhere.

    N comes from the Mills ratio on the side of d1 where it is at most 1/2, and delta from that.
    """
    x = log_ratio(forward, strike)
    d1 = x / s + 0.5 * s
    small = phi_forward / forward * mills(abs(d1))  # N(-|d1|)
    if right > 0.0:
        delta = small if d1 < 0.0 else 1.0 - small
    else:
        delta = small - 1.0 if d1 < 0.0 else -small
    gamma, vega, theta, vanna, volga = greeks_but_delta(forward, phi_forward, x, s, vol, root_years)
    return delta, gamma, vega, theta, vanna, volga


@kernel
def solve_one(price, forward, strike, years, right, i, out, status):
    """Fill column i of `out`, and its status, by the scalar path."""
    code = status_of(price, forward, strike, years, right)
    if code == OK_SCALAR:
        value = time_value_of(price, forward, strike, right)
        cap = min(forward, strike)
        u = value / cap
        log_u = math.log(u) if u > SMALLEST_LOG else math.log(value) - math.log(cap)
        s = std_dev_of_logs(u, log_u, math.log((cap - value) / cap), abs(log_ratio(forward, strike)))
        if s > 0.0:
            root_years = math.sqrt(years)
            vol = s / root_years
            out[0, i] = vol
            if out.shape[0] > 1:
                phi_forward = forward_density(value, forward, strike, s)
                greeks = greeks_of(phi_forward, forward, strike, s, vol, root_years, right)
                out[1, i], out[2, i], out[3, i], out[4, i], out[5, i], out[6, i] = greeks
        else:
            code = NO_CONVERGENCE
    if code != OK_SCALAR:
        for row in range(out.shape[0]):
            out[row, i] = math.nan
    status[i] = code


@kernel("void(f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[:, ::1], i1[::1])")
def solve(price, forward, strike, years, right, start, out, status):
    """Fill `out` and `status` for n options.

    price ... right: shape (n,), or (1,) for one value that holds for all. start: previous vols, shape (n,) or (1,), or (0,)
    to start cold. out: shape (1, n) for vols, or (7, n) for vol, delta, gamma, vega, theta, vanna, volga. status: shape (n,).
    """
    block = np.empty(BLOCK_SIZE)
    n = status.shape[0]
    warm = start.shape[0] > 0
    rows = out.shape[0]
    missed = 0
    for first in range(0, n, BLOCK):
        count = min(BLOCK, n - first)
        fill(block, PRICE, price, first, count)
        fill(block, FORWARD, forward, first, count)
        fill(block, STRIKE, strike, first, count)
        fill(block, YEARS, years, first, count)
        fill(block, RIGHT, right, first, count)
        if warm:
            fill(block, START, start, first, count)
            if rows > 1:
                warm_greeks_block(block)
            else:
                warm_block(block)
        elif rows > 1:
            cold_greeks_block(block)
        else:
            cold_block(block)
        missed += take(block, first, count, out, status)
    if missed == 0:
        return

    # The pending lanes of a warm batch are gathered to cold blocks: a useless start costs one cold solve, not 64.
    scanned = 0 if warm else n
    while scanned < n:
        begin, count = scanned, 0
        while scanned < n and count < BLOCK:
            if status[scanned] == PENDING:
                block[PRICE + count] = item(price, scanned)
                block[FORWARD + count] = item(forward, scanned)
                block[STRIKE + count] = item(strike, scanned)
                block[YEARS + count] = item(years, scanned)
                block[RIGHT + count] = item(right, scanned)
                count += 1
            scanned += 1
        if rows > 1:
            cold_greeks_block(block)
        else:
            cold_block(block)
        lane = 0
        for i in range(begin, scanned):
            if status[i] == PENDING:
                if block[MISSED + lane] == 0.0:
                    status[i] = OK
                    for row in range(rows):
                        out[row, i] = block[VOL + row * BLOCK + lane]
                lane += 1

    for i in range(n):
        if status[i] == PENDING:
            solve_one(item(price, i), item(forward, i), item(strike, i), item(years, i), item(right, i), i, out, status)
