"""Checks skipped work: does exactly what a step has left out, afterwards, and says by how much it would have differed. Pure."""

from dataclasses import dataclass

from volsurface.engine.chain_fit import fit_chain
from volsurface.engine.materiality import quoted_change
from volsurface.market.chain import Chain
from volsurface.surface.options import FitOptions
from volsurface.surface.surface import Surface

KINDS = ("vols", "fits", "moves")  # vols that were kept; smiles that were kept; smiles that were moved along


@dataclass(frozen=True, slots=True)
class SkippedFit:
    """One expiry whose smile in `surface` was kept or moved along: everything the exact fit needs."""

    kind: str
    underlying: str
    expiry_ns: int
    step: int
    chain: Chain
    surface: Surface
    options: FitOptions
    threshold: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What one audit found. error, threshold: fractions of vol (0.0001 = 1 bp)."""

    kind: str
    underlying: str
    expiry_ns: int
    step: int
    error: float
    threshold: float


def refit(skipped: SkippedFit) -> Finding | None:
    """Fit the expiry as the step would have; None when that fit is not certified and would not have been shown."""
    exact = fit_chain(skipped.chain, skipped.options, previous=skipped.surface, expiries=[skipped.expiry_ns]).surface
    now = {smile.expiry_ns: smile for smile in exact.smiles}.get(skipped.expiry_ns)
    then = {smile.expiry_ns: smile for smile in skipped.surface.smiles}.get(skipped.expiry_ns)
    if exact.state != "certified" or now is None or then is None or now.state != "certified":
        return None
    error = quoted_change(now, then)
    return Finding(skipped.kind, skipped.underlying, skipped.expiry_ns, skipped.step, error, skipped.threshold)
