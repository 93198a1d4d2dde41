"""The certificate of a surface: for each smile and each adjacent pair whether arbitrage exists anywhere on the line."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OK, VIOLATED, UNDECIDED = "ok", "violated", "undecided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was proved about one smile (butterfly) or one pair of adjacent smiles (calendar).

    verdict: "ok" (proved for every strike), "violated" or "undecided" (which means not certified).
    k: log-moneyness where it is worst, None when the parameters are outside their domain.
    margin: the smallest butterfly function g, or the smallest (w_later - w_earlier) / w_later(0), on the strikes searched
    for the place: at least |k| <= 3. A number for people: the verdict does not rest on it.
    exact: settled in rational arithmetic. interval: the strikes k around `k` where it is violated; an end may be infinite.
    """

    verdict: str
    k: float | None
    margin: float
    exact: bool
    interval: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: an infinite end or margin becomes null."""
        return {
            "verdict": self.verdict,
            "k": self.k,
            "margin": _finite(self.margin),
            "exact": self.exact,
            "interval": None if self.interval is None else [_finite(end) for end in self.interval],
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "Verdict":
        """Return the verdict that `to_dict` has written."""
        interval = fields["interval"]
        if interval is not None:
            low, high = interval
            interval = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
        k, margin = fields["k"], fields["margin"]
        return Verdict(
            verdict=fields["verdict"],
            k=None if k is None else float(k),
            margin=-math.inf if margin is None else float(margin),
            exact=bool(fields["exact"]),
            interval=interval,
        )


@dataclass(frozen=True, slots=True)
class Certificate:
    """The verdicts of a surface: `butterfly` per smile, `calendar` per pair of adjacent smiles, nearest first."""

    ok: bool
    butterfly: tuple[Verdict, ...]
    calendar: tuple[Verdict, ...]

    @staticmethod
    def of(butterfly: tuple[Verdict, ...], calendar: tuple[Verdict, ...]) -> "Certificate":
        """Return the certificate of these verdicts: ok when every one is."""
        return Certificate(all(v.verdict == OK for v in (*butterfly, *calendar)), butterfly, calendar)

    @property
    def violations(self) -> int:
        """Return how many verdicts are not ok."""
        return sum(v.verdict != OK for v in (*self.butterfly, *self.calendar))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "ok": self.ok,
            "butterfly": [v.to_dict() for v in self.butterfly],
            "calendar": [v.to_dict() for v in self.calendar],
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "Certificate":
        """Return the certificate that `to_dict` has written."""
        return Certificate(
            ok=bool(fields["ok"]),
            butterfly=tuple(Verdict.from_dict(v) for v in fields["butterfly"]),
            calendar=tuple(Verdict.from_dict(v) for v in fields["calendar"]),
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
