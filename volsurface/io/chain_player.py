"""Plays recorded chain snapshots into a row table, so that everything after the feed sees them as a market."""

import asyncio
import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from volsurface.clock import NS_PER_S, SteppedClock
from volsurface.errors import ChainFileError
from volsurface.io.chain_files import read_chains
from volsurface.io.playback import TICK_S, Controls
from volsurface.market.chain import Chain
from volsurface.market.instrument import COIN, STABLE, Instrument
from volsurface.market.quote import FORWARD_INDEX, FORWARD_NONE, SNAPSHOT_ROW, forward_flag
from volsurface.market.row_table import RowTable

TOGETHER_NS = 300 * NS_PER_S  # chains of different coins this close in time were taken as one snapshot of the market
MAX_WAIT_S = 3.0  # however far apart two snapshots are, a page that shows them must move


def read_market(paths: Iterable[str | Path]) -> list[Chain]:
    """Return the chains of all `paths` in time order; raises ChainFileError for one that cannot be read."""
    chains = [chain for path in paths for chain in read_chains(Path(path))]
    return sorted(chains, key=lambda chain: chain.time_ns)


@dataclass(slots=True)
class PlayedVenue:
    """The venue record of one venue in the recording; a message is one row of a snapshot."""

    venue: str
    state: str = "connecting"
    messages: int = 0
    superseded: int = 0
    rejected: int = 0
    gaps: int = 0
    reconnects: int = 0
    subscribed: int = 0
    listed: int = 0
    last_receive_ns: int = 0
    last_venue_ns: int = 0


