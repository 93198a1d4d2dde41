"""The engine's step: what does not move visibly costs nothing and shows nothing; what does is refitted and published."""

from dataclasses import replace

import numpy as np
import pytest
from made_rows import DAY, EXPIRIES, FORWARD, NOW, STRIKES, everything, made_market, quote, true_vol

from volsurface.engine.audit import refit
from volsurface.engine.materiality import Thresholds, displayed_change, displayed_vols, moved
from volsurface.engine.step import KEEP_ALIVE_NS, REFIT_ALL_NS, RETRY_NS
from volsurface.market.quote import CLOSED
from volsurface.pricing.black76 import black76_price
from volsurface.surface.options import FitOptions

OPTIONS, THRESHOLDS = FitOptions(), Thresholds()


def test_the_first_step_publishes_all_smiles() -> None:
    state, rows = made_market()
    result = state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    assert result.fit is not None
    assert [smile.expiry_ns for smile in result.fit.surface.smiles] == list(EXPIRIES)
    assert result.changed == 0b111
    for smile in result.fit.surface.smiles:
        assert smile.atm_vol == pytest.approx(true_vol(np.array([FORWARD]), smile.years)[0], abs=0.002)
        assert smile.inside_spread == 1.0


def test_before_any_quote_nothing_is_published() -> None:
    state, rows = made_market()
    rows["bid"] = rows["ask"] = np.nan
    assert state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS).fit is None


def test_nothing_changed_nothing_done() -> None:
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    before = state.ledger.table()
    result = state.step(rows, np.empty(0, int), NOW + 1, OPTIONS, THRESHOLDS)
    assert result.fit is None
    assert result.refitted == 0
    assert state.ledger.table() == before


def test_a_move_below_the_threshold_is_skipped_and_counted() -> None:
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    quote(rows, state.instruments, np.full(rows.size, 0.00005))
    result = state.step(rows, everything(rows), NOW + 1, OPTIONS, THRESHOLDS)
    assert result.refitted == 0
    assert result.fit is None
    assert state.ledger.table()["quotes"]["done"] == 2 * rows.size  # both times every price was another one
    assert state.ledger.table()["fits"]["skipped"] == len(EXPIRIES)


def test_only_the_expiry_that_moved_is_refitted_and_shown_as_changed() -> None:
    state, rows = made_market()
    first = state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS).fit
    n = STRIKES.size
    shift = np.zeros(rows.size)
    shift[n : 2 * n] = 0.01
    quote(rows, state.instruments, shift)
    result = state.step(rows, np.arange(n, 2 * n), NOW + 1, OPTIONS, THRESHOLDS)
    assert result.refitted == 1
    assert result.changed == 0b010
    assert first is not None
    assert result.fit is not None
    assert result.fit.surface.smiles[0] == first.surface.smiles[0]
    assert result.fit.surface.smiles[1].atm_vol == pytest.approx(first.surface.smiles[1].atm_vol + 0.01, abs=2e-4)


def test_many_small_moves_add_up() -> None:
    """The comparison is with the vols at the last fit, not with the last message."""
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    changed = []
    for i in range(1, 6):
        quote(rows, state.instruments, np.full(rows.size, 0.00004 * i))
        changed.append(state.step(rows, everything(rows), NOW + i, OPTIONS, THRESHOLDS).changed)
    assert changed[:3] == [0, 0, 0b111]


def test_a_quote_that_vanishes_is_a_move_and_leaves_the_fit() -> None:
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    rows["bid"][3] = np.nan
    result = state.step(rows, np.array([3]), NOW + 1, OPTIONS, THRESHOLDS)
    assert result.refitted == 1
    rows["flags"][4] |= CLOSED
    rows["bid"][4] *= 1.01
    result = state.step(rows, np.array([4]), NOW + KEEP_ALIVE_NS, OPTIONS, THRESHOLDS)
    assert result.fit is not None
    assert not result.fit.quotes.used[result.fit.quotes.iid == 4].any()


