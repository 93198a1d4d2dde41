"""What the processes of this server cost: CPU and memory of each service the supervisor has written down."""

import time
from pathlib import Path

import psutil

from volsurface.io.places import SERVICES_FILE, read_json

AGAIN_S = 1.0  # reading /proc for six processes takes a millisecond


class Processes:
    """CPU time and memory by service name; a service that was started again counts from its new start."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._known: dict[str, psutil.Process] = {}
        self._before: dict[str, tuple[int, float, float]] = {}
        self._read_at = 0.0
        self._table: dict[str, dict[str, float]] = {}

    def table(self) -> dict[str, dict[str, float]]:
        """Return {service: {"pid", "cpu_s", "cpu_percent" (of a core, since the last reading), "rss_mb"}}."""
        now = time.monotonic()
        if now - self._read_at >= AGAIN_S:
            self._read_at = now
            self._table = {
                name: reading for name, pid in self._pids().items() if (reading := self._read(name, pid, now))
            }
        return self._table

    def _pids(self) -> dict[str, int]:
        services = read_json(self._run_folder / SERVICES_FILE) or {}
        pids = {name: service["pid"] for name, service in services.get("services", {}).items() if service["pid"]}
        return pids | ({"page server": services["pid"]} if services.get("pid") else {})

    def _read(self, name: str, pid: int, now: float) -> dict[str, float] | None:
        try:
            process = self._known.get(name)
            if process is None or process.pid != pid:
                process = self._known[name] = psutil.Process(pid)
            times, rss = process.cpu_times(), process.memory_info().rss
        except psutil.Error:
            return None
        cpu_s = times.user + times.system
        last_pid, last_cpu, last_now = self._before.get(name, (0, 0.0, 0.0))
        share = (cpu_s - last_cpu) / (now - last_now) if last_pid == pid and now > last_now else 0.0
        self._before[name] = pid, cpu_s, now
        return {"pid": pid, "cpu_s": cpu_s, "cpu_percent": 100 * share, "rss_mb": rss / 1e6}
