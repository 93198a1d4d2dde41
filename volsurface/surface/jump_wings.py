"""SVI's jump-wings parameters: the same smile in a trader's words, for display (the fit and the store use raw ones).

Source: Gatheral and Jacquier, arXiv:1204.0646, section 3.3. The way back is written in angles: with rho = sin A and
beta = m / sqrt(m^2 + sigma^2) = sin B, v - vt = b r (1 - cos(A - B)) / T, r = sqrt(m^2 + sigma^2). It is the paper's formula
without its special case m = 0 and without its cancellation near it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class JumpWings(NamedTuple):
    """v: ATM variance per year. psi: d(vol)/dk at the money times sqrt(T). p, c: slopes of the put and the call wing, as
    dw/d|k| over the ATM root of w. vt: the least variance per year.
    """

    v: float
    psi: float
    p: float
    c: float
    vt: float


def to_jump_wings(parameters: Sequence[float], years: float) -> JumpWings:
    """Return the jump-wings of raw SVI (a, b, rho, m, sigma) at `years`; ValueError where w(0) is not positive."""
    a, b, rho, m, sigma = parameters
    r = math.hypot(m, sigma)
    w = a + b * (r - rho * m)
    if not w > 0.0 or not years > 0.0:
        raise ValueError(f"jump-wings need a positive ATM variance and time, found w = {w!r}, years = {years!r}")
    root = math.sqrt(w)
    least = a + b * sigma * math.sqrt((1.0 - rho) * (1.0 + rho))
    return JumpWings(
        v=w / years,
        psi=0.5 * b * (rho - (m / r if r > 0.0 else 0.0)) / root,
        p=b * (1.0 - rho) / root,
        c=b * (1.0 + rho) / root,
        vt=least / years,
    )


def from_jump_wings(wings: JumpWings, years: float) -> tuple[float, float, float, float, float]:
    """Return raw SVI (a, b, rho, m, sigma) of jump-wings at `years`.

    p = c = 0 is a flat smile: b = 0, m = 0, and any sigma gives the same smile (1 is returned). psi = 0 puts the least
    variance at the money, v = vt, and leaves sigma undetermined: the five numbers then do not fix the smile's curvature, a
    ValueError. So are numbers that no raw SVI has: v or years not positive, p or c negative, vt above v, |beta| above 1.
    """
    v, psi, p, c, vt = wings
    if not (v > 0.0 and years > 0.0 and p >= 0.0 and c >= 0.0 and vt <= v):
        raise ValueError(f"no SVI smile has these jump-wings: {wings}, years = {years!r}")
    w = v * years
    root = math.sqrt(w)
    if p + c == 0.0:
        if psi != 0.0 or vt != v:
            raise ValueError(f"a smile without wings is flat, found {wings}")
        return w, 0.0, 0.0, 0.0, 1.0
    b = 0.5 * root * (p + c)
    rho = (c - p) / (c + p)
    cos_a = 2.0 * math.sqrt(c * p) / (c + p)
    gap = 4.0 * psi / (c + p)  # rho - beta
    beta = rho - gap
    if abs(beta) > 1.0 + 1e-12:
        raise ValueError(f"psi does not lie between -p/2 and c/2: {wings}")
    beta = min(max(beta, -1.0), 1.0)
    cos_b = math.sqrt((1.0 - beta) * (1.0 + beta))
    cosine = rho * beta + cos_a * cos_b
    if cosine < 0.5:
        opening = 1.0 - cosine
    else:  # 1 - cos = sin^2 / (1 + cos), with sin(A - B) from rho - beta: no cancellation
        both = cos_a + cos_b
        sine = gap * (cos_b + (beta * (rho + beta) / both if both > 0.0 else 0.0))
        opening = sine * sine / (1.0 + cosine)
    if opening == 0.0:
        raise ValueError(f"psi = 0 leaves sigma undetermined: {wings}")
    r = (v - vt) * years / (b * opening)
    sigma = r * cos_b
    return vt * years - b * sigma * cos_a, b, rho, r * beta, sigma
