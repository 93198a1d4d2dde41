"""Least squares of one SVI slice: variable projection under bounds, from a cold or a warm start, robust where needed.

A slice is theta = (a, p, b, m, ln sigma), p = b rho, so that w = a + p x + b s is linear in the first three. The residual of
a quote is weight (w(k) - w_quoted). Gauss-Newton steps of all five, damped in (m, ln sigma), lead to a new (m, ln sigma),
for which (a, p, b) are solved exactly (Golub and Pereyra 1973; Ruhe and Wedin 1980). Moving all five alone
follows the curved valley in which sigma, a and b trade off: on half of the recorded slices it stopped over 1 % above the
least after 100 steps, in some after 400.

Constraints are linearised rows value + A d >= 0 of a quadratic program solved by dual coordinate ascent, the form that a
joint fit of several slices under no-arbitrage cuts needs as well.
"""

import math

import numpy as np

from volsurface.pricing.kernel import kernel
from volsurface.surface.cold_start import LEE, STEEPEST, best_linear, cold_start
from volsurface.surface.outliers import near_neighbours

N_ROWS = 9
HUBER = 0.5  # half-spreads at which the first stage's loss turns from square to linear
SUSPICIOUS = 2.0  # a plain fit within this many half-spreads everywhere has nothing to reject
POOR = 1.0  # mean squared residual above which a warm fit is compared with a cold one
SCREENING = 1e-4  # where a fit only has to tell what is far off, it may stop early
CONCENTRATIONS = 6
# Starts from few quotes each, when the best fit still drops more than about one quote in twelve: of draws of SUBSET quotes among
# 15 with three outliers 18 % have none, of STARTS such draws 99.7 % have one without.
STARTS, SUBSET, POORLY_TRIMMED = 30, 6, 3.0
MAX_STEPS = 100
FLOOR = 1e-3  # least variance allowed, in units of the smallest quoted one


@kernel(inline=True)
def copy(values, out):
    """Write out = values, shape (n,). As `out[:] = values` Numba compiles the sentence about unequal shapes, for seconds."""
    for i in range(values.size):
        out[i] = values[i]


@kernel
def variance(theta, k):
    """w(k) of theta."""
    x = k - theta[3]
    return theta[0] + theta[1] * x + theta[2] * math.sqrt(x * x + math.exp(2.0 * theta[4]))


@kernel
def variance_gradient(theta, k, out):
    """Write dw/dtheta at k."""
    sigma2 = math.exp(2.0 * theta[4])
    x = k - theta[3]
    s = math.sqrt(x * x + sigma2)
    out[0], out[1], out[2] = 1.0, x, s
    out[3] = -theta[1] - theta[2] * x / s
    out[4] = theta[2] * sigma2 / s


@kernel
def _loss(r, huber):
    """Half the square of r, linear beyond `huber`."""
    size = abs(r)
    return 0.5 * r * r if size <= huber else huber * (size - 0.5 * huber)


@kernel
def cost(k, w, weight, theta, huber):
    """Sum of losses."""
    total, sigma2 = 0.0, math.exp(2.0 * theta[4])
    for i in range(k.size):
        x = k[i] - theta[3]
        total += _loss(weight[i] * (theta[0] + theta[1] * x + theta[2] * math.sqrt(x * x + sigma2) - w[i]), huber)
    return total


@kernel
def normal_equations(k, w, weight, theta, huber, H, G):
    """Write the Gauss-Newton matrix (lower half) and the gradient of the cost; return the cost.

    Beyond `huber` a residual counts with weight huber / |r|: the matrix of the iteratively reweighted problem.
    """
    total, sigma2 = 0.0, math.exp(2.0 * theta[4])
    H[:] = 0.0
    G[:] = 0.0
    J = np.empty(5)
    for i in range(k.size):
        x, q = k[i] - theta[3], weight[i]
        s = math.sqrt(x * x + sigma2)
        r = q * (theta[0] + theta[1] * x + theta[2] * s - w[i])
        total += _loss(r, huber)
        damp = 1.0 if abs(r) <= huber else huber / abs(r)
        J[0], J[1], J[2] = q, q * x, q * s
        J[3], J[4] = -q * (theta[1] + theta[2] * x / s), q * theta[2] * sigma2 / s
        for u in range(5):
            G[u] += damp * J[u] * r
            for v in range(u + 1):
                H[u, v] += damp * J[u] * J[v]
    return total


