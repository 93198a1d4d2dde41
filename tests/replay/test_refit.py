"""Refit: the stored quotes through other settings, beside what was published, and back to the same with the same."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from live_run import LiveRun
from rich.console import Console

from volsurface.commands.refit import refit_history
from volsurface.engine.refit import chain_of
from volsurface.engine.replay import Replay
from volsurface.errors import HistoryError, SettingsError
from volsurface.io.history.reader import History
from volsurface.io.recording_reader import Recording
from volsurface.settings import Settings
from volsurface.surface.certificate import verify


@pytest.fixture(scope="module")
def data(live: LiveRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the history of the recorded market."""
    folder = tmp_path_factory.mktemp("data")
    asyncio.run(Replay(Recording(live.folder), Settings(), store=folder / "history" / "replay-live").run())
    return folder


def refitted(data: Path, capsys: pytest.CaptureFixture[str], text: str, **how: object) -> dict:
    preset = data / "other.toml"
    preset.write_text(text)
    arguments: dict = {
        "source": "replay-live", "since": None, "until": None, "every_s": 0.5, "underlyings": [], "write": True
    }  # fmt: skip
    assert refit_history(Console(), data, settings_file=preset, as_json=True, **(arguments | how)) == 0
    [found] = json.loads(capsys.readouterr().out)
    return found


def test_other_settings_give_other_surfaces_in_a_store_of_their_own(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = refitted(data, capsys, '[fit]\nweighting = "equal"\nrobust = false\n')
    assert found["underlying"] == "BTC"
    stored, other = found["stored"], found["refitted"]
    assert stored["surfaces"] == other["surfaces"] >= 2
    assert other["violations"] == stored["violations"] == 0
    assert 0.5 < other["inside_spread"] <= 1.0
    assert other["rmse_bp"] > 0.0
    assert {(row["metric"], row["days"]) for row in found["metrics"]} >= {("atm_vol", 30.0), ("rr25", 90.0)}
    assert any(row["largest_bp"] > 0.0 for row in found["metrics"])
    with History(data / "history", "refit-other") as history:
        times = history.sql("SELECT ts, underlying, digest FROM surfaces ORDER BY ts")
        assert len(times) == other["surfaces"]
        surface = history.surface_at(times["ts"][-1].astype("datetime64[ns]").astype(int).item(), "BTC")
        assert surface.digest == times["digest"][-1]
        assert verify(surface).ok
        assert "equal" in history.sql("SELECT values FROM settings")["values"][0]
    again = refitted(data, capsys, '[fit]\nweighting = "equal"\nrobust = false\n')
    assert again == found, "a second run replaces the first"


def test_the_same_settings_stay_within_what_a_stored_quote_can_say(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quotes are stored once a second: refitted with the same settings, surfaces differ by the ticks in between."""
    same = refitted(data, capsys, "[fit]\nrobust = false\n", write=False)
    other = refitted(data, capsys, '[fit]\nrobust = false\nspread_floor_bp = 500.0\nweighting = "equal"\n', write=False)

    def moved(found: dict) -> float:
        return float(np.mean([row["mean_abs_bp"] for row in found["metrics"]]))

    assert moved(same) < moved(other)


def test_a_chain_of_the_history_is_the_market_of_that_time(data: Path) -> None:
    with History(data / "history", "replay-live") as history:
        last = history.sql("SELECT epoch_ns(max(ts)) AS t FROM quotes")["t"][0]
        chain = chain_of(history, int(last), "BTC")
        assert len(chain) > 500
        assert np.isfinite(chain.forward).all()
        assert (chain.quote_time_ns <= chain.time_ns).all()
        with pytest.raises(HistoryError, match="no live quote of DOGE"):
            chain_of(history, int(last), "DOGE")


def test_mistakes_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for how, error, words in (
        ({"since": "yesterday"}, SettingsError, "--since wants a time like .*90m, 2h, 7d"),
        ({"underlyings": ["BTX"]}, SettingsError, "did you mean 'BTC'"),
        ({"every_s": 0.0}, SettingsError, "--every"),
        ({"since": "2030-01-01T00:00:00Z"}, HistoryError, "no surface of BTC in that time"),
        ({"source": "liv"}, HistoryError, "liv"),
    ):
        with pytest.raises(error, match=words):
            refitted(data, capsys, "[fit]\nrobust = false\n", **how)
    with pytest.raises(SettingsError, match="weighting"):
        refitted(data, capsys, '[fit]\nweighting = "heavy"\n')
