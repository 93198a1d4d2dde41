"""What every codec must survive: random sequences of faults, after which each of its books is the venue's true one."""

import multiprocessing
from typing import Any

import pytest
from kit_drive import MS, Drive, S
from kit_scenarios import BEFORE_EIGHT, HEALED_S, NOON, Tally, run_scenario

from volsurface.simulator.fault_table import FAULTS
from volsurface.simulator.main import VENUES
from volsurface.venues.deribit_streams import OptionStream

QUICK, LONG = 300, 10_000
CHUNK = 250


@pytest.mark.parametrize("venue", VENUES)
def test_after_random_faults_every_book_is_the_true_one(venue: str, scenario_table: dict[str, Tally]) -> None:
    tally = scenario_table.setdefault(venue, Tally())
    for seed in range(QUICK):
        run_scenario(venue, seed, tally)
    assert tally.books > 5 * QUICK
    assert not tally.wrong, f"{len(tally.wrong)} of {tally.scenarios}: " + "\n".join(tally.wrong[:5])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("venue", VENUES)
def test_after_ten_thousand_sequences_too(venue: str, scenario_table: dict[str, Tally]) -> None:
    tally = scenario_table.setdefault(venue, Tally())
    jobs = [(venue, first) for first in range(QUICK, QUICK + LONG, CHUNK)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        for part in pool.imap_unordered(_chunk, jobs):
            tally.add(part)
    assert tally.scenarios >= LONG
    assert not tally.wrong, f"{len(tally.wrong)} of {tally.scenarios}: " + "\n".join(tally.wrong[:5])


def _chunk(job: tuple[str, int]) -> Tally:
    tally = Tally()
    for seed in range(job[1], job[1] + CHUNK):
        run_scenario(job[0], seed, tally)
    return tally


@pytest.mark.parametrize("venue", VENUES)
def test_each_fault_is_committed_or_the_venue_cannot_have_it(venue: str) -> None:
    """Each fault alone on a live connection, so that a fault that silently does nothing is found."""
    cannot = CANNOT_HAVE.get(venue, set())
    for name in FAULTS:
        drive = Drive(venue, 3, NOON)
        drive.run(2.0)
        assert drive.all_live()
        assert drive.host.faults.inject(name, drive.now_ns) == (name not in cannot), name


# What a venue's protocol has no place for.
CANNOT_HAVE: dict[str, set[str]] = {
    "binance": {"heartbeat_storm", "snapshot"},
    "bybit": {"heartbeat_storm"},
    "derive": {"heartbeat_storm"},
    "okx": {"heartbeat_storm"},
}


@pytest.mark.parametrize("venue", VENUES)
def test_the_same_seed_gives_the_same_scenario(venue: str) -> None:
    one, two = Tally(), Tally()
    for tally in (one, two):
        run_scenario(venue, 7, tally)
    assert (one.faults, one.books, one.wrong) == (two.faults, two.books, two.wrong)


@pytest.mark.parametrize("venue", VENUES)
def test_at_eight_expired_options_are_closed_and_new_ones_followed(venue: str) -> None:
    drive = Drive(venue, 5, BEFORE_EIGHT)
    drive.run(2.0)
    dying = {option.symbol for option in drive.market.options if option.expiry.expiry_ns < BEFORE_EIGHT + 60 * S}
    assert dying
    drive.run(100.0)
    drive.settle()
    listed = {option.symbol for option in drive.market.options}
    assert not dying & listed
    directory, closed = drive.sink.directory, drive.sink.closed_iids
    followed = {instrument.symbol for iid, instrument in enumerate(directory) if iid not in closed}
    assert followed == listed
    assert drive.wrong_books() == []


@pytest.mark.parametrize("venue", VENUES)
def test_ten_quiet_minutes_are_lived_through(venue: str) -> None:
    """Heartbeats both ways: nobody hangs up, at a tenth of the usual traffic."""
    drive = Drive(venue, 2, NOON, rate=3.0)
    drive.run(5.0)
    assert drive.all_live()
    drive.run(600.0, step_ns=500 * MS)
    drive.settle()
    assert drive.all_live()
    assert [wire.codec.reconnects for wire in drive.wires] == [0] * len(drive.wires)
    assert drive.wrong_books() == []


@pytest.mark.parametrize("venue", VENUES)
def test_a_half_open_connection_is_given_up(venue: str) -> None:
    drive = Drive(venue, 2, NOON)
    drive.run(2.0)
    assert drive.host.faults.inject("half_open", drive.now_ns)
    drive.run(90.0, step_ns=500 * MS)
    assert min(wire.codec.reconnects for wire in drive.wires) == 1
    drive.run(HEALED_S)
    drive.settle()
    assert drive.all_live()
    assert drive.wrong_books() == []


# How each venue hangs up on a client it takes for dead, and on one that does not read; where nothing is documented the
# connection is cut without a close frame.
CLOSES = {
    "deribit": ((4000, "heartbeat close"), (4000, "connection_too_slow")),
    "okx": ((4004, "No data received in 30s"), (4005, "buffer full")),
    "binance": ((1008, "Pong timeout"), (1006, "")),
}
CUT = ((1006, ""), (1006, ""))


@pytest.mark.parametrize("venue", VENUES)
def test_the_venue_hangs_up_with_its_own_code_and_the_codec_comes_back(venue: str) -> None:
    for fault, expected in zip(("heartbeat", "slow_reader"), CLOSES.get(venue, CUT), strict=True):
        drive = Drive(venue, 4, NOON)
        drive.run(2.0)
        assert drive.host.faults.inject(fault, drive.now_ns)
        assert {link.close for link in drive.host.links} == {expected}
        drive.run(HEALED_S)
        drive.settle()
        assert any(
            f"{expected[0]} {expected[1]}".rstrip() in text for kind, text in drive.sink.events if kind == "disconnect"
        )
        assert drive.all_live() and drive.wrong_books() == []


@pytest.mark.parametrize("venue", VENUES)
def test_a_channel_left_out_in_silence_is_noticed(venue: str) -> None:
    """What a venue did not confirm is asked for again, or named: a book must not be missing without a word."""
    drive = Drive(venue, 2, NOON)
    drive.run(2.0)
    assert drive.host.faults.inject("silent_drop", drive.now_ns)
    drive.run(60.0)
    drive.settle()
    told = [
        text for kind, text in drive.sink.events if kind in ("dropped", "stale", "gap", "resubscribe", "reject_frame")
    ]
    assert told
    missing = [wrong for wrong in drive.wrong_books() if "no live book" in wrong]
    assert len(missing) <= 1 and len(drive.wrong_books()) == len(missing)
    assert not missing or any(missing[0].partition(":")[0].lower() in text.lower() for text in told), (missing, told)


def test_a_codec_that_accepts_a_gap_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kit itself: a book that goes on after a lost change must not pass."""
    lose_book = OptionStream._lose_book

    def careless(self: Any, why: str, now_ns: int) -> None:
        if "came" not in why:
            lose_book(self, why, now_ns)

    monkeypatch.setattr(OptionStream, "_lose_book", careless)
    tally = Tally()
    for seed in range(30):
        run_scenario("deribit", seed, tally, only="gap")
    assert tally.wrong
