"""What a server was asked to do: the flags of `app.py` and `volsurface serve`, checked, and handed to its services."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from volsurface.clock import SystemClock
from volsurface.errors import ServiceError, SettingsError, VenueError, unknown_name
from volsurface.io.places import data_folder, read_json, run_folder, write_json
from volsurface.io.recording_reader import Recording
from volsurface.io.replay import recorded_market
from volsurface.settings import Settings, load_settings
from volsurface.venues.registry import VENUES

LAUNCH_FILE = "launch.json"
LOG_LEVELS = ("debug", "info", "warning", "error")

# One row per flag: name, metavar, number of values, help. After `panel serve app.py --args` they stand as they are here;
# none may begin like one of Panel's own, which argparse would take for an abbreviation (a test starts each).
FLAGS: tuple[tuple[str, str | None, str | None, str], ...] = (
    ("venues", "NAME", "+", "real venues to connect to, e.g. deribit (default: simulated venues on this machine)"),
    ("venue-url", "NAME=URL", "+", "another address for a venue, as `volsurface simulate` prints it"),
    (
        "chains",
        "PATH",
        "+",
        "recorded chain files, or folders of them (there, files with 'chain' in their name if any), played as a market",
    ),
    ("replay", "FOLDER", None, "recorded frames (`volsurface record`), played as a market"),
    ("record", "FOLDER", None, "keep every frame as received, and the engine's steps, for `volsurface replay`"),
    ("underlyings", "COIN", "+", "coins to follow (default: BTC ETH)"),
    ("rate", "N", None, "messages per second of the simulated market"),
    ("seed", "N", None, "seed of the simulated market"),
    ("speed", "N", None, "market seconds per second of a recording (default: 1 for frames, 3600 for chains)"),
    ("data", "FOLDER", None, "where history, presets and settings are kept (default: the working folder)"),
    ("config", "FILE", None, "settings file (default: volsurface.toml in the data folder)"),
    ("no-history", None, None, "write no history"),
    ("allow-anonymous", None, None, "show the page to other machines without authentication"),
    ("services-log-level", "LEVEL", None, f"one of {', '.join(LOG_LEVELS)}"),
    ("services-log-file", "FILE", None, "write the services' log there (rotated), not to standard error"),
)


@dataclass(frozen=True)
class Launch:
    """One server's orders, as its services read them from the run folder.

    run: names this start in every row of the history. source: "simulated", "live" or "replay".
    venue_urls: {venue: url}; chains: chain files in playing order; recording: folder of frames to play; record: folder to
    keep frames in; values: every setting.
    """

    run: str
    source: str
    data: str
    values: dict[str, dict[str, Any]]
    venue_urls: dict[str, str] = field(default_factory=dict)
    chains: tuple[str, ...] = ()
    recording: str | None = None
    record: str | None = None
    allow_anonymous: bool = False
    log_level: str = "info"
    log_file: str | None = None

    @property
    def data_folder(self) -> Path:
        return Path(self.data)

    @property
    def run_folder(self) -> Path:
        return run_folder(Path(self.data))

    def settings(self) -> Settings:
        """Return the settings this server was started with."""
        settings = Settings(self.values)
        settings.version = 1
        return settings

    def write(self) -> None:
        """Put the orders where the services look for them."""
        write_json(self.run_folder / LAUNCH_FILE, asdict(self))

    @staticmethod
    def read(folder: Path) -> "Launch | None":
        """Return the orders in a run folder, or None."""
        values = read_json(folder / LAUNCH_FILE)
        return Launch(**{**values, "chains": tuple(values["chains"])}) if values else None


def flag_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of `FLAGS`; a mistake ends the program with code 2 and a sentence."""
    parser = argparse.ArgumentParser(prog=prog, allow_abbrev=False)
    for name, metavar, count, text in FLAGS:
        if metavar is None:
            parser.add_argument(f"--{name}", action="store_true", help=text)
        else:
            parser.add_argument(f"--{name}", metavar=metavar, nargs=count, help=text)
    return parser


