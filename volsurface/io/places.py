"""Where things are on disk: the data folder a user owns, and the run folder of sockets that belongs to one server.

Data folder: `history/`, `presets/*.toml`, `volsurface.toml`. Run folder: private (0700), one per data folder and user,
short enough for a socket's path (107 bytes), and gone after a restart of the machine.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from volsurface.errors import ServiceError

FEED_SOCKET, ENGINE_SOCKET, SERVICES_FILE, HISTORIAN_FILE = (
    "feed.sock",
    "engine.sock",
    "services.json",
    "historian.json",
)


def data_folder(option: str | Path | None = None) -> Path:
    """Return the data folder (default: the working folder), made if needed; raises ServiceError when it cannot be."""
    folder = Path(option) if option else Path.cwd()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(f"cannot make the data folder {folder}: {error.strerror}") from error
    return folder.resolve()


def runs_folder() -> Path:
    """Return the folder of all run folders of this user."""
    parent = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(parent) / f"volsurface-{os.getuid()}"


def run_folder(data: Path) -> Path:
    """Return the run folder of a data folder, made private; raises ServiceError when somebody else owns it."""
    folder = runs_folder() / hashlib.sha256(str(data).encode()).hexdigest()[:8]
    try:
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, exist_ok=True)
            if path.stat().st_uid != os.getuid():
                raise ServiceError(f"{path} belongs to another user; set XDG_RUNTIME_DIR to a folder of your own")
            path.chmod(0o700)
    except OSError as error:
        raise ServiceError(f"cannot make the run folder {folder}: {error.strerror}") from error
    return folder


def history_folder(data: Path, source: str) -> Path:
    """Return the history store of one source: "simulated", "live" or "replay"."""
    return data / "history" / source


def write_json(path: Path, value: Any) -> None:
    """Replace `path` in one step, so that a reader sees the old or the new text and never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`, or None when there is none (yet)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def running_servers() -> list[dict[str, Any]]:
    """Return the services.json of every server of this user that is still alive, oldest first."""
    found = []
    for path in sorted(runs_folder().glob(f"*/{SERVICES_FILE}")):
        services = read_json(path)
        if isinstance(services, dict) and is_alive(services.get("pid")):
            found.append({**services, "run_folder": str(path.parent)})
    return sorted(found, key=lambda services: services.get("started_ns", 0))


def is_alive(pid: Any) -> bool:
    """Tell whether a process of this id exists."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
