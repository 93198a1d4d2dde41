"""The last quotes of venues that have gone silent, so that they can be shown, greyed, where they were. Pure."""

import numpy as np

from volsurface.market.quote import CLOSED

_KEPT = ("bid", "ask", "bid_sz", "ask_sz", "ts_recv_ns")


class LastQuotes:
    """What each instrument of one underlying was quoted at last, in listing order."""

    def __init__(self) -> None:
        self._kept = {name: np.empty(0, np.int64 if name == "ts_recv_ns" else float) for name in _KEPT}

    def update(self, mine: np.ndarray, silent: np.ndarray) -> None:
        """Remember what the rows quote; give those of silent venues (mask) back in place what they have lost.

        mine: rows of market.quote.ROW in listing order, changed in place. A lost connection empties books and nothing else:
        a closed instrument stays empty.
        """
        known = self._kept["bid"].size
        if mine.size > known:
            fresh = mine.size - known
            for name, column in self._kept.items():
                self._kept[name] = np.append(
                    column, np.zeros(fresh, column.dtype) if name == "ts_recv_ns" else np.full(fresh, np.nan)
                )
        quoted = np.isfinite(mine["bid"]) | np.isfinite(mine["ask"])
        closed = mine["flags"] & CLOSED != 0
        lost = silent & ~quoted & ~closed & (self._kept["ts_recv_ns"] > 0)
        for name, column in self._kept.items():
            column[closed] = 0 if name == "ts_recv_ns" else np.nan
            np.copyto(column, mine[name], where=quoted)
            if lost.any():
                mine[name][lost] = column[lost]
