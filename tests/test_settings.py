"""Settings: every one has bounds and help, files and flags overlay the defaults, and a mistake is refused with a sentence."""

from pathlib import Path

import param
import pytest

from volsurface.errors import SettingsError
from volsurface.settings import (
    SECTIONS,
    Settings,
    allowed,
    load_settings,
    read_settings_file,
    setting_names,
    write_settings_file,
)

EVERY = [(section, name) for section in SECTIONS for name in setting_names(section)]


@pytest.mark.parametrize(("section", "name"), EVERY)
def test_each_setting_says_what_it_does_and_what_it_may_be(section: str, name: str) -> None:
    parameter = SECTIONS[section].param[name]
    assert parameter.doc, f"{section}.{name} has no help"
    assert allowed(parameter)
    if isinstance(parameter, param.Number) and not isinstance(parameter, param.Boolean):
        low, high = parameter.bounds
        assert low is not None, f"{section}.{name} has no lower bound"
        assert (high is None) == (name == "seed")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fit": {"min_quote": 3}}, ["did you mean 'min_quotes'"]),
        ({"fits": {}}, ["did you mean 'fit'"]),
        ({"fit": {"min_quotes": 2}}, ["fit.min_quotes = 2", "from 3 to 40"]),
        ({"fit": {"min_quotes": float("nan")}}, ["must be a number"]),
        ({"fit": {"min_quotes": True}}, ["must be a number"]),
        ({"fit": {"robust": "yes"}}, ["true or false"]),
        ({"fit": {"weighting": "volume"}}, ["spread, equal, vega"]),
        ({"market": {"venues": "deribit"}}, ["a list of names"]),
        ({"fit": 3}, ["must be a table"]),
    ],
)
def test_a_wrong_value_is_refused_and_nothing_changes(values: dict, words: list[str]) -> None:
    settings = Settings()
    before = settings.values()
    with pytest.raises(SettingsError) as error:
        settings.update({"thresholds": {"stale_s": 77.0}, **values})
    for word in words:
        assert word in str(error.value)
    assert settings.values() == before
    assert settings.version == 0


def test_a_change_counts_versions_and_reaches_the_options() -> None:
    settings = Settings()
    assert settings.update({"fit": {"min_quotes": 9, "spread_floor_bp": 30.0}}) == 1
    options = settings.fit.options()
    assert options.min_quotes == 9
    assert options.spread_floor == pytest.approx(0.003)
    assert options.max_spread == pytest.approx(0.5)


def test_file_then_flags(tmp_path: Path) -> None:
    write_settings_file(tmp_path / "volsurface.toml", {"fit": {"min_quotes": 8}, "market": {"rate": 50.0}})
    settings = load_settings(tmp_path, flags={"market": {"rate": 70.0}})
    assert settings.fit.min_quotes == 8
    assert settings.market.rate == 70.0


def test_all_values_survive_a_file(tmp_path: Path) -> None:
    settings = Settings({"fit": {"weighting": "vega"}, "market": {"venues": ["deribit"]}})
    write_settings_file(tmp_path / "preset.toml", settings.values())
    assert Settings(read_settings_file(tmp_path / "preset.toml")).values() == settings.values()


def test_a_file_that_is_not_toml_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("fit = = 3")
    with pytest.raises(SettingsError, match=r"bad\.toml is not valid TOML"):
        read_settings_file(tmp_path / "bad.toml")
    with pytest.raises(SettingsError, match="cannot read settings file"):
        load_settings(tmp_path, config=tmp_path / "absent.toml")