def test_a_silent_market_becomes_stale_once_and_recovers() -> None:
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    late = NOW + THRESHOLDS.stale_ns + 1
    result = state.step(rows, np.empty(0, int), late, OPTIONS, THRESHOLDS)
    assert result.fit is not None
    assert result.fit.surface.state == "stale"
    assert result.fit.surface.state_reason == "no newer quote"
    assert {smile.state for smile in result.fit.surface.smiles} == {"stale"}
    assert state.step(rows, np.empty(0, int), late + 1, OPTIONS, THRESHOLDS).fit is None
    rows["ts_recv_ns"] = late + 2
    result = state.step(rows, everything(rows), late + 2, OPTIONS, THRESHOLDS)
    assert result.fit is not None
    assert result.fit.surface.state != "stale"


def test_without_any_wanted_venue_the_last_smiles_stay_and_are_stale() -> None:
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    state.refit_all()
    unwanted = replace(OPTIONS, excluded_venues=("deribit",))
    result = state.step(rows, np.empty(0, int), NOW + KEEP_ALIVE_NS, unwanted, THRESHOLDS)
    assert result.fit is not None
    assert {smile.state for smile in result.fit.surface.smiles} == {"stale"}
    assert not result.fit.quotes.used.any()


def test_time_alone_refits_and_keeps_alive() -> None:
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    later = NOW + KEEP_ALIVE_NS
    assert state.step(rows, np.empty(0, int), later, OPTIONS, THRESHOLDS).fit is not None
    rows["ts_recv_ns"] = NOW + REFIT_ALL_NS
    result = state.step(rows, np.empty(0, int), NOW + REFIT_ALL_NS + 1, OPTIONS, THRESHOLDS)
    assert result.refitted == len(EXPIRIES)


def test_an_expired_expiry_leaves_the_surface() -> None:
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    rows["ts_recv_ns"] = EXPIRIES[0] + 1
    result = state.step(rows, everything(rows), EXPIRIES[0] + 1, OPTIONS, THRESHOLDS)
    assert result.fit is not None
    assert [smile.expiry_ns for smile in result.fit.surface.smiles] == list(EXPIRIES[1:])


def test_ids_the_state_does_not_know_are_ignored() -> None:
    state, rows = made_market()
    grown = np.concatenate([rows, rows[:1]])
    result = state.step(grown, np.array([rows.size]), NOW, OPTIONS, THRESHOLDS)
    assert result.ticks_ns.size == 0


def test_ticks_are_timed_from_their_own_receipt() -> None:
    state, rows = made_market()
    rows["ts_recv_ns"][5] = NOW - 777
    result = state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    assert result.oldest_tick_ns == NOW - 777
    assert result.newest_quote_ns == NOW
    assert result.ticks_ns.size == rows.size


def test_moved_counts_what_appears_and_vanishes() -> None:
    nan = np.nan
    now, then = np.array([0.5, 0.5, nan, 0.5, nan]), np.array([0.5, 0.5002, 0.5, nan, nan])
    assert moved(now, then, 1e-4).tolist() == [False, True, True, True, False]


def test_displayed_change_is_the_largest_move_of_a_shown_point() -> None:
    state, rows = made_market()
    fit = state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS).fit
    assert fit is not None
    vols = displayed_vols(fit.surface.smiles[0])
    assert np.isfinite(vols).all()
    other = vols.copy()
    other[7] += 0.003
    assert displayed_change(other, vols) == pytest.approx(0.003)
    assert displayed_change(vols, None) == float("inf")


def test_after_a_fit_without_an_expiry_at_fault_everything_is_tried_again_a_second_later() -> None:
    state, rows = made_market()
    first = state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    instruments = state.instruments
    near = np.array([i.expiry_ns == EXPIRIES[0] for i in instruments])
    quote(rows, instruments, np.where(near, 1.0, 0.0))  # more total variance than the month has
    later = NOW + 1_000_000_000
    rows["ts_recv_ns"] = later
    held = state.step(rows, np.flatnonzero(near), later, OPTIONS, THRESHOLDS)
    assert held.fit is not None
    assert first.fit is not None
    assert [smile.state for smile in held.fit.surface.smiles] == ["stale", "certified", "certified"]
    assert "is left out" in held.fit.surface.state_reason
    assert held.fit.surface.smiles[0].parameters == first.fit.surface.smiles[0].parameters
    quote(rows, instruments, np.zeros(len(instruments)))
    again = state.step(rows, np.flatnonzero(near), later + RETRY_NS + 1, OPTIONS, THRESHOLDS)
    assert again.refitted == len(EXPIRIES)
    soon = state.step(rows, np.flatnonzero(near), later + 2 * RETRY_NS + KEEP_ALIVE_NS, OPTIONS, THRESHOLDS)
    assert soon.fit is not None
    assert soon.fit.surface.state == "certified"
    assert soon.fit.surface.state_reason == ""


