"""How fast is the whole program at a message rate, with feed, engine, historian, page server and a browser on?

The page server is started as a user starts it, on a fresh data folder and the embedded simulated market; a client of
the engine then watches every publication, and the operating system says what each process cost.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from volsurface.commands.serve import panel_command
from volsurface.engine.client import LiveClient
from volsurface.engine.supervisor import free_port
from volsurface.errors import ServiceError
from volsurface.io.places import SERVICES_FILE, read_json, run_folder

CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
START_WITHIN_S = 90.0
WARM_UP_S = 5.0


def main(rate: float, seconds: float, browser: bool, as_json: bool) -> int:
    """Run the benchmark, print its table (or JSON), and return 0, or 1 when services died or nothing was published.

    Whether the rate was sustained is a figure, not the exit code: on a busy machine it says more about the machine.
    """
    result = asyncio.run(run(rate, seconds, browser))
    if as_json:
        print(json.dumps(result))
    else:
        print_result(Console(), result)
    return 0 if result["publications"] and not result["restarts"] else 1


async def run(rate: float, seconds: float, browser: bool = True) -> dict[str, Any]:
    """Return the figures of one rate: latencies in ms, counts, CPU in % of one core per process."""
    with tempfile.TemporaryDirectory(prefix="vsbench") as folder:
        data = Path(folder)
        port, before = free_port(), time.perf_counter()
        ours = ["--data", folder, "--rate", f"{rate:g}"]
        command = panel_command(ours, port=port, address="127.0.0.1")
        environment = {**os.environ, "BOKEH_RESOURCES": "server"}
        log = open(data / "server.log", "w")  # noqa: SIM115  closed with the process below
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=data)
        try:
            with _page(port, browser, server) as page:
                client = LiveClient(run_folder(data.resolve()))
                first_surface_s = await _first_surface(client, server, before)
                await _watch(client, WARM_UP_S)
                figures = await _measure(client, data, seconds, server)
                figures["page"] = page()
            await client.close()
        except ServiceError as error:
            log.flush()
            raise ServiceError(f"{error}\n{(data / 'server.log').read_text()[-2000:]}") from error
        finally:
            server.terminate()
            server.wait(15)
            log.close()
    return {"rate": rate, "seconds": seconds, "first_surface_s": first_surface_s, **figures}


async def _first_surface(client: LiveClient, server: "subprocess.Popen[bytes]", before: float) -> float:
    while time.perf_counter() - before < START_WITHIN_S:
        await client.poll()
        if {"BTC", "ETH"} <= client.surfaces.keys():
            return time.perf_counter() - before
        if server.poll() is not None:
            raise ServiceError(f"the page server ended with exit code {server.returncode}")
        await asyncio.sleep(0.05)
    raise ServiceError(f"no surface within {START_WITHIN_S:g} s: {client.error or client.status}")


async def _watch(client: LiveClient, seconds: float) -> list[tuple[str, int, float]]:
    """Poll for `seconds`; return (underlying, surface id, ms from its oldest tick to publication) of each publication."""
    seen, end = [], time.perf_counter() + seconds
    last: dict[str, int] = {}
    while time.perf_counter() < end:
        await client.poll()
        for name, publication in client.surfaces.items():
            if last.get(name) != publication.surface_id:
                last[name] = publication.surface_id
                latency_ms = (publication.published_ns - publication.oldest_tick_ns) / 1e6
                seen.append((name, publication.surface_id, latency_ms))
    return seen


async def _measure(client: LiveClient, data: Path, seconds: float, server: "subprocess.Popen[bytes]") -> dict[str, Any]:
    processes = _processes(data, server)
    cpu = {name: _cpu_s(process) for name, process in processes.items()}
    first, started = dict(client.status), time.perf_counter()
    backlog, seen = 0, []
    while (elapsed := time.perf_counter() - started) < seconds:
        seen += await _watch(client, min(1.0, seconds - elapsed))
        backlog = max(backlog, client.status["backlog"])
    elapsed, last = time.perf_counter() - started, client.status
    latencies = np.array([ms for _, _, ms in seen])
    venue_then, venue_now = first["venues"][0], last["venues"][0]
    received = venue_now["messages"] - venue_then["messages"]
    services = read_json(run_folder(data.resolve()) / SERVICES_FILE) or {"services": {}}
    restarts = sum(service["restarts"] for service in services["services"].values())
    missed = venue_now["reconnects"] - venue_then["reconnects"]
    percentiles = np.percentile(latencies, [50, 99, 100]).round(1).tolist() if latencies.size else [float("inf")] * 3
    return {
        "messages_per_s": received / elapsed,
        "instruments": last["instruments"],
        "publications": len(seen),
        "tick_to_surface_ms": dict(zip(("p50", "p99", "max"), percentiles, strict=True)),
        "backlog_max": backlog,
        "heartbeats_missed": missed,
        "gaps": venue_now["gaps"] - venue_then["gaps"],
        "rejected": venue_now["rejected"] - venue_then["rejected"],
        "restarts": restarts,
        "step_ms": last["step_ms"],
        "fit_ms": last["fit_ms"],
        "ledger": last["ledger"],
        "cpu_percent": {
            name: round(100 * (_cpu_s(process) - cpu[name]) / elapsed, 1) for name, process in processes.items()
        },
        "rss_mb": {name: round(process.memory_info().rss / 1e6) for name, process in processes.items()},
        "sustained": bool(
            missed == 0 and restarts == 0 and backlog <= last["instruments"] and latencies.size > 0
            and percentiles[1] < 500
        ),
    }  # fmt: skip


def _processes(data: Path, server: "subprocess.Popen[bytes]") -> dict[str, psutil.Process]:
    services = read_json(run_folder(data.resolve()) / SERVICES_FILE)
    found = {name: psutil.Process(service["pid"]) for name, service in services["services"].items()}
    return {**found, "page server": psutil.Process(server.pid)}


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def _page(port: int, browser: bool, server: "subprocess.Popen[bytes]") -> Iterator[Any]:
    """Keep the page open in headless Chromium; yields a function that says how many frames it has drawn."""
    if not browser:
        yield lambda: None
        return
    path = chromium()
    wait_for_page(port, server)
    with tempfile.TemporaryDirectory(prefix="vschrome") as profile:
        url = f"http://127.0.0.1:{port}/app"
        chrome = subprocess.Popen(
            [path, *CHROMIUM_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield lambda: "open" if chrome.poll() is None else f"ended with {chrome.returncode}"
        finally:
            chrome.terminate()
            chrome.wait(10)


def chromium() -> str:
    """Return the system's Chromium; raises ServiceError when there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise ServiceError("no chromium on the PATH; install it or measure with --no-browser")
    return path


