"""A first SVI slice from quotes alone: a grid over (m, sigma), for each node the exact best (a, p = b rho, b).

For fixed (m, sigma), w = a + p x + b s with x = k - m, s = sqrt(x^2 + sigma^2) is linear (the quasi-explicit idea of De Marco
and Martini 2009). The admissible set |p| <= STEEPEST b, b + |p| <= LEE, a + sigma sqrt(b^2 - p^2) >= floor (the least
variance) is a second-order cone with a cap: convex, so the inner least squares has one minimum. Bounding a itself from below
instead loses good fits.
"""

import math

import numpy as np

from volsurface.pricing.kernel import kernel

LEE = 1.999  # cap on b (1 + |rho|): the theorem says 2, the rest is margin
STEEPEST = 0.999  # cap on |rho|: nearer to 1 the float certificate has no answer
GOLDEN = 0.6180339887498949


@kernel
def _fixed_rho(rho, S0, mx, ms, mw, xx, xs, ss, xw, sw, ww, sigma, floor, out):
    """Best w = lift + b psi, lift >= floor, 0 <= b <= LEE / (1 + |rho|), psi = rho x + s - sigma sqrt(1 - rho^2) >= 0.

    A box-constrained least squares in two variables: inside, on one of the two sides of b or on lift = floor. Moments are
    weighted and centred; mx, ms, mw are means, S0 the sum of weights. Writes (a, p, b), returns the cost.
    """
    rise = sigma * math.sqrt(max(0.0, 1.0 - rho * rho))
    mpsi = rho * mx + ms - rise
    var, cov = rho * rho * xx + 2.0 * rho * xs + ss, rho * xw + sw
    cap = LEE / (1.0 + abs(rho))
    best = 1e300
    for case in range(4):
        if case == 0:
            b = cov / var if var > 0.0 else 0.0
            lift = mw - b * mpsi
        elif case == 1:
            full = var + S0 * mpsi * mpsi
            b = (cov + S0 * mpsi * (mw - floor)) / full if full > 0.0 else 0.0
            b, lift = min(max(b, 0.0), cap), floor
        elif case == 2:
            b, lift = 0.0, max(mw, floor)
        else:
            b = cap
            lift = max(mw - b * mpsi, floor)
        if lift < floor or b < 0.0 or b > cap:
            continue
        off = mw - lift - b * mpsi
        cost = ww - 2.0 * b * cov + b * b * var + S0 * off * off
        if cost < best:
            best = cost
            out[0], out[1], out[2] = lift - b * rise, b * rho, b
    return best


@kernel
def best_linear(k, w, weight, m, sigma, floor, out):
    """Write the exact least-squares (a, p, b) on the cone for fixed (m, sigma); return its cost (sum of squares)."""
    S0 = Sx = Ss = Sw = 0.0
    for i in range(k.size):
        q, x = weight[i] * weight[i], k[i] - m
        S0 += q
        Sx += q * x
        Ss += q * math.sqrt(x * x + sigma * sigma)
        Sw += q * w[i]
    mx, ms, mw = Sx / S0, Ss / S0, Sw / S0
    xx = xs = ss = xw = sw = ww = 0.0
    for i in range(k.size):  # centred, or the differences below lose their digits
        q, x = weight[i] * weight[i], k[i] - m
        s, x, y = math.sqrt(x * x + sigma * sigma) - ms, x - mx, w[i] - mw
        xx += q * x * x
        xs += q * x * s
        ss += q * s * s
        xw += q * x * y
        sw += q * s * y
        ww += q * y * y
    det = xx * ss - xs * xs
    if det > 1e-12 * xx * ss:
        p, b = (xw * ss - sw * xs) / det, (sw * xx - xw * xs) / det
        a = mw - p * mx - b * ms
        if abs(p) <= STEEPEST * b and b + abs(p) <= LEE and a + sigma * math.sqrt(b * b - p * p) >= floor:
            out[0], out[1], out[2] = a, p, b
            return ww - p * xw - b * sw
    # The least cost for given rho is quasi-convex in rho: a scan avoids its plateaus, golden section finishes.
    best, at = 1e300, 0
    for j in range(17):
        cost = _fixed_rho(STEEPEST * (j / 8.0 - 1.0), S0, mx, ms, mw, xx, xs, ss, xw, sw, ww, sigma, floor, out)
        if cost < best:
            best, at = cost, j
    low, high = STEEPEST * max(-1.0, (at - 9) / 8.0), STEEPEST * min(1.0, (at - 7) / 8.0)
    for _ in range(24):
        c, d = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        cost_c = _fixed_rho(c, S0, mx, ms, mw, xx, xs, ss, xw, sw, ww, sigma, floor, out)
        cost_d = _fixed_rho(d, S0, mx, ms, mw, xx, xs, ss, xw, sw, ww, sigma, floor, out)
        if cost_c < cost_d:
            high = d
        else:
            low = c
    return _fixed_rho(0.5 * (low + high), S0, mx, ms, mw, xx, xs, ss, xw, sw, ww, sigma, floor, out)


@kernel
def cold_start(k, w, weight, floor, theta):
    """Write the best theta = (a, p, b, m, ln sigma) of a grid of 9 m over the quoted range +-10 % and 6 sigma."""
    least_k, most_k = k[0], k[0]
    for i in range(k.size):
        least_k, most_k = min(least_k, k[i]), max(most_k, k[i])
    reach = max(most_k - least_k, 1e-6)
    linear, best = np.empty(3), np.inf
    for i in range(9):
        m = least_k + reach * (-0.1 + 0.15 * i)
        for j in range(6):
            sigma = reach * 0.02 * 2.3**j
            cost = best_linear(k, w, weight, m, sigma, floor, linear)
            if cost < best:
                best = cost
                theta[0], theta[1], theta[2], theta[3], theta[4] = linear[0], linear[1], linear[2], m, math.log(sigma)
    return best
