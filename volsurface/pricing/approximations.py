"""Rational and polynomial approximations of the pricing kernels, written by `scripts/generate_pricing.py`: do not edit.

Symbols: F forward, K strike, a = |ln(F/K)|, s total volatility, h = a/s, t = s/2; b time value and delta = |F-K|, both over
sqrt(FK). Y(z) = N(-z)/phi(z) is the Mills ratio. The measured errors stand in `scripts/pricing_coefficients.json`.
"""

import math

from volsurface.pricing.instructions import bits, fma, unbits
from volsurface.pricing.kernel import kernel

SEED_SPLIT = 0.046752  # b/delta of the border between the two seeds: strike 1.2 standard deviations away
LN2 = 0.6931471805599453


@kernel
def log_positive(y):
    """ln(y) for a normal, positive y: 2 atanh of (m-1)/(m+1), m the mantissa in [sqrt(1/2), sqrt(2)]."""
    k = (bits(y) - 4604544271217802189) >> 52
    m = unbits(bits(y) - (k << 52))
    f = (m - 1.0) / (m + 1.0)
    z = f * f
    z2 = z * z
    z4 = z2 * z2
    z8 = z4 * z4
    return fma(
        float(k),
        LN2,
        f
        * (
            fma(
                fma(0.09523809523809523, z2, fma(0.10526315789473684, z, 0.11764705882352941)),
                z8,
                fma(
                    fma(
                        fma(0.13333333333333333, z, 0.15384615384615385),
                        z2,
                        fma(0.18181818181818182, z, 0.2222222222222222),
                    ),
                    z4,
                    fma(fma(0.2857142857142857, z, 0.4), z2, fma(0.6666666666666666, z, 2.0)),
                ),
            )
        ),
    )


@kernel
def log_ratio(forward, strike):
    """ln(F/K) with full relative accuracy near F = K, where the logarithm of the rounded ratio has none."""
    k = (bits(forward / strike) - 4604544271217802189) >> 52
    scaled = strike * unbits((k + 1023) << 52)
    f = (forward - scaled) / (forward + scaled)
    z = f * f
    z2 = z * z
    z4 = z2 * z2
    z8 = z4 * z4
    return fma(
        float(k),
        LN2,
        f
        * (
            fma(
                fma(0.09523809523809523, z2, fma(0.10526315789473684, z, 0.11764705882352941)),
                z8,
                fma(
                    fma(
                        fma(0.13333333333333333, z, 0.15384615384615385),
                        z2,
                        fma(0.18181818181818182, z, 0.2222222222222222),
                    ),
                    z4,
                    fma(fma(0.2857142857142857, z, 0.4), z2, fma(0.6666666666666666, z, 2.0)),
                ),
            )
        ),
    )


@kernel
def mills(z):
    """Y(z) = N(-z)/phi(z) for z >= -0.9."""
    y = z + 0.9
    y2 = y * y
    y4 = y2 * y2
    y8 = y4 * y4
    numerator = fma(
        fma(
            fma(7.686079786545208e-07, y, 2.122538737162311e-05),
            y2,
            fma(0.00030024950147466143, y, 0.002805549819785335),
        ),
        y8,
        fma(
            fma(fma(0.01901434338189593, y, 0.09752516820661078), y2, fma(0.38532387811014496, y, 1.1738865720812743)),
            y4,
            fma(fma(2.7152169907102683, y, 4.585704794796463), y2, fma(5.179374990018543, y, 3.066460372995891)),
        ),
    )
    return numerator / (
        fma(
            fma(
                7.686079786545208e-07,
                y4,
                fma(
                    fma(2.0533640190834018e-05, y, 0.0002819152608188687),
                    y2,
                    fma(0.0025572424030076125, y, 0.016807786251035493),
                ),
            ),
            y8,
            fma(
                fma(
                    fma(0.08345918513249673, y, 0.3186348447761687), y2, fma(0.9370357602800483, y, 2.0970456593358344)
                ),
                y4,
                fma(fma(3.4701603828965735, y, 4.017980405359515), y2, fma(2.915149142130074, y, 1.0)),
            ),
        )
    )


@kernel
def mills_one(h):
    """M1(h) = 1 - h Y(h) for h >= 0."""
    h2 = h * h
    h4 = h2 * h2
    h8 = h4 * h4
    numerator = fma(
        fma(2.5233056562602826e-07, h2, fma(7.650162748275785e-06, h, 0.00011691202846910742)),
        h8,
        fma(
            fma(
                fma(0.0011630679819434524, h, 0.008259764043428713),
                h2,
                fma(0.043538754488563085, h, 0.17226046682383386),
            ),
            h4,
            fma(fma(0.5059703400096301, h, 1.061405080426719), h2, fma(1.4505979191045961, h, 1.0)),
        ),
    )
    return numerator / (
        fma(
            fma(
                2.5233056562602826e-07,
                h4,
                fma(
                    fma(7.6501627482758e-06, h, 0.00011766902016597646),
                    h2,
                    fma(0.0011860184701903097, h, 0.008608986145205071),
                ),
            ),
            h8,
            fma(
                fma(
                    fma(0.04698205747468852, h, 0.19634888387774282), h2, fma(0.6299295286980457, h, 1.5334330889159538)
                ),
                h4,
                fma(fma(2.7529703338484666, h, 3.4502562867959807), h2, fma(2.7039120564200925, h, 1.0)),
            ),
        )
    )


