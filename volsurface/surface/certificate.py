"""The certificate of a surface: for each smile and each adjacent pair whether arbitrage exists anywhere on the line.

Values, and the two ways to make them: `certify` in floats with a rounding bound, what that leaves open settled exactly;
`verify` in rational arithmetic throughout. The compiled tests are loaded at the first call, so that a page can hold
certificates without Numba.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from volsurface.errors import ArbitrageError
from volsurface.surface import exact_certificate
from volsurface.surface.instants import to_iso
from volsurface.surface.smile import Smile

if TYPE_CHECKING:
    from volsurface.surface.surface import Surface

OK, VIOLATED, UNDECIDED = "ok", "violated", "undecided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was proved about one smile (butterfly) or one pair of adjacent smiles (calendar).

    verdict: "ok" (proved for every strike), "violated" or "undecided" (which means not certified).
    k: log-moneyness where it is worst, None when the parameters are outside their domain.
    margin: the smallest butterfly function g (of w itself where that is not positive), or the smallest (w_later -
    w_earlier) / w_later(0), on the strikes searched for the place: at least |k| <= 3. A number for people: the verdict
    does not rest on it.
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


_NO_MIXTURE = Verdict(VIOLATED, None, -math.inf, True, None)  # a weight that is none


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


def certify(smiles: Sequence[Smile]) -> Certificate:
    """Return the certificate of smiles in order of expiry.

    Each slice and pair is tested in floats with a rounding bound; what lies within the bound is settled in exact
    arithmetic (some 10 ms), so no verdict is undecided. Verdicts are remembered by their parameters: a smile that has not
    changed costs nothing. The verdict on a mixture is the worst of those on its components.
    """
    return _certificate(smiles, butterfly_verdict, calendar_verdict)


def _certificate(
    smiles: Sequence[Smile],
    of_slice: Callable[[tuple[float, ...]], Verdict],
    of_pair: Callable[[tuple[float, ...], tuple[float, ...]], Verdict],
) -> Certificate:
    return Certificate.of(
        tuple(
            _worst(of_slice(parameters) for weight, parameters in smile.components) if _weighted(smile) else _NO_MIXTURE
            for smile in smiles
        ),
        tuple(_worst(of_pair(*slices) for slices in compared(one, two)) for one, two in pairwise(smiles)),
    )


def compared(one: Smile, two: Smile) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return the pairs of components of which the earlier must lie below the later for `two` to cost no less than `one`.

    Weights are carried from the components of `one` to those of `two` so that every component of `two` gets its own; the
    difference in price is then a sum, with these amounts as factors, of differences of components. Equal weights: each to its
    successor. A weight that has changed: the surplus of one component goes to the other one.
    """
    first, second = one.components, two.components
    if len(first) == 1 or len(second) == 1:
        return [(early.parameters, late.parameters) for early in first for late in second]
    pairs = [(first[i].parameters, second[i].parameters) for i in range(2)]
    if second[0].weight != first[0].weight:
        falls = 0 if second[0].weight < first[0].weight else 1
        pairs.append((first[falls].parameters, second[1 - falls].parameters))
    return pairs


def _weighted(smile: Smile) -> bool:
    """Whether the weights are those of a mixture: positive, in sum 1."""
    return all(0.0 < component.weight <= 1.0 for component in smile.components)


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    return min(verdicts, key=lambda verdict: (verdict.verdict == OK, verdict.margin))


