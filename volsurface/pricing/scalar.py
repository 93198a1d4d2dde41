"""One option at a time, right everywhere: total volatility from a time value, and time value from a total volatility.

Symbols: F forward, K strike, a = |ln(F/K)|, s = vol sqrt(years) total volatility, h = a/s, t = s/2. A time value is given as
its share u of its cap min(F, K); v = 1 - u is the rest. Put-call parity reduces every option to (u, v, a). With Y the Mills
ratio, D = Y(h-t) - Y(h+t) and ht = a/2,

    u = psi D,   psi = exp(-(h-t)^2/2)/sqrt(2 pi) = du/ds,   D' = 1 - g D,   g = (h^2 - t^2)/s

and v obeys the same three with D = -(Y(t-h) + Y(t+h)). Shares of the cap, not of sqrt(FK), keep the exponent small: no digit
is lost however far F and K are apart.

Source of the normalised problem and of its two regimes: P. Jaeckel, "By implication" (2006) and "Let's be rational"
(2015); of the iteration: A. S. Householder, "The numerical treatment of a single nonlinear equation" (1970).
"""

import math

from volsurface.pricing.approximations import domain_edge, mills, mills_difference
from volsurface.pricing.instructions import fma
from volsurface.pricing.kernel import kernel

SQRT_2PI = 2.5066282746310002
INV_SQRT_2PI = 0.3989422804014327
SERIES_S = 1.7  # the series of D holds below this s, for a < 5 to 5 eps
SERIES_A = 5.0  # and is better there, by up to 800 eps, than the difference it replaces
NEAR_A = 1.7  # below it also for t > h
SMALL_SHARE = 1e-9  # at the money u = s/sqrt(2 pi) to the last bit below this
LARGEST_S = 1e3  # v underflows near s = 76
SMALL_STEP = 1e-5  # relative; a quartic step this small was the last one needed
MAX_ITERATIONS = 80


@kernel(inline=True)
def lower_d(a, s):
    """D = Y(h-t) - Y(h+t) for h >= t, and for any s < 1.7 if a < 1.7; by its series where the difference would cancel."""
    if a < SERIES_A and s < SERIES_S:
        return mills_difference(a, s)
    h = a / s
    t = 0.5 * s
    return mills(max(h - t, 0.0)) - mills(h + t)


@kernel(inline=True)
def upper_d(a, s):
    """-(Y(t-h) + Y(t+h)) for t >= h: the D of the rest v, negative because v falls with s."""
    h = a / s
    t = 0.5 * s
    return -(mills(max(t - h, 0.0)) + mills(t + h))


@kernel(inline=True)
def std_dev_of(vol, years):
    """(s, low) with s + low = vol sqrt(years) to twice the precision: far from the money, exp(-(h-t)^2/2) shows the bits."""
    root = math.sqrt(years)
    s = vol * root
    if not 0.0 < s < math.inf:
        return s, 0.0
    return s, fma(vol, root, -s) + 0.5 * vol * fma(-root, root, years) / root


@kernel(inline=True)
def density_share(a, s, low):
    """psi = exp(-(h-t)^2/2)/sqrt(2 pi) for a total volatility s + low, with the roundings on the way made good."""
    h = a / s
    t = 0.5 * s
    z = h - t
    moved = z - h
    z_low = (h - (z - moved)) - (t + moved) + (fma(-h, s, a) - h * low) / s - 0.5 * low
    square = z * z
    return INV_SQRT_2PI * math.exp(-0.5 * square) * (1.0 - 0.5 * fma(z, z, -square) - z * z_low)


@kernel(inline=True)
def cap_share(a, s, low):
    """(u, v): the time value's share of its cap and the rest, at s + low > 0; the smaller one is not a difference."""
    h = a / s
    t = 0.5 * s
    psi = density_share(a, s, low)
    if h >= t or (a < NEAR_A and s < SERIES_S):
        u = psi * lower_d(a, s)
        return u, 1.0 - u
    v = -psi * upper_d(a, s)
    return 1.0 - v, v


@kernel(inline=True)
def householder(r, d, h, t, s):
    """The fourth-order step for r = ln(value(s)/target), where value' = value/d and d' = 1 - g d."""
    over_d = 1.0 / d
    over_s = 1.0 / s
    g = (h * h - t * t) * over_s
    e = h * over_s
    f2 = g - over_d
    f3 = g * g - 3.0 * e * e - 0.25 - 3.0 * g * over_d + 2.0 * over_d * over_d
    nu = -r * d
    return nu * (1.0 + 0.5 * nu * f2) / (1.0 + nu * (f2 + nu * f3 * (1.0 / 6.0)))


@kernel
def implied_std_dev(u, v, a):
    """Total volatility s of the share u in (0, 1), with the rest v = 1 - u and a = |ln(F/K)|; NaN without convergence.

    Give v computed from prices, (min(F, K) - time value)/min(F, K): near the cap u no longer carries the answer.
    """
    return std_dev_of_logs(u, math.log(u), math.log(v), a)


@kernel
def std_dev_of_logs(u, log_u, log_v, a):
    """`implied_std_dev` for a u that may be too small for a float: u itself is used at and near the money only.

    Below the inflection s = sqrt(2a) the logarithm of u is solved, above it that of v; near the money, where the series of D
    holds on both sides of it, that of u throughout.
    """
    if a == 0.0 and u < SMALL_SHARE:
        return u * SQRT_2PI
    middle = math.sqrt(2.0 * a)
    near = a < NEAR_A and u * math.exp(-0.5 * a) < domain_edge(a)  # then s < 1.69
    upper = u > INV_SQRT_2PI * (mills(0.0) - mills(middle))  # the share at the inflection, where h = t
    of_rest = upper and not near
    target = log_v if of_rest else log_u
    root = math.sqrt(target * (target - a))
    low, high = (middle, SERIES_S if near else LARGEST_S) if upper else (0.0, middle)
    if of_rest:
        s = 2.0 * math.sqrt(0.5 * a - target + root)
    elif upper:
        s = max(middle, u * SQRT_2PI)
    else:
        s = a / math.sqrt(0.5 * a - target + root)
    s = min(max(s, low), high)
    for _ in range(MAX_ITERATIONS):
        h = a / s
        t = 0.5 * s
        d = upper_d(a, s) if of_rest else lower_d(a, s)
        r = math.log(abs(d) * INV_SQRT_2PI) - 0.5 * (h - t) * (h - t) - target
        if (r > 0.0) == of_rest:
            low = s
        else:
            high = s
        step = householder(r, d, h, t, s)
        following = s + step
        if abs(step) < SMALL_STEP * s:
            return following
        if low < following < high:
            s = following
        else:
            s = 0.5 * (low + high) if high < LARGEST_S else 2.0 * s
    return math.nan
