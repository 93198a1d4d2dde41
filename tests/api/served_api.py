"""A real page server with the surface API over a scripted engine."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from volsurface.engine.supervisor import free_port

HERE = Path(__file__).parent
ALICE, BOB, CAROL = "alice-has-this-token", "bob-has-another-token", "carol-has-yet-another"
TOKENS = f"""
[alice]
token = "{ALICE}"
requests_per_s = 10000

[bob]
token = "{BOB}"
requests_per_s = 0.5
streams = 0

[carol]
token = "{CAROL}"
requests_per_s = 10000
streams = 1
"""


class ApiServer:
    """`panel serve` with the plug-in."""

    def __init__(self, tokens: Path, *flags: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            sys.executable, "-m", "panel", "serve", str(HERE / "served_app.py"), "--address", "127.0.0.1", "--port",
            str(self.port), "--plugins", "served_surface", "--plugins", "volsurface.api.routes", *flags,
        ]  # fmt: skip
        path = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parents[1])])
        environment = {**os.environ, "PYTHONPATH": path, "VOLSURFACE_API_TOKENS": str(tokens)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.script("step")
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the server did not start:\n{self.stop()}") from None
                time.sleep(0.1)

    def script(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call something of `served_surface` or its client."""
        request = urllib.request.Request(f"{self.url}/script", json.dumps([name, arguments]).encode())
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def ask(
        self, path: str, token: str | None = ALICE, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, Any]:
        """Return (status, body, headers) of one request; header names with _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            given["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, body, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    def get(self, path: str, **more: Any) -> Any:
        """Return the JSON of an answer that must be one."""
        status, body, _ = self.ask("/api/v1" + path, **more)
        assert status == 200, body
        return json.loads(body)

    def stop(self) -> str:
        """End the server and return all it has written."""
        self.process.terminate()
        try:
            return self.process.communicate(timeout=10)[0].decode()
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[0].decode()
