import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_chains import DAY_NS, NOW_NS, SMILES, changed, made_chain, svi

from volsurface.engine.chain_fit import STAGES, fit_chain, fit_surface, free_fit, refit_expiries
from volsurface.errors import ArbitrageError
from volsurface.market import cleaning
from volsurface.market.quote import FORWARD_INDEX
from volsurface.settings import FitSettings
from volsurface.simulator.chain import simulated_chain
from volsurface.surface.certificate import verify
from volsurface.surface.options import FitOptions
from volsurface.surface.quoted import COLUMNS, REASONS
from volsurface.surface.surface import Surface

ALL = slice(None)
SMILES_NS = [NOW_NS + int(days * DAY_NS) for days, _, _ in SMILES]


def counts(fit):
    return {REASONS[i]: int(n) for i, n in enumerate(np.bincount(fit.quotes.reason)) if n}


def finite(surface: Surface) -> bool:
    """Every number of the record is finite, and so is what is read off the smiles."""
    json.dumps(surface.to_dict(), allow_nan=False)
    return all(
        math.isfinite(x)
        for smile in surface.smiles
        for x in (smile.atm_vol, smile.skew, smile.curvature, smile.risk_reversal(), smile.butterfly(0.1))
    )


@pytest.mark.parametrize("inverse", [True, False])
def test_known_smiles_come_back(inverse):
    fit = fit_chain(made_chain(inverse=inverse))
    assert fit.surface.state == "certified"
    assert verify(fit.surface).ok
    assert [smile.state for smile in fit.surface.smiles] == ["certified"] * 3
    for smile, (days, forward, parameters) in zip(fit.surface.smiles, SMILES, strict=True):
        assert smile.years == pytest.approx(days / 365, rel=1e-12)
        assert smile.forward == forward
        assert smile.n_quotes == 31
        assert smile.inside_spread == 1.0
        k = np.linspace(-2, 2, 21) * math.sqrt(svi(parameters, 0.0))
        true = np.array([math.sqrt(svi(parameters, x) / smile.years) for x in k])
        assert 1e4 * np.abs(smile.vol_at(k) - true).max() < 2


def test_realistic_quotes_are_fitted_within_20_bp():
    for seed in range(5):
        fit = fit_chain(made_chain(tick=1e-4, spread=0.012, noise=0.002, seed=seed))
        errors = []
        for smile, (_, _, parameters) in zip(fit.surface.smiles, SMILES, strict=True):
            rows = fit.quotes.used & (fit.quotes.expiry_ns == smile.expiry_ns)
            true = np.array([math.sqrt(svi(parameters, x) / smile.years) for x in fit.quotes.k[rows]])
            errors.append(np.abs(fit.quotes.fit_vol[rows] - true))
        assert 1e4 * np.median(np.concatenate(errors)) < 20


def test_every_quote_is_there_once_with_a_reason():
    chain = made_chain(tick=1e-4)
    shuffled = chain.take(np.random.default_rng(0).permutation(len(chain)))
    fit = fit_chain(shuffled)
    quotes = fit.quotes
    assert len(quotes) == len(chain)
    assert sorted(quotes.iid.tolist()) == sorted(chain.iid.tolist())
    order = list(zip(quotes.expiry_ns.tolist(), quotes.strike.tolist(), strict=True))
    assert order == sorted(order)
    assert sum(counts(fit).values()) == len(chain)
    assert counts(fit)["in_the_money"] == len(chain) // 2
    assert (quotes.bid_vol[quotes.used] < quotes.mid_vol[quotes.used]).all()
    assert (quotes.mid_vol[quotes.used] < quotes.ask_vol[quotes.used]).all()
    assert np.isfinite(quotes.fit_vol).all()
    assert fit.surface.digest == fit_chain(chain).surface.digest


def test_the_smile_reports_what_the_quotes_say():
    fit = fit_chain(made_chain(noise=0.01, spread=0.01, seed=3))
    for smile in fit.surface.smiles:
        rows = fit.quotes.used & (fit.quotes.expiry_ns == smile.expiry_ns)
        error = 1e4 * (fit.quotes.fit_vol[rows] - fit.quotes.mid_vol[rows])
        assert smile.n_quotes == rows.sum()
        assert smile.rmse_bp == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
        assert smile.max_error_bp == pytest.approx(np.abs(error).max(), rel=1e-9)
        assert smile.inside_spread == pytest.approx(fit.quotes.inside[rows].mean(), rel=1e-9)
        assert smile.inside_spread < 1
        refused = (fit.quotes.expiry_ns == smile.expiry_ns) & ~fit.quotes.used
        assert smile.n_rejected == (refused & (fit.quotes.reason != REASONS.index("in_the_money"))).sum()


