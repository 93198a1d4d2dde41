"""What is written is read again in order; what is cut, damaged, foreign or refused is named and the rest stays."""

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from live_run import LiveRun

from volsurface.clock import SteppedClock
from volsurface.errors import RecordingError
from volsurface.io import recording
from volsurface.io.recording import END, ENDING, FEED, LOST, MAGIC, RECEIVED, START, RecordedCodec, Recorder, encoded
from volsurface.io.recording_reader import Recording
from volsurface.io.replay import FramePlayer
from volsurface.venues.codec import Codec

T = 1_795_000_000 * 10**9
ENTRY = st.tuples(
    st.sampled_from([RECEIVED, START, LOST]), st.integers(0, 255), st.integers(0, 2**62), st.binary(max_size=300)
)


def written(folder: Path, entries: list, **how: int) -> Recorder:
    recorder = Recorder(folder, FEED, T, **how)
    for entry in entries:
        recorder.note(*entry)
    recorder.close(T + 5)
    return recorder


def read(folder: Path) -> tuple[list, list[str]]:
    found = Recording(folder)
    return list(found.records(FEED)), found.damage


@limits(max_examples=25, deadline=None)
@given(entries=st.lists(ENTRY, max_size=30))
def test_everything_comes_back_in_order(tmp_path_factory: pytest.TempPathFactory, entries: list) -> None:
    folder = tmp_path_factory.mktemp("any")
    recorder = written(folder, entries)
    back, damage = read(folder)
    assert back == [*entries, (END, 0, T + 5, b"")]
    assert not damage
    assert recorder.written_bytes == Recording(folder).size


def test_it_is_rotated_and_read_across_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "WRITE_EVERY_S", 0.001)
    recorder = Recorder(tmp_path, FEED, T, part_bytes=2000)
    entries = [(RECEIVED, 1, T + i, os.urandom(500)) for i in range(20)]
    for entry in entries:
        before = recorder.written_bytes
        recorder.note(*entry)
        while recorder.written_bytes == before:
            time.sleep(0.001)
    recorder.close(T + 5)
    assert len(list(tmp_path.glob(f"feed-*{ENDING}"))) >= 4
    back, damage = read(tmp_path)
    assert back[:-1] == entries
    assert not damage
    sorted(tmp_path.glob("feed-*"))[1].unlink()
    back, damage = read(tmp_path)
    assert 10 < len(back) < 20
    assert any("after a file that is missing" in text for text in damage)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_a_cut_file_is_read_up_to_the_cut(live: LiveRun, tmp_path: Path, keep: float) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(live.folder, folder)
    last = sorted(folder.glob("feed-*"))[-1]
    whole, _ = read(folder)
    last.write_bytes(last.read_bytes()[: int(last.stat().st_size * keep)])
    back, damage = read(folder)
    assert back == whole[: len(back)]
    assert 0 < len(back) < len(whole)
    assert len(damage) == 1
    assert last.name in damage[0] and "read up to there" in damage[0]
    player = FramePlayer(Recording(folder), SteppedClock(0))
    player.play_until(1 << 62)
    assert player.messages > 0
    assert player.different == player.errors == 0


