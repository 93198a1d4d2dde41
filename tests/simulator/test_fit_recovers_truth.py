"""The one question only a simulated market can answer: does the fit find the vols the quotes were made from?"""

from datetime import UTC, datetime

import numpy as np
import pytest

from volsurface.engine.chain_fit import fit_chain
from volsurface.market.chain import Chain
from volsurface.market.quote import FORWARD_FUTURE
from volsurface.simulator.market import Market
from volsurface.simulator.order_book import PRICE_UNIT

NOW = int(datetime(2026, 5, 21, 9, 13, tzinfo=UTC).timestamp()) * 10**9


def chain_of(market: Market, underlying: str) -> Chain:
    """Return the chain as the books stand."""
    options = [option for option in market.options if option.underlying == underlying]
    values = market.tickers(options)
    n = len(options)

    def prices(side: str) -> np.ndarray:
        units = np.array([getattr(option.book, side) for option in options], float)
        return np.where(units > 0, units * PRICE_UNIT, np.nan)

    return Chain(
        underlying=underlying,
        time_ns=market.now_ns,
        venue=np.full(n, "deribit", object),
        symbol=np.array([option.symbol for option in options], object),
        expiry_ns=np.array([option.expiry.expiry_ns for option in options]),
        strike=np.array([option.strike for option in options]),
        right=np.array([option.right for option in options], np.int8),
        inverse=np.full(n, True),
        bid=prices("best_bid"),
        ask=prices("best_ask"),
        mark=np.array(values.mark),
        bid_size=np.ones(n),
        ask_size=np.ones(n),
        open_interest=np.ones(n),
        mark_iv=np.array(values.mark_iv) / 100,
        forward=np.array(values.forward),
        forward_source=np.full(n, FORWARD_FUTURE, np.uint8),
        index=np.array(values.index),
        quote_time_ns=np.full(n, market.now_ns),
        iid=np.arange(n, dtype=np.int32),
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fitted_vols_are_within_twenty_basis_points_of_the_true_ones(seed: int) -> None:
    market = Market(("BTC", "ETH"), seed, NOW + seed * 40_000 * 10**9)
    for underlying, smiles in market.smiles.items():
        quotes = fit_chain(chain_of(market, underlying)).quotes
        rows = np.searchsorted(smiles.expiry_ns, quotes.expiry_ns)
        true_vol = smiles.vol(rows, quotes.strike)
        error_bp = 1e4 * np.abs(quotes.fit_vol - true_vol)[quotes.used]
        assert quotes.used.sum() > 250
        assert np.median(error_bp) <= 20
        assert np.quantile(error_bp, 0.95) <= 60
        assert quotes.inside.sum() > 0.95 * quotes.used.sum()