def test_an_outlier_is_named():
    chain = made_chain(SMILES[1:2])
    row = int(np.flatnonzero((chain.right > 0) & (chain.strike > SMILES[1][1]))[4])
    fit = fit_chain(changed(chain, row, bid=chain.bid[row] * 1.6, ask=chain.ask[row] * 1.6))
    assert counts(fit)["outlier"] == 1
    assert fit.quotes.iid[fit.quotes.reason == REASONS.index("outlier")].tolist() == [chain.iid[row]]
    assert fit.surface.smiles[0].rmse_bp < 5


def test_every_cleaning_reason_has_a_code():
    assert set(cleaning.REASONS) <= set(REASONS)


@pytest.mark.parametrize("strikes", [3, 4, 5])
def test_few_strikes_borrow_the_shape_of_a_neighbour(strikes):
    chain = made_chain()
    middle = chain.expiry_ns == SMILES_NS[1]
    few = np.unique(chain.strike[middle])[3::6][:strikes]
    fit = fit_chain(chain.take(~middle | np.isin(chain.strike, few)))
    near, poor, _ = fit.surface.smiles
    assert (fit.surface.state, poor.method, poor.n_quotes) == ("certified", "borrowed", strikes)
    scale = math.sqrt(poor.years / near.years)
    lent = [tuple(scale * x for x in smile.parameters[3:]) for smile in (near, fit.surface.smiles[2])]
    far = math.sqrt(poor.years / fit.surface.smiles[2].years)
    lent[1] = tuple(far / scale * x for x in lent[1])
    assert any(poor.parameters[3:] == pytest.approx(shape, rel=1e-9) for shape in lent)
    true = np.array([math.sqrt(svi(SMILES[1][2], x) / poor.years) for x in np.linspace(-0.1, 0.1, 9)])
    assert 1e4 * np.abs(poor.vol_at(np.linspace(-0.1, 0.1, 9)) - true).max() < 200
    assert verify(fit.surface).ok


def test_two_strikes_give_no_smile():
    chain = made_chain(SMILES[:2])
    near = chain.expiry_ns == SMILES_NS[0]
    few = np.unique(chain.strike[near])[10:21:10]
    fit = fit_chain(chain.take(~near | np.isin(chain.strike, few)))
    assert [smile.forward for smile in fit.surface.smiles] == [SMILES[1][1]]
    assert counts(fit)["few_quotes"] == 2
    assert np.isnan(fit.quotes.fit_vol[fit.quotes.expiry_ns == SMILES_NS[0]]).all()


def test_two_venues_at_few_strikes_are_still_few_strikes():
    one = made_chain(SMILES[:1], strikes=4)
    twice = np.tile(np.arange(len(one)), 2)
    both = changed(one.take(twice), slice(len(one), None), venue="okx")
    fit = fit_chain(both)
    assert fit.surface.smiles == ()
    assert fit.surface.state == "failed"
    assert fit.quotes.venues == ("deribit", "okx")
    assert counts(fit)["few_quotes"] == 8
    assert len(fit_chain(both, FitOptions(min_quotes=3)).surface.smiles) == 1


def test_too_near_an_expiry_is_skipped_and_nothing_else():
    chain = made_chain()
    late = replace(chain, time_ns=int(chain.expiry_ns.min()) - 3_000_000_000)
    fit = fit_chain(late)
    assert len(fit.surface.smiles) == 2
    assert counts(fit)["bad_time"] == 62
    assert finite(fit.surface)


def test_nothing_is_fitted_on_the_index():
    chain = changed(made_chain(), ALL, forward=100_000.0, forward_source=FORWARD_INDEX)
    fit = fit_chain(chain)
    assert [smile.forward_source for smile in fit.surface.smiles] == ["parity"] * 3
    assert [smile.forward for smile in fit.surface.smiles] == pytest.approx([f for _, f, _ in SMILES], rel=1e-9)