@kernel
def factorise(H, L):
    """Write the Cholesky factor of H (lower half given); False when H is not positive definite."""
    for i in range(5):
        for j in range(i + 1):
            total = H[i, j]
            for q in range(j):
                total -= L[i, q] * L[j, q]
            if i == j:
                if not total > 1e-300:
                    return False
                L[i, i] = math.sqrt(total)
            else:
                L[i, j] = total / L[j, j]
    return True


@kernel
def solve(L, right, out):
    """Write the solution of L L^T out = right."""
    for i in range(5):
        total = right[i]
        for q in range(i):
            total -= L[i, q] * out[q]
        out[i] = total / L[i, i]
    for i in range(4, -1, -1):
        total = out[i]
        for q in range(i + 1, 5):
            total -= L[q, i] * out[q]
        out[i] = total / L[i, i]


@kernel
def constraint_rows(theta, low, high, floor, value, A):
    """Write value + A d >= 0: |rho|, Lee's wings, the box of (m, ln sigma), the least variance (scaled by 1000 floors)."""
    p, b = theta[1], theta[2]
    A[:] = 0.0
    for i in range(2):
        sign = -1.0 if i == 0 else 1.0
        value[2 * i] = STEEPEST * b + sign * p
        A[2 * i, 1], A[2 * i, 2] = sign, STEEPEST
        value[2 * i + 1], A[2 * i + 1, 1], A[2 * i + 1, 2] = LEE - b + sign * p, sign, -1.0
        value[4 + 2 * i], A[4 + 2 * i, 3 + i] = theta[3 + i] - low[i], 1.0
        value[5 + 2 * i], A[5 + 2 * i, 3 + i] = high[i] - theta[3 + i], -1.0
    root, sigma = math.sqrt(max(b * b - p * p, 1e-16)), math.exp(theta[4])
    unit = 1.0 / (1e3 * floor)
    value[8] = (theta[0] + sigma * root - floor) * unit
    A[8, 0], A[8, 1], A[8, 2] = unit, -sigma * p / root * unit, sigma * b / root * unit
    A[8, 4] = sigma * root * unit


@kernel
def _broken(value):
    """By how much the constraints are violated, in sum."""
    total = 0.0
    for c in range(value.size):
        total -= min(value[c], 0.0)
    return total


@kernel
def constrained_step(L, value, A, tolerance, d, lam):
    """Change the free step d into the minimiser under value + A d >= 0, by dual coordinate ascent; write the multipliers."""
    lam[:] = 0.0
    worst = 0.0
    for c in range(value.size):
        v = value[c]
        for u in range(5):
            v += A[c, u] * d[u]
        worst = min(worst, v)
    if worst >= 0.0:
        return
    V, M = np.empty((value.size, 5)), np.zeros(value.size)
    for c in range(value.size):
        solve(L, A[c], V[c])
        for u in range(5):
            M[c] += V[c, u] * A[c, u]
    for _ in range(300):
        change = 0.0
        for c in range(value.size):
            if M[c] <= 0.0:
                continue
            v = value[c]
            for u in range(5):
                v += A[c, u] * d[u]
            step = max(-v / M[c], -lam[c])
            if step != 0.0:
                lam[c] += step
                change = max(change, step * step * M[c])
                for u in range(5):
                    d[u] += V[c, u] * step
        if change < tolerance:
            return


