"""The feed service: venue connections write one row table, consumers pull from it; nothing else runs here."""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path

from volsurface.clock import Clock, SteppedClock, SystemClock
from volsurface.engine.service import run_service
from volsurface.engine.venue_connections import venue_connections
from volsurface.engine.venue_watch import VenueWatch
from volsurface.errors import ServiceError, SettingsError, TransportError, VenueError, unknown_name
from volsurface.io.chain_player import ChainPlayer, read_market
from volsurface.io.connection import Connection
from volsurface.io.places import FEED_SOCKET
from volsurface.io.playback import Controls, RecordingPlayer
from volsurface.io.recording import FEED, ROWS, RecordedCodecs, Recorder
from volsurface.io.recording_reader import Recording
from volsurface.io.rest import RestClient
from volsurface.io.transport import wire
from volsurface.io.transport.hold import Change
from volsurface.io.transport.unix import UnixServer
from volsurface.market.row_table import RowTable
from volsurface.settings import MarketSettings, Settings
from volsurface.venues.registry import default_url
from volsurface.venues.venue_group import VenueGroup
from volsurface.version import __version__

START_UP_S = 10.0  # listing and first snapshots are over: what lives now lives long
COLLECT_EVERY_S = 300.0  # reference counting frees nearly everything; this is for the few cycles of closed connections
MEASURE_S = 1.0  # between two looks at the venues' health
RETRY_S = 1.0
ROWS_EVERY_S = 5.0  # a digest of the row table goes into a recording

log = logging.getLogger(__name__)


class FeedServer:
    """Answers PULL, DIRECTORY and CONTROL from one row table; a handler for any transport.

    table: replaced when a replay starts anew. clock: the market's; its time is every reply's "now". controls: of a market
    that is played; None for one that is not. recorder: where frames go, if they are kept.
    """

    def __init__(
        self, table: RowTable, clock: Clock, controls: Controls | None = None, recorder: Recorder | None = None
    ) -> None:
        self.table, self.controls = table, controls
        self._clock, self._recorder = clock, recorder
        self._change = Change()

    def renew(self, table: RowTable) -> None:
        """Answer from another table: the replay has started anew, and whoever waits must hear it."""
        self.table = table
        self._change.notify()

    async def handle(self, kind: int, body: bytes) -> wire.Reply:
        """Answer one request; a pull that would bring nothing is held until the next write or the liveness beat."""
        if kind == wire.PULL:
            return await self._pull(body)
        if kind == wire.DIRECTORY:
            return wire.encode_directory(self.table.directory, self.table.epoch, body)
        if kind == wire.CONTROL:
            return self._control(wire.decode_map(body))
        raise TransportError(f"the feed does not answer requests of kind {wire.KINDS.get(kind, kind)}")

    async def _pull(self, body: bytes) -> wire.Reply:
        _, epoch, cursor, event_cursor = wire.decode_pull(body)
        if not self.table.has_newer(epoch, cursor, event_cursor):
            self.table.on_next_write = self._change.notify
            await self._change.wait()
        return self.page(body)

    def page(self, body: bytes) -> wire.Reply:
        """Answer a pull at once, whatever there is."""
        return wire.encode_page(self.table.reply(*wire.decode_pull(body), self._clock.now_ns()))

    def _control(self, request: Mapping[str, object]) -> bytes:
        command = str(request.get("command"))
        if command == "engine":  # there is one that can fit: a played market may begin
            if self.controls is not None:
                self.controls.release()
            return wire.encode_map({})
        if command == "playback":
            return self._playback(request)
        if command != "health":
            raise TransportError(unknown_name("feed command", command, ["engine", "health", "playback"]))
        return wire.encode_map(
            {
                "pid": os.getpid(),
                "epoch": self.table.epoch,
                "version": self.table.version,
                "events": self.table.event_seq,
                "instruments": len(self.table.directory),
                "messages_per_s": {venue: health.messages_per_s for venue, health in self.table.health.items()},
                "recording": self._recorder.status() if self._recorder is not None else None,
            }
        )

    def _playback(self, request: Mapping[str, object]) -> bytes:
        try:
            if self.controls is None:
                raise SettingsError("this market is not a recording: it cannot be paused or sought in")
            return wire.encode_map(self.controls.take(request))
        except SettingsError as error:
            return wire.encode_map({"error": str(error)})


