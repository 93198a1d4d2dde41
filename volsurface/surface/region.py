"""What stands behind a vol that is asked for: quotes, a theorem, a certificate, or only a formula."""

from typing import Any, NamedTuple

PRICE_MIXING, LINEAR_VARIANCE = "price_mixing", "linear_variance"
METHODS = (PRICE_MIXING, LINEAR_VARIANCE)
Flags = Any  # a bool or an array of bools


class Region(NamedTuple):
    """Where a query lies; the first and third flag have the shape of the strikes asked for.

    inside_quotes: at or between expiries, and within the strikes quoted at each expiry used. between_nodes: between two
    fitted expiries. extrapolated_strike: beyond the strikes quoted at an expiry used. extrapolated_time: before the first
    expiry or after the last. A smile that does not know its quoted strikes sets neither of the two strike flags.
    proved: static arbitrage is excluded there by proof: the surface's certificate, and between expiries the mixing of prices,
    before the first the scaling T/T1, after the last a certificate of the lifted smile.
    """

    inside_quotes: Flags
    between_nodes: bool
    extrapolated_strike: Flags
    extrapolated_time: bool
    proved: bool
