"""What must be known of a page's sockets, and Bokeh does not offer in public: its private attributes are used here alone.

A test opens a real page and fails when an upgrade of Bokeh or Tornado has moved one of them.
"""

import logging
import socket
from typing import Any

from bokeh.document import Document

# What the kernel may hold for a browser that stopped reading: about five frames, so it resumes near the newest.
SEND_BUFFER_BYTES = 64 * 1024


def open_connections(document: Document) -> list[Any]:
    """Return the browser connections of a page; none when its session is gone."""
    context = document.session_context
    session = getattr(context, "session", None)
    return list(getattr(session, "_subscribed_connections", ()))


def is_watched(document: Document) -> bool:
    """Tell whether a browser is connected; without this a closed tab is drawn for 15 s more."""
    return bool(open_connections(document))


def has_unsent_bytes(document: Document) -> bool:
    """Tell whether a browser is still being written to.

    The frame loop does not wait for its writes: without this guard a browser that stopped reading let the server grow by
    more than 1 MB/s, and received all the old frames when it resumed.
    """
    return any(stream.writing() for stream in _streams(document))


def limit_send_buffer(document: Document) -> None:
    """Keep the kernel from storing seconds of old frames for a slow browser."""
    for stream in _streams(document):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def _streams(document: Document) -> list[Any]:
    websockets = [connection._socket.ws_connection for connection in open_connections(document)]
    return [websocket.stream for websocket in websockets if websocket is not None and websocket.stream.socket]


class ClosedPageFilter(logging.Filter):
    """Drops one message: the task of a write to a page that was closed in that moment, which nobody waits for."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = type(record.exc_info[1]).__name__ if record.exc_info else ""
        return not (error == "WebSocketClosedError" and "never retrieved" in record.getMessage())
