"""Live against its own recording, and a recording against itself: the same rows, the same surfaces, at any speed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from live_run import LiveRun

from volsurface.engine.replay import Outcome, Replay
from volsurface.errors import RecordingError
from volsurface.io.history.reader import History
from volsurface.io.recording import PUBLISHED, SETTINGS, START, STEP
from volsurface.io.recording_reader import Recording
from volsurface.settings import Settings
from volsurface.surface.certificate import verify


def replayed(folder: Path, **how: Any) -> Outcome:
    return asyncio.run(Replay(Recording(folder), Settings(), **how).run())


def test_live_and_two_replays_are_the_same(live: LiveRun) -> None:
    first, second = replayed(live.folder), replayed(live.folder)
    print(f"rows     {first.rows_digest}\n         {second.rows_digest}")
    print(f"surfaces {first.surfaces_digest}\n         {second.surfaces_digest}")
    assert first.rows_digest == second.rows_digest
    assert first.surfaces_digest == second.surfaces_digest
    for outcome in (first, second):
        assert outcome.same, outcome.notes
        assert outcome.surfaces == outcome.surfaces_checked == len(live.published) > 25
        assert outcome.rows_checked >= 2
        assert outcome.sent >= 10
        assert outcome.messages > 1000
        assert not outcome.notes


def test_the_live_run_held_what_makes_it_hard(live: LiveRun) -> None:
    kinds = [kind for kind, _, _, _ in Recording(live.folder).records("engine")]
    assert SETTINGS in kinds
    assert kinds[0] == START
    assert kinds.count(PUBLISHED) == len(live.published)
    steps = kinds.count(STEP)
    assert steps >= len(live.published)
    starts = [kind for kind, _, _, _ in Recording(live.folder).records("feed") if kind == START]
    assert len(starts) == 2, "the feed was started twice"


@pytest.mark.parametrize("speed", [40.0, 5.0])
def test_steps_by_recorded_time_do_not_depend_on_the_speed(plain: Path, speed: float) -> None:
    fast = replayed(plain)
    paced = replayed(plain, speed=speed)
    assert not fast.recorded_steps
    assert fast.surfaces > 5
    assert (paced.rows_digest, paced.surfaces_digest) == (fast.rows_digest, fast.surfaces_digest)
    assert paced.wall_s >= fast.market_s / speed * 0.9


def test_rows_alone_are_the_same_rows(live: LiveRun) -> None:
    outcome = replayed(live.folder, fit=False)
    assert outcome.same
    assert outcome.surfaces == outcome.steps == 0
    assert outcome.rows_checked >= 2
    assert outcome.rows_digest == replayed(live.folder, fit=False, speed=30.0).rows_digest


def test_from_a_later_time_it_fits_only_what_follows(live: LiveRun) -> None:
    first_ns, last_ns = Recording(live.folder).span_ns()
    whole, part = replayed(live.folder), replayed(live.folder, since_ns=(first_ns + last_ns) // 2)
    assert 0 < part.surfaces < whole.surfaces
    assert part.surfaces_checked == part.surfaces_different == 0
    assert "not compared" in part.notes[-1]


def test_its_history_is_a_store_of_its_own(live: LiveRun, tmp_path: Path) -> None:
    store = tmp_path / "history" / "replay-recording"
    outcome = replayed(live.folder, store=store)
    assert outcome.same
    with History(store) as history:
        counts = history.sql("SELECT count(*) AS n, count(DISTINCT ts) AS times FROM surfaces")
        assert counts["n"][0] == counts["times"][0] >= 3
        assert history.sql("SELECT count(*) AS n FROM quotes")["n"][0] > 100
        last = Recording(live.folder).span_ns()[1]
        surface = history.surface_at(last, "BTC")
        assert surface.digest in {digest for _, digest in live.published}
        assert verify(surface).ok


def test_a_missing_frame_is_noticed(live: LiveRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: one ticker of a thousand is left out."""
    entries = list(Recording(live.folder).records("feed"))
    tickers = [i for i, (_, _, _, payload) in enumerate(entries) if b'"channel":"ticker.' in payload]
    del entries[tickers[len(tickers) // 3]]
    records = Recording.records
    monkeypatch.setattr(
        Recording, "records", lambda self, stream: iter(entries) if stream == "feed" else records(self, stream)
    )
    outcome = replayed(live.folder)
    assert not outcome.same
    assert outcome.rows_different


def test_a_folder_without_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"holds no recording.*volsurface record"):
        replayed(tmp_path)
    with pytest.raises(RecordingError, match="cannot read the recording"):
        replayed(tmp_path / "nowhere")
