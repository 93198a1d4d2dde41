"""A trial: the same chain fitted with the settings in force and with others, so that one sees what a setting does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from volsurface.engine.chain_fit import fit_refined
from volsurface.engine.step import UnderlyingState
from volsurface.errors import SettingsError, unknown_name
from volsurface.settings import Settings
from volsurface.surface.options import FitOptions
from volsurface.surface.surface import Surface

Pair = tuple[Surface, Surface]


def fit_both(state: UnderlyingState, rows: np.ndarray, now_ns: int, live: FitOptions, other: FitOptions) -> Pair | None:
    """Return the surfaces of the feed's rows under both options, each fitted from nothing else; None without a listing.

    Neither is published, and `state` is not changed. `other` leaves out the venues that `live` does.
    """
    if not state.iids.size:
        return None
    chain = state.whole_chain(rows, now_ns)
    other = replace(other, excluded_venues=live.excluded_venues, silent_venues=live.silent_venues)
    return fit_refined(chain, live).surface, fit_refined(chain, other).surface


async def answer(
    request: Any,
    settings: Settings,
    names: Mapping[str, Any],
    fits: Callable[[str, FitOptions], Awaitable[Pair | None]],
) -> dict[str, Any]:
    """Answer {"underlying": name, "fit": {setting: value}} with both surfaces as plain values, "live" and "candidate".

    names: the underlyings there are. Raises SettingsError for what is not allowed; the settings in force stay as they are.
    """
    if not isinstance(request, dict) or not isinstance(request.get("fit"), dict):
        raise SettingsError(f"a candidate names an underlying and fit settings, found {request!r}")
    underlying = str(request.get("underlying"))
    if underlying not in names:
        raise SettingsError(unknown_name("underlying", underlying, names))
    trial = Settings(settings.values())
    trial.update({"fit": request["fit"]}, "candidate")
    found = await fits(underlying, trial.fit.options())
    if found is None:
        raise SettingsError(f"{underlying} has no listed instrument yet: nothing to fit")
    live, candidate = found
    return {"live": live.to_dict(), "candidate": candidate.to_dict()}
