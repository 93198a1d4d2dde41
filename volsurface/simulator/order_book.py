"""One option's order book: levels of price and amount that follow a quote, and the changes each move makes.

Prices are whole numbers of the venue's smallest step, so that a price is an exact key; 0 means no price.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

Change = tuple[str, int, float]  # "new" | "change" | "delete", price in units, amount as the venue counts it


@dataclass(frozen=True, slots=True)
class TickRule:
    """Allowed prices: multiples of `unit` (in the venue's price) below `fine_below` units, of `coarse` units from there."""

    unit: float
    fine_below: int = 1 << 30
    coarse: int = 1

    def up(self, price: int) -> int:
        """Return the next allowed price above `price`, in units."""
        return price + (self.coarse if price >= self.fine_below else 1)

    def down(self, price: int) -> int:
        """Return the next allowed price below `price`, in units; 0 or less when there is none."""
        return price - (self.coarse if price > self.fine_below else 1)

    def price(self, units: int) -> float:
        """Return the venue's price of `units`, without the noise of binary fractions."""
        return round(units * self.unit, 10)


COIN_TICKS = TickRule(0.0001, 50, 5)  # of coin-settled options: 0.0001 below 0.005, 0.0005 from there
PRICE_UNIT, FINE_BELOW, COARSE_STEP = COIN_TICKS.unit, COIN_TICKS.fine_below, COIN_TICKS.coarse


@dataclass(slots=True)
class OrderBook:
    """A book of up to `depth` + 1 levels a side; `bids` and `asks` map a price in units to its amount.

    moves: how often it has moved, so the number of its latest move. change_id: the same in the numbers of the venue,
    shared with all other books of that venue.
    """

    depth: int
    ticks: TickRule = COIN_TICKS
    bids: dict[int, float] = field(default_factory=dict)
    asks: dict[int, float] = field(default_factory=dict)
    best_bid: int = 0
    best_ask: int = 0
    change_id: int = 0
    moves: int = 0

    def move(self, bid: int, ask: int, amounts: Iterator[float]) -> tuple[list[Change], list[Change]]:
        """Bring the best prices to `bid` < `ask` (0: that side empties); return the changes of bids and asks.

        An unmoved side changes an amount, so a book with any quote always reports something.
        """
        self.best_bid, self.best_ask = bid, ask
        return (
            _move_side(self.bids, bid, self, amounts, is_bid=True),
            _move_side(self.asks, ask, self, amounts, is_bid=False),
        )

    def sorted_bids(self) -> list[tuple[int, float]]:
        """Return the bids, best first."""
        return sorted(self.bids.items(), reverse=True)

    def sorted_asks(self) -> list[tuple[int, float]]:
        """Return the asks, best first."""
        return sorted(self.asks.items())


def _move_side(
    levels: dict[int, float], best: int, book: OrderBook, amounts: Iterator[float], is_bid: bool
) -> list[Change]:
    if not best:
        gone: list[Change] = [("delete", price, 0.0) for price in levels]
        levels.clear()
        return gone
    crossed = [price for price in levels if (price > best if is_bid else price < best)]
    changes: list[Change] = [("delete", price, 0.0) for price in crossed]
    for price in crossed:
        del levels[price]
    changes.append(("change" if best in levels else "new", best, amount := next(amounts)))
    levels[best] = amount
    worst = min(levels) if is_bid else max(levels)
    while len(levels) < book.depth:
        worst = book.ticks.down(worst) if is_bid else book.ticks.up(worst)
        if worst <= 0:
            break
        levels[worst] = amount = next(amounts)
        changes.append(("new", worst, amount))
    if len(levels) > book.depth + 1:
        worst = min(levels) if is_bid else max(levels)
        del levels[worst]
        changes.append(("delete", worst, 0.0))
    return changes
