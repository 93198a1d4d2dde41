"""Float certificates on the whole line: butterflies of one SVI slice by a degree-10 polynomial, calendar of a pair by a quartic.

Put k = m + sigma (t - 1/t) / 2 with t > 0, a bijection onto the line that turns the square root of SVI into
s = sigma (t + 1/t) / 2. With

    Q = (b sigma / 2) ((1 + rho) t^2 + 1 - rho) + a t       w  = Q / t
    K = m t + (sigma / 2) (t^2 - 1)                         k  = K / t
    N = b ((1 + rho) t^2 - (1 - rho)),  D = t^2 + 1         w' = N / D,  w'' = 8 b t^3 / (sigma D^3)
    P = 4 D (2 D Q - K N)^2 - 4 t N^2 Q D - N^2 Q^2 D + (64 b / sigma) t^3 Q^2  =  16 D^3 Q^2 g

P has, where w > 0, the sign of the butterfly function g. For a pair, with t of the later slice 2, U = t (w2 - a1 -
b1 rho1 (k - m1)) and V = t^2 ((k - m1)^2 + sigma1^2) give w2 >= w1 iff U >= b1 sqrt(V), that is F = U^2 - b1^2 V >= 0
and U > 0 at one point. A polynomial is positive where all its Bernstein coefficients are.

Rounding. Every coefficient is also computed as a majorant: the same products of absolute values, all signs plus. A sum of
products in which each term passes n roundings is off by at most n u of its majorant, u = 2^-53. The counts stand beside
the code; the worst total is 437 u, and the bound used is 2^-43 = 1024 u. What lies within it is undecided.
"""

from math import comb

import numpy as np

from volsurface.pricing.kernel import kernel

OK, VIOLATED, UNDECIDED = 1, 0, -1
ROUNDING = 2.0**-43
SMALLEST = 1e-290  # below, products may have lost digits to underflow, which the counts do not cover
DEPTH = 40  # halvings of [0, 1]: 40 x 10 levels of averages, each off by u of the largest coefficient
LEE = 2.0  # b (1 + |rho|) of a slice whose d+ reaches -inf stays below this


def _to_bernstein(degree: int) -> np.ndarray:
    """Return M with B_j = sum_i M[j, i] p_i, the Bernstein coefficients on [0, 1]."""
    return np.array(
        [[comb(j, i) / comb(degree, i) if i <= j else 0.0 for i in range(degree + 1)] for j in range(degree + 1)]
    )


BERNSTEIN_10, BERNSTEIN_4 = _to_bernstein(10), _to_bernstein(4)


@kernel
def multiply(one, two, out):
    """Write the product of two polynomials; adds 1 rounding for the product and (terms - 1) for the sum."""
    out[:] = 0.0
    for i in range(one.size):
        for j in range(two.size):
            out[i + j] += one[i] * two[j]


@kernel
def butterfly_polynomial(Q, K, N, sign, c, P):
    """Write P for sign = -1, its majorant for sign = +1 (then Q, K, N are absolute values). Roundings: Q 3, K 0, N 2."""
    D = np.array([1.0, 0.0, 1.0])
    DQ, KN, Z2, Z2D = np.empty(5), np.empty(5), np.empty(9), np.empty(11)
    multiply(D, Q, DQ)  # 3 + 3 = 6
    multiply(K, N, KN)  # 2 + 3 = 5
    Z = 2.0 * DQ + sign * KN  # 6 + 1 = 7
    multiply(Z, Z, Z2)  # 7 + 7 + 5 = 19
    multiply(Z2, D, Z2D)  # 19 + 3 = 22
    N2, N2Q, N2QD, N2Q2D, Q2 = np.empty(5), np.empty(7), np.empty(9), np.empty(11), np.empty(5)
    multiply(N, N, N2)  # 2 + 2 + 3 = 7
    multiply(N2, Q, N2Q)  # 7 + 3 + 3 = 13
    multiply(N2Q, D, N2QD)  # 13 + 3 = 16
    multiply(N2QD, Q, N2Q2D)  # 16 + 3 + 3 = 22
    multiply(Q, Q, Q2)  # 3 + 3 + 3 = 9
    for i in range(11):
        P[i] = 4.0 * Z2D[i] + sign * N2Q2D[i]  # 22 + 1 = 23
    for i in range(9):
        P[i + 1] += sign * 4.0 * N2QD[i]  # 24
    for i in range(5):
        P[i + 3] += c * Q2[i]  # c 1, product 11; sum 25


