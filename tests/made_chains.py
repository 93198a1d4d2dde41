"""Chains made from known SVI smiles: what a fit should find again. Prices by a plain Black-76, not by the code under test."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from volsurface.market.chain import Chain
from volsurface.market.quote import FORWARD_FUTURE

NOW_NS = 1_779_693_691_450_623_000  # 2026-05-25T07:21:31.450623Z
DAY_NS = 86_400_000_000_000
YEAR_NS = 365 * DAY_NS

# (days, forward, (a, b, rho, m, sigma)): ordinary BTC smiles, free of arbitrage.
SMILES = (
    (7.0, 100_150.0, (0.0006, 0.030, -0.15, 0.004, 0.06)),
    (30.0, 100_600.0, (0.0045, 0.060, -0.20, 0.010, 0.15)),
    (120.0, 102_500.0, (0.0250, 0.110, -0.22, 0.020, 0.30)),
)


def svi(parameters: Sequence[float], k: float) -> float:
    """Total variance, re-typed from the paper."""
    a, b, rho, m, sigma = parameters
    return a + b * (rho * (k - m) + math.sqrt((k - m) ** 2 + sigma**2))


def coin_price(k: float, w: float, right: int) -> float:
    """Undiscounted Black-76 price in units of the forward."""
    root = math.sqrt(w)
    upper, lower = -k / root + root / 2, -k / root - root / 2
    return right * (_normal(right * upper) - math.exp(k) * _normal(right * lower))


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def made_chain(
    smiles=SMILES, *, strikes=31, width=2.5, spread=0.01, tick=0.0, noise=0.0, inverse=True, seed=0, now_ns=NOW_NS
) -> Chain:
    """Calls and puts at `strikes` strikes within `width` standard deviations, bid and ask `spread` vols apart.

    noise: standard deviation of the middle, in vol. tick: prices are rounded outwards to it (0: not at all).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for days, forward, parameters in smiles:
        years = days / 365
        reach = width * math.sqrt(svi(parameters, 0.0))
        for k in np.linspace(-reach, reach, strikes):
            strike = forward * math.exp(k)
            middle = math.sqrt(svi(parameters, k) / years) + (noise * rng.standard_normal() if noise else 0.0)
            for right in (1, -1):
                bid, ask, mark = (
                    coin_price(k, (middle + shift) ** 2 * years, right) for shift in (-spread / 2, spread / 2, 0.0)
                )
                if tick:
                    bid, ask = math.floor(bid / tick) * tick, math.ceil(ask / tick) * tick
                unit = 1.0 if inverse else forward
                rows.append((now_ns + int(days * DAY_NS), strike, right, bid * unit, ask * unit, mark * unit, forward))
    expiry_ns, strike, right, bid, ask, mark, forward = (np.array(column) for column in zip(*rows, strict=True))
    n = strike.size
    return Chain(
        underlying="BTC",
        time_ns=now_ns,
        venue=np.full(n, "deribit", object),
        symbol=np.array([f"BTC-{i}" for i in range(n)], object),
        expiry_ns=expiry_ns.astype(np.int64),
        strike=strike,
        right=right.astype(np.int8),
        inverse=np.full(n, inverse),
        bid=np.where(bid > 0, bid, np.nan),
        ask=ask,
        mark=mark,
        bid_size=np.ones(n),
        ask_size=np.ones(n),
        open_interest=np.zeros(n),
        mark_iv=np.full(n, np.nan),
        forward=forward,
        forward_source=np.full(n, FORWARD_FUTURE, np.uint8),
        index=np.full(n, 100_000.0),
        quote_time_ns=np.full(n, now_ns, np.int64),
        iid=np.arange(n, dtype=np.int32),
    )


def changed(chain: Chain, rows, **columns) -> Chain:
    """The chain with other values in `rows` of the named columns."""
    fresh = {}
    for name, values in columns.items():
        column = getattr(chain, name).copy()
        column[rows] = values
        fresh[name] = column
    return replace(chain, **fresh)


def made_smile(parameters, days=30.0, forward=100_600.0, **fields):
    """A Smile with these parameters and unremarkable other fields."""
    from volsurface.surface.smile import Smile

    values = {
        "expiry_ns": NOW_NS + int(days * DAY_NS),
        "years": days / 365,
        "forward": forward,
        "forward_source": "future",
        "model": "svi",
        "parameters": tuple(float(x) for x in parameters),
        "n_quotes": 31,
        "n_rejected": 4,
        "inside_spread": 0.9677419354838710,
        "rmse_bp": 12.25,
        "max_error_bp": 40.125,
        "state": "certified",
        "quote_time_ns": NOW_NS - 1,
        "fit_time_ns": NOW_NS,
        "method": "free",
    }
    return Smile(**(values | fields))
