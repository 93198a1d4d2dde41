"""The simulated chain: the same for the same seed, and a fit of it recovers the market's true vols."""

import numpy as np

from volsurface.engine.chain_fit import fit_chain
from volsurface.simulator.chain import NOON_NS, simulated_chain
from volsurface.simulator.market import VenueMarket


def test_the_same_seed_gives_the_same_chain() -> None:
    one, two, other = simulated_chain("ETH", seed=3), simulated_chain("ETH", seed=3), simulated_chain("ETH", seed=4)
    for name in ("strike", "bid", "ask", "mark", "forward"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert not np.array_equal(one.bid, other.bid, equal_nan=True)


def test_a_fit_recovers_the_true_vols_at_quoted_strikes() -> None:
    """Median error at most 20 bp, over coins and seeds nobody has tuned on."""
    errors = []
    for underlying in ("BTC", "ETH"):
        for seed in (11, 12, 13, 14):
            chain = simulated_chain(underlying, seed=seed)
            market = VenueMarket((underlying,), seed, NOON_NS)
            truth = np.array([market.true_vol(option) for option in market.options])
            quotes = fit_chain(chain).quotes
            used = quotes.used
            assert used.sum() > 200
            errors.append(np.abs(quotes.fit_vol[used] - truth[quotes.iid[used]]))
    assert np.median(np.concatenate(errors)) <= 20e-4
