"""The feed: venues write its table, consumers pull over a socket, and what breaks stays where it broke."""

import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from volsurface.clock import SteppedClock
from volsurface.engine import feed, venue_connections
from volsurface.engine.feed import FeedServer, run_feed
from volsurface.engine.venue_watch import VenueWatch
from volsurface.errors import ServiceError, TransportError, VenueError
from volsurface.io.places import FEED_SOCKET
from volsurface.io.transport import wire
from volsurface.io.transport.hold import HOLD_S, Change
from volsurface.io.transport.inline import InlineChannel
from volsurface.io.transport.puller import FeedPuller
from volsurface.io.transport.unix import UnixChannel, UnixServer
from volsurface.market.instrument import Instrument
from volsurface.market.quote import VENUE_STATES
from volsurface.market.row_table import RowTable
from volsurface.settings import Settings
from volsurface.simulator.main import run_simulator
from volsurface.venues.codec import HttpRequest

LONG = 20.0  # seconds: a limit that a test never reaches
NAN = float("nan")


def option(number: int, venue: str = "deribit") -> Instrument:
    return Instrument(venue, f"O{number}", "BTC", 5, float(number), 1, "coin")


def ticker(table: RowTable, iid: int, bid: float = 1.0) -> None:
    table.ticker(iid, 0, 5, 6, -1, bid, bid + 1, 1, 1, bid, NAN, NAN, NAN, NAN, NAN, NAN)


def table_of(size: int) -> RowTable:
    table = RowTable(77)
    table.listed([option(number) for number in range(size)], 1)
    return table


class FakeCodec:
    """Understands frames of the form [number, bid]; lists an option when it first hears of it."""

    superseded = reconnects = rejected = gaps = subscribed = listed = last_receive_ns = last_venue_ns = 0
    hang_up = ""

    def __init__(self, venue: str, sink: RowTable) -> None:
        self.venue, self.sink, self.state, self.messages = venue, sink, "connecting", 0

    def connected(self, now_ns: int) -> None:
        self.state = "live"

    def disconnected(self, now_ns: int, reason: str) -> None:
        self.state = "down"

    def receive(self, frame: bytes, now_ns: int) -> None:
        self.messages += 1
        number, bid = json.loads(frame)
        (iid,) = self.sink.listed([option(number, self.venue)], now_ns)
        ticker(self.sink, iid, bid)

    def deadline_ns(self) -> None:
        return None

    def timer(self, now_ns: int) -> None:
        """No timers."""

    def requests_to_make(self) -> list[HttpRequest]:
        return []

    def frames_to_send(self) -> list[bytes]:
        return []


class FakeVenue:
    """A local websocket server that sends `frames` to everybody who connects."""

    def __init__(self, *frames: str) -> None:
        self.frames, self.left = frames, asyncio.Event()

    async def __aenter__(self) -> str:
        self._server = await serve(self._talk, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, socket: ServerConnection) -> None:
        for frame in self.frames:
            await socket.send(frame)
        await socket.wait_closed()
        self.left.set()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def fake_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        venue_connections, "make_codec", lambda venue, underlyings, channels, sink, *_: FakeCodec(venue, sink)
    )
    monkeypatch.setattr(venue_connections, "connections_needed", lambda *_: 1)


@contextlib.asynccontextmanager
async def running(run_folder: Path, *venues: str, **arguments: object) -> AsyncIterator[FeedPuller]:
    """A feed in this loop and a consumer of it; the feed is stopped at the end and must have returned."""
    stop = asyncio.Event()
    settings = Settings({"market": {"venues": list(venues)}})
    task = asyncio.create_task(run_feed(settings, run_folder, stop, **arguments))  # type: ignore[arg-type]
    puller = FeedPuller(UnixChannel(run_folder / FEED_SOCKET, LONG))
    try:
        yield puller
    finally:
        stop.set()
        await asyncio.wait_for(task, LONG)
        await puller.close()


