from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from volsurface.simulator.listing import expiry_kinds, expiry_label, listed_expiries, round_step, strikes
from volsurface.simulator.true_surface import TrueSurface


def ns(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 10**9


def labels(now_ns: int) -> list[str]:
    return [expiry_label(expiry) for expiry in expiry_kinds(now_ns)]


def test_expiries_are_those_the_venue_listed_on_two_days_of_2026() -> None:
    assert labels(ns(2026, 5, 13, 17, 23)) == (
        "14MAY26 15MAY26 16MAY26 17MAY26 22MAY26 29MAY26 26JUN26 31JUL26 25SEP26 25DEC26 26MAR27".split()
    )
    assert labels(ns(2026, 5, 20, 7, 50)) == (
        "20MAY26 21MAY26 22MAY26 23MAY26 29MAY26 5JUN26 26JUN26 31JUL26 25SEP26 25DEC26 26MAR27".split()
    )


def test_an_expiry_ends_at_eight_sharp() -> None:
    assert labels(ns(2026, 5, 20, 7, 59))[0] == "20MAY26"
    assert labels(ns(2026, 5, 20, 8, 0))[:4] == ["21MAY26", "22MAY26", "23MAY26", "24MAY26"]


@pytest.mark.parametrize("name", ["BTC", "ETH"])
def test_all_year_the_listing_has_the_size_of_the_real_one(name: str) -> None:
    surface = TrueSurface(name, 11)
    known = ()
    for day in range(0, 400, 3):
        now = ns(2026, 1, 1, 12) + day * 86400 * 10**9
        known = listed_expiries(now, surface.spot, known)
        spot = surface.spot(now)
        assert 11 <= len(known) <= 13
        assert 600 <= 2 * sum(len(expiry.strikes) for expiry in known) <= 1000
        assert 0.65 < (known[-1].expiry_ns - now) / (365 * 86400e9) < 1.1
        for expiry in known:
            assert expiry.expiry_ns % (86400 * 10**9) == 8 * 3600 * 10**9
            assert expiry.listed_ns <= now < expiry.expiry_ns
            assert expiry.strikes[2] < spot < expiry.strikes[-3], "strikes on both sides of the money"


def test_what_is_listed_does_not_depend_on_when_one_looks() -> None:
    spot = TrueSurface("BTC", 3).spot
    now = ns(2026, 3, 4, 5, 6)
    known = ()
    for day in range(40, 0, -1):
        known = listed_expiries(now - day * 86400 * 10**9, spot, known)
    assert listed_expiries(now, spot, known) == listed_expiries(now, spot)


def test_once_listed_always_listed_until_expiry() -> None:
    start = datetime(2026, 1, 1, 8, tzinfo=UTC)
    days = [int((start + timedelta(days=i)).timestamp()) * 10**9 for i in range(400)]
    for today, tomorrow in pairwise(days):
        assert {e for e in expiry_kinds(today) if e > tomorrow} <= set(expiry_kinds(tomorrow))


def test_strikes_are_round_dense_in_the_middle_and_wider_for_longer_expiries() -> None:
    day, quarter = strikes("day", 84_000.0), strikes("quarter", 84_000.0)
    middle = [b - a for a, b in pairwise(day) if abs(a / 84_000 - 1) < 0.02]
    assert set(middle) == {500.0}
    assert quarter[0] < 0.5 * 84_000 and quarter[-1] > 2.5 * 84_000
    assert all(strike % 500 == 0 for strike in day + quarter)
    assert min(strikes("quarter", 2850.0)) > 0


@pytest.mark.parametrize(
    ("step", "rounded"), [(480.0, 500.0), (1100.0, 1000.0), (16.0, 20.0), (27.0, 25.0), (0.8, 1.0)]
)
def test_steps_are_one_two_or_five(step: float, rounded: float) -> None:
    assert round_step(step) == rounded


def test_the_label_has_no_leading_zero() -> None:
    assert expiry_label(ns(2020, 6, 5, 8)) == "5JUN20"
