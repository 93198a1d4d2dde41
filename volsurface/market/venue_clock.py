"""How late a venue's messages are when its clock and ours need not agree: the lower envelope of their delays.

The delay of a message, our time of receipt minus the venue's time in it, is the difference of the two clocks plus what
the message waited on its way. The second part is never negative and small at times, so the smallest delays draw the
difference of the clocks over time as a line from below; its slope is the drift of one clock against the other.

The line is the one of Moon, Skelly and Towsley ("Estimation and removal of clock skew from network delay measurements",
INFOCOM 1999): under all points, with the smallest total distance to them. It is the edge of the points' lower convex
hull that spans their mean time.
"""

from collections import deque

import numpy as np

NS_PER_S = 1_000_000_000
BUCKET_S = 10  # the smallest delay of each so many seconds is kept
BUCKETS = 60  # for ten minutes
FEWEST_FOR_DRIFT = 12  # in two minutes a change of the smallest delay by 0.1 ms looks like 1 ppm
LARGEST_DRIFT_PPM = 200.0  # no quartz clock is so bad; a steeper envelope is a change of the route


class VenueClock:
    """The delays of one venue's messages in the last minutes; times are integers in nanoseconds UTC."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, int, int]] = deque(maxlen=BUCKETS)  # (bucket, time of the smallest, smallest)

    def note(self, receive_ns: np.ndarray, venue_ns: np.ndarray) -> float:
        """Take receipt and venue times of messages, shape (n,); return their median delay in ms, NaN without any."""
        if not receive_ns.size:
            return float("nan")
        delays = receive_ns - venue_ns
        at = int(np.argmin(delays))
        bucket, time_ns, delay_ns = int(receive_ns[at]) // (BUCKET_S * NS_PER_S), int(receive_ns[at]), int(delays[at])
        if not self._buckets or bucket > self._buckets[-1][0]:
            self._buckets.append((bucket, time_ns, delay_ns))
        elif delay_ns < self._buckets[-1][2]:
            self._buckets[-1] = self._buckets[-1][0], time_ns, delay_ns
        return float(np.median(delays)) / 1e6

    def envelope(self, now_ns: int) -> tuple[float, float]:
        """Return (floor in ms at `now_ns`, drift in ppm): the smallest delay to be expected now, and its slope.

        The drift is NaN, and the floor the smallest delay, until two minutes are known or when the line is too steep
        to be a clock's. Both are NaN before the first message. A positive drift: our clock runs faster.
        """
        if not self._buckets:
            return float("nan"), float("nan")
        _, times, smallest = np.array(self._buckets, np.int64).T
        seconds, delays_ms = (times - now_ns) / NS_PER_S, smallest / 1e6
        if len(self._buckets) < FEWEST_FOR_DRIFT:
            return float(delays_ms.min()), float("nan")
        at, value, slope = _edge_under_the_mean(seconds, delays_ms)
        if abs(slope) * 1e3 > LARGEST_DRIFT_PPM:  # ms per second are thousands of ppm
            return float(delays_ms.min()), float("nan")
        return value - slope * at, slope * 1e3


def _edge_under_the_mean(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return a point and the slope of the lower hull's edge over the mean of x; x ascending, at least two points."""
    hull: list[int] = []
    for i in range(x.size):
        while len(hull) > 1 and _turns_down(x, y, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    right = int(np.searchsorted(x[hull], x.mean()))
    a, b = hull[max(right, 1) - 1], hull[max(right, 1)]
    return float(x[a]), float(y[a]), float((y[b] - y[a]) / (x[b] - x[a]))


def _turns_down(x: np.ndarray, y: np.ndarray, a: int, b: int, c: int) -> bool:
    """Whether b lies on or over the line from a to c."""
    return bool((y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a]))
