"""A reader's handle on the running engine: the newest surfaces, status and settings; what pages and notebooks hold."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volsurface.errors import ServiceError, SettingsError, TransportError
from volsurface.io.places import ENGINE_SOCKET, FEED_SOCKET, running_servers
from volsurface.io.publication import NewestPublications
from volsurface.io.transport.unix import UnixChannel
from volsurface.io.transport.wire import CONTROL, SLOTS, Channel, decode_map, encode_map
from volsurface.surface.surface import Surface

if TYPE_CHECKING:
    from volsurface.io.remote import RemoteClient


TRIAL_S = 30.0  # what two fits of a whole chain may take


class LiveClient:
    """Keeps the engine's newest state; `poll` brings what is new.

    surfaces: newest publication by underlying. previews: while the kernels of a first start are compiled, the free fit of
    underlyings without a surface, not certified: for a page to say so, and no surface to anyone else. status: the engine's status (see docs/architecture.md).
    venue_surfaces: by underlying and venue, the surface of that venue's quotes alone, where several quote; seconds old.
    settings: {section: {name: value}} in force, with `settings_version`. events: those of the last poll that brought any.
    engine: a channel to use instead of the run folder's socket. connected: whether the last poll was answered; `error` says why not.
    """

    def __init__(self, run_folder: Path | str, engine: Channel | None = None) -> None:
        self.run_folder = Path(run_folder)
        self._channel = engine or UnixChannel(self.run_folder / ENGINE_SOCKET)
        self._feed = UnixChannel(self.run_folder / FEED_SOCKET)
        self._playing, self._trying = asyncio.Lock(), asyncio.Lock()
        self._trials = engine or UnixChannel(self.run_folder / ENGINE_SOCKET, TRIAL_S)  # nor behind a trial
        self._control = engine or UnixChannel(
            self.run_folder / ENGINE_SOCKET
        )  # a change must not wait behind a held poll
        self._request = {"epoch": 0, "cursor": 0, "event_cursor": 0}
        self.surfaces, self.previews = NewestPublications(), NewestPublications()
        self.venue_surfaces: dict[str, dict[str, Surface]] = {}
        self.status: dict[str, Any] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.settings_version = 0
        self.events: list[dict[str, Any]] = []
        self.dropped_events = 0
        self.connected = False
        self.error = "not asked yet"

    async def poll(self) -> bool:
        """Ask the engine for what is newer, waiting at most about 0.1 s; return whether anything came.

        Never raises for an engine that is away: `connected` is False then and the last state stays.
        """
        try:
            reply = decode_map(await self._channel.request(SLOTS, encode_map(self._request)))
        except TransportError as error:
            self.connected, self.error = False, str(error)
            return False
        self.connected, self.error = True, ""
        if reply["epoch"] != self._request["epoch"]:
            self.surfaces, self.previews = NewestPublications(), NewestPublications()
        self._request = {name: reply[name] for name in ("epoch", "cursor", "event_cursor")}
        for name, body in reply["slots"].items():
            if name.startswith("surface."):
                self.surfaces.put(name.removeprefix("surface."), body)
            elif name.startswith("preview."):
                self.previews.drop(name.removeprefix("preview."))
                if body:  # empty: there is a surface now
                    self.previews.put(name.removeprefix("preview."), body)
            elif name.startswith("venues."):
                surfaces = decode_map(body)
                self.venue_surfaces[name.removeprefix("venues.")] = {
                    venue: Surface.from_dict(surface) for venue, surface in surfaces.items()
                }
            elif name == "status":
                self.status = decode_map(body)
            elif name == "settings":
                settings = decode_map(body)
                self.settings, self.settings_version = settings["values"], settings["version"]
        if reply["events"]:
            self.events = reply["events"]
        self.dropped_events += reply["dropped"]
        return bool(reply["slots"] or reply["events"])

    async def change_settings(self, values: dict[str, dict[str, Any]], who: str) -> int:
        """Ask the engine to take new settings; return their version.

        Raises SettingsError with the engine's reason (nothing has changed then), TransportError when it is away.
        """
        body = encode_map({"settings": values, "who": who})
        answer = decode_map(await self._control.request(CONTROL, body))
        if "error" in answer:
            raise SettingsError(answer["error"])
        return int(answer["version"])

    async def candidate(self, underlying: str, fit: dict[str, Any]) -> tuple[Surface, Surface]:
        """Return the surface of this moment's quotes with the settings in force, and with these fit settings instead.

        Nothing is changed or published. Raises SettingsError with the engine's reason, TransportError when it is away.
        """
        body = encode_map({"candidate": {"underlying": underlying, "fit": fit}})
        async with self._trying:
            answer = decode_map(await self._trials.request(CONTROL, body))
        if "error" in answer:
            raise SettingsError(answer["error"])
        return Surface.from_dict(answer["live"]), Surface.from_dict(answer["candidate"])

    async def playback(self, **wanted: bool | float | str) -> dict[str, Any]:
        """Pause, seek in or change the speed of a market that is played; return where it is (`io.playback.Controls`).

        wanted: paused=True, speed=10.0, seek="2026-11-20T18:00:00Z"; nothing: only ask. Raises SettingsError with the
        feed's reason, TransportError when it is away.
        """
        async with self._playing:  # pages share this handle, and a channel has one request at a time
            answer = decode_map(await self._feed.request(CONTROL, encode_map({"command": "playback", **wanted})))
        if "error" in answer:
            raise SettingsError(answer["error"])
        return answer

    async def close(self) -> None:
        """Close the sockets."""
        await self._feed.close()
        await self._channel.close()
        await self._control.close()
        await self._trials.close()


def connect(run_folder: Path | str | None = None, *, token: str | None = None) -> "LiveClient | RemoteClient":
    """Return a handle on the running services: those of `run_folder`, else the only ones there are on this machine.

    `run_folder` may be the url of a server elsewhere, like https://surface.example.com: then the handle reads its surface
    API, with `token` where that server wants one. Raises ServiceError naming what was found when there are none or
    several, or when the url is none.
    """
    if isinstance(run_folder, str) and "://" in run_folder:
        from volsurface.io.remote import RemoteClient  # its libraries are not needed on the server's own machine

        return RemoteClient(run_folder, token)
    if run_folder is not None:
        return LiveClient(run_folder)
    servers = running_servers()
    if len(servers) == 1:
        return LiveClient(servers[0]["run_folder"])
    if not servers:
        raise ServiceError("no running server found; start one with `volsurface serve`")
    names = "; ".join(f"{s['run_folder']} (data {s.get('data_folder')}, {s.get('source')})" for s in servers)
    raise ServiceError(f"several servers are running, name one with run_folder=...: {names}")
