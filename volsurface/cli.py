"""The command line: what a user types, handed to the room that does it. No logic lives here."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from volsurface.errors import VolSurfaceError
from volsurface.version import __version__

app = typer.Typer(
    name="volsurface",
    help="A live, certified arbitrage-free volatility surface for crypto options.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Measure, and print ratios against what one would use instead.", no_args_is_help=True)
app.add_typer(bench, name="bench")

DATA = Annotated[Path | None, typer.Option(help="Data folder; default: the working folder.", show_default=False)]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def main() -> None:
    """Run the command line; an error raised on purpose is one sentence on standard error and exit code 1."""
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", "140")  # into a file or pipe a table keeps its full width
    try:
        app(gathered(sys.argv[1:]))
    except VolSurfaceError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {error}", markup=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)


def gathered(arguments: list[str]) -> list[str]:
    """Return the arguments with `--venues a b` written out as `--venues a --venues b`, as app.py's own flags take it."""
    out: list[str] = []
    option, first = "", True
    for argument in arguments:
        if argument.startswith("-"):
            option, first = argument if argument in ("--venues", "--venue-url") else "", True
        elif option:
            out += [] if first else [option]
            first = False
        out.append(argument)
    return out


def _version(shown: bool) -> None:
    if shown:
        print(f"volsurface {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Examples: `volsurface serve --open` · `volsurface serve --venues deribit` · `--chains DIR` · `--replay DIR --speed 10`"
)
def serve(
    venues: Annotated[
        list[str] | None, typer.Option(help="A real venue, e.g. deribit; may be repeated. Default: simulated.")
    ] = None,
    venue_url: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another address for a venue; may be repeated.")
    ] = None,
    chains: Annotated[
        list[Path] | None, typer.Option(help="Recorded chain file or folder, played as a market; may be repeated.")
    ] = None,
    replay: Annotated[Path | None, typer.Option(help="Recorded frames (`volsurface record`), played.")] = None,
    record: Annotated[Path | None, typer.Option(help="Keep every frame there, for `volsurface replay`.")] = None,
    underlyings: Annotated[list[str] | None, typer.Option(help="A coin to follow; default BTC and ETH.")] = None,
    rate: Annotated[float | None, typer.Option(help="Messages per second of the simulated market.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the simulated market.")] = None,
    speed: Annotated[float | None, typer.Option(help="Market seconds per second of a recording.")] = None,
    data: DATA = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings file; default volsurface.toml in the data folder.")
    ] = None,
    history: Annotated[bool, typer.Option(help="Write the history.")] = True,
    port: Annotated[int, typer.Option(help="Port of the page.")] = 5006,
    address: Annotated[
        str, typer.Option(help="Address to listen on; other than loopback needs authentication.")
    ] = "127.0.0.1",
    basic_auth: Annotated[
        str | None, typer.Option(help="Panel's: a password, or a JSON file of users and passwords.")
    ] = None,
    allow_anonymous: Annotated[
        bool, typer.Option(help="Show the page to other machines without authentication.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_file: Annotated[Path | None, typer.Option(help="Write the services' log there, rotated.")] = None,
) -> None:
    """Start the services and the page.

    Without flags the market is simulated on this machine; with --venues it is real.
    """
    from volsurface.commands.serve import serve_page

    flags: dict[str, Any] = {
        "venues": venues, "venue-url": venue_url, "chains": chains, "replay": replay, "record": record,
        "underlyings": underlyings, "rate": rate,
        "seed": seed, "speed": speed, "data": data, "config": config, "no-history": not history,
        "allow-anonymous": allow_anonymous, "services-log-level": log_level, "services-log-file": log_file,
    }  # fmt: skip
    raise typer.Exit(serve_page(flags, port=port, address=address, basic_auth=basic_auth, show=show))


@app.command(epilog="Example: `volsurface warm`")
def warm() -> None:
    """Compile the kernels into the on-disk cache, so that the first page does not wait for them."""
    from volsurface.commands.reports import warm_with_progress

    warm_with_progress(Console())


@app.command(epilog="Examples: `volsurface doctor` · `volsurface doctor --venues deribit okx bybit binance derive`")
def doctor(
    venues: Annotated[list[str] | None, typer.Option(help="Also connect to these venues and say what arrives.")] = None,
    venue_url: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another address for a venue.")
    ] = None,
    data: DATA = None,
    seconds: Annotated[float, typer.Option(help="How long to listen to a venue.")] = 20.0,
) -> None:
    """Say what is installed, writable and reachable, and whether the kernel cache is warm."""
    from volsurface.commands.doctor import run_doctor

    raise typer.Exit(run_doctor(Console(), data, venues or [], venue_url or [], seconds))


