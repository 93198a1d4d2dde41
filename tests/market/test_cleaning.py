import numpy as np
import pytest
from made_chains import NOW_NS, SMILES, changed, made_chain

from volsurface.market import cleaning
from volsurface.market.cleaning import REASONS, screen_prices, screen_vols, tick_size
from volsurface.market.forward import expiry_forwards
from volsurface.market.year_fraction import years_to_expiry

SETTINGS = {"min_years": 1 / 365 / 24, "stale_after_s": 60.0}


def reasons(chain, **settings):
    """Reason words after the first pass."""
    forwards, place = expiry_forwards(chain)
    k = np.log(chain.strike / forwards.forward[place])
    years = years_to_expiry(chain.expiry_ns, chain.time_ns)
    codes = screen_prices(chain, k, years, place, **(SETTINGS | settings))
    return np.array([REASONS[code] for code in codes])


CHAIN = made_chain(SMILES[1:2], tick=1e-4)
FORWARD = SMILES[1][1]
OTM = (CHAIN.right > 0) == (CHAIN.strike >= FORWARD)


def test_clean_quotes_are_used_one_option_per_strike():
    found = reasons(CHAIN)
    assert set(found[~OTM]) == {"in_the_money"}
    assert set(found[OTM]) == {"used"}
    assert OTM.sum() == np.unique(CHAIN.strike).size


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"bid": np.nan}, "no_bid"),
        ({"ask": np.nan}, "no_ask"),
        ({"bid": np.nan, "ask": np.nan}, "no_bid"),
        ({"bid": 0.9}, "crossed"),
        ({"bid": 1e-4}, "one_tick"),
        ({"quote_time_ns": NOW_NS - 61_000_000_000}, "stale"),
        ({"quote_time_ns": NOW_NS - 59_000_000_000}, "used"),
    ],
)
def test_each_fault_of_a_quote_has_its_reason(columns, reason):
    row = int(np.flatnonzero(OTM)[10])
    found = reasons(changed(CHAIN, row, **columns))
    assert found[row] == reason
    assert (np.delete(found, row) == np.delete(reasons(CHAIN), row)).all()


def test_locked_is_crossed():
    row = int(np.flatnonzero(OTM)[10])
    assert reasons(changed(CHAIN, row, bid=CHAIN.ask[row]))[row] == "crossed"


def test_time():
    assert set(reasons(CHAIN, min_years=31 / 365)) == {"bad_time"}
    expired = changed(CHAIN, slice(None), expiry_ns=NOW_NS - 1)
    assert set(reasons(expired, min_years=0.0)) == {"bad_time"}
    now = changed(CHAIN, slice(None), expiry_ns=NOW_NS)
    assert set(reasons(now, min_years=0.0)) == {"bad_time"}


def test_old_quotes_are_old_against_their_own_expiry():
    chain = made_chain(SMILES[:2])
    first = chain.expiry_ns == chain.expiry_ns.min()
    slow = changed(chain, first, quote_time_ns=NOW_NS - 600_000_000_000)  # the whole expiry is quoted rarely
    assert "stale" not in reasons(slow)


def test_a_venue_that_is_not_wanted_is_excluded_and_said_so():
    row = int(np.flatnonzero(OTM)[10])
    other = changed(CHAIN, row, venue="okx")
    found = reasons(other, excluded_venues=("okx",))
    assert found[row] == "venue_excluded"
    assert (np.delete(found, row) == np.delete(reasons(CHAIN), row)).all()
    assert set(reasons(CHAIN, excluded_venues=(str(CHAIN.venue[0]),))[OTM]) == {"venue_excluded"}


def test_no_forward():
    chain = changed(CHAIN, slice(None), forward=np.nan, mark=np.nan, bid=np.nan)
    assert set(reasons(chain)) == {"no_forward"}


def test_the_tick_is_read_off_the_prices_of_each_venue():
    assert tick_size(CHAIN) == pytest.approx(1e-4)
    coarse = changed(made_chain(SMILES[1:2], tick=5e-4), slice(None), venue="okx")
    both = CHAIN.take(slice(None))
    for name in ("venue", "bid", "ask"):
        both = changed(both, CHAIN.right > 0, **{name: getattr(coarse, name)[CHAIN.right > 0]})
    assert tick_size(both)[CHAIN.right > 0] == pytest.approx(5e-4)
    assert tick_size(both)[CHAIN.right < 0] == pytest.approx(1e-4)
    assert np.isnan(tick_size(CHAIN.take(slice(0, 9)))).all()
    linear = made_chain(SMILES[1:2], tick=5.0 / FORWARD, inverse=False)
    assert tick_size(linear) == pytest.approx(5.0)


def second_pass(bid_vol, ask_vol, below=None, code=cleaning.USED, max_spread=0.5):
    bid_vol, ask_vol = np.array(bid_vol, float), np.array(ask_vol, float)
    n = bid_vol.size
    below = np.zeros(n, bool) if below is None else np.array(below)
    codes = screen_vols(np.full(n, code, np.uint8), bid_vol, ask_vol, below, np.zeros(n, int), max_spread=max_spread)
    return [REASONS[code] for code in codes]


def test_vols_add_their_reasons():
    bid, ask = [0.5, np.nan, 0.5, np.nan, 0.5, 0.001], [0.52, 0.6, np.nan, 0.6, 1.2, 0.02]
    below = [False, True, False, False, False, False]
    assert second_pass(bid, ask, below) == ["used", "below_intrinsic", "no_vol", "no_vol", "wide", "no_vol"]


def test_wide_against_the_expiry():
    bid, ask = [0.50] * 9, [0.504] * 8 + [0.7]
    assert second_pass(bid, ask)[-1] == "wide"
    assert second_pass(bid, [0.504] * 8 + [0.59])[-1] == "used"  # 9 points are not wide in themselves
    assert second_pass(bid, [0.54] * 8 + [0.7])[-1] == "used"  # nor 20 where 4 are usual


def test_an_earlier_reason_stays():
    assert second_pass([np.nan], [0.6], code=cleaning.NO_BID) == ["no_bid"]


def test_empty():
    assert reasons(CHAIN.take(slice(0, 0))).size == 0
    assert second_pass([], []) == []
