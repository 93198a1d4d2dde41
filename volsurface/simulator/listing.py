"""Which options a venue like Deribit lists at an instant: expiries, strikes and names, as functions of time alone.

Observed on 13 and 20 May 2026 (11 expiries each): the next four days, the next three Fridays, the last Fridays of the
next three months and of the next four quarters, all at 08:00 UTC; a set of strikes around the spot of the day on which
an expiry was first listed, dense in the middle, and the wider the longer the expiry had to go.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

NS_PER_DAY = 86400 * 1_000_000_000
EXPIRY_HOUR = 8
DAILIES, WEEKLIES, MONTHLIES, QUARTERLIES = 4, 3, 3, 4
FRIDAY = 4

# Per kind of expiry: (furthest relative distance from spot, step as a fraction of spot), from the middle outwards. The
# step is rounded to 1, 2 or 5 times a power of ten, so that strikes of neighbouring expiries coincide as they really do.
LADDERS: dict[str, tuple[tuple[float, float], ...]] = {
    "day": ((0.035, 0.006), (0.10, 0.012)),
    "week": ((0.09, 0.012), (0.24, 0.03)),
    "month": ((0.12, 0.015), (0.28, 0.028), (0.60, 0.06), (0.90, 0.12)),
    "quarter": ((0.32, 0.028), (0.50, 0.06), (1.20, 0.12), (2.80, 0.25)),
}
LOWEST_STRIKE = 0.25  # of spot
NARROW_KINDS = ("day", "week")  # whose strikes the spot can outrun
LEAST_BEYOND = 5  # strikes beyond the spot on each side; with fewer, more are listed the next morning


@dataclass(frozen=True, slots=True)
class Expiry:
    """One listed expiry: its instant, the rule that listed it, the instant it was first listed, and its strikes."""

    expiry_ns: int
    kind: str
    listed_ns: int
    strikes: tuple[float, ...]

    @property
    def has_future(self) -> bool:
        """Return whether a future expires with it; the others are priced on a synthetic forward."""
        return self.kind != "day"


def expiry_kinds(now_ns: int) -> dict[int, str]:
    """Return {expiry_ns: kind} of all expiries listed at `now_ns`, ascending; kind is a key of LADDERS.

    An expiry that several rules list keeps the kind of the longest, whose strikes it had first.
    """
    first = _next_expiry_day(now_ns)
    days = [first + timedelta(days=i) for i in range(DAILIES)]
    friday = first + timedelta(days=(FRIDAY - first.weekday()) % 7)
    weeks = [friday + timedelta(weeks=i) for i in range(WEEKLIES)]
    months = _last_fridays(first, 1, MONTHLIES)
    quarters = _last_fridays(first, 3, QUARTERLIES)
    kinds = {_ns(day): "day" for day in days}
    kinds |= {_ns(day): "week" for day in weeks}
    kinds |= {_ns(day): "month" for day in months}
    kinds |= {_ns(day): "quarter" for day in quarters}
    return dict(sorted(kinds.items()))


def listed_expiries(now_ns: int, spot_at: Callable[[int], float], known: tuple[Expiry, ...] = ()) -> tuple[Expiry, ...]:
    """Return the expiries listed at `now_ns`, nearest first; `spot_at(ns)` gives the spot that centred their strikes.

    `known` saves work: expiries that were listed before, as this function returned them.
    """
    before = {expiry.expiry_ns: expiry for expiry in known}
    found = []
    for expiry_ns in expiry_kinds(now_ns):
        expiry = before.get(expiry_ns) or _listed_expiry(expiry_ns, now_ns, spot_at)
        found.append(_with_added_strikes(expiry, now_ns, spot_at) if expiry.kind in NARROW_KINDS else expiry)
    return tuple(found)


def _with_added_strikes(expiry: Expiry, now_ns: int, spot_at: Callable[[int], float]) -> Expiry:
    """Return the expiry with the strikes added at each 08:00 since its listing on which the spot had come near an end."""
    chosen = strikes(expiry.kind, spot_at(expiry.listed_ns))
    for day_ns in range(expiry.listed_ns + NS_PER_DAY, now_ns + 1, NS_PER_DAY):
        spot = spot_at(day_ns)
        if not chosen[LEAST_BEYOND] < spot < chosen[-1 - LEAST_BEYOND]:
            chosen = tuple(sorted({*chosen, *strikes(expiry.kind, spot)}))
    return replace(expiry, strikes=chosen)


def _listed_expiry(expiry_ns: int, now_ns: int, spot_at: Callable[[int], float]) -> Expiry:
    listed_ns, kind = _first_listing(expiry_ns, math.floor((now_ns - expiry_ns) / NS_PER_DAY))
    return Expiry(expiry_ns, kind, listed_ns, strikes(kind, spot_at(listed_ns)))


@lru_cache(1024)
def _first_listing(expiry_ns: int, last: int) -> tuple[int, str]:
    """Return when an expiry was first listed, and as what kind; it is listed `last` (negative) days after it expires.

    Once listed, an expiry stays listed: so the first day is found by halving, down to the 08:00 before it.
    """
    early, late = -800, last  # not listed at `early`, listed at `late`
    while late - early > 1:
        middle = (early + late) // 2
        if expiry_ns in expiry_kinds(expiry_ns + middle * NS_PER_DAY):
            late = middle
        else:
            early = middle
    listed_ns = expiry_ns + late * NS_PER_DAY
    return listed_ns, expiry_kinds(listed_ns)[expiry_ns]


def strikes(kind: str, spot: float) -> tuple[float, ...]:
    """Return the ascending strikes that an expiry of this kind gets when it is listed at `spot`."""
    chosen: set[float] = set()
    inner = 0.0
    for outer, fraction in LADDERS[kind]:
        step = round_step(fraction * spot)
        low, high = max(1.0 - outer, LOWEST_STRIKE) * spot, (1.0 + outer) * spot
        for i in range(math.ceil(low / step), math.floor(high / step) + 1):
            if abs(i * step / spot - 1.0) >= inner:
                chosen.add(round(i * step, 6))
        inner = outer
    return tuple(sorted(chosen))


def round_step(step: float) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten, the nearest to `step` in ratio.

    >>> [round_step(x) for x in (480.0, 1100.0, 2100.0, 16.0, 27.0)]
    [500.0, 1000.0, 2000.0, 20.0, 25.0]
    """
    power = 10.0 ** math.floor(math.log10(step))
    return min((power * digit for digit in (1.0, 2.0, 2.5, 5.0, 10.0)), key=lambda x: abs(math.log(x / step)))


