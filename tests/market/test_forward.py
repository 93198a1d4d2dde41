import numpy as np
import pytest
from made_chains import SMILES, changed, made_chain

from volsurface.market.forward import expiry_forwards, parity_forward
from volsurface.market.quote import FORWARD_INDEX, FORWARD_MODEL, FORWARD_NONE, FORWARD_SYNTHETIC

TRUE = [forward for _, forward, _ in SMILES]
ALL = slice(None)


def names(forwards):
    return [forwards.source_name(i) for i in range(forwards.expiry_ns.size)]


def test_a_future_is_taken_as_it_is():
    chain = made_chain()
    forwards, place = expiry_forwards(chain)
    assert forwards.forward.tolist() == TRUE
    assert names(forwards) == ["future"] * 3
    assert forwards.expiry_ns[place].tolist() == chain.expiry_ns.tolist()


def test_rows_of_one_expiry_may_differ_and_a_future_beats_a_synthetic():
    chain = made_chain()
    first = np.flatnonzero(chain.expiry_ns == chain.expiry_ns.min())
    chain = changed(chain, first[:9], forward=chain.forward[first[:9]] * 1.0005)
    chain = changed(chain, first[40:], forward=1.0, forward_source=FORWARD_SYNTHETIC)
    forwards, _ = expiry_forwards(chain)
    assert forwards.forward[0] == TRUE[0]
    assert names(forwards)[0] == "future"
    chain = changed(chain, first, forward_source=FORWARD_SYNTHETIC, forward=TRUE[0])
    assert names(expiry_forwards(chain)[0])[0] == "synthetic"


@pytest.mark.parametrize("inverse", [True, False])
def test_the_index_is_never_a_forward_and_parity_of_marks_replaces_it(inverse):
    chain = changed(made_chain(inverse=inverse), ALL, forward=100_000.0, forward_source=FORWARD_INDEX)
    forwards, _ = expiry_forwards(chain)
    assert names(forwards) == ["parity"] * 3
    assert forwards.forward == pytest.approx(TRUE, rel=1e-9)


def test_a_forward_of_unclear_origin_counts_unless_it_is_the_index():
    chain = changed(made_chain(), ALL, forward_source=FORWARD_MODEL)
    assert names(expiry_forwards(chain)[0]) == ["synthetic"] * 3
    posing = changed(chain, ALL, forward=chain.index)
    assert names(expiry_forwards(posing)[0]) == ["parity"] * 3


@pytest.mark.parametrize("inverse", [True, False])
def test_parity_of_quotes_without_marks(inverse):
    chain = changed(made_chain(inverse=inverse, tick=1e-4), ALL, mark=np.nan, forward_source=FORWARD_NONE)
    forwards, _ = expiry_forwards(chain)
    assert names(forwards) == ["parity"] * 3
    assert forwards.forward == pytest.approx(TRUE, rel=3e-4)


def test_parity_is_robust():
    chain = made_chain(SMILES[1:2])
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(chain), 12, replace=False)
    spoilt = changed(chain, wrong, mark=chain.mark[wrong] * 1.2)
    assert parity_forward(spoilt) == pytest.approx(TRUE[1], rel=1e-9)
    spoilt = changed(chain, ALL, mark=np.nan)
    spoilt = changed(spoilt, wrong, bid=chain.bid[wrong] * 0.5, ask=chain.ask[wrong] * 2)
    assert parity_forward(spoilt) == pytest.approx(TRUE[1], rel=2e-4)


def test_without_any_source_the_last_forward_is_stale_and_then_there_is_none():
    chain = changed(made_chain(), ALL, mark=np.nan, bid=np.nan, forward_source=FORWARD_INDEX)
    known = {int(chain.expiry_ns.min()): 99_999.0}
    forwards, _ = expiry_forwards(chain, known)
    assert names(forwards) == ["stale", "none", "none"]
    assert forwards.forward == pytest.approx([99_999.0, np.nan, np.nan], nan_ok=True)


def test_calls_alone_say_nothing():
    chain = made_chain(SMILES[:1])
    assert np.isnan(parity_forward(chain.take(chain.right > 0)))
    assert np.isnan(parity_forward(chain.take(chain.strike < np.sort(chain.strike)[4])))  # two pairs


def test_pairs_are_of_one_venue():
    one, two = made_chain(SMILES[:1]), made_chain(SMILES[:1])
    both = changed(one, one.right < 0, venue="okx")  # calls of one venue, puts of another
    assert np.isnan(parity_forward(both))
    assert parity_forward(two) == pytest.approx(TRUE[0])


def test_an_empty_chain():
    forwards, place = expiry_forwards(made_chain().take(slice(0, 0)))
    assert forwards.expiry_ns.size == place.size == 0
