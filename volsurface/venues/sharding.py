"""Which connection follows which instrument, where a venue's limits make several connections necessary."""

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