@pytest.mark.parametrize(
    "spoil",
    [
        {"bid": np.nan, "ask": np.nan},
        {"bid": 5.0, "ask": 9.0},
        {"bid": 1e-300, "ask": 1e-299},
        {"bid": np.inf, "ask": np.inf},
        {"bid": -1.0, "ask": -0.5},
        {"strike": 1e-9},
        {"strike": 1e12},
        {"forward": np.inf},
        {"forward": -5.0, "mark": np.nan},
        {"expiry_ns": NOW_NS + 1},
        {"quote_time_ns": 0},
        {"forward": 1e-3},
    ],
)
@pytest.mark.parametrize("rows", ["some", "all"])
def test_whatever_the_quotes_are_nothing_raises_and_every_number_is_finite(spoil, rows):
    chain = made_chain()
    where = ALL if rows == "all" else np.random.default_rng(1).choice(len(chain), 40, replace=False)
    fit = fit_chain(changed(chain, where, **spoil))
    assert finite(fit.surface)
    assert len(fit.quotes) == len(chain)


def test_an_empty_chain():
    fit = fit_chain(made_chain().take(slice(0, 0)))
    assert (fit.surface.smiles, fit.surface.state, len(fit.quotes)) == ((), "failed", 0)
    assert finite(fit.surface)


def moved(chain, days=0.01, factor=1.02):
    return replace(chain, time_ns=chain.time_ns + int(days * DAY_NS), bid=chain.bid * factor, ask=chain.ask * factor)


def test_only_the_named_expiries_are_refitted():
    chain = made_chain()
    first = fit_chain(chain)
    one = first.surface.smiles[1]
    later = fit_chain(moved(chain), previous=first.surface, expiries=[one.expiry_ns])
    assert later.surface.smiles[0] == first.surface.smiles[0]
    assert later.surface.smiles[2] == first.surface.smiles[2]
    assert later.surface.smiles[1].parameters != one.parameters
    assert later.surface.smiles[1].fit_time_ns == later.surface.valuation_time_ns
    assert later.surface.valuation_time_ns > first.surface.valuation_time_ns
    kept = later.quotes.expiry_ns == first.surface.smiles[0].expiry_ns
    assert later.quotes.fit_vol[kept] == pytest.approx(first.surface.smiles[0].vol_at(later.quotes.k[kept]))
    assert np.isfinite(later.quotes.mid_vol[kept & later.quotes.used]).all()


def test_the_chain_may_hold_only_the_refitted_expiry():
    chain = made_chain()
    first = fit_chain(chain)
    expiry = first.surface.smiles[1].expiry_ns
    part = fit_chain(moved(chain).take(chain.expiry_ns == expiry), previous=first.surface, expiries=[expiry])
    whole = fit_chain(moved(chain), previous=first.surface, expiries=[expiry])
    assert part.surface == whole.surface
    assert len(part.quotes) == 62


def test_an_expiry_refitted_from_its_own_quotes_is_the_same_as_from_the_whole_chain():
    chain = made_chain(noise=0.003, tick=1e-4)
    first = fit_chain(chain)
    for expiry in SMILES_NS:
        rows = chain.expiry_ns == expiry
        later = changed(moved(chain), ~rows, bid=chain.bid[~rows], ask=chain.ask[~rows], mark=chain.mark[~rows])
        part, whole = refit_expiries(later.take(rows), first, [expiry]), fit_chain(later, None, first.surface, [expiry])
        assert part.surface == whole.surface
        assert part.surface.smile(expiry).parameters != first.surface.smile(expiry).parameters
        for name in COLUMNS:
            of_part = getattr(part.quotes, name)
            wanted = np.where(rows, getattr(whole.quotes, name), getattr(first.quotes, name))
            assert np.array_equal(of_part, wanted, equal_nan=of_part.dtype.kind == "f"), name


def test_an_expiry_that_needs_its_neighbours_is_not_refitted_from_its_own_quotes():
    chain = made_chain()
    first = fit_chain(chain)
    rows = np.flatnonzero(chain.expiry_ns == SMILES_NS[1])
    ratio = min(svi(SMILES[2][2], x) / svi(SMILES[1][2], x) for x in np.linspace(-0.3, 0.3, 31))
    assert refit_expiries(made_chain(lifted(SMILES, 1, 0.8 * ratio)).take(rows), first, SMILES_NS[1:2]) is None
    assert refit_expiries(chain.take(rows[:8]), first, SMILES_NS[1:2]) is None  # four strikes: to be borrowed
    held = replace(first, surface=replace(first.surface, state="stale"))
    assert refit_expiries(chain.take(rows), held, SMILES_NS[1:2]) is None
    assert refit_expiries(chain.take(rows), first, SMILES_NS[1:2]).surface.state == "certified"