@app.command(
    epilog="Examples: `volsurface fit chain.parquet` · `volsurface fit chain.csv --json | volsurface verify -`"
)
def fit(
    chains: Annotated[list[Path], typer.Argument(help="Chain files: .parquet, .csv, .json, also .gz.")],
    as_json: JSON = False,
    at: Annotated[str | None, typer.Option(help="Only the snapshot at (or last before) this UTC time.")] = None,
    underlying: Annotated[str | None, typer.Option(help="Only this coin.")] = None,
    settings: Annotated[Path | None, typer.Option(help="Fit settings: TOML with a table named fit.")] = None,
    smiles: Annotated[bool, typer.Option(help="Also print a line per expiry.")] = False,
    model: Annotated[str | None, typer.Option(help="svi, mixture or automatic, in place of the settings'.")] = None,
) -> None:
    """Fit every snapshot of chain files; print a table of them, or JSON."""
    from volsurface.commands.reports import print_fits

    raise typer.Exit(print_fits(Console(), chains, as_json, at, underlying, settings, smiles, model))


@app.command(
    epilog="Examples: `volsurface verify surface.json` · `volsurface fit chain.csv --json | volsurface verify -`"
)
def verify(surface: Annotated[str, typer.Argument(help="Surface JSON, or - for standard input.")]) -> None:
    """Check fitted surfaces in exact arithmetic; exit code 1, and the place, when one has arbitrage."""
    from volsurface.commands.reports import verify_json

    raise typer.Exit(verify_json(Console(), surface))


def _faults_help() -> str:
    from volsurface.simulator.fault_table import FAULTS

    return " · ".join(f"[bold]{name}[/]: {fault.help}" for name, fault in FAULTS.items())


