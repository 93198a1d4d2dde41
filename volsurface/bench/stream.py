"""What does one more viewer of the surface's broadcast cost the page server, and how large are the frames?

The program as a user starts it, on simulated venues; then viewers in another process (`stream_viewers`), a number at a time. The
cost of a viewer's frame is what the server's CPU grows by, without viewers against with them, over the frames they read.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import psutil
from rich.console import Console
from rich.table import Table

from volsurface.api.guard import VARIABLE
from volsurface.bench.browser import wait_for_page
from volsurface.commands.serve import panel_command
from volsurface.engine.supervisor import free_port
from volsurface.errors import ServiceError

START_WITHIN_S = 180.0
TARGET_MS = 0.1
UNDERLYING = "BTC"


def main(viewers: Sequence[int], seconds: float, as_json: bool) -> int:
    """Print a row per number of viewers; return 1 when a viewer was lost or a frame did not follow the one before."""
    rows = run(viewers, seconds)
    if as_json:
        print(json.dumps(rows))
    else:
        table = Table(title=f"the broadcast route, {UNDERLYING}, float32 columns (target: {TARGET_MS} ms a viewer)")
        columns = ("viewers", "frames/s each", "server CPU, %", "ms a viewer and frame", "patch, bytes", "expiries in it", "bytes an expiry", "snapshots", "gaps")  # fmt: skip
        for name in columns:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(
                str(row["viewers"]), f"{row['frames_per_s']:.2f}", f"{row['cpu_percent']:.1f}",
                "" if row["ms_per_frame"] is None else f"{row['ms_per_frame']:.4f}", f"{row['patch_bytes']:.0f}",
                f"{row['expiries']:.1f}", f"{row['bytes_per_expiry']:.0f}", str(row["snapshots"]), str(row["gaps"]),
            )  # fmt: skip
        Console().print(table)
    return 1 if any(row["gaps"] or row["gone"] for row in rows) else 0


def run(viewers: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """Return the rows: first one viewer, the server's cost without a crowd; then each number asked for."""
    with tempfile.TemporaryDirectory(prefix="vsstream") as folder:
        data = Path(folder).resolve()
        port = free_port()
        token = secrets.token_urlsafe()
        # A crowd behind one name would open its streams at that name's rate.
        tokens = data / "tokens.toml"
        tokens.write_text(f'[crowd]\ntoken = "{token}"\nrequests_per_s = 100000\nstreams = 100000\n')
        environment = {**os.environ, "BOKEH_RESOURCES": "server", VARIABLE: str(tokens)}
        with open(data / "server.log", "w") as log:
            command = panel_command(["--data", str(data)], port=port, address="127.0.0.1")
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=data)
            try:
                wait_for_page(port, server)
                _wait_for_surface(port, server)
                alone = measure(port, server.pid, token, 1, seconds, None)
                return [alone, *(measure(port, server.pid, token, count, seconds, alone) for count in viewers)]
            except ServiceError as error:
                log.flush()
                raise ServiceError(f"{error}\n{(data / 'server.log').read_text()[-2000:]}") from error
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(20)


def measure(
    port: int, pid: int, token: str, count: int, seconds: float, alone: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the figures of so many viewers; `alone`: those of one, which everything else is counted from."""
    url = f"ws://127.0.0.1:{port}/api/v1/stream/{UNDERLYING}?form=columns"
    command = [sys.executable, "-m", "volsurface.bench.stream_viewers", url, str(count)]
    environment = {**os.environ, "VOLSURFACE_TOKEN": token}
    process = psutil.Process(pid)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        try:
            _line(clients.stdout)
            time.sleep(1.0)  # the first snapshots are not what a frame costs
            _ask(clients.stdin, clients.stdout)
            cpu, began = _cpu_s(process), time.perf_counter()
            time.sleep(seconds)
            cpu, elapsed = _cpu_s(process) - cpu, time.perf_counter() - began
            counts = _ask(clients.stdin, clients.stdout)
        finally:
            clients.kill()
    patches = counts["frames"] - counts["snapshots"]
    share = cpu / elapsed
    more = counts["frames"] / elapsed - (alone["frames_per_s"] if alone else 0.0)
    return {
        "viewers": count,
        "seconds": elapsed,
        "frames_per_s": counts["frames"] / elapsed / count,
        "cpu_percent": 100 * share,
        "ms_per_frame": 10 * (100 * share - alone["cpu_percent"]) / more if alone and more > 0 else None,
        "patch_bytes": counts["bytes"] / max(patches, 1),
        "expiries": counts["expiries"] / max(patches, 1),
        "bytes_per_expiry": counts["bytes"] / max(counts["expiries"], 1),
        "largest_of_one": counts["largest_of_one"],
        "snapshots": counts["snapshots"],
        "gaps": counts["gaps"],
        "gone": counts["gone"],
    }


def _wait_for_surface(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/surface/{UNDERLYING}", timeout=10):
                return
        except urllib.error.HTTPError as error:
            error.close()
        if server.poll() is not None:
            raise ServiceError(f"the page server ended with exit code {server.returncode}")
        time.sleep(0.2)
    raise ServiceError(f"no surface within {START_WITHIN_S:g} s")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _line(answers: IO[str]) -> dict[str, Any]:
    line = answers.readline()
    if not line:
        raise ServiceError("the viewers have ended")
    return dict(json.loads(line))


def _ask(questions: IO[str], answers: IO[str]) -> dict[str, Any]:
    questions.write("\n")
    questions.flush()
    return _line(answers)
