"""Instants as text and back, exact to the nanosecond: ISO 8601 in UTC with `Z`."""

from datetime import UTC, datetime, timedelta

NS_PER_S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Instant = datetime | str | int


def to_iso(time_ns: int) -> str:
    """Return nanoseconds since 1970 UTC as text; digits of the second only where there are some.

    >>> to_iso(1779693691450623000)
    '2026-05-25T07:21:31.450623Z'
    """
    seconds, ns = divmod(int(time_ns), NS_PER_S)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ns:09d}".rstrip("0") + "Z" if ns else text + "Z"


def from_iso(text: str) -> int:
    """Return the nanoseconds since 1970 UTC of an ISO 8601 text; a text without an offset is read as UTC.

    Raises ValueError when it is not such a text.
    """
    head, dot, tail = text.strip().partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    if dot and not 1 <= len(digits) <= 9:
        raise ValueError(f"not an ISO 8601 time: {text!r}")
    ns = int(digits.ljust(9, "0")) if dot else 0
    return instant_ns(datetime.fromisoformat(head + tail[len(digits) :])) + ns


def instant_ns(when: "Instant") -> int:
    """Return an instant given as datetime (naive: UTC), ISO text or nanoseconds, in nanoseconds since 1970 UTC."""
    if isinstance(when, str):
        return from_iso(when)
    if not isinstance(when, datetime):
        return int(when)
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86400 + since.seconds) * NS_PER_S + since.microseconds * 1000
