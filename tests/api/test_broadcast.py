"""Frames are made once for all viewers, a busy one waits for nobody and nobody for it, and a stream is read-only."""

import asyncio
import socket

import msgspec
import pytest
from scripted_market import ScriptedClient
from served_api import ALICE, CAROL, ApiServer
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from volsurface.api.broadcast import Broadcast
from volsurface.api.schema import PatchFrame, SnapshotFrame
from volsurface.bench import stream as bench
from volsurface.dashboard.hub import SurfaceHub
from volsurface.io import surface_columns
from volsurface.io.surface_frames import FLOAT32, JSON, FrameReader

WITH_TOKEN = {"Authorization": f"Bearer {ALICE}"}


class HeldViewer:
    """A viewer whose socket the test makes busy."""

    underlying = "BTC"

    def __init__(self, form: str = JSON) -> None:
        self.form = form
        self.seq = 0
        self.busy = False
        self.frames: list[bytes] = []

    def is_busy(self) -> bool:
        return self.busy

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)


async def test_a_frame_is_made_once_and_a_busy_viewer_gets_the_newest_snapshot() -> None:
    client = ScriptedClient()
    hub = SurfaceHub(client, client.now_ns)
    broadcast = Broadcast(lambda: hub)
    viewers = [HeldViewer() for _ in range(200)]
    slow = viewers[0]
    broadcast.viewers.update(viewers)
    await broadcast.send_newest(hub)
    assert broadcast.encoded == broadcast.sent == 0  # there is no surface yet
    client.step()
    await broadcast.send_newest(hub)
    await broadcast.send_newest(hub)  # nothing new: nothing sent
    assert (broadcast.encoded, broadcast.sent) == (1, 200)
    slow.busy = True
    for _ in range(3):
        client.step()
        await broadcast.send_newest(hub)
    assert len(slow.frames) == 1
    assert broadcast.passed_over == 3
    assert broadcast.encoded == 4
    assert all(viewer.frames[-1] is viewers[1].frames[-1] for viewer in viewers[1:])
    slow.busy = False
    await broadcast.send_newest(hub)
    assert len(slow.frames) == 2  # nothing had queued
    readers = [FrameReader(), FrameReader()]
    for reader, viewer in zip(readers, viewers):
        for frame in viewer.frames:
            reader.apply(frame.decode())
        assert reader.surface() == client.surfaces["BTC"].surface
    broadcast.drop(slow)
    client.step()
    await broadcast.send_newest(hub)
    assert len(slow.frames) == 2


def stream(server: ApiServer, query: str = "", underlying: str = "BTC", **headers: str) -> connect:
    return connect(
        f"ws://127.0.0.1:{server.port}/api/v1/stream/{underlying}{query}",
        additional_headers={**WITH_TOKEN, **headers}, compression=None, proxy=None,
    )  # fmt: skip


async def test_viewers_get_the_same_bytes_a_snapshot_and_then_patches(server: ApiServer) -> None:
    async with stream(server) as one, stream(server) as two, stream(server, "?form=columns") as columns:
        for viewer in (one, two):
            msgspec.json.decode(await viewer.recv(), type=SnapshotFrame)
        drawn = surface_columns.decode(await columns.recv())
        assert drawn.is_snapshot
        before = await asyncio.to_thread(server.script, "refit", row=3)
        first, second = await one.recv(), await two.recv()
        assert first == second
        patch = msgspec.json.decode(first, type=PatchFrame)
        assert patch.base == patch.seq - 1
        assert list(patch.fields) == ["2026-12-05T08:00:00Z"]
        assert len(first) <= 2000
        drawn = surface_columns.decode(message := await columns.recv())
        assert drawn.rows.tolist() == [3]
        assert len(message) <= 2000
        after = await asyncio.to_thread(server.script, "refit", row=4)
        await one.recv(), await two.recv(), await columns.recv()
        assert after["viewers"] == before["viewers"] >= 3
        assert after["encoded"] - before["encoded"] <= 2  # json and columns, however many viewers


