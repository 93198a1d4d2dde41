"""One option's order book: levels of price and amount that follow a quote, and the changes each move makes.

Prices are whole numbers of PRICE_UNIT coin, so that a price is an exact key; 0 means no price.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

PRICE_UNIT = 0.0001
FINE_BELOW = 50  # 0.005 coin: the step is 1 unit below and COARSE_STEP from there on
COARSE_STEP = 5

Change = tuple[str, int, float]  # "new" | "change" | "delete", price in units, amount in coins


def step_up(price: int) -> int:
    """Return the next allowed price above `price`."""
    return price + (COARSE_STEP if price >= FINE_BELOW else 1)


def step_down(price: int) -> int:
    """Return the next allowed price below `price`; 0 when there is none."""
    return price - (COARSE_STEP if price > FINE_BELOW else 1)


@dataclass(slots=True)
class OrderBook:
    """A book of up to `depth` + 1 levels a side; `bids` and `asks` map a price to its amount."""

    depth: int
    bids: dict[int, float] = field(default_factory=dict)
    asks: dict[int, float] = field(default_factory=dict)
    best_bid: int = 0
    best_ask: int = 0
    change_id: int = 0

    def move(self, bid: int, ask: int, amounts: Iterator[float]) -> tuple[list[Change], list[Change]]:
        """Bring the best prices to `bid` < `ask` (0: that side empties); return the changes of bids and asks.

        An unmoved side changes an amount, so a book with any quote always reports something.
        """
        self.best_bid, self.best_ask = bid, ask
        return (
            _move_side(self.bids, bid, self.depth, amounts, is_bid=True),
            _move_side(self.asks, ask, self.depth, amounts, is_bid=False),
        )

    def sorted_bids(self) -> list[tuple[int, float]]:
        """Return the bids, best first."""
        return sorted(self.bids.items(), reverse=True)

    def sorted_asks(self) -> list[tuple[int, float]]:
        """Return the asks, best first."""
        return sorted(self.asks.items())


def _move_side(levels: dict[int, float], best: int, depth: int, amounts: Iterator[float], is_bid: bool) -> list[Change]:
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
    while len(levels) < depth:
        worst = step_down(worst) if is_bid else step_up(worst)
        if worst <= 0:
            break
        levels[worst] = amount = next(amounts)
        changes.append(("new", worst, amount))
    if len(levels) > depth + 1:
        worst = min(levels) if is_bid else max(levels)
        del levels[worst]
        changes.append(("delete", worst, 0.0))
    return changes