def test_warm_and_cold_agree():
    chain = made_chain(noise=0.002, tick=1e-4)
    first = fit_chain(chain).surface
    warm, cold = fit_chain(moved(chain), previous=first).surface, fit_chain(moved(chain)).surface
    for one, two in zip(warm.smiles, cold.smiles, strict=True):
        assert 1e4 * abs(one.atm_vol - two.atm_vol) < 1
        assert one.rmse_bp == pytest.approx(two.rmse_bp, rel=0.01)


def test_an_expiry_that_cannot_be_fitted_keeps_its_smile_as_stale_until_it_expires():
    chain = made_chain()
    first = fit_chain(chain).surface
    near = chain.expiry_ns == chain.expiry_ns.min()
    gone = changed(chain, near, bid=np.nan)
    fit = fit_chain(gone, previous=first)
    assert fit.surface.smiles[0] == replace(first.smiles[0], state="stale")
    assert fit.surface.smiles[1].state == "certified"
    after = replace(gone, time_ns=first.smiles[0].expiry_ns + 1)
    assert [s.expiry_ns for s in fit_chain(after, previous=first).surface.smiles] == [
        s.expiry_ns for s in first.smiles[1:]
    ]


def test_a_delisted_expiry_goes_at_the_next_full_fit():
    chain = made_chain()
    first = fit_chain(chain).surface
    rest = chain.take(chain.expiry_ns != chain.expiry_ns.min())
    assert len(fit_chain(rest, previous=first).surface.smiles) == 2


def lifted(smiles, place, factor):
    """The smiles with the total variance of one of them times `factor`."""
    days, forward, (a, b, *shape) = smiles[place]
    changed_smile = (days, forward, (factor * a, factor * b, *shape))
    return (*smiles[:place], changed_smile, *smiles[place + 1 :])


CROSSING = lifted(SMILES, 1, 0.5 * sum(svi(SMILES[0][2], x) / svi(SMILES[1][2], x) for x in (-0.1, 0.0, 0.1)) / 3)


# Nearer expiries above farther ones throughout: no one expiry is at fault.
REVERSED = lifted(lifted(SMILES, 0, 80.0), 1, 8.0)


def test_an_expiry_that_crosses_grossly_loses_its_fit_and_no_other_does():
    for smiles in (CROSSING, lifted(SMILES, 0, 40.0), lifted(SMILES, 2, 0.02)):
        chain = made_chain((*smiles, (200.0, 104_000.0, (0.05, 0.13, -0.22, 0.03, 0.35))))
        fit = fit_chain(chain)
        fault = next(i for i in range(3) if smiles[i] != SMILES[i])
        assert fit.surface.state == "certified"
        assert fit.surface.state_reason == (
            f"expiry in {SMILES[fault][0]:.2f} days is left out: its quotes cross those of other expiries"
        )
        assert {s.expiry_ns for s in fit.surface.smiles} == set(chain.expiry_ns.tolist()) - {SMILES_NS[fault]}
        assert max(smile.rmse_bp for smile in fit.surface.smiles) < 2
        mine = fit.quotes.expiry_ns == SMILES_NS[fault]
        assert set(fit.quotes.reason[mine]) == {REASONS.index("expiry_refused"), REASONS.index("in_the_money")}
        assert np.isnan(fit.quotes.fit_vol[mine]).all()
        assert verify(fit.surface).ok


def test_an_expiry_at_fault_keeps_its_last_smile_where_that_is_certified_beside_the_others():
    first, chain = fit_chain(made_chain()).surface, made_chain(CROSSING)
    fit = fit_chain(chain, previous=first)
    assert [smile.state for smile in fit.surface.smiles] == ["certified", "stale", "certified"]
    assert fit.surface.smiles[1].parameters == first.smiles[1].parameters
    assert "30.00 days is left out" in fit.surface.state_reason
    assert fit_chain(made_chain(), previous=fit.surface).surface.state_reason == ""


def test_quotes_that_cross_throughout_give_the_fallback_with_its_reason():
    fit = fit_chain(made_chain(REVERSED))
    assert fit.surface.state == "fallback"
    assert fit.surface.state_reason
    assert {smile.method for smile in fit.surface.smiles} == {"essvi"}
    assert {smile.state for smile in fit.surface.smiles} == {"fallback"}
    assert verify(fit.surface).ok
    assert Surface.from_dict(json.loads(json.dumps(fit.surface.to_dict()))) == fit.surface


