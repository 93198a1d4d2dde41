"""Fits the quotes of a history again with other settings, and compares the surfaces with those that were published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from volsurface.engine.chain_fit import fit_chain
from volsurface.engine.history_rows import HistoryRows
from volsurface.errors import HistoryError
from volsurface.io.history.reader import History
from volsurface.io.history.table import Table
from volsurface.io.history.writer import Writer
from volsurface.io.publication import Publication
from volsurface.market.chain import Chain
from volsurface.market.instrument import CALL, COIN, PUT
from volsurface.market.quote import FORWARD_NAMES, FORWARD_NONE
from volsurface.settings import Settings
from volsurface.surface.surface import Surface

TENORS = (7.0, 30.0, 90.0)  # days at which metrics are compared
METRICS = ("atm_vol", "rr25", "bf25")
NS_PER_S = 1_000_000_000
FLUSH_EVERY = 60  # surfaces between two segments of the store
QUOTE_AGE_S = 60.0  # every live quote is in the history at least this often


@dataclass
class Quality:
    """Sums over the surfaces of one side.

    quotes: points of all fits; inside, square_bp: how many are inside bid-ask, and the sum of squared errors.
    """

    surfaces: int = 0
    smiles: int = 0
    quotes: int = 0
    inside: float = 0.0
    square_bp: float = 0.0
    violations: int = 0
    not_certified: int = 0

    def add(self, surface: Surface) -> None:
        """Add one surface."""
        self.surfaces += 1
        self.smiles += len(surface.smiles)
        for smile in surface.smiles:
            self.quotes += smile.n_quotes
            if smile.n_quotes:
                self.inside += smile.n_quotes * smile.inside_spread
                self.square_bp += smile.n_quotes * smile.rmse_bp**2
        self.violations += surface.certificate.violations
        self.not_certified += surface.state != "certified"

    def figures(self) -> dict[str, float | int | None]:
        """Return the figures a table shows; None where there is nothing to divide by."""
        return {
            "surfaces": self.surfaces,
            "smiles": self.smiles,
            "quotes": self.quotes,
            "inside_spread": self.inside / self.quotes if self.quotes else None,
            "rmse_bp": (self.square_bp / self.quotes) ** 0.5 if self.quotes else None,
            "violations": self.violations,
            "not_certified": self.not_certified,
        }


@dataclass
class Comparison:
    """Stored against refitted surfaces of one underlying at the same times.

    differences_bp: {(metric, days): refitted minus stored, one per time, in bp of vol}. skipped: times without a stored
    surface or without quotes.
    """

    underlying: str
    stored: Quality = field(default_factory=Quality)
    refitted: Quality = field(default_factory=Quality)
    differences_bp: dict[tuple[str, float], list[float]] = field(default_factory=dict)
    skipped: int = 0

    def add(self, stored: Surface, refitted: Surface) -> None:
        """Take one pair."""
        self.stored.add(stored)
        self.refitted.add(refitted)
        if not stored.smiles or not refitted.smiles:
            return
        for days in TENORS:
            before, after = stored.constant_tenor(days), refitted.constant_tenor(days)
            for name in METRICS:
                difference = 1e4 * (getattr(after, name) - getattr(before, name))
                self.differences_bp.setdefault((name, days), []).append(difference)

    def metrics(self) -> list[dict[str, float | str]]:
        """Return per metric and tenor the mean, mean absolute and largest difference in bp."""
        rows: list[dict[str, float | str]] = []
        for (name, days), values in self.differences_bp.items():
            known = np.array([value for value in values if np.isfinite(value)])
            if known.size:
                rows.append(
                    {
                        "metric": name, "days": days, "mean_bp": float(known.mean()),
                        "mean_abs_bp": float(np.abs(known).mean()), "largest_bp": float(np.abs(known).max()),
                    }
                )  # fmt: skip
        return rows


def refit(
    history: History, settings: Settings, times_ns: Sequence[int], underlyings: Sequence[str], store: Path | None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Comparison]:  # fmt: skip
    """Fit the quotes at each time with `settings`, continuing from the fit before as the engine does; compare.

    times_ns: ascending. store: history store to write the new surfaces to, or None; emptied first.
    progress: called with the number of times done.
    """
    writer = Writer(store, f"refit of {history.source}") if store is not None else None
    rows = None
    if writer is not None:
        writer.clear()
        rows = HistoryRows(writer)
    options = settings.fit.options()
    compared = {name: Comparison(name) for name in underlyings}
    previous: dict[str, Surface] = {}
    try:
        for done, time_ns in enumerate(times_ns, 1):
            if rows is not None:
                rows.begin(time_ns)
                if done == 1:
                    rows.settings(1, settings.values(), "refit")
            for name in underlyings:
                try:
                    stored, chain = history.surface_at(time_ns, name, 60.0), chain_of(history, time_ns, name)
                except HistoryError:
                    compared[name].skipped += 1
                    continue
                fit = fit_chain(chain, options, previous=previous.get(name))
                previous[name] = fit.surface
                compared[name].add(stored, fit.surface)
                if rows is not None:
                    newest_ns = int(chain.quote_time_ns.max())
                    spot = float(np.nanmedian(chain.index)) if np.isfinite(chain.index).any() else float("nan")
                    rows.publication(
                        Publication(
                            underlying=name, surface_id=done, market_time_ns=time_ns, published_ns=time_ns,
                            newest_quote_ns=newest_ns, oldest_tick_ns=newest_ns, changed=0, spot=spot,
                            settings_version=1, surface=fit.surface, quotes=fit.quotes,
                        )
                    )  # fmt: skip
            if writer is not None and done % FLUSH_EVERY == 0:
                writer.flush()
            progress(done)
    finally:
        if writer is not None:
            writer.close()
    return list(compared.values())


def stored_times(
    history: History, underlyings: Sequence[str], since_ns: int, until_ns: int, every_s: float
) -> list[int]:
    """Return the times to fit at: multiples of `every_s` in the range that the history holds surfaces of."""
    span = history.sql(
        """SELECT epoch_ns(min(ts)) AS first, epoch_ns(max(ts)) AS last FROM surfaces
        WHERE underlying IN (SELECT unnest($1::VARCHAR[])) AND ts BETWEEN make_timestamp($2) AND make_timestamp($3)""",
        list(underlyings), since_ns // 1000, until_ns // 1000,
    )  # fmt: skip
    first, last = span["first"][0], span["last"][0]
    if np.ma.is_masked(first) or first is None or last is None:
        raise HistoryError(f"{history.root} has no surface of {', '.join(underlyings)} in that time")
    step_ns = round(every_s * NS_PER_S)
    start_ns = -(-int(first) // step_ns) * step_ns
    return list(range(start_ns, int(last) + 1, step_ns)) or [int(last)]


def chain_of(history: History, time_ns: int, underlying: str) -> Chain:
    """Return the quotes that were live at a time as a chain; raises HistoryError when there are none."""
    rows: Table = history.sql(
        """SELECT venue, native_symbol, epoch_ns(expiry) AS expiry_ns, strike, option_type, settlement, price_unit_size,
        bid, ask, bid_sz, ask_sz, mark, iv_mark, fwd, fwd_source, index, oi, iid,
        epoch_ns(ts) - coalesce(age_ms, 0) * 1000000 AS quote_ns
        FROM chain_at(make_timestamp($1), $2, lookback := to_seconds($3))""",
        time_ns // 1000, underlying, QUOTE_AGE_S,
    )  # fmt: skip
    if not len(rows):
        raise HistoryError(f"no live quote of {underlying} at that time")
    unit = _floats(rows["price_unit_size"])
    names = {name: number for number, name in enumerate(FORWARD_NAMES)}
    return Chain(
        underlying=underlying,
        time_ns=time_ns,
        venue=np.asarray(rows["venue"], object),
        symbol=np.asarray(rows["native_symbol"], object),
        expiry_ns=np.asarray(rows["expiry_ns"], np.int64),
        strike=_floats(rows["strike"]),
        right=np.where(np.asarray(rows["option_type"]) == "call", CALL, PUT).astype(np.int8),
        inverse=np.asarray(rows["settlement"]) == COIN,
        bid=_floats(rows["bid"]) / unit,
        ask=_floats(rows["ask"]) / unit,
        mark=_floats(rows["mark"]) / unit,
        bid_size=_floats(rows["bid_sz"]),
        ask_size=_floats(rows["ask_sz"]),
        open_interest=_floats(rows["oi"]),
        mark_iv=_floats(rows["iv_mark"]),
        forward=_floats(rows["fwd"]),
        forward_source=np.array([names.get(name, FORWARD_NONE) for name in rows["fwd_source"].tolist()], np.uint8),
        index=_floats(rows["index"]),
        quote_time_ns=np.asarray(rows["quote_ns"], np.int64),
        iid=np.asarray(rows["iid"], np.int32),
    )


def _floats(column: np.ndarray) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(column, float), np.nan).astype(float)