async def test_a_gap_is_healed_by_asking_for_a_snapshot(server: ApiServer) -> None:
    async with stream(server) as viewer:
        reader = FrameReader()
        reader.apply(await viewer.recv())
        await viewer.send("resync")
        again = FrameReader()
        again.apply(await viewer.recv())
        assert again.surface().digest == reader.surface().digest


@pytest.mark.parametrize(
    ("say", "code"), [("buy", 1008), (b"\x00", 1008), ("resync" * 100, 1009)], ids=["word", "bytes", "long"]
)
async def test_a_viewer_that_says_something_else_is_let_go(server: ApiServer, say: str | bytes, code: int) -> None:
    async with stream(server) as viewer:
        await viewer.recv()
        await viewer.send(say)
        await viewer.wait_closed()
        assert viewer.close_code == code


@pytest.mark.parametrize(
    ("query", "underlying", "headers", "status", "words"),
    [
        ("", "DOGE", {}, 404, "unknown underlying 'DOGE'"),
        ("?form=xml", "BTC", {}, 400, "unknown form 'xml'"),
        ("?from=0", "BTC", {}, 400, "unknown parameter 'from'; did you mean 'form'?"),
        ("", "BTC", {"Origin": "https://evil.example"}, 403, "evil.example"),
        ("", "BTC", {"Authorization": "Bearer wrong"}, 401, "not known"),
        ("", "BTC", {"Authorization": "Bearer bob-has-another-token"}, 429, "0 streams"),
    ],
)
async def test_a_refused_stream_has_a_status_and_a_sentence(
    server: ApiServer, query: str, underlying: str, headers: dict[str, str], status: int, words: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with stream(server, query, underlying, **headers):
            pass
    assert refused.value.response.status_code == status
    assert words in refused.value.response.body.decode()


async def test_a_holder_may_have_so_many_streams_and_gets_them_back(server: ApiServer) -> None:
    carol = {"Authorization": f"Bearer {CAROL}"}
    async with stream(server, f"?form={FLOAT32}", **carol) as viewer:
        await viewer.recv()
        with pytest.raises(InvalidStatus, match="429"):
            async with stream(server, **carol):
                pass
    async with asyncio.timeout(10):
        while True:
            try:
                async with stream(server, **carol):
                    break
            except InvalidStatus:  # the server has not noticed the first one's end yet
                await asyncio.sleep(0.01)


async def test_a_viewer_that_stops_reading_is_passed_over_and_nobody_else_notices(server: ApiServer) -> None:
    stopped = socket.socket()
    stopped.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stopped.connect(("127.0.0.1", server.port))
    stopped.sendall(
        f"GET /api/v1/stream/BTC?form=msgpack HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {ALICE}\r\n\r\n".encode()
    )
    before = await asyncio.to_thread(server.script, "move", on=True)
    try:
        async with asyncio.timeout(20), stream(server) as other:
            reader, now = FrameReader(), before
            while now["passed_over"] < before["passed_over"] + 3:
                reader.apply(await other.recv())  # a gap would raise
                now = await asyncio.to_thread(server.script, "move", on=True)
                assert now["queued"] < 1_000_000
        assert now["queued"] > 0
        assert reader.seq > 3
    finally:
        stopped.close()
        await asyncio.to_thread(server.script, "move", on=False)


def test_the_benchmarks_viewers_read_everything(server: ApiServer) -> None:
    server.script("move", on=True)
    try:
        alone = bench.measure(server.port, server.process.pid, ALICE, 1, 0.6, None)
        crowd = bench.measure(server.port, server.process.pid, ALICE, 20, 0.6, alone)
    finally:
        server.script("move", on=False)
    assert (crowd["gaps"], crowd["gone"]) == (0, 0)
    assert crowd["frames_per_s"] > 0
    assert crowd["expiries"] == 12  # this market moves as a whole
    assert 0 < crowd["bytes_per_expiry"] < 2000
