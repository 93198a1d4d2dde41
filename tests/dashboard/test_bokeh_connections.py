"""The private attributes of Bokeh and Tornado still are where `bokeh_connections` looks for them."""

import asyncio
import json
import re

import pytest
import tornado.httpclient
import tornado.websocket
from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.models import ColumnDataSource
from bokeh.server.server import Server

from volsurface.dashboard import bokeh_connections


@pytest.fixture
async def opened() -> tuple[Document, tornado.websocket.WebSocketClientConnection]:
    documents: list[Document] = []

    def build(document: Document) -> None:
        document.add_root(ColumnDataSource(name="probe"))
        documents.append(document)

    server = Server({"/": Application(FunctionHandler(build))}, port=0, address="127.0.0.1")
    server.start()
    url = f"http://127.0.0.1:{server.port}/"
    page = await tornado.httpclient.AsyncHTTPClient().fetch(url)
    token = re.search(r'"token":"([^"]+)"', page.body.decode())
    assert token is not None
    request = tornado.httpclient.HTTPRequest(url.replace("http", "ws") + "ws")
    socket = await tornado.websocket.websocket_connect(request, subprotocols=["bokeh", token.group(1)])
    for part in (json.dumps({"msgid": "1", "msgtype": "PULL-DOC-REQ"}), "{}", "{}"):
        await socket.write_message(part)
    for _ in range(6):
        await socket.read_message()
    yield documents[0], socket
    socket.close()
    server.stop()


async def test_a_page_with_a_browser(opened: tuple[Document, tornado.websocket.WebSocketClientConnection]) -> None:
    document, socket = opened
    assert len(bokeh_connections.open_connections(document)) == 1
    assert bokeh_connections.is_watched(document)
    assert not bokeh_connections.has_unsent_bytes(document)
    bokeh_connections.limit_send_buffer(document)
    stream = bokeh_connections._streams(document)[0]
    stream.write(b"x" * 50_000_000)  # far beyond any buffer: somebody who does not read
    assert bokeh_connections.has_unsent_bytes(document)
    socket.close()
    stream.close()
    async with asyncio.timeout(5):
        while bokeh_connections.is_watched(document):
            await asyncio.sleep(0.01)


def test_a_document_without_a_session_has_no_browser() -> None:
    assert not bokeh_connections.is_watched(Document())
    assert not bokeh_connections.has_unsent_bytes(Document())
