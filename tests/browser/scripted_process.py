"""The scripted engine of a test server, and the route by which a test moves it."""

import asyncio
import json
import tempfile

from scripted_market import ScriptedClient
from tornado.web import RequestHandler

from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.session import Process

FOLDER = tempfile.TemporaryDirectory()
CLIENT = ScriptedClient()
PROCESS = Process(SurfaceHub(CLIENT, CLIENT.now_ns), {"data folder": FOLDER.name})
# A page's first view.
HOME = {
    "underlying": "BTC",
    "expiry": "21DEC26",
    "x_axis": "standardised",
    "height": "vol",
    "colour": "vol",
    "map": "bp",
    "compare": "nothing",
    "tab": "Live",
    "frozen": False,
    "dark": True,
}


class ScriptHandler(RequestHandler):
    """POST [method, arguments] calls a method of the client; POST {name: value} sets attributes."""

    def post(self) -> None:
        order = json.loads(self.request.body)
        if isinstance(order, list) and order[0] == "home":
            for page in PROCESS.loop._pages.values():
                page.later(lambda page=page: page.choices.param.update(**HOME))
        elif isinstance(order, list):
            getattr(CLIENT, order[0])(**order[1])
        else:
            for name, value in order.items():
                setattr(CLIENT, name, value)
            PROCESS.hub.take()
        loop = PROCESS.loop
        counts = [c for c in loop.counts.values()]
        self.finish(
            json.dumps(
                {
                    "version": PROCESS.hub.version, "pages": loop.pages, "watched": loop.watched, "page_ms": loop.page_ms,
                    "shown": [c.shown for c in counts], "skipped": [c.skipped for c in counts], "frame": CLIENT.frame,
                    "settings": CLIENT.settings, "tasks": len(asyncio.all_tasks()),
                }
            )
        )  # fmt: skip


ROUTES = [(r"/script", ScriptHandler, {})]
