"""The history's benchmarks run, and count what they wrote."""

from pathlib import Path

import pytest

from volsurface.bench import history, history_year
from volsurface.bench.history_market import INSTRUMENTS


def test_a_minute_of_the_made_up_market_are_written_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "QUESTIONS", 2)
    figures = history.run(tmp_path / "simulated", 70)
    assert figures["rows"] >= 70 * INSTRUMENTS
    assert figures["surface_at_ms_p50"] > 0
    assert figures["metric_of_a_day_ms_p50"] > 0


def test_a_scaled_day_is_a_thousandth_of_a_real_one(tmp_path: Path) -> None:
    sizes = history_year.run(tmp_path / "live", days=1)
    assert 3e5 < sizes["largest"] < 5e6, "a real day is about 0.7 GB"
    assert sizes["quotes_days"] == sizes["surfaces_days"] == 1
