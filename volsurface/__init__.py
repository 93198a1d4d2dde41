"""A live, multi-venue, certified arbitrage-free volatility surface for crypto options.

    import volsurface as vs

    chain = vs.read_chain("chain.parquet")
    surface = vs.fit_surface(chain)
    surface.vol(strike=100_000, expiry="2026-12-25T08:00:00Z")

Names are loaded when they are first used, so that `import volsurface` is quick and needs neither Numba nor Panel.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from volsurface.version import __version__

_HOME = {
    "black76_price": "volsurface.pricing.black76",
    "implied_vol": "volsurface.pricing.implied_vol",
    "greeks": "volsurface.pricing.greeks",
    "simulated_chain": "volsurface.simulator.chain",
    "read_chain": "volsurface.io.chain_files",
    "read_chains": "volsurface.io.chain_files",
    "fit_surface": "volsurface.engine.chain_fit",
    "fit_chain": "volsurface.engine.chain_fit",
    "verify": "volsurface.surface.certificate",
    "Surface": "volsurface.surface.surface",
    "Smile": "volsurface.surface.smile",
    "FitSettings": "volsurface.settings",
    "Settings": "volsurface.settings",
    "History": "volsurface.io.history.reader",
    "connect": "volsurface.engine.client",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from volsurface.engine.chain_fit import fit_chain, fit_surface
    from volsurface.engine.client import connect
    from volsurface.io.chain_files import read_chain, read_chains
    from volsurface.io.history.reader import History
    from volsurface.pricing.black76 import black76_price
    from volsurface.pricing.greeks import greeks
    from volsurface.pricing.implied_vol import implied_vol
    from volsurface.settings import FitSettings, Settings
    from volsurface.simulator.chain import simulated_chain
    from volsurface.surface.certificate import verify
    from volsurface.surface.smile import Smile
    from volsurface.surface.surface import Surface


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'volsurface' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