async def pull_until(puller: FeedPuller, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            try:
                await puller.pull()
            except TransportError:
                await asyncio.sleep(0.01)


async def pull_for_ever(puller: FeedPuller) -> None:
    while True:
        await puller.pull()


def states(puller: FeedPuller) -> dict[str, str]:
    return {record["name"].decode(): VENUE_STATES[record["state"]] for record in puller.venues}


# The server alone ------------------------------------------------------------------------------------------------


async def test_a_pull_is_held_until_something_is_written_and_rows_of_one_turn_leave_together():
    table, clock = table_of(3), SteppedClock(123)
    puller = FeedPuller(InlineChannel(FeedServer(table, clock).handle))
    await puller.pull()
    held = asyncio.create_task(puller.pull())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not held.done()
    ticker(table, 2)
    ticker(table, 0)
    clock.set(456)
    batch = await held
    assert (batch.changed.tolist(), batch.feed_time_ns) == ([0, 2], 456)


@pytest.mark.parametrize("what", ["event", "listing", "forward"])
async def test_anything_new_ends_the_hold(what):
    table = table_of(1)
    server = FeedServer(table, SteppedClock(1))
    puller = FeedPuller(InlineChannel(server.handle))
    await puller.pull()
    held = asyncio.create_task(puller.pull())
    await asyncio.sleep(0)
    if what == "event":
        table.event("gap", 1)
    elif what == "listing":
        table.listed([option(9)], 1)
    else:
        table.forward(1, "deribit", "BTC", 0, 5.0, 1, 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert held.done()  # in the loop's next turns, and not at the next beat
    assert len(puller.directory) == len(table.directory)


async def test_nothing_new_is_held_for_a_beat_and_then_an_empty_reply(monkeypatch):
    table, held = table_of(1), []

    async def wait(self: Change, timeout_s: float = HOLD_S) -> None:
        held.append(timeout_s)

    monkeypatch.setattr(Change, "wait", wait)
    puller = FeedPuller(InlineChannel(FeedServer(table, SteppedClock(1)).handle))
    await puller.pull()
    assert held == []
    batch = await puller.pull()
    assert batch.changed.size == batch.events.size == 0
    assert held == [HOLD_S]


async def test_requests_it_does_not_know_are_refused_with_a_sentence():
    channel = InlineChannel(FeedServer(table_of(1), SteppedClock(1)).handle)
    with pytest.raises(TransportError, match="does not answer requests of kind slots"):
        await channel.request(wire.SLOTS, b"")
    with pytest.raises(TransportError, match="unknown feed command 'helth'; did you mean 'health'"):
        await channel.request(wire.CONTROL, wire.encode_map({"command": "helth"}))


async def test_health_says_how_much_arrives():
    table = table_of(2)
    table.watch(venue := FakeCodec("deribit", table))
    watch = VenueWatch(table, [])
    venue.messages = 30
    watch.measure(1, 2.0)
    channel = InlineChannel(FeedServer(table, SteppedClock(1)).handle)
    health = wire.decode_map(await channel.request(wire.CONTROL, wire.encode_map({"command": "health"})))
    assert (health["pid"], health["epoch"], health["instruments"]) == (os.getpid(), 77, 2)
    assert health["messages_per_s"] == {"deribit": 15.0}


async def test_two_consumers_over_a_socket_do_not_disturb_each_other(run_folder):
    rng, table = random.Random(4), table_of(30)
    async with UnixServer(run_folder / FEED_SOCKET, FeedServer(table, SteppedClock(1)).handle):
        consumers = [FeedPuller(UnixChannel(run_folder / FEED_SOCKET, LONG), rows) for rows in (1, 7)]
        writing = True
        seen: list[int] = [0, 0]

        async def consume(which: int) -> None:
            while writing or consumers[which].cursor < table.version:
                batch = await consumers[which].pull()
                seen[which] += batch.events.size + batch.dropped
                assert consumers[which].last_rows <= 30 + 3 * consumers[which]._page_rows  # whole pages, and two more

        tasks = [asyncio.create_task(consume(which)) for which in (0, 1)]
        await pull_until(
            FeedPuller(UnixChannel(run_folder / FEED_SOCKET, LONG)), lambda: all(c.epoch for c in consumers)
        )
        for _ in range(3000):
            ticker(table, rng.randrange(30), rng.random() + 1)
            if rng.random() < 0.02:
                table.event("gap", 1)
                await asyncio.sleep(0)
        writing = False
        ticker(table, 0)
        await asyncio.gather(*tasks)
        for consumer in consumers:
            assert consumer.rows.tobytes() == table.rows.tobytes()
            await consumer.close()
        assert seen == [table.event_seq] * 2


async def test_a_stalled_consumer_finds_one_row_per_instrument(run_folder):
    table = table_of(20)
    async with UnixServer(run_folder / FEED_SOCKET, FeedServer(table, SteppedClock(1)).handle):
        puller = FeedPuller(UnixChannel(run_folder / FEED_SOCKET, LONG))
        await puller.pull()
        for number in range(10_000):
            ticker(table, number % 20, 1.0 + number)
        await puller.pull()
        assert puller.last_rows == 20
        assert puller.rows.tobytes() == table.rows.tobytes()
        await puller.close()


# The whole service ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_codecs")
async def test_a_venue_that_is_down_does_not_stop_the_others(run_folder):
    venue = FakeVenue("[3, 0.5]", "not json", "[4, 0.25]")
    async with venue as url:
        urls = {"deribit": url, "okx": "ws://127.0.0.1:9"}  # nobody listens at the discard port
        async with running(run_folder, "deribit", "okx", venue_urls=urls) as puller:
            await pull_until(puller, lambda: len(puller.directory) == 2 and states(puller).get("okx") == "down")
            assert [instrument.symbol for instrument in puller.directory] == ["O3", "O4"]
            assert puller.rows["bid"].tolist() == [0.5, 0.25]
            assert states(puller)["deribit"] == "live"
        await asyncio.wait_for(venue.left.wait(), LONG)  # the feed has closed its socket
    assert not (run_folder / FEED_SOCKET).exists()


async def test_a_venue_without_the_coins_is_down_with_its_reason_and_the_others_go_on(run_folder, monkeypatch, caplog):
    def make(venue: str, underlyings: object, channels: object, sink: RowTable, *_: object) -> FakeCodec:
        if venue == "okx":
            raise VenueError("okx: unknown underlying 'DOGE'. Allowed: BTC, ETH")
        return FakeCodec(venue, sink)

    monkeypatch.setattr(venue_connections, "make_codec", make)
    monkeypatch.setattr(venue_connections, "connections_needed", lambda *_: 1)
    async with FakeVenue("[3, 0.5]") as url:
        urls = {"deribit": url, "okx": "ws://127.0.0.1:9"}
        async with running(run_folder, "deribit", "okx", venue_urls=urls) as puller:
            await pull_until(puller, lambda: len(puller.directory) == 1)
            assert states(puller) == {"deribit": "live", "okx": "down"}
    assert "okx: unknown underlying 'DOGE'. Allowed: BTC, ETH" in caplog.text


@pytest.mark.usefixtures("fake_codecs")
async def test_several_connections_are_one_venue(run_folder, monkeypatch):
    monkeypatch.setattr(venue_connections, "connections_needed", lambda *_: 3)
    venue = FakeVenue("[3, 0.5]", "[4, 0.25]")
    async with venue as url, running(run_folder, "deribit", venue_urls={"deribit": url}) as puller:
        await pull_until(puller, lambda: puller.venues.size == 1 and int(puller.venues["messages"][0]) == 6)
        assert states(puller) == {"deribit": "live"}


@pytest.mark.usefixtures("fake_codecs")
async def test_a_mistake_of_ours_in_one_connection_is_said_and_tried_again(run_folder, monkeypatch, caplog):
    monkeypatch.setattr(feed, "RETRY_S", 0.01)
    real, failures, consumed = feed.Connection.run, [], asyncio.Event()

    async def fail_first(self: feed.Connection, stop: asyncio.Event) -> None:
        await consumed.wait()
        if not failures:
            failures.append(1)
            raise RuntimeError("surprise")
        await real(self, stop)

    monkeypatch.setattr(feed.Connection, "run", fail_first)
    said: list[str] = []
    async with FakeVenue("[3, 0.5]") as url, running(run_folder, "deribit", venue_urls={"deribit": url}) as puller:
        await pull_until(puller, lambda: puller.epoch != 0)
        consumed.set()

        def arrived() -> bool:
            said.extend(puller.texts.values())
            return len(puller.directory) == 1

        await pull_until(puller, arrived)
    assert "deribit: RuntimeError: surprise" in said
    assert "trying again" in caplog.text


async def test_the_simulated_market_arrives_through_its_real_protocol(run_folder):
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    simulator = asyncio.create_task(
        run_simulator(underlyings=["BTC"], rate=2000.0, ready=lambda urls: address.set_result(urls), stop=stop)
    )
    urls = await address
    async with running(run_folder, "deribit", venue_urls=urls) as puller:
        await pull_until(
            puller,
            lambda: (
                states(puller).get("deribit") == "live"
                and (puller.rows["bid"] > 0).sum() > 20
                and puller.forwards.get(("deribit", "BTC", 0), 0.0) > 0  # the spot index
            ),
        )
        assert {instrument.venue for instrument in puller.directory} == {"deribit"}
        assert puller.venues["messages"][0] > 0
    stop.set()
    await simulator


@pytest.mark.parametrize(
    ("market", "arguments", "error", "said"),
    [
        ({}, {}, ServiceError, r"no address of the simulated deribit; give --venue-url deribit="),
        ({"source": "replay"}, {}, ServiceError, "neither chain files nor a recording are given"),
        ({"source": "live", "venues": ["deribt"]}, {}, VenueError, "did you mean 'deribit'"),
        (
            {"venues": ["deribit"]},
            {"venue_urls": {"okx": "ws://127.0.0.1:9"}},
            ServiceError,
            "unknown venue in --venue-url 'okx'",
        ),
        ({"venues": ["deribit"]}, {"venue_urls": {"deribit": "http://127.0.0.1:9"}}, VenueError, "http"),
    ],
)
async def test_what_cannot_be_started_is_refused_at_once(run_folder, market, arguments, error, said):
    with pytest.raises(error, match=said):
        await run_feed(Settings({"market": market}), run_folder, asyncio.Event(), **arguments)
    assert not (run_folder / FEED_SOCKET).exists()


@pytest.mark.usefixtures("fake_codecs")
async def test_the_collector_is_out_of_the_way_while_the_feed_runs_and_back_after_it(run_folder, monkeypatch):
    monkeypatch.setattr(feed, "START_UP_S", 0.0)
    async with FakeVenue() as url, running(run_folder, "deribit", venue_urls={"deribit": url}) as puller:
        await pull_until(puller, lambda: not gc.isenabled())
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


CHAINS = """timestamp,venue,underlying,instrument,expiry,strike,right,bid,ask,settlement,forward
2026-01-05T12:00:00Z,deribit,BTC,BTC-27MAR26-90000-C,2026-03-27T08:00:00Z,90000,call,0.05,0.06,coin,91000
2026-01-05T12:00:00Z,deribit,BTC,BTC-27MAR26-80000-P,2026-03-27T08:00:00Z,80000,put,,0.02,coin,91000
"""
PROCESS = """
import sys
from pathlib import Path
from volsurface.engine.feed import main
from volsurface.settings import Settings
sys.exit(main(Settings({"market": {"source": "replay"}}), Path(sys.argv[1]), chains=[sys.argv[2]]))
"""


async def test_a_killed_feed_comes_back_with_another_epoch(run_folder, tmp_path):
    """Kill leaves a stale socket file; the consumer notices, waits, and starts from a snapshot of the next run."""
    file = tmp_path / "chains.csv"
    file.write_text(CHAINS)
    puller = FeedPuller(UnixChannel(run_folder / FEED_SOCKET))
    epochs = set()
    for run in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, str(run_folder), str(file), stderr=asyncio.subprocess.PIPE
        )
        try:
            await pull_until(puller, lambda: puller.snapshot and puller.epoch not in epochs)
            assert (len(puller.directory), puller.forwards["deribit", "BTC", puller.directory[0].expiry_ns]) == (
                2,
                91000.0,
            )
            assert puller.rows["bid"].tolist() == pytest.approx([0.05, NAN], nan_ok=True)
            epochs.add(puller.epoch)
            process.send_signal(signal.SIGKILL if run == 0 else signal.SIGTERM)
            _, log = await asyncio.wait_for(process.communicate(), LONG)
        finally:
            if process.returncode is None:
                process.kill()
        if run == 0:
            assert (run_folder / FEED_SOCKET).exists()
            with pytest.raises(TransportError):
                await pull_for_ever(puller)
    assert process.returncode == 0, log.decode()
    assert not (run_folder / FEED_SOCKET).exists()
    assert len(epochs) == 2
