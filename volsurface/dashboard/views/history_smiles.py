"""The smiles of one stored surface on axes that stand still, and the table that compares two of them."""

import math
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn

from volsurface.dashboard import card, formatting, tables
from volsurface.dashboard.figures import Figure, empty
from volsurface.dashboard.palette import Palette
from volsurface.dashboard.picture import Z_GRID, Z_RANGE
from volsurface.dashboard.surface_change import SmileChange, surface_change
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

USUAL_DAYS = 30.0
KEY = (
    '<b style="color:var(--vs-fit)">━ shown</b><b style="color:var(--vs-bid)">┅ A</b>'
    '<b style="color:var(--vs-ask)">┅ B</b><b class="muted">─ other expiries</b>'
)
HEADS: list[str | tuple[str, str]] = [
    "expiry",
    ("ATM %", "Vol at the forward in A"),
    ("level", "Change of the vol at the forward, bp"),
    ("skew", "Change of dvol/dk at the forward, vol points per unit of k"),
    ("curv.", "Change of d2vol/dk2 at the forward"),
    ("fwd %", "Move of the forward"),
    ("old strike", "Change of the vol at the strike that was at the forward in A, bp: level and the next three"),
    ("spot", "of this, what the forward's move alone does: the smile of A stays where it is in k"),
    ("shape", "of this, the changes of skew and curvature at that strike"),
    ("rest", "of this, what the second order does not say"),
]


class SmilesThen:
    """Every expiry's vol against standardised log-moneyness; the chosen expiry thick, with its form in A and B."""

    def __init__(self) -> None:
        no = np.empty(0)
        self.figure = Figure(
            {
                "others": hv.Curve((no, no), "x", "vol").opts(line_width=1, alpha=0.75),
                "a": hv.Curve((no, no), "x", "vol").opts(line_width=2, line_dash="dashed"),
                "b": hv.Curve((no, no), "x", "vol").opts(line_width=2, line_dash="dashed"),
                "shown": hv.Curve((no, no), "x", "vol").opts(line_width=3),
            },
            xlabel="standardised log-moneyness  ln(K/F) / (σ√T)",
            ylabel="implied vol, %",
            show_grid=True,
        )
        for name in ("others", "a", "b", "shown"):
            self.figure.share_source(name, (name,), empty("x", "vol"))
        self._bounds = (0.0, 1.0)
        self.figure.x_range.padding = self.figure.y_range.padding = 0.0
        self.figure.x_range.show(*Z_RANGE)
        self.card = card.Card(
            "SMILES THEN", pn.pane.Bokeh(self.figure.state, sizing_mode="stretch_both", margin=0), key=KEY
        )

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.figure.paint(palette)
        for name, colour in (
            ("others", palette.muted), ("a", palette.bid), ("b", palette.ask), ("shown", palette.fit)
        ):  # fmt: skip
            self.figure.glyph(name, line_color=colour)

    def hold(self, low: float, high: float) -> None:
        """Fix the vertical axis to these vols (fractions); a wider range is taken, a narrower one is not."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return
        before = self._bounds
        if before == (0.0, 1.0):
            self._bounds = (100 * low, 100 * high)
        else:
            self._bounds = (min(before[0], 100 * low), max(before[1], 100 * high))
        if self._bounds != before and not self.figure.y_range.is_users:
            self.frame()

    def frame(self) -> None:
        """Show the axes whole."""
        self.figure.x_range.show(*Z_RANGE)
        self.figure.y_range.show(*self._bounds)

    def draw(self, surface: Surface, row: int | None, a: Surface | None, b: Surface | None) -> None:
        """Draw a surface; row: the expiry chosen, None for the one nearest to 30 days; a, b: those compared."""
        if row is None:
            row = int(np.argmin([abs(365 * smile.years - USUAL_DAYS) for smile in surface.smiles]))
        chosen = surface.smiles[row]
        self.figure.replace("others", _lines([smile for smile in surface.smiles if smile is not chosen]))
        self.figure.replace("shown", _lines([chosen]))
        for name, other in (("a", a), ("b", b)):
            smile = other and other.smile(chosen.expiry_ns)
            self.figure.replace(name, _lines([smile] if smile else []))
        label = formatting.expiry_labels([smile.expiry_ns for smile in surface.smiles])[row]
        self.card.title(
            f"SMILES THEN · {surface.underlying} {label}",
            f"{surface.state} · {len(surface.smiles)} expiries · axes stand still",
        )


class ChangeTable:
    """Two surfaces compared, a row per expiry."""

    def __init__(self) -> None:
        self._table = tables.pane()
        self.card = card.Card("A AGAINST B", self._table)
        self._empty()

    def _empty(self) -> None:
        tables.put(
            self._table,
            "<p>Move the slider and press <b>Set A</b>; then what is shown is compared with it, or what you keep with "
            "<b>Set B</b>: how much of each vol's change is level, skew, curvature, and the move of spot.</p>",
        )

    def draw(self, a: Surface | None, b: Surface | None, kept: bool) -> None:
        """Draw the change from a to b; kept: b was set, else it is what is shown."""
        if a is None or b is None:
            self._empty()
            return
        name = "B" if kept else "shown"
        times = [formatting.utc_time(s.valuation_time_ns).removesuffix(" UTC") for s in (a, b)]
        self.card.title(f"A AGAINST {name.upper()}", f"A {times[0]} · {name} {times[1]} UTC · bp of vol unless named")
        changes = surface_change(a, b)
        if not changes:
            tables.put(self._table, "<p>The two have no expiry in common.</p>")
            return
        tables.put(self._table, change_table(a, changes))


def change_table(a: Surface, changes: list[SmileChange]) -> str:
    """Return a row per expiry both surfaces have."""
    labels = formatting.expiry_labels([change.expiry_ns for change in changes])
    rows: list[list[tables.Cell]] = []
    for label, change in zip(labels, changes):
        before = a.smile(change.expiry_ns)
        assert before is not None
        rows.append(
            [
                label,
                formatting.vol_percent(before.atm_vol),
                _bp(change.level),
                formatting.signed_percent(change.skew),
                f"{change.curvature:+.2f}".replace("-", "−"),
                formatting.signed_percent(change.forward),
                _bp(change.total),
                _bp(change.slide),
                _bp(change.skew_part + change.curvature_part),
                _bp(change.rest),
            ]
        )
    return tables.table(HEADS, rows)


def _bp(vol: float) -> str:
    return formatting.basis_points(1e4 * vol, signed=True)


def _lines(smiles: list[Smile]) -> dict[str, Any]:
    """Return the smiles as one line with gaps, in %, each where it was quoted."""
    x: list[np.ndarray] = []
    vol: list[np.ndarray] = []
    gap = np.array([np.nan])
    for smile in smiles:
        k = Z_GRID * smile.atm_vol * math.sqrt(smile.years)
        values = 100 * np.asarray(smile.vol_at(k))
        if smile.quoted_k is not None:
            margin = 0.1 * (smile.quoted_k[1] - smile.quoted_k[0])
            values = np.where((k >= smile.quoted_k[0] - margin) & (k <= smile.quoted_k[1] + margin), values, np.nan)
        x += [Z_GRID, gap]
        vol += [values, gap]
    joined = [np.concatenate(parts).astype("f4") if parts else np.empty(0, "f4") for parts in (x, vol)]
    return {"x": joined[0], "vol": joined[1]}