@kernel
def domain_edge(a):
    """b(a, s = 1.69): the largest time value of the fast domain, for a < 1.7."""
    a2 = a * a
    a4 = a2 * a2
    return fma(
        fma(3.87356506744173e-05, a2, fma(-9.861525570462794e-05, a, 0.0006594316390964169)),
        a4,
        fma(fma(-0.020684373178698014, a, 0.15778071577949296), a2, fma(-0.4999938516838954, a, 0.6018890274766633)),
    )


@kernel
def seed_std_dev(a, b, delta):
    """Total volatility to 6.4e-6 in the fast domain: Bachelier's inverted by a rational, then turned into Black's.

    Two regimes, near the money in w = delta/(b+delta) and far in y = sqrt(-ln(b/delta)); the division is shared.
    """
    delta_or_tiny = delta if delta > 1e-300 else 1e-300
    a_over_delta = a / delta_or_tiny if delta > 1e-300 else 1.0
    near = b > SEED_SPLIT * delta
    w = delta / (delta + b)
    log_b = log_positive(b / delta_or_tiny)
    y = math.sqrt(-log_b if log_b < -0.5 else 0.5)
    w2 = w * w
    w4 = w2 * w2
    y2 = y * y
    y4 = y2 * y2
    near_top = fma(
        fma(-0.32076170768577095, w, 2.783875678698237),
        w4,
        fma(fma(-8.773111748175962, w, 12.977489336499147), w2, fma(-9.174074506421476, w, 2.5066282112174756)),
    )
    near_bottom = fma(
        fma(-0.010015925875988579, w, 0.3664878843250643),
        w4,
        fma(fma(-1.8733505548431826, w, 3.676911172449774), w2, fma(-3.159928168699455, w, 1.0)),
    )
    far_top = fma(
        fma(0.011543764839466937, y, 0.06188444467629525),
        y4,
        fma(fma(-0.13267172775284433, y, 0.5780387142994409), y2, fma(-0.6098791677022761, y, 1.0)),
    )
    far_bottom = fma(
        fma(0.016329678326280822, y2, fma(0.086841506134127, y, -0.28728231114335345)),
        y4,
        fma(fma(0.8175506999467993, y, -0.9097864007852784), y2, fma(0.7634028100884968, y, -0.01736386440349496)),
    )
    v = ((b + delta) * near_top if near else delta * far_top) / (near_bottom if near else far_bottom)
    q = v * v
    q2 = q * q
    q4 = q2 * q2
    u = a * a
    u2 = u * u
    c0 = fma(
        0.00010678343037079595,
        q4,
        fma(fma(0.0002551042710751291, q, 0.0037677005164202114), q2, fma(0.041629041958889466, q, 1.0000021632702893)),
    )
    c1 = fma(
        -3.178335490979796e-05,
        q4,
        fma(
            fma(-0.00010024437154405077, q, -0.0006469349247780055),
            q2,
            fma(-0.0038341804624171315, q, 1.7062042138849146e-06),
        ),
    )
    c2 = fma(
        1.8235232605842617e-07,
        q4,
        fma(
            fma(3.852874875734267e-05, q, 2.81024331604305e-05),
            q2,
            fma(0.00022297585523529956, q, -1.4435482648982388e-06),
        ),
    )
    c3 = fma(
        9.340946387285921e-07,
        q4,
        fma(
            fma(-7.189499594195053e-06, q, 4.950541588462336e-06),
            q2,
            fma(-1.1175712008528846e-05, q, 3.035038817752541e-07),
        ),
    )
    return v * a_over_delta * fma(fma(c3, u, c2), u2, fma(c1, u, c0))


@kernel
def mills_difference(a, s):
    """D = Y(h-t) - Y(h+t) for a < 1.7 and s < 1.7, without cancellation: the odd Taylor terms of Y about h, all positive.

    D = 2t (m0 + m1 + ...), m0 = 1 - h Y(h); the recurrence follows from Y' = zY - 1. 13 terms, right to the last bits.
    """
    h = a / s
    t = 0.5 * s
    t2 = t * t
    t4 = t2 * t2
    quarter = 0.25 * a * a
    increment = 4.0 * t2
    factor = fma(3.0, t2, quarter)
    previous = mills_one(h)
    term = fma(factor, previous, -t2) * 0.16666666666666666
    first = previous
    total = term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.05
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.023809523809523808
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.013888888888888888
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.00909090909090909
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.00641025641025641
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.004761904761904762
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.003676470588235294
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.0029239766081871343
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.002380952380952381
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.001976284584980237
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.0016666666666666668
    previous = term
    term = following
    total = total + term
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * 0.0014245014245014246
    previous = term
    term = following
    total = total + term
    return 2.0 * t * (first + total)
