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


def clean_quote(
    bid: float | None, ask: float | None, bid_sz: float | None, ask_sz: float | None
) -> tuple[float, float, float, float]:
    """Return the quote with NaN for what is missing: null, 0 and what no price can be; a side without a price has no size."""
    # `x or NAN` makes null and 0 NaN, and a comparison with NaN is false.
    bid, ask, bid_sz, ask_sz = bid or NAN, ask or NAN, bid_sz or NAN, ask_sz or NAN
    if not 0.0 < bid < INF:
        bid = bid_sz = NAN
    if not 0.0 < ask < INF:
        ask = ask_sz = NAN
    if not 0.0 < bid_sz < INF:
        bid_sz = NAN
    if not 0.0 < ask_sz < INF:
        ask_sz = NAN
    return bid, ask, bid_sz, ask_sz


def clean(value: float | None) -> float:
    """Return the value, NaN when it is missing: null, 0, or what no price or vol can be."""
    return value if value is not None and 0.0 < value < INF else NAN


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
