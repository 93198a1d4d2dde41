"""Write `volsurface/pricing/approximations.py` from the fitted coefficients: `python scripts/generate_pricing.py`.

The coefficients (`scripts/pricing_coefficients.json`) are fitted by `scripts/fit_coefficients.py`; the module is checked in
because Numba can only cache kernels that live in a file. Polynomials are written in Estrin's form with fused multiply-adds:
short dependency chains, one rounding per step.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent
COEFFICIENTS = SCRIPTS / "pricing_coefficients.json"
TARGET = SCRIPTS.parent / "volsurface" / "pricing" / "approximations.py"


def estrin(variable: str, coefficients: list[float]) -> str:
    """Return the nested fma expression of ascending coefficients; variable2, variable4, variable8 hold its powers."""
    level, powers = [repr(float(c)) for c in coefficients], [variable + power for power in ("", "2", "4", "8")]
    while len(level) > 1:
        power = powers.pop(0)
        paired = [f"fma({level[j + 1]}, {power}, {level[j]})" for j in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def powers(variable: str, count: int) -> str:
    """Return the statements that define the powers `estrin` needs for `count` coefficients."""
    names = [variable, f"{variable}2", f"{variable}4", f"{variable}8"]
    needed = max(count - 1, 1).bit_length()  # 2 coefficients need x, 3-4 x2, 5-8 x4, 9-16 x8
    return "\n".join(f"    {names[k]} = {names[k - 1]} * {names[k - 1]}" for k in range(1, needed))


def polynomial(name: str, variable: str, text: str, coefficients: list[float]) -> str:
    """Return the source of a kernel that evaluates one polynomial."""
    return f'''

@kernel(inline=True)
def {name}({variable}):
    """{text}"""
{powers(variable, len(coefficients))}
    return {estrin(variable, coefficients)}
'''


def rational(name: str, argument: str, text: str, entry: dict, shift: float = 0.0) -> str:
    """Return the source of a kernel that evaluates numerator / denominator at argument + shift."""
    numerator, denominator = entry["numerator"], entry["denominator"]
    variable, first = (argument, "") if not shift else ("y", f"    y = {argument} + {shift!r}\n")
    return f'''

@kernel(inline=True)
def {name}({argument}):
    """{text}"""
{first}{powers(variable, max(len(numerator), len(denominator)))}
    numerator = {estrin(variable, numerator)}
    return numerator / ({estrin(variable, denominator)})
'''


def module(coefficients: dict) -> str:
    """Return the text of the module, before formatting."""
    c = coefficients
    log, edge = c["log_atanh"]["coefficients"], c["domain_edge"]["coefficients"]
    near, far, to_black = c["seed_near"], c["seed_far"], c["seed_bachelier_to_black"]["coefficients"]
    parts = [
        f'''"""Rational and polynomial approximations of the pricing kernels, written by `scripts/generate_pricing.py`: do not edit.

Symbols: F forward, K strike, a = |ln(F/K)|, s total volatility, h = a/s, t = s/2; b time value and delta = |F-K|, both over
sqrt(FK). Y(z) = N(-z)/phi(z) is the Mills ratio. The measured errors stand in `scripts/pricing_coefficients.json`.
"""

from volsurface.pricing.instructions import bits, fma, unbits
from volsurface.pricing.kernel import kernel

SEED_SPLIT = {near["split_b_over_delta"]!r}  # b/delta of the border between the two seeds: strike 1.2 standard deviations away
LN2 = {math.log(2)!r}
NO_DISTANCE = 1e-30  # below 2^-53, the smallest delta that two different floats F and K can have


@kernel(inline=True)
def log_ratio(x, y):
    """ln(x/y) for normal, positive x and y, with full relative accuracy near x = y, where ln of the rounded ratio has none.

    2 atanh((x-y')/(x+y')) + k ln 2 with y' = 2^k y; k from the difference of the bits puts x/y' within [2^-0.59, 2^0.59]."""
    k = (bits(x) - bits(y) + {1 << 51}) >> 52
    scaled = y * unbits((k + 1023) << 52)
    f = (x - scaled) / (x + scaled)
    z = f * f
{powers("z", len(log))}
    return fma(float(k), LN2, f * ({estrin("z", log)}))
''',
        rational("mills", "z", "Y(z) = N(-z)/phi(z) for z >= -0.9.", c["mills_y"], 0.9),
        rational("mills_one", "h", "M1(h) = 1 - h Y(h) for h >= 0.", c["mills_m1"]),
        polynomial("domain_edge", "a", "b(a, s = 1.69): the largest time value of the fast domain, for a < 1.7.", edge),
        f'''

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
{powers("w", len(near["numerator"]))}
{powers("y", len(far["numerator"]))}
    near_top = {estrin("w", near["numerator"])}
    near_bottom = {estrin("w", near["denominator"])}
    far_top = {estrin("y", far["denominator"])}
    far_bottom = {estrin("y", far["numerator"])}
    v = ((b + delta) * near_top if near else delta * far_top) / (near_bottom if near else far_bottom)
    q = v * v
{powers("q", len(to_black[0]))}
    u = a * a
    u2 = u * u
    c0 = {estrin("q", to_black[0])}
    c1 = {estrin("q", to_black[1])}
    c2 = {estrin("q", to_black[2])}
    c3 = {estrin("q", to_black[3])}
    return v * a_over_delta * fma(fma(c3, u, c2), u2, fma(c1, u, c0))
''',
        d_series(13),
    ]
    return "".join(parts).replace('"""\n\nfrom volsurface', '"""\n\nimport math\n\nfrom volsurface', 1)


def d_series(terms: int) -> str:
    """Return the source of the series of D = Y(h-t) - Y(h+t) in positive terms."""
    steps = "".join(
        f"""
    factor = factor + increment
    following = fma(factor, term, -t4 * previous) * {1 / ((2 * k + 2) * (2 * k + 3))!r}
    previous = term
    term = following
    total = total + term"""
        for k in range(1, terms)
    )
    return f'''

@kernel(inline=True)
def mills_difference(a, s):
    """D = Y(h-t) - Y(h+t) for a < 1.7 and s < 1.7, without cancellation: the odd Taylor terms of Y about h, all positive.

    D = 2t (m0 + m1 + ...), m0 = 1 - h Y(h); the recurrence follows from Y' = zY - 1. {terms} terms, right to the last bits.
    """
    h = a / s
    t = 0.5 * s
    t2 = t * t
    t4 = t2 * t2
    quarter = 0.25 * a * a
    increment = 4.0 * t2
    factor = fma(3.0, t2, quarter)
    previous = mills_one(h)
    term = fma(factor, previous, -t2) * {1 / 6!r}
    first = previous
    total = term{steps}
    return 2.0 * t * (first + total)
'''


def formatted(text: str) -> str:
    """Return the text as `ruff format` leaves it."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Write the module."""
    TARGET.write_text(formatted(module(json.loads(COEFFICIENTS.read_text()))))
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
