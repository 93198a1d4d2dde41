"""The transport within one event loop: a request is a call of the handler."""

from volsurface.errors import TransportError, VolSurfaceError
from volsurface.io.transport.wire import Handler


class InlineChannel:
    """A channel to a handler of the same loop: tests, and a notebook without child processes."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def request(self, kind: int, body: bytes) -> bytes:
        """Return the handler's reply; what it refuses is a TransportError, as over a socket."""
        try:
            reply = await self._handler(kind, body)
        except VolSurfaceError as error:
            raise TransportError(str(error)) from error
        return reply if isinstance(reply, bytes) else b"".join(reply)

    async def close(self) -> None:
        """Nothing to close."""
