"""Forwards of a chain of several venues: the middle one for all, and each venue's own for its quotes."""

import numpy as np
import pytest

from volsurface.market.chain import Chain
from volsurface.market.composite import composite
from volsurface.market.forward import FUTURE, NONE, PARITY, STALE
from volsurface.market.quote import FORWARD_FUTURE, FORWARD_INDEX, FORWARD_NONE

NEAR, FAR = 1_800_000_000_000_000_000, 1_810_000_000_000_000_000
NAN = np.nan


def chain_of(venue: str, forwards: dict[int, float], source: int, index: float = NAN, told: bool = True) -> Chain:
    """Calls and puts at nine strikes around 100 with marks that obey parity on the given forwards."""
    strike = np.tile(np.repeat(np.arange(80.0, 125.0, 5.0), 2), len(forwards))
    right = np.tile([1, -1], strike.size // 2).astype(np.int8)
    expiry = np.repeat(list(forwards), strike.size // len(forwards)).astype(np.int64)
    forward = np.array([forwards[e] for e in expiry.tolist()])
    mark = 5.0 + np.maximum(right * (forward - strike), 0.0)
    n = strike.size
    nan = np.full(n, NAN)
    return Chain(
        "BTC", 0, np.full(n, venue, object), np.full(n, "", object), expiry, strike, right, np.zeros(n, bool),
        nan, nan, mark, nan, nan, nan, nan, forward if told else nan, np.full(n, source, np.uint8), np.full(n, index),
        np.zeros(n, np.int64), np.arange(n, dtype=np.int32),
    )  # fmt: skip


def together(*chains: Chain) -> Chain:
    columns = {
        name: np.concatenate([getattr(chain, name) for chain in chains])
        for name in Chain.__slots__
        if name not in ("underlying", "time_ns")
    }
    return Chain("BTC", 0, **columns)


def test_the_middle_of_the_venues_forwards_is_everybodys_and_the_rest_is_basis():
    chain = together(
        chain_of("deribit", {NEAR: 100.0, FAR: 102.0}, FORWARD_FUTURE),
        chain_of("bybit", {NEAR: 99.9}, FORWARD_FUTURE),
        chain_of("okx", {NEAR: 100.2, FAR: 103.0}, FORWARD_FUTURE),
    )
    found = composite(chain)
    assert found.venues == ("deribit", "bybit", "okx")
    assert found.forwards.forward.tolist() == [100.0, 102.5]
    assert found.forwards.source.tolist() == [FUTURE, FUTURE]
    assert found.basis[:, 0] == pytest.approx([0.0, np.log(0.999), np.log(1.002)])
    own = {venue: set(found.quote_forward[found.number == i].tolist()) for i, venue in enumerate(found.venues)}
    assert own == {"deribit": {100.0, 102.0}, "bybit": {99.9}, "okx": {100.2, 103.0}}


def test_a_venue_that_tells_only_its_index_is_read_by_parity_and_has_no_say():
    binance = chain_of("binance", {NEAR: 101.0}, FORWARD_INDEX)
    found = composite(together(chain_of("okx", {NEAR: 100.0}, FORWARD_FUTURE), binance))
    assert found.forwards.forward.tolist() == [100.0]
    assert found.venue_forward[:, 0] == pytest.approx([100.0, 101.0])
    alone = composite(binance)
    assert (alone.forwards.forward[0], alone.forwards.source[0]) == (pytest.approx(101.0), PARITY)


def test_left_out_venues_have_no_say_unless_there_is_no_other():
    chain = together(chain_of("deribit", {NEAR: 100.0}, FORWARD_FUTURE), chain_of("okx", {NEAR: 101.0}, FORWARD_FUTURE))
    assert composite(chain, left_out=["okx"]).forwards.forward.tolist() == [100.0]
    assert composite(chain, left_out=["okx", "deribit"]).forwards.forward.tolist() == [100.5]


def test_without_a_forward_the_index_says_the_basis():
    silent = chain_of("derive", {NEAR: 100.0}, FORWARD_NONE, index=50.5, told=False)
    silent.mark[:] = NAN
    found = composite(together(chain_of("okx", {NEAR: 100.0}, FORWARD_FUTURE, index=50.0), silent))
    assert found.venue_forward[1, 0] == pytest.approx(100.0 * 50.5 / 50.25)


def test_a_forward_that_cannot_be_true_is_not_used():
    chain = together(*(chain_of(v, {NEAR: f}, FORWARD_FUTURE) for v, f in (("a", 100.0), ("b", 100.1), ("c", 120.0))))
    found = composite(chain)
    assert found.forwards.forward.tolist() == [100.1]
    assert np.isnan(found.quote_forward[found.number == 2]).all()
    assert np.isfinite(found.quote_forward[found.number < 2]).all()


def test_the_last_forward_stands_in_and_is_called_stale():
    silent = together(*(chain_of(venue, {NEAR: 100.0}, FORWARD_NONE, told=False) for venue in ("a", "b")))
    silent.mark[:] = NAN
    found = composite(silent, {NEAR: 99.0})
    assert (found.forwards.forward[0], found.forwards.source[0]) == (99.0, STALE)
    nothing = composite(silent)
    assert nothing.forwards.source[0] == NONE
    assert np.isnan(nothing.quote_forward).all()


def test_an_empty_chain_has_no_venue():
    found = composite(together(chain_of("a", {NEAR: 1.0}, FORWARD_FUTURE)).take(np.zeros(0, np.int64)))
    assert (found.venues, found.forwards.forward.size) == ((), 0)
