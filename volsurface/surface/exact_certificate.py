"""The certificate in exact arithmetic: no rounding, no tolerance, touching zero allowed.

Every float64 is a rational number, so the polynomials of `certificate_kernels` have rational coefficients. Sturm's
theorem counts their roots on t > 0; Yun's square-free factors tell the roots where the sign changes (odd multiplicity)
from those where it only touches zero. Polynomials are lists of integers, lowest degree first, scaled by positive factors:
only signs matter, and integers are several times faster than fractions. Source: any text on computer algebra, for
example von zur Gathen and Gerhard, "Modern Computer Algebra".
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

Polynomial = list[int]
Interval = tuple[float, float]
_ROOT_BITS = 60  # relative bits to which the ends of a violated interval are found


def butterfly_free(parameters: Sequence[float]) -> bool:
    """Return whether raw SVI (a, b, rho, m, sigma) has w > 0, g >= 0 everywhere and wings that let d+ reach -inf."""
    if not all(map(math.isfinite, parameters)):
        return False
    a, b, rho, _, sigma = map(Fraction, parameters)
    if b < 0 or sigma <= 0 or abs(rho) > 1 or b * (1 + abs(rho)) >= 2:
        return False
    # min w = a + b sigma sqrt(1 - rho^2) > 0, without the root
    if not (a > 0 or b * b * sigma * sigma * (1 - rho * rho) > a * a):
        return False
    return b == 0 or never_negative(_butterfly_polynomial(parameters))


def calendar_free(one: Sequence[float], two: Sequence[float]) -> bool:
    """Return whether w of the later slice `two` is nowhere below w of the earlier slice `one` (equal is allowed)."""
    if not all(map(math.isfinite, (*one, *two))):
        return False
    U, F = _calendar_polynomials(one, two)
    if one[1] == 0:  # F = U^2 says nothing about the sign of U
        return never_negative(U)
    return sum(U) > 0 and never_negative(F)


def butterfly_violation(parameters: Sequence[float]) -> Interval | None:
    """Return the widest interval of k on which g < 0, for parameters whose w is positive; None when there is none."""
    return _widest(negative_intervals(_butterfly_polynomial(parameters)), parameters)


def calendar_violation(one: Sequence[float], two: Sequence[float]) -> Interval | None:
    """Return the widest interval of k on which the later slice `two` is below `one`; None when there is none."""
    U, F = _calendar_polynomials(one, two)
    # w2 < w1 iff U < 0 or F < 0; where U < 0, F = U^2 - b1^2 V may have any sign, so both are looked at
    return _widest(negative_intervals(F) + negative_intervals(U), two)


def never_negative(p: Polynomial) -> bool:
    """Return whether p(t) >= 0 for every t > 0."""
    p = _strip(p)
    return not p or (p[-1] > 0 and _count(_sturm_chain(odd_part(p)), None, None) == 0)


def negative_intervals(p: Polynomial) -> list[tuple[Fraction, Fraction | None]]:
    """Return the intervals of t > 0 on which p < 0; an end of None is infinity, ends are good to 60 bits."""
    p = _strip(p)
    if not p:
        return []
    odd = odd_part(p)
    ends: list[Fraction] = [Fraction(0), *_roots(odd)]
    found: list[tuple[Fraction, Fraction | None]] = []
    for low, high in pairwise(ends):
        if _sign_at(p, (low + high) / 2) < 0:
            found.append((low, high))
    if p[-1] < 0:
        found.append((ends[-1], None))
    return found


def odd_part(p: Polynomial) -> Polynomial:
    """Return the product of the square-free factors of odd multiplicity (Yun): p changes sign at its roots only."""
    out, step = [1], 1
    repeated = _gcd(p, _derivative(p))
    rest = _quotient(p, repeated)
    while len(rest) > 1:
        common = _gcd(rest, repeated) if len(repeated) > 1 else [1]
        if step % 2:
            out = _times(out, _quotient(rest, common))
        rest, step = common, step + 1
        repeated = _quotient(repeated, common) if len(repeated) > 1 else repeated
    return _primitive(out)


def _butterfly_polynomial(parameters: Sequence[float]) -> Polynomial:
    a, b, rho, m, sigma = map(Fraction, parameters)
    zero, one = Fraction(0), Fraction(1)
    Q = [b * sigma * (1 - rho) / 2, a, b * sigma * (1 + rho) / 2]
    K = [-sigma / 2, m, sigma / 2]
    N = [-b * (1 - rho), zero, b * (1 + rho)]
    D = [one, zero, one]
    Z = [2 * x - y for x, y in zip(_times(D, Q), _times(K, N), strict=True)]
    P = [4 * x for x in _times(_times(Z, Z), D)]
    N2QD = _times(_times(_times(N, N), Q), D)
    for i, x in enumerate(N2QD):
        P[i + 1] -= 4 * x
    for i, x in enumerate(_times(N2QD, Q)):
        P[i] -= x
    for i, x in enumerate(_times(Q, Q)):
        P[i + 3] += 64 * b / sigma * x
    return _integers(P)


def _calendar_polynomials(one: Sequence[float], two: Sequence[float]) -> tuple[Polynomial, Polynomial]:
    a1, b1, r1, m1, s1 = map(Fraction, one)
    a2, b2, r2, m2, s2 = map(Fraction, two)
    U = [s2 / 2 * (b2 * (1 - r2) + b1 * r1), a2 - a1 + b1 * r1 * (m1 - m2), s2 / 2 * (b2 * (1 + r2) - b1 * r1)]
    X = [-s2 / 2, m2 - m1, s2 / 2]
    V = _times(X, X)
    V[2] += s1 * s1
    return _integers(U), _integers([x - b1 * b1 * y for x, y in zip(_times(U, U), V, strict=True)])


def _integers(p: Sequence[Fraction]) -> Polynomial:
    scale = math.lcm(*(x.denominator for x in p))
    return _primitive([int(x * scale) for x in p])


def _times(one: Sequence, two: Sequence) -> list:
    out = [0] * (len(one) + len(two) - 1)
    for i, x in enumerate(one):
        for j, y in enumerate(two):
            out[i + j] += x * y
    return out


def _primitive(p: Polynomial) -> Polynomial:
    """Without trailing zeros, divided by the (positive) greatest common divisor of the coefficients."""
    end = len(p)
    while end and p[end - 1] == 0:
        end -= 1
    content = math.gcd(*p[:end]) if end else 1
    return [x // content for x in p[:end]]


def _strip(p: Polynomial) -> Polynomial:
    """Also without the factor t^n, which has no sign on t > 0."""
    p = _primitive(p)
    start = next((i for i, x in enumerate(p) if x != 0), len(p))
    return p[start:]


def _derivative(p: Polynomial) -> Polynomial:
    return _primitive([i * x for i, x in enumerate(p)][1:])


def _remainder(one: Polynomial, two: Polynomial) -> Polynomial:
    """A positive multiple of the remainder of one / two."""
    out, lead = list(one), two[-1]
    while len(out) >= len(two):
        factor, shift = (out[-1] if lead > 0 else -out[-1]), len(out) - len(two)
        out = [abs(lead) * x for x in out]
        for i, x in enumerate(two):
            out[i + shift] -= factor * x
        out.pop()
        while out and out[-1] == 0:
            out.pop()
    return _primitive(out)


def _quotient(one: Polynomial, two: Polynomial) -> Polynomial:
    """one / two for a primitive divisor `two`; by Gauss's lemma the quotient has integer coefficients."""
    rest, out = list(one), [0] * (len(one) - len(two) + 1)
    for shift in range(len(out) - 1, -1, -1):
        out[shift], left = divmod(rest[shift + len(two) - 1], two[-1])
        assert left == 0, "not a divisor"
        for i, x in enumerate(two):
            rest[i + shift] -= out[shift] * x
    return out


