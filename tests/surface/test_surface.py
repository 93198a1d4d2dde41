import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from made_chains import NOW_NS, SMILES, made_smile

from volsurface.surface import price_mixing
from volsurface.surface.certificate import Certificate, Verdict
from volsurface.surface.instants import to_iso
from volsurface.surface.surface import Surface

OK = Verdict("ok", 0.1, 0.25, False, None)
BAD = Verdict("violated", 2.5, -0.125, True, (1.0 / 3.0, math.inf))


def surface(**fields) -> Surface:
    smiles = tuple(made_smile(parameters, days, forward) for days, forward, parameters in SMILES)
    values = {
        "underlying": "BTC",
        "valuation_time_ns": NOW_NS,
        "smiles": smiles,
        "certificate": Certificate.of((OK, OK, OK), (OK, BAD)),
        "state": "fallback",
        "state_reason": "far from the quotes",
    }
    return Surface(**(values | fields))


def test_json_returns_every_bit():
    rng = np.random.default_rng(3)
    for _ in range(50):
        smiles = tuple(
            made_smile(
                rng.standard_normal(5) * 10.0 ** rng.integers(-8, 2), days, forward * rng.random(), years=rng.random()
            )
            for days, forward, _ in SMILES
        )
        before = surface(smiles=smiles)
        after = Surface.from_dict(json.loads(json.dumps(before.to_dict(), allow_nan=False)))
        assert after == before
        assert after.digest == before.digest


def test_a_record_of_before_reasons_were_written_still_loads():
    record = surface().to_dict()
    del record["state_reason"]
    record["state"] = "failed"
    old = Surface.from_dict(record)
    assert (old.state, old.state_reason) == ("failed", "")


def test_the_record_has_the_documented_keys():
    record = surface().to_dict()
    assert set(record) == {"underlying", "valuation_time", "state", "state_reason", "smiles", "certificate"}
    smile = record["smiles"][0]
    documented = "expiry years forward forward_source svi n_quotes n_rejected inside_spread rmse_bp state".split()
    assert set(documented) <= set(smile)
    assert list(smile["svi"]) == ["a", "b", "rho", "m", "sigma"]
    assert record["valuation_time"] == "2026-05-25T07:21:31.450623Z"
    assert record["certificate"]["calendar"][1] == {
        "verdict": "violated",
        "k": 2.5,
        "margin": -0.125,
        "exact": True,
        "interval": [1.0 / 3.0, None],
    }


def test_the_digest_is_stable_over_versions_of_the_program():
    # A change of this number is a change of the rule in `Surface.digest`: stored digests then mean nothing.
    assert surface().digest == surface().digest
    assert surface().digest == "6f6a6f3613b80f2e41003a466361c3219ea884ce1efb0808491cfe8bc9dcde40"


def test_the_digest_sees_what_was_decided_and_not_when_or_how_well():
    before = surface()
    first, *others = before.smiles
    for same in (
        replace(first, fit_time_ns=1),
        replace(first, rmse_bp=1.0, inside_spread=0.5, n_quotes=7),
        replace(first, method="repaired"),
    ):
        assert surface(smiles=(same, *others)).digest == before.digest
    a, *rest = first.parameters
    for other in (
        replace(first, parameters=(math.nextafter(a, 1), *rest)),
        replace(first, forward=math.nextafter(first.forward, 1)),
        replace(first, forward_source="parity"),
        replace(first, state="stale"),
        replace(first, expiry_ns=first.expiry_ns + 1),
        replace(first, quote_time_ns=first.quote_time_ns + 1),
    ):
        assert surface(smiles=(other, *others)).digest != before.digest
    assert surface(valuation_time_ns=NOW_NS + 1).digest != before.digest
    assert surface(underlying="ETH").digest != before.digest
    assert surface(certificate=Certificate.of((OK, OK, OK), (OK, OK))).digest != before.digest


def test_vol_at_and_between_expiries():
    whole = surface()
    one, two = whole.smiles[:2]
    assert whole.vol(95_000.0, one.expiry_ns) == one.vol(95_000.0)
    assert whole.vol(95_000.0, to_iso(one.expiry_ns)) == one.vol(95_000.0)
    middle = (one.expiry_ns + two.expiry_ns) // 2
    years = whole.years(middle)
    forward = math.sqrt(one.forward * two.forward)
    w = 0.5 * (one.total_variance(0.05) + two.total_variance(0.05))
    strike = forward * math.exp(0.05)
    assert whole.vol(strike, middle, method="linear_variance") == pytest.approx(math.sqrt(w / years), rel=1e-9)
    mixed = price_mixing.mix(one, two, years).total_variance(0.05)
    assert whole.vol(strike, middle) == pytest.approx(math.sqrt(mixed / years), rel=1e-9)
    with pytest.raises(ValueError, match="method is one of price_mixing, linear_variance, found 'cubic'"):
        whole.vol(strike, middle, method="cubic")
    when = datetime.fromtimestamp(middle / 1e9, UTC)
    assert whole.vol(90_000.0, when) == pytest.approx(whole.vol(90_000.0, middle), rel=1e-6)
    with pytest.raises(ValueError, match="must be positive"):
        whole.vol(90_000.0, NOW_NS - 1)


