"""Seeded random sequences of faults, and what must hold two simulated seconds after the last of them has ended."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kit_drive import Drive, S

from volsurface.simulator.fault_table import FAULTS

HEALED_S = 2.0  # every book must be the true one so long after the last fault's end
NOON = int(datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()) * S
# A Friday, when weekly expiries end too: not every venue lists daily ones.
BEFORE_EIGHT = int(datetime(2026, 11, 20, 7, 59, 57, tzinfo=UTC).timestamp()) * S
MOST_FAULTS = 5
# Early ends of an expiry exist in the simulator alone: a venue without word of its listing would not say so, and the
# kit lets the clock reach 08:00 instead.
# A half-open connection ends when the codec gives it up, which no venue's documents promise within seconds.
DRAWN = tuple(name for name in FAULTS if name not in ("roll", "half_open"))
ROLL_SHARE = 0.15  # of the scenarios cross 08:00 UTC
START_S = 1.5


@dataclass
class Tally:
    """Counts of one venue: scenarios, faults by name, books compared, and what was wrong."""

    scenarios: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    books: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.scenarios += other.scenarios
        self.faults.update(other.faults)
        self.refused.update(other.refused)
        self.books += other.books
        self.wrong += other.wrong


def run_scenario(venue: str, seed: int, tally: Tally, only: str | None = None) -> None:
    """Run one scenario and count it; `only` restricts it to one fault.

    The same venue, seed and `only` give the same scenario: what is wrong can be run again alone.
    """
    draw = random.Random(f"{venue} {seed}")
    rolls = only in (None, "roll") and draw.random() < (ROLL_SHARE if only is None else 1.0)
    drive = Drive(venue, 1 + seed % 50, (BEFORE_EIGHT if rolls else NOON) + draw.randrange(S))
    drive.run(START_S)
    exempt: set[str] = set()
    told, end_ns = [], drive.now_ns
    for _ in range(draw.randint(1, MOST_FAULTS)):
        drive.run(draw.uniform(0.05, 1.2))
        name = only or draw.choice(DRAWN)
        if name == "roll":
            continue
        fault = FAULTS[name]
        seconds = fault.seconds and draw.uniform(0.3, 1.0) * fault.seconds
        if name == "silent_drop":
            exempt |= {option.symbol for option in drive.market.options}
        done = drive.host.faults.inject(name, drive.now_ns, seconds)
        tally.faults[name] += done
        tally.refused[name] += not done
        told.append(f"{name} at {(drive.now_ns - end_ns) / S:.2f}")
        end_ns = max(end_ns, drive.now_ns + round(seconds * S))
    if rolls:
        tally.faults["roll"] += 1
        told.append("08:00")
        end_ns = max(end_ns, BEFORE_EIGHT + 4 * S)
    drive.run((end_ns - drive.now_ns) / S + HEALED_S)
    drive.settle()
    wrong = drive.wrong_books(exempt)
    tally.scenarios += 1
    tally.books += sum(len(wire.codec.books) for wire in drive.wires)
    if wrong or drive.sink.impossible:
        tally.wrong.append(f"{venue} seed {seed} ({', '.join(told)}): {(wrong + drive.sink.impossible)[:3]}")