def _gcd(one: Polynomial, two: Polynomial) -> Polynomial:
    while two:
        one, two = two, _remainder(one, two)
    return [-x for x in one] if one[-1] < 0 else one


def _sturm_chain(p: Polynomial) -> list[Polynomial]:
    chain = [p, _derivative(p)]
    while len(chain[-1]) > 1:
        chain.append([-x for x in _remainder(chain[-2], chain[-1])])
    return [q for q in chain if q]


def _sign_at(p: Polynomial, t: Fraction) -> int:
    total, power = 0, 1
    for x in reversed(p):  # Horner on numerators; the denominators multiply up to a positive number
        total = total * t.numerator + x * power
        power *= t.denominator
    return (total > 0) - (total < 0)


def _changes(chain: list[Polynomial], t: Fraction | None) -> int:
    """Sign changes of the chain at t; None is infinity."""
    signs = [s for q in chain if (s := (q[-1] > 0) - (q[-1] < 0) if t is None else _sign_at(q, t))]
    return sum(x != y for x, y in pairwise(signs))


def _count(chain: list[Polynomial], low: Fraction | None, high: Fraction | None) -> int:
    """Distinct roots in (low, high]; a low of None is 0, a high of None is infinity."""
    return _changes(chain, Fraction(0) if low is None else low) - _changes(chain, high)


def _roots(p: Polynomial) -> list[Fraction]:
    """The roots on t > 0 of a square-free p with p(0) != 0, in order, each to 60 relative bits."""
    chain = _sturm_chain(p)
    bound = 1 + max(abs(x) for x in p) // abs(p[-1])
    pieces, out = [(Fraction(0), Fraction(1 << bound.bit_length()))], []
    while pieces:
        low, high = pieces.pop()
        count = _count(chain, low, high)
        if count == 0:
            continue
        if count == 1 and low > 0 and (high - low) * (1 << _ROOT_BITS) <= low:
            out.append(high)
            continue
        middle = (low + high) / 2
        pieces += [(low, middle), (middle, high)]
    return sorted(out)


def _widest(intervals: list[tuple[Fraction, Fraction | None]], parameters: Sequence[float]) -> Interval | None:
    """The widest of the t-intervals, as k of the slice with these parameters."""
    m, sigma = parameters[3], parameters[4]

    def k(t: Fraction | None) -> float:
        if t is None:
            return math.inf
        return -math.inf if t == 0 else float(Fraction(m) + Fraction(sigma) * (t - 1 / t) / 2)

    found = [(k(low), k(high)) for low, high in intervals]
    return max(found, key=lambda ends: ends[1] - ends[0], default=None)
