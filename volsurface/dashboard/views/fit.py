"""The fit in numbers: parameters, quality, butterfly and calendar margins and the verdict of every expiry."""

from typing import Any

import panel as pn
from panel.viewable import Viewer

from volsurface.dashboard import card, formatting, tables
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.picture import Picture
from volsurface.dashboard.views.smile import describe_violations
from volsurface.surface.certificate import Verdict
from volsurface.surface.quoted import REASONS
from volsurface.surface.smile import MIXTURE, PARAMETER_NAMES, SVI, Smile

HEADS: list[str | tuple[str, str]] = [
    "expiry",
    "days",
    ("state", "certified: proved free of arbitrage"),
    ("min g", "Smallest value of the butterfly function g; negative: a butterfly arbitrage"),
    ("gap to next", "Smallest difference of total variance to the next expiry, as a share of its ATM variance"),
    ("ATM %", "Vol at the forward"),
    ("RMSE bp", "Distance to the mid vols"),
    ("max bp", "Largest distance to a mid vol"),
    ("inside %", "Share of used quotes whose bid and ask enclose the fit"),
    "used",
    "unused",
    "forward",
    ("source", "Where the forward comes from"),
]
SHAPE: list[str | tuple[str, str]] = [
    ("model", "svi, or a mixture of two SVI slices in price"),
    *PARAMETER_NAMES[SVI],
    ("skew", "dvol/dk at the forward, of a mixture: its own ten numbers are not determined by the quotes"),
    ("RR25 %", "25-delta call vol minus put vol, of a mixture"),
    ("BF25 %", "25-delta vols' mean minus the vol at the forward, of a mixture"),
]
TONES = {"certified": "good", "uncertified": "warn", "stale": "warn", "fallback": "warn", "failed": "bad"}


class FitView(Viewer):
    """A row per expiry, and why quotes are not used."""

    def __init__(self, hub: SurfaceHub, choices: Choices | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self._drawn: Any = None
        self._table, self._reasons = tables.pane(), tables.pane()
        self.card = card.Card("FIT", self._table)
        self.reasons = card.Card("QUOTES NOT USED, BY REASON", self._reasons)

    def apply(self) -> None:
        """Draw what is new."""
        picture = self.hub.picture(self.choices.underlying)
        if picture is None or picture is self._drawn:
            return
        self._drawn = picture
        certificate = picture.surface.certificate
        verdict = "certified: no butterfly, no calendar arbitrage at any strike"
        words = verdict if certificate.ok else f"not certified: {certificate.violations} verdicts are not ok"
        if picture.surface.state == "uncertified":
            words = "not certified yet"
        if picture.publication.model_words:
            words += f" · {picture.publication.model_words}"
        self.card.title(f"FIT · {picture.publication.underlying}", words)
        self.card.alarm("; ".join(text for text in (picture.surface.state_reason, violations(picture)) if text))
        tables.put(self._table, fit_table(picture))
        tables.put(self._reasons, reason_table(picture))

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        top, bottom = self.card.panel, self.reasons.panel
        top.styles, bottom.styles = {"flex": "3 1 0", "min-height": "0"}, {"flex": "2 1 0", "min-height": "0"}
        return pn.Column(top, bottom, sizing_mode="stretch_both", margin=0, styles={"gap": "8px"})


def fit_table(picture: Picture) -> str:
    """Return a row per expiry with its parameters and margins."""
    rows = []
    for row, smile in enumerate(picture.smiles):
        calendar = picture.surface.certificate.calendar
        rows.append(
            [
                picture.labels[row],
                f"{picture.days[row]:.1f}",
                (smile.state, TONES.get(smile.state, "")),
                _margin(picture.butterfly(row)),
                _margin(calendar[row] if row < len(calendar) else None),
                formatting.vol_percent(smile.atm_vol),
                formatting.basis_points(smile.rmse_bp),
                formatting.basis_points(smile.max_error_bp),
                f"{100 * smile.inside_spread:.0f}",
                str(smile.n_quotes),
                str(smile.n_rejected),
                formatting.price(smile.forward),
                smile.forward_source,
                smile.model,
                *_described(smile),
            ]
        )
    return tables.table([*HEADS, *SHAPE], rows)


def _described(smile: Smile) -> list[str]:
    """The raw numbers of an SVI slice; those of a mixture say nothing (others fit as well), its metrics do."""
    if smile.model != MIXTURE:
        values = list(smile.parameters)
        return [f"{value:.4g}".replace("-", "−") for value in values] + [formatting.MISSING] * 3
    metrics = (smile.skew, 100 * smile.risk_reversal(0.25), 100 * smile.butterfly(0.25))
    return [formatting.MISSING] * 5 + [f"{value:.3g}".replace("-", "−") for value in metrics]


def violations(picture: Picture) -> str:
    """Return every arbitrage found, each with its expiry and interval, as one sentence; empty without any."""
    found = dict.fromkeys(part for row in range(len(picture.smiles)) for part in _named(picture, row))
    return "; ".join(found)


def _named(picture: Picture, row: int) -> list[str]:
    words = describe_violations(picture, row)
    return [f"{part}" if "calendar" in part else f"{picture.labels[row]} {part}" for part in words.split("; ") if part]


def _margin(verdict: Verdict | None) -> tables.Cell:
    if verdict is None or verdict.verdict == "undecided":
        return formatting.MISSING
    text = f"{verdict.margin:.4f}".replace("-", "−")
    return (text, {"ok": "good", "violated": "bad"}.get(verdict.verdict, "warn"))


def reason_table(picture: Picture) -> str:
    """Return how many quotes are left out for which reason, per expiry."""
    quotes = picture.publication.quotes
    present = [code for code in range(1, len(REASONS)) if (quotes.reason == code).any()]
    rows = []
    for row, smile in enumerate(picture.smiles):
        mine = quotes.reason[quotes.expiry_ns == smile.expiry_ns]
        counts = [int((mine == code).sum()) for code in present]
        rows.append([picture.labels[row], str(mine.size), *(str(n) if n else formatting.MISSING for n in counts)])
    return tables.table(["expiry", "listed", *(REASONS[code].replace("_", " ") for code in present)], rows)
