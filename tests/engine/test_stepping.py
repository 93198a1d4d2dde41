"""Steps beside the loop: changes conflate while one runs, results are taken in order, and the loop goes on meanwhile."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
from made_rows import NOW, made_market

from volsurface.engine import stepping
from volsurface.engine.materiality import Thresholds
from volsurface.engine.stepping import Inputs, Stepper
from volsurface.errors import SettingsError
from volsurface.surface.options import FitOptions


class Market:
    """A stepper on made rows that notes what its steps were given."""

    def __init__(self, audit_share: float = 0.0) -> None:
        state, self.rows = made_market()
        self.steps: list[int] = []
        self.published: list[tuple[str, bytes]] = []
        self.findings: list = []
        self.gate = threading.Event()
        self.gate.set()
        thresholds = Thresholds(audit_share=audit_share)
        self.stepper = Stepper(
            ["BTC"], lambda: Inputs(NOW + len(self.steps), FitOptions(), thresholds), lambda: self.rows, self.encode,
            lambda name, result, message, inputs, ms: self.published.append((name, message)), self.findings.append,
        )  # fmt: skip
        waiting = self.stepper.waiting["BTC"]
        waiting.list(list(range(self.rows.size)), state.instruments)
        step = waiting.state.step

        def noted(rows, changed, *rest, **named):
            self.steps.append(changed.size)
            self.gate.wait(30)
            return step(rows, changed, *rest, **named)

        waiting.state.step = noted

    def encode(self, name, result, inputs) -> bytes:
        assert threading.current_thread() is not threading.main_thread()
        return b"message"

    async def until(self, condition) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)


async def test_changes_wait_while_a_step_runs_and_are_one_step_then() -> None:
    market, stop = Market(), asyncio.Event()
    running = asyncio.create_task(market.stepper.run(stop, lambda: 0.001))
    market.gate.clear()
    market.stepper.note(np.arange(market.rows.size))
    await market.until(lambda: len(market.steps) == 1)
    for _ in range(50):  # more than there are instruments
        market.stepper.note(np.array([1, 2, 3]))
        market.stepper.note(np.array([3, 4]))
    assert len(market.steps) == 1
    market.gate.set()
    await market.until(lambda: len(market.steps) >= 2 and market.published)
    assert market.steps[0] == market.rows.size
    assert market.steps[1] == 4
    stop.set()
    await asyncio.wait_for(running, 30)
    assert ("BTC", b"message") in market.published


async def test_without_changes_an_underlying_is_stepped_all_the_same() -> None:
    market, stop = Market(), asyncio.Event()
    running = asyncio.create_task(market.stepper.run(stop, lambda: 0.001))
    await market.until(lambda: len(market.steps) >= 2)
    stop.set()
    await asyncio.wait_for(running, 30)
    assert market.steps[:2] == [0, 0]


async def test_skipped_work_is_audited_after_the_step() -> None:
    market, stop = Market(audit_share=1.0), asyncio.Event()
    running = asyncio.create_task(market.stepper.run(stop, lambda: 0.001))
    market.stepper.note(np.arange(market.rows.size))
    await market.until(lambda: market.published)
    market.stepper.note(np.arange(market.rows.size))
    await market.until(lambda: len(market.findings) >= 3)
    stop.set()
    await asyncio.wait_for(running, 30)
    assert {finding.kind for finding in market.findings} == {"vols"}
    assert all(finding.error <= finding.threshold for finding in market.findings)


async def test_a_new_listing_waits_for_the_step_to_end() -> None:
    market, stop = Market(), asyncio.Event()
    waiting = market.stepper.waiting["BTC"]
    instruments = list(waiting._listed[0][1])
    waiting.begin()
    assert waiting.state.iids.size == market.rows.size
    waiting.forget_listing()
    waiting.list([0, 1], instruments[:2])
    assert waiting.state.iids.size == market.rows.size
    assert waiting.begin().size == 0
    assert waiting.state.iids.tolist() == [0, 1]
    stop.set()


async def test_where_several_venues_quote_each_is_fitted_alone_in_turn(monkeypatch) -> None:
    monkeypatch.setattr(stepping, "VENUE_FIT_S", 0.0)
    market, stop, found = Market(), asyncio.Event(), {}
    state = market.stepper.waiting["BTC"].state
    ours = [
        i for waiting in (market.stepper.waiting["BTC"],) for _, instruments in waiting._listed for i in instruments
    ]
    others = [replace(instrument, venue="okx") for instrument in ours]
    market.rows = np.concatenate([market.rows, market.rows])
    market.rows["iid"] = np.arange(market.rows.size)
    market.stepper.waiting["BTC"].list(list(range(len(ours), 2 * len(ours))), others)
    market.stepper._venue_fitted = lambda name, venue, surface: found.update({(name, venue): surface})
    running = asyncio.create_task(market.stepper.run(stop, lambda: 0.001))
    market.stepper.note(np.arange(market.rows.size))
    await market.until(lambda: len(found) == 2)
    stop.set()
    await asyncio.wait_for(running, 30)
    assert state.venues == ("deribit", "okx")
    assert found.keys() == {("BTC", "deribit"), ("BTC", "okx")}
    for surface in found.values():
        assert surface.state == "certified"
        assert [smile.n_quotes for smile in surface.smiles] == [
            smile.n_quotes // 2 for smile in state.fit.surface.smiles
        ]


async def test_one_venue_is_not_fitted_twice(monkeypatch) -> None:
    monkeypatch.setattr(stepping, "VENUE_FIT_S", 0.0)
    market, stop, found = Market(), asyncio.Event(), []
    market.stepper._venue_fitted = lambda *said: found.append(said)
    running = asyncio.create_task(market.stepper.run(stop, lambda: 0.001))
    market.stepper.note(np.arange(market.rows.size))
    await market.until(lambda: len(market.steps) >= 3)
    stop.set()
    await asyncio.wait_for(running, 30)
    assert not found


async def test_a_candidate_is_fitted_between_steps_from_the_same_rows_and_changes_nothing() -> None:
    market, stop = Market(), asyncio.Event()
    running = asyncio.create_task(market.stepper.run(stop, lambda: 0.001))
    market.stepper.note(np.arange(market.rows.size))
    await market.until(lambda: market.published)
    shown = market.stepper.waiting["BTC"].state.fit
    pair = await market.stepper.candidate("BTC", FitOptions(min_quotes=7, spread_floor=0.05))
    assert pair is not None
    live, tried = pair
    assert live.state == tried.state == "certified"
    assert [s.expiry_ns for s in live.smiles] == [s.expiry_ns for s in tried.smiles]
    assert live.digest != tried.digest
    same = await market.stepper.candidate("BTC", FitOptions())
    assert same is not None
    assert same[0].digest == same[1].digest
    assert market.stepper.waiting["BTC"].state.fit is shown
    market.gate.clear()
    market.stepper.note(np.arange(3))
    steps = len(market.steps)
    await market.until(lambda: len(market.steps) > steps)  # a step is under way: trials wait
    first = asyncio.create_task(market.stepper.candidate("BTC", FitOptions()))
    await asyncio.sleep(0)
    second = asyncio.create_task(market.stepper.candidate("BTC", FitOptions()))
    with pytest.raises(SettingsError, match="a newer trial"):
        await first
    market.gate.set()
    assert await second is not None
    stop.set()
    await asyncio.wait_for(running, 30)
