"""The baseline of the pipeline benchmark: every message does all the work.

The same frames, decoded the same way; then, for each, its expiry is implied and refitted, the surface certified and the
publication encoded, in one process. No socket, page or history, so the factor against it is on the careful side.
"""

import random
import time
from collections.abc import Iterator
from itertools import pairwise

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


def naive_us(rate: float, seconds: float) -> float:
    """Return CPU microseconds a message, at a market that sends `rate` messages a second; measured for `seconds`."""
    now_ns = time.time_ns()
    market = VenueMarket(("BTC", "ETH"), 1, now_ns, venue_profile("deribit"))
    unlimited = Limits(call_pool=10**12, subscribe_pool=10**12, listing_pool=10**12)
    venue = DeribitVenue(market, unlimited)
    session = venue.session(now_ns)
    assert session is not None
    link = Link(session, 0, venue.too_slow, random.Random(1))
    table = RowTable(epoch=1)
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
    buffer, starts = encode_cycle(market, link, rate)
    return _measure(codec, table, _payloads(buffer, starts.tolist()), now_ns, seconds)


def _payloads(buffer: bytearray, starts: list[int]) -> Iterator[bytes]:
    for first, last in pairwise(starts):
        head = 2 if buffer[first + 1] < 126 else 4 if buffer[first + 1] == 126 else 10
        yield bytes(buffer[first + head : last])


def _measure(codec: DeribitCodec, table: RowTable, payloads: Iterator[bytes], now_ns: int, seconds: float) -> float:
    options = FitOptions()
    states = {name: UnderlyingState(name) for name in ("BTC", "ETH")}
    for name, state in states.items():
        mine = [
            (iid, table.directory[iid])
            for iid in range(len(table.directory))
            if table.directory[iid].underlying == name
        ]
        state.list([iid for iid, _ in mine], [instrument for _, instrument in mine])
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
