"""The engine service: drains the feed, steps every underlying, publishes, answers pages and takes their settings."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from volsurface.clock import Clock, SystemClock
from volsurface.engine.materiality import Thresholds
from volsurface.engine.service import run_service
from volsurface.engine.slots import SlotTable
from volsurface.engine.step import Ledger, StepResult, UnderlyingState
from volsurface.engine.warm import FREE_FIT, compile_kernels
from volsurface.errors import SettingsError, TransportError, unknown_name
from volsurface.io.places import ENGINE_SOCKET, FEED_SOCKET, HISTORIAN_FILE, read_json, write_json
from volsurface.io.publication import Publication
from volsurface.io.transport.puller import Batch, FeedPuller
from volsurface.io.transport.unix import UnixChannel, UnixServer
from volsurface.io.transport.wire import CONTROL, SLOTS, decode_map, encode_map
from volsurface.market.quote import EVENT_KINDS, SEVERITIES, VENUE_STATES
from volsurface.settings import Settings, setting_names
from volsurface.surface.options import FitOptions

log = logging.getLogger(__name__)

NICE = 5  # below the feed, above the historian: a heartbeat never waits for a fit
STATUS_EVERY_S = 0.5
PREVIEW_EVERY_S = 1.0  # the compiler holds the interpreter most of the time
RETRY_S = 0.2  # pause after a pull that failed
SETTINGS_FILE = "engine-settings.json"
AT_START = {"market": set(setting_names("market")) - {"venues"}, "history": set(setting_names("history"))}
LATENCIES_KEPT = 600  # publications whose latency figures are shown


class Engine:
    """State and rules of the service; `run` is its loop. Belongs to one event loop."""

    def __init__(self, settings: Settings, run_folder: Path, run: str, clock: Clock | None = None) -> None:
        self.settings = settings
        self.run_id = run
        self._run_folder = run_folder
        self._clock = clock or SystemClock()
        self.slots = SlotTable(epoch=int.from_bytes(os.urandom(7), "little") + 1)
        self._puller = FeedPuller(UnixChannel(run_folder / FEED_SOCKET))
        self._states = {name: UnderlyingState(name) for name in settings.market.underlyings}
        self._surface_ids = dict.fromkeys(self._states, 0)
        self._listed = 0
        self._feed_error = "waiting for the feed"
        self._kernels: dict[str, Any] | None = None
        self._steps = self._fits = self._published = self._dropped = self._rows = 0
        self._step_ms = self._fit_ms = 0.0
        self._latencies: deque[tuple[float, float]] = deque(maxlen=LATENCIES_KEPT)
        self._market_time_ns = self._market_seen_ns = 0
        self._rates: deque[tuple[float, dict[str, int]]] = deque(maxlen=5)
        saved = read_json(run_folder / SETTINGS_FILE)
        if saved and saved.get("run") == run:  # a restart within one run: what the page has changed stays in force
            self.settings.update(saved["values"], "settings of this run")
            self.settings.version = saved["version"]

    async def handle(self, kind: int, body: bytes) -> bytes:
        """Answer one request of a page, the historian or a notebook."""
        if kind == SLOTS:
            return await self.slots.reply(body)
        if kind == CONTROL:
            return self._control(body)
        raise TransportError(f"the engine answers kinds {SLOTS} (slots) and {CONTROL} (control), found {kind}")

    def _control(self, body: bytes) -> bytes:
        request = decode_map(body)
        who = str(request.get("who", "unknown"))
        values = request.get("settings", {})
        try:
            self._check_change(values)
            version = self.settings.update(values, "settings")
        except SettingsError as error:
            return encode_map({"error": str(error)})
        if "fit" in values or "venues" in values.get("market", {}):
            for state in self._states.values():
                state.refit_all()
        write_json(
            self._run_folder / SETTINGS_FILE,
            {"run": self.run_id, "version": version, "values": self.settings.values()},
        )
        self._publish_settings()
        self.slots.event(
            "settings", self._clock.now_ns(), f"version {version} by {who}", values=values, version=version, who=who
        )
        log.info("settings version %d by %s: %s", version, who, values)
        return encode_map({"version": version})

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
        self._publish_settings()
        self.slots.event("restart", self._clock.now_ns(), "engine started", service="engine", pid=os.getpid())
        status = asyncio.create_task(self._status_loop())
        try:
            await self._compile(stop)
            await self._drain_loop(stop)
        finally:
            status.cancel()
            await server.close()
            await self._puller.close()

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
        self._puller = FeedPuller(UnixChannel(self._run_folder / FEED_SOCKET))  # the first step begins from a snapshot
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
        now_ns = self._market_time_ns
        for name, state in self._states.items():
            fit = state.preview(self._puller.rows, now_ns, self._fit_options()) if self._puller.rows.size else None
            if fit is not None:
                newest_ns = int(fit.quotes.quote_time_ns.max())
                preview = self._publication(name, StepResult(fit, 0, newest_ns, newest_ns), now_ns)
                self.slots.set(f"preview.{name}", preview.encode())

    async def _drain_loop(self, stop: asyncio.Event) -> None:
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
                self._take(batch)
            self._step(batch)
            pause = self.settings.thresholds.step_ms / 1e3 - (time.perf_counter() - started)
            try:
                await asyncio.wait_for(stop.wait(), max(pause, 0.001 if batch is not None else RETRY_S))
            except TimeoutError:
                continue

    def _take(self, batch: Batch) -> None:
        """Bring the market's time and the listing up to date and pass the feed's events on."""
        self._market_time_ns, self._market_seen_ns = batch.feed_time_ns, self._clock.now_ns()
        if batch.snapshot:
            self._listed = 0
            for state in self._states.values():
                state.forget_listing()
        directory = self._puller.directory
        if len(directory) > self._listed:
            fresh: dict[str, list[int]] = {}
            for iid in range(self._listed, len(directory)):
                fresh.setdefault(directory[iid].underlying, []).append(iid)
            for underlying, iids in fresh.items():
                if underlying in self._states:
                    self._states[underlying].list(iids, [directory[iid] for iid in iids])
            self._listed = len(directory)
        self._dropped += batch.dropped
        self._rows += batch.changed.size
        for event in batch.events:
            if EVENT_KINDS[event["kind"]] not in ("trade", "listed"):
                seq = int(event["seq"])
                self.slots.event(
                    EVENT_KINDS[event["kind"]], int(event["ts_ns"]), batch.texts.get(seq, ""),
                    SEVERITIES[event["severity"]], service="feed", iid=int(event["iid"]),
                )  # fmt: skip

    def _step(self, batch: Batch | None) -> None:
        if self._puller.rows.size == 0:
            return
        thresholds = self.settings.thresholds
        limits = Thresholds(
            vol_change=thresholds.vol_change_bp * 1e-4,
            publish_change=thresholds.publish_change_bp * 1e-4,
            stale_ns=int(thresholds.stale_s * 1e9),
        )
        changed = batch.changed if batch is not None else np.empty(0, np.int64)
        options = self._fit_options()
        now_ns = self._market_now_ns()
        started = time.perf_counter()
        for name, state in self._states.items():
            before = time.perf_counter()
            result = state.step(self._puller.rows, changed, now_ns, options, limits)
            if result.refitted:
                self._fits += result.refitted
                self._fit_ms += 0.1 * ((time.perf_counter() - before) * 1e3 - self._fit_ms)
            if result.fit is not None:
                self._publish(name, result, now_ns)
        self._steps += 1
        self._step_ms += 0.1 * ((time.perf_counter() - started) * 1e3 - self._step_ms)

    def _fit_options(self) -> FitOptions:
        return replace(self.settings.fit.options(), excluded_venues=self._excluded_venues())

    def _excluded_venues(self) -> tuple[str, ...]:
        """Venues that are connected but not wanted in the fit, as the page's switches say."""
        names = (record["name"].decode() for record in self._puller.venues)
        return tuple(sorted(name for name in names if name not in self.settings.market.venues))

    def _market_now_ns(self) -> int:
        """Return the market's time: the feed's, carried on by our own clock while the feed is silent."""
        silent_ns = self._clock.now_ns() - self._market_seen_ns
        return self._market_time_ns + (silent_ns if self._feed_error and silent_ns > 0 else 0)

    def _publication(self, underlying: str, result: StepResult, now_ns: int) -> Publication:
        assert result.fit is not None
        return Publication(
            underlying=underlying,
            surface_id=self._surface_ids[underlying],
            market_time_ns=now_ns,
            published_ns=self._clock.now_ns(),
            newest_quote_ns=result.newest_quote_ns,
            oldest_tick_ns=result.oldest_tick_ns,
            changed=result.changed,
            spot=self._spot(underlying),
            settings_version=self.settings.version,
            surface=result.fit.surface,
            quotes=result.fit.quotes,
        )

    def _publish(self, underlying: str, result: StepResult, now_ns: int) -> None:
        self._surface_ids[underlying] += 1
        publication = self._publication(underlying, result, now_ns)
        self.slots.set(f"surface.{underlying}", publication.encode())
        if self.slots.newest(f"preview.{underlying}"):
            self.slots.set(f"preview.{underlying}", b"")
        self.slots.event(
            "published", now_ns, "", underlying=underlying, surface_id=publication.surface_id,
            digest=publication.surface.digest,
        )  # fmt: skip
        self._published += 1
        if result.ticks_ns.size:
            ages_ms = (publication.published_ns - result.ticks_ns) / 1e6
            self._latencies.append((float(np.median(ages_ms)), float(ages_ms.max())))

    def _spot(self, underlying: str) -> float:
        """Return the index of the first wanted venue that tells one, else of any; NaN when none does."""
        told = {key[0]: value for key, value in self._puller.forwards.items() if key[1:] == (underlying, 0)}
        wanted = [venue for venue in self.settings.market.venues if venue in told] or list(told)
        return told[wanted[0]] if wanted else float("nan")

    async def _status_loop(self) -> None:
        while True:
            self.slots.set("status", encode_map(self.status()))
            await asyncio.sleep(STATUS_EVERY_S)

    def status(self) -> dict[str, Any]:
        """Return what a status strip and the System tab show; all plain values."""
        now_ns = self._clock.now_ns()
        self._rates.append((time.perf_counter(), {v["name"].decode(): int(v["messages"]) for v in self._puller.venues}))
        venues = [self._venue_status(record, now_ns) for record in self._puller.venues]
        ledger = Ledger()
        for state in self._states.values():
            for stage, counts in state.ledger.table().items():
                ledger.count(stage, counts["offered"], counts["skipped"])
        messages = sum(venue["messages"] for venue in venues)
        coalesced = {"rows": {"offered": messages, "skipped": max(0, messages - self._rows), "done": self._rows}}
        latencies = np.array(self._latencies) if self._latencies else np.full((1, 2), np.nan)
        return {
            "market_time_ns": self._market_now_ns(),
            "wall_time_ns": now_ns,
            "source": self.settings.market.source,
            "run": self.run_id,
            "pid": os.getpid(),
            "feed_error": self._feed_error,
            "venues": venues,
            "messages_per_s": sum(venue["messages_per_s"] for venue in venues),
            "spot": {name: _none_if_nan(self._spot(name)) for name in self._states},
            "instruments": int(sum(state.iids.size for state in self._states.values())),
            "backlog": int(self._puller.last_rows),
            "steps": self._steps,
            "step_ms": self._step_ms,
            "fits": self._fits,
            "fit_ms": self._fit_ms,
            "published": self._published,
            "kernels": self._kernels,
            "ledger": coalesced | ledger.table(),
            "dropped_events": self._dropped,
            "historian": read_json(self._run_folder / HISTORIAN_FILE),
            "latency_ms": {
                "p50": _none_if_nan(float(np.percentile(latencies[:, 0], 50))),
                "p99": _none_if_nan(float(np.percentile(latencies[:, 1], 99))),
            },
        }

    def _venue_status(self, record: np.void, now_ns: int) -> dict[str, Any]:
        name = record["name"].decode()
        (then, before), (now, after) = self._rates[0], self._rates[-1]
        rate = (after.get(name, 0) - before.get(name, 0)) / (now - then) if now > then else 0.0
        received, venue_time = int(record["last_receive_ns"]), int(record["last_venue_ns"])
        market_ns = self._market_now_ns()
        return {
            "name": name,
            "state": VENUE_STATES[record["state"]] if not self._feed_error else "down",
            "last_receive_ns": received,
            "last_venue_ns": venue_time,
            "lag_ms": (received - venue_time) / 1e6 if received and venue_time else None,
            "age_s": max(0.0, (market_ns - received) / 1e9) if received else None,
            "messages": int(record["messages"]),
            "messages_per_s": max(0.0, rate),
            "rejected": int(record["rejected"]),
            "gaps": int(record["gaps"]),
            "reconnects": int(record["reconnects"]),
            "subscribed": int(record["subscribed"]),
            "listed": int(record["listed"]),
        }


def _none_if_nan(value: float) -> float | None:
    return value if value == value else None


def main(settings: Settings, run_folder: Path, run: str, **service: Any) -> int:
    """Run the engine as a process; return its exit code."""

    async def serve(stop: asyncio.Event) -> None:
        await Engine(settings, run_folder, run).run(stop)

    return run_service(serve, "engine", nice=NICE, **service)
