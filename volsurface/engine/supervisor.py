"""Starts the services of one server as child processes, restarts what dies, and stops them in order.

The children belong to the server process, not to a browser session. They hold the reading end of a pipe whose writing end
is ours: however we die, the kernel closes it and they end. Restarts wait longer each time a service keeps dying.
"""

import atexit
import contextlib
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from volsurface.engine.launch import Launch, launch_from_flags
from volsurface.engine.service import WATCH_STDIN
from volsurface.errors import ServiceError
from volsurface.io.places import ENGINE_SOCKET, FEED_SOCKET, HISTORIAN_FILE, SERVICES_FILE, read_json, write_json
from volsurface.venues.registry import default_url

log = logging.getLogger(__name__)

WATCH_EVERY_S = 0.1
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)  # wait before the n-th restart in a row
HEALTHY_AFTER_S = 30.0  # a service that ran this long starts again at the first wait
STOP_WITHIN_S = 4.5
LOCK_FILE = "lock"


@dataclass
class Child:
    """One service as a child process."""

    name: str
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    in_a_row: int = 0
    due: float = 0.0
    last_exit: int | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None


@dataclass
class ServicesHandle:
    """The services a page reads from: ours, or those of the server that was there first (`joined`)."""

    launch: Launch
    joined: bool
    run_folder: Path
    supervisor: "Supervisor | None" = field(default=None, repr=False)

    @property
    def source(self) -> str:
        return self.launch.source

    @property
    def data_folder(self) -> Path:
        return self.launch.data_folder

    def stop(self) -> None:
        """Stop the services if they are ours."""
        if self.supervisor is not None:
            self.supervisor.stop()


class Supervisor:
    """Children of one server; a thread watches them, so that a busy page server cannot delay a restart."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.run_folder = launch.run_folder
        self._children: list[Child] = []
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._lock_file: IO[str] | None = None
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._started_ns = 0
        self.url = ""

    def take_lock(self) -> bool:
        """Become the one server of this data folder; False when another one is."""
        self._lock_file = open(self.run_folder / LOCK_FILE, "w")  # noqa: SIM115  held as long as we live
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            self._lock_file = None
            return False
        return True

    def start(self) -> None:
        """Write the orders, start every service, and watch them."""
        launch = self.launch
        self._started_ns = time.time_ns()
        (self.run_folder / HISTORIAN_FILE).unlink(missing_ok=True)
        if launch.source == "simulated" and not launch.venue_urls:
            market = launch.settings().market
            port = free_port(len(market.venues))
            urls = {name: _simulator_url(name, port + i) for i, name in enumerate(market.venues)}
            launch = self.launch = Launch(**{**launch.__dict__, "venue_urls": urls})
            self._children.append(Child("simulator", _simulate_arguments(launch, port)))
        launch.write()
        names = ["feed", "engine"] + (["historian"] if launch.settings().history.enabled else [])
        self._children += [Child(name, [name, "--data", launch.data]) for name in names]
        for child in self._children:
            self._spawn(child)
        self._watcher.start()

    def _spawn(self, child: Child) -> None:
        command = [sys.executable, "-m", "volsurface", *child.arguments]
        environment = {**os.environ, WATCH_STDIN: "1"}
        # A session of its own: Ctrl-C in the terminal reaches only us, and we stop the children in order.
        child.process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
        child.started = time.monotonic()
        self._write_services()

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_EVERY_S):
            with self._guard:
                if self._stopping.is_set():
                    return
                for child in self._children:
                    self._look_after(child)

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            if child.process.stdin:
                child.process.stdin.close()
            child.process, child.last_exit = None, code
            child.in_a_row = 0 if now - child.started > HEALTHY_AFTER_S else child.in_a_row
            wait = BACKOFF_S[min(child.in_a_row, len(BACKOFF_S) - 1)]
            child.in_a_row, child.due = child.in_a_row + 1, now + wait
            log.warning("%s ended (%s); restart in %g s", child.name, exit_words(code), wait)
            self._write_services()
        if now >= child.due:
            child.restarts += 1
            self._spawn(child)

    def _write_services(self) -> None:
        services = {
            child.name: {"pid": child.pid, "restarts": child.restarts, "last_exit": child.last_exit}
            for child in self._children
        }
        write_json(
            self.run_folder / SERVICES_FILE,
            {
                "pid": os.getpid(), "started_ns": self._started_ns, "data_folder": self.launch.data, "url": self.url,
                "source": self.launch.source, "run": self.launch.run, "services": services,
            },
        )  # fmt: skip

    def stop(self) -> None:
        """End the services, the historian first: its last pull wants a feed and an engine that answer. Say what was saved."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        with self._guard:
            deadline = time.monotonic() + STOP_WITHIN_S
            historian = [child for child in self._children if child.name == "historian"]
            others = [child for child in self._children if child.name != "historian"]
            for group in (historian, others):
                _end(group, deadline)
        for name in (SERVICES_FILE, FEED_SOCKET, ENGINE_SOCKET):
            (self.run_folder / name).unlink(missing_ok=True)
        saved = read_json(self.run_folder / HISTORIAN_FILE) or {}
        if historian:
            rows = saved.get("rows_written", 0)
            print(f"stopped; {rows:,} rows saved in {self.launch.data_folder / 'history'}", flush=True)
        else:
            print("stopped; no history was written", flush=True)
        if self._lock_file is not None:
            self._lock_file.close()


def _end(children: Sequence[Child], deadline: float) -> None:
    running = [child.process for child in children if child.process is not None]
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("process %d did not end; killed", process.pid)
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()


def exit_words(code: int) -> str:
    """Return an exit code in words: "exit code 1" or "killed by SIGKILL"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def free_port(count: int = 1) -> int:
    """Return a TCP port that is free on this machine now, the first of `count` in a row."""
    while True:
        with contextlib.ExitStack() as probes:
            first = 0
            try:
                for i in range(count):
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", first + i if first else 0))
                    first = first or int(probe.getsockname()[1])
            except (OSError, OverflowError):
                continue  # one of them is taken, or beyond the last port: try elsewhere
            return first


def _simulator_url(venue: str, port: int) -> str:
    return f"ws://127.0.0.1:{port}{urlsplit(default_url(venue)).path}"


def _simulate_arguments(launch: Launch, port: int) -> list[str]:
    market = launch.settings().market
    return [
        "simulate", "--port", str(port), "--rate", str(market.rate), "--seed", str(market.seed),
        "--underlyings", ",".join(market.underlyings), "--venues", ",".join(market.venues), "--quiet",
    ]  # fmt: skip


_handle: ServicesHandle | None = None
_handle_guard = threading.Lock()


def ensure_services(argv: Sequence[str] = (), starting: Callable[[Launch], Any] | None = None) -> ServicesHandle:
    """Return this process's services, starting them (or joining another server's) at the first call.

    argv: our flags. Raises VolSurfaceError for flags that cannot be used; nothing has been started then.
    """
    global _handle
    with _handle_guard:
        if _handle is not None:
            return _handle
        launch = launch_from_flags(argv)
        if starting is not None:
            starting(launch)
        supervisor = Supervisor(launch)
        if supervisor.take_lock():
            supervisor.start()
            atexit.register(supervisor.stop)
            _handle = ServicesHandle(launch, False, launch.run_folder, supervisor)
        else:
            theirs = Launch.read(launch.run_folder)
            if theirs is None:
                raise ServiceError(f"another server is just starting on {launch.data}; try again in a moment")
            print(f"joined the services of another server on {theirs.data} (source {theirs.source})", flush=True)
            _handle = ServicesHandle(theirs, True, theirs.run_folder)
        return _handle
