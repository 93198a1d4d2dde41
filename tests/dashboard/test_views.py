"""The views outside a page: what HoloViews must have named, what is sent when, ranges, words, and use in a notebook."""

import json
import math
from dataclasses import replace

import numpy as np
import panel as pn
import param
import pytest
from bokeh.document import Document
from bokeh.events import Tap
from bokeh.io.doc import patch_curdoc
from panel.io.state import set_curdoc
from scripted_market import ScriptedClient

from volsurface.dashboard import choice_bar, choices, page_script, status_strip, surface3d
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.figures import Figure, FollowedRange
from volsurface.dashboard.frame_loop import Counts
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.palette import DARK, LIGHT
from volsurface.dashboard.status_strip import PageState, cells, venue_chip
from volsurface.dashboard.surface3d import SurfaceCanvas, encode_frame
from volsurface.dashboard.views.fit import FitView, fit_table
from volsurface.dashboard.views.history import HistoryView
from volsurface.dashboard.views.map import MapView
from volsurface.dashboard.views.quotes import QuotesView
from volsurface.dashboard.views.smile import SmileView
from volsurface.dashboard.views.surface import SurfaceView
from volsurface.dashboard.views.system import SystemView, audit_rows, ledger_rows, process_rows
from volsurface.dashboard.views.term import SkewView, TermView
from volsurface.dashboard.views.venues import VenuesView

VIEWS = (SmileView, SurfaceView, MapView, TermView, SkewView, FitView, VenuesView, QuotesView, HistoryView, SystemView)


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


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
async def test_a_view_stands_alone_in_a_notebook(hub: SurfaceHub, view: type) -> None:
    made = view(hub, Choices(underlying="BTC"))
    model = pn.panel(made).get_root()
    assert model is not None


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
async def test_a_view_without_a_surface_waits_quietly(view: type) -> None:
    empty = ScriptedClient()
    empty.status = {}
    pn.panel(view(SurfaceHub(empty), Choices())).get_root()


async def test_nothing_is_sent_when_nothing_is_new(hub: SurfaceHub, client: ScriptedClient) -> None:
    view = SmileView(hub, Choices(underlying="BTC"))
    view.apply()
    data = view.top.sources["quotes"].data
    view.apply()
    assert view.top.sources["quotes"].data is data
    client.step()
    view.apply()
    assert view.top.sources["quotes"].data is not data


async def test_residual_bars_read_the_quotes_own_source(hub: SurfaceHub) -> None:
    view = SmileView(hub, Choices(underlying="BTC"))
    assert view.bottom.renderers["bars"].data_source is view.top.sources["quotes"]
    assert view.bottom.state.x_range is view.top.state.x_range


async def test_columns_must_be_those_promised(hub: SurfaceHub) -> None:
    view = SmileView(hub, Choices(underlying="BTC"))
    with pytest.raises(LookupError, match="fit has columns"):
        view.top.replace("fit", {"x": np.zeros(1), "vol": np.zeros(1)})


def test_a_renamed_column_is_noticed_when_the_figure_is_built() -> None:
    import holoviews as hv

    figure = Figure({"line": hv.Curve((np.empty(0), np.empty(0)), "x", "fit")})
    with pytest.raises(LookupError, match="HoloViews reads column 'fit'"):
        figure.share_source("line", ("line",), {"x": np.empty(0), "y": np.empty(0)})


def test_a_range_widens_in_steps_and_leaves_a_zoom_alone() -> None:
    followed = FollowedRange(padding=0.1)
    followed.follow(0.0, 10.0)
    assert (followed.model.start, followed.model.end) == (-1.0, 11.0)
    followed.follow(0.5, 10.5)
    assert (followed.model.start, followed.model.end) == (-1.0, 11.0)  # still inside: no move
    followed.follow(0.0, 12.0)
    assert followed.model.end == pytest.approx(13.2)
    followed.follow(5.0, 6.0)
    assert followed.model.start == pytest.approx(4.9)  # much too loose
    followed.model.update(start=5.2, end=5.4)  # the user zooms
    followed.follow(0.0, 100.0)
    assert (followed.model.start, followed.model.end) == (5.2, 5.4)
    followed.model.update(start=followed.model.reset_start, end=followed.model.reset_end)  # a double click
    followed.follow(0.0, 100.0)
    assert followed.model.end == pytest.approx(110.0)
    followed.follow(float("nan"), float("nan"))
    assert followed.model.end == pytest.approx(110.0)


