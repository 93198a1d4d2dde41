"""What `volsurface fit`, `verify` and `warm` print."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from volsurface.engine.chain_fit import ChainFit, fit_refined
from volsurface.engine.warm import compile_kernels
from volsurface.errors import ArbitrageError, ChainFileError, SettingsError
from volsurface.io.chain_files import read_chains
from volsurface.market.chain import Chain
from volsurface.settings import Settings, read_settings_file
from volsurface.surface.certificate import verify
from volsurface.surface.quoted import REASONS
from volsurface.surface.surface import Surface


def warm_with_progress(console: Console) -> None:
    """Compile the kernels with a progress bar."""
    start = time.perf_counter()
    columns = (TextColumn("{task.description:32s}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("compiling kernels", total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        count = compile_kernels(progress)
    console.print(f"{count} kernels ready in {time.perf_counter() - start:.1f} s")


def print_fits(
    console: Console, paths: list[Path], as_json: bool, at: str | None, underlying: str | None,
    settings_file: Path | None, with_smiles: bool, model: str | None = None,
) -> int:  # fmt: skip
    """Fit every snapshot of the files in time order; return 0, or 1 when one could not be fitted at all."""
    settings = Settings()
    if settings_file is not None:
        settings.update(read_settings_file(settings_file), str(settings_file))
    if model is not None:
        settings.update({"fit": {"model": model}}, "--model")
    options = settings.fit.options()
    compile_kernels()  # else the first snapshot's time would be the compiler's
    chains = [chain for path in paths for chain in read_chains(path, at=at, underlying=underlying)]
    if not chains:
        raise ChainFileError(f"no snapshot to fit in {', '.join(map(str, paths))}")
    fits: list[ChainFit] = []
    hide = as_json or len(chains) < 5 or not sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=hide) as bar:
        for chain in bar.track(chains, description="fitting"):
            fits.append(fit_refined(chain, options, timer=time.perf_counter_ns))
    if as_json:
        documents = [{**fit.surface.to_dict(), "timing_ms": fit.timing_ms} for fit in fits]
        print(json.dumps(documents[0] if len(documents) == 1 else documents, allow_nan=False))
    else:
        console.print(_fit_table(chains, fits))
        if with_smiles:
            for fit in fits:
                console.print(_smile_table(fit))
        console.print(_totals(fits))
    return 0 if all(fit.surface.smiles for fit in fits) else 1


def _violations(surface: Surface) -> tuple[int, int]:
    certificate = surface.certificate
    return (
        sum(verdict.verdict != "ok" for verdict in certificate.butterfly),
        sum(verdict.verdict != "ok" for verdict in certificate.calendar),
    )


def _fit_table(chains: list[Chain], fits: list[ChainFit]) -> Table:
    table = Table(title="inside: share of used quotes with the fit within bid and ask (in-sample)", box=box.SIMPLE_HEAD)
    for name in (
        "time UTC",
        "coin",
        "expiries",
        "quotes",
        "used",
        "inside %",
        "RMSE bp",
        "butterfly",
        "calendar",
        "ms",
        "state",
    ):
        table.add_column(name, justify="left" if name in ("time UTC", "coin", "state") else "right", no_wrap=True)
    for chain, fit in zip(chains, fits, strict=True):
        surface, used = fit.surface, fit.quotes.used
        butterfly, calendar = _violations(surface)
        inside = 100 * fit.quotes.inside.sum() / used.sum() if used.any() else float("nan")
        error = (fit.quotes.fit_vol - fit.quotes.mid_vol)[used] * 1e4
        rmse = float((error**2).mean() ** 0.5) if used.any() else float("nan")
        table.add_row(
            surface.to_dict()["valuation_time"][:19].replace("T", " "), surface.underlying, str(len(surface.smiles)),
            str(len(chain)), str(int(used.sum())), f"{inside:.1f}", f"{rmse:.0f}", str(butterfly), str(calendar),
            f"{sum(fit.timing_ms.values()):.1f}", surface.state,
        )  # fmt: skip
    return table


def _smile_table(fit: ChainFit) -> Table:
    surface = fit.surface
    table = Table(title=f"{surface.underlying} {surface.to_dict()['valuation_time']}", box=box.SIMPLE_HEAD)
    names = "expiry days forward source quotes inside% rmse_bp atm% rr25% bf25% butterfly min_g calendar".split()
    for name in names:
        table.add_column(name, justify="left" if name in ("expiry", "source") else "right", no_wrap=True)
    certificate = surface.certificate
    for i, (smile, entry) in enumerate(zip(surface.smiles, surface.to_dict()["smiles"], strict=True)):
        following = certificate.calendar[i].verdict if i < len(certificate.calendar) else "-"
        table.add_row(
            entry["expiry"][:16].replace("T", " "), f"{smile.years * 365:.2f}", f"{smile.forward:,.1f}",
            smile.forward_source, str(smile.n_quotes), f"{100 * smile.inside_spread:.1f}", f"{smile.rmse_bp:.1f}",
            f"{100 * smile.atm_vol:.2f}", f"{100 * smile.risk_reversal(0.25):.2f}",
            f"{100 * smile.butterfly(0.25):.2f}", certificate.butterfly[i].verdict,
            f"{certificate.butterfly[i].margin:.4f}", following,
        )  # fmt: skip
    return table


def _totals(fits: list[ChainFit]) -> str:
    used = sum(int(fit.quotes.used.sum()) for fit in fits)
    inside = sum(int(fit.quotes.inside.sum()) for fit in fits)
    violations = [_violations(fit.surface) for fit in fits]
    times = sorted(sum(fit.timing_ms.values()) for fit in fits)
    reasons: dict[str, int] = {}
    for fit in fits:
        for code in fit.quotes.reason:
            reasons[REASONS[code]] = reasons.get(REASONS[code], 0) + 1
    why = ", ".join(
        f"{name} {count:,}" for name, count in sorted(reasons.items(), key=lambda x: -x[1]) if name != "used"
    )
    return (
        f"{len(fits)} surfaces, {sum(len(fit.surface.smiles) for fit in fits)} smiles, {used:,} quotes used, "
        f"{100 * inside / max(used, 1):.1f} % inside bid-ask (in-sample); violations found: "
        f"{sum(b for b, _ in violations)} butterfly, {sum(c for _, c in violations)} calendar; "
        f"median {times[len(times) // 2]:.1f} ms a surface\nnot used: {why}"
        + "".join(
            f"\n{fit.surface.underlying} {fit.surface.to_dict()['valuation_time'][:19]} {fit.surface.state}: {fit.surface.state_reason}"
            for fit in fits
            if fit.surface.state_reason
        )
        + "".join(
            f"\n{fit.surface.underlying} {fit.surface.to_dict()['valuation_time'][:19]} {fit.words}"
            for fit in fits
            if fit.words
        )
    )


def verify_json(console: Console, source: str) -> int:
    """Verify every surface in a JSON text in exact arithmetic; return 1 when one has arbitrage."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        found: Any = json.loads(text)
    except OSError as error:
        raise SettingsError(f"cannot read {source}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{source} is not JSON: {error}") from error
    documents = found if isinstance(found, list) else [found]
    failures = 0
    for document in documents:
        try:
            surface = Surface.from_dict(document)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{source} is not a fitted surface as `volsurface fit --json` writes it: {error!r}"
            ) from error
        name = f"{surface.underlying} {document['valuation_time']}"
        try:
            verify(surface)
        except ArbitrageError as error:
            failures += 1
            console.print(f"[red]{name}: {error}[/]", highlight=False, soft_wrap=True)
        else:
            console.print(f"{name}: no arbitrage, {len(surface.smiles)} smiles proved", highlight=False, soft_wrap=True)
    return 1 if failures else 0
