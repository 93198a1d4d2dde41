"""Latencies counted in bins: the same few numbers whatever the rate, and percentiles of any stretch of time."""

from collections.abc import Mapping

import numpy as np

SHORTEST_MS, BINS_PER_DECADE, DECADES = 0.01, 50, 7  # a bin is 4.7 % wide; the last one has everything over 100 s
BINS = BINS_PER_DECADE * DECADES + 1


class Latencies:
    """Counts since the start. highest_ms: the longest since `status` was last asked for, and of all."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.highest_ms = 0.0

    def add(self, ages_ns: np.ndarray) -> None:
        """Count these ages (nanoseconds)."""
        if not ages_ns.size:
            return
        ms = np.maximum(ages_ns, 1) * 1e-6
        self.highest_ms = max(self.highest_ms, float(ms.max()))
        at = np.ceil(np.log10(ms / SHORTEST_MS) * BINS_PER_DECADE)
        self.counts += np.bincount(np.clip(at, 0, BINS - 1).astype(np.int64), minlength=BINS)

    def sparse(self) -> dict[int, int]:
        """Return the counts that are not 0, by bin, for a message."""
        return {int(at): int(self.counts[at]) for at in np.flatnonzero(self.counts)}


def dense(sparse: Mapping[int, int]) -> np.ndarray:
    """Return the counts of all bins, the reverse of `Latencies.sparse`."""
    counts = np.zeros(BINS, np.int64)
    for at, count in sparse.items():
        counts[int(at)] = count
    return counts


def percentiles(counts: np.ndarray, *shares: float) -> list[float]:
    """Return upper bounds (ms) of the latencies at these shares (0 to 1) of the counts, NaN where there are none."""
    total = np.cumsum(counts)
    if not total[-1]:
        return [float("nan")] * len(shares)
    at = np.searchsorted(total, np.asarray(shares) * total[-1])
    return (SHORTEST_MS * 10.0 ** (np.minimum(at, BINS - 1) / BINS_PER_DECADE)).tolist()
