"""One page connection without a browser: the real handshake, then everything the page server sends is read and timed."""

import asyncio
import json
import re
import time
import urllib.request

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from volsurface.errors import ServiceError

TOKEN = re.compile(r'"token":\s*"([^"]+)"')
# What a browser sends when the page stands: only then is it drawn.
READY = {
    "events": [
        {
            "kind": "MessageSent",
            "msg_type": "bokeh_event",
            "msg_data": {"type": "event", "name": "document_ready", "values": {"type": "map", "entries": []}},
        }
    ]
}


class RawPage:
    """Frames of one page: `frames` holds (time.time_ns() when a patch was read, its bytes), in order."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int]] = []
        self.closed = ""
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self, port: int) -> None:
        """Open the page as a browser does; raises ServiceError when the server answers otherwise."""
        url = f"127.0.0.1:{port}/app"
        html = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://{url}", timeout=60).read().decode())
        token = TOKEN.search(html)
        if token is None:
            raise ServiceError(f"no session token in the page at {url}")
        self._socket = await connect(
            f"ws://{url}/ws", subprotocols=[Subprotocol("bokeh"), Subprotocol(token[1])], compression=None,
            max_size=None, proxy=None,
        )  # fmt: skip
        await self._message()
        await self._send("PULL-DOC-REQ", {})
        while await self._message() != "PULL-DOC-REPLY":
            continue
        await self._send("PATCH-DOC", READY)
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Close the page."""
        if self._reading is not None:
            self._reading.cancel()
        if self._socket is not None:
            await self._socket.close()

    async def _send(self, kind: str, content: object) -> None:
        assert self._socket is not None
        for part in ({"msgid": kind, "msgtype": kind}, {}, content):
            await self._socket.send(json.dumps(part))

    async def _message(self) -> str:
        """Read one message with its buffers; return its type."""
        assert self._socket is not None
        header = json.loads(await self._socket.recv())
        size = len(await self._socket.recv()) + len(await self._socket.recv())
        for _ in range(2 * header.get("num_buffers", 0)):
            size += len(await self._socket.recv())
        kind = str(header["msgtype"])
        if kind == "PATCH-DOC":
            self.frames.append((time.time_ns(), size))
        elif kind == "ERROR":
            raise ServiceError("the page server answered with an error to a page's message")
        return kind

    async def _read(self) -> None:
        try:
            while True:
                await self._message()
        except (ConnectionClosed, ServiceError) as error:
            self.closed = str(error)