@kernel
def descend(k, w, weight, theta, low, high, floor, huber, tolerance):
    """Descend from theta (changed in place) with an l1 penalty on the constraints; return the cost.

    With a finite `huber`, a loss for which the exact inner solve does not hold, it is plain Levenberg-Marquardt in all five.
    Stops when an accepted step lowers the cost by less than `tolerance` of it.
    """
    H, G, HL, L = np.zeros((5, 5)), np.zeros(5), np.zeros((5, 5)), np.zeros((5, 5))
    d, lam, trial = np.zeros(5), np.zeros(N_ROWS), np.zeros(5)
    value, A, new_value, new_A = np.zeros(N_ROWS), np.zeros((N_ROWS, 5)), np.zeros(N_ROWS), np.zeros((N_ROWS, 5))
    mu, nu = 1e-3, 0.0
    now = normal_equations(k, w, weight, theta, huber, H, G)
    constraint_rows(theta, low, high, floor, value, A)
    broken = _broken(value)
    for _ in range(MAX_STEPS):
        for u in range(5):
            copy(H[u], HL[u])
            HL[u, u] += (mu if u > 2 or huber < np.inf else 0.0) * H[u, u] + 1e-12 * H[u, u]
        if not factorise(HL, L):
            mu = max(10.0 * mu, 1e-6)
            if mu > 1e12:
                break
            continue
        solve(L, G, d)
        for u in range(5):
            d[u] = -d[u]
        constrained_step(L, value, A, 1e-14 * (now + 1e-6), d, lam)
        for c in range(N_ROWS):
            nu = max(nu, 1.5 * lam[c])
        for u in range(5):
            trial[u] = theta[u] + d[u]
        trial[3] = min(max(trial[3], low[0]), high[0])
        trial[4] = min(max(trial[4], max(low[1], theta[4] - 1.5)), min(high[1], theta[4] + 1.5))
        if huber == np.inf:
            best_linear(k, w, weight, trial[3], math.exp(trial[4]), floor, trial[:3])
        new = cost(k, w, weight, trial, huber)
        constraint_rows(trial, low, high, floor, new_value, new_A)
        new_broken = _broken(new_value)
        before, after = now + nu * broken, new + nu * new_broken
        if after <= before:
            copy(trial, theta)
            value, new_value, A, new_A = new_value, value, new_A, A
            broken = new_broken
            now = normal_equations(k, w, weight, theta, huber, H, G)
            mu = max(0.2 * mu, 1e-9)
            if before - after < tolerance * (before + 1e-2 * k.size) and broken < 1e-4:
                break
        else:
            mu = max(6.0 * mu, 1e-6)
            if mu > 1e8:
                break
    return now


@kernel
def _screen(k, w, spreads, theta, outlier, used):
    """Mark the quotes within `outlier` half-spreads; return (truncated sum of squares, mask changed, farthest)."""
    total, farthest, changed = 0.0, 0.0, False
    for i in range(k.size):
        off = abs(spreads[i] * (variance(theta, k[i]) - w[i]))
        farthest = max(farthest, off)
        total += min(off, outlier) ** 2
        changed = changed or used[i] != (off <= outlier)
        used[i] = off <= outlier
    return total, changed, farthest


@kernel
def _masked(weight, used, out):
    """Write the weights of the used quotes, zero for the others: cheaper to compile than picking rows."""
    for i in range(weight.size):
        out[i] = weight[i] if used[i] else 0.0


@kernel
def _count(used):
    total = 0
    for i in range(used.size):
        total += used[i]
    return total


@kernel
def _draw(state, kept):
    """Write a mask of SUBSET quotes; returns the next state of the generator (Numerical Recipes' LCG): always the same draws."""
    kept[:] = False
    drawn = 0
    while drawn < SUBSET:
        state = (1664525 * state + 1013904223) % 4294967296
        at = (state * kept.size) // 4294967296
        if not kept[at]:
            kept[at] = True
            drawn += 1
    return state


