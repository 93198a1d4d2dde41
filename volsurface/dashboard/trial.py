"""What a candidate's settings do to the fit, beside the settings in force, as a small table."""

import math

from volsurface.dashboard import formatting, tables
from volsurface.surface.certificate import Verdict
from volsurface.surface.surface import Surface


def trial_table(live: Surface, candidate: Surface) -> str:
    """Return before and after as HTML: quotes used, share inside, RMSE over all quotes used, least margins, state.

    Each side is measured over the quotes it uses itself, which a filter's settings change too.
    """
    rows: list[list[tables.Cell]] = []
    for name, before, after in zip(NAMES, _numbers(live), _numbers(candidate)):
        rows.append([name, before, after])
    return tables.table(["fitted from the same quotes", "now", "tried"], rows)


NAMES = ("expiries", "quotes used", "inside, %", "RMSE, bp", "least g", "least gap", "state")


def _numbers(surface: Surface) -> list[str]:
    smiles = [smile for smile in surface.smiles if smile.state != "failed" and smile.n_quotes]
    used = sum(smile.n_quotes for smile in smiles)
    inside = sum(smile.inside_spread * smile.n_quotes for smile in smiles) / used if used else math.nan
    square = sum(smile.rmse_bp**2 * smile.n_quotes for smile in smiles) / used if used else math.nan
    return [
        str(len(smiles)),
        f"{used:,}",
        f"{100 * inside:.1f}" if used else formatting.MISSING,
        formatting.basis_points(math.sqrt(square)),
        _least(surface.certificate.butterfly),
        _least(surface.certificate.calendar),
        surface.state,
    ]


def _least(verdicts: tuple[Verdict, ...]) -> str:
    margins = [verdict.margin for verdict in verdicts if math.isfinite(verdict.margin)]
    return f"{min(margins):.4f}".replace("-", "−") if margins else formatting.MISSING
