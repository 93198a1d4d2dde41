"""The surface API's routes: read-only answers and the stream, for whom the page would let in as well."""

import asyncio
import logging
import math
import socket
import time
from functools import partial
from typing import Any

import msgspec
from tornado.web import HTTPError, RequestHandler, stream_request_body
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from volsurface.api import answers, description
from volsurface.api.broadcast import Broadcast
from volsurface.api.guard import Caller, Guard, host_refusal, origin_refusal, unlisted_query
from volsurface.api.schema import (
    MAX_MESSAGE,
    MAX_QUERY,
    OPERATIONS,
    RESYNC,
    ROOT,
    STREAM,
    VERSION,
    Operation,
)
from volsurface.dashboard import access
from volsurface.dashboard.frame_loop import current_hub
from volsurface.dashboard.hub import SurfaceHub
from volsurface.errors import unknown_name
from volsurface.io.publication import Publication
from volsurface.io.surface_frames import FORMS, JSON

ARROW = "application/vnd.apache.arrow.stream"
SEND_BUFFER_BYTES = 64 * 1024  # what the kernel may hold for a viewer that has stopped reading
PING_S = 20.0
log = logging.getLogger(__name__)
BEARER = {"WWW_Authenticate": "Bearer"}
guard = Guard.from_environment()
broadcast = Broadcast(current_hub)