def test_a_damaged_file_does_not_take_the_next_with_it(live: LiveRun, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(live.folder, folder)
    first = sorted(folder.glob("feed-*"))[0]
    data = bytearray(first.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    first.write_bytes(data)
    (folder / f"feed-{T}-zero{ENDING}").write_bytes(b"?")
    (folder / f"feed-{9 * T}-0000{ENDING}").write_bytes(b"no recording at all")
    (folder / "notes.txt").write_text("kept by hand")
    back, damage = read(folder)
    assert [kind for kind, _, _, _ in back].count(START) == 2, "the second run of the feed is still there"
    assert len(damage) == 3
    assert any("is not named" in text for text in damage)
    assert any("does not begin like a recording" in text for text in damage)
    assert any(first.name in text for text in damage)


def test_another_format_and_a_missing_beginning_are_refused(tmp_path: Path) -> None:
    header = recording._packed([(recording.HEADER, 0, T, encoded({"format": 9}))])
    path = tmp_path / f"feed-{T:019d}-0000{ENDING}"
    path.write_bytes(MAGIC + zstandard.compress(header))
    with pytest.raises(RecordingError, match="has format 9; this version reads format 1"):
        read(tmp_path)
    path.unlink()
    written(tmp_path, [(RECEIVED, 0, T, b"{}")])
    with pytest.raises(RecordingError, match="does not begin with the start of a feed"):
        FramePlayer(Recording(tmp_path), SteppedClock(0))


def test_a_clock_that_went_back_is_counted_and_played(live: LiveRun, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = list(Recording(live.folder).records(FEED))
    middle = len(entries) // 3
    shifted = [(k, c, t - 5 * 10**9 if i > middle else t, p) for i, (k, c, t, p) in enumerate(entries)]
    monkeypatch.setattr(Recording, "records", lambda self, stream: iter(shifted))
    player = FramePlayer(Recording(live.folder), SteppedClock(0))
    player.play_until(1 << 62)
    assert player.jumps == 1
    assert player.errors == 0
    assert player.messages == sum(kind == RECEIVED for kind, _, _, _ in entries)


def test_a_full_disk_costs_what_it_costs_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "WRITE_EVERY_S", 0.001)
    monkeypatch.setattr(recording, "RETRY_S", 0.001)
    recorder, put, full = Recorder(tmp_path, FEED, T), Recorder._put, [True]

    def refusing(self: Recorder, data: bytes) -> None:
        if full[0]:
            put(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self, data)

    recorder.note(RECEIVED, 0, T, b"before")
    while recorder.status()["bytes"] < 60 or recorder._queue:
        time.sleep(0.001)
    monkeypatch.setattr(Recorder, "_put", refusing)
    recorder.note(RECEIVED, 0, T + 1, b"lost")
    while not recorder.trouble:
        time.sleep(0.001)
    assert "No space left" in recorder.status()["trouble"]
    full[0] = False
    while recorder.trouble:
        time.sleep(0.001)
    recorder.note(RECEIVED, 0, T + 2, b"after")
    recorder.close(T + 3)
    back, damage = read(tmp_path)
    assert [payload for kind, _, _, payload in back if kind == RECEIVED] == [b"before", b"after"]
    assert [payload for kind, _, _, payload in back if kind == LOST] == [b"1 records could not be kept"]
    assert damage
    assert recorder.lost == 1


def test_it_ends_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "WRITE_EVERY_S", 0.001)
    recorder = Recorder(tmp_path, FEED, T, max_bytes=1000)
    recorder.note(RECEIVED, 0, T, os.urandom(2000))
    while not recorder._full:
        time.sleep(0.001)
    recorder.note(RECEIVED, 0, T, b"too late")
    recorder.close(T + 1)
    back, damage = read(tmp_path)
    assert [kind for kind, _, _, _ in back] == [RECEIVED, LOST]
    assert b"limit" in back[1][3]
    assert not damage


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot record in"):
        Recorder(tmp_path / "file" / "rec", FEED, T)


def test_every_method_of_a_codec_is_recorded_or_harmless() -> None:
    """A new way into a codec must be recorded, or replays differ."""
    methods = {name for name in vars(Codec) if not name.startswith("_")}
    inputs = {"connected", "disconnected", "receive", "timer", "answered"}
    outputs = {"deadline_ns", "frames_to_send", "requests_to_make", "books", "depth"}
    assert methods == inputs | outputs
    assert inputs <= vars(RecordedCodec).keys()


def test_a_start_that_another_version_wrote_is_refused_in_words(tmp_path: Path) -> None:
    header = {"epoch": 3, "version": "0.0", "connections": [{"codec": {"venue": "deribit"}}]}
    written(tmp_path, [(START, 0, T, encoded(header))])
    with pytest.raises(RecordingError, match=r"made by version 0\.0 and cannot be played"):
        FramePlayer(Recording(tmp_path), SteppedClock(0))
