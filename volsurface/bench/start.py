"""How long from the first command to a surface drawn in the browser, with the kernel cache warm and cold?

Starts the page server as a user starts it, opens the page in headless Chromium as soon as it answers, and waits until the
3-D surface has been drawn twice.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from volsurface.bench.browser import CHROMIUM_FLAGS, chromium, wait_for_page
from volsurface.commands.serve import panel_command
from volsurface.engine.supervisor import free_port
from volsurface.errors import ServiceError

TARGETS_S = {"warm": 10.0, "cold": 45.0}
LONGEST_S = 180.0


def main(as_json: bool = False) -> int:
    """Print the table, or its rows as JSON."""
    rows = [run("warm"), run("cold"), run("warm")]
    if as_json:
        print(json.dumps(rows))
        return 0
    table = Table(title="from the first command to a moving surface in the browser")
    for name in ("kernel cache", "page answers, s", "surface drawn twice, s", "target, s"):
        table.add_column(name, justify="left" if name == "kernel cache" else "right")
    for row in rows:
        table.add_row(row["cache"], f"{row['answers_s']:.1f}", f"{row['moving_s']:.1f}", f"{row['target_s']:g}")
    Console().print(table)
    return 0


def run(cache: str) -> dict[str, Any]:
    """Return the seconds of one start; cache: "warm" (the user's own) or "cold" (an empty one)."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ServiceError(
            "playwright is not installed; pip install playwright (no browser download is needed)"
        ) from error
    with tempfile.TemporaryDirectory(prefix="vsstart") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        page = browser.new_page(viewport={"width": 1600, "height": 950})
        environment = {**os.environ, "BOKEH_RESOURCES": "server"}
        if cache == "cold":
            environment["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        port, before = free_port(), time.perf_counter()
        command = panel_command(["--data", folder], port=port, address="127.0.0.1")
        with open(Path(folder) / "server.log", "w") as log:
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            wait_for_page(port, server)
            answers_s = time.perf_counter() - before
            page.goto(f"http://127.0.0.1:{port}/app", timeout=LONGEST_S * 1e3)
            page.wait_for_function("window.__surface && window.__surface.draws >= 2", timeout=LONGEST_S * 1e3)
            moving_s = time.perf_counter() - before
        finally:
            browser.close()
            server.terminate()
            server.wait(15)
    return {"cache": cache, "answers_s": answers_s, "moving_s": moving_s, "target_s": TARGETS_S[cache]}
