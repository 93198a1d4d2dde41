"""Runs one service as a process: logging, nice level, signals, the parent's death, and a clean end."""

import asyncio
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from volsurface.errors import ServiceError, VolSurfaceError

# A supervisor sets this to "1" for its children and keeps their standard input open: when it dies, even by SIGKILL, the
# kernel closes that pipe and the child ends. A user at a terminal has a standard input too, so it is never assumed.
WATCH_STDIN = "VOLSURFACE_WATCH_STDIN"
STOP_WITHIN_S = 5.0  # a service that has not ended this long after it was asked to is cancelled
LOG_FILE_BYTES, LOG_FILES_KEPT = 10_000_000, 5

log = logging.getLogger(__name__)


def configure_logging(service: str, level: str = "INFO", file: Path | None = None) -> None:
    """Send the log to standard error, or to `file` (rotated): one line per event with UTC time, level, service and pid."""
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES_KEPT, encoding="utf-8"
        )
    form = f"%(asctime)s.%(msecs)03dZ %(levelname)s {service} %(process)d %(message)s"
    formatter = logging.Formatter(form, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The libraries below log each connection and each request at INFO: per venue and second that is noise.
    for library in ("websockets", "httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)


def run_service(
    coroutine_factory: Callable[[asyncio.Event], Awaitable[None]],
    name: str,
    *,
    nice: int = 0,
    watch_stdin: bool | None = None,
    log_level: str = "INFO",
    log_file: Path | None = None,
) -> int:
    """Run `coroutine_factory(stop)` until it returns and return the process's exit code (0, or 1 after an error).

    coroutine_factory: called inside the event loop with the event that says "end now"; SIGTERM, SIGINT and (if watched)
        the end of standard input set it. The coroutine then has STOP_WITHIN_S seconds before it is cancelled. A second
        SIGINT ends the process at once with code 130.
    name: the service's word in each line of the log.
    nice: lowest priority of the process, 0 (sockets) to 19; it is raised to this, never lowered.
    watch_stdin: end when standard input does; None: when the environment says WATCH_STDIN=1.
    """
    configure_logging(name, log_level, log_file)
    if hasattr(os, "nice"):
        os.nice(max(0, nice - os.nice(0)))
    if watch_stdin is None:
        watch_stdin = os.environ.get(WATCH_STDIN) == "1"
    try:
        asyncio.run(_run(coroutine_factory, name, watch_stdin))
    except VolSurfaceError as error:
        log.error("%s", error)
        return 1
    except Exception:
        log.exception("%s ended by an unexpected error", name)
        return 1
    log.info("stopped")
    return 0


async def _run(coroutine_factory: Callable[[asyncio.Event], Awaitable[None]], name: str, watch_stdin: bool) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def ask(reason: str) -> None:
        if stop.is_set():
            if reason == "SIGINT":
                os._exit(130)
            return
        log.info("stopping: %s", reason)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number.name)
    if watch_stdin:
        _watch_stdin(loop, ask)
    work = asyncio.ensure_future(coroutine_factory(stop))
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not work.done():
        await asyncio.wait({work}, timeout=STOP_WITHIN_S)
    if not work.done():
        log.warning("%s did not stop within %g s; cancelled", name, STOP_WITHIN_S)
        work.cancel()
        await asyncio.wait({work}, timeout=1.0)
        return
    work.result()


def _watch_stdin(loop: asyncio.AbstractEventLoop, ask: Callable[[str], None]) -> None:
    descriptor = sys.__stdin__.fileno() if sys.__stdin__ is not None else -1

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            ask("standard input closed, the parent is gone")

    try:
        loop.add_reader(descriptor, readable)
    except (OSError, ValueError) as error:
        raise ServiceError("asked to end with standard input, but it is not a pipe that can be watched") from error
