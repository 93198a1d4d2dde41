"""A seeded mutator of frames, and the oracle that says which numbers a codec may make of one.

The oracle: every number a codec hands on is written in the frame, or in one received before it on the same connection
(levels of a book, the parts of a row that a venue sends apart), or follows from one such number by a documented
conversion of units: percent to fraction, contracts to coins, milliseconds or seconds to nanoseconds.
"""

import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit_drive import MS, Drive, KitSink
from kit_scenarios import NOON

from volsurface.market.instrument import Instrument
from volsurface.simulator.fault_table import FAULTS
from volsurface.simulator.in_memory import REST_URL

NUMBER = re.compile(rb"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
STRANGE = [
    b"0", b"-1", b"null", b'""', b'"0"', b"1e999", b"-1e308", b"1e-320", b"NaN", b"true", b"[]", b"{}", b'"x"',
    b"99999999999999999999999", b"-0.0", b'"-\xe2\x88\x9e"', b"1.5E+2", b'"1.5e2"', b"[[]]", b'{"a":1}', b"00", b"1.", b"\xff",
]  # fmt: skip
FRAMES_PER_CONNECTION = 1000
EVERY = 16  # frames after which the codec's own frames and requests are taken
FUZZED_CHANNELS = ("ticker", "book", "trades")
NAME = re.compile(rb"[A-Z]{2,5}(?:-USD)?-(?:\d{6,8}|\d{1,2}[A-Z]{3}\d\d)-[\dd.]+-[CP](?:-USD[TC])?", re.IGNORECASE)
LARGEST_ROW_INTEGER = 1 << 63


def mutated(frame: bytes, other: bytes, draw: random.Random) -> bytes:
    """Return `frame` damaged in one to three ways; `other` is another frame, to take parts from."""
    for _ in range(1 + int(draw.random() < 0.3) + int(draw.random() < 0.1)):
        size = len(frame)
        if not size:
            return other
        kind = draw.random()
        at = int(draw.random() * size)
        if kind < 0.60:  # another value in the place of a number
            found = NUMBER.search(frame, at) or NUMBER.search(frame)
            if found:
                strange = (
                    STRANGE[int(draw.random() * len(STRANGE))] if draw.random() < 0.4 else _near(found.group(), draw)
                )
                frame = frame[: found.start()] + strange + frame[found.end() :]
        elif kind < 0.70:  # a byte
            frame = frame[:at] + bytes((int(draw.random() * 256),)) + frame[at + 1 :]
        elif kind < 0.77:  # a piece lost
            frame = frame[:at] + frame[at + 1 + int(draw.random() * 40) :]
        elif kind < 0.83:  # a piece twice
            frame = frame[:at] + frame[max(at - int(draw.random() * 40), 0) :]
        elif kind < 0.88:  # cut off
            frame = frame[:at]
        elif kind < 0.94:  # the head of one and the tail of another
            frame = frame[:at] + other[int(draw.random() * len(other)) :]
        else:  # brackets and quotes
            place = frame.find(b'",:{}[]'[int(draw.random() * 7)], at)
            frame = frame[:place] + frame[place + 1 :]
    return frame


def _near(number: bytes, draw: random.Random) -> bytes:
    digits = bytearray(number)
    digits[int(draw.random() * len(digits))] = 48 + int(draw.random() * 10)
    return bytes(digits)


class Carried:
    """The numbers that have been written in frames, with what the documented conversions make of them."""

    def __init__(self) -> None:
        self._known: set[float] = set()
        self._unread: list[bytes] = []

    def take(self, frame: bytes) -> None:
        """Remember a frame; it is read when a number is looked for that no frame before it had."""
        self._unread.append(frame)

    def has(self, value: float) -> bool:
        """Return whether a frame carried this value; NaN says that there is none, and signs are not looked at."""
        value = abs(value)
        if value in self._known or value != value:
            return True
        while self._unread:
            for number in map(float, NUMBER.findall(self._unread.pop())):
                self._known.update((number, number / 100, number * 0.01, number * 0.1, number * 1e6, number * 1e9))
            if value in self._known:
                return True
        return False


class OracleSink(KitSink):
    """Checks every number that a codec hands on."""

    def __init__(self) -> None:
        super().__init__()
        self.carried = Carried()
        self.checked = 0
        self.foreign: list[str] = []
        self._contract_size: dict[int, float] = {}

    def _check(self, what: str, *values: float, contract_size: float = 1.0) -> None:
        self.checked += len(values)
        has = self.carried.has
        for value in values:
            if math.isinf(value) or not (has(value) or has(round(value / contract_size, 9))):
                self.foreign.append(f"{what}: {value!r} in {values}")
                return

    def _check_row(self, iid: int, ts_venue_ns: int, seq: int, values: tuple[float, ...]) -> None:
        symbol = self.directory[iid].symbol
        if not (-LARGEST_ROW_INTEGER <= ts_venue_ns < LARGEST_ROW_INTEGER and -1 <= seq < LARGEST_ROW_INTEGER):
            self.foreign.append(f"{symbol}: no row holds the time {ts_venue_ns} and number {seq}")
        self._check(
            symbol, float(ts_venue_ns), *((float(seq),) if seq > 0 else ()), *values,
            contract_size=self._contract_size[iid],
        )  # fmt: skip

    def listed(self, instruments: Sequence[Instrument], now_ns: int) -> list[int]:
        for instrument in instruments:
            self._check(f"listing of {instrument.symbol}", instrument.strike)
        iids = super().listed(instruments, now_ns)
        self._contract_size.update(zip(iids, [instrument.contract_size for instrument in instruments]))
        return iids

    def ticker(self, iid: int, flags: int, ts_venue_ns: int, ts_recv_ns: int, seq: int, *values: float) -> None:
        self._check_row(iid, ts_venue_ns, seq, values)

    def book_top(self, iid: int, flags: int, ts_venue_ns: int, ts_recv_ns: int, seq: int, *values: float) -> None:
        self._check_row(iid, ts_venue_ns, seq, values)

    def forward(
        self, source: int, venue: str, underlying: str, expiry_ns: int, value: float, ts_venue_ns: int, ts_recv_ns: int
    ) -> None:
        self._check(f"forward of {underlying}", value, float(ts_venue_ns))

    def event(
        self, kind: str, now_ns: int, severity: str = "info", iid: int = -1, text: str = "", **numbers: float
    ) -> None:
        if kind == "trade":
            self._check(f"trade {text}", *numbers.values(), contract_size=self._contract_size.get(iid, 1.0))


@dataclass
class Fuzzed:
    """Counts of one venue, with examples of what must not happen."""

    frames: int = 0
    rejected: int = 0
    values_checked: int = 0
    foreign: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)

    @property
    def values_not_carried(self) -> int:
        return len(self.foreign)

    @property
    def exceptions(self) -> int:
        return len(self.raised)

    def add(self, other: "Fuzzed") -> None:
        self.frames += other.frames
        self.rejected += other.rejected
        self.values_checked += other.values_checked
        self.foreign += other.foreign
        self.raised += other.raised


