"""The controls of a market that is played: pause, speed and place, sent to the feed and shown as it answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui

from volsurface.dashboard.hub import SurfaceHub
from volsurface.errors import VolSurfaceError
from volsurface.surface.instants import to_iso

SPEEDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0, 3600.0, 36000.0)
NS_PER_S = 1_000_000_000
STYLE = ":host { font-size: 12px; color: var(--vs-muted); } p { margin: 0; }"
Notify = Callable[[str, str], None]
Later = Callable[[Callable[[], None]], None]


def playing_words(state: dict[str, Any]) -> str:
    """Return what a played market is doing, in a few words: its speed, or why it stands still."""
    if state["waiting"]:
        return "waits for the engine"
    if state["seeking"]:
        return "seeking"
    if state["ended"]:
        return "at its end"
    return "paused" if state["paused"] else f"{state['speed']:g}×"


class PlaybackPanel:
    """Widgets over `hub.playback`; hidden while the market is not a recording."""

    def __init__(self, hub: SurfaceHub, notify: Notify, later: Later) -> None:
        self.hub, self.notify, self.later = hub, notify, later
        self._shown: dict[str, Any] = {}
        self._following = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.pause = pmui.Button(label="Pause", size="small", on_click=self._on_pause, width=90, margin=(4, 0))
        self.speed = pmui.Select(
            label="Speed", options={f"{speed:g}×": speed for speed in SPEEDS}, value=1.0, size="small", width=120,
            margin=(4, 8),
        )  # fmt: skip
        self.place = pmui.FloatSlider(
            label="Place in the recording, s", start=0.0, end=1.0, step=1.0, value=0.0, size="small",
            sizing_mode="stretch_width", margin=(4, 0),
        )  # fmt: skip
        self.time = pn.pane.HTML("", stylesheets=[STYLE], margin=0, sizing_mode="stretch_width")
        self.speed.param.watch(lambda event: self._send(speed=event.new), "value")
        self.place.param.watch(lambda event: self._seek(event.new), "value_throttled")
        self.panel = pn.Column(
            pn.Row(self.pause, self.speed, margin=0), self.place, self.time, sizing_mode="stretch_width", visible=False,
            margin=0,
        )  # fmt: skip

    def follow(self) -> None:
        """Show what the feed has said last; does nothing when it is nothing new."""
        state = self.hub.playback
        if not state or state == self._shown:
            return
        self._shown = dict(state)
        self._following = True
        try:
            if not self.panel.visible:
                self.panel.visible = True
                self.place.end = max(1.0, (state["last_ns"] - state["first_ns"]) / NS_PER_S)
            self.pause.label = "Play" if state["paused"] else "Pause"
            if state["speed"] not in self.speed.options.values():
                self.speed.options = {**self.speed.options, f"{state['speed']:g}×": state["speed"]}
            self.speed.value = state["speed"]
            self.place.value = min(self.place.end, max(0.0, (state["position_ns"] - state["first_ns"]) / NS_PER_S))
            place = to_iso(state["position_ns"] // NS_PER_S * NS_PER_S)
            self.time.object = f"<p>{place} · {playing_words(state)}</p>"
        finally:
            self._following = False

    def _on_pause(self, _event: Any) -> None:
        self._send(paused=not self._shown.get("paused", False))

    def _seek(self, place_s: float) -> None:
        if self._shown:
            wanted = self._shown["first_ns"] + round(place_s * NS_PER_S)
            self._send(seek=min(wanted, self._shown["last_ns"]))

    def _send(self, **wanted: Any) -> None:
        if self._following or not self._shown:
            return

        async def ask() -> None:
            try:
                self.hub.playback = await self.hub.client.playback(**wanted)
            except VolSurfaceError as error:
                refusal = str(error)
                self.later(lambda: self.notify("error", refusal))
            self.hub.version += 1

        task = asyncio.get_running_loop().create_task(ask())
        self._tasks.add(task)  # a task nobody holds may be collected
        task.add_done_callback(self._tasks.discard)
