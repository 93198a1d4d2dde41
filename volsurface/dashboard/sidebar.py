"""The sidebar: every setting as the widget its declaration asks for, sent to the engine and shown as it came back."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from volsurface.dashboard import tables
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.playback import PlaybackPanel
from volsurface.dashboard.presets import Presets
from volsurface.dashboard.trial import trial_table
from volsurface.errors import SettingsError, VolSurfaceError
from volsurface.settings import Settings

HEADING = """:host { font: 600 12px/1.4 system-ui, "Segoe UI", Roboto, sans-serif; letter-spacing: .06em; color: var(--vs-muted);
  margin: 14px 0 6px; } p { margin: 0; }"""
TRIAL = "table { margin: 2px 0 8px; width: 100%; } th, td { padding: 3px 4px; white-space: normal; }"
THRESHOLDS = {
    "forward_change_bp": "Imply again beyond, bp",
    "vol_change_bp": "Refit beyond, bp",
    "publish_change_bp": "Publish beyond, bp",
    "stale_s": "Stale after, s",
    "step_ms": "Engine step, ms",
    "audit_percent": "Skipped work audited, %",
}
FIT = {
    "weighting": "Residuals measured in",
    "max_spread_points": "Widest spread, vol pts",
    "spread_floor_bp": "Spread floor, bp",
    "outlier_spreads": "Outlier, half-spreads",
    "min_quotes": "Quotes per expiry",
    "min_hours": "Nearest expiry, hours",
    "stale_after_s": "Quotes too old, s",
    "robust": "Drop outliers, refit",
}
# What a slider spans, (start, end, step): the useful part of a setting's bounds. It grows for a value from a file beyond it.
USEFUL = {
    "forward_change_bp": (0, 20, 0.5),
    "audit_percent": (0, 10, 0.5),
    "vol_change_bp": (0, 20, 0.5),
    "publish_change_bp": (0, 20, 0.5),
    "stale_s": (1, 60, 1),
    "step_ms": (10, 1000, 10),
    "max_spread_points": (1, 100, 1),
    "spread_floor_bp": (0, 100, 1),
    "outlier_spreads": (1, 20, 0.5),
    "min_quotes": (3, 20, 1),
    "min_hours": (0.01, 48, 0.5),
    "stale_after_s": (1, 600, 1),
    "frames_per_s": (0.5, 20, 0.5),
}
Notify = Callable[[str, str], None]  # (kind: "error" or "info", sentence)
Later = Callable[[Callable[[], None]], None]


class Sidebar:
    """Widgets over one page's copy of the settings.

    Thresholds and display act when a widget is let go. Fit settings are gathered and act with Apply, for each refits
    everything. The engine decides: what it refuses is put back and its sentence is shown.
    """

    def __init__(
        self, hub: SurfaceHub, choices: Choices, notify: Notify, later: Later, who: str, presets: Presets | None = None
    ) -> None:
        self.hub = hub
        self.choices = choices
        self.notify = notify
        self.later = later
        self.who = who
        self.settings = Settings()
        self.version = -1
        self._following = False
        self._fit_dirty = False
        self._trial_number = 0
        self.presets = presets
        self._widgets: dict[tuple[str, str], Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.playback = PlaybackPanel(hub, notify, later)
        self._apply = pmui.Button(
            name="Apply fit settings", disabled=True, on_click=self._on_apply, sizing_mode="stretch_width"
        )
        self._try = pmui.Button(
            name="Try beside the live fit", disabled=True, variant="outlined", on_click=self._on_try,
            sizing_mode="stretch_width",
        )  # fmt: skip
        self.trial = pn.pane.HTML(
            "", stylesheets=[tables.STYLE, TRIAL], margin=0, sizing_mode="stretch_width", visible=False
        )
        self._revert = pmui.Button(name="Revert", disabled=True, variant="outlined", on_click=self._on_revert, width=90)
        self._preset = pmui.Select(
            label="Preset", options=[""], value="", size="small", sizing_mode="stretch_width", margin=(8, 0)
        )
        self._preset.param.watch(lambda event: self._on_preset(event.new), "value")
        self._preset_name = pmui.TextInput(
            label="Save as preset", size="small", sizing_mode="stretch_width", margin=(8, 0)
        )
        self._save = pmui.Button(name="Save", variant="outlined", on_click=self._on_save, width=80, margin=(8, 0, 8, 6))
        self.panel = pn.Column(*self._build(), sizing_mode="stretch_width", margin=(8, 12))

    def _build(self) -> list[Any]:
        items: list[Any] = [
            self.playback.panel,
            self._heading("DISPLAY"),
            pmui.Select.from_param(self.choices.param.x_axis, name="Smile x axis", **_compact()),
            pmui.Select.from_param(self.choices.param.height, name="Surface height", **_compact()),
            pmui.Select.from_param(self.choices.param.colour, name="Surface colour", **_compact()),
            pmui.Select.from_param(self.choices.param.map, name="Map shows", **_compact()),
            pmui.Select.from_param(self.choices.param.compare, name="Compare with", **_compact()),
            self._slider("display", "frames_per_s", "Frames per second"),
            self._heading("VENUES"),
            self._venues(),
            self._heading("THRESHOLDS"),
            *(self._slider("thresholds", name, label) for name, label in THRESHOLDS.items()),
            self._heading("FIT"),
            *([self._preset] if self.presets else []),
            *(self._fit_widget(name, label) for name, label in FIT.items()),
            self._try,
            self.trial,
            pn.Row(self._apply, self._revert, sizing_mode="stretch_width", margin=(4, 0)),
        ]
        if self.presets is not None:
            items.append(pn.Row(self._preset_name, self._save, sizing_mode="stretch_width", margin=(4, 0)))
            self._preset.options = ["", *self.presets.names()]
        return items

    def _heading(self, text: str) -> pn.pane.HTML:
        return pn.pane.HTML(f"<p>{text}</p>", stylesheets=[HEADING], margin=0, sizing_mode="stretch_width")

    def _slider(self, section: str, name: str, label: str) -> Any:
        parameter = getattr(self.settings, section).param[name]
        start, end, step = USEFUL[name]
        kind = pmui.IntSlider if isinstance(parameter, param.Integer) else pmui.FloatSlider
        widget = kind(
            name=label,
            value=parameter.default,
            start=start,
            end=end,
            step=step,
            description=parameter.doc,
            **_compact(),
        )
        self._widgets[section, name] = widget
        if section == "fit":
            widget.param.watch(self._on_fit, "value")
        else:
            widget.param.watch(lambda event: self._on_change(section, name, event.new), "value_throttled")
        return widget

    def _fit_widget(self, name: str, label: str) -> Any:
        parameter = self.settings.fit.param[name]
        if isinstance(parameter, param.Boolean):
            widget: Any = pmui.Switch(name=label, value=parameter.default, description=parameter.doc, margin=(4, 0))
        elif isinstance(parameter, param.Selector):
            widget = pmui.Select(
                name=label,
                options=list(parameter.objects),
                value=parameter.default,
                description=parameter.doc,
                **_compact(),
            )
        else:
            return self._slider("fit", name, label)
        self._widgets["fit", name] = widget
        widget.param.watch(self._on_fit, "value")
        return widget

    def _venues(self) -> Any:
        widget = pmui.CheckBoxGroup(
            options=list(self.settings.market.venues), value=list(self.settings.market.venues), margin=(0, 0, 4, 0),
            sizing_mode="stretch_width",
        )  # fmt: skip
        self._widgets["market", "venues"] = widget
        widget.param.watch(lambda event: self._on_change("market", "venues", event.new), "value")
        return widget

    def follow(self) -> None:
        """Take the settings in force when they have changed; a fit being edited is left alone, its user is told."""
        self.playback.follow()
        if self.version == self.hub.client.settings_version or not self.hub.client.settings:
            return
        first, self.version = self.version < 0, self.hub.client.settings_version
        before = self.settings.values()
        self.settings.update(self.hub.client.settings, "engine")
        after = self.settings.values()
        self._following = True
        try:
            known = {venue["name"] for venue in self.hub.status.get("venues", [])} | set(after["market"]["venues"])
            venues = self._widgets["market", "venues"]
            venues.options = sorted(known | set(venues.options)) if not first else sorted(known)
            for (section, name), widget in self._widgets.items():
                if (first or after[section][name] != before[section][name]) and not (
                    section == "fit" and self._fit_dirty
                ):
                    self._show(widget, after[section][name])
        finally:
            self._following = False
        changed = [
            f"{section}.{name} = {value}"
            for section, entries in after.items()
            for name, value in entries.items()
            if value != before[section][name]
        ]
        if changed and not first:
            self.notify("info", f"Settings now: {', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}")

    @staticmethod
    def _show(widget: Any, value: Any) -> None:
        if hasattr(widget, "end") and not widget.start <= value <= widget.end:
            widget.param.update(start=min(widget.start, value), end=max(widget.end, value))
        widget.value = value

    def _on_change(self, section: str, name: str, value: Any) -> None:
        if not self._following and value != getattr(getattr(self.settings, section), name):
            self._send({section: {name: value}})

    def _on_fit(self, _event: Any) -> None:
        if self._following:
            return
        self._fit_dirty = any(widget.value != getattr(self.settings.fit, name) for name, widget in self._fit_widgets())
        self._edited(self._fit_dirty)

    def _fit_widgets(self) -> list[tuple[str, Any]]:
        return [(name, widget) for (section, name), widget in self._widgets.items() if section == "fit"]

    def _on_preset(self, name: str) -> None:
        """Put a preset's values into the widgets, to try or apply; the others take their defaults."""
        if self.presets is None or not name or self._following:
            return
        try:
            values = self.presets.load(name)
        except SettingsError as error:
            sentence = str(error)
            self.later(lambda: self.notify("error", sentence))
            return
        wanted = Settings({"fit": values}).fit

        def show() -> None:
            for key, widget in self._fit_widgets():
                self._show(widget, getattr(wanted, key))

        self.later(show)

    def _on_save(self, _event: Any) -> None:
        """Save the fit widgets' values, applied or not, under the name typed."""
        if self.presets is None:
            return
        name = (self._preset_name.value_input or "").strip()
        try:
            path = self.presets.save(name, {key: widget.value for key, widget in self._fit_widgets()})
        except SettingsError as error:
            kind, sentence = "error", str(error)
        else:
            kind, sentence = "info", f"Saved the fit settings shown as {path}"
            self._preset.options = ["", *self.presets.names()]
        self.later(lambda: self.notify(kind, sentence))

    def _edited(self, dirty: bool) -> None:
        """Offer what can be done with edited fit settings; what was tried says nothing of others."""
        self._apply.disabled = self._revert.disabled = self._try.disabled = not dirty
        self._trial_number += 1
        self.trial.visible = False

    def _changes(self) -> dict[str, Any]:
        return {n: w.value for n, w in self._fit_widgets() if w.value != getattr(self.settings.fit, n)}

    def _on_apply(self, _event: Any) -> None:
        self._send({"fit": self._changes()})

    def _on_try(self, _event: Any) -> None:
        """Have the engine fit the same quotes with the settings in force and with the edited ones."""
        number, underlying, changes = self._trial_number, self.choices.underlying, self._changes()

        async def ask() -> None:
            try:
                live, tried = await self.hub.client.candidate(underlying, changes)
            except VolSurfaceError as error:
                sentence = str(error)
                self.later(lambda: self.notify("error", sentence))
            else:
                self.later(lambda: self._show_trial(number, trial_table(live, tried)))

        self._start(ask())

    def _show_trial(self, number: int, html: str) -> None:
        if number == self._trial_number:  # nothing has been edited since
            self.trial.object, self.trial.visible = html, True

    def _on_revert(self, _event: Any) -> None:
        self._put_back({"fit": dict(self._fit_widgets())})
        self._fit_dirty = False
        self._edited(False)

    def _put_back(self, values: dict[str, dict[str, Any]]) -> None:
        self._following = True
        try:
            for section, entries in values.items():
                for name in entries:
                    self._show(self._widgets[section, name], getattr(getattr(self.settings, section), name))
        finally:
            self._following = False

    def _send(self, values: dict[str, dict[str, Any]]) -> None:
        async def change() -> None:
            try:
                await self.hub.client.change_settings(values, self.who)
                refusal = ""
            except VolSurfaceError as error:
                refusal = str(error)
            self.later(lambda: self._answered(values, refusal))

        self._start(change())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # a task nobody holds may be collected
        task.add_done_callback(self._tasks.discard)

    def _answered(self, values: dict[str, dict[str, Any]], refusal: str) -> None:
        if refusal:
            self.notify("error", refusal)
            self._put_back(values)
        if "fit" in values:
            self._fit_dirty = False
            self._edited(False)


def _compact() -> dict[str, Any]:
    return {"size": "small", "sizing_mode": "stretch_width", "margin": (4, 0)}
