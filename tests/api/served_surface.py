"""A scripted engine beside the surface API, and the route by which a test moves it: a plug-in of the test server."""

import json
from dataclasses import replace

from scripted_market import ScriptedClient, publication, svi
from tornado.web import RequestHandler

from volsurface.api import surface_routes
from volsurface.dashboard.frame_loop import FrameLoop
from volsurface.dashboard.hub import SurfaceHub

CLIENT = ScriptedClient()
LOOP = FrameLoop(SurfaceHub(CLIENT, CLIENT.now_ns))


def refit(row: int) -> None:
    """Publish BTC with one expiry moved, the rest bit for bit as before."""
    old = CLIENT.surfaces["BTC"]
    smile = old.surface.smiles[row]
    moved = replace(smile, rmse_bp=smile.rmse_bp + 0.25)
    smiles = tuple(moved if i == row else each for i, each in enumerate(old.surface.smiles))
    CLIENT.surfaces["BTC"] = replace(
        old, surface_id=old.surface_id + 1, changed=1 << row, surface=replace(old.surface, smiles=smiles)
    )
    CLIENT._new.set()


def mixture() -> None:
    """Publish ETH with a mixture as its second smile."""
    made = publication("ETH", surface_id=1_000, days=(1, 7, 30))
    smiles = list(made.surface.smiles)
    two = (0.4, *svi(smiles[1].years, 0.0), *svi(smiles[1].years, 0.5))
    smiles[1] = replace(smiles[1], model="mixture", parameters=two)
    CLIENT.surfaces["ETH"] = replace(made, surface=replace(made.surface, smiles=tuple(smiles)))
    CLIENT._new.set()


def move(on: bool) -> None:
    """Publish ten times a second, or stop."""
    CLIENT.moving = on


class ScriptHandler(RequestHandler):
    """POST [name, arguments]: call one of the functions here or of the client; answers with counters."""

    def post(self) -> None:
        LOOP.hub.start()
        name, arguments = json.loads(self.request.body)
        here = {"refit": refit, "mixture": mixture, "move": move}
        (here.get(name) or getattr(CLIENT, name))(**arguments)
        broadcast = surface_routes.broadcast
        self.finish(
            {
                "viewers": len(broadcast.viewers), "encoded": broadcast.encoded, "sent": broadcast.sent,
                "passed_over": broadcast.passed_over,
                "queued": max((len(viewer.ws_connection.stream._write_buffer) for viewer in broadcast.viewers), default=0),
            }
        )  # fmt: skip


ROUTES = [(r"/script", ScriptHandler, {})]
