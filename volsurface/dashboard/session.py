"""One page per browser session: what `app.py` calls. What outlives a session lives here, in an imported module."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

import holoviews as hv
import panel as pn
import panel_material_ui as pmui
from bokeh.document import Document
from bokeh.settings import settings as bokeh_settings
from panel.io.state import set_curdoc

from volsurface.dashboard import access
from volsurface.dashboard.bokeh_connections import ClosedPageFilter
from volsurface.dashboard.choices import LINKED, Choices
from volsurface.dashboard.figures import OWN_THEME
from volsurface.dashboard.frame_loop import FrameLoop
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.page import TITLE, DashboardPage, head_style
from volsurface.dashboard.views.smile import SmileView
from volsurface.engine.client import LiveClient
from volsurface.errors import VolSurfaceError
from volsurface.settings import allowed

log = logging.getLogger(__name__)

# Pages must work on a machine without internet: scripts and style sheets come from this server, also for a session that
# Bokeh makes again after the first one has expired.
bokeh_settings.resources = "server"
logging.getLogger("asyncio").addFilter(ClosedPageFilter())


class Services(Protocol):
    """What `engine.supervisor.ensure_services` returns."""

    @property
    def run_folder(self) -> Path: ...
    @property
    def data_folder(self) -> Path: ...
    @property
    def source(self) -> str: ...
    @property
    def launch(self) -> Any: ...


class Process:
    """The hub, the frame loop and the queue of joining pages of this server process."""

    def __init__(self, hub: SurfaceHub, facts: dict[str, str] | None = None) -> None:
        self.hub = hub
        self.loop = FrameLoop(hub)
        self.facts = facts or {}
        # One page is built at a time: five at once would stall everybody's frames for seconds.
        self.joining = asyncio.Semaphore(1)
        # The first figure of a process costs HoloViews half a second; better before anybody watches (`--warm`). In a
        # document of its own: HoloViews would leave callbacks in the session's that break Panel's end of the warm-up.
        with set_curdoc(Document()):
            SmileView(hub)


_process: Process | None = None


def page(ensure_services: Callable[[Sequence[str]], Services], argv: Sequence[str] = ()) -> pn.viewable.Viewable:
    """Return the page of this browser session, starting the services with `argv` if this is the first.

    A page that must not be shown, or services that cannot start, become a page with the reason in words.
    """
    global _process
    extensions()
    if "--allow-anonymous" in argv:
        access.waive()
    refused = access.refusal(current_request(), access.has_authentication(), access.is_waived())
    if refused is not None:
        log.warning("refused: %s", refused)
        return message_page(refused)
    if _process is None:
        try:
            services = ensure_services(argv)
        except VolSurfaceError as error:
            log.error("cannot start: %s", error)
            return message_page(f"The services cannot start: {error}")
        facts = {"data folder": str(services.data_folder), "run folder": str(services.run_folder)}
        _process = Process(SurfaceHub(LiveClient(services.run_folder)), facts)
    if current_request() is None:
        # The server warms itself up and nobody will look. Not a whole page: Panel ends this session by walking a set of
        # callbacks, and a page's end adds one to it, which in one start of three ended the server.
        # The engine is followed from now on all the same: /healthz must not wait for a first visitor. This thread's loop is
        # the one the server will run.
        asyncio.get_event_loop_policy().get_event_loop().call_soon(_process.hub.start)
        return pn.pane.HTML("")
    return open_page(_process)


def open_page(process: Process) -> pn.viewable.Viewable:
    """Return the shell of a new page; its panels follow when the browser has it."""
    document = pn.state.curdoc
    assert document is not None  # pages are made for a session only
    document.theme = OWN_THEME  # before the page is made: pmui reads it then
    choices = Choices(dark=wants_dark())
    complaints = take_link(choices)
    page = DashboardPage(
        process.hub, process.loop, choices, who=who(), has_routes=has_routes(), facts=process.facts,
        on_link=write_link, complaints=complaints,
    )  # fmt: skip

    async def join() -> None:
        process.hub.start()
        async with process.joining:
            panels = []
            for build in page.builders(choices.tab):
                if document.session_context is None:
                    return  # gone before it was ready
                with set_curdoc(document), pn.io.unlocked():
                    panels.append(build())
                await asyncio.sleep(0)
            with set_curdoc(document), pn.io.unlocked():
                page.fill(choices.tab, panels)
                page.apply(0.0)
            page.counts = process.loop.add(document, page)

    def loaded() -> None:
        task = asyncio.get_running_loop().create_task(join())
        _joins.add(task)
        task.add_done_callback(_joined)

    pn.state.onload(loaded)
    return page.shell


_joins: set[asyncio.Task[None]] = set()


def _joined(task: asyncio.Task[None]) -> None:
    _joins.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.error("a page could not be built", exc_info=task.exception())


def extensions() -> None:
    """Load what the pages of this document need."""
    pn.extension("tabulator")
    hv.extension("bokeh", logo=False)


def current_request() -> Any:
    """Return the request this session was made for; None when it was made without one."""
    context = pn.state.curdoc.session_context if pn.state.curdoc else None
    request = getattr(context, "request", None)
    # `--warm` runs the script with Bokeh's proxy of no request at all.
    return None if getattr(request, "_request", request) is None else request


def wants_dark() -> bool:
    """Dark unless the link says `theme=default` or `theme=light`."""
    value = pn.state.session_args.get("theme", [b"dark"])[0].decode(errors="replace")
    return value not in ("default", "light")


def take_link(choices: Choices) -> list[str]:
    """Take the choices in the link; a part that cannot be used is left out and named in what is returned."""
    complaints = []
    location = pn.state.location
    given = {} if location is None else location.query_params
    for name, query in LINKED.items():
        if query in given:
            try:
                choices.param.update(**{name: str(given[query])})
            except ValueError as error:
                log.info("link: %s=%r is not usable: %s", query, given[query], error)
                complaints.append(
                    f"This link's {query}={str(given[query])[:40]!r} is not usable; allowed: {allowed(choices.param[name])}."
                )
    return complaints


def write_link(choices: Choices) -> None:
    """Keep the link up to date, so that a reload or a copy of it shows the same."""
    wanted = {name: value for name, value in choices.link().items() if value}
    if pn.state.location is not None:
        wanted["theme"] = "dark" if choices.dark else "default"
        pn.state.location.update_query(**wanted)


def who() -> str:
    """Name this page in the log of settings changes."""
    return str(pn.state.user or "page")


def has_routes() -> bool:
    """Tell whether `--plugins volsurface.api.routes` was given to this server."""
    return "volsurface.api.routes" in sys.modules


def message_page(sentence: str) -> pn.viewable.Viewable:
    """Return a page that says one thing."""
    dark = wants_dark()
    parts = [
        escape(part) if i % 2 == 0 else f"<code>{escape(part)}</code>" for i, part in enumerate(sentence.split("`"))
    ]
    text = pn.pane.HTML(
        f"<div role='alert' class='say'>{''.join(parts)}</div>",
        stylesheets=[
            ".say { max-width: 760px; margin: 12vh auto; font: 16px/1.6 system-ui, sans-serif; color: var(--vs-text); }"
            "code { background: var(--vs-raised); padding: 2px 6px; border-radius: 4px; }"
        ],
        sizing_mode="stretch_width",
    )
    return pmui.Page(title=TITLE, main=[text], dark_theme=dark, busy_indicator=None, raw_css=[head_style(dark)])
