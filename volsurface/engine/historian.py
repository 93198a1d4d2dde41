"""The historian service: follows the feed and the engine, each about once a second, and writes the history.

It is never in anybody's way: it only asks, what it cannot store it drops and counts, and whatever kills it costs at most
the rows of one flush.
"""

import asyncio
import logging
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

from volsurface.clock import Clock, SystemClock
from volsurface.engine.client import LiveClient
from volsurface.engine.history_rows import HistoryRows
from volsurface.engine.service import run_service
from volsurface.errors import SettingsError, TransportError
from volsurface.io.history.compaction import Limits
from volsurface.io.history.schema import COMPACTED
from volsurface.io.history.writer import Flushed, Writer
from volsurface.io.places import FEED_SOCKET, HISTORIAN_FILE, history_folder, write_json
from volsurface.io.transport.puller import Batch, FeedPuller
from volsurface.io.transport.unix import UnixChannel
from volsurface.io.transport.wire import Channel
from volsurface.settings import HistorySettings, Settings
from volsurface.version import __version__

log = logging.getLogger(__name__)

NICE = 10  # below the engine: a surface never waits for the disk
PULL_EVERY_S = 1.0
SIZE_EVERY_S = 60.0  # how often the bytes on disk are counted
BACK_NS = 60 * 10**9  # a replay whose time goes back by more than this has started again
DAY_S = 86_400.0


