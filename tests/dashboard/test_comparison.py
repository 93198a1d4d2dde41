"""Comparing with another time: pinned or stored surfaces, the split of the change, and words when there is nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scripted_market import START_NS, ScriptedClient, publication

from volsurface.dashboard.choices import Choices
from volsurface.dashboard.comparison import AGO_S, NOTHING, PINNED, Comparison
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.picture import Picture
from volsurface.dashboard.surface_change import smile_change
from volsurface.dashboard.views.smile import SmileView
from volsurface.dashboard.views.term import SkewView, TermView
from volsurface.engine.history_rows import HistoryRows
from volsurface.io.history.writer import Writer

S = 10**9


@pytest.fixture
async def client() -> ScriptedClient:
    client = ScriptedClient()
    client.step()
    return client


@pytest.fixture
async def hub(client: ScriptedClient) -> SurfaceHub:
    hub = SurfaceHub(client, client.now_ns)
    hub.take()
    return hub


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own time limit ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.005)


def test_the_choices_are_those_that_are_known() -> None:
    assert Choices.param.compare.objects == [NOTHING, *AGO_S, PINNED]


async def test_a_pinned_surface_is_drawn_dashed_in_every_panel(hub: SurfaceHub, client: ScriptedClient) -> None:
    choices = Choices(underlying="BTC")
    comparison = Comparison(hub, choices)
    views = [kind(hub, choices, comparison=comparison) for kind in (SmileView, TermView, SkewView)]
    for view in views:
        view.apply()
    smile, term, _ = views
    assert smile.top.sources["then"].data["x"].size == 0
    fit, atm = dict(smile.top.sources["fit"].data), term.term.figure.sources["term"].data["atm"].copy()
    comparison.pin()
    assert choices.compare == PINNED
    client.step()
    for view in views:
        view.apply()
    then = smile.top.sources["then"].data
    inside = (then["x"] >= fit["x"][0]) & (then["x"] <= fit["x"][-1])
    assert inside.sum() > 100
    assert np.allclose(then["then"][inside], np.interp(then["x"][inside], fit["x"], fit["fit"]), atol=0.01)
    assert not np.allclose(smile.top.sources["fit"].data["fit"], then["then"], atol=0.01)
    assert np.allclose(term.term.figure.sources["then"].data["atm"], atm)
    assert "since 2026-11-21" in smile.card._facts
    choices.compare = NOTHING
    for view in views:
        view.apply()
    assert smile.top.sources["then"].data["x"].size == 0
    assert term.term.figure.sources["then"].data["days"].size == 0
    assert "since" not in smile.card._facts


async def test_each_coin_has_a_pin_of_its_own(hub: SurfaceHub, client: ScriptedClient) -> None:
    choices = Choices(underlying="BTC", compare=PINNED)  # as a link may say
    comparison = Comparison(hub, choices)
    comparison.follow()
    first = comparison.surface
    assert first is client.surfaces["BTC"].surface
    choices.underlying = "ETH"
    client.step()
    comparison.follow()
    assert comparison.surface is client.surfaces["ETH"].surface
    choices.underlying = "BTC"
    comparison.follow()
    assert comparison.surface is first


def test_the_parts_add_up_to_the_change_at_the_old_strike() -> None:
    before, after = publication(phase=0.0).surface.smiles[5], publication(phase=0.8).surface.smiles[5]
    after = replace(after, forward=1.01 * after.forward)
    change = smile_change(before, after)
    old_strike = before.forward
    assert change.total == pytest.approx(float(after.vol(old_strike)) - float(before.vol(old_strike)), abs=1e-12)
    parts = change.level + change.slide + change.skew_part + change.curvature_part + change.rest
    assert parts == pytest.approx(change.total, abs=1e-15)
    assert change.forward == pytest.approx(after.forward / before.forward - 1)


async def test_the_words_name_level_skew_curvature_and_spot(hub: SurfaceHub, client: ScriptedClient) -> None:
    comparison = Comparison(hub, Choices(underlying="BTC"))
    comparison.pin()
    client.step(hole=5)
    picture = hub.picture("BTC")
    assert picture is not None
    words = comparison.change_words(picture, 5)
    for part in ("level", "skew", "curvature", "spot", "rest"):
        assert f"{part} " in words
    client.step(failed=5)
    picture = hub.picture("BTC")
    assert picture is not None
    assert comparison.change_words(picture, 5) == ""


async def test_without_a_historian_it_says_so(hub: SurfaceHub) -> None:
    choices = Choices(underlying="BTC", compare="1 h ago")
    view = SmileView(hub, choices)
    view.apply()
    assert "no historian is running" in view.card._words


async def test_an_hour_ago_comes_from_the_history_and_a_day_ago_is_said_to_be_missing(
    hub: SurfaceHub, client: ScriptedClient, tmp_path: Path
) -> None:
    root = tmp_path / "simulated"
    writer = Writer(root, "test", min_free_bytes=0)
    rows, stored = HistoryRows(writer), []
    for second in range(3):
        now_ns = START_NS + second * S
        made = publication("BTC", phase=0.2 * second, surface_id=second + 1, now_ns=now_ns)
        stored.append(replace(made, surface=replace(made.surface, valuation_time_ns=now_ns)))
        rows.begin(now_ns)
        rows.publication(stored[-1])
    writer.flush()
    writer.close()
    client.surfaces["BTC"] = replace(client.surfaces["BTC"], market_time_ns=START_NS + 3601 * S)
    choices = Choices(underlying="BTC", compare="1 h ago")
    comparison = Comparison(hub, choices, root)

    def followed() -> bool:
        comparison.follow()
        return comparison.surface is not None or bool(comparison.words)

    await until(followed)
    assert comparison.surface is not None
    assert comparison.surface.digest == stored[1].surface.digest
    picture = hub.picture("BTC")
    assert isinstance(picture, Picture)
    assert comparison.change_words(picture, 5)
    version = comparison.version
    choices.compare = "24 h ago"
    await until(followed)
    assert comparison.surface is None
    assert comparison.words.startswith("24 h ago: ")
    assert comparison.version > version
