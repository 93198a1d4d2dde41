"""One chain from several venues: one forward per expiry, and each venue's basis against it made explicit.

The venues quote the same options in different money: Deribit's and OKX's forwards are in dollars, Bybit's and Binance's
in USDT, Derive's in USDC, each on an index of its own. A dollar that costs 1.0004 USDT moves forward, strike and price of
an option alike, so its vol is the same function of ln(strike / forward) as long as the forward is the venue's own.
Therefore a quote's moneyness and vol are taken on the forward of its venue; the composite forward is the middle of the
venues', and basis = ln(venue's / composite) says how far apart they are.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from volsurface.market.chain import Chain
from volsurface.market.forward import NONE, SYNTHETIC, Forwards, expiry_forwards

LARGEST_BASIS = 0.05  # a forward further than this from the others' is a mistake, not a basis


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """The venues of a chain and their forwards.

    venues: names, in order of first appearance; number: of each quote's venue, int16, shape (n_quotes,).
    forwards: the composite's, by expiry; place: of each quote's expiry in them. venue_forward: shape (n_venues, n_expiries),
    NaN where a venue lists nothing or has none. quote_forward: the one each quote's vol is taken on, shape (n_quotes,).
    """

    venues: tuple[str, ...]
    number: np.ndarray
    forwards: Forwards
    place: np.ndarray
    venue_forward: np.ndarray
    quote_forward: np.ndarray

    @property
    def basis(self) -> np.ndarray:
        """Return ln(venue's forward / composite forward), shape (n_venues, n_expiries)."""
        return np.log(self.venue_forward / self.forwards.forward)


def composite(chain: Chain, known: Mapping[int, float] | None = None, left_out: Collection[str] = ()) -> Composite:
    """Return the forwards of a chain of one or more venues.

    known: last composite forwards by expiry_ns, used as "stale" where no venue has one. left_out: venues that have no say
    in the composite forward, being switched off or silent, unless there is no other.

    A venue's forward is what `expiry_forwards` finds in its quotes alone; where it finds nothing, the composite forward
    times the ratio of the indices. The composite forward is the median of the venues', of listed futures and synthetic
    forwards if there is one, else of parity.
    """
    names = chain.venue.tolist()
    venues = tuple(dict.fromkeys(names))
    if len(venues) < 2:
        forwards, place = expiry_forwards(chain, known)
        number = np.zeros(len(chain), np.int16)
        return Composite(venues, number, forwards, place, forwards.forward[None, :], forwards.forward[place])
    of_name = {venue: i for i, venue in enumerate(venues)}
    number = np.array([of_name[name] for name in names], np.int16)
    expiry_ns, place = np.unique(chain.expiry_ns, return_inverse=True)
    shape = len(venues), expiry_ns.size
    found, source = np.full(shape, np.nan), np.full(shape, NONE, np.int8)
    index = np.full(len(venues), np.nan)
    for i in range(len(venues)):
        mine = chain.take(number == i)
        forwards, _ = expiry_forwards(mine)
        at = np.searchsorted(expiry_ns, forwards.expiry_ns)
        found[i, at], source[i, at] = forwards.forward, forwards.source
        told = mine.index[np.isfinite(mine.index)]
        index[i] = np.median(told) if told.size else np.nan
    heard = np.array([venue not in left_out for venue in venues])
    together = _together(expiry_ns, found, source, heard, known or {})
    found = _filled(found, together.forward, index, heard)
    own = found[number, place]
    usable = np.abs(np.log(own / together.forward[place])) <= LARGEST_BASIS  # false for NaN
    return Composite(venues, number, together, place, found, np.where(usable, own, np.nan))


def _together(
    expiry_ns: np.ndarray, found: np.ndarray, source: np.ndarray, heard: np.ndarray, known: Mapping[int, float]
) -> Forwards:
    forward, kind = np.full(expiry_ns.size, np.nan), np.full(expiry_ns.size, NONE, np.int8)
    for at in range(expiry_ns.size):
        there = np.isfinite(found[:, at])
        voices = there & heard if (there & heard).any() else there
        if voices.any():
            claimed = voices & (source[:, at] <= SYNTHETIC)
            chosen = claimed if claimed.any() else voices
            forward[at], kind[at] = np.median(found[chosen, at]), source[chosen, at].min()
    return Forwards(expiry_ns, forward, kind).with_known(known)


def _filled(found: np.ndarray, together: np.ndarray, index: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Venues' forwards with those missing made from the composite one, moved by the difference of the indices."""
    told = np.isfinite(index)
    voices = told & heard if (told & heard).any() else told
    middle = np.median(index[voices]) if voices.any() else np.nan
    ratio = np.where(told & np.isfinite(middle), index / middle, 1.0)
    return np.where(np.isfinite(found), found, together[None, :] * ratio[:, None])
