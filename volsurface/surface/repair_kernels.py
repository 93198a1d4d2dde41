"""Least squares of several SVI slices together under linearised cuts that keep arbitrage out: the compiled part of `repair`.

Sequential quadratic programming: Levenberg-Marquardt on all free slices at once, under rows value + A d >= 0: the bounds of
each slice, wing slopes that do not cross, and one cut at each low point of the butterfly function g and of the gap w2 - w1
of neighbours. The matrix of the inner quadratic program is block diagonal, so dual coordinate ascent solves it: a row
touches one slice or two. What leaves here is nearly free of arbitrage; only the certificate says whether it is.
"""

import math

import numpy as np

from volsurface.pricing.kernel import kernel
from volsurface.surface.cold_start import best_linear
from volsurface.surface.slice_fit import (
    N_ROWS,
    constraint_rows,
    copy,
    cost,
    factorise,
    normal_equations,
    solve,
    variance_gradient,
)

GRID = np.sinh(np.linspace(-7.5, 7.5, 49))  # low points are looked for at k = m + sigma * this
MOST = 6  # low points of one function that become cuts
LOW_G = 0.15  # a minimum of g above this needs no cut
LOW_GAP = 0.25  # nor one of the gap above this share of the later variance at the forward
GAP_MARGIN = 0.1  # margins of gaps and wing slopes, as a share of the margin of g
ROWS_PER_SLICE = N_ROWS + 2 * MOST + 2
SWEEPS = 200
OVERSHOOT = 1.4  # over-relaxation of the coordinate ascent


@kernel
def _butterfly(theta, sigma2, k):
    """g at k; far below zero where w is not positive."""
    x = k - theta[3]
    s = math.sqrt(x * x + sigma2)
    w = theta[0] + theta[1] * x + theta[2] * s
    if w <= 1e-14:
        return -1e3 * (1e-14 - w) - 1.0
    slope = theta[1] + theta[2] * x / s
    z = 1.0 - 0.5 * k * slope / w
    return z * z - 0.25 * slope * slope * (1.0 / w + 0.25) + 0.5 * theta[2] * sigma2 / (s * s * s)


@kernel
def _butterfly_gradient(theta, k, out):
    """Write dg/dtheta at k, by the chain rule through w, w' and w''."""
    sigma2 = math.exp(2.0 * theta[4])
    x = k - theta[3]
    s = math.sqrt(x * x + sigma2)
    s3 = s * s * s
    p, b = theta[1], theta[2]
    w = max(theta[0] + p * x + b * s, 1e-12)
    slope = p + b * x / s
    z = 1.0 - 0.5 * k * slope / w
    by_w = z * k * slope / (w * w) + 0.25 * slope * slope / (w * w)
    by_slope = -z * k / w - 0.5 * slope * (1.0 / w + 0.25)
    out[0] = by_w
    out[1] = by_w * x + by_slope
    out[2] = by_w * s + by_slope * x / s + 0.5 * sigma2 / s3
    out[3] = -by_w * slope - by_slope * b * sigma2 / s3 + 1.5 * b * sigma2 * x / (s3 * s * s)
    out[4] = (
        by_w * b * sigma2 / s
        - by_slope * b * x * sigma2 / s3
        + 0.5 * b * sigma2 * (2.0 / s3 - 3.0 * sigma2 / (s3 * s * s))
    )


@kernel
def _value(one, first2, two, second2, pair, k):
    """w2 - w1 of a pair, or g of `two`; first2 and second2 are sigma squared."""
    if not pair:
        return _butterfly(two, second2, k)
    x, y = k - two[3], k - one[3]
    later = two[0] + two[1] * x + two[2] * math.sqrt(x * x + second2)
    return later - one[0] - one[1] * y - one[2] * math.sqrt(y * y + first2)


@kernel
def _low_points(one, two, pair, limit, grid, values, ks, lows):
    """Write the local minima below `limit` and their places; return how many (at most MOST)."""
    n, sigma1, sigma2 = GRID.size, math.exp(one[4]), math.exp(two[4])
    first2, second2 = sigma1 * sigma1, sigma2 * sigma2
    if pair:  # two ascending grids merged
        i = j = 0
        for at in range(2 * n):
            left = one[3] + sigma1 * GRID[i] if i < n else np.inf
            right = two[3] + sigma2 * GRID[j] if j < n else np.inf
            if left < right:
                grid[at] = left
                i += 1
            else:
                grid[at] = right
                j += 1
        n = 2 * n
    else:
        for i in range(n):
            grid[i] = two[3] + sigma2 * GRID[i]
    for i in range(n):
        values[i] = _value(one, first2, two, second2, pair, grid[i])
    count = 0
    for i in range(n):
        here = values[i]
        if not here < limit or count == MOST:
            continue
        if (i > 0 and values[i - 1] < here) or (i + 1 < n and values[i + 1] <= here):
            continue
        place = grid[i]
        if 0 < i < n - 1:
            low, high = grid[i - 1], grid[i + 1]
            c, d = high - 0.6180339887498949 * (high - low), low + 0.6180339887498949 * (high - low)
            at_c, at_d = _value(one, first2, two, second2, pair, c), _value(one, first2, two, second2, pair, d)
            for _ in range(12):
                if at_c < at_d:
                    high, d, at_d = d, c, at_c
                    c = high - 0.6180339887498949 * (high - low)
                    at_c = _value(one, first2, two, second2, pair, c)
                else:
                    low, c, at_c = c, d, at_d
                    d = low + 0.6180339887498949 * (high - low)
                    at_d = _value(one, first2, two, second2, pair, d)
            if at_c < here:
                place, here = c, at_c
            if at_d < here:
                place, here = d, at_d
        ks[count], lows[count] = place, here
        count += 1
    return count


