"""Paths that look like bounded random walks and are functions of time alone.

A path is a sum of cosines, one or two per octave of period, with random phases. Its spectrum falls as 1/frequency^2,
which is that of Brownian motion, down to the longest period, below which it returns to its mean. Against a stepped
process this has three virtues: any instant can be asked for at once, in any order; two processes with the same seed see
the same market; and no step is ever missed when the machine is busy.
"""

import math
from dataclasses import dataclass

import numpy as np

SHORTEST_S = 0.5  # periods below this would not be seen between two evaluations of the market
COMPONENTS_PER_OCTAVE = 1.5
SECONDS_PER_YEAR = 365.0 * 86400.0
ORIGIN_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00Z: phases are counted from here, to keep them small


@dataclass(frozen=True, slots=True)
class Factor:
    """One walk: its standard deviation over a year if nothing pulled it back, its bound, its longest period in days."""

    per_sqrt_year: float
    bound: float
    longest_days: float


class Walks:
    """Several independent walks, evaluated together.

    Over h seconds, much shorter than its longest period, walk i moves by a normal-looking amount of variance
    `per_sqrt_year[i]^2 h / (365 days)`: with one component per factor r of frequency and squared amplitude
    2 s^2 ln r / (pi omega), the sum of A^2 (1 - cos(omega h)) approximates (2 s^2/pi) int (1 - cos(omega h))/omega^2
    d omega = s^2 h. Values are passed through bound tanh(x / bound), so |value| < bound always.
    """

    def __init__(self, factors: list[Factor], generator: np.random.Generator) -> None:
        ratio = 2.0 ** (1.0 / COMPONENTS_PER_OCTAVE)
        longest = max(factor.longest_days for factor in factors) * 86400.0
        count = math.ceil(math.log(longest / SHORTEST_S) / math.log(ratio)) + 1
        jitter = generator.uniform(-0.5, 0.5, (len(factors), count))
        periods = SHORTEST_S * ratio ** (np.arange(count) + jitter)
        self._omega = 2.0 * math.pi / periods
        self._phase = generator.uniform(0.0, 2.0 * math.pi, (len(factors), count))
        variance_rate = np.array([factor.per_sqrt_year**2 for factor in factors]) / SECONDS_PER_YEAR
        amplitude = np.sqrt(2.0 * variance_rate[:, None] * math.log(ratio) / (math.pi * self._omega))
        allowed = periods <= np.array([factor.longest_days * 86400.0 for factor in factors])[:, None]
        self._amplitude = np.where(allowed, amplitude, 0.0)
        self._bound = np.array([factor.bound for factor in factors])

    def at(self, now_ns: int) -> np.ndarray:
        """Return the values of all walks at `now_ns`, shape (n_factors,)."""
        seconds = (now_ns - ORIGIN_NS) * 1e-9
        raw = (self._amplitude * np.cos(self._omega * seconds + self._phase)).sum(axis=1)
        return self._bound * np.tanh(raw / self._bound)
