"""The venue of the pipeline benchmark: a process of its own that sends frames encoded beforehand, at a paced rate.

It is the simulated Deribit up to the moment the client has subscribed. Then a few seconds of its market are encoded, with
prices that walk there and back and books that end as they began, so that the frames can be sent again and again: no gap,
no jump. While they are sent only their times are brought up to date. A heartbeat is asked for every 20 ms.
"""

import asyncio
import multiprocessing
import random
import re
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

from volsurface.simulator import deribit_frames
from volsurface.simulator.conductor import TICKER_SHARE, Conductor
from volsurface.simulator.deribit_limits import Limits
from volsurface.simulator.deribit_protocol import DeribitVenue
from volsurface.simulator.link import Link
from volsurface.simulator.market import Option, VenueMarket
from volsurface.simulator.order_book import Change, OrderBook
from volsurface.simulator.server import text_frame
from volsurface.simulator.venue import BookMove, Changes
from volsurface.simulator.venue_profiles import venue_profile

HEARTBEAT_S = 0.020
SETTLED_S = 0.7  # without a new subscription: the client has what it wants
CYCLE_S, FEWEST_FRAMES, MOST_FRAMES = 3.0, 60_000, 450_000
TICK_S, TICKS_PER_PRICE = 0.020, 5  # prices are recomputed every 0.1 s, as in the simulator
PAUSE_S = 0.002  # between two writes
MOST_UNSENT = 16 << 20  # bytes the client may leave unread before sending waits for it
LONGEST_DEBT_S = 0.25  # what was not sent for longer is not made up for
STAMP, STAMP_DIGITS = re.compile(rb'"timestamp":(?=\d{13})'), 13


