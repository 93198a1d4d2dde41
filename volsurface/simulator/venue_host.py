"""One simulated venue at work, without I/O: its market, its clients, what is published when, and its faults.

`step(now_ns)` does everything that is due. The server calls it some fifty times a second, the conformance kit at
simulated times; both then take the frames that each link has due.
"""

import json
import random
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from volsurface.errors import SettingsError
from volsurface.simulator.conductor import TICKER_SHARE, Conductor
from volsurface.simulator.faults import Faults
from volsurface.simulator.link import Link
from volsurface.simulator.market import Option
from volsurface.simulator.true_surface import TrueSmiles
from volsurface.simulator.venue import Venue

NS_PER_S = 1_000_000_000
REFRESH_NS = 100_000_000  # how often true prices and wished quotes of everything are recomputed
OURS = "/volsurface/"  # what a real venue does not have: the truth, and faults on demand


class VenueHost:
    """Runs one venue. `rate`: tickers, book changes and quotes per second over all its clients."""

    def __init__(
        self,
        venue: Venue,
        *,
        rate: float,
        faults: Mapping[str, float] | None = None,
        refresh_ns: int = REFRESH_NS,
        ticker_share: float = TICKER_SHARE,
    ) -> None:
        self.venue, self.market = venue, venue.market
        self.links: list[Link] = []
        self.conductor = Conductor(self.market, rate, ticker_share)
        self.faults = Faults(self.market, self.links, faults or {}, self.market.seed)
        self._latency_ns = round(self.market.venue.latency_ms * 1e6)
        self._refresh_ns = refresh_ns
        self._random = random.Random(self.market.seed)
        self._started_ns = self._last_ns = self._refreshed_ns = self._second_ns = self.market.now_ns

    def join(self, now_ns: int, path: str = "") -> Link | None:
        """Return the link of a new client, or None when the venue does not answer at that path, or is out."""
        session = None if self.out(now_ns) else self.venue.session(now_ns, path)
        if session is None:
            return None
        link = Link(session, self._latency_ns, self.venue.too_slow, self._random)
        self.links.append(link)
        if self.faults.leave_out:
            self.faults.leave_out = not link.inject("silent_drop", now_ns, 0.0)
        return link

    def leave(self, link: Link) -> None:
        """Forget a client."""
        if link in self.links:
            self.links.remove(link)

    def out(self, now_ns: int) -> bool:
        """Return whether the venue is out."""
        return now_ns < self.faults.out_until_ns

    def step(self, now_ns: int) -> None:
        """Bring the market and every client up to `now_ns`."""
        links = self.links
        if now_ns - self._refreshed_ns >= self._refresh_ns:
            self._refreshed_ns = now_ns
            roll = self.market.advance(now_ns)
            if roll is not None:
                self.conductor.publish_roll(roll, now_ns, links)
            self.conductor.quotes_changed()
        self.faults.draw(now_ns, now_ns - self._last_ns)
        if now_ns >= self.faults.silent_until_ns and not self.out(now_ns):
            self.conductor.publish_due(now_ns, links)
            if now_ns - self._second_ns >= NS_PER_S:
                self._second_ns = now_ns
                self.conductor.publish_second(now_ns, links)
            for link in links:
                link.timer(now_ns)
        self._last_ns = now_ns

    def rest(self, target: str, now_ns: int) -> tuple[int, bytes]:
        """Answer a GET: the venue's own, or one of ours under /volsurface/."""
        if self.out(now_ns):
            return 503, b"the simulated venue is out"
        if not target.startswith(OURS):
            return self.venue.rest(target, now_ns)
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            answer = self._ours(parts.path.removeprefix(OURS), query, now_ns)
        except (SettingsError, ValueError) as error:
            return 400, json.dumps({"error": str(error)}).encode()
        if answer is None:
            return 404, b'{"error":"there are about, truth and fault"}'
        return 200, json.dumps(answer).encode()

    def _ours(self, name: str, query: Mapping[str, str], now_ns: int) -> object:
        if name == "about":
            return {
                "simulator": True, "venue": self.market.venue.venue, "seed": self.market.seed,
                "started_ns": self._started_ns, "underlyings": self.market.underlyings, "rate": self.conductor.rate,
                "published": self.conductor.published, "faults": self.faults.counts,
            }  # fmt: skip
        if name == "truth":
            options = [self._option(symbol) for symbol in query.get("instruments", "").split(",") if symbol]
            return {
                "surfaces": {coin: _as_plain(smiles) for coin, smiles in self.market.smiles.items()},
                "vols": {option.symbol: self.market.true_vol(option) for option in options},
            }
        if name == "fault":
            option = self._option(query["instrument"]) if "instrument" in query else None
            seconds = float(query["seconds"]) if "seconds" in query else None
            return {"done": self.faults.inject(query.get("name", ""), now_ns, seconds, option)}
        return None

    def _option(self, symbol: str) -> Option:
        option = self.market.by_symbol.get(symbol)
        if option is None:
            raise ValueError(f"no instrument {symbol}")
        return option


def _as_plain(smiles: TrueSmiles) -> dict[str, object]:
    """Return the true surface of one underlying as plain values: what tests and benches compare with."""
    columns = ("expiry_ns", "years", "forward", "a", "b", "rho", "m", "sigma")
    rows = zip(*(getattr(smiles, name).tolist() for name in columns))
    return {"spot": smiles.spot, "time_ns": smiles.time_ns, "smiles": [dict(zip(columns, row)) for row in rows]}
