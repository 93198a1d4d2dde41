"""`volsurface record` and `volsurface replay` as a user types them."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from live_run import LiveRun
from rich.console import Console

from volsurface.commands.record import record_market, replay_recording
from volsurface.errors import VolSurfaceError


def test_record_then_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "volsurface"]
    arguments = [
        "record",
        str(tmp_path / "rec"),
        "--seconds",
        "1.5",
        "--rate",
        "500",
        "--underlyings",
        "BTC",
        "--no-fit",
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "`volsurface replay" in done.stdout.replace("\n", " ")
    assert replay_recording(Console(), tmp_path / "rec", "max", None, None, None, True, True) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["same"]
    assert not outcome["recorded_steps"]
    assert outcome["messages"] > 100
    assert outcome["rows_checked"] >= 1


def replayed(folder: Path, speed: str = "max", since: str | None = None) -> str:
    text = io.StringIO()
    assert replay_recording(Console(file=text, width=140), folder, speed, since, None, None, True, False) == 0
    return text.getvalue()


def test_replay_prints_what_it_compared(live: LiveRun) -> None:
    out = replayed(live.folder)
    assert f"all {len(live.published)} equal" in out
    assert "differ" not in out
    assert "x real time" in out


def test_mistakes_are_named(live: LiveRun, tmp_path: Path) -> None:
    with pytest.raises(VolSurfaceError, match="holds no recording"):
        replayed(tmp_path)
    with pytest.raises(VolSurfaceError, match="--speed is a number above 0, or max"):
        replayed(live.folder, speed="quick")
    with pytest.raises(VolSurfaceError, match="is not in the recording"):
        replayed(live.folder, since="2020-01-01T00:00:00Z")
    with pytest.raises(VolSurfaceError, match="cannot record in"):
        record_market(Console(file=io.StringIO()), Path("/proc/nowhere"), {"underlyings": ["BTC"]}, 1.0, False)
