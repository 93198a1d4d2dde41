"""Which connection follows which instrument, where a venue's limits make several connections necessary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

WHOLE = (0, 1)  # the only connection


def in_shard(symbol: str, shard: tuple[int, int]) -> bool:
    """Return whether connection i of n (`shard` is (i, n)) follows the instrument; each instrument has exactly one.

    A hash of the symbol alone decides: it stays where it is whatever else is listed or expires.
    """
    i, n = shard
    return n == 1 or crc32(symbol.encode()) % n == i


def connections_for(streams: int, per_connection: int) -> int:
    """Return how many connections carry `streams`, with an eighth of room: a hash does not divide evenly."""
    return max(1, -(-streams * 9 // (per_connection * 8)))


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one connection may carry: so many channels, and so many letters of all their names in requests.

    A request writes a name in quotes and with a comma, so each counts three letters more.
    """

    channels: int
    letters: int

    def fitting(self, held: Iterable[str], wanted: Sequence[Sequence[str]]) -> tuple[int, str]:
        """Return how many of the `wanted` groups of channels fit beside those held, and if not all, both numbers as text."""
        names = list(held)
        n_channels, n_letters = len(names), sum(map(len, names)) + 3 * len(names)
        fit = 0
        for group in wanted:
            n_channels += len(group)
            n_letters += sum(map(len, group)) + 3 * len(group)
            fit += n_channels <= self.channels and n_letters <= self.letters
        if fit == len(wanted):
            return fit, ""
        return fit, (
            f"they need {n_channels} channels of {n_letters} letters, a connection carries {self.channels} of {self.letters}"
        )
