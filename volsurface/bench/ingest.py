"""How many messages a second does one core carry, from bytes to rows?

Deribit-shaped traffic (70 % tickers of about 770 bytes, 30 % book changes of about 315) of 1,000 options, first through
the codec into the feed's row table, then over a loopback websocket as well; `json.loads` alone stands beside it. CPU
time of the receiving process counts, so that the sender beside it does not.
"""

import asyncio
import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any

from rich.console import Console
from rich.table import Table
from websockets.asyncio.server import ServerConnection, serve

from volsurface.bench.ingest_venues import venue_rows
from volsurface.clock import SystemClock
from volsurface.io.connection import Connection
from volsurface.market.row_table import RowTable
from volsurface.venues.codec import Codec
from volsurface.venues.registry import make_codec

OPTIONS = 1_000
MESSAGES = 60_000
REPEATS = 3
EXPIRY_MS = 2_066_544_000_000  # 27 June 2035, 08:00 UTC
TIME_MS = 1_790_133_840_888


def main(as_json: bool) -> int:
    """Print the tables, or their rows as JSON."""
    rows, of_venues = run(), venue_rows()
    if as_json:
        print(json.dumps(rows + of_venues))
        return 0
    table = Table("what", "us/message", "messages/s per core", title="ingest, bytes to rows, best of three")
    for row in rows:
        table.add_row(row["what"], f"{row['us']:.2f}", f"{1e6 / row['us']:,.0f}")
    Console().print(table)
    table = Table("venue", "what", "us/message", "messages/s per core", "bytes/message", "rows/message")
    table.title = "ingest by venue, messages of its simulator"
    for row in of_venues:
        rate = f"{1e6 / row['us']:,.0f}"
        table.add_row(row["venue"], row["what"], f"{row['us']:.2f}", rate, f"{row['bytes']:.0f}", f"{row['rows']:.2f}")
    Console().print(table)
    return 0