def quoted(low, high, **fields):
    smiles = tuple(
        made_smile(parameters, days, forward, quoted_k=(low * (i + 1), high * (i + 1)))
        for i, (days, forward, parameters) in enumerate(SMILES)
    )
    return surface(smiles=smiles, certificate=Certificate.of((OK, OK, OK), (OK, OK)), **fields)


def test_each_region_is_told():
    whole = quoted(-0.1, 0.1)
    one, two = whole.smiles[:2]
    at = [one.forward * math.exp(k) for k in (0.0, 0.15, -0.15)]
    node = whole.region(np.array(at), one.expiry_ns)
    assert node.inside_quotes.tolist() == [True, False, False]
    assert node.extrapolated_strike.tolist() == [False, True, True]
    assert (node.between_nodes, node.extrapolated_time, node.proved) == (False, False, True)
    assert whole.region(two.forward * math.exp(0.15), two.expiry_ns).inside_quotes

    # between two expiries a strike is quoted where both quote it
    middle = (one.expiry_ns + two.expiry_ns) // 2
    between = whole.region(np.array(at), middle)
    assert between.inside_quotes.tolist() == [True, False, False]
    assert between.between_nodes and between.proved
    assert not whole.region(at[0], middle, method="linear_variance").proved

    early = whole.region(at[0], (NOW_NS + one.expiry_ns) // 2)
    late = whole.region(at[0], whole.smiles[-1].expiry_ns + 40 * 86400 * 10**9)
    for each in (early, late):
        assert each.extrapolated_time and each.proved and not each.between_nodes
        assert not each.inside_quotes
    uncertified = replace(whole, certificate=surface().certificate)
    assert not uncertified.region(at[0], middle).proved


def test_a_smile_that_does_not_know_its_quotes_claims_nothing():
    region = surface().region(100_000.0, surface().smiles[0].expiry_ns)
    assert not region.inside_quotes
    assert not region.extrapolated_strike


def test_the_quoted_strikes_travel():
    before = quoted(-0.1, 1 / 3)
    assert Surface.from_dict(json.loads(json.dumps(before.to_dict()))) == before
    record = before.to_dict()
    del record["smiles"][0]["quoted_k"]  # written by an earlier version
    assert Surface.from_dict(record).smiles[0].quoted_k is None


def test_forward_vol_is_that_of_the_variance_gained():
    whole = surface()
    one, two = whole.smiles[:2]
    gained = two.total_variance(0.0) - one.total_variance(0.0)
    assert whole.forward_vol(one.expiry_ns, two.expiry_ns) == pytest.approx(math.sqrt(gained / (two.years - one.years)))
    assert whole.forward_vol(NOW_NS, two.expiry_ns) == pytest.approx(two.atm_vol)
    assert whole.forward_vol(one.expiry_ns, two.expiry_ns, 0.1) != whole.forward_vol(one.expiry_ns, two.expiry_ns)
    with pytest.raises(ValueError, match="0 <= early < late"):
        whole.forward_vol(two.expiry_ns, one.expiry_ns)


def test_constant_tenor_at_an_expiry_is_that_expiry():
    whole = surface()
    tenor, smile = whole.constant_tenor(30.0), whole.smiles[1]
    assert tenor.region == "node"
    assert tenor.atm_vol == pytest.approx(smile.atm_vol)
    assert tenor.rr25 == pytest.approx(smile.risk_reversal(0.25))
    assert tenor.bf10 == pytest.approx(smile.butterfly(0.10))
    assert tenor.skew == pytest.approx(smile.skew)
    between = whole.constant_tenor(60.0)
    assert between.region == "between_nodes"
    assert whole.smiles[2].atm_vol != between.atm_vol != smile.atm_vol


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda r: r.update(state="fine"), "unknown state 'fine'"),
        (lambda r: r["smiles"][0].update(model="ssvi"), "unknown smile model 'ssvi'"),
        (lambda r: r["smiles"][0]["svi"].update(a="0.1"), "a must be a finite number, found '0.1'"),
        (lambda r: r["smiles"][0].update(forward=float("nan")), "forward must be a finite number, found nan"),
        (lambda r: r.update(valuation_time="noon"), "noon"),
        (lambda r: r.pop("certificate"), "certificate"),
    ],
)
def test_a_spoilt_record_is_refused_with_what_was_found(spoil, said):
    record = surface().to_dict()
    spoil(record)
    with pytest.raises((ValueError, KeyError), match=said):
        Surface.from_dict(record)


def test_no_numba_is_needed_to_hold_a_surface():
    import subprocess
    import sys

    code = "import sys, volsurface.surface.surface; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