def test_quotes_that_move_by_one_factor_move_the_smile_along_without_a_fit() -> None:
    state, rows = made_market()
    first = state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS).fit
    strike = np.array([i.strike for i in state.instruments])
    years = np.array([(i.expiry_ns - NOW) / (365 * DAY) for i in state.instruments])
    shift = np.where(years == years[0], 0.01 * true_vol(strike, years[0]), 0.0)
    quote(rows, state.instruments, shift)
    for side, sign in (("bid", -1.0), ("ask", 1.0)):  # a spread that widens by the factor too
        near = years == years[0]
        right = np.array([i.right for i in state.instruments])[near]
        vol = 1.01 * (true_vol(strike[near], years[0]) + sign * 0.005)
        rows[side][near] = black76_price(FORWARD, strike[near], years[0], vol, right) / FORWARD
    result = state.step(rows, everything(rows), NOW + 1, OPTIONS, THRESHOLDS)
    assert result.refitted == 0
    assert state.ledger.table()["moves"]["done"] == 1
    assert first is not None
    assert result.fit is not None
    assert result.changed == 0b001
    assert result.fit.surface.certificate.ok
    assert result.fit.surface.smiles[0].atm_vol == pytest.approx(1.01 * first.surface.smiles[0].atm_vol, rel=1e-9)
    assert result.fit.surface.smiles[1:] == first.surface.smiles[1:]


def test_moves_by_a_factor_do_not_add_up_to_an_unseen_change_of_shape() -> None:
    """Each comparison is with the vols of the last fit, not with those of the last move."""
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    strike = np.array([i.strike for i in state.instruments])
    fits = 0
    for i in range(1, 9):
        quote(rows, state.instruments, 0.0005 * i + 0.00001 * i * np.log(strike / FORWARD) / 0.3)
        fits += state.step(rows, everything(rows), NOW + i, OPTIONS, THRESHOLDS).refitted
    assert 0 < fits < 8 * len(EXPIRIES)
    assert state.ledger.table()["moves"]["done"] > 0


def test_a_step_is_a_function_of_its_inputs_and_so_are_its_audits() -> None:
    def run() -> tuple[list[str], list[tuple]]:
        state, rows = made_market()
        rng = np.random.default_rng(5)
        digests, audits = [], []
        for i in range(25):
            quote(rows, state.instruments, rng.normal(0, 3e-5, rows.size))
            rows["ts_recv_ns"] = NOW + i * 10**8
            audited = replace(THRESHOLDS, audit_share=0.3)
            result = state.step(rows, everything(rows), NOW + i * 10**8, OPTIONS, audited)
            digests.append(result.fit.surface.digest if result.fit else "")
            audits += [(f.kind, f.expiry_ns, f.step, f.error) for f in result.findings]
            found = [refit(skipped) for skipped in result.skipped]
            audits += [(f.kind, f.expiry_ns, f.step, f.error) for f in found if f is not None]
        return digests, audits

    once, again = run(), run()
    assert once == again
    kinds = {kind for kind, *_ in once[1]}
    assert "fits" in kinds
    # No quote moved by 1 bp from those of its fit, and so no displayed point between the quotes did.
    assert max(error for *_, error in once[1]) < THRESHOLDS.vol_change


def test_the_work_is_per_visible_change_and_not_per_message() -> None:
    """However often a row is written, a step sees it once, and a price that is there already costs no vol."""
    state, rows = made_market()
    state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS)
    before = state.ledger.table()
    for i in range(1, 201):
        rows["ts_recv_ns"] = NOW + i
        state.step(rows, everything(rows), NOW + i, OPTIONS, THRESHOLDS)
    after = state.ledger.table()
    assert after["quotes"]["offered"] - before["quotes"]["offered"] == 200 * rows.size
    assert after["quotes"]["done"] == before["quotes"]["done"]
    assert after["fits"]["done"] == before["fits"]["done"] == len(EXPIRIES)
    assert after["publications"]["done"] == 1


