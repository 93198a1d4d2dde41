"""How numbers are written on the page: vols in % with two places, basis points with one, times in UTC; missing is a dash."""

import math
from datetime import UTC, datetime
from typing import TypeGuard

MISSING = "–"
NS_PER_S = 1_000_000_000
_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()


def is_number(value: float | None) -> TypeGuard[float]:
    """Tell whether there is a number to write."""
    return value is not None and math.isfinite(value)


def vol_percent(vol: float | None) -> str:
    """Return a vol (a fraction) in %: 0.5859 -> '58.59'.

    >>> vol_percent(0.5859), vol_percent(float("nan"))
    ('58.59', '–')
    """
    return f"{100 * vol:.2f}" if is_number(vol) else MISSING


def signed_percent(vol: float | None) -> str:
    """Return a difference of vols in vol points with its sign: -0.0565 -> '−5.65'."""
    return _minus(f"{100 * vol:+.2f}") if is_number(vol) else MISSING


def basis_points(bp: float | None, signed: bool = False) -> str:
    """Return basis points with one place: 14.04 -> '14.0'."""
    return _minus(f"{bp:+.1f}" if signed else f"{bp:.1f}") if is_number(bp) else MISSING


def price(value: float | None) -> str:
    """Return a price with as many places as its size needs: 97412.5 -> '97,412.5'; 2.31 -> '2.3100'."""
    if not is_number(value):
        return MISSING
    places = 1 if abs(value) >= 1000 else 2 if abs(value) >= 100 else 4
    return f"{value:,.{places}f}"


def duration(seconds: float | None) -> str:
    """Return an age in words a trader reads at a glance: 0.044 -> '44 ms', 3.2 -> '3.2 s', 75 -> '1 min 15 s'."""
    if not is_number(seconds):
        return MISSING
    whole = max(0, int(seconds))
    if seconds < 1:
        return f"{1000 * max(0.0, seconds):.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def clock_time(ns: int | None) -> str:
    """Return a time of day, 'HH:MM:SS' in UTC."""
    return MISSING if not ns else datetime.fromtimestamp(ns / NS_PER_S, UTC).strftime("%H:%M:%S")


def utc_time(ns: int | None) -> str:
    """Return an instant, 'YYYY-MM-DD HH:MM:SS UTC'."""
    return MISSING if not ns else datetime.fromtimestamp(ns / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def expiry_labels(expiry_ns: list[int]) -> list[str]:
    """Return the venue-like names of expiries, '26DEC25'; with the hour where a day has more than one, '26DEC25 16h'.

    >>> expiry_labels([1766736000000000000])
    ['26DEC25']
    """
    instants = [datetime.fromtimestamp(ns / NS_PER_S, UTC) for ns in expiry_ns]
    days = [f"{t.day}{_MONTHS[t.month - 1]}{t.year % 100:02d}" for t in instants]
    return [day if days.count(day) == 1 else f"{day} {t.hour:02d}h" for day, t in zip(days, instants)]


def short_labels(labels: list[str]) -> list[str]:
    """Return expiry labels without the year where this leaves them different: '26DEC25' -> '26DEC'."""
    short = [label[:-2] if len(label.split()) == 1 else label for label in labels]
    return [s if short.count(s) == 1 else label for s, label in zip(short, labels)]


def rate(per_second: float | None) -> str:
    """Return a count per second: 5012.3 -> '5,012'."""
    return f"{per_second:,.0f}" if is_number(per_second) else MISSING


def _minus(text: str) -> str:
    # A real minus sign is as wide as a plus, so that signed numbers keep their place.
    return text.replace("-", "−")
