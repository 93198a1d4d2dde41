"""The page in a real browser over a scripted engine: what is on screen, what moves, and what a user's hands do."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import OpenPage, Seen, Server
from playwright.sync_api import Page, expect

CLIPPED = """
() => {
  const found = [];
  const visit = root => {
    for (const e of root.querySelectorAll('*')) {
      if (e.shadowRoot) visit(e.shadowRoot);
      if (!e.checkVisibility?.() || !e.childNodes.length) continue;
      const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
      const box = e.getBoundingClientRect();
      if (!text || !box.width || e.closest('.wait, [data-vs-overlay]')) continue;
      if (e.closest('.sidebar')) continue;
      if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible') found.push(['cut', e.className, e.textContent.slice(0, 60)]);
      if (box.right > innerWidth + 1 || box.left < -1) found.push(['outside', e.className, e.textContent.slice(0, 60)]);
    }
  };
  visit(document.body);
  return found;
}
"""
SOURCES = """
() => {
  const found = {};
  for (const root of Bokeh.documents[0].all_models) {
    if (root.type === 'ColumnDataSource' && root.data.residual) found.quotes = root.data;
    if (root.type === 'ColumnDataSource' && root.data.fit && root.data.x) found.fit = root.data;
    if (root.type === 'ColumnDataSource' && root.data.atm && root.data.expiry) found.term = root.data;
  }
  return JSON.parse(JSON.stringify(found, (k, v) => ArrayBuffer.isView(v) ? [...v] : v));
}
"""


def cells(page: Page) -> dict[str, str]:
    return page.evaluate("window.__strip.cells")


def sources(page: Page) -> dict[str, Any]:
    return page.evaluate(SOURCES)


def wait_cell(page: Page, name: str, words: str) -> None:
    page.wait_for_function("([name, words]) => (window.__strip.cells[name] || '').includes(words)", arg=[name, words])


def expiry_on(page: Page) -> str:
    return page.locator("[role=radiogroup][aria-label=Expiry] button.on").inner_text()


def test_the_background_is_right_before_any_script_runs(server: Server) -> None:
    for query, colour in (("", "#10141c"), ("?theme=light", "#ffffff")):
        html = server.get(f"/scripted_app{query}")[1]
        head = html[: html.index("</head>")]
        assert f":root {{ --vs-background: {colour};" in head
        assert "html, body { background: var(--vs-background) !important; }" in head


def test_no_request_leaves_the_machine(open_page: OpenPage, server: Server) -> None:
    page, seen = open_page()
    page.get_by_role("tab", name="System").click()
    expect(page.get_by_text("tick to surface")).to_be_visible()
    page.reload()
    page.wait_for_function("window.__strip")
    assert len(seen.requests) > 10
    assert seen.foreign(server) == []


def test_known_numbers_reach_the_browser_and_move(page: Page, server: Server) -> None:
    before, draws = sources(page), page.evaluate("window.__surface.frames")
    server.script("step", noise=0.0)
    page.wait_for_function("n => window.__surface.frames > n", arg=draws)
    page.wait_for_function(f"old => ({SOURCES})().fit.fit[60] !== old", arg=before["fit"]["fit"][60])
    # An exact mock: mids on the fit leave no residual anywhere, for both come from one fit. A frame's columns arrive one after
    # the other, so the last of them is waited for.
    page.wait_for_function(f"() => Math.max(...({SOURCES})().quotes.residual.map(Math.abs)) < 1e-3")
    after = sources(page)
    assert max(abs(a - b) for a, b in zip(after["quotes"]["mid"], after["quotes"]["model"])) < 1e-3
    assert len(after["term"]["atm"]) == 12
    wait_cell(page, "fit", "0.0 bp")
    heights = page.evaluate("[...window.__surface.heights]")
    assert len(heights) == 12 * 81
    middle = heights[5 * 81 + 40]  # 21DEC26 at the money: the strip's 30 days are within 0.3 days of it
    assert abs(middle - float(cells(page)["atm"].split("\n")[1])) < 0.1


def test_the_age_falls_with_a_new_surface(page: Page, server: Server) -> None:
    server.script(shift_ns=300_000_000_000)
    wait_cell(page, "age", "5 min")
    server.script("step")
    wait_cell(page, "age", "0.")


def test_a_moving_surface_is_drawn_at_the_frame_rate(page: Page, server: Server) -> None:
    server.script(moving=True)
    frames = page.evaluate("window.__surface.frames")
    page.wait_for_function("n => window.__surface.frames > n + 8", arg=frames)
    assert page.evaluate("window.__surface.draw_ms") < 100


def test_the_camera_is_kept_through_updates(page: Page, server: Server) -> None:
    canvas = page.locator("canvas[role=img]")
    box = canvas.bounding_box()
    assert box is not None
    canvas.focus()
    page.keyboard.press("0")
    home = page.evaluate("({...window.__surface.camera})")
    page.mouse.move(box["x"] + 200, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 290, box["y"] + 190, steps=4)
    page.mouse.up()
    turned = page.evaluate("({...window.__surface.camera})")
    assert turned["azimuth"] != home["azimuth"]
    assert turned["elevation"] != home["elevation"]
    for _ in range(2):
        frames = page.evaluate("window.__surface.frames")
        server.script("step")
        page.wait_for_function("n => window.__surface.frames > n", arg=frames)
    assert page.evaluate("({...window.__surface.camera})") == turned
    page.get_by_role("tab", name="Venues").click()
    page.get_by_role("tab", name="Live").click()
    assert page.evaluate("({...window.__surface.camera})") == turned
    chosen = expiry_on(page)
    canvas.focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("window.__surface.camera.azimuth") == pytest.approx(turned["azimuth"] - 0.08)
    page.keyboard.press("0")
    assert page.evaluate("({...window.__surface.camera})") == home
    assert expiry_on(page) == chosen  # the focused surface keeps 0 from the page


def test_a_users_zoom_survives_updates(page: Page, server: Server) -> None:
    ranges = """() => { const f = Bokeh.documents[0].all_models; for (const m of f) if (m.type === 'Figure' &&
        m.left.some(a => a.axis_label === 'implied vol, %')) return [m.x_range.start, m.x_range.end, m.y_range.start, m.y_range.end]; }"""
    figure = page.locator(".bk-Figure").first
    box = figure.bounding_box()
    assert box is not None
    before = page.evaluate(ranges)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"old => ({ranges})()[1] - ({ranges})()[0] < 0.95 * old", arg=before[1] - before[0])
    page.wait_for_timeout(300)  # the zoom is sent in throttled steps; there is no event for the last one
    zoomed = page.evaluate(ranges)
    for _ in range(10):
        frames = page.evaluate("window.__surface.frames")
        server.script("step")
        page.wait_for_function("n => window.__surface.frames > n", arg=frames)
    assert page.evaluate(ranges) == zoomed
    page.keyboard.press("r")
    page.wait_for_function(f"old => ({ranges})()[1] - ({ranges})()[0] > 0.99 * old", arg=before[1] - before[0])


def test_button_key_and_line_choose_the_expiry_everywhere(page: Page) -> None:
    assert expiry_on(page) == "21DEC"  # nearest to 30 days
    page.get_by_role("radio", name="28NOV").click()
    expect(page.locator(".name", has_text="SMILE · BTC 28NOV26")).to_be_visible()
    page.wait_for_function("window.__surface.selected === 2")
    page.wait_for_url("**expiry=28NOV26**")
    strikes = sources(page)["quotes"]["strike"]
    page.keyboard.press("=")
    expect(page.locator(".name", has_text="SMILE · BTC 16NOV27")).to_be_visible()
    page.wait_for_url("**expiry=16NOV27**")
    assert sources(page)["quotes"]["strike"] != strikes
    page.keyboard.press("[")
    expect(page.locator(".name", has_text="SMILE · BTC 18AUG27")).to_be_visible()
    canvas = page.locator("canvas[role=img]").bounding_box()
    assert canvas is not None
    x, y, _ = page.evaluate("window.__surface.ribs[1][40]")
    page.mouse.click(canvas["x"] + x, canvas["y"] + y)
    expect(page.locator(".name", has_text="SMILE · BTC 23NOV26")).to_be_visible()
    page.reload()
    page.wait_for_function("window.__surface && window.__surface.draws > 0")
    expect(page.locator(".name", has_text="SMILE · BTC 23NOV26")).to_be_visible()


def test_a_link_restores_coin_expiry_axis_and_tab(open_page: OpenPage) -> None:
    page, _ = open_page("?underlying=ETH&expiry=12DEC26&x=strike&theme=light")
    expect(page.locator(".name", has_text="SMILE · ETH 12DEC26")).to_be_visible()
    assert 1000 < sources(page)["quotes"]["x"][0] < 5000  # strikes of a coin at 3,120
    page.keyboard.press("x")
    page.wait_for_url("**x=standardised**")
    page, seen = open_page("?expiry=99XXX99&x=nonsense&tab=%7B&height=tall&underlying=DOGE")
    expect(page.locator(".name", has_text="SMILE · BTC 21DEC26")).to_be_visible()
    said = page.get_by_role("alert").filter(has_text="This link's x='nonsense' is not usable; allowed: standardised,")
    expect(said).to_contain_text("This link's height='tall' is not usable; allowed: vol, total variance.")
    expect(said).to_contain_text("There is no surface of DOGE; shown is BTC of BTC, ETH.")
    expect(said).to_contain_text("BTC has no expiry 99XXX99; shown is the one nearest to 30 days.")
    assert seen.errors == []


MAP = """() => { for (const m of Bokeh.documents[0].all_models) if (m.type === 'ColumnDataSource' && m.data.through)
    return [...m.data.image[0]]; }"""


def test_the_map_and_the_surfaces_colour_change_and_a_click_chooses(page: Page, server: Server) -> None:
    frames = page.evaluate("window.__surface.frames")
    server.script("step", noise=0.0)
    page.wait_for_function("n => window.__surface.frames > n", arg=frames)
    # The same numbers as the bars under the smile: an exact mock is neither rich nor cheap anywhere.
    page.wait_for_function(f"() => ({MAP})().every(v => Number.isNaN(v) || v === 0)")
    frames = page.evaluate("window.__surface.frames")
    server.script("step", noise=0.002)
    page.wait_for_function("n => window.__surface.frames > n", arg=frames)
    page.keyboard.press("c")
    page.wait_for_url("**colour=residual**")
    page.wait_for_function("window.__surface.scale[0] === -window.__surface.scale[1]")
    assert page.evaluate("window.__surface.colours.length") == 12 * 81
    page.keyboard.press("m")
    expect(page.locator(".name", has_text="RICH / CHEAP, spreads")).to_be_visible()
    page.wait_for_url("**map=spreads**")
    figure = page.locator(".bk-Figure").nth(2)
    box = figure.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    page.wait_for_function("window.__surface.selected > 5")


def test_keys_do_nothing_in_a_text_field(page: Page) -> None:
    page.evaluate("document.body.append(Object.assign(document.createElement('input'), {id: 'probe'}))")
    page.locator("#probe").focus()
    page.keyboard.type("3 ")
    assert page.locator("#probe").input_value() == "3 "
    page.evaluate("document.querySelector('#probe').remove()")
    page.keyboard.press("2")
    expect(page.locator(".name", has_text="SMILE · BTC 23NOV26")).to_be_visible()


def test_missing_strikes_and_a_failed_expiry_leave_holes(page: Page, seen: Seen, server: Server) -> None:
    full = len(sources(page)["quotes"]["x"])
    frames = page.evaluate("window.__surface.frames")
    server.script("step", hole=5, failed=3)
    page.wait_for_function("n => window.__surface.frames > n", arg=frames)
    heights = page.evaluate("[...window.__surface.heights].map(v => Number.isNaN(v) ? null : v)")
    assert all(v is None for v in heights[3 * 81 : 4 * 81])
    assert all(v is not None for v in heights[5 * 81 : 6 * 81])
    page.wait_for_function(f"n => ({SOURCES})().quotes.x.length < n", arg=full)
    expect(page.get_by_role("radio", name="5DEC")).to_contain_text("✕")
    page.get_by_role("radio", name="5DEC").click()
    expect(page.get_by_text("fit failed, no smile for this expiry")).to_be_visible()
    assert seen.errors == []


def test_an_arbitrage_is_counted_named_and_found(page: Page, server: Server) -> None:
    assert "certified\n0 butterfly, 0 calendar" in cells(page)["arbitrage"]
    server.script("step", violated=7)
    wait_cell(page, "arbitrage", "not certified")
    assert "1 butterfly, 0 calendar" in cells(page)["arbitrage"]
    page.get_by_role("button", name="not certified").click()
    expect(page.locator(".name", has_text="SMILE · BTC 19FEB27")).to_be_visible()
    expect(page.locator(".alarm", has_text="butterfly arbitrage at k −0.34 to −0.26")).to_be_visible()


def test_the_badge_says_replay_and_leaves_with_a_live_source(page: Page, server: Server) -> None:
    server.script("set_status", source="replay")
    wait_cell(page, "source", "REPLAY")
    server.script("set_status", source="live")
    expect(page.locator(".badge")).to_have_count(0)
    server.script("set_status")
    expect(page.locator(".badge", has_text="SIMULATED")).to_be_visible()


def test_loading_says_what_it_waits_for(open_page: OpenPage, server: Server) -> None:
    server.script(surfaces={})
    page, _ = open_page(drawn=False)
    expect(page.get_by_text("waiting for the first surface: deribit 920 channels of 920 instruments")).to_be_visible()
    server.script("set_status", kernels={"done": 3, "total": 7, "name": "implied_vols"})
    expect(page.get_by_text("compiling kernels 3/7 (implied_vols)")).to_be_visible()
    server.script(connected=False, error="no socket yet")
    expect(page.get_by_text("waiting for the engine (no socket yet)")).to_be_visible()
    server.script("reset")
    expect(page.locator(".name", has_text="SMILE · BTC")).to_be_visible()
    expect(page.locator(".wait")).to_have_count(0)


def test_stale_data_are_dimmed_and_aged_in_words(page: Page, server: Server) -> None:
    server.script("set_venue", age_s=14.0)
    wait_cell(page, "venue deribit", "◐ stale 14 s")
    server.script(shift_ns=300_000_000_000)
    expect(page.locator(".words", has_text="stale 5 min").first).to_be_visible()
    wait_cell(page, "age", "◐ stale 5 min")
    server.script("set_venue", state="down")
    wait_cell(page, "venue deribit", "○ down since")
    server.script("reset")
    expect(page.locator(".words", has_text="stale")).to_have_count(0)
    wait_cell(page, "venue deribit", "● 12 ms")


def test_a_quiet_market_is_not_called_stale(page: Page, server: Server) -> None:
    server.script(shift_ns=300_000_000_000)
    wait_cell(page, "age", "5 min")
    assert "stale" not in cells(page)["age"]


def test_space_freezes_and_resumes_at_the_newest(page: Page, server: Server) -> None:
    page.keyboard.press(" ")
    wait_cell(page, "frozen", "FROZEN")
    before, frames = sources(page), page.evaluate("window.__surface.frames")
    for _ in range(3):
        server.script("step")
        page.wait_for_timeout(250)  # more than a frame: nothing must come
    wait_cell(page, "frozen", "frames behind")
    assert page.evaluate("window.__surface.frames") == frames
    assert sources(page) == before
    page.keyboard.press(" ")
    page.wait_for_function("n => window.__surface.frames > n", arg=frames)
    page.wait_for_function("!('frozen' in window.__strip.cells)")
    assert sources(page)["fit"] != before["fit"]


def test_a_setting_reaches_the_engine_and_other_pages(open_page: OpenPage, server: Server) -> None:
    first, _ = open_page()
    second, _ = open_page()
    first.get_by_role("slider", name="Stale after, s").focus()
    first.keyboard.press("ArrowRight")
    expect(second.get_by_text("Settings now: thresholds.stale_s = 11")).to_be_visible()
    assert server.script()["settings"]["thresholds"]["stale_s"] == 11.0
    first.get_by_role("slider", name="Stale after, s").focus()
    first.keyboard.press("ArrowRight")
    expect(second.get_by_text("thresholds.stale_s = 12")).to_be_visible()
    first.keyboard.press("ArrowRight")  # 13 is what the scripted engine refuses
    expect(first.get_by_text("thresholds.stale_s = 13.0 is refused; allowed: a luckier number")).to_be_visible()
    expect(first.get_by_text("Stale after, s: 12")).to_be_visible()


def test_fit_settings_wait_for_apply(page: Page, server: Server) -> None:
    apply = page.get_by_role("button", name="Apply fit settings")
    apply.scroll_into_view_if_needed()
    expect(apply).to_be_disabled()
    page.get_by_role("slider", name="Quotes per expiry").focus()
    page.keyboard.press("ArrowRight")
    expect(apply).to_be_enabled()
    page.get_by_role("button", name="Try beside the live fit").click()
    tried = page.get_by_role("row", name="RMSE, bp 10.0 5.0")
    expect(tried).to_be_visible()
    assert server.script()["settings"]["fit"]["min_quotes"] == 6  # a trial changes nothing
    page.get_by_role("slider", name="Quotes per expiry").focus()
    page.keyboard.press("ArrowRight")
    expect(tried).to_be_hidden()  # what was tried says nothing of other settings
    page.keyboard.press("ArrowLeft")
    apply.click()
    expect(apply).to_be_disabled()
    assert server.script()["settings"]["fit"]["min_quotes"] == 7


def test_a_preset_is_saved_and_read_back(page: Page) -> None:
    page.get_by_label("Save as preset").fill("../bad")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("a preset is named with up to 40 letters")).to_be_visible()
    page.get_by_role("slider", name="Quotes per expiry").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_label("Save as preset").fill("seven")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved the fit settings shown as")).to_be_visible()
    page.get_by_role("button", name="Revert").click()
    expect(page.get_by_text("Quotes per expiry: 6")).to_be_visible()
    page.get_by_label("Preset", exact=True).click()
    page.locator(".MuiListItemText-primary", has_text="seven").click()
    expect(page.get_by_text("Quotes per expiry: 7")).to_be_visible()
    page.get_by_role("button", name="Revert").click()
    expect(page.get_by_text("Quotes per expiry: 6")).to_be_visible()


def test_the_first_visit_note_can_be_dismissed_for_good_and_the_badge_cannot(open_page: OpenPage) -> None:
    page, _ = open_page(note=True)
    expect(page.get_by_text("volsurface serve --venues deribit")).to_be_visible()
    page.get_by_role("button", name="Got it").click()
    expect(page.locator(".note .text, .note span")).to_have_count(0)
    page.reload()
    page.wait_for_function("window.__surface && window.__surface.draws > 0")
    expect(page.get_by_role("button", name="Got it")).to_have_count(0)
    expect(page.locator(".badge", has_text="SIMULATED")).to_be_visible()


def test_reduced_motion_gets_one_frame_a_second(open_page: OpenPage, server: Server) -> None:
    page, _ = open_page(reduced_motion="reduce")
    server.script(moving=True)
    page.wait_for_timeout(500)  # until the browser's report has arrived
    start = page.evaluate("window.__surface.frames")
    page.wait_for_timeout(3000)
    assert 1 <= page.evaluate("window.__surface.frames") - start <= 4


def test_p_pins_and_the_title_splits_the_change(page: Page, server: Server) -> None:
    page.keyboard.press("p")
    page.wait_for_url("**compare=pinned**")
    server.script("step")
    expect(page.locator(".facts", has_text="┅ ").first).to_contain_text("level ")
    then = "() => [...Bokeh.documents[0].all_models].filter(m => m.type === 'ColumnDataSource' && m.data.then)[0].data.then.length"
    assert page.evaluate(then) == 121


def test_quotes_are_sorted_filtered_and_downloaded_with_their_source(page: Page, seen: Seen, server: Server) -> None:
    page.get_by_role("tab", name="Quotes").click()
    rows = page.locator(".tabulator-row")
    expect(rows).to_have_count(20)
    strikes = page.locator(".tabulator-row .tabulator-cell[tabulator-field='strike']")
    before = strikes.first.inner_text()
    page.locator(".tabulator-col[tabulator-field='strike'] .tabulator-col-title").click()
    expect(strikes.first).not_to_have_text(before)
    shown = [float(text.replace(",", "")) for text in strikes.all_inner_texts()]
    assert shown == sorted(shown)  # of all pages, not of the one that was shown
    assert shown[0] < 50_000
    page.get_by_label("Used, or reason why not").click()
    page.locator(".MuiListItemText-primary", has_text="wide").click()
    expect(page.locator(".facts", has_text="14 of 492")).to_be_visible()
    with page.expect_download() as waited:
        page.get_by_text("Download CSV").click()
    assert waited.value.suggested_filename.startswith("quotes_BTC_SIMULATED_")
    lines = waited.value.path().read_text().splitlines()
    assert len(lines) == 15
    assert all(",wide," in line for line in lines[1:])
    assert seen.errors == []
    assert seen.foreign(server) == []


def test_routes_report_the_page_process(page: Page, server: Server) -> None:
    code, text = server.get("/healthz")
    assert (code, json.loads(text)["ok"]) == (200, True)
    assert "volsurface_pages_watched" in server.get("/metrics")[1]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_first_paint_then_every_tab_with_its_badge(open_page: OpenPage, server: Server, theme: str) -> None:
    page, seen = open_page(f"?theme={theme}")
    expect(page.get_by_role("tab", name="Live")).to_be_visible()
    expect(page.get_by_role("radio", name="22NOV")).to_be_visible()
    for name in ("SMILE", "SURFACE", "RICH / CHEAP", "ATM TERM STRUCTURE", "SKEW"):
        expect(page.locator(".name", has_text=name)).to_be_visible()
    assert page.evaluate("document.documentElement.dataset.vs") == theme
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(16, 20, 28)" if theme == "dark" else "rgb(255, 255, 255)")
    fit_tables = "[...Bokeh.documents[0].all_models].filter(m => (m.text || '').includes('min g')).length"
    assert page.evaluate(fit_tables) == 0  # a tab not opened yet has no models
    for tab, words in (
        ("Fit & arbitrage", "min g"),
        ("Venues", "reconnects"),
        ("Quotes", "mid − fit bp"),
        ("History", "no historian is running"),
        ("System", "tick to surface"),
        ("Live", ""),
    ):
        page.get_by_role("tab", name=tab).click()
        if words:
            expect(page.get_by_text(words).first).to_be_visible()
        expect(page.locator(".badge", has_text="SIMULATED")).to_be_in_viewport(ratio=1.0)
    assert page.evaluate(fit_tables) == 1
    assert seen.errors == []
    watched = server.script()["watched"]
    page.context.close()
    eventually(lambda: server.script()["watched"] == watched - 1)


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1600, 950), (1920, 1080)])
def test_nothing_is_cut_wrapped_or_scrolled(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function("w => innerWidth === w && window.__surface.size[0] < w", arg=width)
    page.wait_for_timeout(300)  # layout settles over a few frames; its end has no event
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight + 1")
    strip = page.locator(".strip").bounding_box()
    assert strip is not None
    assert strip["height"] == 44
    for name in ("source", "spot", "atm", "arbitrage", "age"):
        assert name not in page.evaluate("window.__strip.hidden")
    canvases = [card.bounding_box() for card in page.locator(".bk-Figure, canvas[role=img]").all()]
    assert len(canvases) >= 6
    assert all(box is not None and box["height"] > 50 and box["y"] + box["height"] <= height for box in canvases)
    for azimuth in (-2.4, -0.6, 0.9, 2.2):
        labels_are_inside_and_apart(page, azimuth)


def labels_are_inside_and_apart(page: Page, azimuth: float) -> None:
    draws = page.evaluate("window.__surface.draws")
    page.evaluate("a => { window.__surface.camera.azimuth = a; }", azimuth)
    page.locator("canvas[role=img]").focus()
    page.keyboard.press("ArrowUp")
    page.wait_for_function("n => window.__surface.draws > n", arg=draws)
    boxes, (w, h) = page.evaluate("[window.__surface.boxes, window.__surface.size]")
    page.keyboard.press("0")
    assert len(boxes) > 8
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= w
        assert y1 <= h
        assert not any(x0 < a1 and a0 < x1 and y0 < b1 and b0 < y1 for a0, b0, a1, b1 in boxes[:i])


def test_the_theme_toggle_repaints_every_panel(page: Page, seen: Seen) -> None:
    page.get_by_label("Toggle theme").click()
    page.wait_for_function("document.documentElement.dataset.vs === 'light'")
    page.wait_for_function(
        "(() => { const f = [...Bokeh.documents[0].all_models].filter(m => m.type === 'Figure'); "
        "return f.length === 5 && f.every(m => m.background_fill_color === '#ffffff'); })()"
    )
    page.wait_for_url("**theme=default**")
    assert page.evaluate(CLIPPED) == []
    assert seen.errors == []


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "this did not become true within 10 s"
        time.sleep(0.05)