def live_drive(venue: str, seconds: float = 1.5) -> Drive:
    """Return a drive that is live, with an oracle as its sink."""
    drive = Drive(venue, 1, NOON, sink=OracleSink(), channels=FUZZED_CHANNELS, strikes=1)
    for wire in drive.wires:
        wire.on_frame = drive.sink.carried.take
        wire.on_answer = lambda _, body: drive.sink.carried.take(body)
    drive.run(seconds)
    return drive


def simulated_frames(venue: str) -> list[list[bytes]]:
    """Return what each connection receives in a few seconds, with every fault of the venue's protocol in between."""
    drive = Drive(venue, 1, NOON, channels=FUZZED_CHANNELS, strikes=1)
    frames: list[list[bytes]] = [[] for _ in drive.wires]
    for wire, kept in zip(drive.wires, frames):
        wire.on_frame = kept.append
    drive.run(3.0)
    for name in FAULTS:
        drive.host.faults.inject(name, drive.now_ns, 0.2)
        drive.run(0.5)
    return frames


def recorded_frames(folder: Path, symbols: Sequence[str]) -> list[bytes]:
    """Return the frames recorded in `folder`, each with the name of a listed option in place of its own."""
    found: list[bytes] = []
    for path in sorted(folder.rglob("*.json*")):
        if path.suffix == ".gz" or "http" in path.name:
            continue
        text = path.read_bytes()
        for line in text.splitlines() if path.suffix == ".jsonl" else [text]:
            if line.startswith(b'{"t":'):  # a capture of a connection: the frame is inside
                message = json.loads(line).get("msg")
                line = message.encode() if isinstance(message, str) else b""
            if line and len(line) < 20_000:
                found.append(line)
    names = [symbol.encode() for symbol in symbols]

    def listed(match: "re.Match[bytes]") -> bytes:
        name = names[len(match.group()) % len(names)]
        return name.lower() if match.group().islower() else name

    return [NAME.sub(listed, frame) for frame in found]


def fuzz(venue: str, count: int, seed: int, corpus: Sequence[Sequence[bytes]]) -> Fuzzed:
    """Give codecs of `venue` so many mutated frames of `corpus` (one list per connection)."""
    draw = random.Random(f"{venue} {seed}")
    result = Fuzzed()
    while result.frames < count:
        drive = live_drive(venue)
        sink = drive.sink
        before = sum(wire.codec.rejected for wire in drive.wires)
        now_ns = drive.now_ns
        wires = [(wire.codec, frames) for wire, frames in zip(drive.wires, corpus)]
        for number in range(min(FRAMES_PER_CONNECTION, count - result.frames)):
            codec, frames = wires[number % len(wires)]
            frame = mutated(
                frames[int(draw.random() * len(frames))], frames[int(draw.random() * len(frames))], draw
            )  # fmt: skip
            sink.carried.take(frame)
            now_ns += MS
            try:
                codec.receive(frame, now_ns)
                if number % EVERY == 0:
                    codec.frames_to_send()
                    for request in codec.requests_to_make():
                        body = drive.host.rest(request.url.removeprefix(REST_URL), now_ns)[1]
                        body = mutated(body, frame, draw) if draw.random() < 0.5 else body
                        sink.carried.take(body)
                        codec.answered(request.tag, 200, body, now_ns)
                    if (codec.deadline_ns() or now_ns + 1) <= now_ns:
                        codec.timer(now_ns)
            except Exception as error:  # whatever it is: it must not leave the codec
                result.raised.append(f"{error!r} for {frame[:300]!r}")
            result.frames += 1
        result.values_checked += sink.checked
        result.foreign += sink.foreign
        result.rejected += sum(wire.codec.rejected for wire in drive.wires) - before
    return result