def expiry_label(expiry_ns: int) -> str:
    """Return the expiry as it stands in a symbol: day without a leading zero, month, two digits of the year.

    >>> expiry_label(1_591_344_000_000_000_000)
    '5JUN20'
    """
    day = _utc(expiry_ns)
    return f"{day.day}{day.strftime('%b').upper()}{day.year % 100:02d}"


def settlement_period(expiry: Expiry) -> str:
    """Return what the venue says about an expiry: day, week or month (quarters too)."""
    return {"quarter": "month"}.get(expiry.kind, expiry.kind)


def _utc(now_ns: int) -> datetime:
    return datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)


def _ns(day: datetime) -> int:
    return int(day.timestamp()) * 1_000_000_000


def _next_expiry_day(now_ns: int) -> datetime:
    """Return the first 08:00 UTC after `now_ns`; at 08:00 itself that day's expiry is over."""
    today = _utc(now_ns).replace(hour=EXPIRY_HOUR, minute=0, second=0, microsecond=0)
    return today if _ns(today) > now_ns else today + timedelta(days=1)


def _last_fridays(first: datetime, every: int, count: int) -> list[datetime]:
    """Return the next `count` last Fridays, not before `first`, of the months whose number is divisible by `every`."""
    found: list[datetime] = []
    year, month = first.year, first.month
    while len(found) < count:
        if month % every == 0:
            after = datetime(year + month // 12, month % 12 + 1, 1, EXPIRY_HOUR, tzinfo=UTC)
            last = after - timedelta(days=1)
            friday = last - timedelta(days=(last.weekday() - FRIDAY) % 7)
            if friday >= first:
                found.append(friday)
        year, month = year + month // 12, month % 12 + 1
    return found
