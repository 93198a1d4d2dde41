"""A page server over a scripted engine, the system's Chromium, and a screenshot of what a failed test saw."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
ARTIFACTS = HERE.parents[1] / "test-artifacts"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
SESSION_FLAGS = "--unused-session-lifetime 15000 --check-unused-sessions 5000 --keep-alive 10000".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call" and report.failed:
        for name, page in getattr(item, "open_pages", {}).items():
            ARTIFACTS.mkdir(exist_ok=True)
            try:
                page.screenshot(path=ARTIFACTS / f"{item.name}-{name}.png".replace("/", "_"))
            except Exception as error:  # the page may be the thing that broke
                print(f"no screenshot of {name}: {error}")


class Server:
    """`panel serve` of the scripted app."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/scripted_app"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        path = os.pathsep.join([str(HERE), str(HERE.parent)])
        command = [
            sys.executable, "-m", "panel", "serve", str(HERE / "scripted_app.py"), "--address", "127.0.0.1",
            "--port", str(self.port), "--plugins", "scripted_process", "--plugins", "volsurface.api.routes", *SESSION_FLAGS,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": path}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.script("step")
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the page server did not start:\n{self.output()}") from None
                time.sleep(0.1)

    def script(self, method: str | None = None, /, **values: Any) -> dict[str, Any]:
        """Call a method of the scripted client, or set its attributes; return the server's counters."""
        order: Any = [method, values] if method else values
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/script", json.dumps(order).encode())
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> str:
        assert self.process is not None
        self.process.send_signal(sign)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self.output()

    def output(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.read().decode() if self.process.poll() is not None else "(still running)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(chromium: str) -> Iterator[Server]:
    server = Server(free_port())
    server.start()
    yield server
    output = server.stop()
    ours = [line for line in output.splitlines() if "volsurface/" in line or "no longer drawn" in line]
    assert not ours, output


# Not for the whole session: Playwright keeps an event loop running while it is open, and asyncio tests could not run.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


class Seen:
    """What a page's browser has met: console errors and requests."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _console(self, kind: str, text: str) -> None:
        if kind == "error" or (kind == "warning" and "bokeh" in text):
            self.errors.append(text)

    def foreign(self, server: Server) -> list[str]:
        ours = (f"http://127.0.0.1:{server.port}/", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(ours)]


OpenPage = Callable[..., tuple[Page, Seen]]
DRAWN = "window.__surface && window.__surface.draws > 0 && window.__strip"


@pytest.fixture(scope="module")
def shared_page(server: Server, browser: Browser) -> Iterator[tuple[Page, Seen]]:
    context = browser.new_context(viewport={"width": 1600, "height": 950})
    context.add_init_script("localStorage.setItem('vs-note', 'simulated-1')")
    page, seen = context.new_page(), Seen()
    page.set_default_timeout(15_000)
    seen.watch(page)
    page.goto(server.url)
    page.wait_for_function(DRAWN)
    yield page, seen
    context.close()


@pytest.fixture
def page(server: Server, shared_page: tuple[Page, Seen], request: pytest.FixtureRequest) -> Page:
    """The one open page of this module, back at its first view; opening a page is most of what a test would cost."""
    page, seen = shared_page
    request.node.open_pages = {"page": page}
    page.set_viewport_size({"width": 1600, "height": 950})
    server.script("reset")
    server.script("home")
    page.wait_for_function("window.__surface.selected === 5 && window.__strip.cells.fit.includes('10.0')")
    seen.errors.clear()
    return page


@pytest.fixture
def seen(shared_page: tuple[Page, Seen]) -> Seen:
    """What the shared page has met since this test began."""
    return shared_page[1]


@pytest.fixture
def open_page(server: Server, browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """Open a page of its own: `open_page(query, note=False, drawn=True, **context)` -> (page, what it met)."""
    server.script("reset")
    contexts = []
    request.node.open_pages = {}

    def open_it(query: str = "", note: bool = False, drawn: bool = True, **context: Any) -> tuple[Page, Seen]:
        made = browser.new_context(**{"viewport": {"width": 1600, "height": 950}, **context})
        contexts.append(made)
        if not note:
            made.add_init_script("localStorage.setItem('vs-note', 'simulated-1')")
        page, seen = made.new_page(), Seen()
        page.set_default_timeout(15_000)
        seen.watch(page)
        request.node.open_pages[f"page{len(contexts)}"] = page
        page.goto(server.url + query)
        if drawn:
            page.wait_for_function(DRAWN)
        return page, seen

    yield open_it
    for context in contexts:
        context.close()