class Historian:
    """State and rules of the service; `run` is its loop.

    status: what `<run folder>/historian.json` says after each flush (see docs/history.md).
    """

    def __init__(
        self, settings: Settings, store: Path, run_folder: Path, source: str, run: str, clock: Clock | None = None,
        writer: Writer | None = None, feed: Channel | None = None, engine: Channel | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._store, self._run_folder, self._source = store, run_folder, source
        self._clock = clock or SystemClock()
        self._puller = FeedPuller(feed or UnixChannel(run_folder / FEED_SOCKET))
        self._client = LiveClient(run_folder, engine)
        self._writer = writer or Writer(store, run, limits=limits(settings.history, source))
        self._rows = HistoryRows(self._writer)
        self._feed_error = self._engine_error = ""
        self._stored_ids: dict[str, tuple[int, int]] = {}
        self._events: list[dict[str, Any]] = self._client.events
        self._settings_version = -1
        self._started = False
        self._disk = threading.Lock()
        self._flush_due = time.monotonic() + settings.history.flush_s
        self._size_due = 0.0
        self.status: dict[str, Any] = {
            "pid": os.getpid(), "run": run, "source": source, "folder": str(store),
            "rows_written": 0, "rows_dropped": 0, "flushes": 0, "last_flush_ms": None, "last_flush_ns": None,
            "bytes": 0, "free_bytes": 0, "alarm": None, "put_aside": 0,
        }  # fmt: skip

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop`; then take what feed and engine still say, flush, and let the store go."""
        log.info("writing %s", self._store)
        await self._flush()
        try:
            while not stop.is_set():
                began = time.monotonic()
                await self.second()
                await self.flush_if_due()
                try:
                    await asyncio.wait_for(stop.wait(), max(0.01, PULL_EVERY_S - (time.monotonic() - began)))
                except TimeoutError:
                    continue
            await self.second()
        finally:
            await self._flush(last=True)
            await self._puller.close()
            await self._client.close()
            log.info("%d rows written, %d dropped", self.status["rows_written"], self.status["rows_dropped"])

    async def flush_if_due(self) -> None:
        """Write a segment when `flush_s` seconds have passed since the last."""
        if time.monotonic() >= self._flush_due:
            await self._flush()

    async def second(self) -> None:
        """Take what is new from feed and engine and buffer its rows."""
        batch = await self._pull()
        polled = await self._poll()
        if not self.settings.history.enabled:
            return
        now_ns = self._market_ns(batch)
        if not now_ns:
            return  # a replay that has not begun: there is no time to write under
        if self._source == "replay" and now_ns < self._writer.last_us * 1000 - BACK_NS:
            log.info("the replay starts again: its store is emptied")
            await asyncio.to_thread(self._writer.clear)
            self._rows.forget()
            self._stored_ids.clear()
            self._started = False
        self._rows.begin(now_ns)
        if not self._started:
            self._start()
        if batch is not None:
            self._rows.market(self._puller, batch)
        if polled:
            self._take_engine()

    async def _pull(self) -> Batch | None:
        try:
            batch = await self._puller.pull()
        except TransportError as error:
            if not self._feed_error:
                log.warning("feed: %s", error)
            self._feed_error = str(error)
            return None
        if self._feed_error:
            log.info("feed connected")
        self._feed_error = ""
        return batch

    async def _poll(self) -> bool:
        try:
            polled = await self._client.poll()
            error = self._client.error
        except TransportError as failure:
            polled, error = False, str(failure)
        if error and not self._engine_error:
            log.warning("engine: %s", error)
        elif self._engine_error and not error:
            log.info("engine connected")
        self._engine_error = error
        return polled

    def _market_ns(self, batch: Batch | None) -> int:
        """Return the market's time: the feed's; without one our own, which is the market's unless it is a replay."""
        if batch is not None:
            return batch.feed_time_ns
        return 0 if self._source == "replay" else self._clock.now_ns()

    def _start(self) -> None:
        self._started = True
        self._rows.settings(self.settings.version, self.settings.values(), None)
        self._writer.append(
            "runs", 1,
            {
                "ts": self._writer.last_us, "source": self._source, "version": __version__,
                "host": socket.gethostname(), "pid": os.getpid(),
            },
        )  # fmt: skip
        self._rows.event("restart", "historian started", pid=os.getpid())

    def _take_engine(self) -> None:
        client = self._client
        events, self._events = (client.events if client.events is not self._events else []), client.events
        if client.settings and client.settings_version != self._settings_version:
            self._settings_version = client.settings_version
            if client.settings_version != self.settings.version:
                self._take_settings(events)
        self._rows.engine_events(events)
        for underlying, publication in client.surfaces.items():
            key = (publication.surface_id, publication.published_ns)
            if self._stored_ids.get(underlying) != key:
                self._stored_ids[underlying] = key
                self._rows.publication(publication)
        self._rows.ledger("engine", client.status.get("ledger") or {})

    def _take_settings(self, events: list[dict[str, Any]]) -> None:
        version, values = self._client.settings_version, self._client.settings
        try:
            self.settings.update(values, "settings of the engine")
        except SettingsError as error:
            log.warning("%s", error)
        self.settings.version = version
        self._writer.limits = limits(self.settings.history, self._source)
        changes = [e for e in events if e["kind"] == "settings" and e["detail"].get("version") == version]
        self._rows.settings(version, values, changes[-1]["detail"].get("who") if changes else None)

    async def _flush(self, last: bool = False) -> None:
        self._flush_due = time.monotonic() + self.settings.history.flush_s
        flushed, trouble = await asyncio.to_thread(self._flush_and_maintain, last)
        status = self.status
        status["rows_written"] += flushed.rows
        status["rows_dropped"] += flushed.dropped
        status["flushes"] += 1
        status["last_flush_ms"], status["last_flush_ns"] = round(flushed.ms, 3), self._clock.now_ns()
        self._alarm(trouble)
        try:
            write_json(self._run_folder / HISTORIAN_FILE, status)
        except OSError as error:
            log.warning("cannot write %s: %s", HISTORIAN_FILE, error.strerror)

    def _flush_and_maintain(self, last: bool) -> tuple[Flushed, str]:
        """Do the disk's work, away from the event loop."""
        with self._disk:  # a cancelled flush goes on in its thread while the last one starts
            return self._disk_work(last)

    def _disk_work(self, last: bool) -> tuple[Flushed, str]:
        flushed = self._writer.close() if last else self._writer.flush()
        if last:
            return flushed, flushed.trouble
        trouble = flushed.trouble or self._writer.maintain()
        if time.monotonic() >= self._size_due:
            self._size_due = time.monotonic() + SIZE_EVERY_S
            self.status["bytes"] = self._writer.size()
        else:
            self.status["bytes"] += flushed.bytes
        self.status["free_bytes"] = shutil.disk_usage(self._store).free
        return flushed, trouble

    def _alarm(self, trouble: str) -> None:
        """Say once that the disk refuses, and once that it has recovered; and what was put aside."""
        if trouble and not self.status["alarm"]:
            log.error("history: %s", trouble)
            self._rows.event("disk", trouble, "error")
        elif self.status["alarm"] and not trouble:
            dropped = self.status["rows_dropped"]
            log.info("history: writing again; %d rows were dropped so far", dropped)
            self._rows.event("disk", f"writing again; {dropped} rows were dropped so far", dropped=dropped)
        self.status["alarm"] = trouble or None
        for text in self._writer.quarantined:
            self._rows.event("disk", text, "error")
            self.status["put_aside"] += 1
        self._writer.quarantined.clear()


def limits(settings: HistorySettings, source: str) -> Limits:
    """Return what is kept of a source's history: see docs/history.md."""
    if source == "simulated":
        return Limits(max_bytes=int(min(settings.max_gb, 1.0) * 1e9), max_age_s=dict.fromkeys(COMPACTED, DAY_S))
    if source == "live":
        ages = dict.fromkeys(("quotes", "ivs", "forwards", "venues", "ledger"), 30 * DAY_S)
        return Limits(max_bytes=int(settings.max_gb * 1e9), max_age_s=ages, thin_after_s=7 * DAY_S)
    return Limits(max_bytes=int(settings.max_gb * 1e9))


def main(settings: Settings, data_folder: Path, run_folder: Path, source: str, run: str, **service: Any) -> int:
    """Run the historian as a process; return its exit code."""

    async def serve(stop: asyncio.Event) -> None:
        await Historian(settings, history_folder(data_folder, source), run_folder, source, run).run(stop)

    return run_service(serve, "historian", nice=NICE, **service)
