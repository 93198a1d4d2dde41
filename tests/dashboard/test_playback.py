"""The controls of a played market: hidden for any other, sent when turned, shown as the feed answers."""

import asyncio
from typing import Any

import pytest
from scripted_market import ScriptedClient

from volsurface.dashboard.choices import Choices
from volsurface.dashboard.frame_loop import Counts
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.playback import PlaybackPanel, playing_words
from volsurface.dashboard.status_strip import PageState, cells

T = 1_795_000_000 * 10**9
MINUTE: dict[str, Any] = {
    "first_ns": T, "last_ns": T + 60 * 10**9, "position_ns": T + 15 * 10**9, "speed": 7.0, "paused": False,
    "waiting": False, "ended": False, "seeking": False,
}  # fmt: skip


@pytest.fixture
async def played() -> tuple[SurfaceHub, PlaybackPanel, list[tuple[str, str]]]:
    client = ScriptedClient()
    client.played = dict(MINUTE)
    client.status["source"] = "replay"
    client.step()
    hub = SurfaceHub(client)
    said: list[tuple[str, str]] = []
    panel = PlaybackPanel(hub, lambda kind, text: said.append((kind, text)), lambda action: action())
    return hub, panel, said


async def settled(panel: PlaybackPanel) -> None:
    while panel._tasks:
        await asyncio.sleep(0)
    panel.follow()


async def test_it_is_hidden_until_a_recording_is_played(played: tuple) -> None:
    hub, panel, _ = played
    panel.follow()
    assert not panel.panel.visible
    await hub._ask_playback()
    panel.follow()
    assert panel.panel.visible
    assert (panel.place.end, panel.place.value, panel.speed.value) == (60.0, 15.0, 7.0)
    assert "7×" in panel.time.object
    assert not hub.client.asked[1:], "showing is not asking"


async def test_turning_asks_the_feed(played: tuple) -> None:
    hub, panel, said = played
    await hub._ask_playback()
    panel.follow()
    del hub.client.asked[:]
    panel._on_pause(None)
    await settled(panel)
    assert panel.pause.label == "Play"
    panel.speed.value = 100.0
    await settled(panel)
    panel._seek(40.0)
    await settled(panel)
    assert hub.client.asked == [{"paused": True}, {"speed": 100.0}, {"seek": T + 40 * 10**9}]
    assert panel.place.value == 40.0
    panel.speed.value = 2.0
    await settled(panel)
    assert said == [("error", "speed is refused")]


async def test_the_badge_says_how_it_is_played(played: tuple) -> None:
    hub, _, _ = played
    await hub._ask_playback()
    hub.take()
    [badge] = [cell for cell in cells(hub, Choices(underlying="BTC"), PageState(Counts())) if cell["id"] == "source"]
    assert badge["value"] == "REPLAY"
    assert badge["note"].endswith("7×")


def test_a_market_that_stands_still_says_why() -> None:
    for change, said in (
        ({"waiting": True}, "waits for the engine"), ({"seeking": True}, "seeking"), ({"ended": True}, "at its end"),
        ({"paused": True}, "paused"),
    ):  # fmt: skip
        assert playing_words(MINUTE | change) == said