def start_venue(rate: float, seed: int = 1) -> tuple[multiprocessing.process.BaseProcess, Pipe, str]:
    """Start the process; return it, the pipe it is asked through, and its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, rate, seed), daemon=True)
    process.start()
    return process, ours, ours.recv()


def _run(pipe: Pipe, rate: float, seed: int) -> None:
    asyncio.run(PacedVenue(rate, seed).serve(pipe))


class PacedVenue:
    """One simulated venue for one client. Asked "ready" through the pipe it answers when frames flow; asked "figures", with
    what happened since it was last asked; "stop" ends it."""

    def __init__(self, rate: float, seed: int) -> None:
        now_ns = time.time_ns()
        self._market = VenueMarket(("BTC", "ETH"), seed, now_ns, venue_profile("deribit"))
        unlimited = Limits(call_pool=10**12, subscribe_pool=10**12, listing_pool=10**12)
        self._venue = DeribitVenue(self._market, unlimited)
        self._rate = rate
        self._link: Link | None = None
        self._client: ServerConnection | None = None
        self._asked: deque[float] = deque()
        self._flowing = asyncio.Event()
        self._reset()

    def _reset(self) -> None:
        self._sent = self._bytes = self._held_back = 0
        self._late_ms: list[float] = []
        self._cpu_s = time.process_time()
        self._since = time.perf_counter()

    async def serve(self, pipe: Pipe) -> None:
        """Listen on a free port and answer the pipe until it says "stop"."""
        async with serve(self._hear, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=1 << 20) as server:
            pipe.send(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._venue.path}")
            playing = asyncio.create_task(self._play())
            while (asked := await asyncio.to_thread(pipe.recv)) != "stop":
                if asked == "ready":
                    waiting = asyncio.create_task(self._flowing.wait())
                    await asyncio.wait({waiting, playing}, return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
                    if playing.done():
                        playing.result()
                pipe.send(self._figures() if asked == "figures" else asked)
            playing.cancel()

    def _figures(self) -> dict[str, Any]:
        now = time.perf_counter()
        figures = {
            "sent": self._sent, "bytes": self._bytes, "seconds": now - self._since, "held_back": self._held_back,
            "cpu_s": time.process_time() - self._cpu_s, "heartbeat_ms": self._late_ms,
            "unanswered": sum(1 for asked in self._asked if now - asked > 10.0),
            "connections": self._connections,
        }  # fmt: skip
        self._reset()
        return figures

    _connections = 0

    async def _hear(self, client: ServerConnection) -> None:
        now_ns = time.time_ns()
        session = self._venue.session(now_ns, client.request.path if client.request else "")
        assert session is not None
        link = Link(session, 0, self._venue.too_slow, random.Random(1))
        self._client, self._link, self._connections = client, link, self._connections + 1
        self._asked.clear()
        async for frame in client:
            text = frame if isinstance(frame, bytes) else frame.encode()
            if b"public/test" in text and self._asked:
                self._late_ms.append(1e3 * (time.perf_counter() - self._asked.popleft()))
            now_ns = time.time_ns()
            link.receive(text, now_ns)
            client.transport.write(b"".join(map(text_frame, link.frames_due(now_ns))))

    async def _play(self) -> None:
        link = await self._settled()
        buffer, starts = await asyncio.to_thread(encode_cycle, self._market, link, self._rate)
        stamps = np.array([match.end() for match in STAMP.finditer(buffer)])
        view, digits = np.frombuffer(buffer, np.uint8), np.arange(STAMP_DIGITS)
        self._flowing.set()
        frames = starts.size - 1
        at, paid, asked = 0, time.perf_counter(), time.perf_counter()
        while True:
            await asyncio.sleep(PAUSE_S)
            client, now = self._client, time.perf_counter()
            if client is None or link is not self._link:
                link, paid = self._link or link, now  # a client that came back: it gets new snapshots
                continue
            due = int((now - paid) * self._rate)
            if client.transport.get_write_buffer_size() > MOST_UNSENT:
                if now - paid > LONGEST_DEBT_S:
                    self._held_back += int((now - paid - LONGEST_DEBT_S) * self._rate)
                    paid = now - LONGEST_DEBT_S
                continue
            paid += due / self._rate
            stamp = np.frombuffer(b"%013d" % (time.time_ns() // 1_000_000), np.uint8)
            while due > 0:
                end = min(frames, at + due)
                first, last = int(starts[at]), int(starts[end])
                some = stamps[np.searchsorted(stamps, first) : np.searchsorted(stamps, last)]
                view[some[:, None] + digits] = stamp
                client.transport.write(bytes(memoryview(buffer)[first:last]))
                self._sent, self._bytes, due = self._sent + end - at, self._bytes + last - first, due - (end - at)
                at = end % frames
            if now - asked >= HEARTBEAT_S:
                asked = now if now - asked > 1.0 else asked + HEARTBEAT_S
                self._asked.append(time.perf_counter())
                client.transport.write(text_frame(deribit_frames.TEST_REQUEST))

    async def _settled(self) -> Link:
        """Wait until a client has subscribed and asks for nothing more."""
        version, since = -1, time.perf_counter()
        while True:
            await asyncio.sleep(0.05)
            link = self._link
            if link is not None and link.session.follows.version != version:
                version, since = link.session.follows.version, time.perf_counter()
            elif link is not None and link.session.follows.tickers and time.perf_counter() - since > SETTLED_S:
                return link


def encode_cycle(market: VenueMarket, link: Link, rate: float) -> tuple[bytearray, np.ndarray]:
    """Return some seconds of the venue's websocket frames in one piece, and where each begins, with the end at the end.

    The books are afterwards what they were before, and so are their numbers.
    """
    seconds = min(max(CYCLE_S, FEWEST_FRAMES / rate), MOST_FRAMES / rate)
    ticks = max(2, round(seconds / TICK_S))
    before = {
        option: (dict(option.book.bids), dict(option.book.asks), option.book.change_id) for option in market.options
    }
    conductor = Conductor(market, rate)
    start_ns, out, owed = market.now_ns, [], 0.0
    for tick in range(ticks):
        there_and_back = min(tick, ticks - tick)
        now_ns = start_ns + round(there_and_back * TICK_S * 1e9)
        if tick % TICKS_PER_PRICE == 0:
            market.advance(now_ns)
            conductor.quotes_changed()
        owed += rate * TICK_S
        count = int(owed)
        owed -= count
        tickers = round(count * TICKER_SHARE)
        if count:
            conductor.publish(now_ns, [link], count - tickers, tickers)
        if tick % round(1 / TICK_S) == 0:
            link.publish(now_ns, Changes(second=True))
        out += link.frames_due(now_ns)
    for move in _moves_back(market, before):
        link.publish(start_ns, Changes(books=(move,)))
    out += link.frames_due(start_ns)
    framed = [text_frame(frame) for frame in out]
    starts = np.concatenate([[0], np.cumsum([len(frame) for frame in framed])])
    return bytearray(b"".join(framed)), starts


def _moves_back(
    market: VenueMarket, before: dict[Option, tuple[dict[int, float], dict[int, float], int]]
) -> Iterator[BookMove]:
    """Yield the move of each book back to what it was; its number goes back too, which a client does not mind."""
    for option, (bids, asks, change_id) in before.items():
        book: OrderBook = option.book
        if book.change_id == change_id:
            continue
        previous, changes = book.change_id, (_changes(book.bids, bids), _changes(book.asks, asks))
        book.bids, book.asks, book.change_id = bids, asks, change_id
        book.best_bid, book.best_ask = max(bids, default=0), min(asks, default=0)
        yield BookMove(option, book.moves, previous, change_id, *changes)


def _changes(now: dict[int, float], then: dict[int, float]) -> list[Change]:
    gone: list[Change] = [("delete", price, 0.0) for price in now if price not in then]
    return gone + [
        ("change" if price in now else "new", price, amount)
        for price, amount in then.items()
        if now.get(price) != amount
    ]
