"""The status strip: what the market does, how well it is fitted, and how old every number is, on one line."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import param
from panel.custom import JSComponent

from volsurface.dashboard import formatting
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.frame_loop import Counts
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.picture import Picture
from volsurface.dashboard.playback import playing_words
from volsurface.surface.metrics import TenorMetrics
from volsurface.surface.surface import Surface

TENOR_DAYS = 30
INSIDE_OK = 0.9  # an expiry counts as well fitted when this share of its quotes encloses the fit
STYLE = """
:host { height: 44px; min-width: 0; }
.strip { display: flex; justify-content: space-between; gap: 24px; height: 44px; overflow: hidden; padding: 0 10px;
  font-family: system-ui, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums; color: var(--vs-text, inherit); }
.side { display: flex; gap: 18px; align-items: center; flex: none; }
.side.right { gap: 14px; }
[hidden] { display: none !important; }
.cell { all: unset; display: grid; grid-template: "label label" 16px "value note" 22px / auto auto; column-gap: 6px;
  justify-content: start; align-items: baseline; white-space: nowrap; }
button.cell { cursor: pointer; }
button.cell:hover .value { text-decoration: underline; }
button.cell:focus-visible { outline: 2px solid var(--vs-accent, #08f); }
.label { grid-area: label; font-size: 12px; color: var(--vs-muted, inherit); }
.value { grid-area: value; font-size: 16px; font-weight: 600; }
.note { grid-area: note; font-size: 12px; color: var(--vs-muted, inherit); }
.right .value { font-size: 13px; font-weight: 500; }
.good .value { color: var(--vs-good, inherit); } .warn .value { color: var(--vs-warn, inherit); }
.bad .value { color: var(--vs-bad, inherit); }
.off { opacity: .55; } .off .value { color: var(--vs-muted, inherit); }
.badge { display: flex; align-items: center; height: 26px; padding: 0 10px; border-radius: 5px; background: var(--vs-warn, #b80); }
.badge .value { font-size: 13px; font-weight: 700; letter-spacing: .06em; color: var(--vs-background, #000); }
.badge .label, .badge .note:empty { display: none; } .badge .note { color: var(--vs-background, #000); font-size: 12px; margin-left: 6px; }
"""


@dataclass(frozen=True, slots=True)
class PageState:
    """What the strip says of its own page."""

    counts: Counts
    frozen_since_ns: int = 0
    behind: int = 0


class StatusStrip(JSComponent):
    """The strip as a leaf component; `frame` is the JSON that `cells` makes."""

    frame = param.String(default="[]", doc="Cells as JSON.")
    _esm = Path(__file__).with_name("status_strip.js")
    _stylesheets = [STYLE]  # noqa: RUF012

    def __init__(self, on_click: Callable[[str], None] | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._on_click = on_click

    def _handle_msg(self, data: Any) -> None:
        if self._on_click is not None and isinstance(data, dict) and isinstance(data.get("click"), str):
            self._on_click(data["click"])

    def draw(self, hub: SurfaceHub, choices: Choices, state: PageState) -> None:
        """Show the newest numbers."""
        frame = json.dumps(cells(hub, choices, state), ensure_ascii=False, separators=(",", ":"))
        if frame != self.frame:
            self.frame = frame


def cells(hub: SurfaceHub, choices: Choices, state: PageState) -> list[dict[str, Any]]:
    """Return the cells from left to right; a higher rank leaves sooner when the window is narrow, rank 0 never."""
    picture = hub.picture(choices.underlying)
    shown = [*_badges(hub, state)]
    if picture is not None:
        shown += [*_market(hub, picture), *_fit(picture)]
    return shown + [*_venues(hub), *_machine(hub, choices, state)]


def _cell(id: str, label: str, value: str, rank: int, note: str = "", **more: Any) -> dict[str, Any]:
    return {"id": id, "label": label, "value": value, "note": note, "rank": rank, "title": "", **more}


def _badges(hub: SurfaceHub, state: PageState) -> list[dict[str, Any]]:
    found = []
    if hub.source == "replay":
        note = formatting.utc_time(hub.status.get("market_time_ns"))
        note += f" · {playing_words(hub.playback)}" if hub.playback else ""
        title = "A recording is played; the time is the market's."
        found.append(_cell("source", "", "REPLAY", 0, note, badge=True, title=title))
    elif hub.source != "live":
        title = "No number on this page comes from a real venue: local simulated venues invent the market."
        found.append(_cell("source", "", "SIMULATED", 0, badge=True, title=title))
    if state.frozen_since_ns:
        words = f"{state.behind} frames behind · Space resumes"
        time = formatting.clock_time(state.frozen_since_ns)
        found.append(_cell("frozen", "", f"FROZEN {time} UTC", 0, words, badge=True))
    return found


def _market(hub: SurfaceHub, picture: Picture) -> list[dict[str, Any]]:
    underlying, spot = picture.publication.underlying, picture.publication.spot
    tenor = picture.surface.constant_tenor(TENOR_DAYS)
    extrapolated = tenor.region == "extrapolated_time"
    where = "beyond the quoted expiries, extrapolated in time" if extrapolated else "interpolated in total variance"
    return [
        _cell("spot", f"{underlying} index", formatting.price(spot), 1, title="Spot index of the venues, USD"),
        _cell("atm", f"ATM {TENOR_DAYS}d", formatting.vol_percent(tenor.atm_vol), 2, _change(hub, underlying, tenor),
              title=f"Vol in % at the forward, {TENOR_DAYS} days, {where}; the change is since {_since(hub, underlying)}"),
        _cell("rr", f"25Δ RR {TENOR_DAYS}d", formatting.signed_percent(tenor.rr25), 4,
              title="25-delta call vol minus put vol, vol points"),
        _cell("bf", f"25Δ BF {TENOR_DAYS}d", formatting.signed_percent(tenor.bf25), 5,
              title="Mean of the 25-delta call and put vols minus ATM, vol points"),
    ]  # fmt: skip


def _change(hub: SurfaceHub, underlying: str, tenor: TenorMetrics) -> str:
    before = hub.hour_ago(underlying)
    return "" if before is None else f"{formatting.basis_points(1e4 * (tenor.atm_vol - before.atm), signed=True)} bp"


def _since(hub: SurfaceHub, underlying: str) -> str:
    before = hub.hour_ago(underlying)
    return "now" if before is None else f"{formatting.clock_time(before.time_ns)} UTC"


def _fit(picture: Picture) -> list[dict[str, Any]]:
    smiles = picture.smiles
    quotes = sum(s.n_quotes for s in smiles)
    rmse = (sum(s.n_quotes * s.rmse_bp**2 for s in smiles) / quotes) ** 0.5 if quotes else None
    well = sum(s.inside_spread >= INSIDE_OK for s in smiles)
    certificate = picture.surface.certificate
    butterfly = sum(v.verdict == "violated" for v in certificate.butterfly)
    calendar = sum(v.verdict == "violated" for v in certificate.calendar)
    undecided = certificate.violations - butterfly - calendar
    surface = picture.surface
    # Chips of several venues need the room of what the title says too.
    crowded = certificate.ok and len(picture.publication.quotes.venues) > 1
    words = "certified" if certificate.ok else "not certified"
    if surface.state in ("stale", "fallback"):
        words += f", {surface.state}"
    title = "Proved free of butterfly and calendar arbitrage at every strike" if certificate.ok else (
        f"{butterfly} butterfly and {calendar} calendar violations" + (f", {undecided} undecided" if undecided else "")
        + "; click goes to the next expiry concerned"
    )  # fmt: skip
    if surface.state == "uncertified":
        words = "not certified yet"
        title = (
            "The free fit of each expiry, while the numerical kernels are compiled, once per machine; never published"
        )
    elif surface.state_reason:
        title += f". {surface.state}: {surface.state_reason}"
    gain, model = picture.publication.model_gain, picture.publication.model_words
    inside = f"{well}/{len(smiles)} inside" + ("" if gain is None else f", mixture {100 * gain:+.1f} %")
    return [
        _cell("fit", "fit RMSE", f"{formatting.basis_points(rmse)} bp", 3, inside,
              title=f"Distance of the fit to the mids; {well} of {len(smiles)} expiries have at least "
                    f"{100 * INSIDE_OK:.0f} % of their quotes around the fit" + (f". {model}" if model else "")),
        _cell("arbitrage", "arbitrage", words, 2,
              "" if surface.state == "uncertified" or crowded else f"{butterfly} butterfly, {calendar} calendar",
              title=title,
              tone=_tone(surface), click=True),
    ]  # fmt: skip


def _tone(surface: Surface) -> str:
    if surface.state == "uncertified" or (surface.certificate.ok and surface.state != "certified"):
        return "warn"
    return "good" if surface.certificate.ok else "bad"


def _venues(hub: SurfaceHub) -> list[dict[str, Any]]:
    limit = float(hub.setting("thresholds", "stale_s", 10.0))
    return [venue_chip(venue, limit) for venue in hub.status.get("venues", [])]


def venue_chip(venue: dict[str, Any], stale_s: float) -> dict[str, Any]:
    """Return a venue's chip: sign, colour and words say the same thing."""
    name, age, lag = venue["name"], venue["age_s"], venue["lag_ms"]
    clock = "" if venue["clock_ms"] is None else f"our clock {venue['clock_ms']:+.0f} ms against the venue's, "
    title = (
        f"{clock}{venue['subscribed']} channels of {venue['listed']} instruments, {formatting.rate(venue['messages_per_s'])} messages/s, "
        f"last message {formatting.utc_time(venue['last_receive_ns'])}"
    )
    if venue["state"] == "down":
        value, tone = f"○ down since {formatting.clock_time(venue['last_receive_ns'])}", "off"
    elif venue["state"] != "live":
        value, tone = f"◐ {venue['state']}", "warn"
    elif age is None or age > stale_s:
        value, tone = f"◐ stale {formatting.duration(age)}", "warn"
    else:
        value, tone = f"● {formatting.MISSING if lag is None else f'{lag:.0f} ms'}", "good"
    return _cell(f"venue {name}", name, value, 1 if tone != "good" else 3, right=True, tone=tone, title=title)


def _machine(hub: SurfaceHub, choices: Choices, state: PageState) -> list[dict[str, Any]]:
    age = hub.age_s(choices.underlying)
    stale = hub.stale_s(choices.underlying) is not None
    status = hub.status
    # In steps of a tenth, so that the strip is not sent again for a millisecond.
    words = f"{age:.1f} s" if age < 10 else formatting.duration(age)
    return [
        _cell("rate", "messages/s", formatting.rate(status.get("messages_per_s")), 8, right=True,
              title="Messages received from all venues, per second"),
        _cell("age", "surface age", ("◐ stale " if stale else "") + words, 3, right=True, tone="warn" if stale else "",
              title="Time since the surface shown was published"),
        _cell("frames", "frames", f"{state.counts.shown:,} / {state.counts.skipped:,}", 9, right=True,
              title="Frames shown / skipped because this browser was behind"),
    ]  # fmt: skip