def test_a_forward_that_moves_under_standing_vols_moves_the_smile_along_and_no_strike() -> None:
    state, rows = made_market()
    first = state.step(rows, everything(rows), NOW, OPTIONS, THRESHOLDS).fit
    strike = np.array([i.strike for i in state.instruments])
    years = np.array([(i.expiry_ns - NOW) / (365 * DAY) for i in state.instruments])
    right = np.array([i.right for i in state.instruments])
    forward = FORWARD * 0.9992  # above the next strike below: no quote changes sides
    rows["fwd"] = forward
    for side, sign in (("bid", -1.0), ("ask", 1.0)):
        vol = true_vol(strike, years) + sign * 0.005
        rows[side] = black76_price(forward, strike, years, vol, right) / forward
    audited = replace(THRESHOLDS, audit_share=1.0)
    result = state.step(rows, everything(rows), NOW + 1, OPTIONS, audited)
    assert first is not None
    assert result.fit is not None
    moved = state.ledger.table()["moves"]["done"]
    assert moved > 0
    for before, now in zip(first.surface.smiles, result.fit.surface.smiles, strict=True):
        if now.forward == forward:
            assert np.asarray(now.vol(STRIKES)) == pytest.approx(np.asarray(before.vol(STRIKES)), abs=2e-4)
    findings = [refit(skipped) for skipped in result.skipped]
    assert {finding.kind for finding in findings if finding} >= {"moves"}


def _until_mixture(state, rows, options):
    """Steps without a change, as the engine takes them, until a mixture is published; the publications on the way."""
    shown = []
    for turn in range(1, 400):
        result = state.step(rows, everything(rows) if turn == 1 else np.empty(0, int), NOW + turn, options, THRESHOLDS)
        shown += [result] if result.fit is not None else []
        if result.fit is not None and result.fit.gain is not None:
            return shown
    raise AssertionError("no mixture")


def _bent_market():
    """Quotes that no SVI smile goes through, a second bend in the middle."""
    state, rows = made_market()
    quote(rows, state.instruments, np.tile(0.01 * np.cos(np.linspace(-7.0, 7.0, STRIKES.size)), len(EXPIRIES)))
    return state, rows


def test_svi_is_published_at_once_and_the_mixture_when_it_is_found_and_kept_by_refits() -> None:
    mixed = FitOptions(model="mixture")
    state, rows = _bent_market()
    shown = _until_mixture(state, rows, mixed)
    first, last = shown[0].fit, shown[-1].fit
    assert first is not None and {smile.model for smile in first.surface.smiles} == {"svi"}
    assert last is not None and "mixture" in {smile.model for smile in last.surface.smiles}
    assert last.surface.state == "certified" and last.surface.certificate.ok
    assert shown[-1].refitted == 0 and shown[-1].changed
    searches = state.refinement.searches
    shift = np.zeros(rows.size)
    shift[: STRIKES.size] = 0.004
    before = rows["bid"].copy()
    quote(rows, state.instruments, shift + np.tile(0.01 * np.cos(np.linspace(-7.0, 7.0, STRIKES.size)), len(EXPIRIES)))
    result = state.step(rows, np.flatnonzero(rows["bid"] != before), NOW + 1000, mixed, THRESHOLDS)
    assert result.fit is not None and result.fit.gain is not None and result.fit.surface.certificate.ok
    assert state.refinement.searches == searches
    plain = state.step(rows, np.empty(0, int), NOW + 2000, FitOptions(), THRESHOLDS)
    assert plain.fit is not None and {smile.model for smile in plain.fit.surface.smiles} == {"svi"}


def test_the_same_steps_find_the_same_mixture() -> None:
    digests = []
    for _ in range(2):
        state, rows = _bent_market()
        shown = _until_mixture(state, rows, FitOptions(model="mixture"))
        digests.append([result.fit.surface.digest for result in shown if result.fit is not None])
    assert digests[0] == digests[1]