def crossing_later(seconds):
    """A good surface of two expiries, and a little later a chain in which they cross: neither is more at fault."""
    first = fit_chain(made_chain(SMILES[:2])).surface
    chain = replace(made_chain(CROSSING[:2]), time_ns=NOW_NS + int(seconds * 1e9))
    return first, chain


def test_the_last_certified_surface_is_held_for_a_while_and_says_why():
    first, chain = crossing_later(60)
    fit = fit_chain(chain, previous=first)
    assert fit.surface.state == "stale"
    assert fit.surface.state_reason
    assert fit.surface.valuation_time_ns == first.valuation_time_ns
    assert [s.parameters for s in fit.surface.smiles] == [s.parameters for s in first.smiles]
    assert {s.state for s in fit.surface.smiles} == {"stale"}
    assert np.isfinite(fit.quotes.fit_vol).all()
    assert (
        fit_chain(replace(made_chain(SMILES[:2]), time_ns=chain.time_ns), previous=fit.surface).surface.state
        == "certified"
    )


def test_a_held_surface_gets_too_old():
    first, chain = crossing_later(3600)
    assert fit_chain(chain, previous=first).surface.state == "fallback"


def test_a_held_surface_far_from_the_new_quotes_is_let_go():
    _, chain = crossing_later(60)
    elsewhere = fit_chain(made_chain(tuple(lifted(lifted(lifted(SMILES, 0, 4), 1, 4), 2, 4)))).surface
    assert elsewhere.state == "certified"
    assert fit_chain(chain, previous=elsewhere).surface.state == "fallback"


def test_one_expiry_between_fixed_neighbours_stays_below_the_later_one():
    # The middle expiry's wings rise over the later one's beyond the quotes: it is pressed down, the others keep theirs.
    first = fit_chain(made_chain()).surface
    ratio = min(svi(SMILES[2][2], x) / svi(SMILES[1][2], x) for x in np.linspace(-0.3, 0.3, 31))
    up = made_chain(lifted(SMILES, 1, 0.7 * ratio))
    assert fit_chain(up.take(up.expiry_ns == SMILES_NS[1])).surface.smiles[0].method == "free"
    fit = fit_chain(up, previous=first, expiries=[SMILES_NS[1]])
    assert fit.surface.state == "certified"
    assert fit.surface.smiles[1].method == "repaired"
    assert fit.surface.smiles[0] == first.smiles[0]
    assert fit.surface.smiles[2] == first.smiles[2]
    assert verify(fit.surface).ok


def test_neighbours_move_where_the_one_expiry_would_lie_far_from_its_quotes():
    first = fit_chain(made_chain()).surface
    ratio = min(svi(SMILES[2][2], x) / svi(SMILES[1][2], x) for x in np.linspace(-0.3, 0.3, 31))
    fit = fit_chain(made_chain(lifted(SMILES, 1, 0.8 * ratio)), previous=first, expiries=[SMILES_NS[1]])
    assert fit.surface.state == "certified"
    assert fit.surface.smiles[2].parameters != first.smiles[2].parameters
    assert max(smile.rmse_bp for smile in fit.surface.smiles) < 30
    assert verify(fit.surface).ok


def test_neighbours_are_freed_when_one_expiry_alone_cannot_be_fitted():
    first = fit_chain(made_chain()).surface
    scaled = made_chain(tuple(lifted(lifted(lifted(SMILES, 0, 3), 1, 3), 2, 3)))
    fit = fit_chain(scaled, previous=first, expiries=[SMILES_NS[0]])
    assert fit.surface.state == "certified"
    assert fit.surface.smiles[0].atm_vol == pytest.approx(math.sqrt(3) * first.smiles[0].atm_vol, rel=0.01)
    assert fit.surface.smiles[1].parameters != first.smiles[1].parameters
    assert verify(fit.surface).ok


def test_beside_a_fallback_everything_is_fitted():
    fallback = fit_chain(made_chain(REVERSED)).surface
    fit = fit_chain(made_chain(), previous=fallback, expiries=[SMILES_NS[1]])
    assert fit.surface.state == "certified"
    assert {smile.state for smile in fit.surface.smiles} == {"certified"}


def test_an_old_smile_that_stands_in_the_way_goes():
    first = fit_chain(made_chain()).surface
    low = made_chain(tuple(lifted(lifted(lifted(SMILES, 0, 0.1), 1, 0.1), 2, 0.1)))
    gone = changed(low, low.expiry_ns == SMILES_NS[0], bid=np.nan)
    fit = fit_chain(gone, previous=first)
    assert fit.surface.state == "certified"
    assert [smile.expiry_ns for smile in fit.surface.smiles] == SMILES_NS[1:]


