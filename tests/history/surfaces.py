"""Surfaces for the history tests, with numbers whose every bit must come back."""

import math

import numpy as np

from volsurface.io.publication import Publication
from volsurface.surface.certificate import Certificate, Verdict
from volsurface.surface.quoted import COLUMNS, QuotedVols
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

DAY_NS = 86_400_000_000_000
MARKET_NS = 1_795_200_000_123_456_789


def smile(days: int, shift: float = 0.0) -> Smile:
    years = days / 365.0
    return Smile(
        expiry_ns=MARKET_NS // DAY_NS * DAY_NS + days * DAY_NS + 8 * 3_600_000_000_000,
        years=years,
        forward=86_341.9 + math.pi * days + shift,
        forward_source="synthetic",
        model="svi",
        parameters=(0.1 * years / 3 + shift, 0.07 * years, -0.3 / 3, -0.0 if days == 7 else 0.01 / 3, 0.1 + 0.2),
        n_quotes=40,
        n_rejected=3,
        inside_spread=0.975,
        rmse_bp=12.5 / 3,
        max_error_bp=40.0,
        state="certified",
        quote_time_ns=MARKET_NS - 111,
        fit_time_ns=MARKET_NS - 7,
        method="free",
        quoted_k=None if days == 35 else (-0.7 / 3, 0.1 * days / 3),
    )


def surface(underlying: str = "BTC", shift: float = 0.0) -> Surface:
    smiles = tuple(smile(days, shift) for days in (7, 35, 98))
    butterfly = tuple(Verdict("ok", 0.1 / 3, 0.25 + i / 7, i == 1, None) for i in range(3))
    calendar = (Verdict("ok", None, 0.3, False, None), Verdict("violated", -1 / 3, -1e-3, True, (-math.inf, 0.1)))
    return Surface(underlying, MARKET_NS, smiles, Certificate.of(butterfly, calendar), "failed", "a made-up reason")


def publication(surface_id: int = 1, underlying: str = "BTC", shift: float = 0.0) -> Publication:
    empty = QuotedVols((), **{name: np.empty(0, dtype) for name, dtype in COLUMNS.items()})
    return Publication(
        underlying, surface_id, MARKET_NS, MARKET_NS + 5, MARKET_NS - 111, MARKET_NS - 222, 7, 86_340.5, 1,
        surface(underlying, shift), empty,
    )  # fmt: skip
