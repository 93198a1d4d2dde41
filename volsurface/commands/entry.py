"""The processes behind the services: what `python -m volsurface feed`, `engine`, `historian` and `simulate` run."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volsurface.engine.launch import Launch, launch_from_flags
from volsurface.engine.service import run_service
from volsurface.errors import SettingsError, VenueError, unknown_name
from volsurface.io.places import data_folder


def service_main(name: str, data: Path | None) -> int:
    """Run one service on a data folder with the orders its server left there (defaults without a server)."""
    folder = data_folder(data)
    flags = ["--data", str(folder)]
    orders = launch_from_flags(flags, f"volsurface {name}")
    launch = Launch.read(orders.run_folder) or orders
    settings, log = launch.settings(), _log_options(launch)
    if name == "feed":
        from volsurface.engine.feed import main as feed_main

        return feed_main(
            settings, launch.run_folder, launch.venue_urls, launch.chains, recording=_path(launch.recording),
            record=_path(launch.record), **log,
        )  # fmt: skip
    if name == "engine":
        from volsurface.engine.engine import main as engine_main

        return engine_main(settings, launch.run_folder, launch.run, _path(launch.record), **log)
    from volsurface.engine.historian import main as historian_main

    return historian_main(settings, launch.data_folder, launch.run_folder, launch.source, launch.run, **log)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _log_options(launch: Launch) -> dict[str, Any]:
    return {"log_level": launch.log_level, "log_file": Path(launch.log_file) if launch.log_file else None}


def simulate_main(
    rate: float,
    venues: Sequence[str],
    underlyings: str,
    seed: int,
    port: int,
    faults: Sequence[str],
    quiet: bool,
    log_level: str,
) -> int:
    """Run the simulator until it is stopped; prints the address to give to `volsurface serve`."""
    from volsurface.simulator.fault_table import fault_named
    from volsurface.simulator.main import VENUES, run_simulator

    names = [name.strip().lower() for text in venues for name in text.split(",") if name.strip()]
    for name in names:
        if name not in VENUES:
            raise VenueError(unknown_name("venue", name, VENUES))
    if not 0 < rate <= 200_000:
        raise SettingsError(f"--rate must be above 0 and at most 200000 messages per second, found {rate:g}")

    fault_rates = dict(_fault(text) for text in faults)
    for fault in fault_rates:
        fault_named(fault)

    def ready(urls: dict[str, str]) -> None:
        print(" ".join(f"--venue-url {name}={url}" for name, url in urls.items()), flush=True)
        if not quiet:
            print("give that to `volsurface serve`; Ctrl-C ends the simulator", flush=True)

    async def serve(stop: asyncio.Event) -> None:
        await run_simulator(
            port=port, rate=rate, seed=seed, underlyings=[u.strip().upper() for u in underlyings.split(",")],
            venues=names, faults=fault_rates, ready=ready, stop=stop,
        )  # fmt: skip

    return run_service(serve, "simulator", log_level=log_level)


def _fault(text: str) -> tuple[str, float]:
    name, colon, rate = text.partition(":")
    try:
        return name, float(rate) if colon else 1.0
    except ValueError:
        raise SettingsError(f"--fault wants NAME or NAME:RATE with a number, found {text!r}") from None
