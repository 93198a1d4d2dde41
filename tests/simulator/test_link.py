"""What a link does to the frames of a session, whatever the venue."""

import json
import random
from datetime import UTC, datetime

import pytest

from volsurface.simulator.link import GARBAGE_FRAMES, Link
from volsurface.simulator.market import Option, VenueMarket
from volsurface.simulator.venue import BookMove, Changes, Follows

NOW = int(datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()) * 10**9
MS = 1_000_000


class Numbers:
    """A session that sends the number of each move of the books it follows."""

    def __init__(self) -> None:
        self.follows = Follows()
        self.close: tuple[int, str] | None = None
        self._out: list[bytes] = []

    def receive(self, frame: bytes | str, now_ns: int) -> None:
        self._out.append(b"answer")

    def publish(self, now_ns: int, changes: Changes) -> int:
        followed = [move for move in changes.books if move.option in self.follows.books]
        self._out += [json.dumps([move.number, 0.5, "123.25"], separators=(",", ":")).encode() for move in followed]
        return len(followed)

    def frames_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def deadline_ns(self) -> int | None:
        return None

    def timer(self, now_ns: int) -> None:
        raise AssertionError("never due")

    def inject(self, fault: str, now_ns: int, option: Option | None = None) -> bool:
        self.close = (4321, "own") if fault == "heartbeat" else None
        return fault == "heartbeat"


@pytest.fixture
def one_option() -> Option:
    return VenueMarket(("BTC",), 1, NOW, most_expiries=1, most_strikes=1).options[0]


def linked(option: Option) -> Link:
    session = Numbers()
    session.follows.add(option, book=True)
    return Link(session, 20 * MS, (4999, "slow"), random.Random(1))


def published(link: Link, option: Option, numbers: range, at_ns: int = NOW) -> list[int]:
    """Return the numbers that arrive of these moves, one per step of 10 ms."""
    arrived = []
    for step, number in enumerate(numbers):
        link.publish(at_ns + 10 * step * MS, Changes(books=(BookMove(option, number, 0, 0, (), ()),)))
    for frame in link.frames_due(at_ns + 10_000 * MS):
        try:
            arrived.append(json.loads(frame)[0])
        except (ValueError, IndexError):
            arrived.append(-1)
    return arrived


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [("gap", [1, 2, 4, 5]), ("duplicate", [1, 2, 3, 3, 4, 5]), ("out_of_order", [1, 2, 4, 3, 5]), ("truncated", [1, 2, -1, 4, 5])],
)  # fmt: skip
def test_one_change_is_spoiled_and_the_others_arrive(one_option: Option, fault: str, arrives: list[int]) -> None:
    link = linked(one_option)
    first = published(link, one_option, range(1, 3))
    assert link.inject(fault, NOW, 0.0)
    assert first + published(link, one_option, range(3, 6)) == arrives


def test_frames_take_the_venues_latency_and_a_lag_keeps_their_order(one_option: Option) -> None:
    link = linked(one_option)
    link.receive(b"x", NOW)
    assert link.frames_due(NOW + 19 * MS) == [] and link.arrival_ns() == NOW + 20 * MS
    assert link.frames_due(NOW + 20 * MS) == [b"answer"]
    link.inject("lag", NOW, 1.0)
    link.publish(NOW + 900 * MS, Changes(books=(BookMove(one_option, 1, 0, 0, (), ()),)))
    link.publish(NOW + 990 * MS, Changes(books=(BookMove(one_option, 2, 0, 0, (), ()),)))
    assert link.frames_due(NOW + 999 * MS) == []
    assert [json.loads(frame)[0] for frame in link.frames_due(NOW + 1010 * MS)] == [1, 2]


def test_decimals_become_scientific_and_keep_their_value(one_option: Option) -> None:
    link = linked(one_option)
    link.inject("scientific", NOW, 1.0)
    link.publish(NOW, Changes(books=(BookMove(one_option, 7, 0, 0, (), ()),)))
    [frame] = link.frames_due(NOW + 10**9)
    assert frame == b'[7,5E-1,"1.2325E+2"]'
    assert float(json.loads(frame)[2]) == 123.25


def test_garbage_arrives_and_closes_say_why(one_option: Option) -> None:
    link = linked(one_option)
    assert link.inject("garbage", NOW, 0.0)
    assert link.frames_due(NOW + 10**9) == list(GARBAGE_FRAMES)
    for fault, close in [("slow_reader", (4999, "slow")), ("drop", (1006, "")), ("heartbeat", (4321, "own"))]:
        link = linked(one_option)
        assert link.inject(fault, NOW, 0.0)
        assert link.close == close
        assert link.publish(NOW, Changes(books=(BookMove(one_option, 1, 0, 0, (), ()),))) == 0
    assert not linked(one_option).inject("sequence_reset", NOW, 0.0), "this session has no such fault"


def test_a_fault_of_a_book_needs_a_book() -> None:
    link = Link(Numbers(), 0, (4999, "slow"), random.Random(1))
    assert not link.inject("gap", NOW, 0.0)