@kernel
def _rows(thetas, free, low, high, floor, margin, later, earlier, value, A, B, work):
    """Write rows value + A d[later] + B d[earlier] >= 0; earlier is -1 where a row has one slice. Return how many."""
    n, N = 0, thetas.shape[0]
    grid, values, ks, lows = work[0], work[1], work[2], work[3]
    B[:] = 0.0
    for i in range(N):
        if not free[i]:
            continue
        theta = thetas[i]
        constraint_rows(theta, low[i], high[i], floor[i], value[n : n + N_ROWS], A[n : n + N_ROWS])
        later[n : n + N_ROWS] = i
        earlier[n : n + N_ROWS] = -1
        n += N_ROWS
        if value[n - 1] > -0.5e-3:  # where w is negative the gradient of g means nothing
            for q in range(_low_points(theta, theta, False, LOW_G, grid, values, ks, lows)):
                later[n], earlier[n], value[n] = i, -1, lows[q] - margin
                _butterfly_gradient(theta, ks[q], A[n])
                n += 1
    for i in range(N - 1):
        if not (free[i] or free[i + 1]):
            continue
        one, two = thetas[i], thetas[i + 1]
        unit = 1.0 / max(two[2], 1e-6)
        for side in range(2):
            sign = 2.0 * side - 1.0
            later[n], earlier[n] = i + 1, i
            value[n] = ((two[2] + sign * two[1]) - (one[2] + sign * one[1])) * unit - GAP_MARGIN * margin
            A[n] = 0.0
            A[n, 1], A[n, 2], B[n, 1], B[n, 2] = sign * unit, unit, -sign * unit, -unit
            n += 1
        x = two[3]
        atm = max(two[0] - two[1] * x + two[2] * math.sqrt(x * x + math.exp(2.0 * two[4])), 1e-10)
        for q in range(_low_points(one, two, True, LOW_GAP * atm, grid, values, ks, lows)):
            later[n], earlier[n], value[n] = i + 1, i, lows[q] / atm - GAP_MARGIN * margin
            variance_gradient(two, ks[q], A[n])
            variance_gradient(one, ks[q], B[n])
            for u in range(5):
                A[n, u] /= atm
                B[n, u] /= -atm
            n += 1
    return n


@kernel
def _least_step(n, ease, L, free, later, earlier, value, A, B, VA, VB, M, lam, tolerance, d):
    """Change the free step d into the minimiser under the rows; write the multipliers. Dual ascent on the rows that bind.

    ease: what part of a broken row the step has to mend: less than 1 where a whole step has failed.
    """
    lam[:n] = 0.0
    M[:n] = -1.0  # not prepared
    for sweep in range(SWEEPS):
        change = 0.0
        full = sweep % 8 == 0  # between, only rows that push
        for c in range(n):
            if not full and lam[c] == 0.0:
                continue
            i, j = later[c], earlier[c]
            v = value[c] if value[c] >= 0.0 else ease * value[c]
            if free[i]:
                for u in range(5):
                    v += A[c, u] * d[i, u]
            if j >= 0 and free[j]:
                for u in range(5):
                    v += B[c, u] * d[j, u]
            if v >= 0.0 and lam[c] == 0.0:
                continue
            if M[c] < 0.0:
                M[c] = 0.0
                if free[i]:
                    solve(L[i], A[c], VA[c])
                    for u in range(5):
                        M[c] += VA[c, u] * A[c, u]
                if j >= 0 and free[j]:
                    solve(L[j], B[c], VB[c])
                    for u in range(5):
                        M[c] += VB[c, u] * B[c, u]
            if M[c] <= 0.0:
                continue
            step = max(-OVERSHOOT * v / M[c], -lam[c])
            lam[c] += step
            change = max(change, step * step * M[c])
            if free[i]:
                for u in range(5):
                    d[i, u] += VA[c, u] * step
            if j >= 0 and free[j]:
                for u in range(5):
                    d[j, u] += VB[c, u] * step
        if full and change < tolerance:
            return


@kernel
def _broken(value, n):
    total = 0.0
    for c in range(n):
        total -= min(value[c], 0.0)
    return total


