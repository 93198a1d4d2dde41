"""Damaged frames: no exception leaves a codec, and it hands on no number that no frame carried."""

import multiprocessing
from pathlib import Path

import pytest
from kit_drive import Drive
from kit_fuzz import Carried, Fuzzed, fuzz, live_drive, recorded_frames, simulated_frames
from kit_scenarios import HEALED_S, NOON

from volsurface.simulator.main import VENUES

QUICK, LONG = 20_000, 1_000_000
CHUNK = 25_000


def corpus(venue: str, samples: Path | None) -> list[list[bytes]]:
    """Return what is mutated, one list per connection: simulated frames, and recorded ones where there are any."""
    frames = simulated_frames(venue)
    if samples is not None and (samples / venue).is_dir():
        symbols = [option.symbol for option in Drive(venue, 1, NOON, strikes=1).market.options]
        recorded = recorded_frames(samples / venue, symbols)
        assert recorded, venue
        # As many of them as simulated ones of a kind: a long listing or capture must not crowd out the rest.
        frames = [kept + recorded * max(1, len(kept) // (4 * len(recorded))) for kept in frames]
    return frames


def judge(venue: str, result: Fuzzed) -> None:
    assert not result.raised, f"{len(result.raised)} left the codec: " + "\n".join(result.raised[:3])
    assert not result.foreign, f"{len(result.foreign)} not carried: " + "\n".join(result.foreign[:5])
    assert result.values_checked > 0.3 * result.frames, "many frames still say something"
    assert result.rejected > 0.1 * result.frames, "many do not"


@pytest.mark.parametrize("venue", VENUES)
def test_damaged_frames_do_no_harm(venue: str, fuzz_table: dict[str, Fuzzed]) -> None:
    fuzz_table[venue] = result = fuzz(venue, QUICK, 1, corpus(venue, None))
    judge(venue, result)


@pytest.mark.parametrize("venue", VENUES)
def test_damaged_recorded_frames_do_none_either(venue: str, recorded: Path, fuzz_table: dict[str, Fuzzed]) -> None:
    result = fuzz(venue, QUICK // 4, 2, corpus(venue, recorded / "samples"))
    fuzz_table.setdefault(venue, Fuzzed()).add(result)
    judge(venue, result)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("venue", VENUES)
def test_a_million_damaged_frames_do_no_harm(venue: str, recorded: Path, fuzz_table: dict[str, Fuzzed]) -> None:
    frames = corpus(venue, recorded / "samples")
    jobs = [(venue, CHUNK, 1000 + chunk, frames) for chunk in range(LONG // CHUNK)]
    total = fuzz_table.setdefault(venue, Fuzzed())
    with multiprocessing.get_context("spawn").Pool() as pool:
        for result in pool.starmap(fuzz, jobs):
            total.add(result)
    judge(venue, total)


def test_the_oracle_knows_conversions_and_nothing_else() -> None:
    carried = Carried()
    carried.take(b'{"iv":53.21,"amount":"7","ts":1700000000123,"delta":"-1.5e-3"}')
    assert all(map(carried.has, (53.21, 53.21 / 100, 0.07, 1_700_000_000_123e6, 0.0015, float("nan"))))
    assert not any(map(carried.has, (53.2, 0.005321, 5321.0, 14.0, 0.0, 1.0)))


@pytest.mark.parametrize("venue", VENUES)
def test_recorded_frames_are_understood_and_leave_no_trace(venue: str, recorded: Path) -> None:
    """Real frames, renamed to listed options, in the midst of a live connection: nothing raised, nothing made up, and
    two seconds later every book is the venue's true one again."""
    drive = live_drive(venue)
    frames = recorded_frames(recorded / "samples" / venue, [option.symbol for option in drive.market.options])
    assert frames
    for wire in drive.wires:
        for frame in frames:
            drive.sink.carried.take(frame)
            wire.codec.receive(frame, drive.now_ns)
        drive.run(0.2)
    drive.run(HEALED_S)
    drive.settle()
    assert not drive.sink.foreign
    assert drive.wrong_books() == []