def verify(surface: "Surface") -> Certificate:
    """Return the proof, in exact rational arithmetic, that a surface has no arbitrage at any strike or expiry.

    Nothing but the surface's record is needed: its parameters are taken as the rational numbers their float64 are, and
    its own certificate is not believed. A mixture is proved by its components: its weights are rational, positive and sum to 1.
    Raises ArbitrageError naming the first expiry and log-moneyness with arbitrage.
    """
    smiles = surface.smiles
    for one, two in pairwise(smiles):
        if not one.expiry_ns < two.expiry_ns:
            raise ArbitrageError(
                f"{surface.underlying}: {_day(two)} does not come after {_day(one)}: not in time order"
            )
    proof = _certificate(smiles, _exact_butterfly, _exact_calendar)
    for smile, verdict in zip(smiles, proof.butterfly, strict=True):
        if verdict.verdict != OK:
            raise ArbitrageError(f"{surface.underlying} {_day(smile)} has a butterfly arbitrage {_place(verdict)}")
    for one, two, verdict in zip(smiles, smiles[1:], proof.calendar, strict=False):
        if verdict.verdict != OK:
            raise ArbitrageError(
                f"{surface.underlying} {_day(two)} has less total variance than {_day(one)} {_place(verdict)}: "
                "a calendar arbitrage"
            )
    return proof


@lru_cache(maxsize=4096)
def butterfly_verdict(parameters: tuple[float, ...]) -> Verdict:
    """Return the verdict on one slice (a, b, rho, m, sigma), never undecided."""
    from volsurface.surface.worst_place import examine_slice

    answer, *place = examine_slice(np.array(parameters))
    return _exact_butterfly(parameters) if answer < 0 else _verdict(answer == 1, place, False)


@lru_cache(maxsize=4096)
def calendar_verdict(one: tuple[float, ...], two: tuple[float, ...]) -> Verdict:
    """Return the verdict on an earlier and a later slice, never undecided."""
    from volsurface.surface.worst_place import examine_pair

    answer, *place = examine_pair(np.array(one), np.array(two))
    return _exact_calendar(one, two) if answer < 0 else _verdict(answer == 1, place, False)


@lru_cache(maxsize=1024)
def _exact_butterfly(parameters: tuple[float, ...]) -> Verdict:
    from volsurface.surface.worst_place import examine_slice

    free = exact_certificate.butterfly_free(parameters)
    _, *place = examine_slice(np.array(parameters))
    if not free and not place[1] < 0.0 and math.isfinite(place[0]):  # the search has missed it
        place = _inside(place, exact_certificate.butterfly_violation(parameters))
    return _verdict(free, place, True)


@lru_cache(maxsize=1024)
def _exact_calendar(one: tuple[float, ...], two: tuple[float, ...]) -> Verdict:
    from volsurface.surface.worst_place import examine_pair

    free = exact_certificate.calendar_free(one, two)
    _, *place = examine_pair(np.array(one), np.array(two))
    if not free and not place[1] < 0.0 and math.isfinite(place[0]):
        place = _inside(place, exact_certificate.calendar_violation(one, two))
    return _verdict(free, place, True)


def _inside(place: list[float], interval: tuple[float, float] | None) -> list[float]:
    """The place moved into the interval that exact arithmetic has found; as it is when there is none (steep wings)."""
    if interval is None:
        return place
    low, high = interval
    if math.isinf(low) or math.isinf(high):
        k = high - 1.0 if math.isinf(low) and math.isfinite(high) else low + 1.0 if math.isfinite(low) else 0.0
    else:
        k = 0.5 * (low + high)
    return [k, place[1], low, high]


def _verdict(free: bool, place: Iterable[float], exact: bool) -> Verdict:
    k, margin, low, high = map(float, place)
    interval = None if free or math.isnan(low) else (low, high)
    return Verdict(OK if free else VIOLATED, k if math.isfinite(k) else None, margin, exact, interval)


def _day(smile: Smile) -> str:
    return to_iso(smile.expiry_ns)


def _place(verdict: Verdict) -> str:
    """In words, where."""
    if verdict.k is None:
        return "(its parameters are no smile of its model)"
    if verdict.interval is None:
        return f"at k = {verdict.k:.6g}"
    low, high = verdict.interval
    return f"at k = {verdict.k:.6g} (for k from {low:.6g} to {high:.6g})"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