def test_an_expiry_appears_and_one_expires():
    chain = made_chain()
    first = fit_chain(chain.take(chain.expiry_ns != SMILES_NS[1])).surface
    assert [s.expiry_ns for s in first.smiles] == [SMILES_NS[0], SMILES_NS[2]]
    more = fit_chain(chain, previous=first, expiries=[SMILES_NS[1]]).surface
    assert [s.expiry_ns for s in more.smiles] == SMILES_NS
    assert more.state == "certified"
    after = fit_chain(replace(chain, time_ns=SMILES_NS[0] + 1), previous=more, expiries=[SMILES_NS[1]]).surface
    assert [s.expiry_ns for s in after.smiles] == SMILES_NS[1:]
    assert after.state == "certified"


@pytest.mark.parametrize("seed", range(4))
def test_half_of_the_quotes_missing(seed):
    chain = made_chain(tick=1e-4, noise=0.001, seed=seed)
    gone = np.random.default_rng(seed).random(len(chain)) < 0.5
    fit = fit_chain(changed(chain, gone, bid=np.nan))
    assert fit.surface.state == "certified"
    assert len(fit.surface.smiles) == 3
    assert verify(fit.surface).ok


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.3, 2.5), min_size=3, max_size=3),
    st.floats(0.0, 0.05),
    st.integers(0, 1000),
)
def test_whatever_is_published_is_free_of_arbitrage(factors, noise, seed):
    smiles = SMILES
    for i, factor in enumerate(factors):
        smiles = lifted(smiles, i, factor)
    surface = fit_chain(made_chain(smiles, strikes=11, noise=noise, seed=seed)).surface
    assert surface.state in ("certified", "fallback", "failed")
    assert surface.state == "certified" or surface.state_reason
    verify(surface)


def test_timing_needs_a_timer():
    ticks = iter(range(0, 10**9, 1_000_000))
    assert fit_chain(made_chain()).timing_ms == {}
    timing = fit_chain(made_chain(), timer=lambda: next(ticks)).timing_ms
    assert timing == {"clean": 2.0, "implied_vol": 1.0, "calibrate": 1.0, "certify": 1.0}
    assert tuple(timing) == STAGES


def test_fit_surface_takes_the_page_s_settings():
    chain = made_chain(SMILES[:1], strikes=8)
    assert len(fit_surface(chain).smiles) == 1
    assert fit_surface(chain, FitSettings(min_quotes=9)).smiles == ()
    assert fit_surface(chain, FitOptions(min_quotes=9)).smiles == ()


def test_the_preview_is_the_free_fit_and_claims_nothing():
    chain = made_chain(CROSSING)
    few = np.flatnonzero(chain.expiry_ns == SMILES_NS[2])[8:]
    chain = changed(chain, few, bid=np.nan, ask=np.nan)
    fit = free_fit(chain)
    assert fit.surface.state == "uncertified"
    assert [(smile.expiry_ns, smile.state) for smile in fit.surface.smiles] == [
        (t, "uncertified") for t in SMILES_NS[:2]
    ]
    assert not fit.surface.certificate.ok
    assert {v.verdict for v in (*fit.surface.certificate.butterfly, *fit.surface.certificate.calendar)} == {"undecided"}
    assert max(smile.rmse_bp for smile in fit.surface.smiles) < 2  # on its quotes, which cross
    with pytest.raises(ArbitrageError):
        verify(fit.surface)
    assert Surface.from_dict(json.loads(json.dumps(fit.surface.to_dict(), allow_nan=False))) == fit.surface
    assert free_fit(chain.take(slice(0, 0))).surface.smiles == ()


def test_a_smile_knows_between_which_strikes_it_was_quoted():
    fit = fit_chain(simulated_chain("BTC", seed=21))
    for smile in fit.surface.smiles:
        k = fit.quotes.k[fit.quotes.used & (fit.quotes.expiry_ns == smile.expiry_ns)]
        assert smile.quoted_k == (k.min(), k.max())
    smile = fit.surface.smiles[4]
    inside, beyond = smile.forward, smile.forward * np.exp(2 * smile.quoted_k[1])
    assert fit.surface.region(inside, smile.expiry_ns).inside_quotes
    assert fit.surface.region(beyond, smile.expiry_ns).extrapolated_strike
