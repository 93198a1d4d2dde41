from datetime import UTC, datetime

import numpy as np
import pytest

from volsurface.errors import VenueError
from volsurface.market.instrument import COIN
from volsurface.pricing.implied_vol import implied_vols
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.venue_profiles import PROFILES, venue_profile

NOW = int(datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()) * 10**9


@pytest.fixture(scope="module")
def markets() -> dict[str, VenueMarket]:
    return {name: VenueMarket(("BTC", "ETH"), 3, NOW, profile) for name, profile in PROFILES.items()}


def test_names_are_in_each_venues_own_notation(markets: dict[str, VenueMarket]) -> None:
    forms = {
        "deribit": "BTC-25DEC26-80000-C", "okx": "BTC-USD-261225-80000-C", "bybit": "BTC-25DEC26-80000-C-USDT",
        "binance": "BTC-261225-80000-C", "derive": "BTC-20261225-80000-C",
    }  # fmt: skip
    expiry_ns = int(datetime(2026, 12, 25, 8, 0, tzinfo=UTC).timestamp()) * 10**9
    for venue, name in forms.items():
        assert PROFILES[venue].symbol("BTC", expiry_ns, 80_000.0, 1) == name
        assert len(markets[venue].by_symbol) == len(markets[venue].options)


def test_each_venue_lists_a_part_of_what_the_first_lists(markets: dict[str, VenueMarket]) -> None:
    def contracts(market: VenueMarket) -> set[tuple[str, int, float, int]]:
        return {(o.underlying, o.expiry.expiry_ns, o.strike, o.right) for o in market.options}

    everything = contracts(markets["deribit"])
    for venue, market in markets.items():
        assert contracts(market) <= everything
        assert venue == "deribit" or len(market.options) < len(everything)
        assert len(market.options) > 300


def test_all_venues_price_one_true_surface_but_for_their_basis(markets: dict[str, VenueMarket]) -> None:
    truth = markets["deribit"].smiles["BTC"]
    for venue, market in markets.items():
        smiles = market.smiles["BTC"]
        assert smiles.spot / truth.spot - 1.0 == pytest.approx(PROFILES[venue].basis, abs=1e-12)
        for option in market.options[::29]:
            forward = market.smiles[option.underlying].forward[
                market.smiles[option.underlying].expiry_ns.searchsorted(option.expiry.expiry_ns)
            ]
            years = (option.expiry.expiry_ns - NOW) / (365 * 86400e9)
            price = market.mark(option) * (forward if PROFILES[venue].settlement == COIN else 1.0)
            found = implied_vols(*(np.array([x]) for x in (price, forward, option.strike, years, float(option.right))))
            if np.isfinite(found.vol[0]) and price > 1.0 and abs(np.log(option.strike / forward)) < 0.3:
                assert found.vol[0] == pytest.approx(market.true_vol(option), rel=1e-6)


def test_quotes_lie_on_the_ticks_and_around_the_true_price(markets: dict[str, VenueMarket]) -> None:
    for venue, market in markets.items():
        inside = total = 0
        for option in market.options:
            bids, asks = market.levels(option)
            unit = option.book.ticks.unit
            assert all(abs(price / unit - round(price / unit)) < 1e-6 for price in [*bids, *asks])
            if bids and asks:
                assert max(bids) < min(asks)
                inside += max(bids) <= market.mark(option) <= min(asks)
                total += 1
        assert inside / total > 0.98, venue


def test_a_venue_on_its_index_shows_vols_that_hold_the_carry(markets: dict[str, VenueMarket]) -> None:
    market = markets["binance"]
    options = [o for o in market.options if o.right > 0 and o.underlying == "BTC"][-60:]
    values = market.tickers(options)
    assert set(values.forward) == set(values.index)
    difference = np.array(values.mark_iv) / 100 - np.array([market.true_vol(option) for option in options])
    assert np.median(difference) > 0.005, "calls on forwards above the index look dear against the index"


def test_an_unknown_venue_is_refused_with_what_there_is() -> None:
    with pytest.raises(VenueError, match="did you mean 'okx'"):
        venue_profile("okex")


def test_strikes_are_added_and_expiries_ended_on_demand() -> None:
    market = VenueMarket(("BTC",), 3, NOW, PROFILES["okx"], most_expiries=2, most_strikes=3)
    assert len(market.options) == 12
    market.add_strike()
    roll = market.advance(NOW + 10**9)
    assert roll is not None and len(roll.listed) == 2 and not roll.expired
    nearest = min(option.expiry.expiry_ns for option in market.options)
    market.retire()
    roll = market.advance(NOW + 2 * 10**9)
    assert roll is not None and {option.expiry.expiry_ns for option in roll.expired} == {nearest}
    assert len(market.expiries["BTC"]) == 2 and market.advance(NOW + 3 * 10**9) is None
