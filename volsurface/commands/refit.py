"""What `volsurface refit` does and prints."""

import json
import re
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from volsurface.engine.refit import Comparison, refit, stored_times
from volsurface.engine.warm import compile_kernels
from volsurface.errors import SettingsError, unknown_name
from volsurface.io.history.reader import History
from volsurface.io.places import data_folder, history_folder
from volsurface.settings import Settings, read_settings_file
from volsurface.surface.instants import from_iso

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
FIGURES = (
    ("surfaces", "surfaces", "{:,}"), ("smiles", "smiles", "{:,}"), ("quotes", "quotes fitted", "{:,}"),
    ("inside_spread", "inside bid-ask", "{:.2%}"), ("rmse_bp", "RMSE, bp of vol", "{:.2f}"),
    ("violations", "violations", "{:,}"), ("not_certified", "not certified", "{:,}"),
)  # fmt: skip


def refit_history(
    console: Console, data: Path | None, source: str | None, since: str | None, until: str | None, settings_file: Path,
    every_s: float, underlyings: list[str], write: bool, as_json: bool,
) -> int:  # fmt: skip
    """Fit a stretch of history with other settings, write it beside and print the comparison; return 0."""
    settings = Settings()
    settings.update(read_settings_file(settings_file), str(settings_file))
    if not every_s > 0:
        raise SettingsError(f"--every is a number of seconds above 0, found {every_s:g}")
    folder = data_folder(data)
    with History(folder / "history", source) as history:
        stored = sorted(set(history.sql("SELECT DISTINCT underlying FROM surfaces")["underlying"].tolist()))
        for name in underlyings:
            if name not in stored:
                raise SettingsError(unknown_name("underlying", name, stored))
        names = underlyings or stored
        last_ns = int(history.sql("SELECT coalesce(epoch_ns(max(ts)), 0) AS t FROM surfaces")["t"][0])
        until_ns = _time("until", until, last_ns) if until else last_ns
        since_ns = _time("since", since, last_ns) if since else 0
        times = stored_times(history, names, since_ns, until_ns, every_s)
        store = history_folder(folder, f"refit-{settings_file.stem}") if write else None
        compile_kernels()  # else the first time's bar would wait for the compiler
        columns = (
            TextColumn("refitting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as bar:
            task = bar.add_task("", total=len(times))
            compared = refit(history, settings, times, names, store, lambda done: bar.update(task, completed=done))
    if as_json:
        print(json.dumps([_plain(comparison) for comparison in compared], allow_nan=False))
    else:
        for comparison in compared:
            _print(console, comparison)
        if store is not None:
            console.print(
                f'written to {store}: vs.History("{folder / "history"}", source="{store.name}")', soft_wrap=True
            )
    return 0


def _time(flag: str, text: str, last_ns: int) -> int:
    """A time, or so long before the end of the history: "90m", "2h", "7d"."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return last_ns - round(float(ago[1]) * _SECONDS[ago[2]] * 1e9)
    try:
        return from_iso(text)
    except ValueError:
        raise SettingsError(
            f"--{flag} wants a time like 2026-11-20T18:00:00Z, or how long before the end: 90m, 2h, 7d; found {text!r}"
        ) from None


def _plain(comparison: Comparison) -> dict[str, object]:
    return {
        "underlying": comparison.underlying,
        "stored": comparison.stored.figures(),
        "refitted": comparison.refitted.figures(),
        "metrics": comparison.metrics(),
        "skipped": comparison.skipped,
    }


def _print(console: Console, comparison: Comparison) -> None:
    table = Table(title=f"{comparison.underlying}: stored against refitted", box=box.SIMPLE_HEAD)
    for name in ("", "stored", "refitted"):
        table.add_column(name, justify="right" if name else "left")
    stored, refitted = comparison.stored.figures(), comparison.refitted.figures()
    for key, title, form in FIGURES:
        table.add_row(title, *("-" if side[key] is None else form.format(side[key]) for side in (stored, refitted)))
    console.print(table)
    changes = Table(title="refitted minus stored, bp of vol", box=box.SIMPLE_HEAD)
    for name in ("metric", "days", "mean", "mean absolute", "largest"):
        changes.add_column(name, justify="left" if name == "metric" else "right")
    for row in comparison.metrics():
        values = (f"{row[name]:+.2f}" if name == "mean_bp" else f"{row[name]:.2f}" for name in ("mean_bp", "mean_abs_bp", "largest_bp"))  # fmt: skip
        changes.add_row(str(row["metric"]), f"{row['days']:g}", *values)
    console.print(changes)
    if comparison.skipped:
        console.print(f"{comparison.skipped} times had no stored surface or no quotes within a minute")
