"""What a trial is asked with: settings are checked as a change would be, and those in force stay."""

from typing import Any

import pytest
from scripted_market import publication

from volsurface.engine.candidate import answer
from volsurface.errors import SettingsError
from volsurface.settings import Settings
from volsurface.surface.options import FitOptions
from volsurface.surface.surface import Surface


class Fits:
    """Notes the options asked for and answers with two known surfaces."""

    def __init__(self, empty: bool = False) -> None:
        self.asked: list[FitOptions] = []
        self.pair = None if empty else (publication(phase=0.0).surface, publication(phase=1.0).surface)

    async def __call__(self, underlying: str, options: FitOptions) -> tuple[Surface, Surface] | None:
        self.asked.append(options)
        return self.pair


async def test_both_surfaces_come_back_bit_for_bit_and_settings_stay() -> None:
    settings, fits = Settings({"fit": {"min_quotes": 9}}), Fits()
    reply = await answer({"underlying": "BTC", "fit": {"max_spread_points": 20.0}}, settings, {"BTC": None}, fits)
    assert fits.pair is not None
    assert [Surface.from_dict(reply[name]).digest for name in ("live", "candidate")] == [s.digest for s in fits.pair]
    assert (fits.asked[0].max_spread, fits.asked[0].min_quotes) == (0.2, 9)
    assert settings.fit.max_spread_points == 50.0


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            {"underlying": "BTC", "fit": {"min_quotes": 99}},
            "min_quotes = 99 is refused; allowed: a whole number from 3",
        ),
        ({"underlying": "BTC", "fit": {"min_quote": 9}}, "min_quotes"),
        ({"underlying": "DOGE", "fit": {}}, "underlying 'DOGE'"),
        ({"underlying": "BTC"}, "names an underlying and fit settings"),
        ("x", "names an underlying and fit settings"),
    ],
)
async def test_what_is_not_allowed_is_refused_in_words(request_: Any, words: str) -> None:
    fits = Fits()
    with pytest.raises(SettingsError, match=words):
        await answer(request_, Settings(), {"BTC": None}, fits)
    assert not fits.asked


async def test_an_underlying_without_instruments_says_so() -> None:
    with pytest.raises(SettingsError, match="no listed instrument"):
        await answer({"underlying": "BTC", "fit": {}}, Settings(), {"BTC": None}, Fits(empty=True))
