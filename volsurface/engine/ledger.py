"""What each stage of the work was offered, what it replaced, skipped and did, and what that cost. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Timer = Callable[[], int]  # nanoseconds of CPU; given by who may know the time


@dataclass(slots=True)
class Entry:
    """One stage. offered = coalesced (replaced by something newer) + skipped (would not be seen) + done. cpu_ns: of done."""

    offered: int = 0
    coalesced: int = 0
    skipped: int = 0
    done: int = 0
    cpu_ns: int = 0


class Ledger:
    """Counts by stage since the start, in the order in which the stages were first named."""

    def __init__(self, stages: tuple[str, ...] = ()) -> None:
        self._entries = {stage: Entry() for stage in stages}

    def count(self, stage: str, offered: int, skipped: int = 0, coalesced: int = 0) -> None:
        """Add to a stage's counts; what was neither skipped nor coalesced is done."""
        entry = self._entries.setdefault(stage, Entry())
        entry.offered += offered
        entry.skipped += skipped
        entry.coalesced += coalesced
        entry.done += offered - skipped - coalesced

    def spend(self, stage: str, cpu_ns: int) -> None:
        """Add to what a stage has cost."""
        self._entries.setdefault(stage, Entry()).cpu_ns += cpu_ns

    def table(self) -> dict[str, dict[str, float]]:
        """Return {stage: {"offered", "coalesced", "skipped", "done", "cpu_ms"}}."""
        return {
            stage: {
                "offered": entry.offered,
                "coalesced": entry.coalesced,
                "skipped": entry.skipped,
                "done": entry.done,
                "cpu_ms": entry.cpu_ns / 1e6,
            }
            for stage, entry in self._entries.items()
        }


def joined(tables: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the sums of several tables, stage by stage."""
    out: dict[str, dict[str, float]] = {}
    for table in tables:
        for stage, counts in table.items():
            sums = out.setdefault(stage, dict.fromkeys(counts, 0))
            for name, value in counts.items():
                sums[name] += value
    return out
