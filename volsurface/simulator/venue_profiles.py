"""How each simulated venue differs from the others: names, settlement, sizes, ticks, listing, basis, spread, latency.

All venues quote one true surface. A venue's index and forwards lie `basis` away from it (its own index, its own
stablecoin), its quotes are wider by `widening`, its frames arrive `latency_ms` after the time they carry, and it lists a
part of the strikes and kinds of expiry that Deribit lists. Formats and sizes are those of the venues' documentation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from volsurface.errors import VenueError, unknown_name
from volsurface.market.instrument import COIN, STABLE
from volsurface.simulator.listing import LADDERS, expiry_label
from volsurface.simulator.order_book import COIN_TICKS, TickRule

SymbolForm = Callable[[str, int, float, int], str]  # underlying, expiry_ns, strike, right


@dataclass(frozen=True, slots=True)
class VenueProfile:
    """One venue as the simulator plays it.

    settlement: "coin" (prices in coin) or "stable" (prices in quote currency per coin). contract_size: coins per
    contract, in which amounts and open interest are counted. ticks: the price steps. smallest_amount: in contracts.
    kinds: of expiry it lists (listing.LADDERS). stride: it lists every so many strikes. on_index: it prices options on
    its spot index and hides the carry in the vol, as Binance does. All mappings are by underlying.
    """

    venue: str
    symbol: SymbolForm
    settlement: str
    contract_size: Mapping[str, float]
    ticks: Mapping[str, TickRule]
    smallest_amount: Mapping[str, float]
    kinds: frozenset[str] = field(default_factory=lambda: frozenset(LADDERS))
    stride: int = 1
    basis: float = 0.0
    widening: float = 1.0
    latency_ms: float = 2.0
    on_index: bool = False


def _letter(right: int) -> str:
    return "C" if right > 0 else "P"


def _day(expiry_ns: int, form: str) -> str:
    return datetime.fromtimestamp(expiry_ns // 1_000_000_000, UTC).strftime(form)


def deribit_symbol(underlying: str, expiry_ns: int, strike: float, right: int) -> str:
    """Return BTC-5JUN20-9000-C."""
    return f"{underlying}-{expiry_label(expiry_ns)}-{strike:.15g}-{_letter(right)}"


def okx_symbol(underlying: str, expiry_ns: int, strike: float, right: int) -> str:
    """Return BTC-USD-241217-92000-C."""
    return f"{underlying}-USD-{_day(expiry_ns, '%y%m%d')}-{strike:.15g}-{_letter(right)}"


def bybit_symbol(underlying: str, expiry_ns: int, strike: float, right: int) -> str:
    """Return BTC-5JUN25-89000-P-USDT, the names of options settled in USDT."""
    return f"{underlying}-{expiry_label(expiry_ns)}-{strike:.15g}-{_letter(right)}-USDT"


def binance_symbol(underlying: str, expiry_ns: int, strike: float, right: int) -> str:
    """Return BTC-251219-89000-C."""
    return f"{underlying}-{_day(expiry_ns, '%y%m%d')}-{strike:.15g}-{_letter(right)}"


def derive_symbol(underlying: str, expiry_ns: int, strike: float, right: int) -> str:
    """Return ETH-20260627-3500-C."""
    return f"{underlying}-{_day(expiry_ns, '%Y%m%d')}-{strike:.15g}-{_letter(right)}"


_LONGER = frozenset(LADDERS) - {"day"}
_COIN_TICKS = {"BTC": COIN_TICKS, "ETH": COIN_TICKS}

PROFILES = {
    "deribit": VenueProfile(
        "deribit", deribit_symbol, COIN, {"BTC": 1.0, "ETH": 1.0}, _COIN_TICKS, {"BTC": 0.1, "ETH": 1.0}
    ),
    "okx": VenueProfile(
        "okx", okx_symbol, COIN, {"BTC": 0.01, "ETH": 0.1}, _COIN_TICKS, {"BTC": 1.0, "ETH": 1.0},
        basis=1.5e-4, widening=1.3, latency_ms=20.0, stride=2,
    ),
    "bybit": VenueProfile(
        "bybit", bybit_symbol, STABLE, {"BTC": 1.0, "ETH": 1.0}, {"BTC": TickRule(5.0), "ETH": TickRule(0.1)},
        {"BTC": 0.01, "ETH": 0.1}, basis=-4e-4, widening=1.5, latency_ms=35.0, stride=2,
    ),
    "binance": VenueProfile(
        "binance", binance_symbol, STABLE, {"BTC": 1.0, "ETH": 1.0}, {"BTC": TickRule(5.0), "ETH": TickRule(0.2)},
        {"BTC": 0.01, "ETH": 0.01}, basis=5e-4, widening=1.8, latency_ms=30.0, stride=3, on_index=True,
    ),
    "derive": VenueProfile(
        "derive", derive_symbol, STABLE, {"BTC": 1.0, "ETH": 1.0}, {"BTC": TickRule(1.0), "ETH": TickRule(0.1)},
        {"BTC": 0.01, "ETH": 0.1}, basis=-2e-4, widening=2.2, latency_ms=60.0, stride=3, kinds=_LONGER,
    ),
}  # fmt: skip


def venue_profile(venue: str) -> VenueProfile:
    """Return the profile of a venue; raises VenueError naming those that are simulated."""
    if venue not in PROFILES:
        raise VenueError(unknown_name("simulated venue", venue, PROFILES))
    return PROFILES[venue]
