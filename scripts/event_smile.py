"""Draws the smile of a known event that moves the price up or down: a W, which no SVI slice has and a mixture of two does.

    python scripts/event_smile.py [--out docs/images/event-smile.png]

The market is simulated: at the event the forward jumps by 2 % to either side, independently of all else, and prices are those of
one smile without the event on both forwards. Prints what is inside bid and ask. Needs the system's Chromium for the picture.
"""

import argparse
from pathlib import Path

import numpy as np
from bokeh.embed import file_html
from bokeh.plotting import figure
from bokeh.resources import INLINE
from playwright.sync_api import sync_playwright

from volsurface.bench.browser import CHROMIUM_FLAGS, chromium
from volsurface.pricing.black76 import black76_price
from volsurface.pricing.implied_vol import implied_vols
from volsurface.surface.calibration import calibrate, slices
from volsurface.surface.mixture_fit import MixtureProblem, finished, search
from volsurface.surface.options import FitOptions
from volsurface.surface.repair import is_certified, repair
from volsurface.surface.svi import total_variance

ROOT = Path(__file__).parents[1]
DAYS = np.array([2.0, 9.0, 30.0])
JUMP, VOL, BEND = 0.02, 0.45, 0.9
STRIKES, HALF = 33, 0.004  # per expiry; half of bid to ask, in vol


def event_vols(k: np.ndarray, years: float) -> np.ndarray:
    """Return the vols of options on a price that jumps by JUMP up or down before they expire."""
    width = VOL * np.sqrt(years)
    calm = (width * width * (1.0 - 0.35 * BEND), BEND * width, -0.05, 0.0, 0.35 * width)
    right = np.where(k >= 0.0, 1.0, -1.0)
    price = sum(
        0.5 * black76_price(f, np.exp(k), 1.0, np.sqrt(total_variance(calm, k - np.log(f))), right)
        for f in (1.0 + JUMP, 1.0 - JUMP)
    )
    return np.asarray(implied_vols(price, 1.0, np.exp(k), years, right).vol)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "event-smile.png", help="the picture")
    out = parser.parse_args().out
    k = np.concatenate([np.linspace(-4.0, 4.0, STRIKES) * VOL * np.sqrt(days / 365) for days in DAYS])
    years = np.repeat(DAYS / 365, STRIKES)
    vol = np.concatenate([event_vols(k[years == t], t) for t in np.unique(years)])
    points = slices(STRIKES * np.arange(DAYS.size + 1), k, vol - HALF, vol + HALF, vol, years, FitOptions(robust=False))
    used = np.ones(k.size, bool)
    svi = repair(points, used, calibrate(points, FitOptions(robust=False)).parameters)
    assert svi is not None
    problem = MixtureProblem(points, used, svi.parameters, np.ones(DAYS.size, bool))
    fit = finished(search(problem))
    assert fit is not None
    assert all(is_certified(part) for part in fit.components)
    near = years == years[0]
    shown = {}
    for name, components in (("certified SVI", np.stack([svi.parameters] * 2)), ("certified mixture", fit.components)):
        shown[name] = np.sqrt(problem.variance(components) / years)[near]
        off = shown[name] - vol[near]
        inside = np.mean(np.abs(off) <= HALF)
        print(f"{name}: {100 * inside:.0f} % inside, {1e4 * np.sqrt(np.mean(off**2)):.0f} bp from the middle")
    draw(k[near], vol[near], shown, out)


def draw(k: np.ndarray, vol: np.ndarray, shown: dict[str, np.ndarray], out: Path) -> None:
    """Save bid, ask and both fits of the first expiry as a picture."""
    title = f"{DAYS[0]:g} days, the price jumps {100 * JUMP:g} % up or down before: bid to ask, and two certified fits"
    plot = figure(width=900, height=440, title=title, toolbar_location=None)
    plot.xaxis.axis_label, plot.yaxis.axis_label = "ln(strike / forward)", "vol, %"
    plot.segment(k, 100 * (vol - HALF), k, 100 * (vol + HALF), color="#5b6470", line_width=2)
    for (name, values), colour in zip(shown.items(), ("#c2410c", "#1d4ed8"), strict=True):
        plot.line(k, 100 * values, color=colour, line_width=2, legend_label=name)
    plot.legend.location = "top_center"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        page = browser.new_page(viewport={"width": 920, "height": 460})
        page.set_content(file_html(plot, INLINE, title))
        page.wait_for_selector(".bk-Figure")
        page.wait_for_timeout(1000)
        page.screenshot(path=out)
        browser.close()
    print(out)


if __name__ == "__main__":
    main()
