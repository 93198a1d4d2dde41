"""Takes the steps of every underlying in one thread beside the event loop, so that rows arrive while a surface is fitted.

Changes wait per underlying, the newest of each row, until its next step: an unstarted step is never two. One step runs at
a time and its result is taken before the next begins, so a result can never be older than what is shown, and a step is a
function of what it was given: rows, ids, time and settings.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from volsurface.engine.audit import Finding, refit
from volsurface.engine.candidate import Pair, fit_both
from volsurface.engine.materiality import Thresholds
from volsurface.engine.step import StepResult, UnderlyingState
from volsurface.errors import SettingsError
from volsurface.market.instrument import Instrument
from volsurface.surface.options import FitOptions
from volsurface.surface.surface import Surface

VENUE_FIT_S = 1.0  # between two fits of one venue's quotes alone, all underlyings and venues in turn
LONGEST_PAUSE_S = 0.1  # an underlying is stepped without a change too: surfaces become stale, expiries pass


class Waiting:
    """What waits for the next step of one underlying."""

    def __init__(self, name: str) -> None:
        self.state = UnderlyingState(name)
        self.due_s = self.last_s = 0.0  # on the loop's clock
        self._changed: list[np.ndarray] = []
        self._listed: list[tuple[list[int], list[Instrument]]] = []
        self._forget = self._refit = False

    def note(self, changed: np.ndarray) -> None:
        """These rows (ids; other underlyings' too) have changed."""
        if changed.size:
            self._changed.append(changed)

    def list(self, iids: list[int], instruments: list[Instrument]) -> None:
        """These instruments are new."""
        self._listed.append((iids, instruments))

    def forget_listing(self) -> None:
        """The feed has started anew: what was listed before is gone."""
        self._changed, self._listed, self._forget = [], [], True

    def refit_all(self) -> None:
        """The next step fits everything."""
        self._refit = True

    @property
    def has_changes(self) -> bool:
        return bool(self._changed or self._forget or self._refit)

    def take_listing(self) -> None:
        """Bring the state's listing up to date; no step may be under way."""
        if self._forget:
            self.state.forget_listing()
        for iids, instruments in self._listed:
            self.state.list(iids, instruments)
        self._listed, self._forget = [], False

    def begin(self) -> np.ndarray:
        """Bring the state up to date and return the ids that changed since the last step, each once."""
        self.take_listing()
        if self._refit:
            self.state.refit_all()
        changed = np.unique(np.concatenate(self._changed)) if self._changed else np.empty(0, np.int64)
        self._changed, self._refit = [], False
        return changed


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every step of one moment is given: the market's time, fit options and thresholds."""

    now_ns: int
    options: FitOptions
    thresholds: Thresholds


class Stepper:
    """Takes steps as they fall due and hands results to the loop's thread.

    inputs: asked before each step. rows: the feed's rows by id; copied before each step. encode: makes a message of a result
    that is to be published, in the stepping thread. begun(name, inputs), publish(name, result, message, inputs, ms) and
    found(finding) are called on the loop's thread, and so is venue_fitted(name, venue, surface): the surface of one venue's
    quotes alone, made now and then where several quote.
    """

    def __init__(
        self,
        names: Sequence[str],
        inputs: Callable[[], Inputs],
        rows: Callable[[], np.ndarray],
        encode: Callable[[str, StepResult, Inputs], bytes],
        publish: Callable[[str, StepResult, bytes, Inputs, float], None],
        found: Callable[[Finding], None],
        begun: Callable[[str, Inputs], None] = lambda name, inputs: None,
        venue_fitted: Callable[[str, str, Surface], None] = lambda name, venue, surface: None,
    ) -> None:
        self.waiting = {name: Waiting(name) for name in names}
        self._inputs, self._rows, self._encode, self._publish, self._found = inputs, rows, encode, publish, found
        self._begun = begun
        self._venue_fitted = venue_fitted
        self._venue_fit_due_s = 0.0
        self._venue_turns: dict[str, int] = dict.fromkeys(names, 0)
        self._candidates: dict[str, list[tuple[FitOptions, asyncio.Future[Pair | None]]]] = {name: [] for name in names}
        self._fresh = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "step")

    def note(self, changed: np.ndarray) -> None:
        """These rows have changed."""
        for waiting in self.waiting.values():
            waiting.note(changed)
        if changed.size:
            self._fresh.set()

    async def run(self, stop: asyncio.Event, pause_s: Callable[[], float]) -> None:
        """Step until `stop`: an underlying with changes `pause_s()` after its last step began, or at once if it is later."""
        loop = asyncio.get_running_loop()
        try:
            while not stop.is_set():
                now_s = loop.time()
                due = [name for name, waiting in self.waiting.items() if self._due_s(waiting, pause_s()) <= now_s]
                if due:
                    await self._step(min(due, key=lambda name: self.waiting[name].last_s))
                    continue
                wait_s = min(self._due_s(waiting, pause_s()) for waiting in self.waiting.values()) - now_s
                self._fresh.clear()
                try:
                    await asyncio.wait_for(self._fresh.wait(), max(wait_s, 0.001))
                except TimeoutError:
                    continue
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _due_s(waiting: Waiting, pause_s: float) -> float:
        return waiting.last_s + (pause_s if waiting.has_changes else max(pause_s, LONGEST_PAUSE_S))

    async def _step(self, name: str) -> None:
        loop, waiting = asyncio.get_running_loop(), self.waiting[name]
        waiting.last_s = loop.time()
        rows = self._rows()
        if not rows.size:
            return
        changed, inputs, rows = waiting.begin(), self._inputs(), rows.copy()
        self._begun(name, inputs)
        result, message, ms = await loop.run_in_executor(
            self._thread, self._work, name, waiting.state, rows, changed, inputs
        )
        self._publish(name, result, message, inputs, ms)
        for at_once in result.findings:
            self._found(at_once)
        for skipped in result.skipped:
            finding: Finding | None = await loop.run_in_executor(self._thread, refit, skipped)
            if finding is not None:
                self._found(finding)
        for options, answer in self._take_candidates(name):
            pair = await loop.run_in_executor(
                self._thread, fit_both, waiting.state, rows, inputs.now_ns, inputs.options, options
            )
            if not answer.done():
                answer.set_result(pair)
        if loop.time() >= self._venue_fit_due_s:
            await self._fit_a_venue(name, rows, inputs)

    async def candidate(self, name: str, options: FitOptions) -> Pair | None:
        """Return the surfaces of the rows of the next step, with the options in force and with these (`fit_both`).

        Between two steps, for a state must not change while it is read. Only the newest that waits is fitted.
        """
        for _, waiting in self._take_candidates(name):
            waiting.set_exception(SettingsError("a newer trial of another page has taken this one's place"))
        answer: asyncio.Future[Pair | None] = asyncio.get_running_loop().create_future()
        self._candidates[name].append((options, answer))
        self._fresh.set()
        return await answer

    def _take_candidates(self, name: str) -> list[tuple[FitOptions, asyncio.Future[Pair | None]]]:
        taken, self._candidates[name] = self._candidates[name], []
        return [(options, answer) for options, answer in taken if not answer.done()]

    async def _fit_a_venue(self, name: str, rows: np.ndarray, inputs: Inputs) -> None:
        """Fit the next venue's quotes alone, where several quote."""
        loop, state = asyncio.get_running_loop(), self.waiting[name].state
        self._venue_fit_due_s = loop.time() + VENUE_FIT_S
        venues = state.venues
        if len(venues) > 1 and state.fit is not None:
            venue = venues[self._venue_turns[name] % len(venues)]
            self._venue_turns[name] += 1
            surface: Surface | None = await loop.run_in_executor(
                self._thread, state.venue_surface, rows, venue, inputs.now_ns, inputs.options
            )
            if surface is not None:
                self._venue_fitted(name, venue, surface)

    def step_now(self, name: str, inputs: Inputs) -> None:
        """Take one step at once, in this thread, without audits: a replay's."""
        rows, waiting = self._rows(), self.waiting[name]
        if not rows.size:
            return
        changed = waiting.begin()
        self._begun(name, inputs)
        self._publish(name, *self._work(name, waiting.state, rows, changed, inputs)[:2], inputs, 0.0)

    def _work(
        self, name: str, state: UnderlyingState, rows: np.ndarray, changed: np.ndarray, inputs: Inputs
    ) -> tuple[StepResult, bytes, float]:
        began = time.perf_counter()
        result = state.step(rows, changed, inputs.now_ns, inputs.options, inputs.thresholds, timer=time.thread_time_ns)
        message = b""
        if result.fit is not None:
            spent = time.thread_time_ns()
            message = self._encode(name, result, inputs)
            state.ledger.spend("publications", time.thread_time_ns() - spent)
        return result, message, (time.perf_counter() - began) * 1e3