class Refused(HTTPError):
    """No answer, with a status code, a sentence, and headers that go with it."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(status)
        self.sentence = sentence
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Asked(RequestHandler):
    """What every request of the API goes through: size, method, origin, caller, allowance."""

    caller: Caller

    async def prepare(self) -> None:
        request = self.request
        if request.method != "GET":
            raise Refused(405, f"this API is read-only: GET, found {request.method}", Allow="GET")
        if request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers:
            raise Refused(413, "a request has no body; parameters stand in the address", Connection="close")
        if len(request.query) > MAX_QUERY:
            raise Refused(414, f"the query has {len(request.query)} characters; at most {MAX_QUERY} are allowed")
        allowed = self.application.websocket_origins  # type: ignore[attr-defined]  # Bokeh's application
        refused = origin_refusal(request.headers.get("Origin"), request.host, allowed)
        if refused is not None:
            raise Refused(403, refused)
        self.caller = await self._who(allowed)
        wait_s = self.caller.spend(time.monotonic())
        if wait_s > 0:
            raise Refused(
                429,
                f"{self.caller.name} may make {self.caller.requests_per_s:g} requests a second",
                Retry_After=str(math.ceil(wait_s)),
            )

    async def _who(self, allowed: set[str]) -> Caller:
        """Return who asks: the holder of a token, else whom the page's login knows, else somebody on this machine."""
        header = self.request.headers.get("Authorization", "")
        if header.lower().startswith("bearer"):
            caller = guard.bearer(header)
            if caller is None:
                raise Refused(401, "this token is not known; docs/api.md says where tokens are kept", **BEARER)
            return caller
        provider = self.application.auth_provider  # type: ignore[attr-defined]
        if provider.get_user is not None or provider.get_user_async is not None:
            user = provider.get_user(self) if provider.get_user is not None else await provider.get_user_async(self)
            if not user:
                raise Refused(401, "log in on the page first, or send a token: `Authorization: Bearer TOKEN`", **BEARER)
            return guard.named(str(user))
        refused = access.refusal(self.request, access.has_authentication(), access.is_waived()) or host_refusal(
            self.request.host, allowed
        )
        if refused is not None:
            raise Refused(403, refused)
        return guard.named("anonymous")

    def check_xsrf_cookie(self) -> None:
        """Nothing can be changed here."""

    def hub(self) -> SurfaceHub:
        """Return what the page's process knows."""
        hub = current_hub()
        if hub is None:
            raise Refused(503, "no page has started the services yet (start with --warm)")
        return hub

    def known(self, hub: SurfaceHub, underlying: str) -> None:
        """Refuse an underlying that does not exist."""
        names = answers.known_underlyings(hub)
        if underlying not in names and names:
            raise Refused(404, unknown_name("underlying", underlying[:60], names))

    def publication(self, underlying: str) -> Publication:
        """Return the newest publication."""
        hub = self.hub()
        self.known(hub, underlying)
        publication = hub.client.surfaces.get(underlying)
        if publication is None:
            raise Refused(503, f"there is no surface of {underlying[:60]!r} yet: {hub.waiting_for()}")
        return publication

    def query(self, known: set[str]) -> dict[str, str]:
        """Return the parameters of the query; refuses others than the known ones."""
        sentence = unlisted_query(self.request.query_arguments, known)
        if sentence is not None:
            raise Refused(400, sentence)
        return {name: self.get_query_argument(name) for name in self.request.query_arguments}

    def answer(self, fields: Any) -> None:
        """Answer with JSON; a number that is not there is null."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(msgspec.json.encode(fields))

    def write_error(self, status_code: int, **found: Any) -> None:
        """Answer with a sentence, never a stack trace."""
        error = found.get("exc_info", (None, None))[1]
        sentence = error.sentence if isinstance(error, Refused) else self._reason
        for name, value in error.headers.items() if isinstance(error, Refused) else ():
            self.set_header(name, value)
        self.answer({"status": status_code, "error": sentence})


@stream_request_body  # a body is refused before it is read
class AnswerHandler(Asked):
    """One operation of the table."""

    def initialize(self, operation: Operation) -> None:
        self.operation = operation

    def data_received(self, chunk: bytes) -> None:
        """Let the rest of a refused request pass by."""

    async def get(self, *places: str) -> None:
        operation = self.operation
        path = {p.name: place for p, place in zip(operation.parameters, places)}
        query = self.query({p.name for p in operation.parameters if p.where == "query"})
        if operation.name in ("openapi", "asyncapi"):
            return self.answer(getattr(description, operation.name)())
        if operation.name in ("underlyings", "diagnostics"):
            return self.answer(getattr(answers, operation.name)(self.hub()))
        publication = self.publication(path["underlying"])
        arrow = self._wants_arrow(query.pop("format", None)) if operation.table else False
        make = partial(answers.arrow_table, operation.name) if arrow else getattr(answers, operation.name)
        try:
            made = await asyncio.to_thread(make, publication, {**query, **path})
        except answers.NotThere as error:
            raise Refused(404, str(error)) from None
        except ValueError as error:
            raise Refused(400, str(error)) from None
        if not arrow:
            return self.answer(made)
        self.set_header("Content-Type", ARROW)
        self.finish(made)

    def _wants_arrow(self, wanted: str | None) -> bool:
        if wanted is None:
            wanted = "arrow" if ARROW in self.request.headers.get("Accept", "") else "json"
        if wanted not in ("json", "arrow"):
            raise Refused(400, unknown_name("format", wanted[:60], ("json", "arrow")))
        if wanted == "arrow" and not answers.has_arrow():
            raise Refused(
                406, "Arrow needs pyarrow on the server: pip install 'volsurface-live[arrow]'; or ask for json"
            )
        return wanted == "arrow"


@stream_request_body
class UnknownHandler(Asked):
    """Any other address under /api."""

    def data_received(self, chunk: bytes) -> None:
        """Let the rest of a refused request pass by."""

    def get(self, path: str) -> None:
        version, _, rest = path.partition("/")
        if version != VERSION:
            raise Refused(
                404, f"this server speaks version {VERSION} of the API, found {version[:60]!r}: use {ROOT}/..."
            )
        paths = [operation.path for operation in OPERATIONS] + [STREAM.removeprefix(ROOT)]
        raise Refused(404, unknown_name("path", "/" + rest[:60], paths))


class StreamHandler(Asked, WebSocketHandler):
    """One reader of a stream: says nothing, or asks for a snapshot."""

    seq = 0
    underlying = form = ""
    _counted = False

    async def prepare(self) -> None:
        await super().prepare()
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            raise Refused(426, "this address is a websocket; for one answer use /surface, /metrics or /quotes")
        self.underlying = self.path_args[0]
        self.known(self.hub(), self.underlying)
        self.form = self.query({"form"}).get("form", JSON)
        if self.form not in FORMS:
            raise Refused(400, unknown_name("form", self.form[:60], FORMS))
        if self.caller.open_streams >= self.caller.streams:
            raise Refused(429, f"{self.caller.name} may have {self.caller.streams} streams open")

    def check_origin(self, origin: str) -> bool:
        """Accept: `prepare` has refused other origins, with a sentence."""
        return True

    @property
    def max_message_size(self) -> int:
        """Nobody has more to say than one word."""
        return MAX_MESSAGE

    @property
    def ping_interval(self) -> float:
        """A viewer that is gone without a word is noticed."""
        return PING_S

    def open(self, *places: str) -> None:
        stream = self.ws_connection.stream if self.ws_connection is not None else None
        assert stream is not None
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.set_nodelay(True)
        self.caller.open_streams += 1
        self._counted = True
        broadcast.add(self)

    def on_message(self, message: str | bytes) -> None:
        if message == RESYNC:
            self.seq = 0
        else:
            self.close(1008, f"this stream is read-only; the only word is {RESYNC!r}")

    def on_close(self) -> None:
        broadcast.drop(self)
        if self._counted:
            self._counted = False
            self.caller.open_streams -= 1

    def is_busy(self) -> bool:
        """Tell whether bytes of the frame before are still here."""
        stream = self.ws_connection.stream if self.ws_connection is not None else None
        return stream is not None and stream.writing()

    def send(self, frame: bytes) -> None:
        """Write a frame, without waiting."""
        try:
            self.write_message(frame, binary=self.form != JSON).add_done_callback(_written)
        except WebSocketClosedError:
            broadcast.drop(self)


def _written(write: "asyncio.Future[None]") -> None:
    """Take the end of a write that nobody waits for; a viewer that went away in it is no fault."""
    error = None if write.cancelled() else write.exception()
    if error is not None and not isinstance(error, WebSocketClosedError):
        log.error("a frame could not be written", exc_info=error)


def _pattern(path: str) -> str:
    return "/".join("([^/]+)" if part.startswith("{") else part.replace(".", r"\.") for part in path.split("/"))


Route = tuple[str, type[RequestHandler], dict[str, object]]


def _route(path: str, handler: type[RequestHandler], **arguments: object) -> Route:
    return _pattern(path), handler, arguments


SURFACE_ROUTES: list[Route] = [
    *(_route(ROOT + operation.path, AnswerHandler, operation=operation) for operation in OPERATIONS),
    _route(STREAM, StreamHandler),
    (r"/api/(.*)", UnknownHandler, {}),
]
