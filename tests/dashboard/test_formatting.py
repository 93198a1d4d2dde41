"""How numbers are written."""

import doctest
import math

import pytest

from volsurface.dashboard import formatting


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(formatting).failed == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0444, "44 ms"),
        (3.24, "3.2 s"),
        (14.9, "14 s"),
        (75, "1 min 15 s"),
        (3700, "1 h 1 min"),
        (90000, "1 d 1 h"),
        (-1, "0 ms"),
    ],
)
def test_ages_are_words(seconds: float, words: str) -> None:
    assert formatting.duration(seconds) == words


def test_missing_numbers_are_dashes_never_zeros() -> None:
    for write in (
        formatting.vol_percent, formatting.signed_percent, formatting.basis_points, formatting.price,
        formatting.duration, formatting.rate, formatting.clock_time, formatting.utc_time,
    ):  # fmt: skip
        assert write(None) == "–"
    assert formatting.vol_percent(math.inf) == "–"


def test_signs_and_places() -> None:
    assert formatting.signed_percent(-0.0565) == "−5.65"
    assert formatting.signed_percent(0.0243) == "+2.43"
    assert formatting.basis_points(14.04) == "14.0"
    assert formatting.price(97412.5) == "97,412.5"
    assert formatting.price(2.31) == "2.3100"


def test_expiries_of_one_day_keep_their_hour() -> None:
    noon = 1_766_736_000_000_000_000
    labels = formatting.expiry_labels([noon, noon + 4 * 3_600_000_000_000, noon + 86_400_000_000_000])
    assert labels == ["26DEC25 08h", "26DEC25 12h", "27DEC25"]
    assert formatting.short_labels(labels) == ["26DEC25 08h", "26DEC25 12h", "27DEC"]
    year = 365 * 86_400_000_000_000
    assert formatting.short_labels(formatting.expiry_labels([noon, noon + year])) == ["26DEC25", "26DEC26"]