@kernel(
    "UniTuple(f8, 2)(i8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1], b1[::1], f8[:,::1], f8[:,::1], f8[::1], f8, i8, f8)"
)
def descend_together(offsets, k, w, weight, thetas, free, low, high, floor, margin, most_steps, tolerance):
    """Descend from thetas (changed in place) on all slices in mask `free`; return (cost, sum of broken rows).

    Quotes offsets[i] : offsets[i + 1] belong to thetas[i] = (a, p, b, m, ln sigma). low, high: bounds of (m, ln sigma).
    floor: least variance. margin: what g must keep above zero. Merit: cost plus an l1 penalty on broken rows.
    """
    N = thetas.shape[0]
    H, G, L, d = np.zeros((N, 5, 5)), np.zeros((N, 5)), np.zeros((N, 5, 5)), np.zeros((N, 5))
    HL, most = np.zeros((5, 5)), ROWS_PER_SLICE * N
    later, earlier = np.zeros(most, np.int64), np.zeros(most, np.int64)
    value, A, B = np.zeros(most), np.zeros((most, 5)), np.zeros((most, 5))
    later2, earlier2, value2, A2, B2 = later.copy(), earlier.copy(), value.copy(), A.copy(), B.copy()
    VA, VB, lam, M = np.zeros((most, 5)), np.zeros((most, 5)), np.zeros(most), np.zeros(most)
    work, trial = np.zeros((4, 2 * GRID.size)), thetas.copy()
    mu, nu, now, quotes, ease = 1e-3, 0.0, 0.0, 0, 1.0
    for i in range(N):
        if free[i]:
            rows = slice(offsets[i], offsets[i + 1])
            now += normal_equations(k[rows], w[rows], weight[rows], thetas[i], np.inf, H[i], G[i])
            quotes += offsets[i + 1] - offsets[i]
    n = _rows(thetas, free, low, high, floor, margin, later, earlier, value, A, B, work)
    broken = _broken(value, n)
    for _ in range(most_steps):
        solved = True
        for i in range(N):
            if free[i]:
                for u in range(5):
                    copy(H[i, u], HL[u])
                    HL[u, u] += (
                        (mu if u > 2 or mu > 1.0 else mu * mu) * H[i, u, u] + 1e-10 * H[i, u, u] + 1e-14 * H[i, 0, 0]
                    )
                solved = solved and factorise(HL, L[i])
                if solved:
                    solve(L[i], G[i], d[i])
                    for u in range(5):
                        d[i, u] = -d[i, u]
        if not solved:
            mu = max(10.0 * mu, 1e-6)
            if mu > 1e8:
                break
            continue
        _least_step(n, ease, L, free, later, earlier, value, A, B, VA, VB, M, lam, 1e-9 * (now + 1e-6), d)
        for c in range(n):
            nu = max(nu, 1.5 * lam[c])
        new = 0.0
        for i in range(N):
            if free[i]:
                for u in range(5):
                    trial[i, u] = thetas[i, u] + d[i, u]
                trial[i, 3] = min(max(trial[i, 3], low[i, 0]), high[i, 0])
                trial[i, 4] = min(
                    max(trial[i, 4], max(low[i, 1], thetas[i, 4] - 1.5)), min(high[i, 1], thetas[i, 4] + 1.5)
                )
                rows = slice(offsets[i], offsets[i + 1])
                new += cost(k[rows], w[rows], weight[rows], trial[i], np.inf)
        n2 = _rows(trial, free, low, high, floor, margin, later2, earlier2, value2, A2, B2, work)
        new_broken = _broken(value2, n2)
        before, after = now + nu * broken, new + nu * new_broken
        if after <= before:
            for i in range(N):
                copy(trial[i], thetas[i])
            n, broken, now = n2, new_broken, new
            later, later2, earlier, earlier2 = later2, later, earlier2, earlier
            value, value2, A, A2, B, B2 = value2, value, A2, A, B2, B
            for i in range(N):
                if free[i]:
                    rows = slice(offsets[i], offsets[i + 1])
                    normal_equations(k[rows], w[rows], weight[rows], thetas[i], np.inf, H[i], G[i])
            mu, ease = max(0.2 * mu, 1e-9), min(2.0 * ease, 1.0)
            worst = 0.0
            for c in range(n):
                worst = min(worst, value[c])
            if before - after < tolerance * (before + 1e-2 * quotes) and -worst < 0.05 * margin:
                break
        else:
            mu, ease = max(6.0 * mu, 1e-6), 0.5 * ease
            if mu > 1e8:
                break
    return now, broken


@kernel("void(i8[::1], f8[::1], f8[::1], f8[::1], f8[::1], b1[::1], f8[:,::1])")
def solve_linear(offsets, k, w, weight, floor, chosen, thetas):
    """Write the best (a, p, b) of the chosen slices for the (m, ln sigma) they have."""
    for i in range(thetas.shape[0]):
        if chosen[i]:
            rows = slice(offsets[i], offsets[i + 1])
            best_linear(k[rows], w[rows], weight[rows], thetas[i, 3], math.exp(thetas[i, 4]), floor[i], thetas[i, :3])
