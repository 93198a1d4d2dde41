"""Starts the real page, waits until its surface moves, and saves the pictures of the README into docs/images.

    python scripts/screenshots.py [--out docs/images]

Needs the system's Chromium on the PATH and nothing from the network: the market is the simulated one. Exits 1 when a page has a
console error or asks another host for anything.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import FloatRect, Page, sync_playwright

from volsurface.bench.browser import CHROMIUM_FLAGS, chromium, wait_for_page
from volsurface.commands.serve import panel_command
from volsurface.engine.supervisor import free_port

ROOT = Path(__file__).parents[1]
COMPOSITE = "composite-smile"  # the card of the smile alone, once every venue has quoted
# name, width, height, query, tab
PICTURES = (
    ("page-dark", 1600, 950, "", "Live"),
    ("page-light", 1600, 950, "?theme=light", "Live"),
    ("page-small", 1280, 720, "", "Live"),
    ("page-fit", 1600, 950, "", "Fit & arbitrage"),
    ("page-venues", 1600, 950, "", "Venues"),
    (COMPOSITE, 1600, 950, "", "Live"),
    ("page-quotes", 1600, 950, "", "Quotes"),
    ("page-history", 1600, 950, "", "History"),
    ("page-system", 1600, 950, "", "System"),
)
MOST_BYTES = 600_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures")
    out = parser.parse_args().out
    browser = chromium()
    out.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        server = subprocess.Popen(panel_command(["--data", data], port=port, address="127.0.0.1"), cwd=ROOT)
        try:
            wait_for_page(port, server)
            return take_pictures(f"http://127.0.0.1:{port}", browser, out)
        finally:
            server.terminate()
            server.wait(15)


def take_pictures(base: str, executable: str, out: Path) -> int:
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        for name, width, height, query, tab in PICTURES:
            context = browser.new_context(viewport={"width": width, "height": height})
            context.add_init_script("localStorage.setItem('vs-note', 'simulated-1')")
            page = context.new_page()
            page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type == "error" else None)
            page.on("pageerror", lambda error: faults.append(f"script: {error}"))
            page.on("request", lambda r: None if r.url.startswith((base, "data:", "blob:")) else faults.append(r.url))
            page.goto(f"{base}/app{query}")
            wait_until_it_moves(page)
            if tab != "Live":
                page.get_by_role("tab", name=tab).click()
                page.wait_for_timeout(2500)  # tables are drawn once a second
            path = out / f"{name}.png"
            page.screenshot(path=path, clip=smile_card(page) if name == COMPOSITE else None)
            if path.stat().st_size > MOST_BYTES:
                faults.append(f"{path.name} has {path.stat().st_size} bytes; at most {MOST_BYTES} are wanted")
            print(f"{path} {path.stat().st_size // 1000} kB")
            context.close()
        browser.close()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def smile_card(page: Page) -> FloatRect:
    """Return where the card of the smile is: from its title to those of the cards beside and beneath it."""
    page.get_by_text("derive").nth(1).wait_for()  # in the smile's key, beside the switch of the venue
    page.wait_for_timeout(5000)
    boxes = [page.get_by_text(title).first.bounding_box() for title in ("SMILE ·", "SURFACE ·", "RICH / CHEAP")]
    smile, surface, below = (box or {"x": 0.0, "y": 0.0, "width": 0.0, "height": 0.0} for box in boxes)
    left, top = smile["x"] - 10, smile["y"] - 6
    return {"x": left, "y": top, "width": surface["x"] - 18 - left, "height": below["y"] - 8 - top}


def wait_until_it_moves(page: Page) -> None:
    """Wait for a surface of which ten further frames have come."""
    page.wait_for_function("window.__surface && window.__surface.frames > 0", timeout=90_000)
    page.wait_for_function("n => window.__surface.frames > n + 10", arg=page.evaluate("window.__surface.frames"))


if __name__ == "__main__":
    sys.exit(main())
