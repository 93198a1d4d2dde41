"""The mixture of one underlying, found beside its certified SVI surface and kept while that goes on. Pure.

The SVI surface is published at once. A mixture is searched for on a snapshot of its quotes, a few turns per step, so that no
step is long and a replay repeats the search; once found it follows each refit by a short one from where it stood. It is
shown only while it is certified and nearer the quotes than SVI; else SVI is shown, with the reason.
"""

from collections.abc import Generator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from volsurface.surface.calibration import Slices, slices
from volsurface.surface.certificate import certify
from volsurface.surface.mixture_fit import FEWEST, WEIGHT, MixtureFit, MixtureProblem, finished, search
from volsurface.surface.options import AUTOMATIC, SVI_ONLY, FitOptions
from volsurface.surface.quality import closeness
from volsurface.surface.quoted import QuotedVols
from volsurface.surface.repair import is_certified
from volsurface.surface.smile import MIXTURE, SVI, Smile
from volsurface.surface.surface import Surface

TURNS = 2  # of a search per step: some 10 ms
WARM_ROUNDS = 1
AGAIN = 600  # steps until a search that found nothing to show is repeated
WORTH, WORTHLESS = 0.005, -0.005  # gain of inside share at which "automatic" goes to the mixture, and back to SVI


class Refined(NamedTuple):
    """A surface with its quotes, as they are to be shown.

    words: which model, what it gained or why it is SVI. gain: share of the quotes inside, mixture minus SVI; None for SVI.
    """

    surface: Surface
    quotes: QuotedVols
    words: str
    gain: float | None


class _Points(NamedTuple):
    """The used quotes of a surface. rows: of the quotes; slot: place of each one's expiry; free: may be mixtures."""

    rows: np.ndarray
    slot: np.ndarray
    slices: Slices
    certified: np.ndarray
    free: np.ndarray


class _Kept(NamedTuple):
    """A mixture and the SVI smiles it was fitted beside. components: by expiry, raw SVI, shape (2, 5)."""

    beside: dict[int, Smile]
    components: dict[int, np.ndarray]