class ChainPlayer:
    """A recorded market.

    chains: in time order; those of several coins taken one after the other are shown together, as one snapshot.
    clock: the market's; it stands at each snapshot's (latest) time when that is shown. Between snapshots it runs with the wall
        clock and not `speed` times faster: the quotes shown are of the snapshot's instant, and valuing them hours later
        would give vols that nobody saw.
    speed: market seconds per second; how long one snapshot is shown, MAX_WAIT_S at most. `controls` can change it, pause
        and seek; the first snapshot is shown, and stays, until the controls are released.
    """

    def __init__(self, chains: Sequence[Chain], table: RowTable, clock: SteppedClock, speed: float) -> None:
        if not chains:
            raise ChainFileError("there is no chain to play")
        self._chains, self.table, self._clock = chains, table, clock
        self.on_table: Callable[[RowTable], None] | None = None  # never called: there is only this one
        self.controls = Controls(speed, chains[0].time_ns, chains[-1].time_ns, chains[0].time_ns)
        self._open: dict[str, set[int]] = {}  # underlying -> ids of instruments that still trade
        self._quoted: dict[str, set[int]] = {}  # underlying -> ids in its last snapshot
        self._venues: dict[str, PlayedVenue] = {}
        for chain in chains:
            for name in sorted(set(chain.venue.tolist())):
                if name not in self._venues:
                    self._venues[name] = PlayedVenue(name)
                    table.watch(self._venues[name])
        clock.set(chains[0].time_ns)

    async def run(self, stop: asyncio.Event) -> None:
        """Show all snapshots one after the other; at the end say so and wait for a seek, or `stop`."""
        snapshots = _snapshots(self._chains)
        times = [chains[-1].time_ns for chains in snapshots]
        controls, at = self.controls, 0
        while not stop.is_set():
            if at == len(snapshots):
                self._end()
                while controls.seek_ns is None and not stop.is_set():
                    await controls.pause(1.0, stop)
            else:
                self.show(snapshots[at])
                await self._let_time_pass(times[at], times[min(at + 1, len(times) - 1)], stop)
                at += 1
            if controls.seek_ns is not None:
                at = max(0, bisect.bisect_right(times, controls.seek_ns) - 1)
                controls.seek_ns, controls.ended = None, False

    def _end(self) -> None:
        self.controls.ended = True
        for venue in self._venues.values():
            venue.state = "down"
        end = datetime.fromtimestamp(self._chains[-1].time_ns / NS_PER_S, UTC)
        self.table.event("disconnect", self._clock.now_ns(), text=f"the recording ends at {end:%Y-%m-%d %H:%M:%S}Z")

    async def _let_time_pass(self, time_ns: int, next_ns: int, stop: asyncio.Event) -> None:
        gap_ns, controls = next_ns - time_ns, self.controls
        loop = asyncio.get_running_loop()
        shown_s, before = 0.0, loop.time()
        while controls.seek_ns is None and not stop.is_set():
            wait_s = min(gap_ns / NS_PER_S / controls.speed, MAX_WAIT_S)
            if shown_s >= wait_s and not controls.still:
                return
            self._set_time(time_ns + min(round(shown_s * min(1.0, controls.speed) * NS_PER_S), gap_ns))
            await controls.pause(TICK_S if controls.still else min(TICK_S, wait_s - shown_s), stop)
            now = loop.time()
            shown_s += 0.0 if controls.still else now - before
            before = now

    def _set_time(self, time_ns: int) -> None:
        self._clock.set(time_ns)
        self.controls.position_ns = time_ns

    def show(self, chains: Sequence[Chain]) -> None:
        """Write one snapshot: new instruments are listed, quotes written, those gone or expired say so."""
        now_ns = chains[-1].time_ns
        self._set_time(now_ns)
        for chain in chains:
            self._show_one(chain.take(chain.expiry_ns > now_ns), now_ns)
        listed = Counter(self.table.directory[iid].venue for known in self._open.values() for iid in known)
        for venue in self._venues.values():
            venue.listed = venue.subscribed = listed[venue.venue]

    def _show_one(self, chain: Chain, now_ns: int) -> None:
        name = chain.underlying
        iids = self._list(chain, now_ns)
        self._write_forwards(chain, now_ns)
        self._write_rows(chain, iids, now_ns)
        known = self._open.setdefault(name, set())
        known.update(iids)
        expired = {iid for iid in known if self.table.directory[iid].expiry_ns <= now_ns}
        for iid in sorted(expired):
            self.table.closed(iid, now_ns)
        known -= expired
        for iid in sorted(self._quoted.get(name, set()) - set(iids) - expired):
            self.table.ticker(iid, SNAPSHOT_ROW, chain.time_ns, now_ns, -1, *[math.nan] * 11)
        self._quoted[name] = set(iids)
        for venue_name, rows in Counter(chain.venue.tolist()).items():
            venue = self._venues[venue_name]
            venue.state = "live"
            venue.messages += rows
            venue.last_receive_ns, venue.last_venue_ns = now_ns, chain.time_ns

    def _list(self, chain: Chain, now_ns: int) -> list[int]:
        instruments = [
            Instrument(venue, symbol, chain.underlying, expiry_ns, strike, right, COIN if inverse else STABLE)
            for venue, symbol, expiry_ns, strike, right, inverse in zip(
                chain.venue.tolist(), chain.symbol.tolist(), chain.expiry_ns.tolist(), chain.strike.tolist(),
                chain.right.tolist(), chain.inverse.tolist(),
            )
        ]  # fmt: skip
        iids = self.table.listed(instruments, now_ns)
        new = set(iids) - self._open.get(chain.underlying, set())
        if new:
            text = f"{chain.underlying}: {len(new)} options"
            self.table.event("listed", now_ns, text=text, value=float(len(new)))
        return iids

    def _write_forwards(self, chain: Chain, now_ns: int) -> None:
        venues = np.unique(chain.venue.astype(str)).tolist()
        for venue in venues:
            self._write_venue_forwards(venue, chain if len(venues) == 1 else chain.take(chain.venue == venue), now_ns)

    def _write_venue_forwards(self, venue: str, chain: Chain, now_ns: int) -> None:
        index = chain.index[np.isfinite(chain.index)]
        if index.size:
            value = float(np.median(index))
            self.table.forward(FORWARD_INDEX, venue, chain.underlying, 0, value, chain.time_ns, now_ns)
        told = np.isfinite(chain.forward) & (chain.forward_source != FORWARD_NONE)
        for expiry_ns in np.unique(chain.expiry_ns[told]).tolist():
            row = int(np.flatnonzero(told & (chain.expiry_ns == expiry_ns))[0])
            self.table.forward(
                int(chain.forward_source[row]), venue, chain.underlying, expiry_ns, float(chain.forward[row]),
                chain.time_ns, now_ns,
            )  # fmt: skip

    def _write_rows(self, chain: Chain, iids: list[int], now_ns: int) -> None:
        delay_ns = now_ns - chain.time_ns  # the whole snapshot arrives at once; within it, older quotes stay older
        for iid, source, time_ns, bid, ask, bid_size, ask_size, mark, mark_iv, forward, index, open_interest in zip(
            iids, chain.forward_source.tolist(), chain.quote_time_ns.tolist(), chain.bid.tolist(), chain.ask.tolist(),
            chain.bid_size.tolist(), chain.ask_size.tolist(), chain.mark.tolist(), chain.mark_iv.tolist(),
            chain.forward.tolist(), chain.index.tolist(), chain.open_interest.tolist(),
        ):  # fmt: skip
            self.table.ticker(
                iid, SNAPSHOT_ROW | forward_flag(source), time_ns, time_ns + delay_ns, -1, bid, ask, bid_size, ask_size, mark,
                math.nan, math.nan, mark_iv, forward, index, open_interest,
            )  # fmt: skip


def _snapshots(chains: Sequence[Chain]) -> list[list[Chain]]:
    found: list[list[Chain]] = []
    for chain in chains:
        last = found[-1] if found else []
        if (
            last
            and chain.time_ns - last[0].time_ns <= TOGETHER_NS
            and chain.underlying not in {c.underlying for c in last}
        ):
            last.append(chain)
        else:
            found.append([chain])
    return found
