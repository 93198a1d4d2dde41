"""The baseline of the pipeline benchmark: every message does all the work.

The same frames, decoded the same way; then, for each, its expiry is implied and refitted, the surface certified and the
publication encoded, in one process. No socket, page or history, so the factor against it is on the careful side.
"""

import random
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from volsurface.bench.pipeline_venue import encode_cycle
from volsurface.engine.chain_fit import fit_chain, refit_expiries
from volsurface.engine.step import UnderlyingState
from volsurface.io.publication import Publication
from volsurface.market.row_table import RowTable
from volsurface.simulator.deribit_limits import Limits
from volsurface.simulator.deribit_protocol import DeribitVenue
from volsurface.simulator.link import Link
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.venue_profiles import venue_profile
from volsurface.surface.options import FitOptions
from volsurface.venues.deribit import DeribitCodec


class InMemory(NamedTuple):
    """A simulated Deribit and a codec that follows all of it, without a socket."""

    market: VenueMarket
    link: Link
    codec: DeribitCodec
    table: RowTable
    now_ns: int


def connected(now_ns: int, **listing: int | None) -> InMemory:
    """Return a codec that is live on BTC and ETH; `listing` are the limits of `VenueMarket`."""
    market = VenueMarket(("BTC", "ETH"), 1, now_ns, venue_profile("deribit"), **listing)
    unlimited = Limits(call_pool=10**12, subscribe_pool=10**12, listing_pool=10**12)
    venue = DeribitVenue(market, unlimited)
    session = venue.session(now_ns)
    assert session is not None
    link, table = Link(session, 0, venue.too_slow, random.Random(1)), RowTable(epoch=1)
    codec = DeribitCodec(("BTC", "ETH"), ("ticker", "book"), table)
    codec.connected(now_ns)
    while codec.state != "live":
        for frame in codec.frames_to_send():
            link.receive(frame, now_ns)
        for frame in link.frames_due(now_ns):
            codec.receive(frame, now_ns)
        due_ns = codec.deadline_ns()
        if codec.state != "live" and due_ns is not None:
            now_ns = max(now_ns, due_ns)
            codec.timer(now_ns)
    return InMemory(market, link, codec, table, now_ns)


def listed_states(table: RowTable) -> dict[str, UnderlyingState]:
    """Return a state per underlying that knows all instruments of the table."""
    states: dict[str, UnderlyingState] = {}
    for iid in range(len(table.directory)):
        instrument = table.directory[iid]
        states.setdefault(instrument.underlying, UnderlyingState(instrument.underlying))
    for name, state in states.items():
        mine = [iid for iid in range(len(table.directory)) if table.directory[iid].underlying == name]
        state.list(mine, [table.directory[iid] for iid in mine])
    return states


def naive_us(rate: float, seconds: float) -> float:
    """Return CPU microseconds a message, at a market that sends `rate` messages a second; measured for `seconds`."""
    market, link, codec, table, now_ns = connected(time.time_ns())
    buffer, starts = encode_cycle(market, link, rate)
    return _measure(codec, table, payloads(buffer, starts.tolist()), now_ns, seconds)


def payloads(buffer: bytearray, starts: list[int]) -> Iterator[bytes]:
    """Yield the frames of a cycle without their websocket heads."""
    for first, last in pairwise(starts):
        head = 2 if buffer[first + 1] < 126 else 4 if buffer[first + 1] == 126 else 10
        yield bytes(buffer[first + head : last])


def _measure(codec: DeribitCodec, table: RowTable, payloads: Iterator[bytes], now_ns: int, seconds: float) -> float:
    options = FitOptions()
    states = listed_states(table)
    fits = {}
    for name, state in states.items():
        rows = table.rows.take(state.iids)
        fits[name] = fit_chain(state.chain(rows, rows["iid"] >= 0, now_ns), options)
    version, messages, ids = table.version, 0, {name: 0 for name in states}
    start, end = time.process_time(), time.perf_counter() + seconds
    for payload in payloads:
        codec.receive(payload, now_ns)
        messages += 1
        if table.version == version:
            continue
        iid = int(table.rows["version"].argmax())
        version, instrument = table.version, table.directory[iid]
        name, state = instrument.underlying, states[instrument.underlying]
        rows = table.rows.take(state.iids)
        chain = state.chain(rows, rows["iid"] >= 0, now_ns)
        only = chain.take(chain.expiry_ns == instrument.expiry_ns)
        fit = refit_expiries(only, fits[name], [instrument.expiry_ns], options)
        fits[name] = fit or fit_chain(chain, options, previous=fits[name].surface, expiries=[instrument.expiry_ns])
        ids[name] += 1
        Publication(
            name, ids[name], now_ns, now_ns, now_ns, now_ns, 1, 1.0, 1, fits[name].surface, fits[name].quotes
        ).encode()
        if time.perf_counter() > end:
            break
    return 1e6 * (time.process_time() - start) / messages
