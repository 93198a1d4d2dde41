"""A headless Chromium with the page open, for benchmarks that want a real browser beside them."""

import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from volsurface.errors import ServiceError

CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
START_WITHIN_S = 90.0


def chromium() -> str:
    """Return the system's Chromium; raises ServiceError when there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise ServiceError("no chromium on the PATH; install it or measure without a browser")
    return path


@contextmanager
def open_page(port: int, wanted: bool) -> Iterator[None]:
    """Keep the page open in Chromium, if that is wanted."""
    if not wanted:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="vschrome") as profile:
        flags = [*CHROMIUM_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        chrome = subprocess.Popen(
            [chromium(), *flags, f"http://127.0.0.1:{port}/app"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
            if chrome.poll() is not None:
                raise ServiceError(f"the browser ended with exit code {chrome.returncode}")
        finally:
            chrome.terminate()
            chrome.wait(10)


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
