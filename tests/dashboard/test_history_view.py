"""The History tab: what was stored is shown on axes that stand still, compared, measured and asked, and never waited for."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scripted_market import START_NS, ScriptedClient, publication

from volsurface.dashboard.choices import Choices
from volsurface.dashboard.history_desk import HistoryDesk
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.surface_change import surface_change
from volsurface.dashboard.views.history import HistoryView
from volsurface.engine.history_rows import HistoryRows
from volsurface.errors import HistoryError
from volsurface.io.history.reader import History
from volsurface.io.history.writer import Writer

SECONDS = 90
S = 10**9


def moment(second: int) -> float:
    return 0.01 * second


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute and a half in which the level of all vols goes up."""
    root = tmp_path_factory.mktemp("history") / "simulated"
    writer = Writer(root, "test", min_free_bytes=0)
    rows = HistoryRows(writer)
    for second in range(SECONDS):
        now_ns = START_NS + second * S
        made = publication("BTC", phase=moment(second), surface_id=second + 1, now_ns=now_ns, days=(7, 30, 90))
        surface = replace(made.surface, valuation_time_ns=now_ns)
        rows.begin(now_ns)
        rows.publication(replace(made, surface=surface))
    writer.flush()
    writer.close()
    return root


@pytest.fixture
async def view(store: Path) -> HistoryView:
    client = ScriptedClient()
    client.step()
    hub = SurfaceHub(client, client.now_ns)
    hub.take()
    client.status = {**client.status, "historian": {"folder": str(store)}}
    return HistoryView(hub, Choices(underlying="BTC"))


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own time limit ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.005)


async def opened(view: HistoryView) -> None:
    view.__panel__()
    await until(lambda: view.surface is not None and view.metric.figure.sources["value"].data["x"].size)


async def test_it_opens_at_the_newest_surface_and_follows_it(view: HistoryView) -> None:
    await opened(view)
    assert view.follows
    assert view.surface is not None
    assert view.surface.valuation_time_ns == START_NS + (SECONDS - 1) * S
    assert "newest" in view._now_text.object
    assert np.isfinite(view.smiles.figure.sources["shown"].data["vol"]).sum() > 40


async def test_the_slider_shows_the_surface_of_its_time_and_the_axes_stand_still(view: HistoryView) -> None:
    await opened(view)
    axes = view.smiles.figure.y_range.model.start, view.smiles.figure.y_range.model.end
    newest = view.smiles.figure.sources["shown"].data["vol"]
    view.slider.value = 10
    await until(lambda: view.surface and view.surface.valuation_time_ns == START_NS + 10 * S)
    assert not view.follows
    assert (view.smiles.figure.y_range.model.start, view.smiles.figure.y_range.model.end) == axes
    earlier = view.smiles.figure.sources["shown"].data["vol"]
    assert np.nanmax(np.abs(newest - earlier)) > 1
    assert axes[0] <= np.nanmin(earlier)
    assert np.nanmax(newest) <= axes[1]
    view.newest()
    await until(lambda: view.surface and view.surface.valuation_time_ns == START_NS + (SECONDS - 1) * S)


async def test_two_times_are_compared_expiry_by_expiry(view: HistoryView) -> None:
    await opened(view)
    assert "Set A" in view.change._table.object
    view.slider.value = 20
    await until(lambda: view.surface and view.surface.valuation_time_ns == START_NS + 20 * S)
    view.mark("A")
    view.newest()
    await until(lambda: view.surface and view.surface.valuation_time_ns == START_NS + (SECONDS - 1) * S)
    assert view.change._table.object.count("<tr>") == 1 + 3
    level = 1e4 * 0.03 * (math.sin(moment(SECONDS - 1)) - math.sin(moment(20)))
    assert f"+{level:.1f}" in view.change._table.object
    assert np.isfinite(view.smiles.figure.sources["a"].data["vol"]).any()
    view.mark("B")
    assert "A AGAINST B" in view.change.card._name


async def test_a_metric_stands_over_the_bands_it_was_in(view: HistoryView) -> None:
    await opened(view)
    figure = view.metric.figure
    values = figure.sources["value"].data["y"]
    inner, outer = figure.sources["inner"].data, figure.sources["outer"].data
    assert values.min() <= outer["bottom"][0] < inner["bottom"][0] < inner["top"][0] < outer["top"][0] <= values.max()
    assert inner["bottom"][0] == pytest.approx(np.quantile(values, 0.25), rel=1e-5)
    view.metric.name.value = "25Δ butterfly"
    await until(lambda: not np.array_equal(figure.sources["value"].data["y"], values))
    view.metric.tenor.value = "180 days"
    await until(lambda: "nothing stored of this tenor" in view.metric.card._words)


