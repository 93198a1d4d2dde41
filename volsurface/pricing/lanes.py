"""The fast path: blocks of options solved without a branch, each lane certified or left to the scalar path.

A block is one flat buffer of rows with constant offsets and a constant trip count, because only then does LLVM know, without
a check at run time, that the rows do not overlap, and turns the loop into full vectors. Symbols as in `scalar`, but the time
value b and the distance |F - K| are over sqrt(FK); phi0 = b/D = exp(-(h^2 + t^2)/2)/sqrt(2 pi).

One quartic step from a seed that is right to 7e-6 reaches rounding, so nothing iterates. That the step was small is no proof
by itself: a lane counts only if |ln(F/K)| < 1.7 and its time value lies under that of s = 1.69, which bounds s from the price
before any seed is trusted. NaN fails every comparison, so bad input needs no branch.
"""

import math

from volsurface.pricing.approximations import domain_edge, log_ratio, mills, mills_difference, seed_std_dev
from volsurface.pricing.instructions import fma
from volsurface.pricing.kernel import kernel

BLOCK = 64
# Rows of a block: inputs (START is the vol a warm block starts from), then outputs.
PRICE, FORWARD, STRIKE, YEARS, RIGHT, START = (BLOCK * row for row in range(6))
VOL, DELTA, GAMMA, VEGA, THETA, VANNA, VOLGA, MISSED = (BLOCK * row for row in range(6, 14))
BLOCK_SIZE = BLOCK * 14

INV_SQRT_2PI = 0.3989422804014327
LARGEST_A = LARGEST_S = 1.7
TINY = 1e-280  # smallest time value, over sqrt(FK) and over |F-K|: its product with D is still a normal number
LARGEST_ROOT = 1e150  # FK and years lie between 1e-300 and 1e300
COLD_STEP = 1e-4  # largest relative step from a seed, whose error is below 1e-5 in the domain
WARM_STEP = 1e-3  # one step from e relative leaves about 0.13 e^4


@kernel(inline=True)
def time_value_of(price, forward, strike, right):
    """Price less intrinsic value: exact for an option out of the money."""
    return price - max(right * (forward - strike), 0.0)


@kernel(inline=True)
def certified(forward, over_root, root_years, right, a, b, distance):
    """Whether the lane is valid and inside the fast domain."""
    inside = (a < LARGEST_A) & (b > TINY) & (b > TINY * distance) & (b < domain_edge(a))
    valid = (forward > 0.0) & (over_root > 1.0 / LARGEST_ROOT) & (over_root < LARGEST_ROOT) & (right * right == 1.0)
    return inside & valid & (root_years > 0.0) & (root_years < LARGEST_ROOT)


@kernel(inline=True)
def householder_from(a, b, s):
    """(step, D, g, h^2/s^2, 1/s): the fourth-order step of `scalar.householder` at s, with no division by D."""
    d = mills_difference(a, s)
    over_s = 1.0 / s
    h = a * over_s
    t = 0.5 * s
    h2 = h * h
    t2 = t * t
    r = log_ratio(d * INV_SQRT_2PI, b) - 0.5 * (h2 + t2)
    g = (h2 - t2) * over_s
    e2 = h2 * over_s * over_s
    gd = g * d
    nu = -r * d
    nu_f2 = r * (1.0 - gd)
    nu2_f3 = r * r * fma(d * d, fma(g, g, fma(-3.0, e2, -0.25)), fma(-3.0, gd, 2.0))
    step = nu * fma(0.5, nu_f2, 1.0) / (1.0 + fma(nu2_f3, 1.0 / 6.0, nu_f2))
    return step, d, g, e2, over_s


@kernel(inline=True)
def moved_d(d, g, e2, over_s, step):
    """D at s + step, by Taylor to fourth order from D' = 1 - g D: phi0 = b/D then needs no exponential."""
    g1 = fma(-3.0, e2, -0.25)
    g2 = 12.0 * e2 * over_s
    g3 = -5.0 * g2 * over_s
    d1 = fma(-g, d, 1.0)
    d2 = -fma(g1, d, g * d1)
    d3 = -(g2 * d + 2.0 * g1 * d1 + g * d2)
    d4 = -(g3 * d + 3.0 * (g2 * d1 + g1 * d2) + g * d3)
    third = fma(step, d4 * (1.0 / 24.0), d3 * (1.0 / 6.0))
    return fma(step, fma(step, fma(step, third, 0.5 * d2), d1), d)


