"""What is fetched from Binance over REST: the listing, and snapshots of books at the pace of the venue's weights.

Documented: 2,400 weight a minute and address, 429 above it and then 418, a ban. A listing and a snapshot of 50 levels
weigh 1, a snapshot of 1,000 levels 20. We take half of it, shared equally by the connections that keep books.
"""

from volsurface.venues.codec import HttpRequest
from volsurface.venues.normalised import NS_PER_S
from volsurface.venues.pacing import Pace, Timers

WEIGHT_INTERVAL_NS, WEIGHT_BURST = 50_000_000, 40
LEVELS, ALL_LEVELS, ALL_LEVELS_WEIGHT = 50, 1000, 20
LISTING = "listing"
ANSWER_S = 10  # a request not answered by then counts as failed
FIRST_RETRY_NS, LAST_RETRY_NS = 250_000_000, 30 * NS_PER_S


class Requests:
    """The requests of one connection.

    sharers: connections that keep books, this one among them.
    Sets the timers "request" (no answer to a tag) and "pace" (the next request may go).
    """

    def __init__(self, rest_url: str, sharers: int, timers: Timers) -> None:
        self._url = rest_url.rstrip("/")
        self._pace = Pace(WEIGHT_INTERVAL_NS * sharers, WEIGHT_BURST)
        self._timers = timers
        self._queue: list[HttpRequest] = []
        self._to_snapshot: dict[str, int] = {}  # levels by symbol, in the order wanted
        self._setbacks = 0
        self._connection = 0

    def start(self) -> None:
        """A new connection: nothing is under way, and what was no longer counts."""
        self._connection += 1
        self._queue.clear()
        self._to_snapshot.clear()

    def drain(self) -> list[HttpRequest]:
        """Return the requests to make."""
        if not self._queue:
            return []
        queue, self._queue = self._queue, []
        return queue

    def ask_listing(self, now_ns: int) -> None:
        """Fetch the listing, whatever else waits."""
        self._pace.spend(now_ns)
        self._ask(LISTING, "/eapi/v1/exchangeInfo", now_ns)

    def want_snapshot(self, symbol: str, levels: int) -> None:
        """Fetch a book when its turn comes."""
        self._to_snapshot[symbol] = levels

    def forget_snapshot(self, symbol: str) -> None:
        """Do not fetch a book after all."""
        self._to_snapshot.pop(symbol, None)

    def go_on(self, now_ns: int) -> None:
        """Ask for the books that the pace allows."""
        while self._to_snapshot:
            if (ready_ns := self._pace.ready_ns()) > now_ns:
                self._timers.set(ready_ns, "pace", "requests")
                return
            symbol, levels = next(iter(self._to_snapshot.items()))
            del self._to_snapshot[symbol]
            self._pace.spend(now_ns, 1 if levels == LEVELS else ALL_LEVELS_WEIGHT)
            # The tag has the connection's number: an answer from before would miss the changes between.
            tag = f"{self._connection}:{symbol}"
            self._ask(tag, f"/eapi/v1/depth?symbol={symbol}&limit={levels}", now_ns)

    def _ask(self, tag: str, path: str, now_ns: int) -> None:
        self._queue.append(HttpRequest(tag, self._url + path))
        self._timers.set(now_ns + ANSWER_S * NS_PER_S, "request", tag)

    def answered(self, tag: str, status: int, now_ns: int) -> None:
        """Take note of an answer: wait where the venue says that it was asked too often, longer each time."""
        self._timers.cancel("request", tag)
        if status == 200:
            self._setbacks = 0
        elif status in (418, 429):
            self._pace.penalise(now_ns + min(3600, 60 << self._setbacks) * NS_PER_S)
            self._setbacks = min(self._setbacks + 1, 6)

    def symbol_of(self, tag: str) -> str:
        """Return the option whose book a tag stands for; empty for one of an earlier connection."""
        connection, _, symbol = tag.partition(":")
        return symbol if connection == str(self._connection) else ""

    def again_ns(self, tries: int, now_ns: int) -> int:
        """Return when to make a request again that has failed `tries` times before."""
        return max(self._pace.ready_ns(), now_ns + min(LAST_RETRY_NS, FIRST_RETRY_NS << min(tries, 7)))
