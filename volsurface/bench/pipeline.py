"""How many messages a second does the whole program carry, with every stage on, and where does the time go?

Per rate: a venue in a process of its own (`pipeline_venue`), the page server started as a user starts it with feed, engine
and historian, and one page connection that reads everything. The engine counts latencies, the venue how late heartbeats
are answered, the operating system what each process cost. `pipeline_naive` is the baseline of the same run.
"""

import asyncio
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from rich.console import Console

from volsurface.bench.browser import open_page, wait_for_page
from volsurface.bench.pipeline_naive import naive_us
from volsurface.bench.pipeline_table import print_figures, print_memory, print_naive
from volsurface.bench.pipeline_venue import start_venue
from volsurface.bench.pipeline_watch import Watch, counted, cpu_s, rss_mb, summary, to_browser_ms
from volsurface.bench.raw_page import RawPage
from volsurface.commands.serve import panel_command
from volsurface.engine.supervisor import free_port
from volsurface.errors import ServiceError
from volsurface.io.places import run_folder
from volsurface.settings import write_settings_file

START_WITHIN_S = 120.0
WARM_UP_S = 8.0
STALL_S = 10.0
SAMPLE_S = 10.0  # between two readings of memory
NAIVE_RATES, NAIVE_S = (5_000.0, 20_000.0), 5.0
OURS = ("feed", "engine", "historian", "page server")


def main(
    rates: Sequence[float], seconds: float, fast_lane: bool, browser: bool, naive: bool, stall: bool, memory_minutes: float,
    as_json: bool, model: str = "svi",
) -> int:  # fmt: skip
    """Run the benchmark and print it; return 0, or 1 when services died or nothing was published.

    Whether a rate was sustained is a figure, not the exit code: on a busy machine it says more about the machine.
    """
    console, healthy, found = Console(), True, []
    for rate in rates:
        figures = asyncio.run(run(rate, seconds, fast_lane=fast_lane, browser=browser, stall=stall, model=model))
        healthy = healthy and bool(figures["publications"]) and not figures["restarts"]
        found.append(figures)
        if as_json:
            print(json.dumps(figures), flush=True)
        else:
            print_figures(console, figures)
    if naive:
        baseline = {rate: naive_us(rate, NAIVE_S) for rate in NAIVE_RATES}
        if as_json:
            print(json.dumps({"naive_us": baseline}), flush=True)
        else:
            print_naive(console, baseline, found)
    if memory_minutes:
        memory = asyncio.run(run_memory(20_000.0, memory_minutes, fast_lane))
        print(json.dumps(memory), flush=True) if as_json else print_memory(console, memory)
    return 0 if healthy else 1


async def run(
    rate: float,
    seconds: float,
    *,
    fast_lane: bool = True,
    browser: bool = False,
    stall: bool = False,
    model: str = "svi",
) -> dict[str, Any]:
    """Return the figures of one rate: latencies in ms, counts, CPU in % of one core and us a message, per process."""
    async with _server(rate, fast_lane, browser, model) as (venue, watch, page, first_surface_s):
        await watch.during(WARM_UP_S)
        figures = await _measure(venue, watch, page, seconds)
        if stall:
            figures["stall"] = await _stall(venue, watch)
    return {
        "rate": rate,
        "fast_lane": fast_lane,
        "model": model,
        "first_surface_s": round(first_surface_s, 1),
        **figures,
    }


async def run_memory(rate: float, minutes: float, fast_lane: bool) -> dict[str, Any]:
    """Return resident memory per process every `SAMPLE_S` seconds, after the warm-up, at one rate."""
    samples = []
    async with _server(rate, fast_lane, False) as (venue, watch, _, _):
        await watch.during(6 * WARM_UP_S)
        processes = watch.processes()
        end = time.perf_counter() + 60 * minutes
        while time.perf_counter() < end:
            samples.append(rss_mb(processes))
            await watch.during(SAMPLE_S)
        figures = await _ask(venue, "figures")
    return {"rate": rate, "minutes": minutes, "sent_per_s": figures["sent"] / figures["seconds"], "rss_mb": samples}


@asynccontextmanager
async def _server(
    rate: float, fast_lane: bool, browser: bool, model: str = "svi"
) -> AsyncIterator[tuple[Pipe, Watch, RawPage, float]]:
    """Start venue, services and page; give the venue's pipe, the watch, the page, and how long the first surfaces took."""
    venue, pipe, url = await asyncio.to_thread(start_venue, rate)
    try:
        with tempfile.TemporaryDirectory(prefix="vsbench") as folder:
            data = Path(folder).resolve()
            write_settings_file(data / "volsurface.toml", {"market": {"fast_lane": fast_lane}, "fit": {"model": model}})
            port, began = free_port(), time.perf_counter()
            ours = ["--data", str(data), "--venue-url", f"deribit={url}"]
            command = panel_command(ours, port=port, address="127.0.0.1")
            log = open(data / "server.log", "w")  # noqa: SIM115  closed with the process below
            environment = {**os.environ, "BOKEH_RESOURCES": "server"}
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=data)
            watch, page = Watch(run_folder(data)), RawPage()
            try:
                await asyncio.to_thread(wait_for_page, port, server)
                with open_page(port, browser):
                    await page.open(port)
                    first_surface_s = await _first_surfaces(watch, server, began)
                    await _ask(pipe, "ready")
                    yield pipe, watch, page, first_surface_s
            except ServiceError as error:
                log.flush()
                raise ServiceError(f"{error}\n{(data / 'server.log').read_text()[-2000:]}") from error
            finally:
                await page.close()
                await watch.close()
                server.terminate()
                server.wait(15)
                log.close()
    finally:
        pipe.send("stop")
        venue.join(5)
        venue.kill()


