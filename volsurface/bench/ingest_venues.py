"""Every venue's messages, from bytes to rows: the codec against bare JSON decoders, and over websockets.

The messages are what the simulator of the venue sends about all its BTC options, seven tickers to three book changes.
The codec is measured in memory, live, in pieces of which the fastest counts; the websocket is fed by another process
that gives a fresh codec the recorded opening and then the recorded messages as fast as they are read. In such a flood
the fast lane may leave out tickers that a newer one in the same read supersedes.
"""

import asyncio
import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from volsurface.clock import SystemClock
from volsurface.io.connection import Connection
from volsurface.market.row_table import RowTable
from volsurface.simulator.in_memory import Wire, wires_to
from volsurface.simulator.main import VENUES, simulated_venue
from volsurface.simulator.server import text_frame
from volsurface.simulator.venue_host import VenueHost
from volsurface.venues.registry import make_codec

CHANNELS = ("ticker", "book")
# Books that need a REST snapshot come at the venue's pace, 20 a second: a flood would only measure the waiting for them.
SOCKET_CHANNELS = {"binance": ("ticker", "quote")}
MESSAGES = 20_000
PIECES = 4
STEP_NS = 20_000_000
RATE = 20_000.0  # of the recorded market
LONGEST_OPENING_S = 120.0
REST_S = 0.5  # between opening and flood, so that the client has noted that it is live
CHUNK = 100  # messages written to a socket at once


@dataclass
class Recording:
    """What one connection was told: in the opening each frame with how many the codec had sent before it, and GETs."""

    opening: list[tuple[int, bytes]] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)
    frames: list[bytes] = field(default_factory=list)


def venue_rows(venues: Sequence[str] = VENUES, messages: int = MESSAGES, sockets: bool = True) -> list[dict[str, Any]]:
    """Return one row per venue and variant: venue, what, CPU microseconds and bytes per message, rows per message."""
    rows = []
    for venue in venues:
        us, rows_each, recordings = _through_codecs(venue, messages)
        frames = [frame for recording in recordings for frame in recording.frames]
        variants: list[tuple[str, float]] = [(f"{name} alone", _us(decode, frames)) for name, decode in _decoders()]
        variants.append(("codec + row table", us))
        if sockets:
            if venue in SOCKET_CHANNELS:
                recordings = _through_codecs(venue, messages, SOCKET_CHANNELS[venue])[2]
            for what, fast_lane in (("websocket", False), ("fast lane", True)):
                us = asyncio.run(_through_sockets(venue, recordings, fast_lane))
                variants.append((f"{what} + codec + row table", us))
        size = sum(map(len, frames)) / len(frames)
        rows += [{"venue": venue, "what": w, "us": us, "bytes": size, "rows": rows_each} for w, us in variants]
    return rows


def _decoders() -> list[tuple[str, Callable[[bytes], object]]]:
    """Return the peers as they are used best: one call each on the bytes, msgspec's decoder made once."""
    decoders: list[tuple[str, Callable[[bytes], object]]] = [("json", json.loads)]
    with contextlib.suppress(ImportError):  # of the extra `bench`
        import orjson

        decoders.append(("orjson", orjson.loads))
    return [*decoders, ("msgspec", msgspec.json.Decoder().decode)]


def _us(decode: Callable[[bytes], object], frames: Sequence[bytes]) -> float:
    """Return the best of three CPU times per frame; the bare words some venues send are no JSON and left out."""
    frames = [frame for frame in frames if frame[:1] in b"{["]
    times = []
    for _ in range(3):
        start = time.process_time()
        for frame in frames:
            decode(frame)
        times.append(time.process_time() - start)
    return min(times) / len(frames) * 1e6


def _opened(venue: str, channels: Sequence[str]) -> tuple[VenueHost, list[Wire], list[Recording], RowTable, int]:
    """Return a simulated venue with all its BTC options and its codecs, live, with what was said until then."""
    now_ns = time.time_ns()
    host = VenueHost(simulated_venue(venue, ("BTC",), 1, now_ns), rate=1.0)
    table = RowTable(epoch=1)
    wires = wires_to(host, ["BTC"], channels, table)
    recordings = [Recording() for _ in wires]
    for wire, recording in zip(wires, recordings):
        _record(wire, recording)
    until_ns = now_ns + round(LONGEST_OPENING_S * 1e9)
    quoted = sum(bool(option.book.bids or option.book.asks) for option in host.market.options)
    # A venue's books may come over REST at a pace of their own, after its subscriptions are answered.
    wanted = 0.99 * quoted if "book" in channels else 0.0
    while any(wire.codec.state != "live" for wire in wires) or sum(len(wire.codec.books) for wire in wires) < wanted:
        now_ns += STEP_NS
        host.step(now_ns)
        for wire in wires:
            wire.step(now_ns)
        if now_ns > until_ns:
            raise AssertionError(f"{venue}: {[wire.codec.state for wire in wires]} after {LONGEST_OPENING_S:g} s")
    host.conductor.rate = RATE
    return host, wires, recordings, table, now_ns