@kernel
def fit_slice(k, w, weight, spreads, theta, warm, robust, outlier, min_quotes, tolerance, used):
    """Fit theta (start in, result out) to the quotes of one expiry and mark the used ones; return the cost.

    k, w: log-moneyness (ascending) and quoted total variance. weight: of the residuals. spreads: 1 / (half-spread in w), in
    which outliers are measured. warm: theta is a start; otherwise a cold one is made. robust: when a quote lies more than
    SUSPICIOUS half-spreads off the plain fit, three fits compete: the plain one, a Huber fit, and one without the quotes
    that disagree with their neighbours; a warm fit also begins from its start, and a cold one that still drops many quotes
    from draws of a few. Each drops what lies beyond `outlier` until that changes nothing; the least truncated sum of squares
    wins.
    """
    least_k, most_k, least_w = k[0], k[0], w[0]
    for i in range(k.size):
        least_k, most_k, least_w = min(least_k, k[i]), max(most_k, k[i]), min(least_w, w[i])
    reach = max(most_k - least_k, 1e-6)
    low = np.array([least_k - 0.5 * reach, math.log(0.005 * reach)])
    high = np.array([most_k + 0.5 * reach, math.log(4.0 * reach)])
    floor = FLOOR * least_w
    used[:] = True
    least, before = np.inf, theta.copy()
    if warm:
        theta[3] = min(max(theta[3], low[0]), high[0])
        theta[4] = min(max(theta[4], low[1]), high[1])
        least = descend(k, w, weight, theta, low, high, floor, np.inf, tolerance)
    guess, mask, active = np.empty(5), np.ones(k.size, np.bool_), np.empty(k.size)
    if not least <= 0.5 * POOR * k.size:
        cold_start(k, w, weight, floor, guess)
        cold = descend(k, w, weight, guess, low, high, floor, np.inf, tolerance)
        if not least <= cold:
            copy(guess, theta)
            least = cold
    if not robust or _screen(k, w, spreads, theta, np.inf, used)[2] <= SUSPICIOUS:
        return least
    best, plain = np.inf, theta.copy()
    state = 1
    for attempt in range(4 if warm else 3 + STARTS):
        if attempt > 2 and (k.size <= SUBSET or best <= POORLY_TRIMMED * k.size):
            break
        fitted = attempt == 0 or (warm and attempt == 3)  # a fit already: quotes are judged by it as it is
        copy(before if attempt == 3 else plain, guess)
        mask[:] = True
        huber = HUBER if attempt == 1 else np.inf
        if attempt == 2:
            near_neighbours(k, w, spreads, outlier, mask)
        elif attempt > 2 and not warm:
            state = _draw(state, mask)
        if attempt > 1 and not fitted:
            _masked(weight, mask, active)
            cold_start(k, w, active, floor, guess)
        # Fit what is used, use what lies near the fit, until both agree.
        for step in range(CONCENTRATIONS):
            if step > 0 or not fitted:
                _masked(weight, mask, active)
                descend(k, w, active, guess, low, high, floor, huber if step == 0 else np.inf, SCREENING)
            total, changed, _ = _screen(k, w, spreads, guess, outlier, mask)
            if _count(mask) < min_quotes:
                total = np.inf
                break
            if not changed and step > 0:
                break
        if total < best:
            best = total
            copy(guess, theta)
            copy(mask, used)
    if _count(used) == k.size:
        copy(plain, theta)
        return least
    _masked(weight, used, active)
    return descend(k, w, active, theta, low, high, floor, np.inf, tolerance)


@kernel("f8[::1](i8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[:,::1], b1[::1], b1, f8, i8, f8, b1[::1])")
def fit_slices(offsets, k, w, weight, spreads, thetas, warm, robust, outlier, min_quotes, tolerance, used):
    """Fit every slice: quotes offsets[i] : offsets[i + 1] belong to thetas[i]. Return the costs, shape (n_slices,)."""
    costs = np.empty(thetas.shape[0])
    for i in range(thetas.shape[0]):
        rows = slice(offsets[i], offsets[i + 1])
        costs[i] = fit_slice(
            k[rows],
            w[rows],
            weight[rows],
            spreads[rows],
            thetas[i],
            warm[i],
            robust,
            outlier,
            min_quotes,
            tolerance,
            used[rows],
        )
    return costs