def launch_from_flags(argv: Sequence[str], prog: str = "panel serve app.py --args") -> Launch:
    """Return what `argv` (our flags only) asks for.

    Raises SettingsError, VenueError, ServiceError or ChainFileError naming what was found and what is allowed.
    """
    flags = flag_parser(prog).parse_args(list(argv))
    data = data_folder(flags.data)
    market: dict[str, Any] = {}
    if flags.venues:
        market["venues"] = [name.lower() for name in flags.venues]
        market["source"] = "live"
    venue_urls = dict(_venue_url(text) for text in flags.venue_url or ())
    if venue_urls:
        market["venues"] = sorted({*market.get("venues", ()), *venue_urls})
        # An address on this machine can only be a simulator, and its numbers must never be taken for a market's.
        market["source"] = "simulated" if all(map(_is_local, venue_urls.values())) else "live"
    chains = tuple(str(path) for text in flags.chains or () for path in chain_paths(Path(text)))
    if chains:
        if flags.venues or venue_urls:
            raise SettingsError("--chains plays recorded chains and cannot be joined with --venues or --venue-url")
        market["source"] = "replay"
    if flags.replay:
        if flags.venues or venue_urls or chains or flags.record:
            raise SettingsError(
                "--replay plays recorded frames and cannot be joined with --venues, --venue-url, --chains or --record"
            )
        market |= {"source": "replay", "speed": 1.0, **recorded_market(Recording(flags.replay))}
    elif flags.record and chains:
        raise SettingsError("--record keeps frames, and there are none in chain files")
    if flags.underlyings:
        market["underlyings"] = [name.upper() for name in flags.underlyings]
    for name in ("rate", "speed"):
        if getattr(flags, name) is not None:
            market[name] = _number(name, getattr(flags, name))
    if flags.seed is not None:
        market["seed"] = int(_number("seed", flags.seed))
    values: dict[str, dict[str, Any]] = {"market": market}
    if flags.no_history:
        values["history"] = {"enabled": False}
    level = (flags.services_log_level or "info").lower()
    if level not in LOG_LEVELS:
        raise SettingsError(unknown_name("log level", level, LOG_LEVELS))
    settings = load_settings(data, Path(flags.config) if flags.config else None, values)
    for name in settings.market.venues:
        if name not in VENUES:
            raise VenueError(unknown_name("venue", name, VENUES))
    if not settings.market.underlyings:
        raise SettingsError("no underlyings; name at least one coin, e.g. --underlyings BTC ETH")
    if settings.market.source == "replay" and not (chains or flags.replay):
        raise SettingsError(
            "market.source is replay but nothing to play is given; add --chains PATH or --replay FOLDER"
        )
    return Launch(
        run=datetime.fromtimestamp(SystemClock().now_ns() / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ") + f"-{os.getpid()}",
        source=settings.market.source,
        data=str(data),
        values=settings.values(),
        venue_urls=venue_urls,
        chains=chains,
        recording=str(Path(flags.replay).resolve()) if flags.replay else None,
        record=str(Path(flags.record).resolve()) if flags.record else None,
        allow_anonymous=flags.allow_anonymous,
        log_level=level,
        log_file=flags.services_log_file,
    )


def chain_paths(path: Path) -> list[Path]:
    """Return the chain files at `path` (a file, or the files of a folder in name order); ServiceError when none."""
    if path.is_file():
        return [path.resolve()]
    endings = (".parquet", ".csv", ".csv.gz", ".json", ".json.gz")
    if path.is_dir():
        found = sorted(p.resolve() for p in path.iterdir() if p.name.endswith(endings) and "chain" in p.name)
        found = found or sorted(p.resolve() for p in path.iterdir() if p.name.endswith(endings))
        if found:
            return found
        raise ServiceError(f"no chain files in {path}; looked for {', '.join(endings)}")
    raise ServiceError(f"no chain file or folder at {path}")


def _venue_url(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals or urlsplit(url).scheme not in ("ws", "wss"):
        raise SettingsError(f"--venue-url wants NAME=ws://... or NAME=wss://..., found {text!r}")
    if name not in VENUES:
        raise VenueError(unknown_name("venue", name, VENUES))
    return name, url


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"--{name} must be a number, found {text!r}") from None