def run(messages: int = MESSAGES, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Return one row per variant: what, and CPU microseconds per message."""
    tickers = [ticker_frame(n, n // OPTIONS) for n in range(messages)]
    books = [book_frame(n, n // OPTIONS) for n in range(messages)]
    mixed = mixed_frames(messages)
    table = [
        ("json.loads alone, mixed", lambda: _through_json(mixed)),
        ("codec + row table, ticker", lambda: _through_codec(tickers)),
        ("codec + row table, book", lambda: _through_codec(books)),
        ("codec + row table, mixed", lambda: _through_codec(mixed)),
        ("websocket + codec + row table, mixed", lambda: asyncio.run(_through_socket(messages, False))),
        (
            "fast lane + codec + row table, mixed (in a flood tickers may be superseded)",
            lambda: asyncio.run(_through_socket(messages, True)),
        ),
    ]
    return [{"what": what, "us": min(measure() for _ in range(repeats))} for what, measure in table]


def _cpu_us(work: Callable[[], object], messages: int) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) / messages * 1e6


def _through_json(frames: list[bytes]) -> float:
    def work() -> None:
        for frame in frames:
            json.loads(frame)

    return _cpu_us(work, len(frames))


def symbol(option: int) -> str:
    """Return the name of option number `option`."""
    return f"BTC-27JUN35-{50_000 + 100 * option}-C"


def ticker_frame(n: int, turn: int) -> bytes:
    """Return a ticker of option `n % OPTIONS`, with all the fields the venue sends; its numbers move with `turn`."""
    bid = round(0.0125 + 0.0005 * (turn % 7), 4)
    data = {
        "underlying_price": 64123.25 + turn % 50, "underlying_index": "SYN.BTC-27JUN35", "timestamp": TIME_MS + turn,
        "stats": {"volume_usd": 64021.35, "volume": 12.4, "price_change": -3.1802, "low": 0.011, "high": 0.0145},
        "state": "open", "settlement_price": 0.01284412, "open_interest": 1204.3, "min_price": 0.0001,
        "max_price": 0.0445, "mark_price": 0.01298731, "mark_iv": 54.17, "last_price": 0.013, "interest_rate": 0.0,
        "instrument_name": symbol(n % OPTIONS), "index_price": 64077.12,
        "greeks": {"vega": 61.22114, "theta": -31.40288, "rho": 11.20734, "gamma": 0.00002, "delta": 0.31874},
        "estimated_delivery_price": 64077.12, "bid_iv": 53.61, "best_bid_price": bid, "best_bid_amount": 14.2,
        "best_ask_price": bid + 0.0005, "best_ask_amount": 9.7, "ask_iv": 54.92,
    }  # fmt: skip
    return _notification(f"ticker.{symbol(n % OPTIONS)}.100ms", data)


def book_frame(n: int, turn: int) -> bytes:
    """Return change number `turn` of the book of option `n % OPTIONS`; number 0 is its snapshot."""
    price = round(0.0125 + 0.0005 * (turn % 7), 4)
    data: dict[str, Any] = {"type": "change", "timestamp": TIME_MS + turn, "instrument_name": symbol(n % OPTIONS)}
    if turn:
        data |= {"prev_change_id": 33_195_894_000 + turn - 1, "bids": [["change", price, 11.5]], "asks": []}
    else:
        levels = [round(0.0125 + 0.0005 * step, 4) for step in range(14)]
        sides = {"bids": [["new", p, 10.0] for p in levels[:7]], "asks": [["new", p, 10.0] for p in levels[7:]]}
        data |= {"type": "snapshot", **sides}
    return _notification(f"book.{symbol(n % OPTIONS)}.100ms", data | {"change_id": 33_195_894_000 + turn})


def _notification(channel: str, data: dict[str, Any]) -> bytes:
    frame = {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}
    return json.dumps(frame, separators=(",", ":")).encode()


def mixed_frames(messages: int) -> list[bytes]:
    """Return seven tickers to every three book frames; each option's book frames follow one another."""
    frames, books = [], 0
    for n in range(messages):
        if n % 10 < 7:
            frames.append(ticker_frame(n, n // OPTIONS))
        else:
            frames.append(book_frame(books, books // OPTIONS))
            books += 1
    return frames


def answer(frame: bytes) -> bytes:
    """Return what the venue answers to one of the codec's opening calls."""
    call = json.loads(frame)
    result: Any = "ok"
    if call["method"] == "public/get_instruments":
        common: dict[str, Any] = {
            "kind": "option",
            "base_currency": "BTC",
            "quote_currency": "BTC",
            "instrument_type": "reversed",
        }
        common |= {"option_type": "call", "expiration_timestamp": EXPIRY_MS, "tick_size": 0.0001}
        result = [common | {"instrument_name": symbol(n), "strike": 50_000 + 100 * n} for n in range(OPTIONS)]
    elif call["method"] == "public/subscribe":
        result = call["params"]["channels"]
    return json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}).encode()


def ready_codec(table: RowTable, now_ns: int) -> Codec:
    """Return a codec that has been answered until it is live."""
    codec = make_codec("deribit", ["BTC"], ["ticker", "book"], table)
    codec.connected(now_ns)
    while codec.state != "live":
        for frame in codec.frames_to_send():
            codec.receive(answer(frame), now_ns)
    return codec


def _through_codec(frames: list[bytes]) -> float:
    now_ns = TIME_MS * 1_000_000
    codec = ready_codec(RowTable(epoch=1), now_ns)

    def work() -> None:
        receive = codec.receive
        for frame in frames:
            receive(frame, now_ns)

    us = _cpu_us(work, len(frames))
    if codec.rejected or codec.gaps:
        raise AssertionError(f"the benchmark's own frames: {codec.rejected} rejected, {codec.gaps} gaps")
    return us


async def _through_socket(messages: int, fast_lane: bool) -> float:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    sender = context.Process(target=send_frames, args=(theirs, messages), daemon=True)
    sender.start()
    port = await asyncio.to_thread(ours.recv)
    stop, cpu_s = asyncio.Event(), {}

    def note(state: str) -> None:
        cpu_s[state] = time.process_time()
        if state == "down":
            stop.set()

    codec = make_codec("deribit", ["BTC"], ["ticker", "book"], RowTable(epoch=1))
    url = f"ws://127.0.0.1:{port}"
    await Connection(url, codec, SystemClock(), on_state=note, fast_lane=fast_lane).run(stop)
    ours.send(None)
    await asyncio.to_thread(sender.join)
    if codec.messages < messages or codec.rejected or codec.gaps:
        raise AssertionError(f"{codec.messages} received, {codec.rejected} rejected, {codec.gaps} gaps")
    return (cpu_s["down"] - cpu_s["live"]) / messages * 1e6


def send_frames(pipe: Pipe, messages: int) -> None:
    """Answer the codec's opening calls on a loopback port, send the frames as fast as they are read, and close."""
    framed = [bytes((0x81, 126)) + len(f).to_bytes(2, "big") + f for f in mixed_frames(messages)]
    chunks = [b"".join(framed[start : start + 100]) for start in range(0, messages, 100)]

    async def handle(socket: ServerConnection) -> None:
        for _ in range(7):  # heartbeat, index and listing channels, instruments, and 2,000 channels in four calls
            await socket.send(answer(await socket.recv(decode=False)), text=True)
        for chunk in chunks:
            # Framed before, so that the sender is never slower than the receiver.
            socket.transport.write(chunk)
            await socket.drain()

    async def run() -> None:
        async with serve(handle, "127.0.0.1", 0, compression=None) as server:
            pipe.send(server.sockets[0].getsockname()[1])
            await asyncio.to_thread(pipe.recv)

    with contextlib.suppress(EOFError):
        asyncio.run(run())
