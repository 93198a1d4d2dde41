"""Rational and polynomial approximations of the pricing kernels, written by `scripts/generate_pricing.py`: do not edit.

Symbols: F forward, K strike, a = |ln(F/K)|, s total volatility, h = a/s, t = s/2; b time value and delta = |F-K|, both over
sqrt(FK). Y(z) = N(-z)/phi(z) is the Mills ratio. The measured errors stand in `scripts/pricing_coefficients.json`.
"""

import math

from volsurface.pricing.instructions import bits, fma, unbits
from volsurface.pricing.kernel import kernel

SEED_SPLIT = 0.046752  # b/delta of the border between the two seeds: strike 1.2 standard deviations away
LN2 = 0.6931471805599453
NO_DISTANCE = 1e-30  # below 2^-53, the smallest delta that two different floats F and K can have


@kernel(inline=True)
def log_ratio(x, y):
    """ln(x/y) for normal, positive x and y, with full relative accuracy near x = y, where ln of the rounded ratio has none.

    2 atanh((x-y')/(x+y')) + k ln 2 with y' = 2^k y; k from the difference of the bits puts x/y' within [2^-0.59, 2^0.59]."""
    k = (bits(x) - bits(y) + 2251799813685248) >> 52
    scaled = y * unbits((k + 1023) << 52)
    f = (x - scaled) / (x + scaled)
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
                0.1361228324114453,
                z8,
                fma(
                    fma(
                        fma(0.13209284257177348, z, 0.1538888938432987),
                        z2,
                        fma(0.18181737085579538, z, 0.22222223055248197),
                    ),
                    z4,
                    fma(fma(0.28571428567234475, z, 0.40000000000008035), z2, fma(0.6666666666666666, z, 2.0)),
                ),
            )
        ),
    )


@kernel(inline=True)
def mills(z):
    """Y(z) = N(-z)/phi(z) for z >= -0.9."""
    y = z + 0.9
    y2 = y * y
    y4 = y2 * y2
    y8 = y4 * y4
    numerator = fma(
        fma(
            fma(7.686079786545244e-07, y, 2.1225387371623193e-05),
            y2,
            fma(0.0003002495014746624, y, 0.002805549819785343),
        ),
        y8,
        fma(
            fma(fma(0.019014343381895976, y, 0.09752516820661097), y2, fma(0.3853238781101456, y, 1.173886572081276)),
            y4,
            fma(fma(2.715216990710271, y, 4.585704794796467), y2, fma(5.1793749900185455, y, 3.066460372995891)),
        ),
    )
    return numerator / (
        fma(
            fma(
                7.686079786545244e-07,
                y4,
                fma(
                    fma(2.0533640190834096e-05, y, 0.00028191526081886964),
                    y2,
                    fma(0.0025572424030076194, y, 0.016807786251035534),
                ),
            ),
            y8,
            fma(
                fma(fma(0.0834591851324969, y, 0.3186348447761692), y2, fma(0.9370357602800496, y, 2.0970456593358366)),
                y4,
                fma(fma(3.470160382896576, y, 4.017980405359517), y2, fma(2.915149142130075, y, 1.0)),
            ),
        )
    )


@kernel(inline=True)
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


@kernel(inline=True)
def domain_edge(a):
    """b(a, s = 1.69): the largest time value of the fast domain, for a < 1.7."""
    a2 = a * a
    a4 = a2 * a2
    return fma(
        fma(3.873565067480378e-05, a2, fma(-9.861525570747931e-05, a, 0.0006594316391031751)),
        a4,
        fma(fma(-0.02068437317870525, a, 0.15778071577949546), a2, fma(-0.49999385168389726, a, 0.6018890274766661)),
    )


@kernel(inline=True)
def seed_std_dev(a, b, delta):
    """Total volatility to 6.4e-6 in the fast domain: Bachelier's inverted by a rational, then turned into Black's.

    Two regimes, near the money in w = delta/(b+delta) and far in y = sqrt(-ln(b/delta)); they share the division.
    """
    distance = max(delta, NO_DISTANCE)
    inverse = 1.0 / (distance * (delta + b))
    w = delta * distance * inverse
    a_over_delta = a * (delta + b) * inverse if delta > NO_DISTANCE else 1.0
    near = b > SEED_SPLIT * delta
    log_b = log_ratio(b, distance)
    y = math.sqrt(-log_b if log_b < -0.5 else 0.5)
    w2 = w * w
    w4 = w2 * w2
    y2 = y * y
    y4 = y2 * y2
    near_top = fma(
        fma(-0.3207325859324337, w, 2.7836946116368697),
        w4,
        fma(fma(-8.772719973186469, w, 12.977130879829003), w2, fma(-9.173955863667453, w, 2.506628210424081)),
    )
    near_bottom = fma(
        fma(-0.010014584110192182, w, 0.3664582052590919),
        w4,
        fma(fma(-1.8732501964341832, w, 3.6767918583373516), w2, fma(-3.1598808423219014, w, 1.0)),
    )
    far_top = fma(
        fma(0.023980964219160072, y, 0.24831665082727566),
        y4,
        fma(fma(-0.17253411450452333, y, 0.484870082946938), y2, fma(0.19627030389137648, y, 1.0)),
    )
    far_bottom = fma(
        fma(0.033920425065954385, y2, fma(0.35005439645059455, y, -0.46717164270184186)),
        y4,
        fma(fma(-0.12621088380790743, y, 1.9674920246019167), y2, fma(-1.7478155361988743, y, 0.9223040523234314)),
    )
    v = ((b + delta) * near_top if near else delta * far_top) / (near_bottom if near else far_bottom)
    q = v * v
    q2 = q * q
    q4 = q2 * q2
    u = a * a
    u2 = u * u
    c0 = fma(
        0.0001064034339101673,
        q4,
        fma(fma(0.0002565778914261591, q, 0.0037659890141862385), q2, fma(0.04162956959881245, q, 1.0000021778142287)),
    )
    c1 = fma(
        -3.150333927980776e-05,
        q4,
        fma(
            fma(-0.00010046878916711522, q, -0.0006488809208893564),
            q2,
            fma(-0.003831424319466347, q, 1.2234087002418963e-06),
        ),
    )
    c2 = fma(
        1.440597910115677e-07,
        q4,
        fma(
            fma(3.785450092840689e-05, q, 3.111516911308541e-05),
            q2,
            fma(0.00021980615096740694, q, -9.67843379500061e-07),
        ),
    )
    c3 = fma(
        9.355448044243153e-07,
        q4,
        fma(
            fma(-7.011378755871628e-06, q, 4.215665341505102e-06),
            q2,
            fma(-1.0408343277213805e-05, q, 1.9965534816027633e-07),
        ),
    )
    return v * a_over_delta * fma(fma(c3, u, c2), u2, fma(c1, u, c0))


@kernel(inline=True)
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
