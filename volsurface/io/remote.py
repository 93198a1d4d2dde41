"""A reader's handle on a server elsewhere, over its surface API: what `engine.client.LiveClient` is on the same machine."""

import asyncio
import json
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Data

from volsurface.errors import SequenceGap, ServiceError, SettingsError, TransportError
from volsurface.io.publication import Publication
from volsurface.io.surface_frames import MSGPACK, FrameReader
from volsurface.surface.surface import Surface

ROOT = "/api/v1"
STATUS_EVERY_S = 1.0
RETRY_S, LONGEST_RETRY_S = 0.3, 5.0
HELD_S = 0.1  # a poll waits this long, as one of the engine does
RESYNC = "resync"
MAX_FRAME = 16 << 20
READ_ONLY = "the surface API is read-only: {what} on the page, or with a handle on the server's own machine"


class RemoteClient:
    """Keeps the newest state of the server at `url` (http or https); `poll` brings what is new.

    token: the holder's, where the server wants one. surfaces, status, settings, settings_version, events, connected,
    error: as those of `engine.client.LiveClient`; previews, venue_surfaces: always empty, they are not sent. Belongs to one
    event loop, and must be closed. Raises ServiceError for a url that is none.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ServiceError(f"a server's url is like http://127.0.0.1:5006, found {url!r}")
        self.url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.surfaces: dict[str, Publication] = {}
        self.previews: dict[str, Publication] = {}
        self.venue_surfaces: dict[str, dict[str, Surface]] = {}
        self.status: dict[str, Any] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.settings_version = 0
        self.events: list[dict[str, Any]] = []
        self.dropped_events = 0
        self.connected = False
        self.error = "not asked yet"
        self.resyncs = 0  # gaps seen, each healed by a snapshot
        self._http: httpx.AsyncClient | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    async def poll(self) -> bool:
        """Wait at most about 0.1 s for something new; return whether anything came.

        Never raises for a server that is away or refuses: `connected` is False then, `error` says why, and the last state
        stays.
        """
        if not self._tasks:
            self._http = httpx.AsyncClient(headers=self._headers, timeout=10.0, trust_env=False)
            self._tasks["status"] = asyncio.create_task(self._follow_status(self._http))
        try:
            await asyncio.wait_for(self._news.wait(), HELD_S)
        except TimeoutError:
            return False
        self._news.clear()
        return True

    async def change_settings(self, values: dict[str, dict[str, Any]], who: str) -> int:
        """Refuse: raises SettingsError."""
        raise SettingsError(READ_ONLY.format(what="settings are changed"))

    async def playback(self, **wanted: bool | float | str) -> dict[str, Any]:
        """Refuse: raises SettingsError."""
        raise SettingsError(READ_ONLY.format(what="a recording is played"))

    async def close(self) -> None:
        """Close the sockets."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        if self._http is not None:
            await self._http.aclose()
        self.connected, self.error = False, "closed"

    async def _follow_status(self, http: httpx.AsyncClient) -> None:
        """Ask what there is and how the engine is, for ever; start a stream for every underlying."""
        rest = RETRY_S
        while True:
            try:
                listed = await self._get(http, "/underlyings")
                self._take_status(await self._get(http, "/diagnostics"))
                for each in listed["underlyings"]:
                    name = each["underlying"]
                    if name not in self._tasks:
                        self._tasks[name] = asyncio.create_task(self._follow(name))
                rest = STATUS_EVERY_S
            except (TransportError, KeyError, TypeError) as error:
                self._lost(str(error) if isinstance(error, TransportError) else f"not a volsurface server: {error!r}")
                rest = min(2 * rest, LONGEST_RETRY_S)
            await asyncio.sleep(rest)

    async def _get(self, http: httpx.AsyncClient, path: str) -> Any:
        try:
            answer = await http.get(self.url + ROOT + path)
        except httpx.HTTPError as error:
            raise TransportError(f"{self.url} does not answer: {error or type(error).__name__}") from error
        if answer.status_code != 200:
            raise TransportError(f"{self.url} answers {answer.status_code}: {_sentence(answer.content)}")
        try:
            return answer.json()
        except ValueError as error:
            raise TransportError(
                f"{self.url} answers something that is not JSON; is it a volsurface server?"
            ) from error

    def _take_status(self, found: dict[str, Any]) -> None:
        was = (self.status, self.settings_version, self.connected)
        self.status, self.settings = found["status"], found["settings"]
        self.settings_version = found["settings_version"]
        self.connected, self.error = bool(found["connected"]), str(found["error"])
        seen = self.events[-1]["seq"] if self.events else 0
        newer = [event for event in found["events"] if event["seq"] > seen]
        self.events = newer or self.events
        if newer or was != (self.status, self.settings_version, self.connected):
            self._news.set()

    def _lost(self, why: str) -> None:
        if self.connected or self.error != why:
            self.connected, self.error = False, why
            self._news.set()

    async def _follow(self, underlying: str) -> None:
        """Read one underlying's stream for ever; the place where a connection that is lost is made again."""
        url = f"ws{self.url.removeprefix('http')}{ROOT}/stream/{quote(underlying, safe='')}?form={MSGPACK}"
        rest = RETRY_S
        while True:
            try:
                async with connect(
                    url, additional_headers=self._headers, compression=None, max_size=MAX_FRAME, proxy=None
                ) as stream:
                    rest = RETRY_S
                    await self._read(stream, underlying)
            except InvalidStatus as error:
                self._lost(f"{self.url} answers {error.response.status_code}: {_sentence(error.response.body)}")
            except (OSError, WebSocketException, TransportError) as error:
                self._lost(f"the stream of {underlying} from {self.url} has ended: {error or type(error).__name__}")
            await asyncio.sleep(rest)
            rest = min(2 * rest, LONGEST_RETRY_S)

    async def _read(self, stream: ClientConnection, underlying: str) -> None:
        reader, waiting = FrameReader(), False
        while True:
            frame: Data = await stream.recv()
            try:
                reader.apply(frame)
            except SequenceGap:
                if not waiting:
                    self.resyncs += 1
                    await stream.send(RESYNC)
                waiting = True
                continue
            waiting = False
            self.surfaces[underlying] = reader.publication()
            self._news.set()


def _sentence(body: bytes | bytearray | None) -> str:
    """Return the sentence of a refusal."""
    try:
        return str(json.loads(bytes(body or b""))["error"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"
