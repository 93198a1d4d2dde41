"""What `volsurface record` and `volsurface replay` do and print."""

import asyncio
import contextlib
import json
import math
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from volsurface.clock import SystemClock
from volsurface.commands.serve import flag_arguments
from volsurface.engine.engine import Engine
from volsurface.engine.feed import run_feed
from volsurface.engine.journal import RecordedJournal
from volsurface.engine.launch import Launch, launch_from_flags
from volsurface.engine.replay import Outcome, Replay
from volsurface.engine.warm import compile_kernels
from volsurface.errors import SettingsError
from volsurface.io.places import history_folder, run_folder
from volsurface.io.recording import ENGINE, FEED, Recorder
from volsurface.io.recording_reader import Recording
from volsurface.settings import Settings, read_settings_file
from volsurface.simulator.main import run_simulator
from volsurface.surface.instants import from_iso, to_iso

SHOW_EVERY_S = 0.5


def record_market(console: Console, folder: Path, flags: Mapping[str, Any], seconds: float | None, fit: bool) -> int:
    """Record until Ctrl-C or for `seconds`; return 0, or 1 when records could not be kept."""
    with tempfile.TemporaryDirectory(prefix="vsrecord") as data:
        launch = launch_from_flags([*flag_arguments(flags), "--data", data], "volsurface record")
        return asyncio.run(_record(console, folder, launch, seconds, fit))


async def _record(console: Console, folder: Path, launch: Launch, seconds: float | None, fit: bool) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    settings, sockets = launch.settings(), run_folder(Path(launch.data))
    before = {path.name for path in folder.glob("*")} if folder.is_dir() else set()
    work = []
    urls = dict(launch.venue_urls)
    if launch.source == "simulated" and not urls:
        work.append(asyncio.create_task(_simulate(settings, urls, stop)))
        while not urls and not work[0].done():
            await asyncio.sleep(0.01)
    work.append(asyncio.create_task(run_feed(settings, sockets, stop, urls, record=folder)))
    if fit:
        work.append(asyncio.create_task(_run_engine(settings, sockets, folder, launch.run, stop)))
    ending = asyncio.create_task(_show(console, folder, before, seconds, stop))
    done, _ = await asyncio.wait({ending, *work}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.wait({ending, *work})
    for task in done:
        task.result()
    recording = Recording(folder)
    list(recording.records(FEED))
    made = {name: sum(size for _, size in sizes) for name, sizes in _sizes(folder, before).items()}
    console.print(f"recorded {sum(made.values()) / 1e6:.1f} MB in {folder}; `volsurface replay {folder}` plays it")
    for text in recording.damage:
        console.print(f"[yellow]{text}")
    return 0


async def _simulate(settings: Settings, urls: dict[str, str], stop: asyncio.Event) -> None:
    market = settings.market
    await run_simulator(
        rate=market.rate, seed=market.seed, underlyings=market.underlyings, venues=market.venues, ready=urls.update,
        stop=stop,
    )  # fmt: skip


async def _run_engine(settings: Settings, sockets: Path, folder: Path, run: str, stop: asyncio.Event) -> None:
    clock = SystemClock()
    journal = RecordedJournal(Recorder(folder, ENGINE, clock.now_ns()), clock, run)
    try:
        await Engine(settings, sockets, run, clock, journal=journal).run(stop)
    finally:
        journal.close()


def _sizes(folder: Path, before: set[str]) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for path in folder.glob("*"):
        if path.name not in before:
            found.setdefault(path.name.split("-")[0], []).append((path.name, path.stat().st_size))
    return found


async def _show(console: Console, folder: Path, before: set[str], seconds: float | None, stop: asyncio.Event) -> None:
    began = time.monotonic()
    with console.status("recording; Ctrl-C ends it") as line:
        while not stop.is_set():
            left = math.inf if seconds is None else seconds - (time.monotonic() - began)
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(SHOW_EVERY_S, left))
            size = sum(size for sizes in _sizes(folder, before).values() for _, size in sizes)
            line.update(f"recording {time.monotonic() - began:.0f} s, {size / 1e6:.1f} MB; Ctrl-C ends it")