async def test_the_frame_of_the_surface_is_header_heights_colours(hub: SurfaceHub) -> None:
    heights = np.arange(6, dtype="f4").reshape(2, 3)
    frame = np.frombuffer(encode_frame(heights, 1, (-2.0, 2.0), heights * 2), "<f4")
    assert frame[:6].tolist() == [2, 3, 1, -2, 2, 1]
    assert frame[6:12].tolist() == heights.ravel().tolist()
    assert frame[12:].tolist() == (2 * heights).ravel().tolist()
    assert np.frombuffer(encode_frame(heights, -1, (-2.0, 2.0)), "<f4").size == 12
    signed = np.frombuffer(encode_frame(heights, 1, (-2.0, 2.0), -heights, diverging=True), "<f4")
    assert signed[5] == 2


async def test_the_map_follows_measure_expiry_and_stale_quotes(hub: SurfaceHub, client: ScriptedClient) -> None:
    chosen = Choices(underlying="BTC")
    view = MapView(hub, chosen)
    view.apply()
    columns = view.figure.sources["map"].data
    assert columns["image"][0].shape == columns["count"][0].shape == (12, 16)
    assert columns["image"][0].dtype == np.float32
    assert view.mapper.low == -view.mapper.high
    assert view.figure.sources["chosen"].data["bottom"].tolist() == [4.5]
    assert view.figure.sources["stale"].data["left"].size == 0
    view.apply()
    assert view.figure.sources["map"].data is columns  # nothing new: nothing sent
    view._on_tap(Tap(view.figure.state, x=0.1, y=2.4))
    view._on_tap(Tap(view.figure.state, x=0.1, y=40.0))
    assert chosen.expiry == "28NOV26"
    old = client.surfaces["BTC"]
    times = old.quotes.quote_time_ns.copy()
    times[old.quotes.expiry_ns == old.surface.smiles[1].expiry_ns] -= 61_000_000_000
    client.surfaces["BTC"] = replace(old, quotes=replace(old.quotes, quote_time_ns=times))
    chosen.map = "vol"
    view.apply()
    assert view.figure.sources["map"].data["image"][0].shape == (12, 81)
    assert view.figure.sources["stale"].data["left"].size == 0
    assert view.mapper.low > 0
    chosen.map = "money"
    view.apply()
    stale = view.figure.sources["stale"].data
    assert set(stale["bottom"].tolist()) == {0.5}
    assert stale["left"].size == int((view.figure.sources["map"].data["count"][0][1] > 0).sum())
    assert view.figure.sources["chosen"].data["bottom"].tolist() == [1.5]


async def test_a_click_on_a_line_chooses_its_expiry(hub: SurfaceHub) -> None:
    chosen = Choices(underlying="BTC")
    view = SurfaceView(hub, chosen)
    view.apply()
    for nonsense in ({"row": 99}, {"row": "1"}, {}, "x"):
        view.canvas._handle_msg(nonsense)
    assert chosen.expiry == ""
    view.canvas._handle_msg({"row": 3})
    assert chosen.expiry == "5DEC26"


async def test_figures_take_both_themes(hub: SurfaceHub) -> None:
    view = TermView(hub, Choices(underlying="BTC"))
    for palette in (LIGHT, DARK):
        view.paint(palette)
        assert view.term.figure.state.background_fill_color == palette.panel


def contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [DARK, LIGHT], ids=lambda p: p.name)
def test_every_word_can_be_read(palette: object) -> None:
    for ink in ("text", "muted", "accent", "bid", "ask", "good", "warn", "bad"):
        for paper in ("background", "panel", "raised"):
            assert contrast(getattr(palette, ink), getattr(palette, paper)) >= 4.5, (ink, paper)
    assert contrast(palette.on_accent, palette.accent) >= 4.5  # type: ignore[attr-defined]


def by_id(hub: SurfaceHub, state: PageState | None = None) -> dict[str, dict[str, str]]:
    return {cell["id"]: cell for cell in cells(hub, Choices(underlying="BTC"), state or PageState(Counts(12, 3)))}


async def test_the_strip_says_it_in_words(hub: SurfaceHub, client: ScriptedClient) -> None:
    strip = by_id(hub)
    assert strip["source"]["value"] == "SIMULATED"
    assert strip["source"]["rank"] == 0
    assert (strip["arbitrage"]["value"], strip["arbitrage"]["note"]) == ("certified", "0 butterfly, 0 calendar")
    assert strip["fit"]["note"] == "12/12 inside"
    assert strip["frames"]["value"] == "12 / 3"
    tenor = hub.picture("BTC").surface.constant_tenor(30)  # type: ignore[union-attr]
    assert strip["atm"]["value"] == f"{100 * tenor.atm_vol:.2f}"
    client.step(violated=2)
    hub.take()
    strip = by_id(hub)
    assert (strip["arbitrage"]["value"], strip["arbitrage"]["note"]) == ("not certified", "1 butterfly, 0 calendar")
    assert json.loads(json.dumps(cells(hub, Choices(underlying="BTC"), PageState(Counts()))))


async def test_a_fallback_is_named_with_its_reason(hub: SurfaceHub, client: ScriptedClient) -> None:
    client.step()
    made = client.surfaces["BTC"]
    surface = replace(made.surface, state="fallback", state_reason="no certified fit near the quotes of 2.9 days")
    client.surfaces["BTC"] = replace(made, surface=surface)
    hub.take()
    strip = by_id(hub)
    assert strip["arbitrage"]["value"] == "certified, fallback"
    assert "no certified fit near the quotes" in strip["arbitrage"]["title"]
    assert strip["arbitrage"]["tone"] == "warn"


async def test_a_frozen_page_says_since_when(hub: SurfaceHub) -> None:
    frozen = by_id(hub, PageState(Counts(), 1_795_219_200_000_000_000, 23))["frozen"]
    assert frozen["value"] == "FROZEN 00:00:00 UTC"
    assert "23 frames behind" in frozen["note"]


async def test_venue_chips_never_rest_on_colour(client: ScriptedClient) -> None:
    venue = client.status["venues"][0]
    assert venue_chip(venue, 10.0)["value"] == "● 12 ms"
    assert venue_chip({**venue, "age_s": 14.0}, 10.0)["value"] == "◐ stale 14 s"
    assert venue_chip({**venue, "age_s": None}, 10.0)["value"].startswith("◐ stale")
    assert venue_chip({**venue, "state": "subscribing"}, 10.0)["value"] == "◐ subscribing"
    assert venue_chip({**venue, "state": "down"}, 10.0)["value"].startswith("○ down since ")


@pytest.mark.parametrize(
    "component",
    [choice_bar.ChoiceBar, page_script.PageScript, status_strip.StatusStrip, surface3d.SurfaceCanvas, choices.Choices],
    ids=lambda c: c.__name__,
)
def test_every_parameter_of_ours_is_explained(component: type[param.Parameterized]) -> None:
    own = [name for name in component.__dict__ if isinstance(component.__dict__[name], param.Parameter)]
    assert own
    for name in own:
        assert component.param[name].doc, name


def test_leaf_components_hold_no_children() -> None:
    for component in (choice_bar.ChoiceBar, page_script.PageScript, status_strip.StatusStrip, SurfaceCanvas):
        for name in component.param:
            assert type(component.param[name]).__name__ not in ("Child", "Children"), name


