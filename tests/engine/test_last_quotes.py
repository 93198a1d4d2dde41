"""What a silent venue quoted last is given back, and nothing else is."""

import numpy as np

from volsurface.engine.last_quotes import LastQuotes
from volsurface.market.quote import CLOSED, ROW

NAN = np.nan


def rows(bids: list[float], at_ns: int) -> np.ndarray:
    out = np.zeros(len(bids), ROW)
    for name in ("bid", "ask", "bid_sz", "ask_sz"):
        out[name] = bids
    out["ts_recv_ns"] = at_ns
    return out


def test_lost_quotes_of_silent_venues_come_back_with_their_age():
    last = LastQuotes()
    last.update(rows([1.0, 2.0, 3.0, NAN], 10), np.zeros(4, bool))
    mine = rows([NAN, NAN, NAN, NAN], 20)
    mine["flags"][2] = CLOSED
    last.update(mine, np.array([True, False, True, True]))
    assert mine["bid"].tolist()[:1] == [1.0]
    assert mine["ts_recv_ns"].tolist() == [10, 20, 20, 20]
    assert np.isnan(mine["bid"][1:]).all(), "not silent; closed; never quoted"


def test_new_instruments_and_new_quotes():
    last = LastQuotes()
    last.update(rows([1.0], 10), np.zeros(1, bool))
    last.update(rows([4.0, 5.0], 11), np.zeros(2, bool))
    mine = rows([NAN, NAN], 12)
    last.update(mine, np.ones(2, bool))
    assert mine["bid"].tolist() == [4.0, 5.0]


def test_a_closed_instrument_is_forgotten():
    last = LastQuotes()
    last.update(rows([1.0], 10), np.zeros(1, bool))
    closed = rows([NAN], 11)
    closed["flags"] = CLOSED
    last.update(closed, np.zeros(1, bool))
    mine = rows([NAN], 12)
    last.update(mine, np.ones(1, bool))
    assert np.isnan(mine["bid"][0])