@kernel(inline=True)
def _least(B):
    """The smallest of B. (Numba's min() has cases for nan and costs a quarter of a second of compilation.)"""
    least = B[0]
    for j in range(1, B.size):
        least = min(least, B[j])
    return least


@kernel
def positive_on_unit(B, eps):
    """Is the polynomial with Bernstein coefficients B above eps on [0, 1]? Returns the answer and a point where it is not."""
    if _least(B) > eps:
        return OK, 0.0
    degree = B.size - 1
    stack, depth, left = np.empty((64, degree + 1)), np.zeros(64, np.int64), np.zeros(64)
    for j in range(degree + 1):
        stack[0, j] = B[j]
    top, steps, at = 1, 0, 0.0
    while top > 0:
        steps += 1
        top -= 1
        width = 0.5 ** depth[top]
        if _least(stack[top]) > eps:
            continue
        if stack[top, 0] < -eps:
            return VIOLATED, left[top]
        if stack[top, degree] < -eps:
            return VIOLATED, left[top] + width
        at = left[top]
        if depth[top] >= DEPTH or top >= 62 or steps > 2000:
            return UNDECIDED, at
        for j in range(degree + 1):
            stack[top + 1, j] = stack[top, j]
        for r in range(1, degree + 1):  # de Casteljau at the middle: averages, so errors are not amplified
            stack[top, r - 1] = stack[top + 1, 0]
            for i in range(degree - r + 1):
                stack[top + 1, i] = 0.5 * (stack[top + 1, i] + stack[top + 1, i + 1])
        stack[top, degree] = stack[top + 1, 0]
        depth[top] += 1
        depth[top + 1] = depth[top]
        left[top + 1] = left[top] + 0.5 * width
        top += 2
    return OK, at


@kernel
def positive_on_half_line(P, majorant, to_bernstein, centre):
    """Is P > 0 for all t > 0? Split at the power of two `centre` (an exact scaling), both pieces mapped to [0, 1].

    Returns the answer and a t where P is not positive. P and majorant are overwritten.
    """
    degree, scale = P.size - 1, 1.0
    for i in range(degree + 1):
        P[i] *= scale
        majorant[i] *= scale
        scale *= centre
    B = np.empty(degree + 1)
    answer, place = OK, centre
    for side in range(2):
        bound = bounds = 0.0
        for j in range(degree + 1):
            total, total_bound = 0.0, 0.0
            for i in range(j + 1):
                q = i if side == 0 else degree - i
                total += to_bernstein[j, i] * P[q]  # entry 1, product 1, sum 10: 25 + 12 = 37 of P's majorant
                total_bound += to_bernstein[j, i] * majorant[q]
            B[j] = total
            bound = max(bound, total_bound)
            bounds += total_bound
        eps = ROUNDING * bound  # covers 37 u and, after DEPTH halvings of degree 10, 400 u more
        if not (eps > SMALLEST and bounds < 1e300):  # a sum, which a nan cannot leave as it leaves a maximum
            return UNDECIDED, centre
        found, x = positive_on_unit(B, eps)
        if found != OK:
            answer = found
            place = centre * x if side == 0 else (centre / x if x > 0.0 else np.inf)
            if found == VIOLATED:
                return answer, place
    return answer, place


@kernel
def vertex_scale(rho):
    """Return the power of two nearest to t at the bottom of the smile, sqrt((1 - rho) / (1 + rho)).

    Split there, near-one |rho| does not push all that matters into a corner of [0, 1].
    """
    if abs(rho) >= 1.0:
        return 1.0
    return 2.0 ** round(0.5 * np.log2((1.0 - rho) / (1.0 + rho)))