async def test_a_figure_leaves_no_hook_in_the_pages_document(hub: SurfaceHub) -> None:
    document = Document()
    with set_curdoc(document), patch_curdoc(document):
        SmileView(hub, Choices(underlying="BTC"))
    assert not document.session_destroyed_callbacks


async def test_a_preview_is_shown_as_not_certified_yet(hub: SurfaceHub, client: ScriptedClient) -> None:
    surfaces = dict(client.surfaces)
    before = surfaces["BTC"]
    surface = replace(before.surface, state="uncertified")
    client.previews, client.surfaces = {"BTC": replace(before, surface=surface)}, {}
    client.set_status(kernels={"done": 3, "total": 8, "name": "repair"})
    assert hub.underlyings == ["BTC"]
    assert hub.picture("BTC").publication is client.previews["BTC"]  # type: ignore[union-attr]
    assert hub.not_certified_yet("BTC").startswith("not certified yet · compiling kernels 3/8 (repair)")
    shown = {cell["id"]: cell for cell in cells(hub, Choices(underlying="BTC"), PageState(Counts()))}["arbitrage"]
    assert (shown["value"], shown["note"], shown["tone"]) == ("not certified yet", "", "warn")
    smile = SmileView(hub, Choices(underlying="BTC"))
    smile.apply()
    assert smile.top.renderers["fit"].glyph.line_dash == [6]
    assert math.isnan(hub.age_s("BTC"))
    client.surfaces = surfaces
    assert hub.not_certified_yet("BTC") == ""
    assert hub.picture("BTC").publication is before  # type: ignore[union-attr]
    smile.apply()
    assert smile.top.renderers["fit"].glyph.line_dash == []


async def test_a_mixture_is_named_with_its_gain_and_its_components_are_not_shown(
    hub: SurfaceHub, client: ScriptedClient
) -> None:
    before = client.surfaces["BTC"]
    smiles = before.surface.smiles
    mixed = replace(smiles[0], model="mixture", parameters=(0.5, *smiles[0].parameters, *smiles[0].parameters))
    surface = replace(before.surface, smiles=(mixed, *smiles[1:]))
    client.surfaces["BTC"] = replace(before, surface=surface, model_words="mixture: +2.5 %", model_gain=0.025)
    picture = hub.picture("BTC")
    assert picture is not None
    first, second = fit_table(picture).split("<tr")[2:4]
    assert "mixture" in first and "svi" in second
    raw = [f"{value:.4g}".replace("-", "−") for value in smiles[0].parameters]
    assert not any(f">{value}<" in first for value in raw)
    assert f"{100 * mixed.risk_reversal(0.25):.3g}".replace("-", "−") in first
    view = FitView(hub, Choices(underlying="BTC"))
    view.apply()
    smile = SmileView(hub, Choices(underlying="BTC"))
    smile.apply()
    shown = {cell["id"]: cell for cell in cells(hub, Choices(underlying="BTC"), PageState(Counts()))}["fit"]
    assert shown["note"].endswith("mixture +2.5 %") and shown["title"].endswith("mixture: +2.5 %")
    client.surfaces["BTC"] = before


def test_a_breach_of_an_audit_is_red_and_stands_beside_its_threshold() -> None:
    status = ScriptedClient().status
    status["audits"] |= {"moves": {"audited": 4, "worst_bp": 1.7, "threshold_bp": 1.0, "breaches": 2}}
    good, bad = audit_rows(status)
    assert good == ["fits", "31", ("0.412", "good"), "1", ("0", "good")]
    assert bad == ["moves", "4", ("1.700", "bad"), "1", ("2", "bad")]
    assert ledger_rows(status) == [["quotes", "90,000", "10,000", "50,000", "30,000", "66.7", "1.2"]]
    assert process_rows(status) == [["feed", "8.1", "82"]]
