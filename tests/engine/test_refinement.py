from dataclasses import replace

import numpy as np
import pytest
from made_chains import DAY_NS, SMILES, made_chain

from volsurface.engine.chain_fit import fit_chain, fit_refined
from volsurface.engine.refinement import AGAIN, Refinement, refined_at_once
from volsurface.pricing.black76 import black76_price
from volsurface.surface import mixture
from volsurface.surface.certificate import verify
from volsurface.surface.mixture import Term
from volsurface.surface.options import FitOptions
from volsurface.surface.surface import Surface

MIXED = FitOptions(model="mixture")


# Two regimes of one market: between them a smile is a mixture, through which no SVI slice goes.
CALM = ((0.0002, 0.020, -0.15, 0.000, 0.06), (0.0020, 0.045, -0.20, 0.010, 0.12), (0.0150, 0.090, -0.22, 0.020, 0.25))
WILD = ((0.0040, 0.060, -0.05, 0.000, 0.05), (0.0140, 0.110, -0.05, 0.000, 0.10), (0.0600, 0.200, -0.10, 0.000, 0.20))


def bent_chain(strikes=31, shift=0.0, later_ns=0):
    """Quotes 6 bp wide around the mixture of both regimes, `shift` above it."""
    chain = made_chain(strikes=strikes, width=3.0)
    years = (chain.expiry_ns - chain.time_ns) / (365 * DAY_NS)
    bid, ask = chain.bid.copy(), chain.ask.copy()
    for (days, forward, _), calm, wild in zip(SMILES, CALM, WILD, strict=True):
        mine = np.isclose(years, days / 365)
        strike, t = chain.strike[mine] / forward, days / 365
        w = mixture.total_variance((Term(0.5, calm), Term(0.5, wild)), np.log(strike))
        for side, half in ((bid, -0.0003), (ask, 0.0003)):
            vol = np.sqrt(w / t) + shift + half
            side[mine] = black76_price(1.0, strike, t, vol, chain.right[mine].astype(float))
    now_ns = chain.time_ns + later_ns
    return replace(chain, bid=bid, ask=ask, time_ns=now_ns, quote_time_ns=np.full(len(chain), now_ns))


@pytest.fixture(scope="module")
def fit():
    return fit_chain(bent_chain())


@pytest.fixture(scope="module")
def found(fit):
    refinement = Refinement()
    steps = 0
    while True:
        refined = refinement.advance(fit.surface, fit.quotes, MIXED)
        steps += 1
        if not refinement.searching:
            return refinement, refined, steps


def test_svi_is_shown_until_the_search_ends_then_a_certified_mixture_nearer_the_quotes(fit, found):
    _, refined, steps = found
    assert steps > 5
    first = Refinement().advance(fit.surface, fit.quotes, MIXED)
    assert first.surface is fit.surface and first.gain is None
    assert first.words == "SVI: the mixture is being searched"
    assert {smile.model for smile in refined.surface.smiles} == {"mixture"}
    assert refined.surface.certificate.ok and refined.surface.state == "certified"
    assert verify(refined.surface).ok
    assert refined.gain > 0.02
    for new, old in zip(refined.surface.smiles, fit.surface.smiles, strict=True):
        assert new.rmse_bp < old.rmse_bp and (new.expiry_ns, new.years) == (old.expiry_ns, old.years)
        mine = refined.quotes.used & (refined.quotes.expiry_ns == new.expiry_ns)
        error = (refined.quotes.fit_vol - refined.quotes.mid_vol)[mine] * 1e4
        assert new.rmse_bp == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)
        assert new.inside_spread == pytest.approx(refined.quotes.inside[mine].mean())


def test_it_survives_its_record(found):
    surface = found[1].surface
    assert Surface.from_dict(surface.to_dict()) == surface


def test_nothing_changes_while_nothing_has_changed(fit, found):
    refinement, refined, _ = found
    assert refinement.advance(fit.surface, fit.quotes, MIXED) is refined


def test_a_replay_of_the_same_steps_finds_the_same_bits(fit, found):
    assert refined_at_once(fit.surface, fit.quotes, MIXED).surface.digest == found[1].surface.digest


def test_it_follows_refits_warm_and_stays_certified(fit):
    refinement = Refinement()
    while refinement.advance(fit.surface, fit.quotes, MIXED).gain is None:
        assert refinement.searching
    shown, previous = [], fit
    for turn in range(1, 5):
        later = bent_chain(shift=0.0005 * turn, later_ns=turn * 1_000_000_000)
        previous = fit_chain(later, previous=previous.surface)
        shown.append(refinement.advance(previous.surface, previous.quotes, MIXED))
    assert refinement.searches == 1 and refinement.refits == 4 and refinement.refits_certified >= 3
    assert all(refined.gain is not None and refined.surface.certificate.ok for refined in shown)


def test_another_model_in_the_settings_shows_svi_at_once_and_forgets(fit, found):
    refinement = Refinement()
    while refinement.advance(fit.surface, fit.quotes, MIXED).gain is None:
        pass
    assert refinement.advance(fit.surface, fit.quotes, FitOptions()).surface is fit.surface
    assert refinement.advance(fit.surface, fit.quotes, MIXED).gain is None
    assert refinement.searching


def test_automatic_shows_it_only_where_more_quotes_are_inside(fit):
    automatic = FitOptions(model="automatic")
    assert refined_at_once(fit.surface, fit.quotes, automatic).gain > 0.0
    plain = fit_chain(made_chain())  # SVI is right here: nothing to gain
    refined = refined_at_once(plain.surface, plain.quotes, automatic)
    assert refined.surface is plain.surface and refined.gain is None and refined.words.startswith("SVI: ")


def test_expiries_with_few_strikes_stay_svi_and_are_named():
    chain = bent_chain()
    near = chain.expiry_ns == chain.expiry_ns.min()
    few = near & ~np.isin(chain.strike, np.unique(chain.strike[near])[::4])
    fit = fit_refined(chain.take(~few), MIXED)
    assert [smile.model for smile in fit.surface.smiles] == ["svi", "mixture", "mixture"]
    assert "too few strikes" in fit.words and "7.00 days (8 quotes)" in fit.words
    assert verify(fit.surface).ok


def test_nothing_but_few_strikes_stays_svi_and_is_not_searched_each_step():
    fit = fit_chain(made_chain(strikes=8))
    refinement = Refinement()
    for _ in range(AGAIN // 2):
        refined = refinement.advance(fit.surface, fit.quotes, MIXED)
    assert refined.surface is fit.surface and "too few strikes" in refined.words
    assert refinement.searches == 0


def test_a_surface_that_is_not_certified_is_shown_as_it_is(fit):
    stale = replace(fit.surface, state="stale")
    refined = Refinement().advance(stale, fit.quotes, MIXED)
    assert refined.surface is stale and refined.words == "SVI: its surface is stale"