@app.command(
    epilog="Example: `volsurface simulate --venues deribit okx --rate 5000 --fault gap:0.1` prints the --venue-url "
    f"for `volsurface serve`. Faults: {_faults_help()}."
)
def simulate(
    rate: Annotated[float, typer.Option(help="Messages per second, all venues together.")] = 1000.0,
    venues: Annotated[list[str] | None, typer.Option(help="Venues to play; default deribit.")] = None,
    more_venues: Annotated[list[str] | None, typer.Argument(metavar="VENUE", help="More venues to play.")] = None,
    underlyings: Annotated[str, typer.Option(help="Coins, separated by commas.")] = "BTC,ETH",
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 1,
    port: Annotated[
        int, typer.Option(help="Port of the first venue, the others take the next ones; 0 takes free ones.")
    ] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:RATE", help="Inject a fault, RATE times per second and venue (default 1); may be repeated."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option(help="Print nothing but the address.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run local venues that speak the real protocols, with a known true surface behind them."""
    from volsurface.commands.entry import simulate_main

    names = [*(venues or ()), *(more_venues or ())] or ["deribit"]
    raise typer.Exit(simulate_main(rate, names, underlyings, seed, port, fault or [], quiet, log_level))


@app.command(
    epilog="Examples: `volsurface record rec --seconds 60` (simulated) · `volsurface record rec --venues deribit`"
)
def record(
    folder: Annotated[Path, typer.Argument(help="Folder of the recording; made if needed.")],
    venues: Annotated[
        list[str] | None, typer.Option(help="A real venue, e.g. deribit; may be repeated. Default: simulated.")
    ] = None,
    venue_url: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another address for a venue; may be repeated.")
    ] = None,
    underlyings: Annotated[list[str] | None, typer.Option(help="A coin to follow; default BTC and ETH.")] = None,
    rate: Annotated[float | None, typer.Option(help="Messages per second of the simulated market.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the simulated market.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so long; default: at Ctrl-C.")] = None,
    fit: Annotated[bool, typer.Option(help="Also run the engine and record its steps, to be compared.")] = True,
) -> None:
    """Keep every frame as received, with its time and the connections' events, in a folder; no page, no history."""
    from volsurface.commands.record import record_market

    flags: dict[str, Any] = {
        "venues": venues, "venue-url": venue_url, "underlyings": underlyings, "rate": rate, "seed": seed,
    }  # fmt: skip
    raise typer.Exit(record_market(Console(), folder, flags, seconds, fit))


@app.command(
    epilog="Examples: `volsurface replay rec` twice, and compare · `volsurface replay rec --speed 10 --data DATA`"
)
def replay(
    folder: Annotated[Path, typer.Argument(help="A recording made by `volsurface record` or `serve --record`.")],
    speed: Annotated[str, typer.Option(help="Recorded seconds per second, or max.")] = "max",
    since: Annotated[str | None, typer.Option("--from", help="Fit only from this UTC time on.")] = None,
    data: Annotated[Path | None, typer.Option(help="Write its history into this data folder; default: none.")] = None,
    settings: Annotated[Path | None, typer.Option(help="Settings file, for a recording without an engine.")] = None,
    fit: Annotated[bool, typer.Option(help="Also step the engine; without: codecs and rows alone.")] = True,
    as_json: JSON = False,
) -> None:
    """Run a recording through codecs, engine and historian; print digests, and what differs from the live run.

    Exit code 1 when anything differs.
    """
    from volsurface.commands.record import replay_recording

    raise typer.Exit(replay_recording(Console(), folder, speed, since, data, settings, fit, as_json))


@app.command(
    epilog="Examples: `volsurface refit --since 2h --settings wide.toml` · `--since 2026-11-20T18:00:00Z --every 300`"
)
def refit(
    settings: Annotated[Path, typer.Option(help="Fit settings: TOML with a table named fit.")],
    since: Annotated[
        str | None, typer.Option(help="A UTC time, or how long before the end: 90m, 2h, 7d. Default: all there is.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Likewise; default: the end.")] = None,
    every: Annotated[float, typer.Option(help="Seconds between two fits.")] = 60.0,
    underlyings: Annotated[list[str] | None, typer.Option(help="A coin; default: all in the history.")] = None,
    data: DATA = None,
    source: Annotated[str | None, typer.Option(help="Which store of the history, e.g. live.")] = None,
    write: Annotated[bool, typer.Option(help="Write the surfaces into history/refit-<name of the settings>.")] = True,
    as_json: JSON = False,
) -> None:
    """Run the history through other fit settings, and compare the surfaces with those that were published."""
    from volsurface.commands.refit import refit_history

    raise typer.Exit(
        refit_history(
            Console(),
            data,
            source,
            since,
            until,
            settings,
            every,
            [n.upper() for n in underlyings or []],
            write,
            as_json,
        )
    )


def _service(name: str, help_text: str) -> None:
    @app.command(name, help=help_text, epilog=f"Example: `volsurface {name} --data DATA` beside a running server")
    def run(data: DATA = None) -> None:
        from volsurface.commands.entry import service_main

        raise typer.Exit(service_main(name, data))


_service("feed", "Run the feed service alone: sockets, books and rows.")
_service("engine", "Run the engine service alone: implied vols, fits and certificates.")
_service("historian", "Run the historian service alone: the history on disk.")


@bench.command("iv")
def bench_iv(as_json: JSON = False) -> None:
    """Implied vols: accuracy and nanoseconds per option, against other libraries."""
    from volsurface.bench import iv

    iv.main(as_json)


@bench.command(
    "fit", epilog="Examples: `volsurface bench fit --smoke` · `volsurface bench fit --chains DIR --every 12`"
)
def bench_fit(
    chains: Annotated[
        Path | None, typer.Option(help="Folder of chain files (docs/data.md); default: simulated chains.")
    ] = None,
    every: Annotated[int, typer.Option(help="Take every N-th snapshot of each coin.")] = 1,
    smoke: Annotated[bool, typer.Option(help="Two chains and the quickest fitters, to see that it runs.")] = False,
    as_json: JSON = False,
    mixture: Annotated[
        bool, typer.Option(help="Only mixtures beside SVI: in-sample, held out, kept under noise.")
    ] = False,
) -> None:
    """Fitted surfaces: time, error and violations, ours against scipy and other libraries."""
    from volsurface.bench import fit

    raise typer.Exit(fit.main(chains, every, smoke, as_json, mixture))


@bench.command("ingest")
def bench_ingest(as_json: JSON = False) -> None:
    """Decoders and the row table: messages per second and core."""
    from volsurface.bench import ingest

    ingest.main(as_json)


@bench.command("history")
def bench_history(
    minutes: Annotated[
        float, typer.Option(min=2.0, help="Market time to write (a day: 1440); it runs as fast as it can.")
    ] = 65.0,
    restless: Annotated[bool, typer.Option(help="A market in which everything is new in every row.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Leave the store in this folder.")] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="Instead: kill 210 writers, and ask 10,000 times beside one.")
    ] = False,
    year: Annotated[
        bool, typer.Option("--year", help="Instead: a year at a thousandth of its size, under the default limit.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """The history: CPU to write it, its size, and how fast it answers; or what kills and readers do to it."""
    from volsurface.bench import history, history_faults, history_year

    if year:
        raise typer.Exit(history_year.main(as_json=as_json))
    if faults:
        raise typer.Exit(history_faults.main(as_json=as_json))
    raise typer.Exit(history.main(minutes, as_json, restless, keep))


@bench.command(
    "pipeline",
    epilog="Examples: `volsurface bench pipeline` · `--rates 100000 --seconds 300 --stall` · `--rates 50000 --plain`",
)
def bench_pipeline(
    rates: Annotated[str, typer.Option(help="Messages per second, separated by commas.")] = "5000,20000,50000,100000",
    seconds: Annotated[float, typer.Option(help="How long to measure each rate.")] = 60.0,
    fast_lane: Annotated[bool, typer.Option("--fast-lane/--plain", help="How websocket frames are split.")] = True,
    browser: Annotated[bool, typer.Option(help="Also open the page in headless Chromium.")] = False,
    naive: Annotated[bool, typer.Option(help="Also measure the baseline: every message does all the work.")] = True,
    stall: Annotated[bool, typer.Option("--stall", help="Stop the engine for 10 s after each rate.")] = False,
    memory_minutes: Annotated[float, typer.Option(help="Then watch the memory so long, at 20,000 messages/s.")] = 0.0,
    as_json: JSON = False,
    model: Annotated[str, typer.Option(help="fit.model of the engine: svi, mixture or automatic.")] = "svi",
) -> None:
    """The whole program at message rates: latencies, heartbeats, backlog, CPU per process, work done and skipped."""
    from volsurface.bench import pipeline

    chosen = [_rate(text) for text in rates.split(",")]
    raise typer.Exit(pipeline.main(chosen, seconds, fast_lane, browser, naive, stall, memory_minutes, as_json, model))


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"rates are numbers separated by commas, found {text!r}") from None


@bench.command("venues", epilog="Example: `volsurface bench venues --rate 20000 --seconds 600`")
def bench_venues(
    rate: Annotated[float, typer.Option(help="Messages per second of all venues together.")] = 20_000.0,
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 60.0,
    venues: Annotated[list[str] | None, typer.Option(help="Simulated venues; default all.")] = None,
    underlyings: Annotated[str, typer.Option(help="Coins, separated by commas.")] = "BTC,ETH",
    seed: Annotated[int, typer.Option(help="Seed of the simulated market.")] = 1,
    as_json: JSON = False,
) -> None:
    """All venues at once: connections kept, lag, and the composite against the true vols and each venue alone."""
    from volsurface.bench import venues as bench_of_venues
    from volsurface.simulator.main import VENUES

    names = [name for text in venues or VENUES for name in text.split(",")]
    raise typer.Exit(bench_of_venues.main(rate, seconds, names, underlyings.split(","), seed, as_json))


@bench.command("stream", epilog="Example: `volsurface bench stream --viewers 200,1000 --seconds 30`")
def bench_stream(
    viewers: Annotated[str, typer.Option(help="Numbers of viewers, separated by commas.")] = "200,1000",
    seconds: Annotated[float, typer.Option(help="How long to measure each.")] = 20.0,
    as_json: JSON = False,
) -> None:
    """The broadcast route: CPU of one more viewer per frame, and the size of frames."""
    from volsurface.bench import stream

    try:
        counts = [int(text) for text in viewers.split(",")]
    except ValueError:
        raise typer.BadParameter(f"viewers are whole numbers separated by commas, found {viewers!r}") from None
    raise typer.Exit(stream.main(counts, seconds, as_json))


@bench.command("start")
def bench_start(as_json: JSON = False) -> None:
    """From the first command to a moving surface in the browser, with a warm and a cold kernel cache."""
    from volsurface.bench import start

    raise typer.Exit(start.main(as_json))