def replay_recording(
    console: Console, folder: Path, speed: str, since: str | None, data: Path | None, settings_file: Path | None,
    fit: bool, as_json: bool,
) -> int:  # fmt: skip
    """Replay a recording and print what came of it; return 0, or 1 when it differs from the live run."""
    settings = Settings()
    if settings_file is not None:
        settings.update(read_settings_file(settings_file), str(settings_file))
    recording = Recording(folder)
    first_ns, last_ns = recording.span_ns()
    since_ns = 0 if since is None else _time(since, first_ns, last_ns)
    if fit:
        compile_kernels()  # else the speed printed would be the compiler's
    store = None if data is None else history_folder(data, f"replay-{recording.name}")
    columns = (TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("", total=max(1, last_ns - first_ns))

        def progress(time_ns: int) -> None:
            bar.update(task, completed=time_ns - first_ns, description=to_iso(time_ns)[:19] + "Z")

        replay = Replay(
            recording, settings, speed=_speed(speed), since_ns=since_ns, store=store, fit=fit, progress=progress
        )
        outcome = asyncio.run(replay.run())
    if as_json:
        print(json.dumps({**asdict(outcome), "same": outcome.same}))
    else:
        _print(console, recording, outcome, store)
    return 0 if outcome.same else 1


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise SettingsError(f"--speed is a number above 0, or max; found {text!r}")
    return speed


def _time(text: str, first_ns: int, last_ns: int) -> int:
    try:
        time_ns = from_iso(text)
    except ValueError:
        raise SettingsError(f"--from wants a time like {to_iso(first_ns)}, found {text!r}") from None
    if not first_ns <= time_ns <= last_ns:
        raise SettingsError(f"{text} is not in the recording: {to_iso(first_ns)} to {to_iso(last_ns)}")
    return time_ns


def _print(console: Console, recording: Recording, outcome: Outcome, store: Path | None) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_row("recording", f"{recording.folder}, {recording.size / 1e6:.1f} MB, {outcome.market_s:.1f} s")
    table.add_row("frames", f"{outcome.messages:,}, {outcome.messages / max(outcome.market_s, 1e-9):,.0f} per second")
    how = "as recorded" if outcome.recorded_steps else "by recorded time"
    table.add_row("steps of the engine", f"{outcome.steps:,}, {how}" if outcome.steps else "none")
    table.add_row("rows", outcome.rows_digest)
    table.add_row("surfaces", f"{outcome.surfaces_digest} ({outcome.surfaces:,} published)")
    table.add_row("rows against the live feed", _compared(outcome.rows_checked, outcome.rows_different))
    table.add_row("surfaces against the live engine", _compared(outcome.surfaces_checked, outcome.surfaces_different))
    table.add_row("frames sent against the live ones", _compared(outcome.sent, outcome.sent_otherwise))
    per_frame, cpu_s = 1e6 * outcome.cpu_s / max(1, outcome.messages), max(outcome.cpu_s, 1e-9)
    speed = f"{outcome.market_s / outcome.wall_s:.1f} x real time, {outcome.market_s / cpu_s:.1f} x by CPU"
    table.add_row(
        "speed", f"{speed}; {per_frame:.1f} us per frame{', steps and fits included' if outcome.steps else ''}"
    )
    if store is not None:
        table.add_row("history", str(store))
    console.print(table)
    for text in outcome.notes:
        console.print(f"[yellow]{text}", soft_wrap=True)


def _compared(checked: int, different: int) -> str:
    if not checked:
        return "nothing recorded to compare"
    return f"all {checked:,} equal" if not different else f"[red]{different:,} of {checked:,} differ"
