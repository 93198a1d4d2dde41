"""What the pipeline benchmark sees of a running server: publications, status, processes and the frames of one page."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from volsurface.engine.latency import dense, percentiles
from volsurface.errors import TransportError
from volsurface.io.places import ENGINE_SOCKET, SERVICES_FILE, read_json
from volsurface.io.transport.unix import UnixChannel
from volsurface.io.transport.wire import SLOTS, decode_map, encode_map

APPLY_NS = 10_000_000  # a frame shows what was published this long before it was read: drawing takes that long


class Head(msgspec.Struct):
    """The times of a publication; the rest of it is not built."""

    underlying: str
    surface_id: int
    published_ns: int
    oldest_tick_ns: int


_decode_head = msgspec.msgpack.Decoder(Head).decode


class Watch:
    """Follows the engine's slots. heads: publications seen since `clear`; status: the newest."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._channel = UnixChannel(run_folder / ENGINE_SOCKET)
        self._request = {"epoch": 0, "cursor": 0, "event_cursor": 0}
        self.heads: list[Head] = []
        self.known: set[str] = set()
        self.status: dict[str, Any] = {}

    async def poll(self) -> None:
        """Take what is new, waiting at most about 0.1 s."""
        try:
            reply = decode_map(await self._channel.request(SLOTS, encode_map(self._request)))
        except TransportError:
            return
        self._request = {name: reply[name] for name in self._request}
        for name, body in reply["slots"].items():
            if name == "status":
                self.status = decode_map(body)
            elif name.startswith("surface."):
                self.heads.append(_decode_head(body))
                self.known.add(name.removeprefix("surface."))

    async def during(self, seconds: float) -> None:
        """Go on for `seconds`."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await self.poll()

    async def close(self) -> None:
        """Let the engine go."""
        await self._channel.close()

    def processes(self) -> dict[str, psutil.Process]:
        """Return the processes of the server, by service."""
        services = read_json(self._run_folder / SERVICES_FILE) or {}
        found = {
            name: psutil.Process(service["pid"]) for name, service in services["services"].items() if service["pid"]
        }
        return found | {"page server": psutil.Process(services["pid"])}

    def restarts(self) -> int:
        """Return how often services have been started again."""
        services = read_json(self._run_folder / SERVICES_FILE) or {"services": {}}
        return sum(service["restarts"] for service in services["services"].values())


def cpu_s(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Return the processor time of each process so far."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def rss_mb(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Return the resident memory of each process."""
    return {name: round(process.memory_info().rss / 1e6, 1) for name, process in processes.items()}


def summary(values: np.ndarray | list[float]) -> dict[str, float | None]:
    """Return p50, p99 and the largest of some latencies in ms."""
    if not len(values):
        return {"p50": None, "p99": None, "max": None}
    p50, p99, highest = np.percentile(values, [50, 99, 100]).round(2).tolist()
    return {"p50": p50, "p99": p99, "max": highest}


def counted(before: Mapping[int, int], after: Mapping[int, int]) -> dict[str, float | None]:
    """Return p50, p99 and the largest of what was counted between two readings of the engine's bins."""
    counts = dense(after) - dense(before)
    if not counts.sum():
        return {"p50": None, "p99": None, "max": None}
    p50, p99, highest = (round(value, 2) for value in percentiles(counts, 0.5, 0.99, 1.0))
    return {"p50": p50, "p99": p99, "max": highest}


def to_browser_ms(heads: list[Head], frames: list[tuple[int, int]]) -> list[float]:
    """Return, for each publication, the age of its oldest tick when a frame that shows it had been read.

    That is the first frame read `APPLY_NS` or more after it was published; those after the last frame are left out.
    """
    read = np.array([when for when, _ in frames], np.int64)
    published = np.array([head.published_ns for head in heads], np.int64)
    at = np.searchsorted(read, published + APPLY_NS)
    return [(int(read[i]) - head.oldest_tick_ns) / 1e6 for i, head in zip(at.tolist(), heads) if i < read.size]
