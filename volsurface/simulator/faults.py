"""Faults of one simulated venue, on demand or at random rates: what the other side must survive."""

import random
from collections.abc import Collection, Mapping

from volsurface.simulator.fault_table import FAULTS, fault_named
from volsurface.simulator.link import Link
from volsurface.simulator.market import Option, VenueMarket

NS_PER_S = 1_000_000_000
NEVER_NS = -(1 << 62)


class Faults:
    """Injects the faults of `fault_table`; `rates` are events per second by name.

    counts: how often each was committed. silent_until_ns, out_until_ns: when the venue speaks, and exists, again.
    """

    def __init__(self, market: VenueMarket, links: Collection[Link], rates: Mapping[str, float], seed: int) -> None:
        for name in rates:
            fault_named(name)
        self.counts = dict.fromkeys(FAULTS, 0)
        self.silent_until_ns = self.out_until_ns = NEVER_NS
        self.leave_out = False  # the next client's subscriptions lack a channel
        self._market, self._links = market, links
        self._rates = dict(rates)
        self._random = random.Random(seed)

    def draw(self, now_ns: int, elapsed_ns: int) -> None:
        """Inject what the rates bring in the time before `now_ns`."""
        for name, rate in self._rates.items():
            if self._random.random() < rate * elapsed_ns / NS_PER_S:
                self.inject(name, now_ns)

    def inject(self, name: str, now_ns: int, seconds: float | None = None, option: Option | None = None) -> bool:
        """Commit one fault now; return False when nobody is connected to suffer it, or the venue cannot have it.

        option: whose book it concerns; else any that is followed. A fault of one book happens to one client, every
        other fault to all of them. Raises SettingsError for an unknown name.
        """
        fault = fault_named(name)
        seconds = fault.seconds if seconds is None else seconds
        links = list(self._links)
        done = True
        if name == "silence":
            self.silent_until_ns = now_ns + round(seconds * NS_PER_S)
        elif name == "outage":
            self.out_until_ns = now_ns + round(seconds * NS_PER_S)
            for link in links:
                link.cut()
        elif name == "silent_drop":
            self.leave_out = done = bool(links)
            for link in links:
                link.cut()
        elif name == "roll":
            self._market.retire()
        elif name == "listing":
            self._market.add_strike()
        elif fault.one_book:
            able = [link for link in links if link.session.follows.books]
            if option is not None:
                able = [link for link in able if option in link.session.follows.books]
            done = bool(able) and self._random.choice(able).inject(name, now_ns, seconds, option)
        else:
            done = any([link.inject(name, now_ns, seconds, option) for link in links])
        self.counts[name] += done
        return done
