"""Vols kept up to date by changes are those of a computation from nothing, as near as the threshold asks."""

import numpy as np
import pytest
from made_rows import EXPIRIES, FORWARD, NOW, STRIKES, everything, made_market, quote

from volsurface.engine.quote_vols import QuoteVols
from volsurface.market.instrument import CALL, COIN, PUT, Instrument
from volsurface.market.quote import CLOSED, ROW

N = STRIKES.size
NONE = np.empty(0, np.int64)


def fresh() -> tuple[QuoteVols, np.ndarray, list[Instrument]]:
    state, rows = made_market()
    return QuoteVols(state.instruments), rows, state.instruments


def test_prices_that_stand_are_not_implied_again() -> None:
    vols, rows, _ = fresh()
    first = vols.update(rows, everything(rows), NOW, {}, 1e-4, 1e-4)
    assert (first.quotes, first.quotes_skipped) == (rows.size, 0)
    assert first.material.all()
    again = vols.update(rows, everything(rows), NOW + 1, {}, 1e-4, 1e-4)
    assert again.quotes_skipped == rows.size
    assert not again.touched.any()
    assert again.quiet.tolist() == [0, 1, 2]
    rows["bid"][3] *= 1.01
    once = vols.update(rows, everything(rows), NOW + 2, {}, 1e-4, 1e-4)
    assert once.quotes_skipped == rows.size - 1
    assert once.touched.tolist() == [True, False, False]


@pytest.mark.parametrize("threshold", [0.0, 1e-4])
def test_after_any_changes_no_vol_is_farther_from_exact_than_the_threshold(threshold: float) -> None:
    vols, rows, _ = fresh()
    rng = np.random.default_rng(7)
    now_ns, worst, skipped = NOW, 0.0, 0
    vols.update(rows, everything(rows), NOW, {}, threshold, 1e-4)
    for _ in range(60):
        now_ns += int(rng.uniform(0.01, 2.0) * 1e9)
        rows["fwd"] *= np.exp(rng.normal(0, 3e-6))
        chosen = rng.choice(rows.size, 10, replace=False)
        rows["bid"][chosen] *= np.exp(rng.normal(0, 1e-3, 10))
        rows["ts_recv_ns"][chosen] = now_ns
        changes = vols.update(rows, np.sort(chosen), now_ns, {}, threshold, 1e-4)
        skipped += changes.forwards_skipped
        worst = max(worst, *(vols.worst_error(at, now_ns) for at in range(3)))
    assert worst <= max(threshold, 1e-12)
    assert (skipped > 0) == (threshold > 0.0)


def test_in_the_money_and_closed_quotes_have_no_vol_and_cost_nothing() -> None:
    _, rows, instruments = fresh()
    other = [
        Instrument(i.venue, i.symbol + "x", i.underlying, i.expiry_ns, i.strike, PUT if i.right == CALL else CALL, COIN)
        for i in instruments
    ]
    both = QuoteVols(instruments + other)
    rows = np.concatenate([rows, rows])
    both.update(rows, np.arange(rows.size), NOW, {}, 1e-4, 1e-4)
    assert np.isfinite(both.vols[: len(instruments)]).all()
    assert np.isnan(both.vols[len(instruments) :]).all()
    rows["bid"][len(instruments) :] *= 1.01
    changes = both.update(rows, np.arange(len(instruments), rows.size), NOW + 1, {}, 1e-4, 1e-4)
    assert changes.quotes_skipped == len(other)
    both.mark_fitted(np.ones(3, bool))
    rows["flags"][0] |= CLOSED
    assert both.update(rows, np.array([0]), NOW + 2, {}, 1e-4, 1e-4).material.tolist() == [True, False, False]
    assert np.isnan(both.vols[0]).all()


def test_a_strike_that_the_forward_crosses_changes_sides() -> None:
    vols, rows, _ = fresh()
    vols.update(rows, everything(rows), NOW, {}, 1e-4, 1e-4)
    at = int(np.flatnonzero(STRIKES == FORWARD)[0])  # a call, at the money
    rows["fwd"] = FORWARD + 2500
    changes = vols.update(rows, np.array([0]), NOW + 1, {}, 1e-4, 1e-4)
    assert changes.forwards == 1  # one row has told one expiry's forward
    assert np.isnan(vols.vols[at]).all()
    assert np.isfinite(vols.vols[N + at]).all()
    assert changes.material.tolist() == [True, False, False]


def test_where_the_venue_tells_no_forward_that_of_the_last_fit_is_used() -> None:
    vols, rows, _ = fresh()
    rows["fwd"] = np.nan
    vols.update(rows, everything(rows), NOW, {}, 1e-4, 1e-4)
    assert np.isnan(vols.vols).all()
    for forward in (FORWARD, FORWARD * 1.001):
        vols.update(rows, NONE, NOW + 1, dict.fromkeys(EXPIRIES, forward), 1e-4, 1e-4)
        assert np.isfinite(vols.vols).sum() > 0.9 * vols.vols.size
        assert vols.forwards({}, ()).tolist() == [forward] * 3


def test_more_instruments_continue_from_the_vols_of_fewer() -> None:
    vols, rows, instruments = fresh()
    vols.update(rows, everything(rows), NOW, {}, 1e-4, 1e-4)
    vols.mark_fitted(np.ones(3, bool))
    later = Instrument("deribit", "new", "BTC", EXPIRIES[1] + 86_400_000_000_000, 100_000.0, CALL, COIN)
    more = QuoteVols([*instruments, later])
    more.take_over(vols)
    grown = np.concatenate([rows, rows[-1:]])
    changes = more.update(grown, np.arange(grown.size), NOW + 1, {}, 1e-4, 1e-4)
    assert changes.quotes_skipped == rows.size
    assert changes.material.tolist() == [False, False, True, False]
    quote(rows, instruments, np.full(rows.size, 0.01))
    grown[: rows.size] = rows
    changes = more.update(grown, np.arange(grown.size), NOW + 2, {}, 1e-4, 1e-4)
    assert changes.material.tolist() == [True, True, False, True]


def test_of_several_venues_the_middle_one_moves_the_forward():
    instruments = [Instrument(venue, "x", "BTC", 10**18, 100.0, 1, "coin") for venue in ("a", "b", "c")]
    vols = QuoteVols(instruments)

    def tell(*forwards: float) -> None:
        rows = np.zeros(3, ROW)
        rows["fwd"], rows["bid"], rows["ask"], rows["ts_recv_ns"] = forwards, 0.1, 0.2, 1
        vols.update(rows, np.arange(3), 10**17, {}, 1e-4, 1e-4)

    tell(100.0, 101.0, 99.0)
    vols.mark_fitted(np.ones(1, bool))
    assert vols.forwards({10**18: 100.2}, ()).tolist() == [100.2]
    tell(101.0, 101.0 * 1.02, 99.0 * 1.03)
    assert vols.forwards({10**18: 100.2}, ()) == pytest.approx([100.2 * 1.02])
    assert vols.forwards({10**18: 100.2}, {"b", "c"}) == pytest.approx([100.2 * 1.01])
    assert np.isnan(vols.forwards({}, ())).all()
