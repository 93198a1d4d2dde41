"""The transport between processes of one machine: AF_UNIX stream sockets, one request outstanding per connection."""

import asyncio
import logging
import os
import socket
import stat
from pathlib import Path

from volsurface.errors import ServiceError, TransportError, VolSurfaceError
from volsurface.io.transport.hold import LOST_S
from volsurface.io.transport.wire import (
    ERROR,
    HEAD,
    KINDS,
    MAX_REPLY,
    MAX_REQUEST,
    OK,
    Handler,
    parse_head,
    reply_head,
    request_head,
)

MAX_PATH = 107  # bytes: sockaddr_un has 108 and the last one is a zero

log = logging.getLogger(__name__)


class UnixServer:
    """Answers requests on a socket file in a private folder.

    path: of the socket file, at most MAX_PATH bytes; its folder is made with mode 0700, or must be nobody else's. A file
        left by a server that died is removed, one where somebody listens is not.
    handler: called with (kind, body); may hold the request. A VolSurfaceError becomes an error reply with its sentence.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[_ServedConnection] = set()
        self._inode = 0

    async def start(self) -> None:
        """Listen; raises ServiceError when the place cannot be used."""
        _check_length(self.path, ServiceError)
        _private_folder(self.path.parent)
        _remove_stale(self.path)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.bind(str(self.path))
            self._inode = self.path.stat().st_ino
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(
                lambda: _ServedConnection(self._handler, self._connections), sock=bound
            )
        except OSError as error:
            bound.close()
            raise ServiceError(f"cannot listen at {self.path}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Stop listening, drop all connections and remove the file if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in tuple(self._connections):
            connection.abort()
        try:
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            return

    async def __aenter__(self) -> "UnixServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _ServedConnection(asyncio.Protocol):
    """One connected consumer; its credit is one request, and whoever sends more is dropped."""

    def __init__(self, handler: Handler, connections: set["_ServedConnection"]) -> None:
        self._handler, self._connections = handler, connections
        self._data = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._task is not None:
            log.warning("a consumer sent a second request while one is held; dropped")
            return self.abort()
        self._data += data
        if len(self._data) < HEAD.size:
            return
        try:
            kind, length = parse_head(self._data, MAX_REQUEST)
        except TransportError as error:
            log.warning("a consumer is dropped: %s", error)
            return self.abort()
        surplus = len(self._data) - HEAD.size - length
        if surplus > 0:
            log.warning("a consumer sent %d bytes more than its request; dropped", surplus)
            return self.abort()
        if surplus == 0:
            body = bytes(self._data[HEAD.size :])
            self._data.clear()
            self._task = asyncio.get_running_loop().create_task(self._answer(kind, body))

    async def _answer(self, kind: int, body: bytes) -> None:
        status, parts = OK, []
        try:
            reply = await self._handler(kind, body)
            parts = [reply] if isinstance(reply, bytes) else list(reply)
        except VolSurfaceError as error:
            status, parts = ERROR, [str(error).encode()]
        except Exception:
            log.exception("the answer to a %s request failed", KINDS.get(kind, kind))
            status, parts = ERROR, [b"the service failed to answer; its log has the reason"]
        self._task = None  # before the reply leaves: the next request may come in the same turn
        self._transport.writelines([reply_head(status, parts), *parts])


class UnixChannel:
    """A consumer's end: connects at the first request, and again at the first one after a failure.

    Requests wait for each other, since the server allows one at a time.
    """

    def __init__(self, path: Path, timeout_s: float = LOST_S) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._connection: _ChannelConnection | None = None

    async def request(self, kind: int, body: bytes) -> bytes:
        """Return the reply's body; raises TransportError when nobody answers in time or the answer is an error."""
        async with self._turn:
            connection = self._connection
            try:
                if connection is None or connection.lost:
                    connection = self._connection = await self._connect()
                async with asyncio.timeout(self._timeout_s):
                    status, reply = await connection.exchange(request_head(kind, body), body)
            except TimeoutError:
                self._drop()
                name = KINDS.get(kind, str(kind))
                raise TransportError(
                    f"no answer to a {name} request within {self._timeout_s:g} s from {self.path}"
                ) from None
            except BaseException:  # also when cancelled: the late reply must not answer the next request
                self._drop()
                raise
        if status != OK:
            raise TransportError(reply.decode("utf-8", "replace"))
        return reply

    async def close(self) -> None:
        """Close the connection; a later request opens a new one."""
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def _connect(self) -> "_ChannelConnection":
        await asyncio.sleep(0)  # a refusal comes at once: a caller that tries in a circle must not stop the loop
        _check_length(self.path, TransportError)
        try:
            async with asyncio.timeout(self._timeout_s):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_unix_connection(_ChannelConnection, str(self.path))
        except OSError as error:  # TimeoutError is one
            reason = error.strerror or "no answer"
            raise TransportError(f"nobody listens at {self.path}: {reason}") from error
        return connection


class _ChannelConnection(asyncio.Protocol):
    """Collects the reply to the one request that is outstanding."""

    def __init__(self) -> None:
        self.lost = False
        self._data = bytearray()
        self._size = HEAD.size  # of the reply so far known: its head, later all of it
        self._status = OK
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        where = "in the middle of a reply" if self._data else "before it replied"
        self._fail(TransportError(f"the service closed the connection {where}"))

    def abort(self) -> None:
        self._transport.abort()

    async def exchange(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """Send one request and return the reply's (status, body)."""
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.writelines([head, body])
        return await self._reply

    def data_received(self, data: bytes) -> None:
        if self._reply is None or self._reply.done():
            return self.abort()  # an answer to nothing
        self._data += data
        if self._size == HEAD.size and len(self._data) >= HEAD.size:
            try:
                self._status, length = parse_head(self._data, MAX_REPLY)
            except TransportError as error:
                self._fail(error)
                return self.abort()
            self._size = HEAD.size + length
        if len(self._data) >= max(self._size, HEAD.size):
            with memoryview(self._data) as view:
                reply = bytes(view[HEAD.size : self._size])
            surplus = len(self._data) > self._size
            self._data, self._size = bytearray(), HEAD.size
            self._reply.set_result((self._status, reply))
            if surplus:
                self.abort()

    def _fail(self, error: TransportError) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)


def _check_length(path: Path, error: type[VolSurfaceError]) -> None:
    size = len(os.fsencode(path))
    if size > MAX_PATH:
        raise error(
            f"the socket path {path} has {size} bytes; at most {MAX_PATH} are allowed. Choose a shorter run folder"
        )


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = folder.stat()
    mode = stat.S_IMODE(info.st_mode)
    if info.st_uid != os.getuid() or mode & 0o077:
        raise ServiceError(
            f"the folder of sockets {folder} must be yours alone: mode 0700, found {mode:04o} of user {info.st_uid}"
        )


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ServiceError(f"cannot listen at {path}: there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise ServiceError(f"cannot listen at {path}: {error.strerror}") from error
    raise ServiceError(f"another service listens at {path}; stop it first")
