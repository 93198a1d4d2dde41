"""One surface from five venues: nearer to the truth than any of them alone, and not led astray by one that is wrong."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from volsurface.engine.chain_fit import ChainFit, fit_chain
from volsurface.market.chain import Chain
from volsurface.simulator.chain import NOON_NS, joined, venue_chain
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.venue_profiles import PROFILES, venue_profile
from volsurface.surface.options import FitOptions
from volsurface.surface.quoted import REASONS

S = 1_000_000_000
VENUES = tuple(PROFILES)
WITHIN_BP = 15.0  # median error of the composite


def market_of(venue: str, coin: str, seed: int) -> VenueMarket:
    """A venue's market some minutes after its start: its quotes lean by then, each venue's in its own way."""
    market = VenueMarket((coin,), seed, NOON_NS, venue_profile(venue))
    market.advance(NOON_NS + 300 * S)
    for option in market.options:
        market.move_book(option)
    return market


def true_forward(market: VenueMarket, coin: str, expiry_ns: int) -> float:
    smiles = market.smiles[coin]
    return float(smiles.forward[np.searchsorted(smiles.expiry_ns, expiry_ns)])


def errors_bp(fit: ChainFit, market: VenueMarket) -> np.ndarray:
    """Distance of the fitted from the true vol at every option within two standard deviations, at its true moneyness."""
    smiles = {smile.expiry_ns: smile for smile in fit.surface.smiles}
    found = []
    for option in market.options:
        smile = smiles.get(option.expiry.expiry_ns)
        truth = market.true_vol(option)
        if smile is not None:
            k = np.log(option.strike / true_forward(market, option.underlying, option.expiry.expiry_ns))
            if abs(k) < 2.0 * truth * np.sqrt(smile.years):
                found.append(abs(float(smile.vol_at(np.array([k]))[0]) - truth) * 1e4)
    return np.array(found)


@pytest.fixture(scope="module")
def markets() -> dict[str, VenueMarket]:
    return {venue: market_of(venue, "BTC", 1) for venue in VENUES}


@pytest.fixture(scope="module")
def chains(markets: dict[str, VenueMarket]) -> list[Chain]:
    return [venue_chain(markets[venue], "BTC") for venue in VENUES]


def used_by_venue(fit: ChainFit) -> dict[str, int]:
    return {venue: int((fit.quotes.used & (fit.quotes.venue == i)).sum()) for i, venue in enumerate(fit.quotes.venues)}


def reasons_of(fit: ChainFit, venue: str) -> set[str]:
    mine = fit.quotes.venue == fit.quotes.venues.index(venue)
    return {REASONS[code] for code in np.unique(fit.quotes.reason[mine])}


def test_the_composite_recovers_the_truth_better_than_any_venue():
    errors: dict[str, list[np.ndarray]] = {name: [] for name in (*VENUES, "composite")}
    for coin, seed in (("BTC", 1), ("ETH", 1), ("BTC", 2), ("ETH", 2)):
        markets = {venue: market_of(venue, coin, seed) for venue in VENUES}
        chains = {venue: venue_chain(market, coin) for venue, market in markets.items()}
        for venue in VENUES:
            errors[venue].append(errors_bp(fit_chain(chains[venue]), markets["deribit"]))
        errors["composite"].append(errors_bp(fit_chain(joined(list(chains.values()))), markets["deribit"]))
    table = {name: np.concatenate(parts) for name, parts in errors.items()}
    print("\nerror against the true vol, bp    median      p90")
    for name, found in table.items():
        print(f"{name:30s} {np.median(found):9.2f} {np.percentile(found, 90):8.2f}")
    medians = {name: float(np.median(found)) for name, found in table.items()}
    together = medians.pop("composite")
    assert together < WITHIN_BP
    assert together < min(medians.values())


def test_one_venue_alone_is_fitted_as_ever(chains):
    fit = fit_chain(chains[0])
    assert fit.surface.state == "certified"
    assert np.all(fit.quotes.emphasis == 1.0)


def test_the_basis_of_each_venue_is_found_and_its_vols_are_on_its_own_forward(chains, markets):
    fit = fit_chain(joined(chains))
    quotes = fit.quotes
    for i, venue in enumerate(quotes.venues):
        own = quotes.strike * np.exp(-quotes.k)
        for smile in fit.surface.smiles:
            mine = (quotes.venue == i) & (quotes.expiry_ns == smile.expiry_ns)
            if mine.any():
                forward = true_forward(markets[venue], "BTC", smile.expiry_ns)
                # Binance tells only its index: its forward is found by parity in marks of six digits.
                assert own[mine] == pytest.approx(forward, rel=3e-5), venue
                residual = np.median((quotes.mid_vol - quotes.fit_vol)[mine & quotes.used]) * 1e4
                assert abs(residual) < 80.0, (venue, smile.years)


def shifted(chain: Chain, vols: float) -> Chain:
    """Move every price as if all vols were higher by `vols`, about: prices of what is out of the money by vega."""
    forward = np.nan_to_num(chain.forward, nan=float(np.nanmedian(chain.forward)))
    years = (chain.expiry_ns - chain.time_ns) / (365 * 86400 * S)
    d = np.log(forward / chain.strike) / (0.6 * np.sqrt(years))
    vega = np.sqrt(years) * np.exp(-0.5 * d * d) / np.sqrt(2 * np.pi) * np.where(chain.inverse, 1.0, forward)
    return replace(chain, bid=chain.bid + vols * vega, ask=chain.ask + vols * vega, mark=chain.mark + vols * vega)


def frozen(chain: Chain, seconds: int) -> Chain:
    return replace(chain, quote_time_ns=chain.quote_time_ns - seconds * S)


@pytest.mark.parametrize("wrong", VENUES)
def test_a_venue_off_the_market_leaves_the_fit_and_says_so(chains, markets, wrong):
    spoiled = [shifted(chain, 0.15) if chain.venue[0] == wrong else chain for chain in chains]
    fit, honest = fit_chain(joined(spoiled)), fit_chain(joined(chains))
    assert "off_market" in reasons_of(fit, wrong)
    assert used_by_venue(fit)[wrong] < 0.35 * used_by_venue(honest)[wrong]
    assert all("off_market" not in reasons_of(fit, venue) for venue in VENUES if venue != wrong)
    assert np.median(errors_bp(fit, markets["deribit"])) < WITHIN_BP


def test_a_venue_whose_books_are_locked_leaves_the_fit_and_says_so(chains):
    okx = chains[1]
    generator = np.random.default_rng(1)
    locked = replace(okx, ask=np.where(generator.random(len(okx)) < 0.8, okx.bid, okx.ask))
    fit = fit_chain(joined([chains[0], locked, *chains[2:]]))
    assert "venue_locked" in reasons_of(fit, "okx")
    assert used_by_venue(fit)["okx"] == 0


def test_a_silent_venue_is_shown_and_not_used(chains):
    fit = fit_chain(joined(chains), FitOptions(silent_venues=("deribit",)))
    assert used_by_venue(fit)["deribit"] == 0
    assert reasons_of(fit, "deribit") <= {"venue_stale", "bad_time", "no_forward"}
    assert np.isfinite(fit.quotes.mid_vol[fit.quotes.venue == 0]).sum() > 100, "its last quotes are still vols"
    assert fit.surface.state == "certified"


def test_old_quotes_count_less_and_then_not_at_all(chains):
    fresh, old = fit_chain(joined(chains)), fit_chain(joined([frozen(chains[0], 55), *chains[1:]]))
    mine = fresh.quotes.used & old.quotes.used & (old.quotes.venue == 0)
    assert mine.any()
    assert np.all(old.quotes.emphasis[mine] < 0.6 * fresh.quotes.emphasis[mine])
    gone = fit_chain(joined([frozen(chains[0], 300), *chains[1:]]))
    assert used_by_venue(gone)["deribit"] == 0


@pytest.mark.parametrize("kept", [("binance",), ("binance", "okx"), ("okx", "bybit", "derive")])
def test_any_venues_make_a_surface(chains, kept: Sequence[str]):
    options = FitOptions(excluded_venues=tuple(venue for venue in VENUES if venue not in kept))
    fit = fit_chain(joined(chains), options)
    assert fit.surface.state == "certified"
    assert {venue for venue, count in used_by_venue(fit).items() if count} == set(kept)
    assert "venue_excluded" in reasons_of(fit, "deribit")