async def _ask(venue: Pipe, what: str) -> Any:
    venue.send(what)
    return await asyncio.to_thread(venue.recv)


async def _first_surfaces(watch: Watch, server: "subprocess.Popen[bytes]", began: float) -> float:
    while time.perf_counter() - began < START_WITHIN_S:
        await watch.poll()
        if {"BTC", "ETH"} <= watch.known:
            return time.perf_counter() - began
        if server.poll() is not None:
            raise ServiceError(f"the page server ended with exit code {server.returncode}")
        await asyncio.sleep(0.02)
    raise ServiceError(f"no surface within {START_WITHIN_S:g} s: {watch.status}")


async def _measure(venue: Pipe, watch: Watch, page: RawPage, seconds: float) -> dict[str, Any]:
    processes = watch.processes()
    await _ask(venue, "figures")  # what happened before does not count
    watch.heads.clear()
    page.frames.clear()
    cpu, first, began = cpu_s(processes), watch.status, time.perf_counter()
    await watch.during(seconds)
    elapsed = time.perf_counter() - began
    after, last, sent = cpu_s(processes), watch.status, await _ask(venue, "figures")
    then, now = first["venues"][0], last["venues"][0]
    spent = {name: after[name] - cpu[name] for name in processes} | {"venue": sent["cpu_s"]}
    received = now["messages"] - then["messages"]
    missed = sent["unanswered"] + now["reconnects"] - then["reconnects"]
    latencies = [status["latencies"] for status in (first, last)]
    ledger = {
        stage: {name: value - first["ledger"].get(stage, {}).get(name, 0) for name, value in counts.items()}
        for stage, counts in last["ledger"].items()
    }
    return {
        "seconds": elapsed,
        "sent_per_s": sent["sent"] / sent["seconds"],
        "received": received,
        "instruments": last["instruments"],
        "publications": len(watch.heads),
        "tick_to_row_ms": counted(latencies[0]["row"], latencies[1]["row"]),
        "tick_to_surface_ms": counted(latencies[0]["surface"], latencies[1]["surface"]),
        "tick_to_browser_ms": summary(to_browser_ms(watch.heads, page.frames)),
        "page_frames": len(page.frames),
        "page_bytes": sum(size for _, size in page.frames),
        "page_closed": page.closed,
        "heartbeat_ms": summary(sent["heartbeat_ms"]),
        "heartbeats": len(sent["heartbeat_ms"]),
        "missed": missed,
        "held_back": sent["held_back"],
        "superseded": now["superseded"] - then["superseded"],
        "gaps": now["gaps"] - then["gaps"],
        "rejected": now["rejected"] - then["rejected"],
        "restarts": watch.restarts(),
        "largest_backlog": last["largest_backlog"],
        "ledger": ledger,
        "audits": last["audits"],
        "cpu_percent": {name: round(100 * value / elapsed, 1) for name, value in spent.items()},
        "cpu_us_per_message": {name: round(1e6 * value / max(received, 1), 3) for name, value in spent.items()},
        "together_percent": round(100 * sum(spent.get(name, 0.0) for name in OURS) / elapsed, 1),
        "together_us": round(1e6 * sum(spent.get(name, 0.0) for name in OURS) / max(received, 1), 3),
        "rss_mb": rss_mb(processes),
        "sustained": bool(not missed and not sent["held_back"] and not now["gaps"] - then["gaps"] and watch.heads),
    }


async def _stall(venue: Pipe, watch: Watch) -> dict[str, Any]:
    """Stop the engine for ten seconds and let it go on; say how much waited for it and how it caught up."""
    engine = watch.processes()["engine"]
    engine.send_signal(signal.SIGSTOP)
    await asyncio.sleep(STALL_S)
    before = watch.status["rows_pulled"], watch.status["pulls"]
    watch.heads.clear()
    engine.send_signal(signal.SIGCONT)
    woken = time.perf_counter()
    while not watch.heads and time.perf_counter() - woken < START_WITHIN_S:
        await watch.poll()
    fresh_ms = 1e3 * (time.perf_counter() - woken)
    await watch.during(2.0)
    figures = await _ask(venue, "figures")
    return {
        "largest_pull": watch.status["largest_backlog"],
        "instruments": watch.status["instruments"],
        "first_publication_ms": round(fresh_ms, 1),
        "rows_after": watch.status["rows_pulled"] - before[0],
        "pulls_after": watch.status["pulls"] - before[1],
        "heartbeat_ms": summary(figures["heartbeat_ms"]),
        "sent": figures["sent"],
    }
