"""A client that knows nothing of the product: a bare websocket, JSON, and a list of what came."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection

PATIENCE_S = 20.0  # how long a condition is waited for before a test fails


class RawClient:
    """Sends calls and keeps every message received, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[dict[str, Any]] = []
        self._last_id = 0

    async def receive(self) -> dict[str, Any]:
        """Return the next message, kept in `received` too."""
        async with asyncio.timeout(PATIENCE_S):
            message = json.loads(await self.socket.recv())
        self.received.append(message)
        return message

    async def until(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Receive until a message is `wanted`; return it."""
        async with asyncio.timeout(PATIENCE_S):
            while not wanted(message := await self.receive()):
                pass
        return message

    async def answer(self, method: str, /, **params: Any) -> dict[str, Any]:
        """Make a call and return the whole answer; notifications that come first stay in `received`."""
        self._last_id += 1
        call_id = self._last_id
        request = {"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}
        await self.socket.send(json.dumps(request))
        return await self.until(lambda message: message.get("id") == call_id)

    async def call(self, method: str, /, **params: Any) -> Any:
        """Make a call that must succeed; return its result."""
        answer = await self.answer(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, method: str, /, **params: Any) -> dict[str, Any]:
        """Make a call that must fail; return its error."""
        answer = await self.answer(method, **params)
        assert "error" in answer, answer
        return answer["error"]

    async def subscribe(self, *channels: str) -> list[str]:
        """Subscribe; return the channels acknowledged."""
        return await self.call("public/subscribe", channels=list(channels))

    async def symbols(self, currency: str = "BTC") -> list[str]:
        """Return the names of all options of a currency."""
        entries = await self.call("public/get_instruments", currency=currency, kind="option")
        return [entry["instrument_name"] for entry in entries]

    def data(self, channel: str) -> list[Any]:
        """Return what has come on a channel so far."""
        return [m["params"]["data"] for m in self.received if m.get("params", {}).get("channel") == channel]


class NaiveBook:
    """A book rebuilt by the documented rule and nothing else; `gaps` counts changes that did not follow."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.change_id: int | None = None
        self.gaps = 0

    def apply(self, data: dict[str, Any]) -> None:
        """Take a snapshot or a change."""
        if data["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        elif data["prev_change_id"] != self.change_id:
            self.gaps += 1
        self.change_id = data["change_id"]
        for levels, side in ((data["bids"], self.bids), (data["asks"], self.asks)):
            for action, price, amount in levels:
                if action == "delete":
                    assert amount == 0
                    del side[price]
                else:
                    assert (action == "change") == (price in side), "a level is new once"
                    side[price] = amount
