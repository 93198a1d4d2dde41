"""Numbers as OKX and Bybit write them in their JSON: plain decimals in quotes."""

from volsurface.simulator.order_book import TickRule


def plain(value: float, places: int = 8) -> str:
    """Return a decimal without exponent and trailing zeros.

    >>> [plain(x) for x in (64000.0, 0.0002, 12.5, 0.0, -0.25)]
    ['64000', '0.0002', '12.5', '0', '-0.25']
    """
    text = f"{value:.{places}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


class UnitTexts(dict[int, str]):
    """The text of prices by their units, filled as prices occur; `none` stands for 0 units, which is no price."""

    def __init__(self, ticks: TickRule, none: str) -> None:
        super().__init__({0: none})
        self._ticks = ticks

    def __missing__(self, units: int) -> str:
        text = self[units] = plain(self._ticks.price(units))
        return text


class AmountTexts(dict[float, str]):
    """The text of amounts, filled as amounts occur."""

    def __missing__(self, amount: float) -> str:
        text = self[amount] = plain(amount)
        return text


AMOUNT_TEXT = AmountTexts()