async def run_feed(
    settings: Settings,
    run_folder: Path,
    stop: asyncio.Event,
    venue_urls: Mapping[str, str] | None = None,
    chains: Sequence[str | Path] = (),
    *,
    recording: Path | None = None,
    record: Path | None = None,
) -> None:
    """Serve the market of `settings.market` on `run_folder`/feed.sock until `stop` is set.

    venue_urls: venue -> address used instead of the venue's own; the simulated market has no other.
    chains: the files that source "replay" plays, in time order of what they hold; or
    recording: the folder of recorded frames that it plays.
    record: folder where everything that codecs are given is kept.
    Raises ServiceError, VenueError, ChainFileError or RecordingError for what cannot be started.
    """
    market = settings.market
    clock: Clock
    recorder: Recorder | None = None
    connections: list[Connection] = []
    rest = RestClient()
    work: list[Callable[[asyncio.Event], Coroutine[None, None, None]]]
    if market.source == "replay":
        clock = SteppedClock(0)
        player = await asyncio.to_thread(_player, clock, market.speed, chains, recording)
        server = FeedServer(player.table, clock, player.controls)
        player.on_table = server.renew
        work = [player.run]
    else:
        clock, table = SystemClock(), RowTable(epoch=secrets.randbits(63) | 1)
        recorder = Recorder(record, FEED, clock.now_ns()) if record is not None else None
        server = FeedServer(table, clock, recorder=recorder)
        kept = RecordedCodecs(recorder) if recorder is not None else None
        connections = _connections(market, venue_urls or {}, table, clock, rest, kept)
        work = [partial(_keep_connected, connection, table, clock) for connection in connections]
        if recorder is not None and kept is not None:
            kept.begin(clock.now_ns(), epoch=table.epoch, source=market.source, version=__version__)
            work.append(partial(_look_after_recorder, recorder, table, clock))
    watch = VenueWatch(server.table, connections)
    work += [partial(_measure, watch, clock), _spare_the_loop_from_gc]
    async with UnixServer(run_folder / FEED_SOCKET, server.handle):
        log.info("epoch %x, source %s, socket %s", server.table.epoch, market.source, run_folder / FEED_SOCKET)
        tasks = [asyncio.create_task(part(stop)) for part in work]
        try:
            await asyncio.gather(*tasks, stop.wait())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await rest.close()
            if recorder is not None:
                recorder.note(ROWS, 0, clock.now_ns(), server.table.digest())
                recorder.close(clock.now_ns())


def _player(
    clock: SteppedClock, speed: float, chains: Sequence[str | Path], recording: Path | None
) -> ChainPlayer | RecordingPlayer:
    """Return what plays the source "replay"."""
    if recording is not None:
        return RecordingPlayer(Recording(recording), clock, speed)
    if not chains:
        raise ServiceError("the source is replay, but neither chain files nor a recording are given")
    return ChainPlayer(read_market(chains), RowTable(epoch=secrets.randbits(63) | 1), clock, speed)


async def _look_after_recorder(recorder: Recorder, table: RowTable, clock: Clock, stop: asyncio.Event) -> None:
    """Put the table's digest into the recording now and then, for replays to compare, and say when the disk refuses."""
    trouble = ""
    while not await _wait(stop, ROWS_EVERY_S):
        recorder.note(ROWS, 0, clock.now_ns(), table.digest())
        if recorder.trouble != trouble:
            trouble = recorder.trouble
            text = trouble or f"recording again; {recorder.lost} records are missing"
            table.event("disk", clock.now_ns(), "error" if trouble else "info", text=text)


def _connections(
    market: MarketSettings, venue_urls: Mapping[str, str], table: RowTable, clock: Clock, rest: RestClient,
    kept: RecordedCodecs | None,
) -> list[Connection]:  # fmt: skip
    """Return the connections of each venue, as many as it needs; their codecs write into `table`, which reports on them.

    A venue that has none of the underlyings or channels asked for is an event, and down, unless it is so with all.
    """
    for venue in venue_urls:
        if venue not in market.venues:
            raise ServiceError(unknown_name("venue in --venue-url", venue, market.venues))
    found: list[Connection] = []
    refused: list[VenueError] = []
    for venue in market.venues:
        url = venue_urls.get(venue)
        if url is None:
            if market.source == "simulated":
                raise ServiceError(f"no address of the simulated {venue}; give --venue-url {venue}=ws://127.0.0.1:PORT")
            url = default_url(venue)
        try:
            mine = venue_connections(venue, url, venue in venue_urls, market, table, clock, rest, kept)
        except VenueError as error:
            refused.append(error)
            log.error("%s", error)
            table.event("disconnect", clock.now_ns(), "error", text=str(error))
            mine = []
        table.watch(VenueGroup(venue, [connection.codec for connection in mine]))
        found += mine
    if refused and not found:
        raise refused[0]
    return found


async def _measure(watch: VenueWatch, clock: Clock, stop: asyncio.Event) -> None:
    """Measure the venues' health every MEASURE_S until `stop`."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    while not await _wait(stop, MEASURE_S):
        now = loop.time()
        watch.measure(clock.now_ns(), now - before)
        before = now


async def _keep_connected(connection: Connection, table: RowTable, clock: Clock, stop: asyncio.Event) -> None:
    """Run one venue's connection until `stop`; whatever goes wrong in it stays with this venue."""
    while not stop.is_set():
        try:
            await connection.run(stop)
        except Exception as error:
            venue = connection.codec.venue
            log.exception("the connection to %s failed; trying again", venue)
            table.event("disconnect", clock.now_ns(), "error", text=f"{venue}: {type(error).__name__}: {error}")
            await _wait(stop, RETRY_S)


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Return after `seconds`, or at once when `stop` is set; True when it is."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


async def _spare_the_loop_from_gc(stop: asyncio.Event) -> None:
    """Take what start-up made out of the collector's sight, and collect the rest rarely.

    A full collection of a large heap stops the loop for 200 ms, and heartbeats with it.
    """
    if await _wait(stop, START_UP_S):
        return
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        while not await _wait(stop, COLLECT_EVERY_S):
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()


def main(
    settings: Settings,
    run_folder: Path,
    venue_urls: Mapping[str, str] | None = None,
    chains: Sequence[str | Path] = (),
    *,
    recording: Path | None = None,
    record: Path | None = None,
    log_level: str = "INFO",
    log_file: Path | None = None,
) -> int:
    """Run the feed as a process of its own and return its exit code; arguments as in `run_feed` and `run_service`."""
    return run_service(
        lambda stop: run_feed(settings, run_folder, stop, venue_urls, chains, recording=recording, record=record),
        "feed",
        log_level=log_level,
        log_file=log_file,
    )