class Refinement:
    """Of one underlying. searches, refits, refits_certified: counts; a refit is certified when it moved to a certified mixture."""

    def __init__(self) -> None:
        self.searches = self.refits = self.refits_certified = 0
        self.forget()

    def forget(self) -> None:
        """Begin anew: the next certified surface is searched."""
        self._kept: _Kept | None = None
        self._work: Generator[None, None, MixtureFit | None] | None = None
        self._snapshot: tuple[Surface, _Points] | None = None
        self._pause, self._reason, self._shown = 0, "", False
        self._last: tuple[Surface, QuotedVols, Refined] | None = None

    @property
    def searching(self) -> bool:
        """Whether a search has begun and not come to its end."""
        return self._work is not None

    def advance(self, surface: Surface, quotes: QuotedVols, options: FitOptions) -> Refined:
        """Take one step beside `surface`, an SVI surface with its quotes; return what is to be shown.

        The same object comes back while nothing has changed.
        """
        if options.model == SVI_ONLY:
            if self._kept is not None or self._work is not None or self._pause:
                self.forget()
            return Refined(surface, quotes, "", None)
        if surface.state != "certified" or not surface.smiles:
            return Refined(surface, quotes, f"SVI: its surface is {surface.state}", None)
        last = self._last
        if last is not None and last[0] is surface and last[1] is quotes and self._work is None and not self._pause:
            return last[2]
        if self._kept is None:
            self._search(surface, quotes, options)
        if self._kept is not None:
            refined = self._keep(surface, quotes, options)
        else:
            refined = Refined(surface, quotes, f"SVI: {self._reason}", None)
        self._last = surface, quotes, refined
        return refined

    def _search(self, surface: Surface, quotes: QuotedVols, options: FitOptions) -> None:
        """Go on searching, on the snapshot it began with."""
        if self._pause:
            self._pause -= 1
            return
        if self._work is None:
            points = points_of(surface, quotes, options)
            if not points.free.any():
                self._give_up(_too_few(surface, points))
                return
            self._snapshot = surface, points
            self._work = search(
                MixtureProblem(points.slices, np.ones(points.rows.size, bool), points.certified, points.free)
            )
            self._reason = "the mixture is being searched"
            self.searches += 1
        try:
            for _ in range(TURNS):
                next(self._work)
        except StopIteration as end:
            found: MixtureFit | None = end.value
            assert self._snapshot is not None
            began, points = self._snapshot
            self._work = self._snapshot = None
            if found is None:
                self._give_up("no two certified surfaces were found near it")
                return
            expiries = [smile.expiry_ns for smile in began.smiles]
            components = {expiry: found.components[:, i] for i, expiry in enumerate(expiries) if points.free[i]}
            self._kept = _Kept({smile.expiry_ns: smile for smile in began.smiles}, components)

    def _give_up(self, reason: str) -> None:
        self._kept, self._pause, self._reason, self._shown = None, AGAIN, reason, False

    def _keep(self, surface: Surface, quotes: QuotedVols, options: FitOptions) -> Refined:
        """Let the mixture follow `surface`; where it cannot, or is worth nothing, return SVI."""
        assert self._kept is not None
        points = points_of(surface, quotes, options)
        start = np.stack([points.certified, points.certified])
        loose = np.zeros(points.free.size, bool)
        for i, smile in enumerate(surface.smiles):
            before, known = self._kept.beside.get(smile.expiry_ns), self._kept.components.get(smile.expiry_ns)
            if known is not None and points.free[i] and before is not None:
                start[:, i] = known if before is smile else _carried(known, before, smile)
            loose[i] = points.free[i] and (before is None or before.fit_time_ns != smile.fit_time_ns)
        used = np.ones(points.rows.size, bool)
        problem = MixtureProblem(points.slices, used, points.certified, loose)
        components: np.ndarray | None = start
        if not all(is_certified(part) for part in start):
            everything = MixtureProblem(points.slices, used, points.certified, points.free)
            components = everything.certified_near(start)
        if components is None:
            self._give_up("the mixture lost its certificate")
            self._pause = 0
            return Refined(surface, quotes, f"SVI: {self._reason}", None)
        if loose.any():
            fit = finished(problem.rounds(components, WARM_ROUNDS))
            self.refits += 1
            self.refits_certified += fit.components is not components
            components = fit.components
        expiries = [smile.expiry_ns for smile in surface.smiles]
        self._kept = _Kept(
            {smile.expiry_ns: smile for smile in surface.smiles},
            {expiry: components[:, i] for i, expiry in enumerate(expiries) if points.free[i]},
        )
        return self._judged(surface, quotes, options, points, problem, components)

    def _judged(
        self, surface: Surface, quotes: QuotedVols, options: FitOptions, points: _Points, problem: MixtureProblem,
        components: np.ndarray,
    ) -> Refined:  # fmt: skip
        """The mixture, if it is to be shown."""
        svi = np.stack([points.certified, points.certified])
        if not problem.cost(components) < problem.cost(svi):
            self._give_up("a mixture is no nearer the quotes")
            return Refined(surface, quotes, f"SVI: {self._reason}", None)
        smiles = self._smiles(surface, quotes, points, problem, components)
        counts = np.array([smile.n_quotes for smile in smiles])
        both = [np.array([smile.inside_spread for smile in of]) for of in (smiles, surface.smiles)]
        gain = float(((both[0] - both[1]) * counts).sum() / max(counts.sum(), 1))
        if options.model == AUTOMATIC:
            self._shown = gain >= (WORTHLESS if self._shown else WORTH)
            if not self._shown:
                return Refined(
                    surface, quotes, f"SVI: a mixture would bring {100 * gain:.1f} % of the quotes inside", None
                )
        certificate = certify(smiles)
        if not certificate.ok:  # cannot be: these numbers were certified as components
            self._give_up("the mixture is not certified")
            return Refined(surface, quotes, f"SVI: {self._reason}", None)
        words = f"mixture of two SVI surfaces: {100 * gain:+.1f} % of the quotes inside, compared with SVI"
        few = _too_few(surface, points)
        shown = replace(surface, smiles=smiles, certificate=certificate)
        return Refined(shown, self._quoted(quotes, smiles), f"{words}; {few}" if few else words, gain)

    def _smiles(
        self, surface: Surface, quotes: QuotedVols, points: _Points, problem: MixtureProblem, components: np.ndarray
    ) -> tuple[Smile, ...]:
        """The smiles of the mixture; one that has not changed is the object of before."""
        before = {smile.expiry_ns: smile for smile in self._last[2].surface.smiles} if self._last else {}
        rows, n = points.rows, len(surface.smiles)
        years = np.array([smile.years for smile in surface.smiles])
        vol = np.sqrt(problem.variance(components) / years[points.slot])
        share, rmse, worst = closeness(
            points.slot,
            n,
            vol,
            quotes.bid_vol[rows],
            quotes.ask_vol[rows],
            quotes.mid_vol[rows],
            np.ones(rows.size, bool),
        )
        found = []
        for i, smile in enumerate(surface.smiles):
            if points.free[i]:
                parameters = (WEIGHT, *components[0, i].tolist(), *components[1, i].tolist())
                smile = replace(
                    smile, model=MIXTURE, parameters=parameters, inside_spread=float(share[i]), rmse_bp=float(rmse[i]),
                    max_error_bp=float(worst[i]), method="mixture",
                )  # fmt: skip
                known = before.get(smile.expiry_ns)
                smile = known if known == smile else smile
            found.append(smile)
        return tuple(found)

    def _quoted(self, quotes: QuotedVols, smiles: tuple[Smile, ...]) -> QuotedVols:
        """The quotes with the mixture's vols in the place of SVI's."""
        fit_vol = quotes.fit_vol.copy()
        for smile in smiles:
            if smile.model == MIXTURE:
                mine = slice(*np.searchsorted(quotes.expiry_ns, [smile.expiry_ns, smile.expiry_ns + 1]).tolist())
                fit_vol[mine] = smile.vol_at(quotes.k[mine])
        return replace(quotes, fit_vol=fit_vol)


