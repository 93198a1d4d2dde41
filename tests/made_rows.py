"""A market of one coin as the feed's rows: three expiries, quotes around a smile that the test moves."""

import numpy as np

from volsurface.engine.step import UnderlyingState
from volsurface.market.instrument import CALL, COIN, PUT, Instrument
from volsurface.market.quote import FORWARD_FUTURE, ROW, forward_flag
from volsurface.pricing.black76 import black76_price

NOW = 1_795_000_000_000_000_000
DAY = 86_400_000_000_000
EXPIRIES = (NOW + 7 * DAY, NOW + 30 * DAY, NOW + 90 * DAY)
STRIKES = np.arange(60_000.0, 140_001.0, 5_000.0)
FORWARD = 100_000.0


def true_vol(strike: np.ndarray, years: float) -> np.ndarray:
    """A smile whose total variance grows with time at every strike."""
    k = np.log(strike / FORWARD)
    return np.sqrt(0.25 + 0.05 / (1 + years) * np.sqrt(k * k + 0.02) / 0.3 - 0.02 * k)


def made_market() -> tuple[UnderlyingState, np.ndarray]:
    """A state that knows out-of-the-money options of three expiries, and their rows one vol point wide."""
    instruments = [
        Instrument(
            "deribit", f"BTC-{i}-{strike:.0f}", "BTC", expiry, float(strike), CALL if strike >= FORWARD else PUT, COIN
        )
        for i, expiry in enumerate(EXPIRIES)
        for strike in STRIKES
    ]
    state = UnderlyingState("BTC")
    state.list(range(len(instruments)), instruments)
    rows = np.zeros(len(instruments), ROW)
    rows["iid"] = np.arange(len(instruments))
    rows["fwd"], rows["index"] = FORWARD, 99_900.0
    rows["flags"] = forward_flag(FORWARD_FUTURE)
    rows["ts_recv_ns"] = rows["ts_venue_ns"] = NOW
    for name in ("mark", "iv_mark", "oi"):
        rows[name] = np.nan
    rows["bid_sz"] = rows["ask_sz"] = 1.0
    quote(rows, instruments, np.zeros(len(instruments)))
    return state, rows


def quote(rows: np.ndarray, instruments: list[Instrument], shift: np.ndarray) -> None:
    """Quote every instrument half a vol point around the true vol plus `shift`."""
    strike = np.array([i.strike for i in instruments])
    years = np.array([(i.expiry_ns - NOW) / (365 * DAY) for i in instruments])
    right = np.array([i.right for i in instruments])
    vol = true_vol(strike, years) + shift
    rows["bid"] = black76_price(FORWARD, strike, years, vol - 0.005, right) / FORWARD
    rows["ask"] = black76_price(FORWARD, strike, years, vol + 0.005, right) / FORWARD


def everything(rows: np.ndarray) -> np.ndarray:
    return np.arange(rows.size)