@kernel
def butterfly_answer(p):
    """Answer for one slice p = (a, b, rho, m, sigma), and a t where it fails (nan: not a matter of t)."""
    a, b, rho, m, sigma = p[0], p[1], p[2], p[3], p[4]
    if not (np.isfinite(a + b + rho + m + sigma) and b >= 0.0 and sigma > 0.0 and abs(rho) <= 1.0):
        return VIOLATED, np.nan
    if b == 0.0:
        return (OK if a > 0.0 else VIOLATED), np.nan
    rise = b * sigma * np.sqrt((1.0 - rho) * (1.0 + rho))
    slack = 1e-14 * (abs(a) + rise)
    wings = b * (1.0 + abs(rho))
    if a + rise < -slack or wings > LEE * (1.0 + 1e-14):
        return VIOLATED, np.nan
    if a + rise <= slack or wings >= LEE * (1.0 - 1e-14):
        return UNDECIDED, np.nan
    Q = np.array([0.5 * b * sigma * (1.0 - rho), a, 0.5 * b * sigma * (1.0 + rho)])
    K = np.array([-0.5 * sigma, m, 0.5 * sigma])
    N = np.array([-b * (1.0 - rho), 0.0, b * (1.0 + rho)])
    P, majorant = np.empty(11), np.empty(11)
    butterfly_polynomial(Q, K, N, -1.0, 64.0 * b / sigma, P)
    butterfly_polynomial(np.abs(Q), np.abs(K), np.abs(N), 1.0, 64.0 * b / sigma, majorant)
    return positive_on_half_line(P, majorant, BERNSTEIN_10, vertex_scale(rho))


@kernel
def calendar_answer(one, two):
    """Answer for w2 >= w1 of the earlier slice `one` and the later `two`, and a t of slice two where it fails."""
    a1, b1, r1, m1, s1 = one[0], one[1], one[2], one[3], one[4]
    a2, b2, r2, m2, s2 = two[0], two[1], two[2], two[3], two[4]
    if not np.isfinite(a1 + b1 + r1 + m1 + s1 + a2 + b2 + r2 + m2 + s2):
        return VIOLATED, np.nan
    if b1 == 0.0:  # F = U^2 would say nothing about the sign of U; the least of w2 against a constant does
        rise = b2 * s2 * np.sqrt(max((1.0 - r2) * (1.0 + r2), 0.0))
        gap, slack = a2 + rise - a1, 1e-14 * (abs(a2) + abs(rise) + abs(a1))
        bottom = np.sqrt((1.0 - r2) / (1.0 + r2)) if abs(r2) < 1.0 else 1.0
        return (UNDECIDED if abs(gap) <= slack else OK if gap > 0.0 else VIOLATED), bottom
    # Roundings: outer coefficients 4, middle 4.
    U = np.array(
        [
            0.5 * s2 * (b2 * (1.0 - r2) + b1 * r1),
            a2 - a1 + b1 * r1 * (m1 - m2),
            0.5 * s2 * (b2 * (1.0 + r2) - b1 * r1),
        ]
    )
    UA = np.array(
        [
            0.5 * s2 * (b2 * (1.0 - r2) + abs(b1 * r1)),
            abs(a2) + abs(a1) + abs(b1 * r1) * (abs(m1) + abs(m2)),
            0.5 * s2 * (b2 * (1.0 + r2) + abs(b1 * r1)),
        ]
    )
    at_one = U[0] + U[1] + U[2]
    if abs(at_one) <= 1e-14 * (UA[0] + UA[1] + UA[2]):
        return UNDECIDED, 1.0
    if at_one < 0.0:
        return VIOLATED, 1.0
    X = np.array([-0.5 * s2, m2 - m1, 0.5 * s2])  # 1
    XA = np.array([0.5 * s2, abs(m2) + abs(m1), 0.5 * s2])
    F, V, FA, VA = np.empty(5), np.empty(5), np.empty(5), np.empty(5)
    multiply(U, U, F)  # 4 + 4 + 3 = 11
    multiply(X, X, V)  # 1 + 1 + 3 = 5
    multiply(UA, UA, FA)
    multiply(XA, XA, VA)
    V[2] += s1 * s1  # 6
    VA[2] += s1 * s1
    for i in range(5):
        F[i] -= b1 * b1 * V[i]
        FA[i] += b1 * b1 * VA[i]
    # b1^2 V 8, difference 12; with the conversion 18, and 160 after the halvings of a quartic
    return positive_on_half_line(F, FA, BERNSTEIN_4, vertex_scale(r2))


@kernel("void(f8[:,::1], i8[:,::1], f8[:,::1])")
def answers(parameters, answer, where):
    """Answer for every slice and pair of a surface; parameters: rows (a, b, rho, m, sigma), nearest expiry first.

    Writes, per slice, answer[0] and where[0] (a t where it fails), and, per pair with the slice before, answer[1] and
    where[1]; shape (2, n_slices). The first slice has no pair.
    """
    for i in range(parameters.shape[0]):
        answer[0, i], where[0, i] = butterfly_answer(parameters[i])
        if i:
            answer[1, i], where[1, i] = calendar_answer(parameters[i - 1], parameters[i])
        else:
            answer[1, i], where[1, i] = OK, np.nan
