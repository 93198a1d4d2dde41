"""`volsurface serve`: checks everything first, then runs `panel serve app.py` with all the flags it needs."""

import os
import shlex
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volsurface.engine.launch import launch_from_flags
from volsurface.errors import ServiceError

# Panel's own flags, and why: docs/deploy.md.
PANEL_FLAGS = (
    "--warm", "--plugins", "volsurface.api.routes", "--unused-session-lifetime", "15000",
    "--check-unused-sessions", "5000", "--keep-alive", "10000",
)  # fmt: skip


def serve_page(
    flags: Mapping[str, Any], *, port: int, address: str, basic_auth: str | None = None, show: bool = False
) -> int:
    """Run the page server until it ends and return its exit code; raises VolSurfaceError for what cannot work."""
    ours = flag_arguments(flags)
    launch_from_flags(ours, "volsurface serve")
    check_port(address, port)
    command = panel_command(ours, port=port, address=address, basic_auth=basic_auth, show=show)
    print("running:", shlex.join(["panel", *command[3:]]), flush=True)
    environment = {**os.environ, "BOKEH_RESOURCES": "server"}
    server = subprocess.Popen(command, env=environment)
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:
            # The terminal has sent it to the server too, which stops its services; a second one ends everything.
            continue


def flag_arguments(flags: Mapping[str, Any]) -> list[str]:
    """Return flags as arguments: lists after their name, True as a bare name, None and False not at all."""
    arguments: list[str] = []
    for name, value in flags.items():
        if value is True:
            arguments.append(f"--{name}")
        elif isinstance(value, list | tuple) and value:
            # One flag with all values: "--venues deribit okx". Commas are accepted as well.
            arguments += [f"--{name}", *(part for entry in value for part in str(entry).split(","))]
        elif value is not None and value is not False and value != []:
            arguments += [f"--{name}", str(value)]
    return arguments


def panel_command(
    ours: list[str], *, port: int, address: str, basic_auth: str | None = None, show: bool = False
) -> list[str]:
    """Return the whole command line of the page server."""
    command = [sys.executable, "-m", "panel", "serve", str(app_file()), "--address", address, "--port", str(port)]
    command += PANEL_FLAGS
    if address not in ("127.0.0.1", "localhost", "::1"):
        command += ["--allow-websocket-origin", f"{socket.gethostname()}:{port}"]
    if basic_auth:
        command += ["--basic-auth", basic_auth, "--cookie-secret", os.urandom(16).hex()]
    if show:
        command.append("--show")
    return command + (["--args", *ours] if ours else [])


def app_file() -> Path:
    """Return app.py: beside the package in a checkout, under share/ in an installation."""
    places = (
        Path(__file__).parents[2] / "app.py",
        Path(sysconfig.get_path("data")) / "share" / "volsurface" / "app.py",
    )
    for path in places:
        if path.is_file():
            return path
    raise ServiceError(f"app.py is missing; looked in {', '.join(str(path.parent) for path in places)}")


def check_port(address: str, port: int) -> None:
    """Raise ServiceError when nothing can listen there, naming who does if it is one of us."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OverflowError:
        raise ServiceError(f"a port is a number from 0 to 65535, found {port}") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ServiceError(
            f"cannot listen on {address}:{port}: {reason}. Choose another port with --port, e.g. --port {port + 1}"
        ) from None