async def test_sql_is_answered_in_the_pane_or_refused_there_in_words(view: HistoryView) -> None:
    await opened(view)
    view.sql.query.value = "SELECT count(*) AS n FROM surfaces"
    view.sql._on_run(None)
    assert view.sql.button.disabled
    await until(lambda: not view.sql.button.disabled)
    assert f"<td>{SECONDS}</td>" in view.sql.answer.object
    view.sql.query.value = "COPY (SELECT 1) TO '/tmp/<b>.csv'"
    view.sql._on_run(None)
    await until(lambda: not view.sql.button.disabled)
    assert "one SELECT is allowed, found COPY" in view.sql.answer.object
    assert "<b>" not in view.sql.answer.object
    assert view._desk is not None
    view._desk.sandbox.close()


async def test_without_a_historian_or_a_stored_surface_it_says_so(view: HistoryView, tmp_path: Path) -> None:
    view.hub.client.status = {**view.hub.status, "historian": None}
    view.apply()
    assert "no historian is running" in view._now_text.object
    view.hub.client.status = {**view.hub.status, "historian": {"folder": str(tmp_path)}}
    view.apply()
    await until(lambda: "holds no history" in view._now_text.object)


async def test_an_underlying_without_history_says_so(view: HistoryView) -> None:
    await opened(view)
    view.choices.underlying = "ETH"
    view.apply()
    await until(lambda: "nothing stored of ETH yet" in view._now_text.object)


@pytest.fixture
def slow_desk(store: Path) -> Iterator[tuple[HistoryDesk, threading.Event]]:
    """A desk that is busy until the event is set."""
    desk, go = HistoryDesk(store), threading.Event()
    desk.ask("busy", lambda _: go.wait(30), lambda _: None)
    yield desk, go
    go.set()
    desk.close()


def test_of_questions_under_one_name_only_the_newest_is_answered(
    slow_desk: tuple[HistoryDesk, threading.Event],
) -> None:
    desk, go = slow_desk
    answers: list[object] = []
    done = threading.Event()
    for n in range(5):
        desk.ask("slider", lambda _, n=n: n, answers.append)  # type: ignore[misc]
    desk.ask("other", lambda _: "other", lambda answer: (answers.append(answer), done.set()))
    go.set()
    assert done.wait(30)
    assert answers == [4, "other"]


def test_a_question_with_a_fault_is_answered_with_it_and_the_next_one_too(store: Path) -> None:
    desk = HistoryDesk(store)
    answers: list[object] = []
    done = threading.Event()
    desk.ask("broken", lambda _: 1 / 0, answers.append)
    desk.ask("sound", lambda history: history.source, lambda answer: (answers.append(answer), done.set()))
    assert done.wait(30)
    assert isinstance(answers[0], HistoryError)
    assert answers[1] == "simulated"
    desk.close()


def test_the_parts_of_a_change_add_up_and_a_moved_forward_is_the_spot_part_alone(store: Path) -> None:
    with History(store) as history:
        a, b = (history.surface_at(START_NS + second * S, "BTC") for second in (3, 80))
    for change in surface_change(a, b):
        before, after = a.smile(change.expiry_ns), b.smile(change.expiry_ns)
        assert before is not None
        assert after is not None
        assert change.total == pytest.approx(after.vol(before.forward) - before.atm_vol, abs=1e-14)
        assert change.level == pytest.approx(after.atm_vol - before.atm_vol, abs=1e-15)
        assert abs(change.slide) < 1e-12, "the forward stood still"
    moved = replace(a, smiles=tuple(replace(s, forward=1.02 * s.forward) for s in a.smiles))
    for change in surface_change(a, moved):
        assert change.forward == pytest.approx(0.02)
        assert change.level == change.skew == change.curvature == change.skew_part == change.curvature_part == 0
        assert change.rest == pytest.approx(0, abs=1e-15)
        assert change.slide > 0, "the vol of a lower strike, by the slope of this smile"
    failed = replace(b, smiles=(replace(b.smiles[0], state="failed"), *b.smiles[1:]))
    assert len(surface_change(a, failed)) == len(a.smiles) - 1
