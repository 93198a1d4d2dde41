"""The 3-D surface: a leaf component whose frame is one binary value and whose camera stays in the browser."""

from pathlib import Path
from typing import Any

import numpy as np
import param
from panel.custom import JSComponent

HEADER = 6


def encode_frame(
    heights: np.ndarray,
    selected: int,
    z_range: tuple[float, float],
    colours: np.ndarray | None = None,
    diverging: bool = False,
) -> bytes:
    """Return a whole picture as little-endian float32.

    heights: shape (n_expiries, n_points), nearest expiry first; NaN is a hole. selected: row drawn as chosen, -1 for none.
    z_range: standardised log-moneyness of the first and last column. colours: same shape; None colours by height.
    diverging: colours are signed, and zero has the colour of the middle.
    Layout: n_expiries, n_points, selected, z_low, z_high, 0 if no colours follow, 1 if they do, 2 if these are diverging;
    heights; colours.
    """
    kind = 0 if colours is None else 2 if diverging else 1
    header = np.array([*heights.shape, selected, *z_range, kind], dtype="<f4")
    grids = [heights] if colours is None else [heights, colours]
    return np.concatenate([header, *(np.asarray(grid, "<f4").ravel() for grid in grids)]).tobytes()


class SurfaceCanvas(JSComponent):
    """A height over (expiry, standardised log-moneyness), rotated in the browser; a click on a line reports its row."""

    frame = param.Bytes(default=b"", doc="A picture as `encode_frame` makes it.")
    labels = param.List(default=[], doc="One label per expiry, nearest first.")
    colours = param.Dict(default={}, doc="Palette of grid, labels and lines.")
    height_title = param.String(default="vol %", doc="What the vertical axis shows, with its unit.")
    colour_title = param.String(default="vol %", doc="What the colour shows, with its unit.")
    picked = param.Event(doc="A line was clicked; see `picked_row`.")
    picked_row = param.Integer(default=-1, doc="Row of the line clicked last.")

    _esm = Path(__file__).with_name("surface3d.js")
    # Only these reach the browser.
    _rename = {"picked": None, "picked_row": None}  # noqa: RUF012

    def _handle_msg(self, data: Any) -> None:
        row = data.get("row") if isinstance(data, dict) else None
        if isinstance(row, int) and 0 <= row < len(self.labels):
            self.picked_row = row
            self.param.trigger("picked")
