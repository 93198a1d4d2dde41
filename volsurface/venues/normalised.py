"""What every codec does with a venue's numbers: flags of a quote, forwards passed on only when they are news."""

from volsurface.market.quote import CROSSED, LOCKED, ONE_SIDED
from volsurface.venues.codec import Sink

NAN, INF = float("nan"), float("inf")
NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
EMPTY, NULL = b':""', b":null"  # a text with nothing in it is no number
SETTLEMENT_WINDOW_NS = 30 * 60 * NS_PER_S  # settlement prices average the index over the last half hour


def quote_flags(bid: float, ask: float) -> int:
    """Return the row flags of a quote: crossed, locked, or only one side there; NaN is a missing side."""
    if bid < ask:
        return 0
    if bid == ask:
        return LOCKED
    if bid > ask:
        return CROSSED
    return 0 if bid != bid and ask != ask else ONE_SIDED


class LatestForward:
    """The last forward of one (venue, underlying, expiry), shared by all who report it; expiry 0 is the venue's index.

    value: as passed on last, NaN before the first.
    """

    __slots__ = ("_expiry_ns", "_put", "_ts_ns", "_underlying", "_venue", "value")

    def __init__(self, venue: str, underlying: str, expiry_ns: int, sink: Sink) -> None:
        self._venue = venue
        self._underlying = underlying
        self._expiry_ns = expiry_ns
        self._put = sink.forward
        self.forget()

    def forget(self) -> None:
        """Pass the next value on whatever it is."""
        self.value = NAN
        self._ts_ns = 0

    def take(self, source: int, value: float, ts_ns: int, now_ns: int) -> None:
        """Take a value; what is no price or not new goes no further, nor what another option's frame has overtaken."""
        if value != self.value and 0.0 < value < INF and ts_ns >= self._ts_ns:
            self.value = value
            self._ts_ns = ts_ns
            self._put(source, self._venue, self._underlying, self._expiry_ns, value, ts_ns, now_ns)