def _record(wire: Wire, recording: Recording) -> None:
    def hear(frame: bytes) -> None:
        if wire.codec.state == "live":
            recording.frames.append(frame)
        else:
            recording.opening.append((wire.sent, frame))

    wire.on_frame, wire.on_answer = hear, recording.answers.__setitem__


def _through_codecs(
    venue: str, messages: int, channels: Sequence[str] = CHANNELS
) -> tuple[float, float, list[Recording]]:
    """Return CPU microseconds and rows per message of live codecs in memory, and what each was told."""
    host, wires, recordings, table, now_ns = _opened(venue, channels)
    best, total = float("inf"), 0
    rows_before, piece = table.version, messages // PIECES
    for _ in range(PIECES):
        spent, count = 0.0, 0
        while count < piece:
            now_ns += STEP_NS
            host.step(now_ns)
            for wire, recording in zip(wires, recordings):
                assert wire.link is not None
                frames = wire.link.frames_due(now_ns)
                recording.frames += frames
                receive = wire.codec.receive
                start = time.process_time()
                for frame in frames:
                    receive(frame, now_ns)
                spent += time.process_time() - start
                count += len(frames)
                wire.step(now_ns)
        total += count
        best = min(best, spent / count * 1e6)
    for wire in wires:
        if wire.codec.rejected or wire.codec.gaps:
            raise AssertionError(f"{venue}'s own frames: {wire.codec.rejected} rejected, {wire.codec.gaps} gaps")
    return best, (table.version - rows_before) / total, recordings


async def _through_sockets(venue: str, recordings: list[Recording], fast_lane: bool) -> float:
    """Return CPU microseconds per message of fresh codecs on websockets, one after the other."""
    spent = count = 0.0
    for shard, recording in enumerate(recordings):
        if not recording.frames:
            continue
        spent += await _through_socket(venue, (shard, len(recordings)), recording, fast_lane)
        count += len(recording.frames)
    return spent / count * 1e6


async def _through_socket(venue: str, shard: tuple[int, int], recording: Recording, fast_lane: bool) -> float:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    sender = context.Process(target=replay, args=(theirs, recording), daemon=True)
    sender.start()
    port = await asyncio.to_thread(ours.recv)
    stop, cpu_s = asyncio.Event(), {}

    def note(state: str) -> None:
        cpu_s[state] = time.process_time()
        if state == "down":
            stop.set()

    channels = SOCKET_CHANNELS.get(venue, CHANNELS)
    codec = make_codec(venue, ["BTC"], channels, RowTable(epoch=1), f"http://127.0.0.1:{port}", shard)
    url = f"ws://127.0.0.1:{port}"
    await Connection(url, codec, SystemClock(), on_state=note, fast_lane=fast_lane).run(stop)
    ours.send(None)
    await asyncio.to_thread(sender.join)
    if codec.messages < len(recording.frames) or "live" not in cpu_s:
        raise AssertionError(f"{venue}: {codec.messages} of {len(recording.frames)} received, {list(cpu_s)}")
    return cpu_s["down"] - cpu_s["live"]


def replay(pipe: Pipe, recording: Recording) -> None:
    """Be the venue on a loopback port: the opening as the codec goes through it, then all messages, then the end."""
    framed = [text_frame(frame) for frame in recording.frames]
    chunks = [b"".join(framed[start : start + CHUNK]) for start in range(0, len(framed), CHUNK)]

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        if "websocket" in request.headers.get("Upgrade", "").lower():
            return None
        body = recording.answers.get(request.path)
        headers = Headers({"Content-Length": str(len(body or b"")), "Connection": "close"})
        return Response(404 if body is None else 200, "", headers, body or b"")

    async def handle(socket: ServerConnection) -> None:
        heard = 0
        for needed, frame in recording.opening:
            while heard < needed:
                await socket.recv()
                heard += 1
            await socket.send(frame, text=True)
        await asyncio.sleep(REST_S)
        for chunk in chunks:
            # Framed before, so that the sender is never slower than the receiver.
            socket.transport.write(chunk)
            await socket.drain()

    async def run() -> None:
        options: dict[str, Any] = {"process_request": answer, "compression": None}
        async with serve(handle, "127.0.0.1", 0, **options) as server:
            pipe.send(server.sockets[0].getsockname()[1])
            await asyncio.to_thread(pipe.recv)

    with contextlib.suppress(EOFError):
        asyncio.run(run())
