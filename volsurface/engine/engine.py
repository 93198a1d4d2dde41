"""The engine service: drains the feed, lets every underlying be stepped, publishes, answers pages, takes their settings."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from volsurface.clock import Clock, SystemClock
from volsurface.engine import candidate
from volsurface.engine.audit import KINDS, Finding
from volsurface.engine.journal import Journal, RecordedJournal, step_of
from volsurface.engine.latency import Latencies, percentiles
from volsurface.engine.ledger import Ledger, joined
from volsurface.engine.materiality import Thresholds
from volsurface.engine.processes import Processes
from volsurface.engine.service import run_service
from volsurface.engine.slots import SlotTable
from volsurface.engine.step import StepResult
from volsurface.engine.stepping import Inputs, Stepper
from volsurface.engine.venue_status import silent_venues, venue_status
from volsurface.engine.warm import FREE_FIT, compile_kernels
from volsurface.errors import SettingsError, TransportError, unknown_name
from volsurface.io.places import ENGINE_SOCKET, FEED_SOCKET, HISTORIAN_FILE, read_json, write_json
from volsurface.io.publication import Publication
from volsurface.io.recording import ENGINE, Recorder
from volsurface.io.transport.puller import Batch, FeedPuller
from volsurface.io.transport.unix import UnixChannel, UnixServer
from volsurface.io.transport.wire import CONTROL, SLOTS, Channel, decode_map, encode_map
from volsurface.market.quote import EVENT_KINDS, SEVERITIES
from volsurface.settings import Settings, setting_names
from volsurface.surface.surface import Surface

log = logging.getLogger(__name__)

NICE = 5  # below the feed, above the historian: a heartbeat never waits for a fit
STATUS_EVERY_S = 0.5
PREVIEW_EVERY_S = 1.0  # the compiler holds the interpreter most of the time
RETRY_S = 0.2  # pause after a pull that failed
SETTINGS_FILE = "engine-settings.json"
AT_START = {"market": set(setting_names("market")) - {"venues"}, "history": set(setting_names("history"))}
PULL_EVERY_S = 0.008  # between the beginnings of two pulls: what a row waits at most before the engine has it
SWITCH_S = 0.0005  # the interpreter's lock changes threads this often: pulls go on while a step runs
RECENT = 20  # statuses over which latencies are shown


class Engine:
    """State and rules of the service; `run` is its loop. Belongs to one event loop."""

    def __init__(
        self, settings: Settings, run_folder: Path, run: str, clock: Clock | None = None,
        feed: Channel | None = None, journal: Journal | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.run_id = run
        self._run_folder = run_folder
        self._clock = clock or SystemClock()
        self.slots = SlotTable(epoch=int.from_bytes(os.urandom(7), "little") + 1)
        self._feed = feed or UnixChannel(run_folder / FEED_SOCKET)
        self._puller = FeedPuller(self._feed)
        self._journal = journal
        self._stepper = Stepper(
            settings.market.underlyings,
            self._inputs,
            # Half a snapshot is no market: the listing that its ids belong to has not been handed over yet.
            lambda: self._puller.rows if self._puller.settled else self._puller.rows[:0],
            self._encode,
            self._publish,
            self._found,
            self._begun,
            self._venue_fitted,
        )
        self._venue_surfaces: dict[str, dict[str, Any]] = {name: {} for name in settings.market.underlyings}
        self._surface_ids = dict.fromkeys(settings.market.underlyings, 0)
        self._listed = 0
        self._feed_error = "waiting for the feed"
        self._kernels: dict[str, Any] | None = None
        self._steps = self._fits = self._published = self._dropped = self._rows = self._pulls = self._backlog = 0
        self._step_ms = self._fit_ms = 0.0
        self._to_row, self._to_surface = Latencies(), Latencies()
        self._recent: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=RECENT)
        self._audits: dict[str, dict[str, float]] = {
            kind: {"audited": 0, "worst_bp": 0.0, "threshold_bp": 0.0, "breaches": 0} for kind in KINDS
        }
        self._processes = Processes(run_folder)
        self._loop_cpu_ns = 0
        self._market_time_ns = self._market_seen_ns = 0
        saved = read_json(run_folder / SETTINGS_FILE)
        if saved and saved.get("run") == run:  # a restart within one run: what the page has changed stays in force
            self.settings.update(saved["values"], "settings of this run")
            self.settings.version = saved["version"]

    async def handle(self, kind: int, body: bytes) -> bytes:
        """Answer one request of a page, the historian or a notebook."""
        if kind == SLOTS:
            return await self.slots.reply(body)
        if kind == CONTROL:
            request = decode_map(body)
            return await self._candidate(request) if "candidate" in request else self._control(request)
        raise TransportError(f"the engine answers kinds {SLOTS} (slots) and {CONTROL} (control), found {kind}")

    async def _candidate(self, request: dict[str, Any]) -> bytes:
        try:
            return encode_map(
                await candidate.answer(
                    request["candidate"], self.settings, self._stepper.waiting, self._stepper.candidate
                )
            )
        except SettingsError as error:
            return encode_map({"error": str(error)})

    def _control(self, request: dict[str, Any]) -> bytes:
        who = str(request.get("who", "unknown"))
        values = request.get("settings", {})
        try:
            self._check_change(values)
            version = self.change_settings(values, who)
        except SettingsError as error:
            return encode_map({"error": str(error)})
        write_json(
            self._run_folder / SETTINGS_FILE,
            {"run": self.run_id, "version": version, "values": self.settings.values()},
        )
        return encode_map({"version": version})

    def change_settings(self, values: dict[str, dict[str, Any]], who: str) -> int:
        """Take new settings for the steps to come and tell everybody; return their version, or raise SettingsError."""
        version = self.settings.update(values, "settings")
        if "fit" in values or "venues" in values.get("market", {}):
            for waiting in self._stepper.waiting.values():
                waiting.refit_all()
        if self._journal is not None:
            self._journal.settings(version, values, who)
        self._publish_settings()
        self.slots.event(
            "settings", self._clock.now_ns(), f"version {version} by {who}", values=values, version=version, who=who
        )
        log.info("settings version %d by %s: %s", version, who, values)
        return version

    def _check_change(self, values: Any) -> None:
        """Refuse what a running engine could only take without doing it."""
        if not isinstance(values, dict) or not all(isinstance(entries, dict) for entries in values.values()):
            raise SettingsError(f"settings must be tables of values by section, found {values!r}")
        for section, names in AT_START.items():
            for name in values.get(section, ()):
                if name in names:
                    raise SettingsError(
                        f"{section}.{name} can only be set when the server starts, with a flag or in a file"
                    )
        known = {record["name"].decode() for record in self._puller.venues}
        for name in values.get("market", {}).get("venues", ()):
            if name not in known:
                raise SettingsError(unknown_name("venue", str(name), known or {"none is connected"}))

    def _publish_settings(self) -> None:
        body = {"version": self.settings.version, "values": self.settings.values()}
        self.slots.set("settings", encode_map(body))

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; compiles the kernels first, saying how far it is."""
        server = UnixServer(self._run_folder / ENGINE_SOCKET, self.handle)
        await server.start()
        self.announce()
        status = asyncio.create_task(self._status_loop())
        try:
            await self._compile(stop)
            if self._journal is not None:
                self._journal.started(self.settings.version, self.settings.values())
            gc.collect()
            gc.freeze()
            sys.setswitchinterval(SWITCH_S)
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._pull_loop(stop))
                loops.create_task(self._stepper.run(stop, lambda: self.settings.thresholds.step_ms / 1e3))
        finally:
            status.cancel()
            await server.close()
            await self._puller.close()

    def announce(self) -> None:
        """Tell whoever follows that an engine has started, and its settings."""
        self._publish_settings()
        self.slots.event("restart", self._clock.now_ns(), "engine started", service="engine", pid=os.getpid())

    async def _compile(self, stop: asyncio.Event) -> None:
        """Compile the kernels beside the loop, so that pages hear how far it is; a stop does not wait for the compiler.

        As soon as the free fit can be made, pages get it as a preview.
        """
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        failures: list[Exception] = []

        def progress(number: int, total: int, name: str) -> None:
            self._kernels = {"done": number, "total": total, "name": name}

        def work() -> None:
            try:
                compile_kernels(progress)
            except Exception as error:
                failures.append(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: we were stopped meanwhile
                loop.call_soon_threadsafe(done.set)

        start = time.perf_counter()
        # A daemon thread: the interpreter would wait for one of an executor.
        threading.Thread(target=work, name="compile", daemon=True).start()
        waits = [asyncio.create_task(event.wait()) for event in (done, stop)]
        while not (done.is_set() or stop.is_set()):
            await asyncio.wait(waits, timeout=PREVIEW_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            if self._kernels is not None and len(FREE_FIT) <= self._kernels["done"] < self._kernels["total"]:
                await self._preview()
        for wait in waits:
            wait.cancel()
        await self._puller.close()
        self._puller = FeedPuller(self._feed)  # the first step begins from a snapshot
        if failures:
            raise failures[0]
        if done.is_set():
            self._kernels = None
            log.info("kernels ready in %.1f s", time.perf_counter() - start)

    async def _preview(self) -> None:
        """Offer the free fit of each underlying in a slot of its own, which is no surface to anyone but a page."""
        try:
            self._take(await self._puller.pull())
        except TransportError as error:
            self._feed_error = str(error)
            return
        self._feed_error = ""
        inputs = self._inputs()
        for name, waiting in self._stepper.waiting.items():
            waiting.take_listing()
            rows = self._puller.rows
            fit = waiting.state.preview(rows, self._market_time_ns, inputs.options) if rows.size else None
            if fit is not None:
                newest_ns = int(fit.quotes.quote_time_ns.max())
                preview = self._publication(name, StepResult(fit, 0, newest_ns, newest_ns), inputs)
                self.slots.set(f"preview.{name}", preview.encode())

    async def _pull_loop(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                batch = await self._puller.pull()
            except TransportError as error:
                if not self._feed_error:
                    log.warning("feed: %s", error)
                    self.slots.event("disconnect", self._clock.now_ns(), f"feed: {error}", "warning", service="feed")
                self._feed_error = str(error)
                batch = None
            if batch is not None:
                if self._feed_error:
                    log.info("feed connected")
                self._feed_error = ""
                if batch.snapshot:
                    # A feed that plays a recording waits for somebody to fit it; the others only say yes.
                    with contextlib.suppress(TransportError):
                        await self._feed.request(CONTROL, encode_map({"command": "engine"}))
                self._take(batch)
            pause = PULL_EVERY_S - (time.perf_counter() - started)
            await asyncio.sleep(max(pause, 0.001) if batch is not None else RETRY_S)

    async def pull_once(self) -> None:
        """Take what the feed has that is new: what a replay does before its steps."""
        self._take(await self._puller.pull())

    def step_once(self, underlying: str, now_ns: int, silent: tuple[str, ...] | None = None) -> None:
        """Take one step of an underlying at a given time, with these venues silent (None: ask), here and now: a replay's."""
        inputs = self._inputs()
        options = inputs.options if silent is None else replace(inputs.options, silent_venues=silent)
        self._stepper.step_now(underlying, replace(inputs, now_ns=now_ns, options=options))

    def _begun(self, underlying: str, inputs: Inputs) -> None:
        if self._journal is not None:
            self._journal.step(underlying, step_of(self._puller, inputs))

    def _take(self, batch: Batch) -> None:
        """Bring the market's time and the listing up to date and pass the feed's events on."""
        self._market_time_ns, self._market_seen_ns = batch.feed_time_ns, self._clock.now_ns()
        if batch.snapshot:
            self._listed = 0
            for waiting in self._stepper.waiting.values():
                waiting.forget_listing()
        directory = self._puller.directory
        if len(directory) > self._listed:
            fresh: dict[str, list[int]] = {}
            for iid in range(self._listed, len(directory)):
                fresh.setdefault(directory[iid].underlying, []).append(iid)
            for underlying, iids in fresh.items():
                if underlying in self._stepper.waiting:
                    self._stepper.waiting[underlying].list(iids, [directory[iid] for iid in iids])
            self._listed = len(directory)
        self._dropped += batch.dropped
        self._rows += batch.changed.size
        self._pulls += 1
        self._backlog = max(self._backlog, batch.changed.size)
        if not batch.snapshot:
            received = self._puller.rows["ts_recv_ns"][batch.changed]
            self._to_row.add(self._clock.now_ns() - received[received > 0])
        self._stepper.note(batch.changed)
        for event in batch.events:
            if EVENT_KINDS[event["kind"]] not in ("trade", "listed"):
                seq = int(event["seq"])
                self.slots.event(
                    EVENT_KINDS[event["kind"]], int(event["ts_ns"]), batch.texts.get(seq, ""),
                    SEVERITIES[event["severity"]], service="feed", iid=int(event["iid"]),
                )  # fmt: skip

    def _inputs(self) -> Inputs:
        """Return what a step that begins now is given beside the rows."""
        thresholds = self.settings.thresholds
        limits = Thresholds(
            vol_change=thresholds.vol_change_bp * 1e-4,
            publish_change=thresholds.publish_change_bp * 1e-4,
            stale_ns=int(thresholds.stale_s * 1e9),
            forward_change=thresholds.forward_change_bp * 1e-4,
            audit_share=thresholds.audit_percent / 100,
        )
        now_ns = self._market_now_ns()
        options = replace(
            self.settings.fit.options(),
            excluded_venues=self._excluded_venues(),
            silent_venues=silent_venues(self._puller.venues, now_ns, limits.stale_ns),
        )
        return Inputs(now_ns, options, limits)

    def _excluded_venues(self) -> tuple[str, ...]:
        """Venues that are connected but not wanted in the fit, as the page's switches say."""
        names = (record["name"].decode() for record in self._puller.venues)
        return tuple(sorted(name for name in names if name not in self.settings.market.venues))

    def _market_now_ns(self) -> int:
        """Return the market's time: the feed's, carried on by our own clock while the feed is silent."""
        silent_ns = self._clock.now_ns() - self._market_seen_ns
        return self._market_time_ns + (silent_ns if self._feed_error and silent_ns > 0 else 0)

    def _publication(self, underlying: str, result: StepResult, inputs: Inputs) -> Publication:
        assert result.fit is not None
        return Publication(
            underlying=underlying,
            surface_id=self._surface_ids[underlying],
            market_time_ns=inputs.now_ns,
            published_ns=self._clock.now_ns(),
            newest_quote_ns=result.newest_quote_ns,
            oldest_tick_ns=result.oldest_tick_ns,
            changed=result.changed,
            spot=self._spot(underlying),
            settings_version=self.settings.version,
            surface=result.fit.surface,
            quotes=result.fit.quotes,
            model_words=result.fit.words,
            model_gain=result.fit.gain,
        )

    def _encode(self, underlying: str, result: StepResult, inputs: Inputs) -> bytes:
        """Return the message of a publication; called in the stepping thread."""
        self._surface_ids[underlying] += 1
        return self._publication(underlying, result, inputs).encode()

    def _publish(self, underlying: str, result: StepResult, message: bytes, inputs: Inputs, ms: float) -> None:
        self._steps += 1
        self._step_ms += 0.1 * (ms - self._step_ms)
        if result.refitted:
            self._fits += result.refitted
            self._fit_ms += 0.1 * (ms - self._fit_ms)
        if result.fit is None:
            return
        self.slots.set(f"surface.{underlying}", message)
        if self.slots.newest(f"preview.{underlying}"):
            self.slots.set(f"preview.{underlying}", b"")
        self.slots.event(
            "published", inputs.now_ns, "", underlying=underlying, surface_id=self._surface_ids[underlying],
            digest=result.fit.surface.digest,
        )  # fmt: skip
        if self._journal is not None:
            self._journal.published(underlying, result.fit.surface.digest)
        self._published += 1
        self._to_surface.add(self._clock.now_ns() - result.ticks_ns)

    def _found(self, finding: Finding) -> None:
        """Keep what an audit found; a difference beyond its threshold is an event."""
        audit = self._audits[finding.kind]
        error_bp, threshold_bp = finding.error * 1e4, finding.threshold * 1e4
        audit["audited"] += 1
        audit["worst_bp"], audit["threshold_bp"] = max(audit["worst_bp"], error_bp), threshold_bp
        if error_bp > threshold_bp:
            audit["breaches"] += 1
            self.slots.event(
                "audit", self._market_now_ns(),
                f"{finding.underlying}: skipped {finding.kind} would have moved by {error_bp:.2f} bp", "warning",
                work=finding.kind, error_bp=error_bp, threshold_bp=threshold_bp, expiry_ns=finding.expiry_ns,
                step=finding.step,
            )  # fmt: skip

    def _venue_fitted(self, underlying: str, venue: str, surface: Surface) -> None:
        """Tell the surface of one venue's quotes alone, beside those of the others."""
        self._venue_surfaces[underlying][venue] = surface.to_dict()
        self.slots.set(f"venues.{underlying}", encode_map(self._venue_surfaces[underlying]))

    def _spot(self, underlying: str) -> float:
        """Return the middle index of the venues in the fit that tell one, else of any; NaN when none does."""
        told = {key[0]: value for key, value in self._puller.forwards.items() if key[1:] == (underlying, 0)}
        limit_ns = int(self.settings.thresholds.stale_s * 1e9)
        silent = silent_venues(self._puller.venues, self._market_now_ns(), limit_ns)
        wanted = [told[name] for name in self.settings.market.venues if name in told and name not in silent]
        return float(np.median(wanted or list(told.values()))) if told else float("nan")

    async def _status_loop(self) -> None:
        while True:
            self.publish_status()
            await asyncio.sleep(STATUS_EVERY_S)

    def publish_status(self) -> None:
        """Bring the status slot up to date."""
        self.slots.set("status", encode_map(self.status()))

    def status(self) -> dict[str, Any]:
        """Return what a status strip and the System tab show; all plain values."""
        self._loop_cpu_ns = time.thread_time_ns()
        now_ns = self._clock.now_ns()
        market_ns, connected = self._market_now_ns(), not self._feed_error
        venues = [venue_status(record, market_ns, connected) for record in self._puller.venues]
        processes = self._processes.table()
        ledger = self._ledger(venues, processes)
        self._recent.append((self._to_row.counts.copy(), self._to_surface.counts.copy()))
        (row_then, surface_then), (row_now, surface_now) = self._recent[0], self._recent[-1]
        row, surface = row_now - row_then, surface_now - surface_then
        return {
            "market_time_ns": self._market_now_ns(),
            "wall_time_ns": now_ns,
            "source": self.settings.market.source,
            "run": self.run_id,
            "pid": os.getpid(),
            "feed_error": self._feed_error,
            "venues": venues,
            "messages_per_s": sum(venue["messages_per_s"] for venue in venues),
            "spot": {name: _none_if_nan(self._spot(name)) for name in self._surface_ids},
            "instruments": int(sum(waiting.state.iids.size for waiting in self._stepper.waiting.values())),
            "backlog": int(self._puller.last_rows),
            "largest_backlog": self._backlog,
            "pulls": self._pulls,
            "rows_pulled": self._rows,
            "steps": self._steps,
            "step_ms": self._step_ms,
            "fits": self._fits,
            "fit_ms": self._fit_ms,
            "published": self._published,
            "kernels": self._kernels,
            "ledger": ledger,
            "audits": self._audits,
            "processes": processes,
            "dropped_events": self._dropped,
            "historian": read_json(self._run_folder / HISTORIAN_FILE),
            "latency_ms": {
                **dict(zip(("p50", "p99"), map(_none_if_nan, percentiles(surface, 0.5, 0.99)), strict=True)),
                **dict(zip(("row_p50", "row_p99"), map(_none_if_nan, percentiles(row, 0.5, 0.99)), strict=True)),
            },
            "latencies": {
                "row": self._to_row.sparse(), "row_highest_ms": self._to_row.highest_ms,
                "surface": self._to_surface.sparse(), "surface_highest_ms": self._to_surface.highest_ms,
            },
        }  # fmt: skip

    def _ledger(
        self, venues: list[dict[str, Any]], processes: dict[str, dict[str, float]]
    ) -> dict[str, dict[str, float]]:
        """Return the counts of every stage from the socket to the publication."""
        arrived = Ledger()
        messages, superseded = (sum(int(venue[name]) for venue in venues) for name in ("messages", "superseded"))
        arrived.count("frames", messages, coalesced=superseded)
        arrived.count(
            "rows", max(messages - superseded, self._rows), coalesced=max(0, messages - superseded - self._rows)
        )
        arrived.spend("frames", int(1e9 * sum(p["cpu_s"] for name, p in processes.items() if name.startswith("feed"))))
        arrived.spend("rows", self._loop_cpu_ns)
        states = [waiting.state.ledger.table() for waiting in self._stepper.waiting.values()]
        return arrived.table() | joined(states)


def _none_if_nan(value: float) -> float | None:
    return value if value == value else None


def main(settings: Settings, run_folder: Path, run: str, record: Path | None = None, **service: Any) -> int:
    """Run the engine as a process, its steps recorded in folder `record` if given; return its exit code."""

    async def serve(stop: asyncio.Event) -> None:
        clock = SystemClock()
        if record is None:
            await Engine(settings, run_folder, run, clock).run(stop)
            return
        journal = RecordedJournal(Recorder(record, ENGINE, clock.now_ns()), clock, run)
        try:
            await Engine(settings, run_folder, run, clock, journal=journal).run(stop)
        finally:
            journal.close()

    return run_service(serve, "engine", nice=NICE, **service)
