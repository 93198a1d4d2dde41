"""The colours of the page, dark and light, for figures, canvas and style sheets alike.

Bid, ask and the like are from the Okabe-Ito set, which colour-blind readers can tell apart; text has a contrast of at least
4.5 to 1 on its background. Colour never stands alone: a shape, sign or word says the same.
"""

from dataclasses import asdict, dataclass

import numpy as np
from bokeh.palettes import Viridis256

VENUES = ("deribit", "okx", "bybit", "binance", "derive")


@dataclass(frozen=True, slots=True)
class Palette:
    """CSS colours by what they are for."""

    name: str
    background: str
    panel: str
    raised: str
    text: str
    muted: str
    grid: str
    line: str
    accent: str
    on_accent: str
    bid: str
    ask: str
    mid: str
    fit: str
    good: str
    warn: str
    bad: str
    rib: str
    deribit: str
    okx: str
    bybit: str
    binance: str
    derive: str
    other_venue: str

    def venue(self, name: str) -> str:
        """Return the colour of a venue's quotes."""
        return str(getattr(self, name, self.other_venue)) if name in VENUES else self.other_venue


DARK = Palette(
    name="dark",
    background="#10141c",
    panel="#141a24",
    raised="#1d2531",
    text="#e3e9f1",
    muted="#9fadbf",
    grid="#222b38",
    line="#303b4b",
    accent="#4cc2ff",
    on_accent="#06131c",
    bid="#56b4e9",
    ask="#e69f00",
    mid="#f2f5f9",
    fit="#4cc2ff",
    good="#41c98e",
    warn="#f0b429",
    bad="#ff7b72",
    rib="rgba(255,255,255,.42)",
    deribit="#56b4e9",
    okx="#f0e442",
    bybit="#e69f00",
    binance="#41c98e",
    derive="#e58fc0",
    other_venue="#c3ccd8",
)
LIGHT = Palette(
    name="light",
    background="#ffffff",
    panel="#ffffff",
    raised="#f0f3f7",
    text="#22303f",
    muted="#55657a",
    grid="#e4e8ee",
    line="#cbd3dd",
    accent="#0b6bcb",
    on_accent="#ffffff",
    bid="#0072b2",
    ask="#b35400",
    mid="#22303f",
    fit="#0b6bcb",
    good="#0a7a50",
    warn="#8a5a00",
    bad="#b3261e",
    rib="rgba(10,20,30,.38)",
    deribit="#0072b2",
    okx="#7a6a00",
    bybit="#b35400",
    binance="#00724f",
    derive="#a33f7d",
    other_venue="#55657a",
)
VIRIDIS = list(Viridis256)


def palette(dark: bool) -> Palette:
    """Return the palette of a theme."""
    return DARK if dark else LIGHT


def diverging(of: Palette, steps: int = 129) -> list[str]:
    """Return colours from cheap (the bid's) over the panel's own to rich (the ask's): nothing to see where nothing is."""
    low, middle, high = (np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) for text in (of.bid, of.panel, of.ask))
    made = []
    for t in np.linspace(-1, 1, steps):
        mixed = middle + (high if t > 0 else low) * abs(t) - middle * abs(t)
        made.append("#" + "".join(f"{round(v):02x}" for v in mixed))
    return made


def css_variables(of: Palette) -> str:
    """Return the colours as CSS custom properties, `--vs-background: ...;`."""
    return "".join(f"--vs-{name.replace('_', '-')}: {colour};" for name, colour in asdict(of).items() if name != "name")