@kernel(inline=True)
def greeks_but_delta(forward, phi_forward, x, s, vol, root_years):
    """(gamma, vega, theta, vanna, volga) from phi_forward = F phi(d1) = K phi(d2); per 1.00 of vol and per year."""
    over_s = 1.0 / s
    over_forward = 1.0 / forward
    d1 = fma(x, over_s, 0.5 * s)
    d2 = d1 - s
    vega = phi_forward * root_years
    gamma = phi_forward * over_forward * over_forward * over_s
    theta = -0.5 * phi_forward * vol * (vol * over_s)
    vanna = -vega * over_forward * d2 * over_s
    volga = vega * d1 * d2 * (root_years * over_s)
    return gamma, vega, theta, vanna, volga


@kernel(inline=True)
def vol_lane(block, i, cold):
    """Fill VOL and MISSED (0.0: certified, 1.0: not) of lane i."""
    forward, strike, right = block[i + FORWARD], block[i + STRIKE], block[i + RIGHT]
    over_root = 1.0 / math.sqrt(forward * strike)
    root_years = math.sqrt(block[i + YEARS])
    a = abs(log_ratio(forward, strike))
    b = time_value_of(block[i + PRICE], forward, strike, right) * over_root
    distance = abs(forward - strike) * over_root
    s = seed_std_dev(a, b, distance) if cold else block[i + START] * root_years
    step, _, _, _, _ = householder_from(a, b, s)
    small = (s < LARGEST_S) & (abs(step) < (COLD_STEP if cold else WARM_STEP) * s)
    block[i + VOL] = (s + step) / root_years
    good = small & certified(forward, over_root, root_years, right, a, b, distance)
    block[i + MISSED] = 0.0 if good else 1.0


@kernel(inline=True)
def greeks_lane(block, i, cold):
    """Fill all outputs of lane i; the vol has the same bits as in `vol_lane`.

    F phi(d1) = sqrt(FK) phi0 = time value / D. N(d) comes from the Mills ratio on the out-of-the-money side, and delta from
    that side's N: (1 - N) - 1 would lose digits.
    """
    forward, strike, right = block[i + FORWARD], block[i + STRIKE], block[i + RIGHT]
    over_root = 1.0 / math.sqrt(forward * strike)
    root_years = math.sqrt(block[i + YEARS])
    x = log_ratio(forward, strike)
    a = abs(x)
    value = time_value_of(block[i + PRICE], forward, strike, right)
    b = value * over_root
    distance = abs(forward - strike) * over_root
    start = seed_std_dev(a, b, distance) if cold else block[i + START] * root_years
    step, d, g, e2, over_s = householder_from(a, b, start)
    small = (start < LARGEST_S) & (abs(step) < (COLD_STEP if cold else WARM_STEP) * start)
    s = start + step
    vol = s / root_years
    phi_forward = value / moved_d(d, g, e2, over_s, step)
    h = a / s
    t = 0.5 * s
    below = forward <= strike
    call = right > 0.0
    near = phi_forward / forward * mills(h - t if below else h + t)
    block[i + VOL] = vol
    block[i + DELTA] = (near if call else near - 1.0) if below else (1.0 - near if call else -near)
    gamma, vega, theta, vanna, volga = greeks_but_delta(forward, phi_forward, x, s, vol, root_years)
    block[i + GAMMA] = gamma
    block[i + VEGA] = vega
    block[i + THETA] = theta
    block[i + VANNA] = vanna
    block[i + VOLGA] = volga
    good = small & certified(forward, over_root, root_years, right, a, b, distance)
    block[i + MISSED] = 0.0 if good else 1.0


@kernel
def cold_block(block):
    """Fill VOL and MISSED of every lane from its price alone."""
    for i in range(BLOCK):
        vol_lane(block, i, True)


@kernel
def warm_block(block):
    """Fill VOL and MISSED of every lane by one step from the vol in START."""
    for i in range(BLOCK):
        vol_lane(block, i, False)


@kernel
def cold_greeks_block(block):
    """Fill all outputs of every lane from its price alone."""
    for i in range(BLOCK):
        greeks_lane(block, i, True)


@kernel
def warm_greeks_block(block):
    """Fill all outputs of every lane by one step from the vol in START."""
    for i in range(BLOCK):
        greeks_lane(block, i, False)
