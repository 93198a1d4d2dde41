"""Presets: what is saved is read back, and a file that says something else is refused with a sentence."""

from pathlib import Path

import pytest

from volsurface.dashboard.presets import Presets
from volsurface.errors import SettingsError


def test_what_is_saved_is_read_back_and_listed(tmp_path: Path) -> None:
    presets = Presets(tmp_path / "presets")
    assert presets.names() == []
    presets.save("tight", {"max_spread_points": 12.5, "robust": False})
    presets.save("a wide one", {"min_quotes": 4})
    presets.save("tight", {"max_spread_points": 10.0})
    assert presets.names() == ["a wide one", "tight"]
    assert presets.load("tight") == {"max_spread_points": 10.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[fit]\nmin_quote = 4\n", "odd.toml: unknown setting in .fit. 'min_quote'.*min_quotes"),
        ("[fit]\nmin_quotes = 400\n", "min_quotes = 400 is refused; allowed: a whole number from 3 to 40"),
        ("[fit]\nmin_quotes = 4\n[market]\nrate = 5\n", "one table, .fit.; found market as well"),
        ("[fit\n", "odd.toml is not valid TOML"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        Presets(tmp_path).load("odd")


def test_names_and_values_that_could_not_be_read_back_are_not_written(tmp_path: Path) -> None:
    presets = Presets(tmp_path)
    for name in ("../escape", "", ".hidden", "x" * 41):
        with pytest.raises(SettingsError, match="a preset is named"):
            presets.save(name, {"min_quotes": 4})
    with pytest.raises(SettingsError, match="min_quotes = 1 is refused"):
        presets.save("bad", {"min_quotes": 1})
    with pytest.raises(SettingsError, match="cannot read settings file"):
        presets.load("none")
    assert presets.names() == []
