"""A simulated chain as a value: something to fit where there are no recorded data and no running market."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from volsurface.market.chain import Chain
from volsurface.market.instrument import COIN
from volsurface.market.quote import FORWARD_FUTURE, FORWARD_INDEX, FORWARD_SYNTHETIC
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.venue_profiles import venue_profile
from volsurface.surface.instants import instant_ns

NOON_NS = 1_795_176_000_000_000_000  # 2026-11-20T12:00:00Z, so that an example shows the same numbers every day


def simulated_chain(
    underlying: str = "BTC", *, seed: int = 1, time_ns: int = NOON_NS, venues: Sequence[str] = ("deribit",)
) -> Chain:
    """Return simulated venues' quotes of one underlying at one instant; the same arguments give the same chain.

    underlying: "BTC" or "ETH". venues: any of `venue_profiles.PROFILES`, in one chain, each in its own unit and on its own
    ticks, around one true surface that is free of arbitrage. Raises VenueError for a coin or venue that is not simulated.

    >>> chain = simulated_chain("BTC", seed=7)
    >>> len(chain) > 500, chain.underlying
    (True, 'BTC')
    """
    at_ns = instant_ns(time_ns)
    markets = [VenueMarket((underlying,), seed, at_ns, venue_profile(venue)) for venue in venues]
    return joined([venue_chain(market, underlying) for market in markets])


def venue_chain(market: VenueMarket, underlying: str) -> Chain:
    """Return what one simulated venue quotes of one underlying at its market's instant."""
    options = [option for option in market.options if option.underlying == underlying]
    values, n = market.tickers(options), len(options)

    def prices(units: list[int]) -> np.ndarray:
        return np.array([o.book.ticks.price(u) if u > 0 else np.nan for o, u in zip(options, units, strict=True)])

    def sizes(sides: list[dict[int, float]], units: list[int]) -> np.ndarray:
        columns = zip(options, sides, units, strict=True)
        return np.array([side.get(unit, np.nan) * option.contract_size for option, side, unit in columns])

    best_bid, best_ask = [o.book.best_bid for o in options], [o.book.best_ask for o in options]
    claims = [FORWARD_FUTURE if option.expiry.has_future else FORWARD_SYNTHETIC for option in options]
    return Chain(
        underlying=underlying,
        time_ns=market.now_ns,
        venue=np.full(n, market.venue.venue, object),
        symbol=np.array([option.symbol for option in options], object),
        expiry_ns=np.array([option.expiry.expiry_ns for option in options], np.int64),
        strike=np.array([option.strike for option in options]),
        right=np.array([option.right for option in options], np.int8),
        inverse=np.full(n, market.venue.settlement == COIN),
        bid=prices(best_bid),
        ask=prices(best_ask),
        mark=np.array(values.mark),
        bid_size=sizes([option.book.bids for option in options], best_bid),
        ask_size=sizes([option.book.asks for option in options], best_ask),
        open_interest=np.array([option.open_interest * option.contract_size for option in options]),
        mark_iv=np.array(values.mark_iv) / 100,
        forward=np.array(values.forward),
        forward_source=np.full(n, FORWARD_INDEX, np.uint8) if market.venue.on_index else np.array(claims, np.uint8),
        index=np.array(values.index),
        quote_time_ns=np.full(n, market.now_ns, np.int64),
        iid=np.arange(n, dtype=np.int32),
    )


def joined(chains: Sequence[Chain]) -> Chain:
    """Return chains of one underlying at one instant as one, rows numbered anew."""
    if len(chains) == 1:
        return chains[0]
    names = [f.name for f in fields(Chain) if f.name not in ("underlying", "time_ns")]
    columns = {name: np.concatenate([getattr(chain, name) for chain in chains]) for name in names}
    columns["iid"] = np.arange(columns["strike"].size, dtype=np.int32)
    return Chain(chains[0].underlying, chains[0].time_ns, **columns)
