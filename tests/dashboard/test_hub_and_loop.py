"""The hub reads, the loop draws: what is skipped, what is dropped, and what a broken page costs the others."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from bokeh.document import Document
from scripted_market import ScriptedClient, publication

from volsurface.dashboard import frame_loop as frame_loop_module
from volsurface.dashboard.frame_loop import FrameLoop
from volsurface.dashboard.hub import SurfaceHub


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


class Recorder:
    """A page that notes its visits."""

    def __init__(self, wants: bool = True, fails: bool = False) -> None:
        self.wants, self.fails, self.drawn = wants, fails, 0

    def wants_frame(self, now_s: float) -> bool:
        return self.wants

    def apply(self, now_s: float) -> None:
        self.drawn += 1
        if self.fails:
            raise RuntimeError("a view broke")


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[Any]]:
    """Which documents have a browser, and which browsers are behind."""
    state: dict[str, set[Any]] = {"closed": set(), "behind": set()}
    monkeypatch.setattr(frame_loop_module, "is_watched", lambda document: document not in state["closed"])
    monkeypatch.setattr(frame_loop_module, "has_unsent_bytes", lambda document: document in state["behind"])
    return state


def document() -> Document:
    made = Document()
    made._session_context = lambda: SimpleNamespace(session=None)
    return made


async def test_pages_are_skipped_dropped_and_isolated(
    hub: SurfaceHub, sockets: dict[str, set[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    loop = FrameLoop(hub)
    pages = {name: Recorder() for name in ("good", "broken", "closed", "behind", "gone")}
    pages["unchanged"] = Recorder(wants=False)
    pages["broken"].fails = True
    documents = {name: document() for name in pages}
    documents["gone"]._session_context = None
    sockets["closed"].add(documents["closed"])
    sockets["behind"].add(documents["behind"])
    counts = {name: loop.add(documents[name], page) for name, page in pages.items()}
    loop._task.cancel()  # type: ignore[union-attr]  # the passes are made by hand here
    await loop.visit_all()
    await loop.visit_all()
    drawn = {name: page.drawn for name, page in pages.items()}
    assert drawn == {"good": 2, "broken": 1, "closed": 0, "behind": 0, "gone": 0, "unchanged": 0}
    assert "a view broke" in caplog.text
    assert counts["behind"].skipped == 2
    assert counts["good"].shown == 2
    assert loop.pages == 4  # broken and gone were dropped
    sockets["behind"].clear()
    await loop.visit_all()
    assert pages["behind"].drawn == 1


async def test_the_loop_beats_and_a_user_wakes_it(hub: SurfaceHub, sockets: dict[str, set[Any]]) -> None:
    hub.client.settings["display"]["frames_per_s"] = 0.5
    loop, page = FrameLoop(hub), Recorder()
    loop.add(document(), page)
    async with asyncio.timeout(5):
        while page.drawn < 1:
            await asyncio.sleep(0.005)
        assert loop.beat_ns > 0
        drawn, started = page.drawn, asyncio.get_running_loop().time()
        loop.wake()
        while page.drawn == drawn:
            await asyncio.sleep(0.005)
    assert asyncio.get_running_loop().time() - started < 1.5  # not after the two seconds of a period
    loop._task.cancel()  # type: ignore[union-attr]


async def test_a_picture_is_derived_once_per_publication(hub: SurfaceHub, client: ScriptedClient) -> None:
    first = hub.picture("BTC")
    assert first is hub.picture("BTC")
    client.step()
    hub.take()
    assert hub.picture("BTC") is not first
    assert hub.picture("DOGE") is None
    assert hub.underlyings == ["BTC", "ETH"]


async def test_reading_goes_on_after_a_failure(hub: SurfaceHub, client: ScriptedClient) -> None:
    polls = 0
    healthy = client.poll

    async def failing() -> bool:
        nonlocal polls
        polls += 1
        if polls == 1:
            raise RuntimeError("a bad reply")
        return await healthy()

    client.poll = failing  # type: ignore[method-assign]
    version = hub.version
    hub.start()
    async with asyncio.timeout(5):
        while hub.version == version:
            client.step()
            await asyncio.sleep(0.01)
    assert polls >= 2
    hub._task.cancel()  # type: ignore[union-attr]


async def test_stale_is_about_the_market_not_about_quiet(hub: SurfaceHub, client: ScriptedClient) -> None:
    assert hub.stale_s("BTC") is None
    client.shift_ns = 30_000_000_000
    assert hub.age_s("BTC") == pytest.approx(30, abs=2)
    assert hub.stale_s("BTC") is None  # the venue spoke 50 ms ago: nothing visible has changed
    client.set_venue(age_s=30.0)
    assert hub.stale_s("BTC") == pytest.approx(30, abs=2)
    client.set_venue(age_s=0.1, state="down")
    assert hub.stale_s("BTC") is not None
    client.set_venue(age_s=0.1, state="live")
    client.connected = False
    assert hub.stale_s("BTC") is not None


async def test_waiting_is_named(hub: SurfaceHub, client: ScriptedClient) -> None:
    client.connected, client.error = False, "no engine at this address"
    assert "no engine at this address" in hub.waiting_for()
    client.connected = True
    client.set_status(kernels={"done": 3, "total": 7, "name": "implied_vols"})
    assert hub.waiting_for().startswith("compiling kernels 3/7 (implied_vols)")
    client.set_status(feed_error="the feed is restarting")
    assert "the feed is restarting" in hub.waiting_for()
    client.set_status(venues=[])
    assert hub.waiting_for() == "waiting for the venues to answer"


async def test_an_hour_is_remembered_in_steps(hub: SurfaceHub, client: ScriptedClient) -> None:
    first = hub.hour_ago("BTC")
    assert first is not None
    for minutes in (20, 40, 60, 79):
        client.shift_ns = minutes * 60_000_000_000
        client.step()
        hub.take()
    oldest = hub.hour_ago("BTC")
    assert oldest is not None
    assert oldest.time_ns - first.time_ns == pytest.approx(20 * 60e9, abs=5e9)


async def test_an_unknown_source_is_called_simulated(hub: SurfaceHub, client: ScriptedClient) -> None:
    client.status = {}
    assert hub.source == "simulated"


def test_publications_of_the_script_are_sound() -> None:
    made = publication()
    assert made.surface.certificate.ok
    assert made.decode(made.encode()).surface == made.surface