def refined_at_once(surface: Surface, quotes: QuotedVols, options: FitOptions) -> Refined:
    """Return what `Refinement` shows of a surface when its search has come to an end."""
    refinement = Refinement()
    refined = refinement.advance(surface, quotes, options)
    while refinement.searching:
        refined = refinement.advance(surface, quotes, options)
    return refined


def points_of(surface: Surface, quotes: QuotedVols, options: FitOptions) -> _Points:
    """Return the used quotes of the smiles of an SVI surface, ready to fit."""
    expiries = np.array([smile.expiry_ns for smile in surface.smiles])
    rows = np.flatnonzero(quotes.used & np.isfinite(quotes.mid_vol) & np.isin(quotes.expiry_ns, expiries))
    slot = np.searchsorted(expiries, quotes.expiry_ns[rows])
    offsets = np.searchsorted(slot, np.arange(expiries.size + 1))
    years = np.array([smile.years for smile in surface.smiles])[slot]
    of = slices(
        offsets, quotes.k[rows], quotes.bid_vol[rows], quotes.ask_vol[rows], quotes.mid_vol[rows], years, options
    )  # fmt: skip
    if len(quotes.venues) > 1:
        of = of._replace(weight=of.weight * quotes.emphasis[rows])
    strikes = np.array([np.unique(quotes.strike[rows[a:b]]).size for a, b in pairwise(offsets.tolist())])
    fitted = np.array([smile.state == "certified" and smile.model == SVI for smile in surface.smiles])
    certified = np.array([smile.parameters for smile in surface.smiles])
    return _Points(rows, slot, of, certified, fitted & (strikes >= FEWEST))


def _carried(components: np.ndarray, before: Smile, now: Smile) -> np.ndarray:
    """The components moved as the SVI smile beside them was, where it was moved and not fitted; else as they are."""
    if before.fit_time_ns != now.fit_time_ns or before.parameters == now.parameters:
        return components
    scale = (
        now.parameters[1] / before.parameters[1]
        if before.parameters[1] > 0.0
        else now.parameters[0] / before.parameters[0]
    )
    moved = components.copy()
    moved[:, :2] *= scale
    moved[:, 3] += now.parameters[3] - before.parameters[3]
    return moved


def _too_few(surface: Surface, points: _Points) -> str:
    """In words, which expiries stay SVI because of their quotes; empty when none does."""
    count = np.bincount(points.slot, minlength=points.free.size)
    names = [
        f"{smile.years * 365:.2f} days ({count[i]} quotes)"
        for i, smile in enumerate(surface.smiles)
        if not points.free[i]
    ]
    return f"too few strikes, or stale, for two components: expiry in {', '.join(names)}" if names else ""
