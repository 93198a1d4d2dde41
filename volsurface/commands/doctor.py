"""`volsurface doctor`: what is installed, writable and reachable, each as one line that says what to do about it."""

import importlib.metadata
import os
import platform
import shutil
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from volsurface.commands.venue_check import listen_to_venues
from volsurface.errors import VolSurfaceError
from volsurface.io.places import data_folder, run_folder, running_servers
from volsurface.pricing.kernel import CACHE_FOLDER
from volsurface.version import __version__

PACKAGES = (
    "panel panel-material-ui holoviews bokeh param websockets httpx msgspec numpy scipy numba duckdb typer rich".split()
)


def run_doctor(
    console: Console, data: Path | None, venues: Sequence[str], venue_urls: Sequence[str], seconds: float
) -> int:
    """Print the checks; with venues also what arrived from each in `seconds`. Return 1 when a needed thing is missing."""
    checks = [
        _system(),
        *_packages(),
        _browser(),
        _folder("data folder", data),
        _run_folder(data),
        _kernels(),
        _servers(),
    ]
    table = Table(title=f"volsurface {__version__}", show_header=False)
    for name, good, text in checks:
        mark = "[green]ok[/]" if good else "[yellow]no[/]" if good is None else "[red]MISSING[/]"
        table.add_row(name, mark, text)
    console.print(table)
    healthy = all(good is not False for _, good, _ in checks)
    if venues or venue_urls:
        healthy &= listen_to_venues(console, data, venues, venue_urls, seconds)
    return 0 if healthy else 1


Check = tuple[str, bool | None, str]


def _system() -> Check:
    good = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 11)
    return (
        "Python",
        good,
        f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} processors, {ssl.OPENSSL_VERSION}",
    )


def _packages() -> list[Check]:
    found: list[str] = []
    missing: list[str] = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    rows: list[Check] = [("packages", not missing, ", ".join(found))]
    if missing:
        rows.append(("packages", False, f"not installed: {', '.join(missing)}; run pip install again"))
    return rows


def _browser() -> Check:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    return "chromium", True if path else None, path or "not found; only the browser tests need it"


def _folder(name: str, data: Path | None) -> Check:
    try:
        folder = data_folder(data)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (VolSurfaceError, OSError) as error:
        return name, False, f"{error}"
    free = shutil.disk_usage(folder).free / 1e9
    return name, free > 1.0, f"{folder}, writable, {free:.1f} GB free" + ("" if free > 1 else "; history needs 1 GB")


def _run_folder(data: Path | None) -> Check:
    try:
        return "run folder", True, str(run_folder(data_folder(data)))
    except VolSurfaceError as error:
        return "run folder", False, str(error)


def _kernels() -> Check:
    count = len(list(CACHE_FOLDER.rglob("*.nbi")))
    text = (
        f"{count} kernels compiled in {CACHE_FOLDER}"
        if count
        else f"cold ({CACHE_FOLDER}); `volsurface warm` compiles them"
    )
    return "kernel cache", True if count else None, text


def _servers() -> Check:
    servers = running_servers()
    text = "; ".join(f"{s['source']} on {s['data_folder']} (pid {s['pid']})" for s in servers)
    return "running servers", True if servers else None, text or "none"
