"""A simulated chain as a value: something to fit where there are no recorded data and no running market."""

import numpy as np

from volsurface.market.chain import Chain
from volsurface.market.quote import FORWARD_FUTURE, FORWARD_SYNTHETIC
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.order_book import PRICE_UNIT
from volsurface.surface.instants import instant_ns

NOON_NS = 1_795_176_000_000_000_000  # 2026-11-20T12:00:00Z, so that an example shows the same numbers every day


def simulated_chain(underlying: str = "BTC", *, seed: int = 1, time_ns: int = NOON_NS) -> Chain:
    """Return the simulated venue's quotes of one underlying at one instant; the same arguments give the same chain.

    underlying: "BTC" or "ETH". Prices in coin, on Deribit's ticks, around a true surface that is free of arbitrage.
    Raises VenueError for a coin that is not simulated.

    >>> chain = simulated_chain("BTC", seed=7)
    >>> len(chain) > 500, chain.underlying
    (True, 'BTC')
    """
    market = VenueMarket((underlying,), seed, instant_ns(time_ns))
    options = market.options
    values = market.tickers(options)
    n = len(options)

    def prices(units: list[int]) -> np.ndarray:
        return np.where(np.array(units) > 0, np.array(units) * PRICE_UNIT, np.nan)

    return Chain(
        underlying=underlying,
        time_ns=time_ns,
        venue=np.full(n, "deribit", object),
        symbol=np.array([option.symbol for option in options], object),
        expiry_ns=np.array([option.expiry.expiry_ns for option in options], np.int64),
        strike=np.array([option.strike for option in options]),
        right=np.array([option.right for option in options], np.int8),
        inverse=np.ones(n, bool),
        bid=prices([option.book.best_bid for option in options]),
        ask=prices([option.book.best_ask for option in options]),
        mark=np.array(values.mark),
        bid_size=np.array([option.book.bids.get(option.book.best_bid, np.nan) for option in options]),
        ask_size=np.array([option.book.asks.get(option.book.best_ask, np.nan) for option in options]),
        open_interest=np.array([option.open_interest for option in options]),
        mark_iv=np.array(values.mark_iv) / 100,
        forward=np.array(values.forward),
        forward_source=np.array(
            [FORWARD_FUTURE if option.expiry.has_future else FORWARD_SYNTHETIC for option in options], np.uint8
        ),
        index=np.array(values.index),
        quote_time_ns=np.full(n, time_ns, np.int64),
        iid=np.arange(n, dtype=np.int32),
    )