def wait_for_page(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the page answers; raises ServiceError when the server ends or takes too long."""
    end = time.perf_counter() + START_WITHIN_S
    while time.perf_counter() < end:
        if server.poll() is not None:
            raise ServiceError(f"the page server ended with exit code {server.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/app", timeout=30):
                return
        except OSError:
            time.sleep(0.2)
    raise ServiceError(f"the page did not answer within {START_WITHIN_S:g} s")


def print_result(console: Console, result: dict[str, Any]) -> None:
    """Print the table of one rate."""
    table = Table(title=f"pipeline at {result['rate']:g} messages/s for {result['seconds']:g} s, everything on")
    table.add_column("figure")
    table.add_column("value", justify="right")
    latency = result["tick_to_surface_ms"]
    rows = [
        ("sustained", "yes" if result["sustained"] else "NO"),
        ("messages received per second", f"{result['messages_per_s']:,.0f}"),
        ("instruments", f"{result['instruments']:,}"),
        ("first command to first surfaces", f"{result['first_surface_s']:.1f} s"),
        ("surfaces published", f"{result['publications']:,}"),
        ("worst tick of a publication, p50 / p99 / max", f"{latency['p50']} / {latency['p99']} / {latency['max']} ms"),
        ("largest backlog, rows", f"{result['backlog_max']:,}"),
        ("heartbeats missed (reconnects)", str(result["heartbeats_missed"])),
        ("gaps, rejected frames, service restarts", f"{result['gaps']}, {result['rejected']}, {result['restarts']}"),
        ("engine step, mean", f"{result['step_ms']:.1f} ms"),
        ("browser", str(result["page"])),
    ]
    for name, value in result["cpu_percent"].items():
        rows.append((f"CPU, {name}", f"{value:.1f} % of a core, {result['rss_mb'][name]} MB"))
    for stage, counts in result["ledger"].items():
        share = 100 * counts["skipped"] / max(counts["offered"], 1)
        rows.append((f"ledger, {stage}", f"{counts['done']:,} done, {counts['skipped']:,} skipped ({share:.0f} %)"))
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)
    if sys.stdout.isatty():
        console.print("Shared machines drift: compare ratios within one run.")
